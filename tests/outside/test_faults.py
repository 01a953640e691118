"""Disks that fail, files that go away: acknowledgements wait, nothing acknowledged is lost, and all
goes on by itself."""

import asyncio
import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from box import CONFIG, RECOVERY, Box
from faulty_disk import LIE, FaultyDisk, compile_shim
from seed import seeded
from stories import State, company, lines, qos0_passes, quiet, until

pytestmark = pytest.mark.footbridge

ROUNDS = 4
NOTICE = 10  # seconds within which a broker sees that its file has gone
PARTS = ["", ".journal", ".ballast"]
#: What the log calls it.
FELT = {
    errno.EIO: "input/output error",
    errno.ENOSPC: "full",
    errno.EROFS: "read-only",
}


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return compile_shim(tmp_path_factory.mktemp("shim"))


def a_box(make_broker, **options):
    return Box(make_broker(CONFIG, durable=True, quiet=True), **options)


def a_faulty_box(make_broker, shim):
    broker = make_broker(CONFIG, durable=True, quiet=True, start=False)
    disk = FaultyDisk(broker, shim)
    return Box(broker.start()), disk


async def under_load(box, story):
    """Keeps publishing and the subscriber coming and going while the story is told."""

    async def load():
        while True:
            for peer in box.publishers:
                if peer.pending < 40:
                    box.offer(2)
                    break
            await asyncio.sleep(0.01)

    loading = asyncio.create_task(load())
    try:
        await story()
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)


@pytest.mark.parametrize("number", FELT)
def test_errors_after_n_operations(make_broker, shim, number):
    """The disk begins to fail in the middle of things, for a while; every second time the broker is
    killed while it does."""
    box, disk = a_faulty_box(make_broker, shim)
    rng = seeded()

    async def story():
        for turn in range(ROUNDS):
            await asyncio.sleep(0.2)
            (box.sub.start if rng.random() < 0.6 else box.sub.leave)()
            disk.fail(number, rng.randrange(40))
            await asyncio.sleep(rng.uniform(0.3, 1.0))
            killed = turn % 2
            if killed:
                box.broker.kill()
            disk.mend()
            if killed:
                await asyncio.to_thread(box.broker.start)
            before = box.acknowledged()
            await until(lambda: box.acknowledged() > before + 60, RECOVERY, "acknowledgements")

    async def whole():
        await under_load(box, story)
        await box.all_arrives()
        assert lines(box.broker, FELT[number]), "no error had an effect"

    box.tell(whole)


def test_read_only_and_back(make_broker, shim):
    """A filesystem that turns read-only, as ext4 does at an error: nothing is acknowledged, nobody
    is thrown out, QoS 0 passes, the log says it once and $SYS, too; then it is writable again."""
    box, disk = a_faulty_box(make_broker, shim)
    state = State(box.broker.port)

    async def story():
        async with company(state):
            box.offer(50)
            await box.settled()
            start = len(box.broker.log())
            disk.fail(errno.EROFS)
            box.sub.leave()
            box.offer(50)
            await quiet(box.acknowledged)
            assert box.v3.pending
            await qos0_passes(box.broker.port)
            await asyncio.sleep(4)
            told = lines(box.broker, "read-only", since=start)
            assert len(told) == 1, box.broker.log()[start:]
            disk.mend()
            await box.all_arrives()
            assert [p.disconnects for p in box.publishers] == [0, 0]
            await state.becomes("ok")
            assert any(s.startswith("failing: ") for s in state.states), state.states

    box.tell(story)


def test_ext4_stops_at_an_error(make_broker, make_volume):
    """The kernel makes the real filesystem read-only. After a power cycle and a mount all that was
    acknowledged is there. The error comes between two commits: Linux 6.18 lets an fdatasync that is
    under way in that moment return 0 without having written."""
    broker = make_broker(CONFIG, durable=True, quiet=True, start=False)
    volume = make_volume(broker.folder / "store", "ext4", size="64m")
    broker.wrapper = volume.enter
    box = Box(broker.start())

    async def story():
        box.sub.leave()
        box.offer(200)
        await box.settled()
        volume.stop_at_an_error()
        box.offer(200)
        await quiet(box.acknowledged)
        assert box.v3.pending
        await qos0_passes(broker.port)
        broker.kill()
        volume.mount_again()
        await asyncio.to_thread(broker.start)
        await box.all_arrives()

    box.tell(story)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("idle", [False, True])
def test_deleted_under_a_running_broker(make_broker, part, idle):
    """The broker sees within seconds that its file has gone and writes a new one, whether or not
    there is traffic; kill -9 then loses nothing acknowledged before or after. The ballast holds
    nothing: it is enough that it lies there again after the next start."""
    box = a_box(make_broker)
    file = box.broker.folder / "store" / f"footbridge.db{part}"

    async def story():
        box.sub.leave()
        box.offer(100)
        await box.settled()
        if not file.exists():
            pytest.skip(f"this binary has no {file.name}")

        async def deletion():
            await asyncio.sleep(0.2)
            file.unlink()
            if part != ".ballast":
                await until(file.exists, NOTICE, f"new {file.name}")
            await asyncio.sleep(0.5)

        if idle:
            await deletion()
        else:
            await under_load(box, deletion)
        if not part:
            assert lines(box.broker, "deleted", "gone", "missing", "no longer"), box.broker.log()
        box.offer(20)
        await box.settled()
        await box.restart()
        await box.all_arrives()
        assert file.exists()

    box.tell(story)


def test_folder_renamed_away(make_broker):
    """The store's folder goes away for some seconds and comes back."""
    box = a_box(make_broker)
    store = box.broker.folder / "store"
    away = store.with_name("away")

    async def story():
        box.sub.leave()

        async def absence():
            await asyncio.sleep(0.2)
            store.rename(away)
            await asyncio.sleep(3)
            if not store.exists():
                away.rename(store)
            await asyncio.sleep(3)

        await under_load(box, absence)
        await box.settled(RECOVERY)
        await box.restart()
        await box.all_arrives()

    box.tell(story)


def test_truncated_under_a_running_broker(make_broker):
    """Half of the file goes while the broker runs. It stays up or is up after the next start, says
    what happened, delivers nothing wrong, and keeps what is acknowledged from then on."""
    box = a_box(make_broker)
    file = box.broker.folder / "store/footbridge.db"
    payloads = []

    async def story():
        box.sub.leave()
        box.offer(500)
        await box.settled()
        os.truncate(file, file.stat().st_size // 2)
        box.offer(20)
        await asyncio.sleep(3)
        assert box.broker.alive(), box.broker.log()
        await box.restart()
        # The log may lag behind: a thread of its own writes it.
        await until(lambda: lines(box.broker, "damage", "corrupt"), 10, "line in the log")
        await box.settled(RECOVERY)
        # What is lost is lost: from here on all counts.
        box.sub.on_receive = payloads.append
        box.sub.start()
        await until(box.sub.subscribed.is_set, 5, "subscriber")
        await quiet(lambda: len(payloads))
        box.sub.leave()
        box.ledger.acknowledged.clear()
        box.ledger.receiver(box.sub, exactly_once=True)
        box.sub.sessions_lost = 0
        box.offer(50)
        await box.settled()
        await box.restart()
        await box.all_arrives()

    box.tell(story)
    for topic, payload, _, _ in payloads:
        number = int(payload.partition(b" ")[0])
        assert payload == (b"%d " % number).ljust(200, b"."), f"wrong payload on {topic}"


def test_file_size_limit(make_broker):
    """RLIMIT_FSIZE (a service manager's LimitFSIZE): reaching it is a full disk, not a signal that
    kills; raised, all goes on."""
    broker = make_broker(CONFIG, durable=True, quiet=True, start=False)
    size = 8 << 20
    broker.wrapper = ["prlimit", f"--fsize={size}:unlimited"]
    box = Box(broker.start())

    async def story():
        box.sub.leave()
        while not any(p.pending for p in box.publishers) and not box.ledger.refused:
            assert box.acknowledged() < 20_000, "the limit has no effect"
            box.offer(200, padding=1000)
            try:
                await box.settled(2)
            except AssertionError:
                break
            assert broker.alive(), f"killed by signal {-broker.process.returncode}"
        await quiet(box.acknowledged)
        assert broker.alive(), f"killed by signal {-broker.process.returncode}"
        await qos0_passes(broker.port)
        subprocess.run(["prlimit", "--pid", str(broker.process.pid), "--fsize=unlimited"], check=True)
        await box.all_arrives(2 * RECOVERY)

    box.tell(story)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can become someone else")
def test_permission_lost(make_broker):
    """The store turns into someone else's file. A running broker goes on or waits; one that starts
    says so in one line and touches nothing; with the rights back all is there."""
    folder = Path(tempfile.mkdtemp(prefix="footbridge-rights-"))
    try:
        folder.chmod(0o755)
        store = folder / "store"
        store.mkdir()
        os.chown(store, 65534, 65534)
        broker = make_broker(
            f"{CONFIG}persistence true\npersistence_location {store}\n", quiet=True, start=False
        )
        ordinary = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        # Its binary and configuration lie where only root can go.
        for source in (broker.binary, broker.config_file):
            shutil.copy(source, folder)
        broker.binary = str(folder / Path(broker.binary).name)
        broker.config_file = folder / broker.config_file.name
        broker.wrapper = ordinary
        box = Box(broker.start())
        box.tell(lambda: rights_lost_and_back(box, store))
    finally:
        shutil.rmtree(folder)


async def rights_lost_and_back(box, store):
    box.sub.leave()
    box.offer(100)
    await box.settled()
    file = store / "footbridge.db"
    store.chmod(0)
    file.chmod(0)
    box.offer(50)
    await asyncio.sleep(2)
    assert box.broker.alive(), box.broker.log()
    await qos0_passes(box.broker.port)
    box.broker.kill()
    start = len(box.broker.log())
    box.broker.launch()
    status = await asyncio.to_thread(box.broker.process.wait, 5)
    box.broker.process = None
    assert status == 1
    assert any("footbridge.db" in line for line in lines(box.broker, "denied", since=start))
    store.chmod(0o755)
    file.chmod(0o644)
    assert not list(store.glob("*.corrupt*"))
    await asyncio.to_thread(box.broker.start)
    await box.all_arrives()


def test_the_judge_sees_a_disk_that_lies(make_broker, shim):
    """The control: a disk that says it has written, and has not. Acknowledged messages are lost by
    kill -9, and the judge must say so."""
    box, disk = a_faulty_box(make_broker, shim)

    async def story():
        box.sub.leave()
        box.offer(50)
        await box.settled()
        disk.fail(LIE)
        box.offer(100)
        await asyncio.sleep(1)
        assert box.acknowledged() > 100, "the lie was seen through at once"
        box.broker.kill()
        disk.mend()
        await asyncio.to_thread(box.broker.start)
        box.sub.start()
        await box.settled(RECOVERY)
        await quiet(lambda: box.ledger.arrived())
        assert "lost" in "\n".join(box.ledger.judge())

    box.tell(story)
