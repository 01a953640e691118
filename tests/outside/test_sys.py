"""$SYS: Mosquitto's topics with Mosquitto's meanings, published by nobody but the broker."""

import queue
import re
import time

import pytest

import wire
from clients import V5, V311
from harness import ROOT, wait_until
from wire import Raw

pytestmark = pytest.mark.footbridge

#: What Mosquitto tells about its own making.
THEIRS = {"$SYS/broker/timestamp"}


def snapshot(client, port):
    """The retained values, once they have come."""
    watcher = client(port, f"watch{time.monotonic_ns()}")
    watcher.subscribe("$SYS/#", 0)
    found = {}
    try:
        while True:
            message = watcher.get(timeout=0.5)
            assert message.topic.startswith("$SYS/")
            if message.retain:
                found[message.topic] = message.payload.decode()
    except queue.Empty:
        watcher.close()
        return found


def number(client, broker, topic):
    return float(snapshot(client, broker.port)[f"$SYS/broker/{topic}"])


def test_every_topic_of_mosquitto_is_there(make_broker, make_upstream, client):
    ours, theirs = make_broker("sys_interval 1"), make_upstream("sys_interval 1")
    time.sleep(2.5)
    here, there = snapshot(client, ours.port), snapshot(client, theirs.port)
    assert len(there) > 40
    assert set(there) - THEIRS - set(here) == set()
    loads = [value for topic, value in here.items() if topic.startswith("$SYS/broker/load/")]
    assert len(loads) == 27
    assert all(len(value.split(".")[1]) == 2 for value in loads)
    assert here["$SYS/broker/version"].startswith("footbridge version ")
    assert here["$SYS/broker/uptime"].endswith(" seconds")


def test_what_is_counted(make_broker, client):
    broker = make_broker("sys_interval 1")
    time.sleep(1.2)
    before = snapshot(client, broker.port)
    receiver, sender = client(broker.port, "r"), client(broker.port, "s")
    client(broker.port, "away", clean=False).close()
    receiver.subscribe("a/#", 1)
    receiver.subscribe("b/#", 1)
    for n in range(10):
        sender.publish("a", "x" * 100, 1)
    assert len(receiver.payloads(10)) == 10
    time.sleep(1.2)
    after = snapshot(client, broker.port)

    def grown(topic):
        return float(after[f"$SYS/broker/{topic}"]) - float(before[f"$SYS/broker/{topic}"])

    assert grown("publish/messages/received") == 10
    assert grown("publish/bytes/received") == 1000
    # The watcher of `before` has got $SYS, too.
    assert grown("publish/bytes/sent") >= 1000
    assert grown("bytes/received") >= 10 * (2 + 3 + 2 + 100) + 10 * 4
    # CONNECT four times, SUBSCRIBE three times, PUBLISH and PUBACK ten times each, DISCONNECT.
    assert 27 <= grown("messages/received") <= 30
    assert grown("messages/sent") >= 20
    assert grown("clients/total") == 3
    assert grown("clients/connected") == 2
    assert grown("clients/disconnected") == 1
    assert grown("subscriptions/count") == 2
    assert float(after["$SYS/broker/clients/maximum"]) >= 3
    assert grown("load/connections/1min") > 2 and grown("load/sockets/1min") > 2
    assert grown("load/publish/received/1min") > 5
    assert 100_000 < float(after["$SYS/broker/heap/current"]) < 100_000_000


def test_what_is_under_way_and_what_expires(make_broker, client):
    broker = make_broker("sys_interval 1")
    with Raw(broker.port, "slow") as slow:
        slow.send(wire.subscribe(1, "a", 1))
        slow.expect(wire.SUBACK)
        client(broker.port, "s").publish("a", "x", 1)
        slow.expect(wire.PUBLISH)
        wait_until(lambda: number(client, broker, "messages/inflight") == 1, what="in flight")
        slow.send(wire.ack(wire.PUBACK, 1))
        wait_until(lambda: number(client, broker, "messages/inflight") == 0, what="acknowledged")
    client(broker.port, "brief", version=V5, expiry=1).close()
    wait_until(lambda: number(client, broker, "clients/expired") == 1, what="an expired client")


@pytest.mark.parametrize("version", [V311, V5])
def test_nobody_else_publishes_there(make_broker, client, version):
    """Mosquitto 2.0.11, live: 3.1.1 gets a PUBACK as ever, 5.0 gets 0x87; a will is dropped."""
    broker = make_broker("sys_interval 1")
    watcher = client(broker.port, "w")
    watcher.subscribe([("$SYS/broker/uptime", 0), ("$SYS/mine", 0)])
    intruder = client(
        broker.port, "i", version=version, will={"topic": "$SYS/mine", "payload": "will"}
    )
    # paho sends PUBREL after a PUBREC that refuses.
    for qos in (1, 2) if version == V311 else (1,):
        for topic in ("$SYS/broker/uptime", "$SYS/mine"):
            reason = intruder.publish(topic, "forged", qos, retain=True)
            assert reason == (0x87 if version == V5 else 0)
    intruder.paho.socket().shutdown(2)
    got = [message.payload.decode() for message in (watcher.get() for _ in range(3))]
    assert all(value.endswith(" seconds") for value in got)
    assert "$SYS/mine" not in snapshot(client, broker.port)


def test_not_even_a_bridge(make_broker, make_upstream, client):
    upstream = make_upstream()
    broker = make_broker(
        f"""sys_interval 1
        connection b
        address 127.0.0.1:{upstream.port}
        topic # in 1 $SYS/broker/ fake/
        topic # in 1 seen/ fake/"""
    )
    watcher = client(broker.port, "w")
    watcher.subscribe([("seen/#", 0), ("$SYS/broker/uptime", 0), ("$SYS/broker/mine", 0)])
    sender = client(upstream.port, "s")
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    sender.publish("fake/uptime", "forged", 1)
    sender.publish("fake/mine", "forged", 1)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        try:
            message = watcher.get(timeout=0.3)
        except queue.Empty:
            continue
        assert not message.topic.startswith("$SYS") or message.payload.endswith(b" seconds")


def test_it_is_not_stored(make_broker, client):
    broker = make_broker("sys_interval 1", durable=True)
    wait_until(lambda: "$SYS/broker/uptime" in snapshot(client, broker.port), what="$SYS")
    broker.stop()
    text = broker.config_file.read_text().replace("sys_interval 1", "sys_interval 0")
    broker.config_file.write_text(text)
    broker.start()
    assert snapshot(client, broker.port) == {}


def test_the_man_page_names_every_topic(make_broker, client):
    page = (ROOT / "packaging/man/footbridge.1").read_text().replace("\\fR, \\fB", "\n")
    named = set(re.sub(r"\\f[A-Z]", "", page.replace(".B ", "")).splitlines())
    broker = make_broker("sys_interval 1")
    wait_until(lambda: "$SYS/broker/uptime" in snapshot(client, broker.port), what="$SYS")
    for topic in snapshot(client, broker.port):
        name = topic.removeprefix("$SYS/broker/")
        if name.startswith("load/"):
            name = name.removeprefix("load/").rsplit("/", 1)[0]
            assert re.search(rf"^\.BR? {name}\b", page, re.M), name
        else:
            assert name in named, name


@pytest.mark.parametrize(
    "client_id",
    [
        "x" * 65_509,  # With what is around it, a topic of 65,536 bytes.
        "x" * 65_530,
        "x" * 65_535,
        "+" * 22_000,  # Escaped, it takes three times as much.
    ],
    ids=["65536", "65557", "65562", "escaped"],
)
def test_a_client_id_that_fills_a_topic(make_broker, client, client_id):
    """What was dropped on the way to it is told, and nobody who watches loses the connection."""
    broker = make_broker(
        "sys_interval 1\nmax_queued_messages 1\nqueue_overflow newest\nmax_clientid_length 65535",
        durable=True,
    )
    with Raw(broker.port, client_id, clean=False) as away:
        away.send(wire.subscribe(1, "t", 1))
        away.expect(wire.SUBACK)
        away.send(wire.GOODBYE)
        assert away.closed_by_broker()
    writer = client(broker.port, "writer")
    for _ in range(3):
        writer.publish("t", "x", 1)
    with Raw(broker.port, "watcher") as watcher:
        for packet_id, topic in enumerate(["#", "$SYS/broker/client/+/dropped"], 1):
            watcher.send(wire.subscribe(packet_id, topic, 0))
        told = None
        while told is None:
            message = watcher.receive()
            if message.kind == wire.PUBLISH:
                told = message.topic
        level = told.removeprefix("$SYS/broker/client/").removesuffix("/dropped")
        assert len(level) <= 1024 and re.search("%-[0-9A-F]{32}$", level), level
        assert b'"messages":2' in message.payload
    time.sleep(1.2)
    for _ in range(2):
        with Raw(broker.port, "everything") as everything:
            everything.send(wire.subscribe(1, "#", 0) + wire.PING)
            everything.expect(wire.SUBACK)
            everything.expect(wire.PINGRESP)
            writer = client(broker.port, "writer")
            writer.publish("u", "alive")
            assert everything.expect(wire.PUBLISH).topic == "u"
        broker.restart("kill")
