"""Data moves both ways over a bridge to each upstream, by the configuration one starts with."""

import time

import pytest

from harness import wait_until
from upstreams.site import PATIENCE, retained

pytestmark = pytest.mark.footbridge

COUNT = 40


def published(traits, qos):
    """With which QoS a message sent with this one is in the upstream."""
    return (traits.takes_qos2_as or 1) if qos == 2 else qos


def delivered(traits, qos, subscribed=2):
    """With which QoS a subscriber gets it."""
    subscribed = min(subscribed, traits.grants)
    return subscribed if traits.raises_qos else min(qos, subscribed)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_both_ways(cloud, site, record, qos):
    record(f"moves-{qos}", False)
    s = site(f"topic # both {qos} here/ NAME/").start()
    began = time.monotonic()
    s.settles()
    record(f"seconds-{qos}", round(time.monotonic() - began, 1))
    for n in range(COUNT):
        s.device.publish("here/out", n, qos)
    out = s.there.expect(f"{s.name}/out", range(COUNT))
    sent = published(cloud.traits, qos)
    for n in range(COUNT):
        s.publisher.publish(f"{s.name}/in", n, sent)
    # Nothing of what went out has come back, either.
    assert set(s.here.topics) <= {"here/out", "here/in"}
    inward = s.here.expect("here/in", range(COUNT))
    ours = s.here.payloads("here/out")
    assert len(set(ours)) == COUNT
    assert len(ours) - COUNT <= (2 if cloud.traits.ignores_no_local else 0), ours
    outcome = [{m.qos for m in out}, {m.qos for m in inward}]
    record(f"arrives-{qos}", list(map(sorted, outcome)))
    assert outcome == [{delivered(cloud.traits, sent)}, {delivered(cloud.traits, sent, qos)}]
    assert not any(m.retain for m in out + inward)
    record("spoken", s.spoken())
    record(f"without-{qos}", s.without())
    record(f"moves-{qos}", True)


def test_what_it_has_found_out_is_kept(cloud, site):
    """After a restart the first attempt succeeds, and the link stays."""
    s = site("topic # both 1 here/ NAME/").start()
    s.settles()
    attempt = f"Connecting bridge {s.name} "
    before = s.broker.log().count(attempt)
    s.becomes("topic # both 1 here/ NAME/")
    s.device.publish("here/again", "x", 1)
    s.there.expect(f"{s.name}/again", ["x"])
    s.publisher.publish(f"{s.name}/again", "x", 1)
    s.there.expect(f"{s.name}/again", ["x"])
    assert s.broker.log().count(attempt) == before + 1


def test_the_shortest_line(cloud, site):
    """`topic # both 1`: the same names on both sides."""
    s = site("topic # both 1", known=True).start()
    inner = f"{s.name}/"
    s.moves(inner=inner)
    for n in range(COUNT):
        s.device.publish(f"{inner}out", n, 1)
        s.publisher.publish(f"{inner}in", n, 1)
    for inbox in (s.here, s.there):
        inbox.expect(f"{inner}out", range(COUNT), twice=cloud.traits.ignores_no_local)
        inbox.expect(f"{inner}in", range(COUNT))


def test_retained(cloud, site, client, record):
    s = site("topic # both 1 here/ NAME/", known=True)
    early = s.their("early")
    early.publish(f"{s.name}/before", "theirs", 1, retain=True)
    s.start()
    s.device.publish("here/value", "ours", 1, retain=True)
    s.device.publish("here/cleared", "ours", 1, retain=True)
    s.device.publish("here/cleared", "", 1, retain=True)
    s.moves()

    def here(topic):
        return retained(client(s.broker.port, "new"), f"here/{topic}")

    wait_until(lambda: s.retained("value") == "ours", timeout=PATIENCE, what="retained value there")
    assert s.retained("cleared") is None
    # RabbitMQ has nothing for the wildcard of the bridge.
    expected = "theirs" if cloud.traits.retained_for_wildcards else None
    assert here("before") == expected

    s.publisher.publish(f"{s.name}/live", "theirs", 1, retain=True)
    s.here.expect("here/live", ["theirs"])
    stays = here("live") == "theirs"
    record("retained", {"wildcard": expected is not None, "live": stays})
    # Only MQTT 5 and the bridge bit have the flag of what comes live.
    flagged = "MQTT 5" in s.spoken() or "bridge bit" in s.spoken()
    assert stays == (flagged and cloud.traits.retain_as_published)

    s.device.publish("here/value", "", 1, retain=True)
    wait_until(lambda: s.retained("value") is None, timeout=PATIENCE, what="cleared value there")
