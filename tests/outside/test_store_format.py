"""Stores of other versions: an older one is read, a newer one is refused and left alone."""

import tarfile
from pathlib import Path

import pytest

from clients import V311
from harness import Broker, run, wait_until

pytestmark = pytest.mark.footbridge

STORES = Path(__file__).parents[1] / "stores"
VERSIONS_AT = (64, 192)  # where both commit slots of redb name its format
NEWER = 4


@pytest.fixture
def broker(tmp_path):
    """A broker that has not started, on the store that footbridge 0.1.0 left when it was killed."""
    broker = Broker(tmp_path / "broker", durable=True)
    unpack("format-1", broker)
    yield broker
    broker.cleanup()


def unpack(name, broker):
    with tarfile.open(STORES / f"{name}.tar.gz") as archive:
        archive.extractall(broker.folder / "store")


def files(broker):
    return {file.name: file.read_bytes() for file in (broker.folder / "store").iterdir()}


def test_a_store_of_format_1_is_read_with_its_journal(broker, client):
    broker.start()
    sleeper = client(broker.port, "sleeper", version=V311, clean=False)
    assert sleeper.session_present
    got = [(m.topic, m.payload, m.qos) for m in (sleeper.get() for _ in range(3))]
    assert got == [
        ("a/kept", b"kept", 1),
        ("a/q1", b"waits at 1", 1),
        ("a/q2", b"waits at 2", 2),
    ]
    other = client(broker.port, "other", version=V311)
    other.subscribe("#", 1)
    kept = other.get()
    assert (kept.topic, kept.payload, kept.retain) == ("a/kept", b"kept", True)


def test_a_newer_store_is_refused_with_a_cure_and_left_byte_for_byte(broker):
    file = broker.folder / "store" / "footbridge.db"
    content = bytearray(file.read_bytes())
    for at in VERSIONS_AT:
        content[at] = NEWER
    file.write_bytes(content)
    before = files(broker)
    broker.launch()
    wait_until(lambda: broker.process.poll() is not None, what="end of the broker")
    assert broker.process.returncode != 0
    wait_until(lambda: "written by a newer version (format 4); upgrade, or move the file away" in broker.log(), what="line in the log")
    assert files(broker) == before


def test_a_store_of_a_newer_format_that_was_killed_is_left_byte_for_byte(broker):
    """With its journal, however often it is tried; --test-config says it, too."""
    unpack("format-99", broker)
    before = files(broker)
    checked = run("-c", broker.config_file, "--test-config")
    said = "written by a newer version (format 99); upgrade, or move the file away"
    assert checked.returncode != 0 and said in checked.stdout + checked.stderr
    for _ in range(2):
        broker.launch()
        wait_until(lambda: broker.process.poll() is not None, what="end of the broker")
        assert broker.process.returncode != 0
        broker.process = None
        wait_until(lambda: said in broker.log(), what="line in the log")
        assert files(broker) == before


@pytest.mark.parametrize(
    "magic, said",
    [
        (b"SQLite format 3\0", "not a store of this program; move it away or change persistence_file"),
        (b"\x00\xb5\x00mosquitto db", "a store of Mosquitto's; give another persistence_file"),
    ],
)
def test_the_file_of_another_program_is_left_byte_for_byte(broker, magic, said):
    file = broker.folder / "store" / "footbridge.db"
    file.write_bytes(magic + bytes(range(256)) * 40)
    before = files(broker)
    broker.launch()
    wait_until(lambda: broker.process.poll() is not None, what="end of the broker")
    assert broker.process.returncode != 0
    wait_until(lambda: said in broker.log(), what="line in the log")
    assert files(broker) == before
