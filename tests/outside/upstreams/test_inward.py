"""What the upstream delivers and nobody may publish: names with wildcards in them, with control
characters, with more levels than there may be. The bridge stays up, and what follows arrives."""

import pytest

from upstreams.site import Inbox

pytestmark = pytest.mark.footbridge

COUNT = 5

#: A rest of the topic.
POISON = {
    "star": "a*b",
    "control": "a\x01b",
    "delete": "a\x7fb",
    "nonchar": "a\uffffb",
    "levels": "/".join("l" * 250),
}


@pytest.mark.parametrize("poison", POISON)
def test_one_name(cloud, site, record, poison):
    s = site("topic # both 1 here/ NAME/", known=True).start()
    s.settles()
    ups = s.up()
    came = Inbox(s.their("watcher"))
    came.client.subscribe(f"{s.name}/#", 1)
    try:
        s.their("evil").publish(f"{s.name}/{POISON[poison]}", "poison", 1)
    except (AssertionError, RuntimeError):
        pass  # The upstream has cut the publisher off.
    for n in range(COUNT):
        s.publisher.publish(f"{s.name}/in", n, 1)
    s.here.expect("here/in", range(COUNT))
    here = s.here.find("poison") is not None
    s.moves()
    assert s.up() == ups, "the bridge has connected again"
    came.drain()
    delivered = came.find("poison")
    own = delivered.topic.removeprefix(f"{s.name}/") if delivered else None
    record(f"inward-{poison}", {"delivered as": own, "arrives": here})
    # What is dropped here is told, in words that harm no terminal.
    assert here or not delivered or f"{s.name}/{POISON[poison][0]}" in s.broker.log()
    assert not any(ord(c) < 32 or ord(c) == 127 for c in s.broker.log().replace("\n", ""))
