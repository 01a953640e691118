"""The link breaks at every packet of an exchange, on either way and in every manner (see torture): nothing
of QoS 1 or 2 is lost, QoS 2 comes once, each topic in order, and the bridge is up again by itself.

One broker has a bridge for each fault, all to one Mosquitto; a device beside them notices nothing."""

import collections
import itertools
import threading
import time

import pytest

import torture
from harness import free_port, wait_until
from test_uplink_tls import tls  # a fixture
from torture import DOWN, FAULTS, UP, Links

pytestmark = pytest.mark.footbridge

#: Messages on each topic: four to the upstream and four from it, for each bridge.
COUNT = 2
#: Until all that was broken is mended; a stalled link takes its keep-alive of 5 s to notice, twice.
PATIENCE = 90
#: What both brokers need to hold what comes for all bridges at once.
ROOM = "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\n"


class Witness:
    """A device that gets what it sends, all the time."""

    def __init__(self, client):
        self._client, self._over, self.wrong = client, threading.Event(), []
        client.subscribe("witness", 1)
        self.count, self.slowest, self.is_well = 0, 0, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._over.is_set():
            begun = time.monotonic()
            self._client.paho.publish("witness", self.count, 1)
            got = self._client.messages.get(timeout=60).payload
            if got != b"%d" % self.count:
                self.wrong.append((self.count, got))
                return
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.count += 1
            self._over.wait(0.05)
        self.is_well = True

    def end(self):
        self._over.set()
        self._thread.join(70)
        assert not self._thread.is_alive() and not self.wrong, self.wrong
        assert self.is_well, "a message of a device did not come back"


class Got:
    """What came, by topic."""

    def __init__(self, client, *filters):
        self.client, self.topics = client, collections.defaultdict(list)
        for one in filters:
            client.subscribe(one, 2)

    def drain(self):
        while not self.client.messages.empty():
            message = self.client.messages.get()
            self.topics[message.topic].append(message.payload.decode())


class Site:
    """The broker with all its bridges."""

    def __init__(self, links, upstream, port, lines, trust=()):
        self.links, self.upstream, self._port = links, upstream, port
        self._lines, self._trust = lines, trust
        self.config = ["sys_interval 1", ROOM]
        self.names = []

    def bridge(self, unit, fault, way, nth, scheme):
        link = self.links.add(self._port, unit, fault, way, nth)
        name = f"b{len(self.names)}"
        self.names.append(name)
        self.config += [
            f"connection {name}",
            f"address {scheme}localhost:{link.port}",
            f"remote_clientid {name}",
            *self._trust,
            "keepalive_interval 5",
            "restart_timeout 1",
            "notifications false",
            *self._lines,
            f"topic {name}/out/# out 2",
            f"topic {name}/in/# in 2",
        ]
        return link

    def run(self, make_broker, client):
        edge = make_broker("\n".join(self.config), durable=True, quiet=True)
        here, there = client(edge.port, "here"), client(self.upstream.port, "there")
        outward, inward = Got(there, "+/out/#"), Got(here, "+/in/#")
        witness = Witness(client(edge.port, "witness"))
        self.links.start()

        def subscribed():
            log = self.upstream.log()
            return all(f"Sending SUBACK to {name}\n" in log for name in self.names)

        wait_until(subscribed, PATIENCE, "subscriptions of all bridges")
        for n, qos, name in itertools.product(range(COUNT), (1, 2), self.names):
            here.paho.publish(f"{name}/out/q{qos}", n, qos)
            there.paho.publish(f"{name}/in/q{qos}", n, qos)
        wanted = list(map(str, range(COUNT)))
        for got, way in ((outward, "out"), (inward, "in")):
            topics = [f"{name}/{way}/q{qos}" for name in self.names for qos in (1, 2)]

            def missing(got=got, topics=topics):
                got.drain()
                return {topic for topic in topics if set(got.topics[topic]) < set(wanted)}

            try:
                wait_until(lambda: not missing(), PATIENCE, "all messages")
            except AssertionError:
                raise AssertionError(f"lost: {self.tell(missing())}") from None
        self.all_move(here, there, outward, inward)
        witness.end()
        self.judge(outward.topics | inward.topics)
        return edge

    def all_move(self, here, there, outward, inward):
        """Something new goes through each bridge: it is up."""
        for name in self.names:
            here.paho.publish(f"{name}/out/end", "end", 1)
            there.paho.publish(f"{name}/in/end", "end", 1)
        for got, way in ((outward, "out"), (inward, "in")):
            def there_is(got=got, way=way):
                got.drain()
                return all(got.topics[f"{name}/{way}/end"] for name in self.names)

            wait_until(there_is, PATIENCE, "something new")

    def judge(self, topics):
        wrong = set()
        for topic, payloads in topics.items():
            if topic.endswith("/end"):
                continue
            numbers = list(map(int, payloads))
            is_good = list(dict.fromkeys(numbers)) == list(range(COUNT))
            if not is_good or topic.endswith("/q2") and len(numbers) != COUNT:
                wrong.add((topic, tuple(numbers)))
        assert not wrong, self.tell(wrong)

    def tell(self, topics):
        """What was done to the bridges of these topics."""
        found = []
        for entry in sorted(topics, key=str):
            topic = entry if isinstance(entry, str) else entry[0]
            link = self.links.links[self.names.index(topic.split("/")[0])]
            found.append(f"{entry}: {link.fault.__name__} at {link.nth} {link.way}")
        return "\n".join(found)


@pytest.fixture
def links():
    made = Links()
    yield made
    made.close()


def broken_everywhere(site, unit, counts, scheme=""):
    """A bridge for each fault at each of so many units on each way."""
    return [
        site.bridge(unit, fault, way, nth, scheme)
        for way in (UP, DOWN)
        for nth in range(1, counts[way] + 1)
        for fault in FAULTS
    ]


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_at_every_packet(make_broker, make_upstream, client, links, version):
    upstream = make_upstream(ROOM)
    lines = [f"bridge_protocol_version {version}", "try_private false"]
    if version == "mqttv50":
        lines.append("bridge_session_expiry_interval 3600")
    site = Site(links, upstream, upstream.port, lines)
    # CONNECT, SUBSCRIBE, for each message that goes PUBLISH and perhaps PUBREL, and the answers to each that
    # comes.
    counts = dict.fromkeys((UP, DOWN), 2 + 6 * COUNT)
    broken = broken_everywhere(site, torture.mqtt, counts)
    site.run(make_broker, client)
    assert all(link.done for link in broken), [link.nth for link in broken if not link.done]


@pytest.mark.parametrize(
    "scheme, unit, counts, sure",
    [
        # Of TLS the records of the handshake, and those behind it: how many packets are in one is by chance.
        ("", torture.tls, {UP: 8, DOWN: 12}, {UP: 5, DOWN: 9}),
        # The heads of HTTP, then frames.
        ("ws://", torture.web, {UP: 8, DOWN: 8}, {UP: 4, DOWN: 4}),
    ],
    ids=["tls", "websocket"],
)
def test_at_every_step_of_a_handshake(
    make_broker, make_upstream, client, links, tls, scheme, unit, counts, sure
):
    port = free_port()
    own = "protocol websockets" if scheme else f"certfile {tls}/s.pem\nkeyfile {tls}/s.key"
    upstream = make_upstream(f"{ROOM}\nlistener {port} 127.0.0.1\n{own}")
    trust = [] if scheme else [f"bridge_cafile {tls}/ca.pem"]
    lines = ["bridge_protocol_version mqttv311", "try_private false"]
    site = Site(links, upstream, port, lines, trust)
    broken = broken_everywhere(site, unit, counts, scheme)
    site.run(make_broker, client)
    missed = [(link.way, link.nth) for link in broken if not link.done and link.nth <= sure[link.way]]
    assert not missed
