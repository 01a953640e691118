"""What a bridge says in the log of what is wrong, and what it does not say."""

import os
import signal
import socket
import subprocess
import threading
import time

import pytest

import wire
from harness import FOOTBRIDGE, free_port, run, wait_until

pytestmark = pytest.mark.footbridge


class Stub:
    """Takes connections, one after the other, and answers the first bytes of each by
    `answer(data)`; None closes the connection."""

    def __init__(self, answer, banner=b""):
        self._answer, self._banner = answer, banner
        self.connects = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connects += 1
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection):
        with connection:
            try:
                connection.sendall(self._banner)
                while data := connection.recv(65536):
                    answer = self._answer(data)
                    if answer is None:
                        return
                    connection.sendall(answer)
            except OSError:
                pass


def bridge(port, *lines):
    return "\n".join(
        [
            "connection cloud",
            f"address 127.0.0.1:{port}",
            "remote_clientid edge",
            "restart_timeout 1",
            "topic # out 1",
            *lines,
        ]
    )


def said(broker, what, timeout=20):
    """The first line with `what`; without its time."""
    wait_until(lambda: what in broker.log(), what=what, timeout=timeout)
    return next(line for line in broker.log().splitlines() if what in line)


HTTP = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n<html>"


@pytest.mark.parametrize(
    "answer, banner, speaks",
    [
        (HTTP, b"", "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", b"", "TLS"),
        (None, b"SSH-2.0-dropbear_2022.83\r\n", "SSH"),
        (None, b"220 mail.example ESMTP Postfix\r\n", "SMTP, FTP or the like"),
        (b"AMQP\x00\x00\x09\x01", b"", "AMQP"),
    ],
)
def test_another_protocol_at_the_address(make_broker, answer, banner, speaks):
    with Stub(lambda _: answer, banner) as stub:
        broker = make_broker(bridge(stub.port), quiet=True)
        line = said(broker, f"not MQTT: this port speaks {speaks}: ")
        assert f"Bridge cloud (127.0.0.1:{stub.port}): " in line and "address" in line
        wait_until(lambda: stub.connects >= 4, what="further attempts", timeout=30)
        assert broker.log().count("not MQTT") == 1
        assert "upstream does not take" not in broker.log()


@pytest.mark.parametrize("version", ["", "bridge_protocol_version mqttv50"])
def test_an_upstream_without_mqtt_5(make_broker, version):
    """It answers by the book of 3.1.1: return code 1 and no properties."""
    levels = []

    def answer(data):
        if data[0] >> 4 != wire.CONNECT:
            return b""
        levels.append(data[8])
        return b"\x20\x02\x00\x00" if data[8] == 4 else b"\x20\x02\x00\x01"

    with Stub(answer) as stub:
        broker = make_broker(bridge(stub.port, "try_private false", version), quiet=True)
        if version:
            line = said(broker, "no MQTT 5 here: set bridge_protocol_version mqttv311")
            assert f"Bridge cloud (127.0.0.1:{stub.port}): " in line
            assert set(levels) == {5}
        else:
            said(broker, "upstream does not take MQTT 5 (refused: unsupported protocol version (0x84)), trying MQTT 3.1.1")
            said(broker, "Bridge cloud connected to")
            assert levels == [5, 4]


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_a_refused_login(make_broker, make_upstream, tmp_path, version):
    """On both sides: with the user name, and once, however often it is tried."""
    passwords = tmp_path / "passwords"
    run("passwd", "-c", "-b", passwords, "roger", "sekrit")
    upstream = make_broker(f"password_file {passwords}", quiet=True, anonymous=False)
    login = ("remote_username roger", "remote_password wrong")
    edge = make_broker(
        bridge(upstream.port, f"bridge_protocol_version {version}", "try_private false", *login),
        quiet=True,
    )
    line = said(edge, "upstream refuses user roger: not authorized")
    assert "Bridge cloud" in line and ": check remote_username and remote_password" in line
    line = said(upstream, "Client edge (127.0.0.1:")
    assert ", user roger) refused: not authorized" in line
    assert "unknown user or wrong password: check password_file" in line
    time.sleep(5)
    assert edge.log().count("upstream refuses user") == 1
    assert upstream.log().count(" refused: ") == 1


def test_stopping_is_no_failure(make_broker, make_upstream, client):
    """Neither for a bridge that is up nor for one that is not."""
    upstream = make_upstream()
    there = client(upstream.port, "there")
    there.subscribe("$SYS/broker/connection/edge/state", 1)
    away = bridge(free_port()).replace("cloud", "away").replace("edge", "edge2")
    broker = make_broker(bridge(upstream.port) + "\n" + away, quiet=True)
    said(broker, "Bridge cloud connected to")
    said(broker, "Bridge away (")
    assert there.payloads(1) == ["1"]
    before = broker.log()
    broker.stop()
    after = broker.log()[len(before) :]
    assert "Bridge cloud: disconnected." in after
    stopping = after.split("footbridge stopping")[1]
    assert "next attempt" not in stopping, stopping
    assert there.payloads(1) == ["0"]
    wait_until(lambda: "Client edge disconnected." in upstream.log(), what="a DISCONNECT")


def test_removed_is_no_failure(make_broker, make_upstream):
    upstream = make_upstream()
    away = bridge(free_port()).replace("cloud", "away").replace("edge", "edge2")
    broker = make_broker(bridge(upstream.port) + "\n" + away, quiet=True)
    said(broker, "Bridge cloud connected to")
    said(broker, "Bridge away (")
    text = broker.config_file.read_text()
    broker.config_file.write_text(text.split("connection ")[0])
    os.kill(broker.process.pid, signal.SIGHUP)
    said(broker, "Configuration reloaded.")
    time.sleep(2)
    removed = broker.log().split("Bridge cloud: disconnected.")[1]
    assert "next attempt" not in removed


@pytest.mark.parametrize(
    "upstream, words",
    [
        ("make_broker", "disconnected by upstream again and again: another client uses"),
        # Mosquitto 2.0.11 just closes the connection that is taken over, with MQTT 5 too.
        ("make_upstream", "again and again: perhaps another client uses"),
    ],
)
def test_two_boxes_with_one_client_id(make_broker, request, upstream, words):
    """Each of the two is told after the third time, and then its log is quiet."""
    upstream = request.getfixturevalue(upstream)()
    boxes = [make_broker(bridge(upstream.port), quiet=True) for _ in range(2)]
    for box in boxes:
        line = said(box, words, timeout=60)
        assert "another client uses the remote_clientid edge, too" in line
    size = [len(box.log()) for box in boxes]
    time.sleep(5)
    assert size == [len(box.log()) for box in boxes]
    for box in boxes:
        assert box.log().count("again and again") == 1
        assert box.log().count("Bridge cloud connected to") <= 4


def on_host(name):
    """What runs a command on a host of this name."""
    return [
        "unshare",
        *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
        *("--uts", "sh", "-c"),
        f'echo {name} >/proc/sys/kernel/hostname && exec "$@"',
        "sh",
    ]


FRESH = on_host("OpenWrt")


def test_a_host_name_from_the_factory(make_broker, tmp_path):
    """The start warns, and --test-config does; only where the client id was not said."""
    config = tmp_path / "broker.conf"
    lines = bridge(free_port()).replace("remote_clientid edge\n", "")
    for wanted, text in [(True, lines), (False, lines + "\nremote_clientid x\n")]:
        config.write_text(text)
        command = [*FRESH, FOOTBRIDGE, "-c", config, "--test-config"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=10)
        assert told.returncode == 0, told.stderr
        assert ("client id towards the upstream is OpenWrt.cloud" in told.stdout) == wanted
        assert ("${mac}" in told.stdout) == wanted
    broker = make_broker(lines, start=False, quiet=True)
    broker.wrapper = FRESH
    broker.start()
    said(broker, "Warning: connection cloud: the client id towards the upstream is OpenWrt.cloud")


def test_the_host_gets_another_name(make_broker, make_upstream, client):
    """Its name is in the client id; what waits goes up all the same."""
    upstream = make_upstream(start=False)
    lines = bridge(upstream.port).replace("remote_clientid edge\n", "")
    broker = make_broker(lines, start=False, quiet=True, durable=True)
    broker.wrapper = FRESH
    broker.start()
    device = client(broker.port, "device")
    for n in range(3):
        device.publish("a", n, 1)
    broker.stop()
    upstream.start()
    there = client(upstream.port, "there")
    there.subscribe("a", 1)
    broker.wrapper = on_host("site-7")
    broker.start()
    said(broker, "local.site-7.cloud instead of local.OpenWrt.cloud. What waits goes up by it, 3 messages")
    assert there.payloads(3, timeout=20) == ["0", "1", "2"]
