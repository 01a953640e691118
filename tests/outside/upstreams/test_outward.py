"""One message that the upstream does not stand. The others arrive, before and after it, both ways;
and where it came to nothing without an acknowledgement, the log names it."""

import time

import pytest

pytestmark = pytest.mark.footbridge

COUNT = 5

#: A rest of the topic, QoS, payload.
POISON = {
    "qos2": ("x", 2, "poison"),
    "blank": ("a b", 1, "poison"),
    "dot": ("a.b", 1, "poison"),
    "comma": ("a,b", 1, "poison"),
    "levels": ("/".join("l" * 199), 1, "poison"),  # All that footbridge takes, as Mosquitto.
    "big": ("big", 1, "poison" + 30_000 * "."),
}


@pytest.mark.parametrize("poison", POISON)
def test_one_message(cloud, site, tap, record, poison):
    s = site("topic # both 2 here/ NAME/", port=tap.port, known=True).start()
    s.moves()
    rest, qos, payload = POISON[poison]
    for n in range(COUNT):
        s.device.publish("here/out", n, 1)
    s.device.publish(f"here/{rest}", payload, qos)
    for n in range(COUNT, 2 * COUNT):
        s.device.publish("here/out", n, 1)
    s.there.expect(f"{s.name}/out", range(2 * COUNT), twice=True)
    end = time.monotonic() + 1  # QoS 2 takes a turn more.
    while not s.there.find(payload) and time.monotonic() < end:
        s.there.drain(0.1)
    came = s.there.find(payload)
    record(f"outward-{poison}", outcome(s, rest, came, payload in tap.acknowledged))
    s.moves()
    assert came or payload in tap.acknowledged or told(s, "here", rest)


def outcome(s, rest, came, acknowledged):
    """What became of it, in words."""
    if came is None:
        return "acknowledged, lost" if acknowledged else "refused"
    own = came.topic.removeprefix(f"{s.name}/")
    return f"QoS {came.qos}" if own == rest else f"QoS {came.qos}, as {own}"


def told(s, folder, rest):
    """Whether the log names it, by either of its names; long ones may be cut short."""
    return any(f"{start}/{rest}"[:40] in s.broker.log() for start in (folder, s.name))


def test_a_dollar_topic(cloud, site, tap, record):
    """As a line for $SYS makes them."""
    if cloud.name == "amqtt":
        pytest.skip("acknowledges it, and is deaf to the bridge from then on")
    s = site(
        "topic # both 1 here/ NAME/\ntopic # out 1 dollar/ $NAME/", port=tap.port, known=True
    ).start()
    s.moves()
    s.device.publish("here/out", "0", 1)
    s.device.publish("dollar/x", "poison", 1)
    s.device.publish("here/out", "1", 1)
    s.there.expect(f"{s.name}/out", range(2), twice=True)
    s.moves()
    acknowledged = "poison" in tap.acknowledged
    record("outward-dollar", "acknowledged" if acknowledged else "refused")
    assert acknowledged or told(s, "dollar", "x")
