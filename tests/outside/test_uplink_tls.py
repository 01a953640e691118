"""Bridges with TLS, where the way to the upstream is not straight: a clock that is wrong."""

import socket
import subprocess
import time

import pytest

from harness import free_port, wait_until
from test_clock import BOOT, NOW, FakedClock

pytestmark = pytest.mark.footbridge


def openssl(*words, cwd):
    done = subprocess.run(["openssl", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tls(tmp_path):
    """A folder with a CA, and a certificate for localhost that holds from now on."""
    folder = tmp_path / "tls"
    folder.mkdir()
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test CA",
            "-days", "3650", cwd=folder)
    openssl("req", *key, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=localhost", cwd=folder)
    (folder / "s.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "s.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-extfile", "s.ext", "-days", "30", "-out", "s.pem", cwd=folder)
    for name in ("s.key", "ca.key"):
        (folder / name).chmod(0o640)
    return folder


@pytest.fixture
def upstream(make_upstream, tls):
    """A Mosquitto whose second port, `tls_port`, has TLS."""
    port = free_port()
    made = make_upstream(f"listener {port} 127.0.0.1\ncertfile {tls}/s.pem\nkeyfile {tls}/s.key")
    made.tls_port = port
    return made


def bridge(address, *lines):
    return "\n".join(["connection up", f"address {address}", "topic # out 1", *lines])


def carries(client, upstream, broker, payload="x"):
    """What is published here comes to the upstream."""
    watcher = client(upstream.port, "watcher")
    watcher.subscribe("t", 1)
    client(broker.port, "device").publish("t", payload, 1)
    assert watcher.payloads(1, timeout=30) == [payload]
    watcher.close()


def test_a_bridge_connects_as_soon_as_the_clock_is_set(make_broker, client, upstream, tls):
    """A box without a battery wakes up in 1970: the certificate is from after the release, so it is not
    valid yet. The next attempt is an hour away, and comes when the clock is set."""
    address = f"localhost:{upstream.tls_port}"
    lines = [f"bridge_cafile {tls}/ca.pem", "restart_timeout 3600"]
    broker = make_broker(bridge(address, *lines), durable=True, start=False)
    clock = FakedClock(broker)
    clock.start(BOOT)
    wait_until(lambda: "not valid yet" in broker.log(), timeout=30, what="refusal")
    time.sleep(3)
    said = broker.log()
    assert said.count("The clock is wrong: it says 1970-01-01T00:00:") == 1
    assert "NTP" in said and "connected to" not in said
    clock.set(NOW)
    carries(client, upstream, broker)
    assert "The clock is set: bridge up tries again" in broker.log()
    # What was known then is the floor of runs that begin in 1970 again.
    for _ in range(2):
        broker.kill()
        seen = len(broker.log())
        clock.start(BOOT)
        carries(client, upstream, broker)
        assert "The clock is wrong" in broker.log()[seen:]


def test_an_upstream_that_is_silent_holds_nobody_up(make_broker, client, tls):
    """It takes the connection and does not answer the ClientHello: the site goes on meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        port = server.getsockname()[1]
        broker = make_broker(bridge(f"localhost:{port}", f"bridge_cafile {tls}/ca.pem"))
        with server.accept()[0] as link:
            assert link.recv(1) == b"\x16"
            device = client(broker.port, "device")
            device.subscribe("t", 1)
            device.publish("t", "x", 1)
            assert device.payloads(1) == ["x"]
