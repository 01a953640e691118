"""One message that the upstream does not stand. The others arrive, before and after it, both ways;
and where it came to nothing without an acknowledgement, the log names it."""

import pytest

from upstreams.site import Inbox

COUNT = 5

#: Outward: a rest of the topic, QoS, payload.
OUTWARD = {
    "qos2": ("x", 2, "poison"),
    "blank": ("a b", 1, "poison"),
    "dot": ("a.b", 1, "poison"),
    "comma": ("a,b", 1, "poison"),
    "levels": ("/".join("l" * 199), 1, "poison"),  # All that footbridge takes, as Mosquitto.
    "big": ("big", 1, "poison" + 30_000 * "."),
}


@pytest.mark.parametrize("poison", OUTWARD)
def test_outward(cloud, site, tap, record, poison):
    s = site("topic # both 2 here/ NAME/", port=tap.port).start()
    s.moves()
    rest, qos, payload = OUTWARD[poison]
    for n in range(COUNT):
        s.device.publish("here/out", n, 1)
    s.device.publish(f"here/{rest}", payload, qos)
    for n in range(COUNT, 2 * COUNT):
        s.device.publish("here/out", n, 1)
    s.there.expect(f"{s.name}/out", range(2 * COUNT))
    came = [(topic, m) for topic, ms in s.there.topics.items() for m in ms if m.payload[:6] == b"poison"]
    record(f"outward-{poison}", outcome(s, tap, rest, payload, came))
    s.moves()
    assert came or payload in tap.acknowledged or rest in s.broker.log()


def outcome(s, tap, rest, payload, came):
    """What became of it, in words."""
    if not came:
        return "acknowledged, lost" if payload in tap.acknowledged else "refused"
    topic, message = came[0]
    own = topic.removeprefix(f"{s.name}/")
    return f"QoS {message.qos}" if own == rest else f"QoS {message.qos}, as {own}"


def test_outward_to_a_dollar_topic(cloud, site, tap, record):
    """As a line for $SYS makes them."""
    s = site(
        "topic # both 1 here/ NAME/\ntopic # out 1 dollar/ $NAME/", port=tap.port
    ).start()
    s.moves()
    s.device.publish("here/out", "0", 1)
    s.device.publish("dollar/x", "poison", 1)
    s.device.publish("here/out", "1", 1)
    s.there.expect(f"{s.name}/out", range(2))
    s.moves()
    acknowledged = "poison" in tap.acknowledged
    record("outward-dollar", "acknowledged" if acknowledged else "refused")
    assert acknowledged or f"${s.name}/x" in s.broker.log() or "dollar/x" in s.broker.log()


#: Inward: a rest of the topic. Some upstreams deliver what nobody may publish.
INWARD = {
    "star": "a*b",
    "control": "a\x01b",
    "delete": "a\x7fb",
    "nonchar": "a\uffffb",
    "levels": "/".join("l" * 250),
}


@pytest.mark.parametrize("poison", INWARD)
def test_inward(cloud, site, record, poison):
    s = site("topic # both 1 here/ NAME/").start()
    s.moves()
    ups = s.up()
    came = Inbox(s.their("watcher"))
    came.client.subscribe(f"{s.name}/#", 1)
    try:
        s.their("evil").publish(f"{s.name}/{INWARD[poison]}", "poison", 1)
    except AssertionError:
        pass  # The upstream has cut the publisher off.
    for n in range(COUNT):
        s.publisher.publish(f"{s.name}/in", n, 1)
    s.here.expect("here/in", range(COUNT))
    here = "poison" in s.here.all_payloads()
    s.moves()
    assert s.up() == ups, "the bridge has connected again"
    came.drain()
    delivered = [t for t, ms in came.topics.items() if ms[0].payload == b"poison"]
    own = delivered[0].removeprefix(f"{s.name}/") if delivered else None
    record(f"inward-{poison}", {"delivered as": own, "arrives": here})
    # What is dropped here is told, in words that harm no terminal.
    assert here or not delivered or f"{s.name}/a" in s.broker.log()
    assert not any(ord(c) < 32 or ord(c) == 127 for c in s.broker.log().replace("\n", ""))
