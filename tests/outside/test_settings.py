"""General and listener directives by what each changes; test_directives.py has those with more to
them, and tests/directives.rs says for every one where it is shown."""

import ctypes
import os
import re
import socket
import subprocess
import time

import pytest

import wire
from clients import V5
from frames import Web, ask, request
from harness import FOOTBRIDGE, free_port, listens, wait_until
from test_directives import answer
from wire import Raw

pytestmark = pytest.mark.footbridge


@pytest.fixture
def second():
    """The port of a second listener."""
    return free_port()


def reaches(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False


def test_include_dir(make_broker, tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("max_keepalive 100\n")
    (folder / "b.conf.off").write_text("max_keepalive 7\n")
    assert answer(make_broker(f"include_dir {folder}").port, level=5, keepalive=0)[1].count(
        b"\x13\0\x64"
    )


def test_pid_file(make_broker, tmp_path):
    broker = make_broker(f"pid_file {tmp_path}/pid")
    assert (tmp_path / "pid").read_text().strip() == str(broker.process.pid)
    broker.stop()
    assert not (tmp_path / "pid").exists()


def option_of_accepted(broker, peer, level, option):
    """An option of the broker's socket that is connected to the address `peer`, asked of a copy of
    its descriptor (pidfd_getfd)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(os.pidfd_open(broker.process.pid), "rb") as process:
        for entry in os.listdir(f"/proc/{broker.process.pid}/fd"):
            copy = libc.syscall(438, process.fileno(), int(entry), 0)
            try:
                with socket.socket(fileno=copy) as found:
                    if found.getpeername() == peer:
                        return found.getsockopt(level, option)
            except (OSError, ValueError):
                pass  # no socket, or not that one
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into the sockets of another process")
@pytest.mark.parametrize("setting, on", [("true", True), ("false", False)])
def test_set_tcp_nodelay(make_broker, setting, on):
    broker = make_broker(f"set_tcp_nodelay {setting}")
    with Raw(broker.port, "c") as c:
        peer = c.socket.getsockname()
        found = option_of_accepted(broker, peer, socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert found is not None and bool(found) == on


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into the sockets of another process")
@pytest.mark.parametrize(
    "setting, wanted",
    [
        ("", (1, 300, 60, 5)),
        ("tcp_keepalive 50 4 3", (1, 50, 4, 3)),
        ("tcp_keepalive 0", (0,)),
    ],
)
def test_tcp_keepalive(make_broker, setting, wanted):
    broker = make_broker(setting)
    # Its own keep-alive would put the first probe off, if it were longer.
    with Raw(broker.port, "c", keepalive=20) as c:
        peer = c.socket.getsockname()
        options = [
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        ]
        found = [option_of_accepted(broker, peer, *option) for option in options]
        assert found[: len(wanted)] == list(wanted)
        if len(wanted) > 1:
            _, idle, interval, probes = wanted
            timeout = option_of_accepted(broker, peer, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert timeout == 1000 * (idle + interval * probes)


def test_port_and_bind_address(make_broker, second):
    """The default listener, beside the other."""
    broker = make_broker("")
    broker.stop()
    text = broker.config_file.read_text()
    broker.config_file.write_text(f"port {second}\nbind_address 127.0.0.2\nallow_anonymous true\n{text}")
    broker.start()
    assert reaches("127.0.0.2", second) and reaches("127.0.0.1", broker.port)
    assert not reaches("127.0.0.1", second)


def test_listener_allow_anonymous(make_broker, second):
    broker = make_broker(
        f"listener {second} 127.0.0.1\nlistener_allow_anonymous false", anonymous=True
    )
    assert answer(broker.port)[0] == 0
    assert answer(second)[0] == 5


def test_prefixes_of_ids_that_are_handed_out(make_broker, second):
    broker = make_broker(
        f"auto_id_prefix all-\nlistener {second} 127.0.0.1\nlistener_auto_id_prefix mine-"
    )
    assert b"all-" in answer(broker.port, "", 5)[1]
    assert b"mine-" in answer(second, "", 5)[1]


@pytest.mark.parametrize("limit, aliased", [("0", False), ("1", True)])
def test_max_topic_alias_broker(make_broker, client, limit, aliased):
    broker = make_broker(f"max_topic_alias_broker {limit}")
    with Raw(broker.port) as taker:
        head = wire.string("MQTT") + b"\5\2\0\x3c" + b"\3\x22\0\x05"
        taker.send(wire.packet(0x10, head + wire.string("taker")))
        taker.expect(wire.CONNACK)
        taker.send(wire.packet(0x82, b"\0\1\0" + wire.string("t") + b"\0"))
        taker.expect(wire.SUBACK)
        client(broker.port, "sender").publish("t", "x")
        assert (b"\x23\0\1" in taker.expect(wire.PUBLISH).body) == aliased


@pytest.mark.parametrize("versions, codes", [("3", (0, 1, 1)), ("4", (1, 0, 1)), ("5", (1, 1, 0))])
def test_accept_protocol_versions(make_broker, versions, codes):
    broker = make_broker(f"accept_protocol_versions {versions}")
    told = [answer(broker.port, level=level)[0] for level in (3, 4, 5)]
    assert [code != 0 for code in told] == [code != 0 for code in codes]


@pytest.mark.parametrize("max_qos", [0, 1, 2])
def test_max_qos(make_broker, max_qos):
    broker = make_broker(f"max_qos {max_qos}")
    with Raw(broker.port, "c") as c:
        c.send(wire.subscribe(1, "t", 2))
        assert c.expect(wire.SUBACK).body[-1] == max_qos


@pytest.mark.parametrize(
    "lines, v4, v6",
    [
        ("", True, True),
        ("socket_domain ipv4", True, False),
        ("socket_domain ipv6", False, True),
        ("ipv6 false", True, False),
        ("ipv6 true", True, True),
    ],
)
def test_families_of_addresses(make_broker, second, lines, v4, v6):
    make_broker(f"listener {second}\n{lines}")
    assert (reaches("127.0.0.1", second), reaches("::1", second)) == (v4, v6)


def test_bind_interface(make_broker):
    """Programs on the same machine come in by lo."""
    others = [name for name in os.listdir("/sys/class/net") if name != "lo"]
    if not others:
        pytest.skip("no interface but lo")
    here, there = free_port(), free_port()
    make_broker(
        f"listener {here}\nbind_interface lo\nlistener {there}\nbind_interface {others[0]}"
    )
    assert reaches("127.0.0.1", here) and not reaches("127.0.0.1", there)


def test_what_a_listener_speaks(make_broker, tmp_path):
    (tmp_path / "index.html").write_text("page")
    ports = {word: free_port() for word in ("mqtt", "websockets", "http")}
    make_broker(
        "".join(
            f"listener {port} 127.0.0.1\nprotocol {word}\n"
            + ("" if word == "mqtt" else f"http_dir {tmp_path}\n")
            for word, port in ports.items()
        )
    )
    assert answer(ports["mqtt"])[0] == 0
    with Web(ports["websockets"], "c") as web:
        assert web.accepts()
    for word in ("websockets", "http"):
        response, body = ask(ports[word], request(path="/", Host="x"))
        assert (response.status, body) == (200, b"page"), word
    with Raw(ports["http"]) as raw:
        raw.send(wire.connect("c"))
        assert not raw.receive() or raw.closed_by_broker()


def test_global_max_clients(make_broker, client):
    broker = make_broker("global_max_clients 1")
    client(broker.port, "first", clean=False).close()
    assert answer(broker.port, "second", level=5)[0] == 0x89
    assert answer(broker.port, "first", level=5)[0] == 0


def test_global_max_connections(make_broker, second):
    broker = make_broker(
        f"global_max_connections 2\nlistener {second} 127.0.0.1\nallow_anonymous true"
    )
    with Raw(broker.port, "a"), Raw(second, "b"):
        with Raw(second) as third:
            assert third.closed_by_broker()


def in_flight(broker, client, count=3):
    """How many of some messages of 100 bytes come to a client that acknowledges none."""
    with Raw(broker.port, "slow") as slow:
        slow.send(wire.subscribe(1, "t", 1))
        slow.expect(wire.SUBACK)
        sender = client(broker.port, "sender")
        for _ in range(count):
            sender.publish("t", "x" * 100, 1)
        slow.send(wire.PING)
        came = 0
        while slow.receive().kind == wire.PUBLISH:
            came += 1
        return came


@pytest.mark.parametrize(
    "line, came",
    [
        ("max_inflight_messages 2", 2),
        ("max_inflight_bytes 150", 2),
        ("max_inflight_messages 0", 30),
        ("sys_interval 10", 20),
    ],
)
def test_what_may_be_in_flight(make_broker, client, line, came):
    assert in_flight(make_broker(line), client, 30) == came


@pytest.mark.parametrize(
    "lines, waits",
    [
        ("max_queued_messages 2", "34"),
        ("max_queued_bytes 400", "34"),
        ("max_queued_messages 2\nqueue_overflow refuse", "12"),
        ("max_queued_messages 2\nqueue_overflow newest", "12"),
        ("max_queued_messages 2\nqueue_overflow oldest", "34"),
        ("max_queued_messages 2\nqueue_overflow latest-per-topic", "14"),
    ],
)
def test_a_full_queue(make_broker, client, lines, waits):
    """What waits of four messages, of which the last three are on one topic."""
    broker = make_broker(lines)
    away = client(broker.port, "away", clean=False)
    away.subscribe("#", 1)
    away.close()
    sender = client(broker.port, "sender", version=V5)
    codes = [sender.publish(f"{n > 1}", f"{n}" + "." * 100, 1) for n in (1, 2, 3, 4)]
    told = "refuse" in lines
    assert codes == [0, 0] + [0x97 if told else 0] * 2
    back = client(broker.port, "away", clean=False)
    assert "".join(payload[0] for payload in back.payloads(2)) == waits
    assert back.silent()


@pytest.mark.parametrize("setting, waits", [("true", True), ("false", False)])
def test_queue_qos0_messages(make_broker, client, setting, waits):
    broker = make_broker(f"queue_qos0_messages {setting}")
    away = client(broker.port, "away", clean=False)
    away.subscribe("t", 1)
    away.close()
    client(broker.port, "sender").publish("t", "x", 0)
    wait_until(lambda: answer(broker.port, "other")[0] == 0)
    back = client(broker.port, "away", clean=False)
    assert back.silent(0.8) != waits


@pytest.mark.parametrize("setting, qos", [("true", 1), ("false", 0)])
def test_upgrade_outgoing_qos(make_broker, client, setting, qos):
    broker = make_broker(f"upgrade_outgoing_qos {setting}")
    sub = client(broker.port, "sub")
    sub.subscribe("t", 1)
    client(broker.port, "sender").publish("t", "x", 0)
    assert sub.get().qos == qos


@pytest.mark.parametrize("directive", ["persistence", "retained_persistence"])
@pytest.mark.parametrize("setting, stays", [("true", True), ("false", False)])
def test_persistence(make_broker, client, tmp_path, directive, setting, stays):
    lines = f"{directive} {setting}\npersistence_location {tmp_path}/\npersistence_file mine.db"
    broker = make_broker(lines)
    client(broker.port, "sender").publish("t", "kept", 1, retain=True)
    broker.restart()
    sub = client(broker.port, "sub")
    sub.subscribe("t")
    assert sub.silent(0.8) != stays
    assert (tmp_path / "mine.db").exists() == stays


def time_of_acknowledgement(broker, client):
    """How long a message for an absent client waits for its PUBACK; the shortest of three."""
    away = client(broker.port, "away", clean=False)
    away.subscribe("t", 1)
    away.close()
    sender = client(broker.port, "sender")
    times = []
    for _ in range(3):
        start = time.monotonic()
        sender.publish("t", "x", 1)
        times.append(time.monotonic() - start)
    return min(times)


@pytest.mark.parametrize(
    "lines, waits",
    [
        ("commit_interval 2s", True),
        ("commit_interval 20ms", False),
        ("commit_interval 2s\ndurability power", True),
        ("commit_interval 2s\ndurability lazy 5", False),
    ],
)
def test_what_an_acknowledgement_waits_for(make_broker, client, lines, waits):
    broker = make_broker(lines, durable=True)
    assert (time_of_acknowledgement(broker, client) > 1.5) == waits


@pytest.mark.parametrize("words", ["debug", "information"])
def test_log_type_debug(make_broker, client, tmp_path, words):
    (tmp_path / "acl").write_text("topic read t\n")
    broker = make_broker(f"log_type {words}\nacl_file {tmp_path}/acl", quiet=True)
    client(broker.port, "c").publish("t", "x", 1)
    broker.stop()
    assert ("Denied PUBLISH from c to t" in broker.log()) == (words == "debug")


@pytest.mark.parametrize("word", ["stderr", "stdout", "none", "topic", "file"])
def test_log_dest(tmp_path, client, word):
    """Each destination gets the log, and no other does."""
    port, file = free_port(), tmp_path / "log"
    config = tmp_path / "c.conf"
    where = f"file {file}" if word == "file" else word
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest {where}\n")
    process = subprocess.Popen(
        [FOOTBRIDGE, "-c", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: listens(port), what="listening broker")
        watcher = client(port, "watcher")
        watcher.subscribe("$SYS/broker/log/#", 1)
        client(port, "other").close()
        # Lines of the watcher itself may come late, and first.
        while word == "topic" and "other" not in watcher.get().payload.decode():
            pass
        quiet = word == "topic" or watcher.silent()
    finally:
        process.terminate()
        out, err = process.communicate(timeout=10)
    written = file.read_text() if file.exists() else ""
    got = {"stderr": err, "stdout": out, "file": written}
    assert {name for name, text in got.items() if "starting" in text} == {word} & set(got)
    assert quiet


@pytest.mark.parametrize("level", [4, 5])
def test_names_of_65535_bytes(make_broker, level):
    """The longest that a packet can hold: a user name that is the client id, told back to MQTT 5."""
    name = "n" * 65_535
    broker = make_broker("use_username_as_clientid true\nmax_clientid_length 65535")
    code, properties = answer(broker.port, "" if level == 5 else "c", level, user=name)
    assert code == 0
    if level == 5:
        assert b"\x12" + wire.string(name) in properties
    # The log has a thread of its own, which may come late.
    connected = re.compile(r"New client connected.*\n")
    wait_until(lambda: connected.search(broker.log()), what="log")
    long = [line for line in broker.log().splitlines() if "New client connected" in line]
    assert len(long) == 1 and len(long[0]) < 1100 and long[0].endswith(").")


@pytest.mark.parametrize("over", [0, 1])
def test_a_mount_point_and_a_topic_of_65535_bytes(make_broker, client, second, over):
    """One byte more than a topic may have, and the client is told, not the topic cut."""
    mount = "m" * 99 + "/"
    broker = make_broker(
        f"listener {second} 127.0.0.1\nallow_anonymous true\nmount_point {mount}"
    )
    watcher = client(broker.port, "watcher")
    watcher.subscribe("#")
    topic = "t" * (65_535 - len(mount) + over)
    with Raw(second, "c") as c:
        c.send(wire.publish(topic, b"x", 1, 1))
        if over:
            assert c.closed_by_broker() and watcher.silent()
        else:
            c.expect(wire.PUBACK)
            assert watcher.get().topic == mount + topic


def test_what_a_peer_says_stays_on_its_line(make_broker):
    """Marks for the direction of writing and line separators of a client id reach no terminal."""
    broker = make_broker("")
    evil = "x\u2028Warning: y\u202e\u2066"
    with Raw(broker.port, evil):
        wait_until(lambda: "New client connected" in broker.log())
    assert r"x\u{2028}Warning: y\u{202e}\u{2066}" in broker.log()
    assert not set("\u2028\u202e\u2066") & set(broker.log())


@pytest.mark.parametrize("over", [0, 1, 99])
def test_a_mount_point_and_a_filter_of_65535_bytes(make_broker, client, second, over):
    """A filter that is too long with its prefix matches nothing; nothing else about the client
    suffers, over a kill too."""
    mount = "m" * 99 + "/"
    broker = make_broker(
        f"listener {second} 127.0.0.1\nallow_anonymous true\nmount_point {mount}", durable=True
    )
    topic = "t" * (65_535 - len(mount) + over)
    with Raw(second, "c", clean=False) as c:
        for packet_id, wanted in enumerate([topic, "other"], 1):
            c.send(wire.subscribe(packet_id, wanted, 1))
            c.expect(wire.SUBACK)
    broker.restart("kill")
    sender = client(broker.port, "sender")
    sender.publish((mount + topic)[:65_535], "x" * (1 + over), 1)
    sender.publish(f"{mount}other", "y", 1)
    with Raw(second, "c", clean=False) as c:
        assert c.session_present
        payloads = [c.expect(wire.PUBLISH).payload]
        if not over:
            payloads.append(c.expect(wire.PUBLISH).payload)
        assert payloads == ([] if over else [b"x"]) + [b"y"]
