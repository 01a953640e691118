"""kill -9 at random moments under mixed load, on the real binary: what was acknowledged stays.

Each run prints its seed; FOOTBRIDGE_SEED=N repeats its choices (not the scheduler's)."""

import asyncio
import os
import shutil
import time

import pytest

from harness import run
from mixed_load import Site
from seed import seeded

pytestmark = pytest.mark.footbridge

ROUNDS = int(os.environ.get("FOOTBRIDGE_KILLS", 300))
#: Longest time from start to kill, in seconds. Most rounds are short; in some a bridge, which
#: connects within a second, has time for a conversation.
SHORT, LONG, LONG_SHARE = 0.3, 1.6, 0.2
BEAT = 0.01
CUTS = 0.01  # how likely a link is cut or mended in a beat


def bridges(links):
    return "\n".join(
        f"connection b{level}\naddress 127.0.0.1:{link.port}\nrestart_timeout 1\n"
        f"bridge_protocol_version {version}\nbridge_session_expiry_interval 3600\ncleansession false\nnotifications false\n"
        f'topic k/# out 2 "" up{level}/'
        for level, version, link in zip("45", ("mqttv311", "mqttv50"), links)
    )


async def one_round(site, links, cut):
    """Starts the broker and kills it at a random moment, which may be before it listens."""
    rng = site.rng
    end = time.monotonic() + rng.uniform(0, LONG if rng.random() < LONG_SHARE else SHORT)
    check = rng.random() < 0.5
    site.broker.launch()
    site.shuffle()
    while time.monotonic() < end:
        site.load()
        for link in links:
            if rng.random() < CUTS:
                await asyncio.to_thread(link.mend if link in cut else link.cut)
                cut ^= {link}
        if check and site.publishers[0].online.is_set():
            site.check_retained()
            check = False
        await asyncio.sleep(min(BEAT, max(0, end - time.monotonic())))
    site.broker.kill()


async def story(site, links, rounds, sabotage=lambda number: None, patience=10):
    """Returns what is wrong in the end."""
    cut = set()
    await site.open()
    site.broker.kill()
    try:
        for number in range(rounds):
            await one_round(site, links, cut)
            sabotage(number)
        for link in cut:
            link.mend()
        site.broker.launch()
        await site.settle(patience)
        async with asyncio.timeout(5):
            await site.retained.check(site.broker.port)
    finally:
        await site.close()
    acknowledged, delivered = site.ledger.total()
    print(
        f"{rounds} kills: {acknowledged} messages acknowledged, {delivered} deliveries, "
        f"{site.retained.checks} retained and {site.subscriptions.checks} subscription checks"
    )
    return site.judge()


def test_everything_acknowledged_survives(make_broker, make_upstream, link):
    """300 kills: no acknowledged message lost for any durable session or bridge, QoS 2 exactly
    once, order kept per publisher and topic, sessions, subscriptions and retained messages as
    acknowledged; bridges of both versions to a Mosquitto, over links that come and go."""
    # With a window of its own Mosquitto 2.0.11 passes messages on in another order than it got them
    # (its log shows both), as soon as they come fast enough for it to queue.
    upstream = make_upstream("max_queued_messages 0\nmax_inflight_messages 0", quiet=True)
    links = [link(upstream.port), link(upstream.port)]
    broker = make_broker(f"max_queued_messages 0\n{bridges(links)}", durable=True, quiet=True)
    site = Site(broker, upstream.port, seeded())
    complaints = asyncio.run(story(site, links, ROUNDS))
    assert not complaints, "\n".join(complaints)
    assert site.ledger.total()[0] > ROUNDS * 50, "too little load to mean anything"
    assert site.retained.checks > ROUNDS / 10
    assert site.subscriptions.checks > ROUNDS


def files(folder):
    """The plain files: beside a store lies the control socket, which a kill leaves behind."""
    return [entry for entry in folder.iterdir() if entry.is_file()]


def copy(folder, to):
    to.mkdir()
    for file in files(folder):
        shutil.copy2(file, to)


class StaleStore:
    """A sync that lies: after each kill the store is as it was one kill ago."""

    def __init__(self, broker):
        self.store = broker.folder / "store"
        self.now, self.before = broker.folder / "now", broker.folder / "before"

    def __call__(self, _number):
        for old in (self.before, self.now):
            old.exists() or copy(self.store, old)
        shutil.rmtree(self.before)
        self.now.rename(self.before)
        copy(self.store, self.now)
        shutil.rmtree(self.store)
        copy(self.before, self.store)


def emptied(broker):
    """Damage at each kill: the file ends in the middle."""

    def sabotage(_number):
        for file in files(broker.folder / "store"):
            os.truncate(file, file.stat().st_size // 2)

    return sabotage


def control(make_broker, config="", sabotage=lambda broker: lambda number: None, rounds=12):
    broker = make_broker(f"max_queued_messages 0\n{config}", durable=True, quiet=True)
    site = Site(broker, None, seeded())
    return "\n".join(asyncio.run(story(site, [], rounds, sabotage(broker), patience=1.5)))


@pytest.mark.parametrize("sabotage", [StaleStore, emptied])
def test_the_judge_sees_a_store_that_forgets(make_broker, sabotage):
    """The control: with the store made to forget, the same judge must complain."""
    complaints = control(make_broker, sabotage=sabotage)
    assert "lost" in complaints


def test_the_judge_sees_that_nothing_is_kept_without_persistence(make_broker):
    """The control of the rest of the judge."""
    complaints = control(make_broker, "persistence false")
    for kind in ("lost", "session not present", "retained", "subscription to"):
        assert kind in complaints, f"not noticed: {kind}"


def test_the_judge_sees_what_lazy_durability_loses(make_broker, tmp_path):
    """`durability lazy` acknowledges before it writes; a kill must show it."""
    config = tmp_path / "lazy.conf"
    config.write_text("durability lazy 5\n")
    if run("-c", config, "--test-config").returncode != 0:
        pytest.skip("this binary has no `durability`")
    assert "lost" in control(make_broker, "durability lazy 5")
