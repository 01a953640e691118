"""What `$SYS` says of a bridge: its state at once, what it has moved, and the bytes of its socket."""

import queue
import time

import pytest

from harness import wait_until
from link import Link

pytestmark = pytest.mark.footbridge

BASE = "$SYS/broker/connection/up/"


class Watch:
    """What `$SYS` has of the bridge `up` by now."""

    def __init__(self, client):
        self.values = {}
        self._client = client
        client.subscribe(f"{BASE}#", 0)

    def look(self):
        try:
            while True:
                message = self._client.messages.get_nowait()
                topic = message.topic.removeprefix(BASE)
                self.values[topic] = message.payload.decode()
                if not message.payload:
                    del self.values[topic]
        except queue.Empty:
            return self.values

    def until(self, topic, *wanted):
        """Waits until the topic has one of these values; with none of them, until it is gone."""
        value = lambda: self.look().get(topic)
        wait_until(lambda: value() in (wanted or [None]), what=f"{topic} {wanted}, not {value()}")

    def until_at_least(self, topic, number):
        wait_until(lambda: float(self.look().get(topic, -1)) >= number, what=f"{topic} {number}")


class Meter(Link):
    """A link that counts what it carries."""

    carried = 0

    def _carried(self, source, sink, data):
        self.carried += len(data)


@pytest.fixture
def meter():
    made = []

    def make(port):
        made.append(Meter(port))
        return made[-1]

    yield make
    for one in made:
        one.cut()


def section(port, *lines):
    return "\n".join(
        [
            "connection up",
            f"address 127.0.0.1:{port}",
            "topic data/# out 1",
            "topic command/# in 1",
            "restart_timeout 1",
            "notifications false",
            *lines,
        ]
    )


def test_an_outage_is_told_at_once(make_broker, make_upstream, link, client):
    """Long before the next interval: the state with its age, and why."""
    upstream = make_upstream()
    way = link(upstream.port)
    broker = make_broker("sys_interval 3600\n" + section(way.port))
    watch = Watch(client(broker.port, "watcher"))
    watch.until("link/state", "up")
    assert watch.values["link/protocol"] == "5"
    assert watch.values["link/address"] == f"127.0.0.1:{way.port}"
    assert abs(int(watch.values["link/since"]) - time.time()) < 60
    assert "link/down_since" not in watch.values
    way.cut()
    begun = time.monotonic()
    watch.until("link/state", "waiting", "connecting")
    took = time.monotonic() - begun
    assert took < 2, "and the page shows it within that time"
    wait_until(lambda: "refused" in watch.look().get("link/error", ""), what="the reason")
    assert watch.values.get("link/protocol", "") == ""
    assert int(watch.values["link/down_since"]) <= int(watch.values["link/since"])
    way.mend()
    watch.until("link/state", "up")
    watch.until("link/error")
    watch.until("link/down_since")


def test_what_was_moved(make_broker, make_upstream, link, client):
    upstream = make_upstream()
    way = link(upstream.port)
    broker = make_broker("sys_interval 1\nmax_queued_messages 1000\n" + section(way.port), durable=True)
    watch, device = Watch(client(broker.port, "watcher")), client(broker.port, "device")
    watch.until("link/state", "up")
    for n in range(20):
        device.publish("data/a", "12345", 1)
    client(upstream.port, "cloud").publish("command/a", "123", 1)
    watch.until("sent/messages", "20")
    watch.until("sent/bytes", "100")
    watch.until("received/messages", "1")
    watch.until("received/bytes", "3")
    watch.until_at_least("rate/out", 0.1)
    assert int(watch.values["link/progress_seconds"]) < 60
    # Twenty messages a second fill the rest of a thousand in less than a minute.
    way.cut()
    watch.until("link/state", "waiting", "connecting")
    for n in range(160):
        device.publish("data/a", "12345", 1)
        time.sleep(0.05)
    wait_until(lambda: 20 < int(watch.look().get("queue/room_seconds", 0)) < 100, what="room")
    way.mend()
    watch.until("queue/messages", "0")
    watch.until("queue/room_seconds")


@pytest.mark.parametrize("tls", [False, True])
def test_bytes_of_the_socket_are_counted(make_broker, make_upstream, secure_upstream, meter, client, tls):
    """To the byte, with handshakes and TLS; a restart goes on counting, but for the goodbye of the stop."""
    upstream, lines = secure_upstream() if tls else (make_upstream(), [])
    way = meter(upstream.port)
    broker = make_broker("sys_interval 1\n" + section(way.port, "keepalive_interval 3600", *lines), durable=True)
    watch, device = Watch(client(broker.port, "watcher")), client(broker.port, "device")
    watch.until("link/state", "up")
    for n in range(10):
        device.publish("data/a", "x" * 1000, 1)
    watch.until("sent/messages", "10")
    assert way.carried > 10_000

    def is_counted():
        return watch.look().get("wire/today") == watch.values.get("wire/month") == str(way.carried)

    wait_until(is_counted, what=f"{way.carried} bytes")
    before = way.carried
    broker.restart()
    watch = Watch(client(broker.port, "watcher"))
    watch.until("link/state", "up")

    def is_kept():
        missing = way.carried - int(watch.look().get("wire/today", 0))
        return way.carried - before > 60 > missing >= 0

    wait_until(is_kept, what="the same count after a restart")


@pytest.fixture
def secure_upstream(make_upstream, ca):
    """A Mosquitto with TLS, and what its bridge needs."""

    def make():
        upstream = make_upstream(ca.issue().lines())
        return upstream, [f"bridge_cafile {ca.cert}"]

    return make
