"""Bridges whose way to the upstream is not straight: TLS with a clock that is wrong, WebSocket, a proxy."""

import base64
import contextlib
import socket
import subprocess
import threading
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
    """A Mosquitto that has TLS at `tls_port`, WebSocket at `ws_port`, and both at `wss_port`."""
    ports = free_port(), free_port(), free_port()
    own = f"certfile {tls}/s.pem\nkeyfile {tls}/s.key"
    made = make_upstream(
        f"listener {ports[0]} 127.0.0.1\n{own}\n"
        f"listener {ports[1]} 127.0.0.1\nprotocol websockets\n"
        f"listener {ports[2]} 127.0.0.1\nprotocol websockets\n{own}"
    )
    made.tls_port, made.ws_port, made.wss_port = ports
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
    wait_until(lambda: "The clock is set: bridge up tries again" in broker.log(), what="line in the log")
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
            says = "no answer to the TLS handshake in time: is this a port with TLS?"
            wait_until(lambda: says in broker.log(), 30, says)


def test_tls_on_one_side_only(make_broker, upstream, servant, tls):
    """A bridge without TLS at a port with it, and the other way round."""
    closes = servant(lambda link: link.recv(1)).port
    alerts = servant(lambda link: link.recv(1) and link.sendall(b"\x15\x03\x01\0\x02\x02\x46")).port
    plain = make_broker(bridge(f"localhost:{alerts} localhost:{upstream.tls_port}"))
    for says in (
        f"(localhost:{alerts}): not MQTT: this port speaks TLS: for that the bridge needs bridge_cafile",
        "without an answer to CONNECT: does the upstream refuse this client, or is this a port with TLS",
    ):
        wait_until(lambda: says in plain.log(), 30, says)
    web = servant(lambda link: link.recv(1) and link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")).port
    ports = f"localhost:{web} localhost:{upstream.port} localhost:{closes}"
    sealed = make_broker(bridge(ports, f"bridge_cafile {tls}/ca.pem"))
    for says in (
        f"(localhost:{web}): TLS: what came is no TLS: is this port one with TLS?",
        f"(localhost:{upstream.port}): in the TLS handshake: ",
        f"(localhost:{closes}): in the TLS handshake: ",
    ):
        wait_until(lambda: says in sealed.log(), 30, says)


class Servant:
    """Takes connections, one after the other, and gives each to `serve`."""

    def __init__(self, serve):
        self._serve = serve
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._give, args=(link,), daemon=True).start()

    def _give(self, link):
        link.settimeout(60)
        with link, contextlib.suppress(OSError):
            self._serve(link)

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._server.close()


@pytest.fixture
def servant():
    made = []

    def make(serve):
        made.append(Servant(serve))
        return made[-1]

    yield make
    for one in made:
        one.close()


def head(link):
    """A head of HTTP."""
    came = b""
    while not came.endswith(b"\r\n\r\n"):
        byte = link.recv(1)
        if not byte:
            break
        came += byte
    return came.decode()


def answers(*texts):
    """Serves with the next of these answers, the last for ever, and keeps what was asked."""
    left, asked = list(texts), []

    def serve(link):
        asked.append(head(link))
        link.sendall((left.pop(0) if len(left) > 1 else left[0]).encode())

    serve.asked = asked
    return serve


class Proxy:
    """Opens a way to a port here, whatever name it is asked for, to who has logged in."""

    def __init__(self, port, login=None):
        self.port, self.login, self.asked = port, login, []

    def __call__(self, link):
        asked = head(link)
        self.asked.append(asked)
        if self.login:
            wanted = base64.b64encode(self.login.encode()).decode()
            if f"Proxy-Authorization: Basic {wanted}\r\n" not in asked:
                link.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as behind:
            link.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            threading.Thread(target=self.carry, args=(behind, link), daemon=True).start()
            self.carry(link, behind)

    @staticmethod
    def carry(source, sink):
        """Passes on what comes, and the end."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("whose", ["mosquitto", "footbridge"])
def test_a_bridge_over_websocket(make_broker, client, upstream, tls, whose, scheme):
    """Small and large messages go up and come down, also after the upstream was away. Down, Mosquitto 2.0
    sends 4 KB ten times a second."""
    port, largest = {"ws": upstream.ws_port, "wss": upstream.wss_port}[scheme], 10_000
    if whose == "footbridge":
        own = f"certfile {tls}/s.pem\nkeyfile {tls}/s.key" if scheme == "wss" else ""
        port, largest = free_port(), 700_000
        upstream = make_broker(f"listener {port} 127.0.0.1\nprotocol websockets\n{own}")
    trust = [f"bridge_cafile {tls}/ca.pem"] if scheme == "wss" else []
    broker = make_broker(
        bridge(f"{scheme}://localhost:{port}/mqtt?key=sekrit", "topic up/# out 1", "topic down/# in 1",
               "restart_timeout 1", *trust)
    )
    up = ["x", "y" * 127, "z" * 70_000, "l" * 700_000]
    down = [payload[:largest] for payload in up]
    for _ in range(2):
        carries(client, upstream, broker)
        above, below = client(upstream.port, "above"), client(broker.port, "below")
        above.subscribe("up/#", 1)
        below.subscribe("down/#", 1)
        for to_above, to_below in zip(up, down):
            below.publish("up/a", to_above, 1)
            above.publish("down/a", to_below, 1)
        assert above.payloads(len(up), timeout=30) == up
        assert below.payloads(len(down), timeout=30) == down
        above.close()
        below.close()
        upstream.restart()
    wait_until(lambda: f"({scheme}://localhost:{port}/mqtt)" in broker.log(), what="line in the log")
    assert "sekrit" not in broker.log() + upstream.log()


def test_a_websocket_is_closed_with_its_bridge(make_broker, upstream, servant):
    """A clean stop says goodbye in MQTT and in WebSocket (RFC 6455 section 7)."""
    said = []

    def serve(link):
        with socket.create_connection(("127.0.0.1", upstream.ws_port), timeout=60) as behind:
            def down():
                # Its end is not passed on: what the bridge says behind DISCONNECT is to come.
                with contextlib.suppress(OSError):
                    while data := behind.recv(65536):
                        link.sendall(data)

            threading.Thread(target=down, daemon=True).start()
            while data := link.recv(65536):
                said.append(data)
                with contextlib.suppress(OSError):
                    behind.sendall(data)

    broker = make_broker(bridge(f"ws://127.0.0.1:{servant(serve).port}/"))
    wait_until(lambda: "connected to ws://" in broker.log(), 30, "bridge")
    broker.stop()
    # DISCONNECT in a masked binary frame, or several packets in one; a masked Close frame behind it.
    wait_until(lambda: b"".join(said)[-8:-6] == b"\x88\x82", what="close")


def test_addresses_of_all_kinds_stand_by(make_broker, client, upstream, servant):
    """A wss:// address that nobody answers at as it should, and MQTT as it is."""
    portal = servant(answers("HTTP/1.1 302 Found\r\nLocation: http://portal.example/login?x=sekrit\r\n\r\n"))
    broker = make_broker(bridge(f"ws://127.0.0.1:{portal.port}/mqtt 127.0.0.1:{upstream.port}"))
    carries(client, upstream, broker)
    says = "no WebSocket at /mqtt: 302 Found, go to http://portal.example/login: put that into `address`"
    assert says in broker.log() and "sekrit" not in broker.log()


def test_what_is_no_websocket_is_told(make_broker, upstream, servant, tls):
    serve = answers(
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Welcome to the hotel",
        "",
        "HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
        "\x15\x03\x01",
    )
    port = servant(serve).port
    broker = make_broker(bridge(f"ws://127.0.0.1:{port}/mqtt", "restart_timeout 1"))
    for says in (
        "no WebSocket at /mqtt: 404 Not Found: `address` needs the path for MQTT",
        "a page for people answers; is it the login page of this network",
        "when asked for a WebSocket: connection closed by the peer",
        "without our key in its answer",
        "what answers is TLS, not HTTP: wss://",
    ):
        wait_until(lambda: says in broker.log(), 30, says)
    assert serve.asked[0].startswith(f"GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")
    # Ports that speak another protocol.
    ports = upstream.port, upstream.wss_port
    others = make_broker(
        bridge(f"ws://127.0.0.1:{ports[0]}/ ws://127.0.0.1:{ports[1]}/ wss://127.0.0.1:{ports[0]}/",
               f"bridge_cafile {tls}/ca.pem")
    )
    for says in ("when asked for a WebSocket: ", "in the TLS handshake: "):
        wait_until(lambda: says in others.log(), 30, says)


@pytest.mark.parametrize("login", [None, "gate@way:p%3A w"])
def test_a_bridge_through_a_proxy(make_broker, client, upstream, tls, servant, login):
    """The proxy looks the name up, which is not known here."""
    proxy = Proxy(upstream.wss_port, login)
    text = "gate%40way:p%253A%20w@" if login else ""
    broker = make_broker(
        bridge("wss://localhost.invalid/mqtt", f"bridge_cafile {tls}/ca.pem", "bridge_insecure true",
               f"bridge_proxy http://{text}127.0.0.1:{servant(proxy).port}")
    )
    carries(client, upstream, broker)
    assert proxy.asked[0].startswith(
        "CONNECT localhost.invalid:443 HTTP/1.1\r\nHost: localhost.invalid:443\r\n"
    )
    assert "gate" not in broker.log() and "p%" not in broker.log()


def test_what_a_proxy_does_not_do_is_told(make_broker, servant):
    serve = answers(
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\n\r\n",
        "HTTP/1.0 502 Bad Gateway\r\n\r\n",
        "",
        "SSH-2.0-dropbear\r\n",
    )
    broker = make_broker(
        bridge("up.invalid:1883", f"bridge_proxy http://me:sekrit@127.0.0.1:{servant(serve).port}",
               "restart_timeout 1")
    )
    for says in (
        "the proxy opens no way to up.invalid:1883: 407 Proxy Authentication Required: it does not take",
        "the proxy opens no way to up.invalid:1883: 403 Forbidden: its rules forbid it",
        "the proxy opens no way to up.invalid:1883: 502 Bad Gateway: it cannot reach the upstream",
        "the proxy, asked for a way to the upstream: connection closed by the peer",
        "the proxy: what answers is not HTTP",
    ):
        wait_until(lambda: says in broker.log(), 30, says)
    assert "sekrit" not in broker.log()
