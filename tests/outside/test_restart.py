"""What is on disk survives SIGTERM and kill -9."""

import contextlib
import queue

import pytest

from clients import V5, V311, in_order, props
from harness import wait_until
from wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, ack, publish, subscribe

BOTH = pytest.mark.parametrize("how", ["stop", "kill"])
VERSIONS = pytest.mark.parametrize("version", [V311, V5])


def session(version):
    return {"version": version, "clean": False, "expiry": 3600 if version == V5 else None}


@BOTH
@VERSIONS
def test_sessions_subscriptions_and_queues(make_broker, client, how, version):
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", **session(version))
    sub.subscribe([("q/+", 1), ("r/#", 2)])
    sub.close()
    pub = client(broker.port, "pub")
    for n in range(200):
        pub.publish(f"r/{n}" if n % 2 else f"q/{n}", str(n), 1 + n % 2)
    broker.restart(how)
    sub = client(broker.port, "sub", **session(version))
    assert sub.session_present
    assert in_order(sub.payloads(200), 200)
    client(broker.port, "pub").publish("q/new", "x", 1)
    assert sub.get().topic == "q/new"


@BOTH
def test_retained_messages(make_broker, client, how):
    broker = make_broker(durable=True)
    pub = client(broker.port, "pub", version=V5)
    kept = props("PUBLISH", UserProperty=[("a", "b")])
    pub.publish("r/kept", "on", 1, retain=True, properties=kept)
    pub.publish("r/changed", "old", 1, retain=True)
    pub.publish("r/changed", "new", 1, retain=True)
    pub.publish("r/cleared", "x", 1, retain=True)
    pub.publish("r/cleared", "", 1, retain=True)
    broker.restart(how)
    sub = client(broker.port, "sub", version=V5)
    sub.subscribe("r/#", 1)
    got = {m.topic: m for m in (sub.get(), sub.get())}
    assert {t: m.payload for t, m in got.items()} == {"r/kept": b"on", "r/changed": b"new"}
    assert got["r/kept"].properties.UserProperty == [("a", "b")]
    assert sub.silent()


@BOTH
def test_retained_messages_of_which_some_have_come(make_broker, client, how):
    """A new subscription of a session that lasts has not brought all yet: the rest comes after the
    restart."""
    broker = make_broker(durable=True)
    topics = {f"r/{n:05}" for n in range(4000)}
    with Raw(broker.port, "pub") as raw:
        for n, topic in enumerate(sorted(topics)):
            raw.send(publish(topic, b"x", 1, n + 1, retain=True))
        for _ in topics:
            raw.expect(PUBACK)
    with Raw(broker.port, "sub", clean=False) as raw:
        raw.send(subscribe(1, "r/#", 1))
        raw.expect(SUBACK)
        # It acknowledges none, so no more than a window comes.
        came = {raw.expect(PUBLISH).topic for _ in range(10)}
        broker.restart(how)
    with Raw(broker.port, "sub", clean=False) as raw:
        assert raw.session_present
        while came != topics:
            message = raw.expect(PUBLISH)
            came.add(message.topic)
            raw.send(ack(PUBACK, message.id))


@BOTH
def test_inbound_qos2_half_done(make_broker, client, how):
    """PUBREC was sent: the id is known after the restart, and the message goes out once."""
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", clean=False)
    sub.subscribe("t", 2)
    sub.close()
    with Raw(broker.port, "dev", clean=False) as dev:
        dev.send(publish("t", b"once", 2, 7) + publish("t", b"twice", 2, 8))
        assert [dev.expect(PUBREC).id, dev.expect(PUBREC).id] == [7, 8]
    broker.restart(how)
    with Raw(broker.port, "dev", clean=False) as dev:
        assert dev.session_present
        dev.send(publish("t", b"once", 2, 7, dup=True))
        assert dev.expect(PUBREC).id == 7
        dev.send(ack(PUBREL, 7) + ack(PUBREL, 8))
        assert [dev.expect(PUBCOMP).id, dev.expect(PUBCOMP).id] == [7, 8]
        dev.send(publish("t", b"new", 2, 7))  # after PUBCOMP the id is free again
        assert dev.expect(PUBREC).id == 7
        dev.send(ack(PUBREL, 7))
        dev.expect(PUBCOMP)
    sub = client(broker.port, "sub", clean=False)
    assert sub.payloads(3) == ["once", "twice", "new"]
    assert sub.silent()


@BOTH
def test_outbound_qos2_half_done(make_broker, client, how):
    """PUBREL was sent: after the restart it is sent again, and the message is not.
    [MQTT-4.3.3-1]"""
    broker = make_broker(durable=True)
    with Raw(broker.port, "dev", clean=False) as dev:
        dev.send(subscribe(1, "t", 2))
        dev.expect(SUBACK)
        pub = client(broker.port, "pub")
        pub.publish("t", "released", 2)
        pub.publish("t", "received", 2)
        released, received = dev.expect(PUBLISH), dev.expect(PUBLISH)
        dev.send(ack(PUBREC, released.id))
        assert dev.expect(PUBREL).id == released.id
        broker.restart(how)
    with Raw(broker.port, "dev", clean=False) as dev:
        assert dev.session_present
        got = {p.kind: p for p in (dev.receive(), dev.receive())}
        assert got[PUBREL].id == released.id
        again = got[PUBLISH]
        assert (again.id, again.payload, again.dup) == (received.id, b"received", True)


@BOTH
def test_subscription_changes(make_broker, client, how):
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", clean=False)
    sub.subscribe([("a", 1), ("b", 1), ("c", 0)])
    sub.unsubscribe("a")
    sub.subscribe("c", 1)
    if how == "stop":
        sub.close()
    broker.restart(how)
    pub = client(broker.port, "pub")
    for topic in "abc":
        pub.publish(topic, topic, 1)
    sub = client(broker.port, "sub", clean=False)
    assert [(m.topic, m.qos) for m in (sub.get(), sub.get())] == [("b", 1), ("c", 1)]
    assert sub.silent()


@BOTH
def test_a_discarded_session_stays_away(make_broker, client, how):
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", clean=False)
    sub.subscribe("t", 1)
    sub.close()
    client(broker.port, "pub").publish("t", "x", 1)
    client(broker.port, "sub", clean=True).close()
    broker.restart(how)
    sub = client(broker.port, "sub", clean=False)
    assert not sub.session_present
    assert sub.silent()


@pytest.mark.footbridge
def test_will_of_a_durable_session_after_a_crash(make_broker, client):
    """The broker died with the device connected: the will goes out after the restart."""
    broker = make_broker(durable=True)
    watcher = client(broker.port, "watcher", clean=False)
    watcher.subscribe("will", 1)
    will = {"topic": "will", "payload": "gone", "qos": 1}
    client(broker.port, "dev", clean=False, will=will)
    broker.restart("kill")
    watcher = client(broker.port, "watcher", clean=False)
    assert watcher.payloads(1, timeout=12) == ["gone"]


@BOTH
def test_acknowledged_is_kept_while_publishing(make_broker, client, how):
    """Stopped in full flight: whatever was acknowledged is there, once each for QoS 2."""
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", clean=False)
    sub.subscribe("t", 2)
    sub.close()
    pub = client(broker.port, "pub")
    infos = [pub.paho.publish("t", str(n), 2) for n in range(3000)]
    wait_until(lambda: infos[300].is_published(), what="acknowledgements")
    broker.restart(how)
    acknowledged = sum(info.is_published() for info in infos)
    sub = client(broker.port, "sub", clean=False)
    got = [int(p) for p in sub.payloads(acknowledged)]
    with contextlib.suppress(queue.Empty):
        while True:  # what was stored without its acknowledgement having arrived
            got.append(int(sub.get(timeout=0.5).payload))
    assert got[:acknowledged] == list(range(acknowledged))
    assert len(set(got)) == len(got)


def test_restarting_many_times(make_broker, client):
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub", clean=False)
    sub.subscribe("t", 1)
    sub.close()
    for round_ in range(8):
        client(broker.port, "pub").publish("t", str(round_), 1)
        broker.restart("kill" if round_ % 2 else "stop")
    sub = client(broker.port, "sub", clean=False)
    assert sub.payloads(8) == [str(n) for n in range(8)]


@BOTH
def test_packet_ids_in_flight_stay_distinct(make_broker, client, how):
    """[MQTT-2.3.1-2]: what is queued after a restart gets no id of what was queued before."""
    broker = make_broker(durable=True)
    with Raw(broker.port, "dev", clean=False) as dev:
        dev.send(subscribe(1, "t", 2))
        dev.expect(SUBACK)
    for n in range(3):
        client(broker.port, "pub").publish("t", f"before {n}", 2)
    broker.restart(how)
    for n in range(3):
        client(broker.port, "pub").publish("t", f"after {n}", 2)
    with Raw(broker.port, "dev", clean=False) as dev:
        got = [dev.expect(PUBLISH) for _ in range(6)]
    expected = [f"{when} {n}".encode() for when in ("before", "after") for n in range(3)]
    assert [p.payload for p in got] == expected
    assert len({p.id for p in got}) == 6
