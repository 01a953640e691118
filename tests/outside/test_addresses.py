"""Several addresses of a bridge, before real Mosquittos: over to a standby, and back to the primary."""

import os
import signal
import socket
import threading
import time

import pytest

from harness import wait_until
from link import Link

pytestmark = pytest.mark.footbridge


@pytest.fixture
def bridge(make_broker):
    """Starts a broker whose bridge has these ports: `bridge([1, 2], "round_robin true", …)`."""

    def make(ports, *lines):
        addresses = " ".join(f"127.0.0.1:{port}" for port in ports)
        lines = [
            "connection edge",
            f"addresses {addresses}",
            "topic x/# both 1",
            "remote_clientid edge",
            "cleansession false",
            "restart_timeout 1",
            *lines,
        ]
        return make_broker("\n".join(lines), durable=True)

    return make


def is_up(edge, port, count=1):
    """Waits until the bridge has connected to the port so often."""
    line = f"Bridge edge connected to 127.0.0.1:{port} "
    wait_until(lambda: edge.log().count(line) >= count, timeout=40, what=f"bridge at {port}")


class Subscriber:
    """Everything below x at an upstream."""

    def __init__(self, client, port):
        self._client = client(port, f"there{port}")
        self._client.subscribe("x/#", 1)

    def payloads(self, count):
        return self._client.payloads(count, timeout=30)


def test_back_to_the_primary(bridge, make_upstream, client, link):
    """Once it is there again, and nothing is lost on the way."""
    one, two = make_upstream(), make_upstream()
    primary = link(one.port)
    primary.cut()
    first, second = Subscriber(client, one.port), Subscriber(client, two.port)
    edge = bridge([primary.port, two.port])
    is_up(edge, two.port)
    device = client(edge.port, "device")
    device.publish("x/1", "a", 1)
    assert second.payloads(1) == ["a"]
    primary.mend()
    is_up(edge, primary.port)
    device.publish("x/1", "b", 1)
    assert first.payloads(1) == ["b"]
    state = client(two.port, "state")
    state.subscribe("$SYS/broker/connection/edge/state", 1)
    assert state.payloads(1) == ["0"], "it has taken leave"
    wait_until(lambda: "edge-probe" in one.log(), what="line in the log")


def test_an_older_session_elsewhere_after_a_restart(bridge, make_upstream, link):
    """Brokers that know nothing of each other: the session at the standby is not that of the last
    connection, whether the process is still the same or not."""
    primary, standby = link(make_upstream().port), link(make_upstream().port)
    edge = bridge([primary.port, standby.port])

    def sessions(port):
        lines = (line for line in edge.log().splitlines() if f":{port} with" in line)
        return [line.rsplit(", ", 1)[-1] for line in lines]

    is_up(edge, primary.port)
    primary.cut()
    is_up(edge, standby.port)
    primary.mend()
    is_up(edge, primary.port, 2)
    edge.stop()
    primary.cut()
    edge.start()
    is_up(edge, standby.port, 2)
    edge.restart()
    is_up(edge, standby.port, 3)
    assert sessions(primary.port) == ["new session", "new session"]
    assert sessions(standby.port) == ["new session", "new session", "session resumed"]


def test_all_are_equal(bridge, make_upstream, link):
    one, two = make_upstream(), make_upstream()
    primary = link(one.port)
    primary.cut()
    edge = bridge([primary.port, two.port], "round_robin true")
    is_up(edge, two.port)
    primary.mend()
    time.sleep(6)
    assert "probe" not in one.log() and one.log().count("edge") == 0
    assert edge.log().count("connected to") == 1


def test_a_port_is_no_broker(bridge, make_upstream, client):
    """Something takes TCP at the primary, as a proxy does whose broker is down."""
    two = make_upstream()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = []

        def serve():
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                asked.append(near.recv(100))
                near.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        edge = bridge([listener.getsockname()[1], two.port])
        is_up(edge, two.port)
        before = len(asked)
        wait_until(lambda: len(asked) >= before + 2, timeout=30, what="probes")
        assert all(b"edge-probe" in connect for connect in asked[before:])
        assert edge.log().count("connected to") == 1, "it stays where it works"
        there = Subscriber(client, two.port)
        client(edge.port, "device").publish("x/1", "a", 1)
        assert there.payloads(1) == ["a"]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


class OneId(Link):
    """The way to a broker that allows no client id but that of the bridge."""

    def _carried(self, source, sink, data):
        if b"edge-probe" in data:
            source.sendall(b"\x20\x03\x00\x87\x00")
            raise ConnectionError


def test_a_primary_that_allows_the_bridge_only(bridge, make_upstream):
    """It refuses the probe: the bridge goes there all the same."""
    one, two = make_upstream(), make_upstream()
    primary = OneId(one.port)
    primary.cut()
    edge = bridge([primary.port, two.port])
    is_up(edge, two.port)
    primary.mend()
    try:
        is_up(edge, primary.port)
        wait_until(lambda: "though it does not take the probe" in edge.log(), what="line in the log")
    finally:
        primary.cut()


@pytest.mark.parametrize("frozen", ["the primary", "the standby"])
def test_a_frozen_upstream(bridge, make_upstream, client, link, frozen):
    """It takes TCP and answers nothing; the bridge moves over within a keep-alive, and the time for a
    loaded machine."""
    one, two = make_upstream(), make_upstream()
    ports = [one.port, two.port]
    if frozen == "the standby":
        ports.reverse()
    edge = bridge(ports, "keepalive_interval 20", "round_robin true")
    is_up(edge, ports[0])
    there = Subscriber(client, ports[1])
    device = client(edge.port, "device")
    stopped = one if frozen == "the primary" else two
    os.kill(stopped.process.pid, signal.SIGSTOP)
    try:
        device.publish("x/1", "a", 1)
        assert there.payloads(1) == ["a"]
        is_up(edge, ports[1])
    finally:
        os.kill(stopped.process.pid, signal.SIGCONT)


def test_a_frozen_primary_at_the_start(bridge, make_upstream, client):
    """The standby does not wait for the whole patience with the primary."""
    one, two = make_upstream(), make_upstream()
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        edge = bridge([one.port], f"address 127.0.0.1:{two.port}")
        is_up(edge, two.port)
        assert "trying MQTT 3.1.1" not in edge.log()
    finally:
        os.kill(one.process.pid, signal.SIGCONT)


def test_a_stream_moves_there_and_back(bridge, make_upstream, client, link):
    """The nodes of a cluster, as one broker behind two addresses: it has the session at both. Each
    message comes, in its order, and QoS 2 once."""
    cloud = make_upstream()
    one, two = link(cloud.port), link(cloud.port)
    edge = bridge([one.port, two.port], "topic y/# both 2")
    is_up(edge, one.port)
    there = client(cloud.port, "there")
    here = client(edge.port, "here")
    there.subscribe("y/up", 2)
    here.subscribe("y/down", 2)
    device, operator = client(edge.port, "device"), client(cloud.port, "operator")
    time.sleep(10)  # Until then it would count as an attempt that failed.
    for n in range(300):
        device.paho.publish("y/up", f"{n}", 2)
        operator.paho.publish("y/down", f"{n}", 2)
        if n == 100:
            one.cut()
            is_up(edge, two.port)
        if n == 200:
            one.mend()
            is_up(edge, one.port, count=2)
        time.sleep(0.01)
    expected = [f"{n}" for n in range(300)]
    assert there.payloads(300, timeout=60) == expected
    assert here.payloads(300, timeout=60) == expected
    there.silent()
    here.silent()
