"""Hostile bytes, wrong configurations, missing resources: one clear line, nothing lost."""

import contextlib
import os
import random
import socket
import time

import pytest

import wire
from harness import free_port, listens, run, wait_until
from wire import Raw


@pytest.fixture
def still_serves(broker, client):
    """The broker must still serve a well-behaved client after the test."""
    witness = client(broker.port, "witness")
    witness.subscribe("witness", 1)
    yield broker
    assert broker.alive()
    witness.publish("witness", "still here", 1)
    assert witness.payloads(1) == ["still here"]


# What a first packet may be to be refused by closing the connection.
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "publish first": wire.publish("t", b"x"),  # [MQTT-3.1.0-1]
    "ping first": wire.PING,
    "five length bytes": b"\x10\xff\xff\xff\xff\x7f",
    "unknown protocol": wire.packet(0x10, wire.string("MQXX") + b"\4\2\0\0" + wire.string("c")),
    "reserved connect flag": wire.packet(0x10, wire.string("MQTT") + b"\4\3\0\0\0\1c"),
    "short connect": b"\x10\x04\0\4MQ",
    "client id longer than packet": wire.packet(0x10, wire.string("MQTT") + b"\4\2\0\0\0\xffc"),
}

# What ends a connection once it is up.
AFTER_CONNECT = {
    "second connect": wire.connect("c"),  # [MQTT-3.1.0-2]
    "qos 3": b"\x36\x06\0\1t\0\1x",  # [MQTT-3.3.1-4]
    "wildcard in topic": wire.publish("a/#", b"x"),  # [MQTT-3.3.2-2]
    "topic not utf-8": wire.publish(b"\xc3\x28", b"x"),
    "topic with nul": wire.publish("a\0b", b"x"),
    "topic longer than packet": b"\x30\x04\0\xffab",
    "subscribe without filters": b"\x82\x02\0\1",  # [MQTT-3.8.3-3]
    "subscribe flags": b"\x80\x06\0\1\0\1t\0",
    "bad filter": wire.subscribe(1, "a/#/b", 0),
    "packet id 0": wire.publish("t", b"x", 1, 0),  # [MQTT-2.3.1-1]
    "packet type 0": b"\x00\x00",
    "packet type 15": b"\xf0\x00",  # AUTH is MQTT 5 only
    "connack from a client": b"\x20\x02\0\0",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_instead_of_connect(still_serves, name):
    with Raw(still_serves.port) as raw:
        raw.send(GARBAGE[name])
        with contextlib.suppress(OSError):  # the broker may have closed already
            raw.socket.shutdown(socket.SHUT_WR)
        assert raw.closed_by_broker()


@pytest.mark.parametrize("name", AFTER_CONNECT)
def test_protocol_violations(still_serves, name):
    with Raw(still_serves.port, "c") as raw:
        raw.send(AFTER_CONNECT[name])
        assert raw.closed_by_broker()


def test_random_bytes(still_serves):
    seed = 20_240_229
    dice = random.Random(seed)
    for _ in range(200):
        greeted = dice.random() < 0.5
        with Raw(still_serves.port, f"r{dice.random()}" if greeted else None) as raw:
            raw.send(dice.randbytes(dice.randrange(1, 300)))


def test_truncated_packets(still_serves):
    """Every prefix of a conversation, then silence and the end of the connection."""
    talk = wire.connect("cut") + wire.subscribe(1, "t", 2) + wire.publish("t", b"x" * 20, 2, 2)
    for end in range(1, len(talk)):
        with Raw(still_serves.port) as raw:
            raw.send(talk[:end])


def test_one_byte_at_a_time(still_serves):
    with Raw(still_serves.port) as raw:
        raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in wire.connect("slow") + wire.subscribe(1, "t", 0) + wire.publish("t", b"x"):
            raw.send(bytes([byte]))
            time.sleep(0.002)
        raw.expect(wire.CONNACK)
        raw.expect(wire.SUBACK)
        assert raw.expect(wire.PUBLISH).payload == b"x"


def test_many_half_open_connections(still_serves, client):
    """Slow starters hold no one up."""
    held = [Raw(still_serves.port) for _ in range(300)]
    for raw in held:
        raw.send(b"\x10")
    start = time.monotonic()
    client(still_serves.port, "quick").publish("t", "x", 1)
    assert time.monotonic() - start < 2
    for raw in held:
        raw.socket.close()


def test_a_reader_that_never_reads(still_serves, client):
    """What is sent to it piles up in its own queue, nobody else's. The other subscriber takes each
    message before the next is sent: its session ends with its connection, so it too would lose
    what it is more than a megabyte behind."""
    with Raw(still_serves.port, "deaf") as deaf:
        deaf.send(wire.subscribe(1, "flood", 0))
        deaf.expect(wire.SUBACK)
        pub = client(still_serves.port, "pub")
        sub = client(still_serves.port, "sub")
        sub.subscribe("flood", 1)
        for n in range(200):
            payload = n.to_bytes(4) + bytes(100_000)
            pub.publish("flood", payload, 1)
            assert sub.get().payload == payload


@pytest.mark.footbridge
def test_a_claimed_length_takes_no_memory(still_serves):
    """256 MB announced by each of 50 connections, almost nothing sent."""
    held = [Raw(still_serves.port, f"big{n}") for n in range(50)]
    for raw in held:
        raw.send(b"\x30\xff\xff\xff\x7f\0\1t")
    time.sleep(0.5)
    status = open(f"/proc/{still_serves.process.pid}/status").read()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(rss.split()[1]) < 32 * 1024, rss
    for raw in held:
        raw.socket.close()


def refused(tmp_path, text, *arguments):
    """Runs the broker on a bad configuration; returns what it said on its way out."""
    file = tmp_path / "bad.conf"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run("-c", file, *arguments)
    assert done.returncode not in (0, 101) and done.returncode > 0, done
    assert "panicked" not in done.stderr
    return done.stderr


@pytest.mark.footbridge
class TestConfiguration:
    def test_unknown_directive(self, tmp_path):
        said = refused(tmp_path, "listener 0\n\nmax_inflight_mesages 5\n")
        assert f"{tmp_path}/bad.conf:3" in said
        assert "max_inflight_mesages" in said and "max_inflight_messages" in said

    @pytest.mark.parametrize(
        "line",
        [
            "listener banana",
            "listener 99999",
            "allow_anonymous perhaps",
            "max_inflight_messages -1",
            "topic a out 1",  # outside a connection
            "connection x\ntopic a out 3\naddress 127.0.0.1",
            "connection x\ntopic a sideways\naddress 127.0.0.1",
            "connection x\ntopic a out 1",  # no address
            "persistence",
            "plugin /usr/lib/x.so",
            "psk_file /etc/psk",
        ],
    )
    def test_bad_values_name_file_and_line(self, tmp_path, line):
        said = refused(tmp_path, "# a comment\n" + line + "\n")
        assert f"{tmp_path}/bad.conf:" in said
        assert len(said.strip().splitlines()) == 1, said

    @pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"\0" * 100, b"listener\xc3\x28 1\n"])
    def test_not_a_text_file(self, tmp_path, text):
        assert "bad.conf" in refused(tmp_path, text)

    def test_missing_file(self, tmp_path):
        done = run("-c", tmp_path / "none.conf")
        assert done.returncode > 0 and "none.conf" in done.stderr

    def test_missing_password_file(self, tmp_path):
        text = f"listener {free_port()} 127.0.0.1\npassword_file {tmp_path}/nowhere\n"
        assert "nowhere" in refused(tmp_path, text)

    def test_test_config(self, tmp_path):
        port = free_port()
        file = tmp_path / "good.conf"
        file.write_bytes(f"listener {port} 127.0.0.1\r\nallow_anonymous true".encode())
        done = run("-c", file, "--test-config")
        assert done.returncode == 0, done.stderr
        assert not listens(port)
        said = refused(tmp_path, "no_such_thing 1\n", "--test-config")
        assert "bad.conf:1" in said

    def test_accepted_directives_say_what_happens_instead(self, tmp_path):
        file = tmp_path / "old.conf"
        file.write_text(f"listener {free_port()} 127.0.0.1\nautosave_interval 60\n")
        done = run("-c", file, "--test-config")
        assert done.returncode == 0, done.stderr
        assert "autosave_interval" in done.stderr + done.stdout


@pytest.mark.footbridge
class TestResources:
    @pytest.mark.parametrize("directive", ["log_dest file", "pid_file"])
    def test_a_file_that_cannot_be_written(self, tmp_path, directive):
        text = f"listener {free_port()} 127.0.0.1\n{directive} {tmp_path}/nowhere/x\n"
        said = refused(tmp_path, text)
        assert directive.split()[0] in said and f"{tmp_path}/nowhere/x" in said

    def test_port_in_use(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = refused(tmp_path, f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        assert str(port) in said

    def test_store_folder_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        said = refused(
            tmp_path,
            f"listener {free_port()} 127.0.0.1\npersistence true\n"
            f"persistence_location {tmp_path}/file/\n",
        )
        assert f"{tmp_path}/file" in said

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_store_folder_not_writable(self, tmp_path):
        folder = tmp_path / "sealed"
        folder.mkdir(mode=0o500)
        said = refused(
            tmp_path,
            f"listener {free_port()} 127.0.0.1\npersistence true\n"
            f"persistence_location {folder}/\n",
        )
        assert str(folder) in said

    def test_two_brokers_on_one_store(self, make_broker, tmp_path):
        first = make_broker(durable=True)
        said = refused(
            tmp_path,
            f"listener {free_port()} 127.0.0.1\npersistence true\n"
            f"persistence_location {first.folder}/store/\n",
        )
        assert str(first.folder) in said
        assert first.alive()

    def test_a_torn_store_is_set_aside(self, make_broker, client):
        """A file that can't be opened is kept beside a new one: the broker starts, and says so."""
        broker = make_broker(durable=True)
        sub = client(broker.port, "s", clean=False)
        sub.subscribe("t", 1)
        sub.close()
        broker.stop()
        file = broker.folder / "store" / "footbridge.db"
        file.write_bytes(random.Random(1).randbytes(file.stat().st_size))
        broker.start()
        client(broker.port, "c").publish("t", "x", 1)
        assert [f for f in (broker.folder / "store").iterdir() if ".corrupt-" in f.name]
        assert file.name in broker.log()

    def test_a_log_nobody_reads(self, tmp_path):
        """stderr is a full pipe: the broker serves on."""
        import subprocess

        from harness import FOOTBRIDGE

        port = free_port()
        reader, writer = os.pipe()
        process = subprocess.Popen([FOOTBRIDGE, "-p", str(port), "-v"], stderr=writer)
        try:
            wait_until(lambda: listens(port), what="listening broker")
            for n in range(1500):
                with Raw(port, f"client-with-a-long-name-to-fill-the-log-{n}"):
                    pass
        finally:
            process.terminate()
            assert process.wait(timeout=10) == 0
            os.close(reader)
            os.close(writer)


def test_exit_status_and_speed(make_broker, client):
    broker = make_broker(durable=True, start=False)
    start = time.monotonic()
    broker.start()
    assert time.monotonic() - start < 2
    c = client(broker.port, "c")
    start = time.monotonic()
    broker.stop()  # asserts status 0
    assert time.monotonic() - start < 3
    assert c.closed.wait(5)


def test_port_alone_allows_all_on_loopback(client):
    import subprocess

    from harness import FOOTBRIDGE

    port = free_port()
    process = subprocess.Popen([FOOTBRIDGE, "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), what="listening broker")
        c = client(port, "c")
        c.subscribe("t", 1)
        c.publish("t", "x", 1)
        assert c.payloads(1) == ["x"]
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
