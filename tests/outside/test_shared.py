"""Shared subscriptions with software that is not ours: paho on both versions, mosquitto_sub."""

import collections
import queue
import time

import pytest

from clients import V5, V311
from test_command_line_clients import Sub
from wire import PUBLISH, SUBACK, Raw, subscribe

VERSIONS = pytest.mark.parametrize("version", [V311, V5])
GROUP = "$share/workers/jobs/+"


def member(client, port, name, version, durable=False):
    expiry = 3600 if version == V5 and durable else None
    made = client(port, name, version=version, clean=not durable, expiry=expiry)
    made.subscribe(GROUP, 1)
    return made


def gather(members, count, timeout=10):
    """What came to each, once all of it has."""
    got = [[] for _ in members]
    end = time.monotonic() + timeout
    while sum(map(len, got)) < count and time.monotonic() < end:
        for one, its in zip(members, got):
            try:
                its.append(one.get(0.01).payload.decode())
            except queue.Empty:
                pass
    return got


@VERSIONS
def test_fair_spread(broker, client, version):
    members = [member(client, broker.port, f"m{n}", version) for n in range(3)]
    everybody = client(broker.port, "all")
    everybody.subscribe("jobs/#", 1)
    pub = client(broker.port, "pub")
    for n in range(300):
        pub.publish(f"jobs/{n % 7}", str(n), 1)
    got = gather(members, 300)
    assert sorted(int(p) for its in got for p in its) == list(range(300))
    assert all(90 <= len(its) <= 110 for its in got), [len(its) for its in got]
    assert all(its == sorted(its, key=int) for its in got)
    assert everybody.payloads(300) == [str(n) for n in range(300)]


def test_mosquitto_sub(broker, client):
    arguments = ["-t", GROUP, "-q", "1"]
    with Sub(broker, "-V", "mqttv311", *arguments) as a, Sub(broker, "-V", "mqttv5", *arguments) as b:
        pub = client(broker.port, "pub")
        for n in range(40):
            pub.publish("jobs/x", str(n), 1, retain=n == 39)
        lines = [sub.get() for sub in (a, b) for _ in range(20)]
        assert sorted(int(line.split()[-1]) for line in lines) == list(range(40))
    late = client(broker.port, "late", version=V5)
    late.subscribe(GROUP, 1)
    assert late.silent()  # no retained messages for a share


@VERSIONS
@pytest.mark.parametrize("clean", [True, False])
def test_a_member_that_is_killed(make_broker, client, version, clean):
    """What it had not acknowledged, and what was queued for it, goes to the others."""
    broker = make_broker(durable=True)
    with Raw(broker.port, "doomed", clean=clean) as doomed:
        doomed.send(subscribe(1, GROUP, 1))
        doomed.expect(SUBACK)
        pub = client(broker.port, "pub", version=version)
        for n in range(50):
            pub.publish("jobs/x", str(n), 1)
        for _ in range(20):
            doomed.expect(PUBLISH)  # and never acknowledges
        heir = member(client, broker.port, "heir", version)
        pub.publish("jobs/x", "new", 1)
        assert heir.payloads(1) == ["new"]
    assert heir.payloads(50) == [str(n) for n in range(50)]
    assert heir.silent()


@VERSIONS
def test_kill_9_with_durable_members(make_broker, client, version):
    """The broker dies while members come and go: what was acknowledged reaches one of them."""
    broker = make_broker(durable=True)
    names = ["m0", "m1", "m2"]
    for name in names:
        member(client, broker.port, name, version, durable=True).close()
    acked, seen = [], collections.Counter()
    for round_ in range(4):
        here = [member(client, broker.port, name, version, durable=True) for name in names[:round_]]
        pub = client(broker.port, "pub", version=version)
        for n in range(150):
            pub.publish("jobs/x", f"{round_}.{n}", 1)
            acked.append(f"{round_}.{n}")
            if n == 75 and here:
                here[-1].drop()
        broker.kill()
        for one in here:
            while not one.messages.empty():
                seen[one.messages.get().payload.decode()] += 1
        broker.start()
    here = [member(client, broker.port, name, version, durable=True) for name in names]
    missing = set(acked) - set(seen)
    end = time.monotonic() + 20
    while missing and time.monotonic() < end:
        for its in gather(here, 1, 0.2):
            missing -= set(its)
    assert not missing
