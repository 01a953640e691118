"""Bridges that make a ring: what goes round ends, and what a device repeats all arrives."""

import time

import pytest

from clients import V5
from harness import run, wait_until

pytestmark = pytest.mark.footbridge

VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])


def bridge(name, port, version, topic="topic # both 1"):
    lines = f"connection {name}", f"address 127.0.0.1:{port}", f"remote_clientid {name}"
    more = f"bridge_protocol_version {version}", "restart_timeout 1", topic
    return "\n".join([*lines, *more, ""])


def connect(broker, *bridges):
    """Writes the bridges into the configuration of a broker that does not run yet."""
    config = broker.config_file.read_text()
    broker.config_file.write_text(config + "\n".join(bridges))


class Watchers:
    """Counts what clients of some brokers get."""

    def __init__(self, client, brokers):
        self.clients = [client(broker.port, "watcher") for broker in brokers]
        self.payloads = [[] for _ in brokers]
        for watcher, payloads in zip(self.clients, self.payloads):
            watcher.paho.on_message = self._noting(payloads)
            watcher.subscribe("#", 1)

    @staticmethod
    def _noting(payloads):
        return lambda c, u, message: payloads.append(message.payload.decode())

    def count(self):
        return sum(map(len, self.payloads))

    def until(self, counts):
        """Waits for so many messages at each, and none that should not be there."""
        wait_until(lambda: list(map(len, self.payloads)) >= counts, timeout=60, what=f"{counts}")
        self.until_quiet()
        assert list(map(len, self.payloads)) == counts

    def until_all(self, payloads):
        """Waits until each has got these, and then until it is quiet. What may go round is kept back for some
        seconds, and what comes behind it on that link, too."""
        there = lambda: all(set(got) >= payloads for got in self.payloads)  # noqa: E731
        wait_until(there, timeout=90, what=f"{payloads} at each")
        self.until_quiet()
        assert all(set(got) == payloads for got in self.payloads)

    def until_quiet(self, timeout=180):
        """Waits until nothing has come for three seconds."""
        end = time.monotonic() + timeout
        last, since = self.count(), time.monotonic()
        while time.monotonic() - since < 3:
            assert time.monotonic() < end, f"still going round after {self.count()} messages"
            time.sleep(0.1)
            if self.count() != last:
                last, since = self.count(), time.monotonic()

    def clear(self):
        for payloads in self.payloads:
            payloads.clear()


def round_of(brokers, version, topic="topic # both 1"):
    """Each is a bridge of the next. The last to start finds all others."""
    for n, broker in enumerate(brokers):
        following = brokers[(n + 1) % len(brokers)]
        connect(broker, bridge(f"from{n}", following.port, version, topic))
    for broker in brokers:
        broker.start()
    for n, broker in enumerate(brokers):
        following = brokers[(n + 1) % len(brokers)]
        said = f"as from{n}", f"from{n}"
        wait_until(
            lambda: any(word in following.log() for word in said), timeout=20, what="a bridge"
        )
    time.sleep(1)  # Their subscriptions follow.


def until_cut(client, brokers):
    """Waits until one of them tells that it has cut a message."""
    told = []
    for broker in brokers:
        figure = client(broker.port, "figure")
        figure.paho.on_message = lambda c, u, message: told.append(int(message.payload))
        figure.subscribe("$SYS/broker/publish/messages/looped")
    wait_until(lambda: any(told), what="the figure of the cuts")


def kinds(make_broker, make_upstream, kind):
    make = {"f": make_broker, "m": make_upstream}
    return [make[letter]("sys_interval 1", start=False, quiet=True) for letter in kind]


@VERSIONS
@pytest.mark.parametrize("kind", ["ff", "fff", "ffm"])
def test_what_goes_round_ends(make_broker, make_upstream, client, kind, version):
    """f is one of ours, m a Mosquitto. Each broker in turn publishes."""
    brokers = kinds(make_broker, make_upstream, kind)
    round_of(brokers, version)
    watchers = Watchers(client, brokers)
    for n, broker in enumerate(brokers):
        client(broker.port, "device").publish("t/x", f"from {n}", 1)
        watchers.until_all({f"from {n}" for n in range(n + 1)})
    assert any("go round over several bridges" in broker.log() for broker in brokers)
    # Any of ours may be the one that cuts, and they come first.
    until_cut(client, brokers[: kind.count("f")])


@VERSIONS
def test_retained_messages_end_too(make_broker, make_upstream, client, version):
    """Each broker has the last in the end."""
    brokers = kinds(make_broker, make_upstream, "fff")
    round_of(brokers, version)
    watchers = Watchers(client, brokers)
    device = client(brokers[0].port, "device")
    for payload in ("old", "new"):
        device.publish("t/x", payload, 1, retain=True)
        watchers.until_all({"old", payload})
    late = [client(broker.port, "late") for broker in brokers]
    for reader in late:
        reader.subscribe("t/x", 1)
        assert reader.payloads(1) == ["new"]


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_ring_of_one_direction(make_broker, make_upstream, client, direction):
    brokers = kinds(make_broker, make_upstream, "fff")
    round_of(brokers, "mqttv50", f"topic # {direction} 1")
    watchers = Watchers(client, brokers)
    for n, broker in enumerate(brokers):
        client(broker.port, "device").publish("t/x", f"from {n}", 1)
        watchers.until_all({f"from {n}" for n in range(n + 1)})


def test_repeats_in_a_ring_of_mqtt_5(make_broker, make_upstream, client):
    """Once the guards are awake, the publisher's side gets each once, and the others by both ways."""
    brokers = kinds(make_broker, make_upstream, "fff")
    round_of(brokers, "mqttv50")
    watchers = Watchers(client, brokers)
    device = client(brokers[0].port, "device")
    device.publish("t/x", "wakes", 1)
    watchers.until_quiet()
    watchers.clear()
    for _ in range(200):
        device.publish("t/x", "same", 1)
    watchers.until([200, 400, 400])


@VERSIONS
@pytest.mark.parametrize("kind", ["ff", "fm", "fff"])
def test_a_device_that_repeats_itself(make_broker, make_upstream, client, kind, version):
    """Over a chain of bridges: the same at QoS 1, 200 times, from both ends."""
    brokers = kinds(make_broker, make_upstream, kind)
    for n, (broker, following) in enumerate(zip(brokers, brokers[1:])):
        connect(broker, bridge(f"from{n}", following.port, version))
    for broker in reversed(brokers):
        broker.start()
    for broker in brokers[:-1]:
        wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    time.sleep(1)
    watchers = Watchers(client, brokers)
    for broker in (brokers[0], brokers[-1]):
        watchers.clear()
        device = client(broker.port, "device")
        for _ in range(200):
            device.publish("t/x", "same", 1)
        watchers.until([200] * len(brokers))
    # From link to link it may look like a round, but nothing is lost.
    told = any("go round" in broker.log() for broker in brokers)
    assert not told or kind == "fff"


@VERSIONS
def test_a_device_that_repeats_itself_beyond_a_hub(make_broker, make_upstream, client, version):
    """The same goes on to two others, so often that it is tried whether it goes round."""
    hub, *leaves = kinds(make_broker, make_upstream, "ffff")
    hub.start()
    for n, leaf in enumerate(leaves):
        connect(leaf, bridge(f"from{n}", hub.port, version))
        leaf.start()
        wait_until(lambda: "connected to" in leaf.log(), what="a bridge that is up")
    time.sleep(1)
    watchers = Watchers(client, [hub, *leaves])
    device = client(leaves[0].port, "device")
    for _ in range(700):
        device.publish("t/x", "same", 1)
    watchers.until([700] * 4)
    assert version == "mqttv50" or "go round" not in hub.log()


def test_a_hub_that_is_killed_while_it_tries_loses_nothing(make_broker, client):
    """A device repeats itself over a hub, where it is tried whether that goes round. What the hub has
    acknowledged by then all goes on, though it is killed in the middle of it."""
    kept = "cleansession false\n"
    hub, leaf, end = [make_broker(start=False, durable=True, quiet=True) for _ in range(3)]
    connect(hub, bridge("hub-end", end.port, "mqttv311") + kept)
    connect(leaf, bridge("leaf-hub", hub.port, "mqttv311", "topic # out 1") + kept)
    for broker in (end, hub, leaf):
        broker.start()
    wait_until(lambda: "connected to" in hub.log() and "connected to" in leaf.log(), what="bridges")
    watchers = Watchers(client, [end])
    device = client(leaf.port, "device")
    for n in range(300):
        device.publish("t/x", "same", 1)
        if n == 150:
            hub.kill()
            hub.start()
    wait_until(lambda: watchers.count() >= 300, timeout=60, what="all 300")


def test_no_message_is_larger_while_nothing_goes_round(make_broker, client):
    there = make_broker()
    here = make_broker(bridge("from0", there.port, "mqttv50"))
    wait_until(lambda: "connected to" in here.log(), what="a bridge that is up")
    reader = client(there.port, "reader", version=V5)
    reader.subscribe("t/x", 1)
    client(here.port, "device").publish("t/x", "x", 1)
    assert not hasattr(reader.get().properties, "UserProperty")


def test_lines_of_two_bridges_that_feed_each_other_are_told(make_broker):
    up = "connection a\naddress up.invalid\ntopic x/# out 1\n"
    back = "connection b\naddress up.invalid\ntopic # in 1\n"
    broker = make_broker(up + back, start=False)
    checked = run("-c", broker.config_file, "--test-config", timeout=20)
    said = checked.stdout + checked.stderr
    assert "connection a takes up by `topic x/# out 1`, connection b brings back by" in said
    broker.start()
    wait_until(lambda: "these topic lines feed each other" in broker.log(), what="a warning")
