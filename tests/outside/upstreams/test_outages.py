"""The uplink is cut, and the upstream is killed: what was acknowledged here arrives there."""

import time

import pytest

from harness import wait_until
from upstreams.site import PATIENCE, Inbox

pytestmark = pytest.mark.footbridge

COUNT = 30
BURST = 400


def test_the_uplink_is_cut(cloud, site, tap, record):
    s = site("topic # both 1 here/ NAME/", port=tap.port, known=True).start()
    s.moves()
    time.sleep(0.5)  # The acknowledgements of all that came, too.
    tap.cut()
    time.sleep(0.5)  # The upstream has seen it; what it sends meanwhile is another test's.
    for n in range(COUNT):
        s.device.publish("here/out", n, 1)
        s.publisher.publish(f"{s.name}/in", n, 1)
    tap.mend()
    s.there.expect(f"{s.name}/out", range(COUNT))
    if cloud.traits.sessions:
        s.here.expect("here/in", range(COUNT))
    else:
        assert s.here.payloads("here/in") == []
    record("kept", cloud.traits.sessions)
    s.moves()


def test_the_upstream_is_killed(cloud, site, tap, record):
    """Lost is at most what it had acknowledged, and of that nothing where it keeps its word."""
    s = site("topic # both 1 here/ NAME/", port=tap.port, known=True).start()
    s.moves()
    said = [s.device.paho.publish("here/out", n, 1) for n in range(BURST)]
    s.there.wait(lambda: len(s.there.topics[f"{s.name}/out"]) > BURST // 10, "messages under way")
    cloud.kill()
    tap.cut()
    for one in said:
        one.wait_for_publish(PATIENCE)
    first = s.there
    promised = {p for p in tap.acknowledged if p.isdecimal()}
    cloud.start()
    s.join()
    tap.mend()

    def seen():
        first.drain()
        return {p for inbox in (first, s.there) for p in inbox.all_payloads()}

    owed = {str(n) for n in range(BURST)}
    s.there.wait(lambda: owed - promised <= seen(), "messages that it had not acknowledged")
    wait_until(lambda: owed <= tap.acknowledged, timeout=PATIENCE, what="an empty queue")
    # What it has acknowledged lies there for nobody: the reader's session was a clean one.
    s.moves()


def test_what_it_has_acknowledged_outlives_it(cloud, site, record):
    """A durable reader is away, the bridge has sent all, and then the upstream is killed."""
    s = site("topic # both 1 here/ NAME/", known=True).start()
    name = f"{s.name}durable"
    reader = cloud.client(name, **cloud.durable)
    reader.subscribe(f"{s.name}/out", 1)
    s.moves()
    reader.drop()
    time.sleep(0.5)
    for n in range(COUNT):
        s.device.publish("here/out", n, 1)
    s.there.expect(f"{s.name}/out", range(COUNT))
    time.sleep(1)  # NATS writes down what it has acknowledged a moment later.
    cloud.restart("kill")
    s.join()
    s.moves()
    again = Inbox(cloud.client(name, **cloud.durable))
    end = time.monotonic() + 90  # NATS asks itself for half a minute whether they have come.
    while len(left := again.payloads(f"{s.name}/out")) < COUNT and time.monotonic() < end:
        if not cloud.traits.survives_kill:
            end = min(end, time.monotonic() + 1)
        again.drain(0.5)
    again.client.close()
    record("left", [len(left), COUNT])
    assert left == (list(map(str, range(COUNT))) if cloud.traits.survives_kill else [])
