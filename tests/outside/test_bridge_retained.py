"""Retained values that change, are cleared and come new while the link is down: in the end a fresh
subscriber of the upstream, a real Mosquitto, finds what one here does."""

import queue
import time

import pytest

from clients import V5, props
from harness import wait_until

QUIET = 0.3


@pytest.fixture
def kept(client):
    """What a fresh subscriber finds retained: `kept(broker)`."""

    def look(broker):
        fresh = client(broker.port, f"fresh{time.monotonic_ns()}")
        fresh.subscribe("#", 1)
        found = {}
        while True:
            try:
                message = fresh.get(QUIET)
            except queue.Empty:
                fresh.close()
                return found
            if message.retain:
                found[message.topic] = message.payload.decode()

    return look


@pytest.fixture
def site(make_broker, make_upstream, link, kept):
    """An edge broker, its upstream and the link between: `site("topic …", …)`."""

    class Site:
        def __init__(self, *lines, upstream="", durable=False):
            self.upstream = make_upstream(upstream, durable=durable)
            self.link = link(self.upstream.port)
            bridge = [
                "connection edge",
                f"address 127.0.0.1:{self.link.port}",
                "remote_clientid edge",
                "notifications false",
                "restart_timeout 1",
                *lines,
            ]
            self.edge = make_broker("\n".join(bridge), durable=True)

        def agrees(self, expected):
            """Upstream and edge come to retain just that."""
            assert kept(self.edge) == expected
            try:
                wait_until(lambda: kept(self.upstream) == expected, timeout=20)
            except AssertionError:
                assert kept(self.upstream) == expected

    return Site


def values(sender, qos, **topics):
    """Sets retained values; None clears."""
    for topic, value in topics.items():
        sender.publish(topic, value or b"", qos, retain=True)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
@pytest.mark.parametrize("clean", ["true", "false"])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_outage(site, client, qos, clean, version):
    s = site(f"topic # out {qos}", f"cleansession {clean}", f"bridge_protocol_version {version}")
    here = client(s.edge.port, "here")
    for q in (0, 1):
        values(here, q, **{f"same{q}": "1", f"changes{q}": "1", f"goes{q}": "1"})
    s.agrees({f"{topic}{q}": "1" for topic in ("same", "changes", "goes") for q in (0, 1)})
    s.link.cut()
    for q in (0, 1):
        values(here, q, **{f"changes{q}": "2", f"goes{q}": None, f"new{q}": "1"})
        values(here, q, **{f"changes{q}": "3"})
    s.link.mend()
    s.agrees(
        {f"{topic}{q}": value for topic, value in (("same", "1"), ("changes", "3"), ("new", "1"))
         for q in (0, 1)}
    )  # fmt: skip


@pytest.mark.footbridge
@pytest.mark.parametrize("clean", ["true", "false"])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_outage_with_a_kill(site, client, qos, clean):
    """What is killed comes back with what it had acknowledged. Of the values of QoS 0 it keeps those
    that had been written."""
    s = site(f"topic # out {qos}", f"cleansession {clean}")
    here = client(s.edge.port, "here")
    for q in (0, 1):
        values(here, q, **{f"same{q}": "1", f"goes{q}": "1"})
    values(here, 1, changes1="1")
    first = {"same0": "1", "same1": "1", "goes0": "1", "goes1": "1", "changes1": "1"}
    s.agrees(first)
    s.link.cut()
    values(here, 1, goes0=None, goes1=None, changes1="2", new1="1")
    values(here, 0, new0="1")
    time.sleep(2.5)
    s.edge.restart("kill")
    values(client(s.edge.port, "back"), 1, changes1="3")
    s.link.mend()
    s.agrees({"same0": "1", "same1": "1", "changes1": "3", "new0": "1", "new1": "1"})


@pytest.mark.parametrize("clean", ["true", "false"])
@pytest.mark.parametrize("qos", [0, 1])
def test_an_upstream_without_a_store_restarts(site, client, qos, clean):
    s = site(f"topic # out {qos}", f"cleansession {clean}")
    here = client(s.edge.port, "here")
    values(here, 0, old0="1", goes="1")
    values(here, 1, old1="1")
    s.agrees({"old0": "1", "old1": "1", "goes": "1"})
    s.upstream.stop()
    values(here, 1, new1="1", goes=None)
    values(here, 0, new0="1")
    s.upstream.start()
    s.agrees({"old0": "1", "old1": "1", "new0": "1", "new1": "1"})


@pytest.mark.parametrize("qos", [0, 1])
def test_a_bridge_that_is_added(make_broker, make_upstream, client, kept, qos):
    """To a broker that holds retained messages of both kinds."""
    upstream = make_upstream()
    edge = make_broker("", durable=True)
    here = client(edge.port, "here")
    expected = {}
    for n in range(300):
        values(here, n % 2, **{f"t{n}": str(n)})
        expected[f"t{n}"] = str(n)
    time.sleep(2)
    bridge = f"connection edge\naddress 127.0.0.1:{upstream.port}\nnotifications false\n"
    with open(edge.config_file, "a") as config:
        config.write(f"{bridge}topic # out {qos}\n")
    edge.restart()
    wait_until(lambda: kept(upstream) == expected, timeout=20, what="all retained upstream")
    wait_until(lambda: "300 retained topics brought up to date" in edge.log(), what="line in the log")


@pytest.mark.footbridge
def test_what_has_arrived_is_not_sent_again(site, client):
    """With cleansession false an outage costs what changed meanwhile, and no more."""
    s = site("topic # out 1", "cleansession false", "keepalive_interval 5")
    here = client(s.edge.port, "here")
    for n in range(20):
        values(here, n % 2, **{f"t{n}": "1"})
    s.agrees({f"t{n}": "1" for n in range(20)})
    # Something that is answered comes after the values of QoS 0.
    values(here, 1, last="1")
    there = client(s.upstream.port, "there", version=V5, properties=props("CONNECT"))
    there.subscribe("#", 1)
    while not there.silent(1):
        pass
    s.link.cut()
    values(here, 0, t0="2")
    values(here, 1, t1="2")
    s.link.mend()
    got = sorted((m.topic, m.payload.decode()) for m in (there.get(), there.get()))
    assert got == [("t0", "2"), ("t1", "2")]
    assert there.silent(1)
