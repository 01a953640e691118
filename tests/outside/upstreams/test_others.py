"""A bridge harms none of the upstream's other clients, whatever it asks for or sends."""

import time

import pytest

from upstreams.site import Inbox

pytestmark = pytest.mark.footbridge

COUNT = 10


def test_other_readers_go_on(cloud, site):
    """Readers of the same filter: while the bridge subscribes, and after it has unsubscribed."""
    s = site("topic # both 1 here/ NAME/", known=True).start()
    old = Inbox(cloud.old_client(f"{s.name}old"))
    old.client.subscribe(f"{s.name}/#", 1)
    s.moves()
    said = 0
    for line in ("topic # both 1 here/ NAME/", "topic # out 1 here/ NAME/"):
        s.becomes(line)
        for n in range(COUNT):
            s.device.publish("here/out", said + n, 1)
        said += COUNT
        old.wait(lambda: len(old.topics[f"{s.name}/out"]) >= said, "messages for others")
        s.there.expect(f"{s.name}/out", range(said - COUNT, said))
    s.publisher.publish(f"{s.name}/in", "theirs", 1)
    s.there.expect(f"{s.name}/in", ["theirs"])
    old.expect(f"{s.name}/in", ["theirs"])
    old.client.close()


def test_what_no_longer_comes_in_stays_away(cloud, site):
    """Also where UNSUBSCRIBE is not answered. The link stays up meanwhile."""
    s = site("topic # both 1 here/ NAME/", known=True).start()
    s.moves()
    s.becomes("topic # out 1 here/ NAME/")
    here = Inbox(s.reader())
    time.sleep(cloud.settling)
    ups = s.up()
    s.publisher.publish(f"{s.name}/in", "theirs", 1)
    for n in range(COUNT):
        s.device.publish("here/out", n, 1)
    s.there.expect(f"{s.name}/out", range(COUNT))
    here.expect("here/out", range(COUNT))
    assert here.payloads("here/in") == []
    assert s.up() == ups
