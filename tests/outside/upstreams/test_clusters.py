"""A cluster of three as a list of addresses: a node goes in the middle of a stream in each
direction, and the bridge moves over."""

import os
import time
from itertools import pairwise

import pytest

from clients import Client
from harness import wait_until
from upstreams.clusters import CLUSTERS
from upstreams.site import Inbox
from upstreams.tap import Messages

pytestmark = pytest.mark.footbridge

COUNT = 240
#: For a loaded machine, in seconds.
PATIENCE = 120
ALL = ("kill", "freeze", "stop")
#: Each way in which a node goes takes a minute.
WAYS = ALL if os.environ.get("FOOTBRIDGE_SLOW") else ALL[:1]


@pytest.fixture(scope="module", params=CLUSTERS, ids=lambda kind: kind.name)
def cluster(request, tmp_path_factory):
    made = request.param(tmp_path_factory.mktemp("cluster"))
    try:
        yield made.start()
    finally:
        made.close()


@pytest.fixture(autouse=True)
def their_log(request, cluster):
    """A failed test shows what the nodes logged, too."""
    request.node.brokers = getattr(request.node, "brokers", [])
    request.node.brokers.append((cluster.name, cluster))


def ready(port, name, **options):
    """A client, once the node has settled with the others."""
    made = []

    def is_in():
        try:
            made.append(Client(port, name, **options))
            return True
        except Exception:  # noqa: BLE001 - whatever it says, it is not ready
            return False

    wait_until(is_in, timeout=PATIENCE, what=f"node at {port}")
    return made[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_node_goes(cluster, make_broker, client, way):
    """Nothing is lost, the bridge sends all up in its order, and delivers in the order in which it
    comes from the cluster. That need not be the one in which it was sent: RabbitMQ passes on what
    it has under way when the leader of a queue goes, and NATS sends some again, as they like."""
    cluster.mend(0)
    for port in cluster.ports:
        ready(port, "ready").close()
    first, second, third = cluster.ports
    up, down = [], []
    taps = [Messages(port, up, down) for port in (second, third)]
    try:
        over_and_back(Streams(cluster, make_broker, client, f"site-{way}", taps), way)
    finally:
        for tap in taps:
            tap.cut()


class Streams:
    """A site whose bridge has the cluster as its upstream, a device that publishes and a reader
    here, an operator and a reader there."""

    def __init__(self, cluster, make_broker, client, site, taps):
        self.cluster, self.site, self.taps = cluster, site, taps
        self.primary, *others = cluster.ports
        ports = [self.primary, *(tap.port for tap in taps)]
        self.edge = make_broker(
            f"connection {site}\naddress {' '.join(f'127.0.0.1:{port}' for port in ports)}\n"
            f"topic up out 1 here/ {site}/\ntopic down in 1 here/ {site}/\n"
            f"remote_clientid {site}\ncleansession false\n"
            "keepalive_interval 10\nrestart_timeout 1\nnotifications false\n"
            "bridge_protocol_version mqttv311\ntry_private false\n",
            durable=True,
        )
        wait_until(lambda: self.times_up(self.primary), timeout=PATIENCE, what="bridge up")
        self.device = client(self.edge.port, "device")
        self.here = Inbox(client(self.edge.port, "in"))
        self.here.client.subscribe("here/down", 1)
        # While the others agree on who leads, NATS closes on what it cannot store.
        self.operator = ready(others[0], f"{site}-pub", clean=False, returns=True)
        self.there = Inbox(ready(others[1], f"{site}-sub"))
        wait_until(
            lambda: self.there.client.subscribe(f"{site}/up", 1) == [1],
            timeout=PATIENCE,
            what="subscription",
        )

    def times_up(self, *ports):
        """How often the bridge has connected to one of these."""
        line = f"Bridge {self.site} connected to 127.0.0.1:"
        return sum(self.edge.log().count(f"{line}{port} ") for port in ports)

    def say(self, text):
        self.device.paho.publish("here/up", text, 1)
        self.operator.paho.publish(f"{self.site}/down", text, 1)

    def inboxes(self):
        return (self.there, f"{self.site}/up"), (self.here, "here/down")

    def close(self):
        self.operator.close()
        self.there.client.close()


def over_and_back(s, way):
    time.sleep(11)  # A connection that is lost sooner counts as an attempt that failed.
    for n in range(COUNT):
        s.say(n)
        if n == COUNT // 3:
            getattr(s.cluster, way)(0)
        time.sleep(0.05)
    ports = [tap.port for tap in s.taps]
    wait_until(lambda: s.times_up(*ports), timeout=PATIENCE, what="bridge that has moved over")
    for inbox, topic in s.inboxes():
        missing = set(map(str, range(COUNT)))
        try:
            inbox.wait(lambda i=inbox, t=topic: set(i.payloads(t)) >= missing, "messages", PATIENCE)
        except AssertionError:
            missing -= set(inbox.payloads(topic))
            raise AssertionError(f"{topic}: missing are {sorted(missing, key=int)}") from None
    up, down = s.taps[0].up, s.taps[0].down
    # One after the other, to the last; where a node closed before it had acknowledged some, from the
    # first of those on again.
    sent = [int(text) for text in up]
    assert all(then <= n + 1 for n, then in pairwise(sent)) and sent[-1] == COUNT - 1, sent
    # What the operator has sent again may still come.
    wait_until(
        lambda: s.here.payloads("here/down")[-len(down) :] == down,
        timeout=PATIENCE,
        what="all that came, in its order",
    )
    s.cluster.mend(0)
    wait_until(lambda: s.times_up(s.primary) > 1, timeout=PATIENCE, what="bridge that is back")
    s.say("back")
    for inbox, topic in s.inboxes():
        inbox.wait(lambda i=inbox, t=topic: "back" in i.payloads(t), "message after that", PATIENCE)
    s.close()
