"""A damaged store file, on the real binary: it starts, says so, and gives out nothing wrong."""

import hashlib
import queue
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import wait_until

pytestmark = pytest.mark.footbridge

SEED = 20261122
CASES = 40
QUEUED = 300
SAID = re.compile(
    r"set aside as (\S+?)[;.] .*?(\d+) messages, (\d+) sessions and (\d+) retained messages were "
    r"saved into a new one, (?:(\d+) rows are lost|how much is lost is unknown)"
)


def payload(name, size):
    """Says what it is, and that it is whole."""
    body = f"{name} " + "x" * size
    return f"{hashlib.sha256(body.encode()).hexdigest()} {body}"


def name_of(payload):
    digest, body = payload.split(" ", 1)
    assert digest == hashlib.sha256(body.encode()).hexdigest(), f"a wrong payload: {payload[:90]}"
    return body.split(" ", 1)[0]


def start(broker):
    """Starts it and waits for its log, which it does not wait for itself."""
    broker.start()
    wait_until(lambda: "running." in broker.log(), what="log")


def collect(client, quiet=0.3):
    """All messages that come until none does for a while."""
    got = []
    while True:
        try:
            got.append(client.get(timeout=quiet))
        except queue.Empty:
            return got


@pytest.fixture
def broken(make_broker, client):
    """A stopped broker with a queue, retained messages and a backlog for an upstream that is not
    there, and that upstream."""
    upstream = make_broker(start=False)
    edge = make_broker(
        f"connection edge\naddress 127.0.0.1:{upstream.port}\nremote_clientid edge\n"
        "cleansession false\nrestart_timeout 1\ntopic up/# out 1\nmax_queued_messages 0",
        durable=True,
    )
    sub = client(edge.port, "sub", clean=False)
    sub.subscribe([("q/#", 1), ("z/#", 2)])
    sub.close()
    pub = client(edge.port, "pub")
    publish = pub.paho.publish
    for n in range(QUEUED):
        size = 30_000 if n % 100 == 50 else n % 250
        publish(f"{'qz'[n % 2]}/{n}", payload(f"queued{n}", size), 1 + n % 2)
        publish(f"up/{n % 7}", payload(f"up{n}", n % 200), 1)
        publish(f"r/{n % 20}", payload(f"retained{n % 20}v{n}", 50), 1, retain=True)
    for n in range(5):
        pub.publish(f"r/{n}", "", 1, retain=True)  # waits for all before it
    pub.close()
    edge.stop()
    return edge, upstream, Store(edge.folder / "store" / "footbridge.db")


class Store:
    """The stopped broker's store, which is put back for each case with the damage."""

    def __init__(self, file):
        self.file, self.folder = file, file.parent
        self.whole, self.journal = file.read_bytes(), self._journal().read_bytes()

    def _journal(self):
        return self.folder / "footbridge.db.journal"

    def put(self, data):
        for old in self.folder.iterdir():
            old.unlink()
        self.file.write_bytes(data)
        self._journal().write_bytes(self.journal)

    def set_aside(self):
        return [f for f in self.folder.iterdir() if ".corrupt-" in f.name]


def damage(data, rng):
    """A bit or 4 KiB; now and then where it hurts most."""
    data = bytearray(data)
    end = 320 if rng.random() < 0.1 else len(data)
    at = rng.randrange(end)
    if rng.random() < 0.5:
        data[at] ^= 1 << rng.randrange(8)
    else:
        data[at : at + 4096] = rng.randbytes(min(4096, len(data) - at))
    return bytes(data)


def test_a_damaged_store(broken, client):
    edge, upstream, store = broken
    rng = random.Random(SEED)
    queued = [f"queued{n}" for n in range(QUEUED)]
    sent_up = [f"up{n}" for n in range(QUEUED)]
    retained = {f"r/{n % 20}": f"retained{n % 20}v{n}" for n in range(QUEUED)}
    retained = {t: name for t, name in retained.items() if int(t[2:]) >= 5}
    upstream.start()
    found = delivered = bridged = 0
    for case in range(CASES):
        where = f"seed {SEED}, case {case}"
        store.put(damage(store.whole, rng))
        edge.log_file.write_text("")
        up = client(upstream.port, f"up{case}")
        up.subscribe("up/#", 1)
        start(edge)
        said = SAID.search(edge.log())
        kept = store.set_aside()
        assert len(kept) == (said is not None), f"{where}\n{edge.log()}"
        found += said is not None
        is_exact = said is None or said[5] is not None
        sub = client(edge.port, "sub", clean=False)
        names = [name_of(m.payload.decode()) for m in collect(sub)]
        assert set(names) <= set(queued), where
        assert len(set(names)) == len(names), where
        if said is None:
            assert sorted(names) == sorted(queued), where
        delivered += len(names)
        names = [name_of(m.payload.decode()) for m in collect(up, 0.4)]
        assert set(names) <= set(sent_up), where
        bridged += len(names)
        look = client(edge.port, f"look{case}")
        look.subscribe("r/#", 1)
        there = {m.topic: name_of(m.payload.decode()) for m in collect(look, 0.1)}
        if is_exact:
            assert there.items() <= retained.items(), where
        look.publish("q/new", "x", 1)
        assert sub.get().payload == b"x", where
        for c in (sub, up, look):
            c.close()
        # It is told once: the new store is sound.
        edge.stop()
        edge.log_file.write_text("")
        start(edge)
        assert "set aside" not in edge.log(), where
        edge.stop()
    assert found > 5, "hardly any damage was found"
    assert delivered > 0.9 * CASES * QUEUED
    assert bridged > 0.5 * CASES * QUEUED


def test_a_kill_while_it_is_saved(broken, client):
    """Killed at some moment of the first start after the damage, the second does it all."""
    edge, _, store = broken
    rng = random.Random(SEED)
    data = bytearray(store.whole)
    data[64:320] = bytes(256)
    for case in range(15):
        store.put(data)
        process = subprocess.Popen(
            [edge.binary, "-c", edge.config_file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.random() * 0.06)
        process.kill()
        process.wait()
        edge.log_file.write_text("")
        edge.start()
        assert len(store.set_aside()) == 1, f"case {case}\n{edge.log()}"
        sub = client(edge.port, "sub", clean=False)
        names = {name_of(m.payload.decode()) for m in collect(sub)}
        assert names == {f"queued{n}" for n in range(QUEUED)}, f"case {case}"
        sub.close()
        edge.stop()


@pytest.mark.parametrize("case", range(4))
def test_damage_while_it_runs(broken, client, case):
    """Garbage is written over the file of a broker that runs. With what restarts it where it does not live
    through that, it serves again by itself, and gives out nothing wrong."""
    edge, _, store = broken
    rng = random.Random(SEED + case)
    edge.wrapper = [sys.executable, str(Path(__file__).with_name("respawn.py"))]
    store.put(store.whole)
    edge.log_file.write_text("")
    start(edge)
    with open(store.file, "r+b") as file:
        # All of it, or pages here and there: of the tree, or of payloads alone.
        size = len(store.whole)
        pages = range(size // 4096) if case == 0 else rng.sample(range(size // 4096), size // 4096 // (1 + case))
        for page in pages:
            file.seek(page * 4096)
            file.write(rng.randbytes(4096))
    # What it does now reads and writes there.
    names, answered = set(), False
    deadline = time.monotonic() + 60
    for n in range(2):
        answered = False
        while not answered:
            assert time.monotonic() < deadline, edge.log()
            try:
                pub = client(edge.port, f"pub{n}")
                for m in range(400):
                    pub.paho.publish(f"q/more{n}", payload(f"more{n}/{m}", 700), 1)
                pub.publish("r/more", "x", 1, retain=True)
                pub.close()
                answered = True
            except (OSError, RuntimeError, AssertionError, queue.Empty):
                time.sleep(0.2)
    while True:
        assert time.monotonic() < deadline, edge.log()
        try:
            sub = client(edge.port, "sub", clean=False)
            sub.subscribe("q/#", 1)
            got = collect(sub, 1.5)
            sub.publish("q/new", "x", 1)
            sub.close()
            break
        except (OSError, RuntimeError, AssertionError, queue.Empty):
            time.sleep(0.2)
    names = {name_of(m.payload.decode()) for m in got if m.topic != "q/new"}
    ours = {f"queued{n}" for n in range(QUEUED)}
    assert names <= ours | {f"more{n}/{m}" for n in range(2) for m in range(400)}
    begun = edge.log().count("respawn:")
    print(f"case {case}: {len(names & ours)} of {QUEUED}, {begun} starts anew, {len(store.set_aside())} set aside")
    # What has not been met by now is at the next start, if not at the end.
    edge.stop()
    edge.log_file.write_text("")
    start(edge)
    sub = client(edge.port, "sub2")
    sub.subscribe("t", 1)
    sub.publish("t", "y", 1)
    assert sub.get().payload == b"y"
    edge.stop()
