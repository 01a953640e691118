"""A full disk: acknowledgements stop and all else goes on; with room everything continues by itself,
and nothing acknowledged is lost. The store lies on a filesystem of 8 MB."""

import asyncio
import subprocess

import pytest

from box import CONFIG, RECOVERY, Box
from peer import Peer
from stories import State, company, lines, qos0_passes, quiet, until

pytestmark = pytest.mark.footbridge

QUOTA_EXCEEDED = 0x97
KINDS = pytest.mark.parametrize("kind", ["tmpfs", "ext4"])


class FullBox(Box):
    """Its store lies on a small volume."""

    def __init__(self, make_broker, make_volume, kind="tmpfs", config="", **options):
        broker = make_broker(CONFIG + config, durable=True, quiet=True, start=False)
        self.volume = make_volume(broker.folder / "store", kind)
        broker.wrapper = self.volume.enter
        super().__init__(broker.start(), **options)

    async def fill_up(self, padding=4000, most=20_000):
        """Publishes until the disk takes no more: nothing is acknowledged for a second."""
        for _ in range(most // 100):
            self.offer(50, padding)
            try:
                await self.settled(1)
            except AssertionError:
                break
            if self.ledger.refused:
                break
        else:
            raise AssertionError("the disk is never full")
        await quiet(self.acknowledged)

    async def lives_on_though_full(self):
        """Nobody is thrown out, refusals say why, QoS 0 passes."""
        assert self.v3.pending, "QoS 1 and 2 are acknowledged on a full disk"
        assert set(self.ledger.refused) <= {QUOTA_EXCEEDED}
        assert self.v5.pending or self.ledger.refused
        assert [p.disconnects for p in self.publishers] == [0, 0]
        await qos0_passes(self.broker.port)


@pytest.mark.parametrize(("kind", "sub_qos"), [("tmpfs", 1), ("tmpfs", 2), ("ext4", 2)])
def test_full_by_a_foreign_file(make_broker, make_volume, kind, sub_qos):
    """While a foreign file fills the disk: MQTT 5 publishers get 0x97 or no acknowledgement, older
    ones none, nobody is disconnected, QoS 0 and deliveries go on. When it goes, all continues.
    Delivery at QoS 2 writes at each PUBREC: it needs the ballast."""
    box = FullBox(make_broker, make_volume, kind, sub_qos=sub_qos)

    async def story():
        box.sub.leave()
        box.offer(100)
        await box.settled()
        box.volume.fill()
        box.offer(200, padding=1000)
        await quiet(box.acknowledged)
        await box.lives_on_though_full()
        box.sub.start()
        await until(lambda: not box.ledger.missing(), 10, "backlog delivered on a full disk")
        box.volume.free()
        await box.all_arrives()

    box.tell(story)


@KINDS
def test_full_by_a_backlog(make_broker, make_volume, kind):
    """A backlog fills the disk. Its subscriber comes and takes it: the deletions find room, what
    publishers were kept from goes on, and everything arrives once and in order."""
    box = FullBox(make_broker, make_volume, kind)

    async def story():
        box.sub.leave()
        await box.fill_up()
        await box.lives_on_though_full()
        box.sub.start()
        await box.all_arrives(2 * RECOVERY)

    box.tell(story)


def test_full_by_the_backlog_of_a_bridge(make_broker, make_upstream, make_volume, link):
    """The same with a bridge whose uplink was down: connected again, it drains."""
    upstream = make_upstream("max_queued_messages 0", quiet=True)
    uplink = link(upstream.port)
    uplink.cut()
    bridge = (
        f"connection up\naddress 127.0.0.1:{uplink.port}\nrestart_timeout 1\n"
        f'bridge_protocol_version mqttv311\ntopic k/# out 2 "" up/\n'
    )
    box = FullBox(make_broker, make_volume, config=bridge)
    collector = Peer(upstream.port, "collector", filters=[("up/#", 2)])
    box.ledger.receivers.clear()
    box.ledger.receiver(collector, prefix="up/", exactly_once=True)

    async def story():
        async with company(collector):
            await box.fill_up()
            await box.lives_on_though_full()
            uplink.mend()
            await box.all_arrives(2 * RECOVERY)

    box.tell(story)


def test_it_says_so_once(make_broker, make_volume):
    """The log has one line when the disk is full and one when there is room again; $SYS tells the
    state, retained."""
    box = FullBox(make_broker, make_volume)
    state = State(box.broker.port)

    async def story():
        async with company(state):
            await state.becomes("ok")
            box.sub.leave()
            start = len(box.broker.log())
            box.volume.fill()
            box.offer(200, padding=1000)
            await state.becomes("full")
            await asyncio.sleep(6)
            assert len(lines(box.broker, "full", since=start)) == 1, box.broker.log()[start:]
            late = State(box.broker.port)
            late.client_id = "late"
            async with company(late):
                await late.becomes("full", 2)
            box.volume.free()
            await state.becomes("ok")
            await box.all_arrives()
            assert len(lines(box.broker, "full", "no space", since=start)) <= 2
            assert state.states == ["ok", "full", "ok"]

    box.tell(story)


@pytest.mark.parametrize("how", ["foreign file", "backlog", "last byte"])
def test_kill_and_start_while_full(make_broker, make_volume, how):
    """kill -9 on a full disk and start on it: it serves what needs no room, delivers the backlog
    (QoS 2 needs what the ballast gave; when others took that, too, it waits), and has lost nothing
    acknowledged."""
    box = FullBox(make_broker, make_volume)

    async def story():
        box.sub.leave()
        box.offer(100)
        await box.settled()
        if how != "foreign file":
            await box.fill_up()
        if how != "backlog":
            box.volume.fill()
        box.offer(50, padding=1000)
        await quiet(box.acknowledged)
        await box.restart()
        await qos0_passes(box.broker.port)
        box.sub.start()
        if how != "last byte":
            await until(lambda: not box.ledger.missing(), 20, "backlog delivered on a full disk")
        box.volume.free()
        await box.all_arrives(2 * RECOVERY)

    box.tell(story)


def test_a_first_start_on_a_full_disk(make_broker, make_volume):
    """There is no store yet and no room for one: it serves what needs none, or ends with one line
    that says why; it doesn't acknowledge what it can't keep."""
    broker = make_broker(CONFIG, durable=True, quiet=True, start=False)
    volume = make_volume(broker.folder / "store")
    broker.wrapper = volume.enter
    volume.fill()
    broker.launch()
    try:
        status = broker.process.wait(3)
    except subprocess.TimeoutExpired:
        asyncio.run(qos0_passes(broker.port))
    else:
        broker.process = None
        assert status == 1
        assert lines(broker, "full", "no space"), broker.log()


def test_the_judge_sees_a_store_that_is_gone(make_broker, make_volume):
    """The control: the store is deleted while the broker is dead."""
    box = FullBox(make_broker, make_volume)

    async def story():
        box.sub.leave()
        box.offer(100)
        await box.settled()
        box.broker.kill()
        for file in box.volume.path.glob("footbridge.db*"):
            file.unlink()
        await asyncio.to_thread(box.broker.start)
        box.sub.start()
        box.offer(10)
        await box.settled()
        await asyncio.sleep(1)
        assert "lost" in "\n".join(box.ledger.judge())

    box.tell(story)
