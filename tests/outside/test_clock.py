"""Wall clocks that lie: a box without a battery starts in 1970, NTP sets it right by decades, someone
types a wrong year. Expiry and timers run on the monotonic clock; what is on disk survives sensibly."""

import contextlib
import glob
import queue
import time

import pytest

from clients import V5, V311, props
from harness import Broker, wait_until

pytestmark = pytest.mark.footbridge

WEEK = 7 * 24 * 3600
NOW = None
BOOT = 5  # seconds after 1970 began
PAST, FUTURE = 946_684_800, 4_070_908_800  # 2000, 2099
JOURNEYS = {
    "no battery": [BOOT, NOW, BOOT, NOW],
    "a wrong year": [NOW, FUTURE, NOW],
    "back and forth": [FUTURE, BOOT, PAST, FUTURE, NOW],
}
journeys = pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)


class FakedClock:
    """The wall clock of a broker that is not yet started; the monotonic one stays true."""

    def __init__(self, broker: Broker):
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        assert library, "please install faketime"
        self.broker = broker
        self._file = broker.folder / "offset"
        self.set(NOW)
        broker.wrapper = [
            "env",
            f"LD_PRELOAD={library[0]}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_DISABLE_SHM=1",
        ]

    def set(self, moment):
        """It is `moment` (seconds since 1970) now, and goes on from there, also while the broker
        runs."""
        offset = 0 if moment is NOW else moment - time.time()
        young = self._file.with_suffix(".new")
        young.write_text(f"{offset:+.0f}")
        young.rename(self._file)

    def start(self, moment):
        """Starts the broker at that moment; fails if it doesn't believe it."""
        self.set(moment)
        start = len(self.broker.log())
        self.broker.start()
        # The log has a thread of its own, which may come late.
        said = wait_until(lambda: self.broker.log()[start:].partition(":")[0], what="log")
        logged = int(said)
        expected = time.time() if moment is NOW else moment
        assert abs(logged - expected) < 10, "the clock could not be faked"


@pytest.fixture
def clock(make_broker):
    return FakedClock(make_broker("sys_interval 1", durable=True, start=False))


def durable(version):
    return {"version": version, "clean": False, "expiry": WEEK if version == V5 else None}


def drain(client, quiet=0.4):
    got = []
    with contextlib.suppress(queue.Empty):
        while True:
            got.append(client.get(timeout=quiet).payload.decode())
    return got


@journeys
@pytest.mark.parametrize("version", [V311, V5])
def test_an_absent_session_outlives_every_jump(clock, client, journey, version):
    """A session with an expiry of a week stays away while the clock jumps by years between runs,
    and gets what was queued in each of them."""
    clock.start(journey[0])
    sub = client(clock.broker.port, "sub", **durable(version))
    sub.subscribe("t", 1)
    sub.close()
    for n, moment in enumerate(journey):
        if n:
            clock.broker.kill()
            clock.start(moment)
        client(clock.broker.port, "pub").publish("t", str(n), 1)
    time.sleep(1.2)  # an expiry that is due would be seen to
    sub = client(clock.broker.port, "sub", **durable(version))
    assert sub.session_present
    assert sub.payloads(len(journey)) == [str(n) for n in range(len(journey))]


@journeys
def test_delivery_at_every_date(clock, client, journey):
    """A session that comes in each run is served, whatever the date; retained values stay."""
    for n, moment in enumerate(journey):
        clock.start(moment)
        sub = client(clock.broker.port, "sub", **durable(V5))
        assert sub.session_present == (n > 0)
        sub.subscribe("t", 1)
        drain(sub)  # retained
        client(clock.broker.port, "pub").publish("t", str(n), 1, retain=True)
        assert sub.payloads(1) == [str(n)]
        fresh = client(clock.broker.port, "fresh")
        fresh.subscribe("t", 1)
        assert fresh.payloads(1) == [str(n)]
        sub.close()
        clock.broker.kill()


@pytest.mark.parametrize("moment", [BOOT, FUTURE])
def test_a_message_expires_at_every_date(clock, client, moment):
    """Of two messages one has an expiry of two seconds and goes, also over a restart in which the
    clock jumps; the other, with an hour, stays."""
    clock.start(moment)
    sub = client(clock.broker.port, "sub", **durable(V5))
    sub.subscribe("t", 1)
    sub.close()
    pub = client(clock.broker.port, "pub", version=V5)
    pub.publish("t", "short", 1, properties=props("PUBLISH", MessageExpiryInterval=2))
    pub.publish("t", "long", 1, properties=props("PUBLISH", MessageExpiryInterval=3600))
    clock.broker.kill()
    clock.start(BOOT)
    time.sleep(3.2)
    sub = client(clock.broker.port, "sub", **durable(V5))
    assert drain(sub) == ["long"]


@pytest.mark.parametrize("jump", [BOOT, FUTURE])
def test_timers_do_not_feel_a_jump(clock, client, jump):
    """The clock jumps while the broker runs: a client within its keep-alive stays, a session and a
    message expire when they are due and not before, a delayed will comes when it is due."""
    clock.start(NOW)
    port = clock.broker.port
    watcher = client(port, "watcher", keepalive=3)
    watcher.subscribe("will", 1)
    delayed = {"topic": "will", "payload": "gone", "qos": 1}
    delay = props("WILLMESSAGE", WillDelayInterval=3)
    device = client(port, "device", version=V5, clean=False, expiry=WEEK, will=delayed | {"properties": delay})
    for name, expiry in (("short", 3), ("long", 3600)):
        session = client(port, name, version=V5, clean=False, expiry=expiry)
        session.subscribe("t", 1)
        session.close()
    client(port, "pub", version=V5).publish(
        "t", "x", 1, properties=props("PUBLISH", MessageExpiryInterval=2)
    )
    device.drop()
    dropped = time.monotonic()
    clock.set(jump)
    assert watcher.silent(1.5), "a will came before its time"
    assert watcher.payloads(1, timeout=6) == ["gone"]
    assert time.monotonic() - dropped > 2.5
    time.sleep(max(0, dropped + 5 - time.monotonic()))
    assert not watcher.closed.is_set(), "a client within its keep-alive was thrown out"
    assert not client(port, "short", version=V5, clean=False, expiry=3).session_present
    long = client(port, "long", version=V5, clean=False, expiry=3600)
    assert long.session_present
    assert drain(long) == []


def test_keep_alive_after_a_jump(clock, client):
    """A client that has gone silent is noticed after one and a half keep-alives [MQTT-3.1.2-22],
    though the clock went back by decades."""
    from wire import Raw

    clock.start(NOW)
    with Raw(clock.broker.port, "silent", keepalive=1) as silent:
        clock.set(BOOT)
        start = time.monotonic()
        silent.socket.settimeout(6)
        assert silent.closed_by_broker()
        assert 1 < time.monotonic() - start < 5


@pytest.mark.parametrize("moment", [BOOT, FUTURE])
def test_a_will_after_a_crash_at_every_date(clock, client, moment):
    """The broker died with a device connected, and starts at another date: the will goes out."""
    clock.start(NOW)
    watcher = client(clock.broker.port, "watcher", **durable(V311))
    watcher.subscribe("will", 1)
    client(clock.broker.port, "dev", clean=False, will={"topic": "will", "payload": "gone", "qos": 1})
    clock.broker.kill()
    clock.start(moment)
    watcher = client(clock.broker.port, "watcher", **durable(V311))
    assert watcher.session_present
    assert watcher.payloads(1, timeout=12) == ["gone"]


def test_the_judge_sees_a_session_that_expired(clock, client):
    """The control: a session of one second is gone after three, on the monotonic clock."""
    clock.start(BOOT)
    client(clock.broker.port, "sub", version=V5, clean=False, expiry=1).close()
    time.sleep(3)
    sub = client(clock.broker.port, "sub", version=V5, clean=False, expiry=1)
    assert not sub.session_present
    wait_until(clock.broker.alive)
