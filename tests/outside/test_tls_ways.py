"""Bridges by WebSocket through nginx, and through tinyproxy: networks that let nothing else out."""

import time

import pytest

from harness import free_port, wait_until
from test_tls_bridge import bridge, crosses, up
from tls_peers import said
from upstreams.nginx import Nginx
from upstreams.tinyproxy import Tinyproxy

pytestmark = pytest.mark.footbridge

TOPIC = "topic # both 2"


@pytest.fixture
def behind(request, make_upstream, make_broker):
    """A broker with WebSocket and without TLS, at `web_port`: Mosquitto or footbridge."""
    port = free_port()
    make = {"mosquitto": make_upstream, "footbridge": make_broker}[request.param]
    upstream = make(f"listener {port} 127.0.0.1\nprotocol websockets")
    upstream.web_port = port
    return upstream


BOTH = pytest.mark.parametrize("behind", ["mosquitto", "footbridge"], indirect=True)
ONE = pytest.mark.parametrize("behind", ["footbridge"], indirect=True)


def by_web(port, path="/mqtt", *lines):
    """A bridge to a port of nginx."""
    return bridge(port, *lines, topic=TOPIC).replace(
        f"address localhost:{port}", f"address wss://localhost:{port}{path}"
    )


@BOTH
def test_nginx_ends_tls_for_a_web_socket(behind, make_broker, client, ca, tmp_path):
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.web(ca.issue(key="RSA"), behind.web_port, ca)
        nginx.start()
        edge = make_broker(by_web(port, "/mqtt", f"bridge_cafile {ca.cert}"))
        up(edge)
        # Mosquitto 2.0 sends 4 KB ten times a second by WebSocket.
        crosses(client, edge, behind.port, sizes=(10, 10_000))
        nginx.restart()
        up(edge, 2)
        crosses(client, edge, behind.port, sizes=(10,))


@ONE
def test_a_bridge_that_is_quiet_stays_connected(behind, make_broker, client, ca, tmp_path):
    """nginx closes what says nothing for so long; the pings of the bridge come before."""
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.web(ca.issue(), behind.web_port, ca, idle=15)
        nginx.start()
        lines = [f"bridge_cafile {ca.cert}", "keepalive_interval 5"]
        edge = make_broker(by_web(port, "/mqtt", *lines))
        up(edge)
        time.sleep(25)
        assert edge.log().count("Bridge cloud connected to") == 1
        crosses(client, edge, behind.port, sizes=(10,))


@ONE
@pytest.mark.parametrize(
    "path, says",
    [
        ("/elsewhere", "404 Not Found"),
        ("/closed", "403 Forbidden"),
        ("/moved", "go to https://localhost/elsewhere"),
    ],
)
def test_what_nginx_has_not_is_told(behind, make_broker, ca, tmp_path, path, says):
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.web(ca.issue(), behind.web_port, ca)
        nginx.start()
        edge = make_broker(by_web(port, path, f"bridge_cafile {ca.cert}"))
        line = said(edge, says)
        assert "no WebSocket" in line and path in line, line


@ONE
def test_nobody_behind_nginx(behind, make_broker, client, ca, tmp_path):
    """nginx says 502 until the broker behind it is back."""
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.web(ca.issue(), behind.web_port, ca)
        nginx.start()
        behind.stop()
        edge = make_broker(by_web(port, "/mqtt", f"bridge_cafile {ca.cert}"))
        said(edge, "502 Bad Gateway")
        behind.start()
        up(edge)
        crosses(client, edge, behind.port, sizes=(10,))


@BOTH
@pytest.mark.parametrize("login", [None, "site:sek%72it"], ids=["open", "with a login"])
def test_tinyproxy_and_nginx(behind, make_broker, client, ca, tmp_path, login):
    """As in an office: the proxy lets the port of HTTPS through, a cloud's nginx ends TLS."""
    with Nginx(tmp_path / "nginx") as nginx:
        port = nginx.web(ca.issue(), behind.web_port, ca)
        nginx.start()
        lines = [f"ConnectPort {port}", *(["BasicAuth site sekrit"] if login else [])]
        with Tinyproxy(tmp_path / "proxy", *lines) as proxy:
            place = f"{login}@127.0.0.1" if login else "127.0.0.1"
            lines = [f"bridge_cafile {ca.cert}", f"bridge_proxy http://{place}:{proxy.port}"]
            edge = make_broker(by_web(port, "/mqtt", *lines))
            up(edge)
            crosses(client, edge, behind.port, sizes=(10, 10_000))
            proxy.restart()
            up(edge, 2)
            wait_until(lambda: f"CONNECT localhost:{port}" in proxy.log(), what="line in the log")
            assert "72it" not in edge.log() and "sekrit" not in edge.log()


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
def test_tinyproxy_without_web_sockets(secure, make_broker, client, ca, tmp_path, tls):
    """Each kind of address goes through it."""
    upstream = secure(ca.issue())
    port = upstream.tls_port if tls else upstream.port
    with Tinyproxy(tmp_path / "proxy") as proxy:
        lines = [f"bridge_proxy http://127.0.0.1:{proxy.port}"]
        lines += [f"bridge_cafile {ca.cert}"] if tls else []
        edge = make_broker(bridge(port, *lines, topic=TOPIC))
        up(edge)
        crosses(client, edge, upstream.port)


@pytest.mark.parametrize(
    "lines, login, says",
    [
        (["ConnectPort 443"], "", "403"),
        (["BasicAuth site sekrit"], "", "wants a login"),
        (["BasicAuth site sekrit"], "site:wrong@", "does not take the user name and password"),
    ],
    ids=["another port", "no login", "a wrong login"],
)
def test_what_tinyproxy_does_not_do_is_told(make_broker, tmp_path, lines, login, says):
    with Tinyproxy(tmp_path / "proxy", *lines) as proxy:
        edge = make_broker(bridge(free_port(), f"bridge_proxy http://{login}127.0.0.1:{proxy.port}"))
        line = said(edge, says)
        assert "proxy" in line and "wrong" not in line.replace("wrong login", ""), line
