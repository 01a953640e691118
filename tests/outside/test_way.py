"""The TCP connection of a bridge: where it comes from, and how the system finds out that it is dead."""

import os
import socket

import pytest

from harness import FOOTBRIDGE, free_port, wait_until
from test_bridge_directives import Upstream, bridge
from test_late import inside, namespace
from test_settings import option_of_accepted

pytestmark = pytest.mark.footbridge


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.close()


#: SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT
OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
]


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into the sockets of another process")
@pytest.mark.parametrize(
    "lines, wanted",
    [
        ("", (1, 28, 8, 3, 0)),
        ("keepalive_interval 20", (1, 11, 2, 3, 0)),
        ("keepalive_interval 600\nbridge_tcp_keepalive 50 4 3", (1, 50, 4, 3, 0)),
        ("bridge_tcp_keepalive 0", (0, None, None, None, 0)),
        ("bridge_tcp_user_timeout 4321", (1, 28, 8, 3, 4321)),
        ("bridge_tcp_user_timeout 0", (1, 28, 8, 3, 0)),
    ],
)
def test_when_it_is_dead(make_broker, upstream, lines, wanted):
    broker = make_broker(bridge(upstream, *lines.split("\n")))
    upstream.connect()
    here = upstream._listener.getsockname()
    found = [option_of_accepted(broker, here, *option) for option in OPTIONS]
    checked = [f if w is not None else None for f, w in zip(found, wanted)]
    assert checked == list(wanted)


def test_where_it_comes_from(make_broker, upstream):
    make_broker(bridge(upstream, "bridge_bind_address 127.0.0.9"))
    upstream.connect()
    assert upstream._open.getpeername()[0] == "127.0.0.9"


def test_an_address_that_is_not_there(make_broker, upstream):
    """It may be there later; what is said names the directive."""
    lines = bridge(upstream, "bridge_bind_address 192.0.2.77")
    other = bridge(upstream, "bridge_bind_address ::1", name="other")
    broker = make_broker(lines + "\n" + other)
    for says in (
        "bridge_bind_address 192.0.2.77: ",
        "bridge_bind_address ::1 is IPv6, and there are only addresses of IPv4",
    ):
        wait_until(lambda: says in broker.log(), 30, says)


@pytest.mark.skipif(os.geteuid() != 0 or namespace() is None, reason="makes no network of its own here")
@pytest.mark.parametrize(
    "lines, is_busy",
    [
        ("keepalive_interval 600\nbridge_tcp_keepalive 2 1 3", False),
        ("keepalive_interval 600\nbridge_tcp_user_timeout 3000", True),
    ],
)
def test_a_connection_that_is_forgotten_on_the_way(make_broker, make_upstream, lines, is_busy):
    """As by the NAT of a mobile network: what the upstream says is dropped, and nobody says so. MQTT's own
    keep-alive is ten minutes away."""
    port, here, there = free_port(), "10.98.7.2", "10.98.7.1"
    config = f"connection up\naddress {there}:{port}\nbridge_bind_address {here}\ntopic # out 1\n{lines}"
    broker = make_broker(config, start=False)
    broker.wrapper = namespace()
    broker.launch()
    wait_until(lambda: " running" in broker.log(), what="start")
    for address in (here, there):
        inside(broker, "ip", "address", "add", f"{address}/32", "dev", "lo")
    upstream = make_upstream(f"listener {port} {there}", start=False)
    upstream.wrapper = ["nsenter", "--target", str(broker.process.pid), "--net"]
    upstream.launch()
    wait_until(lambda: "Bridge up connected to" in broker.log(), 60, "connection")
    # The table of local addresses is looked at before all else, unless it is moved.
    inside(broker, "ip", "rule", "add", "pref", "200", "lookup", "local")
    inside(broker, "ip", "rule", "del", "pref", "0")
    inside(broker, "ip", "rule", "add", "pref", "100", "from", there, "to", here, "blackhole")
    if is_busy:
        inside(broker, FOOTBRIDGE, "pub", "-p", str(broker.port), "-t", "t", "-m", "x", "-q", "1")
    wait_until(lambda: "Connection timed out" in broker.log(), 60, "end of the connection")


@pytest.mark.skipif(os.geteuid() != 0 or namespace() is None, reason="makes no network of its own here")
def test_an_address_of_a_link(make_broker, make_upstream):
    """It needs its interface, which may come later."""
    port = free_port()
    bridges = [
        f"connection {name}\naddress [fe80::7%{name}]:{port}\ntopic #\nrestart_timeout 1"
        for name in ("lo", "wan0")
    ]
    broker = make_broker("\n".join(bridges), start=False)
    broker.wrapper = namespace()
    broker.launch()
    wait_until(lambda: "there is no interface wan0" in broker.log(), 30, "refusal")
    inside(broker, "ip", "address", "add", "fe80::7/64", "dev", "lo")
    upstream = make_upstream(f"listener {port}", start=False)
    upstream.wrapper = ["nsenter", "--target", str(broker.process.pid), "--net"]
    upstream.launch()
    wait_until(lambda: "Bridge lo connected to" in broker.log(), 60, "connection")
