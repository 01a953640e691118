"""Full queues, with the uplink down and then up: what is kept, what goes, what is told."""

import json
import queue
import time

import pytest

from clients import V5, V311, props
from harness import free_port, wait_until

pytestmark = pytest.mark.footbridge


@pytest.fixture
def edge(make_broker):
    """Starts a broker whose bridge has no upstream yet: `edge(port, general, "topic …", …)`."""

    def make(port, general, *lines):
        return make_broker(
            "\n".join(
                [
                    "sys_interval 1",
                    general,
                    "connection cloud",
                    f"address 127.0.0.1:{port}",
                    "remote_clientid edge",
                    "cleansession false",
                    "restart_timeout 1",
                    *lines,
                ]
            ),
            durable=True,
        )

    return make


class Upstream:
    """A Mosquitto that comes to life late, on a port known before. It has a session that is owed
    everything, so that nothing comes before its subscriber."""

    def __init__(self, make_upstream, client):
        self.broker = make_upstream("max_queued_messages 0", durable=True)
        self.port = self.broker.port
        there = client(self.port, "there", clean=False)
        there.subscribe("#", 2)
        there.close()
        self.broker.stop()

    def arrivals(self, client, version=V311):
        """Starts it and answers a subscriber to everything."""
        self.broker.start()
        return client(self.port, "there", version=version, clean=False)


@pytest.fixture
def upstream(make_upstream, client):
    return Upstream(make_upstream, client)


def rest(client):
    """What has come and still comes, until nothing does."""
    came = []
    while True:
        try:
            came.append(client.get(timeout=0.4))
        except queue.Empty:
            return came


def figures(client, broker, prefix):
    """The retained values below `$SYS/broker/PREFIX/`."""
    base = f"$SYS/broker/{prefix}/"
    watcher = client(broker.port, f"watch{time.monotonic_ns()}")
    watcher.subscribe(base + "#", 0)
    found = {}
    for message in rest(watcher):
        found[message.topic.removeprefix(base)] = message.payload.decode()
    watcher.close()
    return found


def collect(client):
    """Everything that comes, until nothing does."""
    time.sleep(2.5)
    came = rest(client)
    return [(m.topic, m.payload.decode()) for m in came if not m.topic.startswith("$")]


def test_each_line_by_its_policy(edge, upstream, client):
    """The queue holds over a kill -9; so does the account of what was dropped."""
    broker = edge(
        upstream.port,
        "",
        "topic old/# out 1 max_queued_messages=3 overflow=oldest",
        "topic new/# out 1 max_queued_messages=3 overflow=newest",
        "topic state/# out 1 max_queued_messages=3 overflow=latest-per-topic",
        "topic alarm/# out 1",
    )
    device = client(broker.port, "device")
    for n in range(8):
        device.publish("old/x", f"{n}", 1)
        device.publish("new/x", f"{n}", 1)
        device.publish(f"state/{n % 2}", f"{n}", 1)
        device.publish("alarm/x", f"{n}", 1)
    wait_until(
        lambda: figures(client, broker, "connection/cloud/topic/1").get("dropped") == "5",
        what="the account of what was dropped",
    )
    time.sleep(2.5)  # within which the account reaches the disk
    broker.restart("kill")

    whole = wait_until(lambda: figures(client, broker, "connection/cloud/queue"), what="figures")
    state = wait_until(lambda: figures(client, broker, "connection/cloud/topic/3"), what="figures")
    assert int(whole["messages"]) == 3 + 3 + int(state["messages"]) + 8
    assert int(whole["oldest_seconds"]) >= 1
    line = figures(client, broker, "connection/cloud/topic/1")
    assert line["filter"] == "old/#"
    assert (line["messages"], line["dropped"]) == ("3", "5")
    assert line["dropped_reason"] == "overflow-oldest"
    assert 0 <= int(line["dropped_last"]) - int(line["dropped_first"]) < 10
    line = figures(client, broker, "connection/cloud/topic/2")
    assert (line["dropped"], line["dropped_reason"]) == ("5", "overflow-newest")
    line = figures(client, broker, "connection/cloud/topic/4")
    assert line["dropped"] == "0" and "dropped_reason" not in line

    came = collect(upstream.arrivals(client))
    of = lambda start: [m for m in came if m[0].startswith(start)]
    assert of("old/") == [("old/x", n) for n in "567"]
    assert of("new/") == [("new/x", n) for n in "012"]
    assert of("state/")[-2:] == [("state/0", "6"), ("state/1", "7")]
    assert of("alarm/") == [("alarm/x", str(n)) for n in range(8)]


def test_a_drop_is_told_once(edge, upstream, client):
    broker = edge(upstream.port, "", "topic t/# out 1 max_queued_bytes=1K overflow=oldest")
    device = client(broker.port, "device")
    for n in range(200):
        device.publish("t/x", f"{n:100}", 1)
    wait_until(
        lambda: figures(client, broker, "connection/cloud/queue").get("dropped") == "194",
        what="194 drops in $SYS",
    )
    told = [line for line in broker.log().splitlines() if "dropped:" in line]
    assert len(told) == 1, told
    assert "Bridge cloud, topic t/#:" in told[0] and "the oldest go" in told[0]


def test_a_line_may_refuse(edge, upstream, client):
    """What is refused is the publisher's to keep; what was acknowledged comes."""
    broker = edge(upstream.port, "", "topic t/# out 1 max_queued_messages=2 overflow=refuse")
    device = client(broker.port, "device", version=V5)
    for n in range(2):
        device.publish("t/x", f"{n}", 1)
    device.publish("t/x", "refused", 1)
    assert collect(upstream.arrivals(client)) == [("t/x", "0"), ("t/x", "1")]


def test_old_messages_are_not_sent(edge, upstream, client):
    broker = edge(upstream.port, "", "topic t/# out 1 ttl=3s", "topic alarm/# out 1")
    device = client(broker.port, "device")
    device.publish("t/x", "old", 1)
    device.publish("alarm/x", "old", 1)
    wait_until(
        lambda: figures(client, broker, "connection/cloud/queue").get("messages") == "1",
        timeout=15,
        what="the end of the old message",
    )
    device.publish("t/x", "new", 1)
    broker.restart("kill")
    came = collect(upstream.arrivals(client))
    assert came[0] == ("alarm/x", "old")
    assert ("t/x", "old") not in came


def test_expired_messages_make_room(edge, upstream, client):
    """[MQTT-3.3.2-5]: what has expired leaves the queues of a bridge and of an absent client, over a
    kill -9 too; those that were full take fresh messages."""
    broker = edge(
        upstream.port, "max_queued_messages 4\nqueue_overflow refuse", "topic t/# out 1"
    )
    away = client(broker.port, "away", clean=False)
    away.subscribe("t/#", 1)
    away.close()
    device = client(broker.port, "device", version=V5)

    def publish(payload, expiry):
        expires = props("PUBLISH", MessageExpiryInterval=expiry)
        return device.publish("t/x", payload, 1, properties=expires)

    def queued(count):
        wait_until(
            lambda: figures(client, broker, "connection/cloud/queue").get("messages") == count,
            timeout=20,
            what=f"{count} messages that wait",
        )

    assert publish("kept", 600) == 0
    for n in range(3):
        assert publish(f"{n}", 8) == 0
    assert publish("refused", 600) == 0x97
    queued("4")
    queued("1")
    for n in range(3):
        assert publish(f"fresh {n}", [600, 8, 8][n]) == 0
    assert publish("refused", 600) == 0x97
    time.sleep(0.5)
    broker.restart("kill")
    queued("2")
    expected = ["kept", "fresh 0"]
    assert [payload for _, payload in collect(upstream.arrivals(client))] == expected
    away = client(broker.port, "away", clean=False)
    assert away.payloads(2) == expected and away.silent()


def test_clients_that_lose_messages_are_named(edge, upstream, client):
    """A topic for each, that goes with its client; names that mean something are escaped."""
    broker = edge(upstream.port, "max_queued_messages 2\nqueue_overflow oldest", "topic b/# out 1")
    away = client(broker.port, "a/+#", clean=False)
    away.subscribe("t", 1)
    away.close()
    device = client(broker.port, "device")
    for n in range(5):
        device.publish("t", f"{n}", 1)
    told = wait_until(lambda: figures(client, broker, "client"), what="the client's drops")
    assert list(told) == ["a%2F%2B%23/dropped"]
    dropped = json.loads(told["a%2F%2B%23/dropped"])
    assert (dropped["messages"], dropped["bytes"]) == (3, 6)
    assert dropped["reason"] == "overflow-oldest"
    client(broker.port, "a/+#").close()
    wait_until(lambda: not figures(client, broker, "client"), what="the end of its topic")


def test_the_bound_is_told_at_the_start(edge, client):
    broker = edge(free_port(), "max_queued_bytes 64M", "topic t/# out 1 ttl=1d")
    wait_until(lambda: "Bridge cloud: queues up to 64 MB, then drops the oldest;" in broker.log())
    wait_until(lambda: "how fast it fills is not known yet; nothing waits." in broker.log(), what="line in the log")
    client(broker.port, "device").publish("t/x", "1", 1)
    broker.restart()
    wait_until(lambda: "1 message (4 B) waits, the oldest" in broker.log())
