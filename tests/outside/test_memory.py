"""memory_limit holds whatever peers do: each attack sends little, and would hold hundreds of megabytes
if only messages counted. A client that behaves goes on beside it."""

import contextlib
import struct

import pytest

import wire
from harness import wait_until
from process import memory
from wire import Raw

pytestmark = pytest.mark.footbridge

LIMIT = "memory_limit 8M\nsys_interval 1\n"
#: All that is resident, in kB: the limit, the program, and what the allocator keeps.
RESIDENT = 24 * 1024


class Witness:
    """A client that was there before: it gets what it sends, all the time."""

    def __init__(self, port):
        self.raw, self.count = Raw(port, "witness"), 0
        self.raw.socket.settimeout(30)
        self.raw.send(wire.subscribe(1, "witness", 1))
        self.raw.expect(wire.SUBACK)

    def goes_on(self):
        self.count += 1
        self.raw.send(wire.publish("witness", b"%d" % self.count, 1, self.count))
        kinds = set()
        while kinds != {wire.PUBACK, wire.PUBLISH}:
            got = self.raw.receive()
            assert got is not None, "the witness was closed"
            kinds.add(got.kind)
            if got.kind == wire.PUBLISH:
                assert got.payload == b"%d" % self.count
                self.raw.send(wire.ack(wire.PUBACK, got.id))


def raw(port, stack, name):
    """A connection, or None if the broker refuses it."""
    with contextlib.suppress(AssertionError, OSError):
        return stack.enter_context(Raw(port, name))


def send(peer, data):
    """Sends what the broker takes, which may have closed the connection."""
    with contextlib.suppress(OSError):
        peer.socket.sendall(data)


def readers_of_retained(port, stack, witness):
    with Raw(port, "device") as device:
        device.send(b"".join(wire.publish(f"r/{n}", b"x", 0, retain=True) for n in range(20_000)))
        device.send(wire.publish("end", b"x", 1, 1))
        device.expect(wire.PUBACK)
    for n in range(50):
        if peer := raw(port, stack, f"reader{n}"):
            send(peer, wire.subscribe(1, "#", 1))
        witness.goes_on()


def nobody_acknowledges(port, stack, witness):
    for n in range(500):
        if peer := raw(port, stack, f"subscriber{n}"):
            send(peer, wire.subscribe(1, "flood", 1))
    for n in range(2_000):
        witness.raw.send(wire.publish("flood", b"x", 1, 10_000 + n))
        witness.raw.expect(wire.PUBACK)


def half_connects(port, stack, witness):
    start = b"\x10" + b"\xff\xff\x07" + b"\0\4MQTT\4\2\0\0" + struct.pack("!H", 60_000)
    for n in range(2_000):
        peer = stack.enter_context(Raw(port))
        send(peer, start + b"c" * 16_000)
        if n % 100 == 0:
            witness.goes_on()


def wills(port, stack, witness):
    for n in range(600):
        body = wire.string("MQTT") + b"\4\6\0\0" + wire.string(f"will{n}")
        body += wire.string("w") + wire.string("x" * 60_000)
        peer = stack.enter_context(Raw(port))
        send(peer, wire.packet(0x10, body))
        if n % 50 == 0:
            witness.goes_on()


@pytest.mark.parametrize(
    "attack", [readers_of_retained, nobody_acknowledges, half_connects, wills]
)
def test_the_limit_holds(make_broker, attack):
    broker = make_broker(LIMIT)
    witness = Witness(broker.port)
    with contextlib.ExitStack() as stack:
        attack(broker.port, stack, witness)
        witness.goes_on()
        most = memory(broker.process.pid)["VmHWM"]
    assert most < RESIDENT, f"{most} kB"
    witness.goes_on()

    def is_open():
        with contextlib.suppress(AssertionError):
            Raw(broker.port, "afterwards").socket.close()
            return True

    wait_until(is_open, what="room for others when the attackers are gone", timeout=20)


def test_status_tells_what_takes_the_memory(make_broker, client):
    broker = make_broker(LIMIT)
    seen = client(broker.port, "reader")
    seen.subscribe("$SYS/broker/memory/#", 0)
    figures = {}
    while len(figures) < 13 or figures["counted"] == 0:
        message = seen.get()
        figures[message.topic.removeprefix("$SYS/broker/memory/")] = int(message.payload)
    assert figures["limit"] == 8 << 20
    parts = [bytes for name, bytes in figures.items() if name.startswith("part/")]
    assert len(parts) == 10 and 0 < figures["counted"] < 1 << 20


def test_memory_comes_back(make_broker):
    """Many connections get messages: once those are acknowledged nothing is left of that."""
    broker = make_broker("max_connections -1\n")
    count = 20

    def resident():
        return memory(broker.process.pid)["VmRSS"]

    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Raw(broker.port, f"reader{n}")) for n in range(1_000)]
        for n, reader in enumerate(readers):
            reader.send(wire.subscribe(1, f"reader/{n}", 1))
            reader.expect(wire.SUBACK)
        before = resident()
        device = stack.enter_context(Raw(broker.port, "device"))
        for n in range(len(readers)):
            ids = range(1 + count * n, 1 + count * (n + 1))
            device.send(b"".join(wire.publish(f"reader/{n}", b"x", 1, id) for id in ids))
            for _ in ids:
                device.expect(wire.PUBACK)
        assert resident() > 1.3 * before, "too little to tell"
        for reader in readers:
            for _ in range(count):
                reader.send(wire.ack(wire.PUBACK, reader.expect(wire.PUBLISH).id))
        wait_until(lambda: resident() < 1.2 * before, what="memory to come back", timeout=60)
