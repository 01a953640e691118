"""paho-mqtt on MQTT 5: what only version 5 has."""

import time

import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

import wire
from clients import V5, V311, props


@pytest.fixture
def v5(client):
    return lambda *arguments, **options: client(*arguments, version=V5, **options)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_pass_through(broker, v5, qos):
    sub = v5(broker.port, "sub")
    sub.subscribe("t", 2)
    users = [("b", "2"), ("a", "1"), ("b", "1"), ("", "")]
    sent = props(
        "PUBLISH",
        UserProperty=users,
        ContentType="text/plain",
        ResponseTopic="answers/here",
        CorrelationData=b"\x00\xff42",
        PayloadFormatIndicator=1,
    )
    v5(broker.port, "pub").publish("t", "x", qos, properties=sent)
    got = sub.get().properties
    assert got.UserProperty == users  # [MQTT-3.3.2-18]: in order
    assert (got.ContentType, got.ResponseTopic) == ("text/plain", "answers/here")
    assert (got.CorrelationData, got.PayloadFormatIndicator) == (b"\x00\xff42", 1)


def test_properties_are_kept_with_retained_messages_and_wills(broker, v5):
    kept = props("PUBLISH", UserProperty=[("k", "v")], ContentType="c")
    v5(broker.port, "pub").publish("r", "x", 1, retain=True, properties=kept)
    will = props("WILLMESSAGE", UserProperty=[("w", "v")])
    last = {"topic": "w", "payload": "gone", "retain": True, "properties": will}
    dev = v5(broker.port, "dev", will=last)
    sub = v5(broker.port, "sub")
    sub.subscribe("r", 1)
    got = sub.get()
    assert (got.properties.UserProperty, got.properties.ContentType) == ([("k", "v")], "c")
    dev.drop()
    sub.subscribe("w", 1)
    assert sub.get().properties.UserProperty == [("w", "v")]


def test_a_3_1_1_subscriber_gets_the_message_without_properties(broker, v5, client):
    sub = client(broker.port, "sub", version=V311)
    sub.subscribe("t", 1)
    sent = props("PUBLISH", UserProperty=[("k", "v")], ContentType="c")
    v5(broker.port, "pub").publish("t", "plain", 1, properties=sent)
    assert sub.payloads(1) == ["plain"]


def test_message_expiry(make_broker, v5):
    """[MQTT-3.3.2-5] and [MQTT-3.3.2-6]: what waited too long is not sent; else the rest is."""
    broker = make_broker(durable=True)
    sub = v5(broker.port, "sub", clean=False, expiry=600)
    sub.subscribe("t", 1)
    sub.close()
    pub = v5(broker.port, "pub")
    pub.publish("t", "short", 1, properties=props("PUBLISH", MessageExpiryInterval=1))
    pub.publish("t", "long", 1, properties=props("PUBLISH", MessageExpiryInterval=100))
    pub.publish("t", "short", 1, retain=True, properties=props("PUBLISH", MessageExpiryInterval=1))
    time.sleep(2.5)
    sub = v5(broker.port, "sub", clean=False, expiry=600)
    got = sub.get()
    assert got.payload == b"long"
    assert 95 <= got.properties.MessageExpiryInterval <= 99
    assert sub.silent()
    fresh = v5(broker.port, "fresh")
    fresh.subscribe("t", 1)
    assert fresh.silent()


def test_session_expiry(make_broker, v5):
    broker = make_broker(durable=True)
    v5(broker.port, "zero", clean=False, expiry=0).close()
    assert not v5(broker.port, "zero", clean=False, expiry=0).session_present
    v5(broker.port, "kept", clean=False, expiry=60).close()
    v5(broker.port, "short", clean=False, expiry=1).close()
    time.sleep(3)
    assert v5(broker.port, "kept", clean=False, expiry=60).session_present
    assert not v5(broker.port, "short", clean=False, expiry=60).session_present


def test_session_expiry_changed_by_disconnect(make_broker, v5):
    broker = make_broker(durable=True)
    leaving = v5(broker.port, "c", clean=False, expiry=600)
    leaving.close(properties=props("DISCONNECT", SessionExpiryInterval=0))
    assert not v5(broker.port, "c", clean=False, expiry=600).session_present


def test_clean_start_keeps_the_new_session(make_broker, v5):
    """Clean start begins anew, and the expiry lets the new session last."""
    broker = make_broker(durable=True)
    first = v5(broker.port, "c", clean=True, expiry=600)
    first.subscribe("t", 1)
    first.close()
    v5(broker.port, "pub").publish("t", "kept", 1)
    again = v5(broker.port, "c", clean=False, expiry=600)
    assert again.session_present
    assert again.payloads(1) == ["kept"]


def test_subscription_identifiers(broker, v5):
    c = v5(broker.port, "c")
    c.subscribe("a/#", 1, properties=props("SUBSCRIBE", SubscriptionIdentifier=7))
    c.subscribe("b", 1)
    c.publish("a/x", "m", 1)
    assert c.get().properties.SubscriptionIdentifier == [7]
    c.publish("b", "m", 1)
    assert not hasattr(c.get().properties, "SubscriptionIdentifier")


def test_no_local(broker, v5):
    """[MQTT-3.8.3-3]"""
    c = v5(broker.port, "c")
    c.subscribe("t", options=SubscribeOptions(qos=1, noLocal=True))
    c.publish("t", "own", 1)
    assert c.silent()
    v5(broker.port, "other").publish("t", "foreign", 1)
    assert c.payloads(1) == ["foreign"]


def test_retain_as_published(broker, v5):
    """[MQTT-3.3.1-12] and [MQTT-3.3.1-13]"""
    plain, as_published = v5(broker.port, "plain"), v5(broker.port, "as")
    plain.subscribe("t", options=SubscribeOptions(qos=1))
    as_published.subscribe("t", options=SubscribeOptions(qos=1, retainAsPublished=True))
    v5(broker.port, "pub").publish("t", "x", 1, retain=True)
    assert (plain.get().retain, as_published.get().retain) == (False, True)


def test_retain_handling(broker, v5):
    """[MQTT-3.3.1-9] to [MQTT-3.3.1-11]: 0 always, 1 for a new subscription, 2 never."""
    v5(broker.port, "pub").publish("t", "kept", 1, retain=True)
    for handling, first, second in [(0, True, True), (1, True, False), (2, False, False)]:
        c = v5(broker.port, f"c{handling}")
        for expected in (first, second):
            c.subscribe("t", options=SubscribeOptions(qos=1, retainHandling=handling))
            assert c.silent(0.5) != expected, f"retain handling {handling}"


def test_no_matching_subscribers(broker, v5):
    c = v5(broker.port, "c")
    assert c.publish("nobody/listens", "x", 1) == 0x10
    c.subscribe("somebody", 0)
    assert c.publish("somebody", "x", 1) == 0


def test_assigned_client_identifier(broker, v5):
    """[MQTT-3.1.3-7]"""
    one, two = v5(broker.port, ""), v5(broker.port, "")
    ids = {one.connack.AssignedClientIdentifier, two.connack.AssignedClientIdentifier}
    assert len(ids) == 2 and "" not in ids


def test_receive_maximum_of_a_subscriber(broker, v5):
    """[MQTT-3.3.4-9]: no more unacknowledged messages than the client takes."""
    body = wire.string("MQTT") + b"\5\2\0\0" + b"\3\x21\0\2" + wire.string("c")
    with wire.Raw(broker.port) as raw:
        raw.send(wire.packet(0x10, body))
        raw.expect(wire.CONNACK)
        raw.send(wire.packet(0x82, b"\0\1" + b"\0" + wire.string("t") + b"\1"))
        raw.expect(wire.SUBACK)
        pub = v5(broker.port, "pub")
        for n in range(10):
            pub.publish("t", str(n), 1)
        first, second = raw.expect(wire.PUBLISH), raw.expect(wire.PUBLISH)
        raw.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            raw.receive()
        raw.socket.settimeout(8)
        raw.send(wire.ack(wire.PUBACK, first.id))
        third = raw.expect(wire.PUBLISH)
        raw.send(wire.ack(wire.PUBACK, second.id))
        fourth = raw.expect(wire.PUBLISH)
        assert [p.body[-1:] for p in (first, second, third, fourth)] == [b"0", b"1", b"2", b"3"]


def test_will_delay(broker, v5):
    """[MQTT-3.1.3-9]: a client that comes back within the delay has no will sent."""
    sub = v5(broker.port, "sub")
    sub.subscribe("w", 1)
    delay = props("WILLMESSAGE", WillDelayInterval=2)
    will = {"topic": "w", "payload": "gone", "qos": 1, "properties": delay}
    v5(broker.port, "dev", will=will, expiry=60, clean=False).drop()
    v5(broker.port, "dev", will=will, expiry=60, clean=False).drop()
    start = time.monotonic()
    assert sub.get().payload == b"gone"
    assert time.monotonic() - start > 1.5
    assert sub.silent(1)


def test_disconnect_with_will(broker, v5):
    from paho.mqtt.reasoncodes import ReasonCode
    from paho.mqtt.packettypes import PacketTypes

    sub = v5(broker.port, "sub")
    sub.subscribe("w", 1)
    dev = v5(broker.port, "dev", will={"topic": "w", "payload": "gone"})
    dev.close(reasoncode=ReasonCode(PacketTypes.DISCONNECT, identifier=4))
    assert sub.get().payload == b"gone"
