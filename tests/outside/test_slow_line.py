"""A bridge over a slow line, to a real Mosquitto: slow is not dead."""

import contextlib
import queue
import time

import pytest

from harness import wait_until
from slow_line import SlowLine

pytestmark = pytest.mark.footbridge


@pytest.fixture
def slow_line():
    """Makes slow lines: `slow_line(port_behind_it, rate, delay)`."""
    made = []

    def make(*arguments):
        made.append(SlowLine(*arguments))
        return made[-1]

    yield make
    for line in made:
        line.close()


def bridge(port, *lines):
    return "\n".join(
        [
            "connection up",
            f"address 127.0.0.1:{port}",
            "remote_clientid up",
            "topic t out 1",
            "cleansession false",
            "restart_timeout 1",
            *lines,
        ]
    )


def connects(broker):
    return broker.log().count("Bridge up connected to")


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
@pytest.mark.parametrize("count, size", [(5, 100_000), (400, 1_000)])
def test_all_arrives_once(make_broker, make_upstream, client, slow_line, version, count, size):
    """Much more than goes over the line within the keep-alive, handed over at once, and each of the large
    ones nearly as much: nothing is sent twice, and the connection holds."""
    upstream = make_upstream("max_queued_messages 0")
    watcher = client(upstream.port, "watcher")
    watcher.subscribe("t", 1)
    line = slow_line(upstream.port, 25_000, 0.3)
    config = bridge(line.port, f"bridge_protocol_version {version}", "keepalive_interval 5")
    broker = make_broker(config, durable=True)
    wait_until(lambda: connects(broker), what="bridge")
    device = client(broker.port, "device")
    for n in range(count):
        device.publish("t", str(n).ljust(size), 1)
    arrived = [int(payload) for payload in watcher.payloads(count, timeout=50)]
    assert arrived == list(range(count))
    assert watcher.silent(2), "nothing comes twice"
    assert connects(broker) == 1, broker.log()
    assert line.connections == 1


def test_a_line_that_stops_is_noticed(make_broker, make_upstream, client, slow_line):
    """What is under way then arrives by the next connection."""
    upstream = make_upstream("max_queued_messages 0")
    watcher = client(upstream.port, "watcher")
    watcher.subscribe("t", 1)
    line = slow_line(upstream.port, 50_000)
    broker = make_broker(bridge(line.port, "keepalive_interval 5"), durable=True)
    wait_until(lambda: connects(broker), what="bridge")
    device = client(broker.port, "device")
    for n in range(6):
        device.publish("t", str(n).ljust(50_000), 1)
    watcher.payloads(1, timeout=20)
    line.freeze()
    wait_until(lambda: "no acknowledgement" in broker.log(), timeout=20, what="end of the link")
    line.thaw()
    arrived = set()
    while not arrived >= set(range(1, 6)):
        arrived.update(int(payload) for payload in watcher.payloads(1, timeout=30))


def arrivals(watcher, count, seconds):
    """The moments at which messages came, until there are so many or the time is over."""
    moments, until = [], time.monotonic() + seconds
    while len(moments) < count and time.monotonic() < until:
        with contextlib.suppress(queue.Empty):
            watcher.messages.get(timeout=0.1)
            moments.append((time.monotonic(), watcher.line.carried))
    return moments


def test_a_link_with_a_long_delay_is_full(make_broker, make_upstream, client, slow_line):
    """64 kbit/s and 600 ms, as by satellite, with small messages: Mosquitto has 20 under way, which leave
    most of the line unused."""
    count, rate = 600, 8_000
    upstream = make_upstream("max_queued_messages 0\nmax_inflight_messages 1000", quiet=True)
    came = {}
    for name, make in [("ours", make_broker), ("theirs", make_upstream)]:
        line = slow_line(upstream.port, rate, 0.6)
        lines = [f"connection {name}", f"address 127.0.0.1:{line.port}", f"topic {name} out 1"]
        lines += ["max_queued_messages 0"] if name == "theirs" else ["bridge_protocol_version mqttv50"]
        lines = sorted(lines, key=lambda text: not text.startswith("max_"))
        broker = make("\n".join(lines), quiet=True)
        watcher = client(upstream.port, f"{name} watcher")
        watcher.line = line
        watcher.subscribe(name, 1)
        # Its notification has come: it is up.
        states = client(upstream.port, f"{name} states")
        states.subscribe("$SYS/broker/connection/#", 1)
        wait_until(lambda: name in states.get(20).topic, what="bridge")
        device = client(broker.port, "device")
        for n in range(count):
            device.publish(name, str(n).ljust(100), 1)
        came[name] = watcher
    ours = arrivals(came["ours"], count, 50)
    theirs = len(arrivals(came["theirs"], count, 0.5))
    assert len(ours) == count
    (begun, before), (ended, after) = ours[count // 4], ours[-count // 8]
    used = (after - before) / rate / (ended - begun)
    assert used >= 0.9, f"{used:.2f} of the line"
    assert theirs <= count * 0.8, f"Mosquitto came as far as {theirs}"


@pytest.mark.parametrize("said", [True, False])
def test_what_limits_the_link_is_told(make_broker, make_upstream, client, slow_line, said):
    """20 messages at a time, because the configuration says so or because the upstream takes no more."""
    upstream = make_upstream("" if not said else "max_inflight_messages 1000")
    line = slow_line(upstream.port, 125_000, 0.3)
    own = "max_inflight_messages 20\n" if said else ""
    broker = make_broker(own + bridge(line.port), durable=True)
    wait_until(lambda: connects(broker), what="bridge")
    device = client(broker.port, "device")
    for n in range(400):
        device.publish("t", str(n).ljust(100), 1)
    told = f"it sends 20 messages at a time ({'max_inflight' if said else 'the upstream takes no more'}"
    wait_until(lambda: told in broker.log(), timeout=30, what="line in the log")
    assert broker.log().count("messages at a time") == 1
