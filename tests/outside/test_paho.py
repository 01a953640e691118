"""paho-mqtt on every version: what MQTT 3.1, 3.1.1 and 5 share."""

import time

import pytest

from clients import V5, V31, V311
from harness import IS_FOOTBRIDGE
from wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Raw, ack, publish, subscribe

ALL = pytest.mark.parametrize("version", [V31, V311, V5])


def durable(version):
    return {"clean": False, "expiry": 3600} if version == V5 else {"clean": False}


@ALL
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_every_qos_both_ways(broker, client, version, granted):
    sub = client(broker.port, "sub", version=version)
    assert sub.subscribe("t/+", granted) == [granted]
    pub = client(broker.port, "pub", version=version)
    for qos in (0, 1, 2):
        pub.publish(f"t/{qos}", f"m{qos}", qos)
        got = sub.get()
        expected = (f"t/{qos}", f"m{qos}".encode(), min(qos, granted), False)
        assert (got.topic, got.payload, got.qos, got.retain) == expected
    assert sub.silent()


@ALL
def test_a_thousand_in_order(broker, client, version):
    sub = client(broker.port, "sub", version=version)
    sub.subscribe("t", 2)
    pub = client(broker.port, "pub", version=version)
    for qos in (1, 2):
        infos = [pub.paho.publish("t", str(n), qos) for n in range(1000)]
        for info in infos:
            info.wait_for_publish(10)
        assert sub.payloads(1000) == [str(n) for n in range(1000)]
    assert sub.silent()


@ALL
def test_session_present(make_broker, client, version):
    broker = make_broker(durable=True)
    first = client(broker.port, "dev", version=version, **durable(version))
    assert not first.session_present
    first.subscribe("t", 1)
    first.close()
    client(broker.port, "pub").publish("t", "while away", 1)
    again = client(broker.port, "dev", version=version, **durable(version))
    if version != V31:  # MQTT 3.1 has no session present flag
        assert again.session_present
    assert again.payloads(1) == ["while away"]
    again.close()
    fresh = client(broker.port, "dev", version=version, clean=True)
    assert not fresh.session_present
    client(broker.port, "pub2").publish("t", "nobody", 1)
    assert fresh.silent()


@ALL
def test_takeover(broker, client, version):
    """[MQTT-3.1.4-2] and [MQTT-3.1.4-3]: the older connection is closed."""
    first = client(broker.port, "same", version=version)
    second = client(broker.port, "same", version=version)
    assert first.closed.wait(5)
    if version == V5 and IS_FOOTBRIDGE:  # Mosquitto 2.0.11 only closes
        assert first.closed_reason.value == 0x8E
    second.subscribe("t", 1)
    second.publish("t", "x", 1)
    assert second.payloads(1) == ["x"]


@ALL
def test_will(broker, client, version):
    sub = client(broker.port, "sub")
    sub.subscribe("will/#", 2)
    for qos in (0, 1, 2):
        will = {"topic": f"will/{qos}", "payload": "gone", "qos": qos, "retain": qos == 2}
        client(broker.port, f"dev{qos}", version=version, will=will).drop()
        got = sub.get()
        assert (got.topic, got.payload, got.qos) == (f"will/{qos}", b"gone", qos)
    leaves = {"topic": "will/none", "payload": "gone"}
    client(broker.port, "polite", version=version, will=leaves).close()
    assert sub.silent()
    late = client(broker.port, "late", version=version)
    late.subscribe("will/#", 2)
    got = late.get()
    assert (got.topic, got.retain) == ("will/2", True)


@ALL
def test_retained(broker, client, version):
    pub = client(broker.port, "pub", version=version)
    for n in range(3):
        pub.publish(f"r/{n}", f"v{n}", n, retain=True)
    pub.publish("r/1", "", 1, retain=True)
    sub = client(broker.port, "sub", version=version)
    sub.subscribe("r/#", 2)
    got = sorted((m.topic, m.payload, m.qos, m.retain) for m in (sub.get(), sub.get()))
    assert got == [("r/0", b"v0", 0, True), ("r/2", b"v2", 2, True)]
    assert sub.silent()


@ALL
def test_unsubscribe(broker, client, version):
    c = client(broker.port, "c", version=version)
    c.subscribe([("a", 1), ("b", 1)])
    c.unsubscribe("a")
    c.publish("a", "not this", 1)
    c.publish("b", "this", 1)
    assert c.payloads(1) == ["this"]
    assert c.silent()


@ALL
def test_dollar_topics_are_not_matched_by_wildcards(broker, client, version):
    """[MQTT-4.7.2-1]"""
    c = client(broker.port, "c", version=version)
    c.subscribe([("#", 0), ("+/broker/x", 0)])
    other = client(broker.port, "other", version=version)
    other.subscribe("$own/#", 0)
    other.publish("$own/x", "hidden", 1)
    assert other.payloads(1) == ["hidden"]
    assert c.silent()


def test_keep_alive_runs_out(broker, client):
    """[MQTT-3.1.2-24]: closed after one and a half times the keep-alive, and the will goes out."""
    sub = client(broker.port, "sub")
    sub.subscribe("will", 0)
    # Two seconds of keep-alive, a will on "will", then silence.
    body = b"\0\4MQTT\4\6\0\2" + b"\0\3dev" + b"\0\4will" + b"\0\4gone"
    start = time.monotonic()
    with Raw(broker.port) as raw:
        raw.send(bytes([0x10, len(body)]) + body)
        assert sub.get().payload == b"gone"
        assert 2.5 < time.monotonic() - start < 7
        assert raw.closed_by_broker()


def test_qos2_flow_is_resumed_by_the_publisher(make_broker, client):
    """[MQTT-4.3.3-2]: the message is passed on once, however often PUBLISH is repeated."""
    broker = make_broker(durable=True)
    sub = client(broker.port, "sub")
    sub.subscribe("t", 2)
    with Raw(broker.port, "dev", clean=False) as dev:
        dev.send(publish("t", b"once", 2, 7))
        assert dev.expect(PUBREC).id == 7
    with Raw(broker.port, "dev", clean=False) as dev:
        assert dev.session_present
        dev.send(publish("t", b"once", 2, 7, dup=True))
        assert dev.expect(PUBREC).id == 7
        dev.send(ack(PUBREL, 7))
        assert dev.expect(PUBCOMP).id == 7
        dev.send(ack(PUBREL, 7))  # a repeated PUBREL is answered, too
        assert dev.expect(PUBCOMP).id == 7
    assert sub.payloads(1) == ["once"]
    assert sub.silent()


def test_unacknowledged_messages_come_again(make_broker, client):
    """[MQTT-4.4.0-1]: with DUP, the same packet id, in the same order, PUBREL after PUBREC."""
    broker = make_broker(durable=True)
    pub = client(broker.port, "pub")
    with Raw(broker.port, "dev", clean=False) as dev:
        dev.send(subscribe(1, "t", 2))
        assert dev.expect(SUBACK).body[-1] == 2
        pub.publish("t", "qos2", 2)
        pub.publish("t", "qos1", 1)
        two, one = dev.expect(PUBLISH), dev.expect(PUBLISH)
        assert (two.payload, two.dup, one.payload, one.dup) == (b"qos2", False, b"qos1", False)
        dev.send(ack(PUBREC, two.id))
        assert dev.expect(PUBREL).id == two.id
    with Raw(broker.port, "dev", clean=False) as dev:
        assert dev.session_present
        got = sorted([dev.receive(), dev.receive()], key=lambda p: p.kind)
        assert (got[0].kind, got[0].payload, got[0].dup, got[0].id) == (PUBLISH, b"qos1", True, one.id)
        assert (got[1].kind, got[1].id) == (PUBREL, two.id)
        dev.send(ack(PUBCOMP, two.id) + ack(PUBACK, one.id))
    with Raw(broker.port, "dev", clean=False) as dev:
        pub.publish("t", "new", 1)
        got = dev.expect(PUBLISH)
        assert (got.payload, got.dup) == (b"new", False)
