"""The log: types, destinations, the time."""

import fcntl
import os
import queue
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from clients import V5
from harness import FOOTBRIDGE, free_port, listens, run, wait_until

pytestmark = pytest.mark.footbridge

SYSLOG = Path("/dev/log")


def quiet_broker(make_broker, config, **options):
    """Without -v, which asks for every type."""
    return make_broker(config, quiet=True, **options)


def act(client, port, user="c"):
    """Comes, subscribes, unsubscribes, goes."""
    c = client(port, user)
    c.subscribe([("a/+", 1), ("b", 0)])
    c.unsubscribe("b")
    c.close()


def lines(broker):
    return broker.log().splitlines()


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("subscribe", [r"c 1 a/\+", "c 0 b"]),
        ("unsubscribe", ["c b"]),
        ("notice", [r"New client connected from .* as c \(.*\)\.", "Client c .* disconnected.*"]),
        ("warning", ["Warning: .*"]),
        ("information", ["footbridge .* starting.*", "Listening on .*"]),
        ("error", []),
        ("none", []),
    ],
)
def test_each_type_by_itself(make_broker, client, kind, expected):
    broker = quiet_broker(make_broker, f"log_type {kind}\nlog_timestamp false")
    act(client, broker.port)
    broker.stop()
    got = lines(broker)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in got), (pattern, got)
    if kind in ("subscribe", "unsubscribe", "error", "none"):
        assert len(got) == len(expected), got
    if kind in ("notice", "information", "error"):
        assert not any(line.startswith(("c ", "Warning")) for line in got)


def test_default_and_all(make_broker, client):
    usual = quiet_broker(make_broker, "")
    everything = quiet_broker(make_broker, "log_type all")
    for broker in (usual, everything):
        act(client, broker.port)
        broker.stop()
    assert "New client connected" in usual.log() and "Warning" in usual.log()
    assert "c 1 a/+" not in usual.log()
    wait_until(lambda: "c 1 a/+" in everything.log(), what="line in the log")


def test_connection_messages(make_broker, client):
    broker = quiet_broker(make_broker, "connection_messages false")
    act(client, broker.port)
    broker.stop()
    assert "client" not in broker.log().lower().replace("clients:", "")


def test_the_time_as_wanted(make_broker):
    broker = quiet_broker(make_broker, "log_timestamp_format %Y-%m-%dT%H:%M:%S %j")
    now = time.strftime("%Y-%m-%dT%H:%M", time.gmtime())
    broker.stop()
    for line in lines(broker):
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \d{3}: ", line), line
    assert lines(broker)[0][:13] == now[:13]


def test_an_unknown_conversion_is_an_error_with_its_line(tmp_path):
    config = tmp_path / "c.conf"
    config.write_text("listener 1883\nlog_timestamp_format %Y-%Q\n")
    done = run("-c", config, "--test-config")
    assert done.returncode == 1
    assert f"{config}:2:" in done.stderr and "%Q" in done.stderr


def test_topics(make_broker, client):
    """Mosquitto's topics; not retained, and telling the log does not make more of it."""
    broker = quiet_broker(make_broker, "log_dest topic\nlog_dest stderr\nlog_type all\nsys_interval 1")
    watcher = client(broker.port, "watcher")
    watcher.subscribe("$SYS/broker/log/#", 2)
    act(client, broker.port)
    got = {}
    try:
        while True:
            message = watcher.get(timeout=2)
            assert not message.retain
            got.setdefault(message.topic, []).append(message.payload.decode())
    except queue.Empty:
        pass
    subscribed = [line.split(": ")[1] for line in got["$SYS/broker/log/M/subscribe"]]
    assert subscribed[-2:] == ["c 1 a/+", "c 0 b"]
    assert [line.split(": ")[1] for line in got["$SYS/broker/log/M/unsubscribe"]] == ["c b"]
    assert any("New client connected" in line for line in got["$SYS/broker/log/N"])
    assert sum(map(len, got.values())) < 12, got
    assert "$SYS/broker/log/D" not in got
    late = client(broker.port, "late")
    late.subscribe("$SYS/broker/log/W", 0)
    assert late.messages.empty()


def test_a_full_queue_for_log_lines_does_not_feed_itself(make_broker, client):
    """Lines that are dropped for want of room make warnings, which are lines, too."""
    broker = quiet_broker(
        make_broker,
        "log_dest topic\nlog_dest stderr\nmax_queued_messages 2\nqueue_overflow oldest",
        durable=True,
    )
    away = client(broker.port, "away", clean=False)
    away.subscribe("$SYS/broker/log/#", 1)
    away.close()
    for n in range(10):
        act(client, broker.port, f"c{n}")
    time.sleep(3)
    assert len(lines(broker)) < 60, broker.log()


@pytest.mark.skipif(SYSLOG.exists() or os.geteuid() != 0, reason="the system's log is in use")
def test_syslog(make_broker, client):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(SYSLOG))
        try:
            daemon.settimeout(5)
            broker = quiet_broker(make_broker, "log_dest syslog\nlog_facility 3\nlog_timestamp false")
            act(client, broker.port)
            seen = []
            while not any("disconnected" in line for line in seen):
                seen.append(daemon.recv(4096).decode())
        finally:
            SYSLOG.unlink()
    local3 = 19 << 3
    pid = broker.process.pid
    stamp = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
    for severity, text in ((6, "footbridge .* starting"), (5, "New client"), (4, "Warning: ")):
        pattern = rf"<{local3 | severity}>{stamp} footbridge\[{pid}\]: {text}"
        assert any(re.match(pattern, line) for line in seen), (pattern, seen)
    # Nobody reads it any more, and nobody waits for that.
    for n in range(20):
        act(client, broker.port, f"later{n}")
    assert broker.log() == ""


def test_sighup_changes_types_file_and_format(make_broker, client, tmp_path):
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    broker = quiet_broker(make_broker, f"log_dest file {first}\nlog_type error")
    act(client, broker.port)
    text = broker.config_file.read_text()
    broker.config_file.write_text(
        text.replace(str(first), str(second)).replace(
            "log_type error", "log_type subscribe\nlog_type information\nlog_timestamp_format <%F>"
        )
    )
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: second.exists() and "reloaded" in second.read_text(), what="the reload")
    act(client, broker.port, "d")
    wait_until(lambda: "d 1 a/+" in second.read_text(), what="a line of the new type")
    assert first.read_text() == ""
    assert re.fullmatch(r"<\d{4}-\d\d-\d\d>: .*", second.read_text().splitlines()[-1])


def test_sighup_opens_a_rotated_file_even_if_the_configuration_is_wrong(make_broker, tmp_path):
    file = tmp_path / "the.log"
    broker = quiet_broker(make_broker, f"log_dest file {file}")
    file.rename(tmp_path / "the.log.1")
    broker.config_file.write_text("nonsense 1\n")
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(
        lambda: file.exists() and "The configuration stays as it was" in file.read_text(),
        what="the new file",
    )


def test_a_log_file_that_cannot_be_opened_changes_nothing(make_broker, client, tmp_path):
    broker = quiet_broker(make_broker, "log_type error\nlog_type information")
    text = broker.config_file.read_text()
    broker.config_file.write_text(
        text.replace("log_type error", f"log_dest file {tmp_path}/none/log\nlog_type subscribe")
    )
    os.kill(broker.process.pid, signal.SIGHUP)
    wait_until(lambda: "stays as it was: log_dest: " in broker.log(), what="the refusal")
    act(client, broker.port)
    assert "c 1 a/+" not in broker.log()


def test_sighup_with_a_log_that_nobody_reads(tmp_path, client):
    """Standard error is a full pipe; SIGHUP is heeded all the same."""
    port, config = free_port(), tmp_path / "c.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type all\n")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen([FOOTBRIDGE, "-c", config], stderr=writer)
    try:
        wait_until(lambda: listens(port), what="the broker")
        for n in range(300):
            act(client, port, f"c{n}")
        config.write_text(config.read_text() + "max_keepalive 60\n")
        process.send_signal(signal.SIGHUP)

        def server_keep_alive():
            connack = client(port, "v5", version=V5, keepalive=300).connack
            return getattr(connack, "ServerKeepAlive", None)

        wait_until(lambda: server_keep_alive() == 60, what="the new setting")
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)


def says(port, data):
    """Sends bytes to a port; the address that they come from."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(data)
        host, peer = s.getsockname()
        while s.recv(1000):
            pass
    return f"{host}:{peer}"


TLS = bytes.fromhex("16030100ea010000e60303") + bytes(228)
PROXY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12)


@pytest.mark.parametrize(
    "data, what",
    [
        (TLS, "a TLS ClientHello"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "an HTTP request"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "an HTTP request"),
        (b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "a request for a WebSocket"),
        (b"SSH-2.0-x\r\n", "SSH"),
        (PROXY, "the PROXY protocol"),
        (b"\xc0\0", "PINGREQ before CONNECT"),
        (b"\x10\x0c\0\x04MQTX\4\2\0\x3c\0\0", "CONNECT with an unknown protocol name"),
    ],
)
def test_who_sends_something_else_is_told(make_broker, data, what):
    broker = make_broker(quiet=True)
    peer = says(broker.port, data)
    wait_until(lambda: f"Closing {peer}: {what}" in broker.log(), what=what)


def test_a_second_connect_is_told(make_broker, client):
    broker = make_broker(quiet=True)
    connect = b"\x10\x0e\0\x04MQTT\4\2\0\x3c\0\2"
    peer = says(broker.port, connect + b"me" + connect + b"it")
    line = f"Closing me ({peer}): a second CONNECT, as it"
    wait_until(lambda: line in broker.log(), what="line")
    peer = says(broker.port, connect + b"me" + b"\x20\2\0\0")
    wait_until(lambda: f"Closing me ({peer}): CONNACK from a client" in broker.log(), what="line")


def test_what_comes_to_a_web_port_is_told(make_broker):
    port = free_port()
    broker = make_broker(f"listener {port} 127.0.0.1\nprotocol websockets", quiet=True)
    connect = b"\x10\x0e\0\x04MQTT\4\2\0\x3c\0\2me"
    for data, what in [(TLS, "a TLS ClientHello"), (connect, "a plain CONNECT")]:
        peer = says(port, data)
        line = f"Closing {peer}: HTTP request refused: {what}"
        wait_until(lambda: line in broker.log(), what=what)
