"""Peers that do to a broker what they can: each function is one of them, for ever.

    python -m soak.attackers PORT WEBSOCKET_PORT SECONDS [NAME…]

runs them all, or those named, in one process, and says how often each was at it. They come from
loopback like everybody: what holds them off must not hold off the devices."""

import asyncio
import contextlib
import json
import logging
import os
import random
import struct
import sys
import time
from collections import Counter

import wire

#: How often each attack has done what it does.
DONE = Counter()


class Target:
    """Where the broker is, and what an attack needs all the time."""

    def __init__(self, port, web_port, seed):
        self.port, self.web_port = port, web_port
        self.rng = random.Random(seed)

    async def open(self, client_id=None, *, port=None, **options):
        reader, writer = await asyncio.open_connection("127.0.0.1", port or self.port)
        if client_id is not None:
            writer.write(wire.connect(client_id, **options))
            await asyncio.wait_for(reader.readexactly(4 if options.get("level") != 5 else 5), 30)
        return reader, writer

    def name(self):
        return f"x{self.rng.randrange(1 << 48):x}"


def subscribe(packet_id, filters, qos=0):
    body = struct.pack("!H", packet_id)
    return wire.packet(0x82, body + b"".join(wire.string(f) + bytes([qos]) for f in filters))


@contextlib.contextmanager
def all_closed():
    """A list of writers, which are closed in the end."""
    held = []
    try:
        yield held
    finally:
        for writer in held:
            writer.close()


async def swallow(reader):
    """Reads what comes, until the end, or until it is cancelled: nobody asks for what became of it."""
    with contextlib.suppress(OSError, asyncio.CancelledError):
        while await reader.read(1 << 16):
            pass


async def flood(target):
    """Small PUBLISHes on one socket, as fast as they go, to a hundred who listen and to nobody."""
    readers = [await target.open(target.name()) for _ in range(100)]
    for reader, writer in readers:
        writer.write(subscribe(1, ["flood/#"]))
    reading = [asyncio.ensure_future(swallow(reader)) for reader, _ in readers]
    _, writer = await target.open(target.name())
    try:
        for n in range(200):
            topic = "flood/a" if n % 10 == 0 else "nobody"
            writer.write(wire.publish(topic, b"x") * 4000)
            await writer.drain()
            DONE["flood"] += 4000
    finally:
        for task in reading:
            task.cancel()
        for _, one in [*readers, (None, writer)]:
            one.close()


async def slowloris(target):
    """A CONNECT a byte at a time, on many sockets."""
    whole = wire.connect(target.name())
    with all_closed() as held:
        for _ in range(100):
            _, writer = await target.open()
            held.append(writer)
        for byte in whole[:-1]:
            for writer in held:
                writer.write(bytes([byte]))
            DONE["slowloris"] += len(held)
            await asyncio.sleep(1)


async def churn(target):
    """Connections without end: some say nothing, some log in, some end in the middle."""
    for _ in range(50):
        _, writer = await target.open()
        what = target.rng.randrange(3)
        if what:
            writer.write(wire.connect(target.name())[: None if what == 1 else 9])
        writer.close()
        DONE["churn"] += 1
    await asyncio.sleep(0.05)


async def half_packets(target):
    """Nearly the whole of a CONNECT, and of a PUBLISH, and then nothing."""
    with all_closed() as held:
        for n in range(300):
            if n % 2:
                _, writer = await target.open()
                writer.write(wire.packet(0x10, bytes(15_500))[:15_000])
            else:
                _, writer = await target.open(target.name())
                writer.write(wire.publish("half", bytes(15_900))[:15_500])
            held.append(writer)
            DONE["half packets"] += 1
        await asyncio.sleep(20)


async def subscribe_bombs(target):
    """Filters that ask for all that is retained, a thousand times."""
    reader, writer = await target.open(target.name())
    reading = asyncio.ensure_future(swallow(reader))
    try:
        for n in range(5):
            writer.write(subscribe(n + 1, ["+/+", "#", "+/#", "+/+/+"] * 250))
            await writer.drain()
            DONE["subscribe bombs"] += 1
            await asyncio.sleep(0.5)
    finally:
        reading.cancel()
        writer.close()


async def deep_filters(target):
    """Many filters of many levels, other ones each time, by clients that stay known."""
    _, writer = await target.open(f"deep{target.rng.randrange(20)}", clean=False)
    levels = "/".join("%x" % target.rng.randrange(1 << 16) for _ in range(100))
    for n in range(20):
        writer.write(subscribe(n + 1, [f"{levels}/{n}/{i}" for i in range(100)]))
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.close()
    DONE["deep filters"] += 2000


async def overlapping_filters(target):
    """Filters that all meet one topic, and messages on it."""
    reader, writer = await target.open(target.name())
    reading = asyncio.ensure_future(swallow(reader))
    try:
        filters = ["/".join("+" if n >> i & 1 else "a" for i in range(12)) for n in range(1 << 12)]
        for n in range(0, len(filters), 512):
            writer.write(subscribe(n + 1, filters[n : n + 512]))
        writer.write(wire.publish("/".join("a" * 12), b"x") * 200)
        await writer.drain()
        await asyncio.sleep(1)
        DONE["overlapping filters"] += 1
    finally:
        reading.cancel()
        writer.close()


async def retained_flood(target):
    """Retained values on topics without end."""
    _, writer = await target.open(target.name())
    for n in range(50):
        topics = (f"r/{target.rng.randrange(1 << 32):x}/{i}" for i in range(200))
        writer.write(b"".join(wire.publish(t, bytes(100), retain=True) for t in topics))
        await writer.drain()
        DONE["retained flood"] += 200
        await asyncio.sleep(0.02)
    writer.close()


async def take_over_war(target):
    """Two with one client id."""
    for _ in range(40):
        _, writer = await target.open("war", clean=False)
        DONE["take-over war"] += 1
        await asyncio.sleep(0.05)
        writer.close()


async def stopped_readers(target):
    """Subscribers of everything that read nothing, and such that acknowledge nothing."""
    with all_closed() as held:
        for n in range(50):
            _, writer = await target.open(target.name())
            writer.write(subscribe(1, ["#"], n % 2))
            held.append(writer)
            DONE["stopped readers"] += 1
        await asyncio.sleep(15)


async def endless_sessions(target):
    """Durable sessions that nobody comes back to, with filters that meet what is said."""
    for _ in range(5):
        _, writer = await target.open(target.name(), clean=False)
        writer.write(subscribe(1, ["flood/a", "tele/#"], 1))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        DONE["endless sessions"] += 1
    await asyncio.sleep(2)


async def open_handshakes(target):
    """QoS 2 messages that are never released, in a durable session."""
    reader, writer = await target.open(f"open{target.rng.randrange(5)}", clean=False)
    reading = asyncio.ensure_future(swallow(reader))
    try:
        for first in range(1, 20_000, 500):
            ids = range(first, first + 500)
            writer.write(b"".join(wire.publish("nobody", b"x", 2, i) for i in ids))
            await writer.drain()
            DONE["open handshakes"] += 500
            await asyncio.sleep(0.1)
    finally:
        reading.cancel()
        writer.close()


async def aliases(target):
    """Topic aliases of MQTT 5: as many as there are, zero, unknown ones."""
    reader, writer = await target.open(target.name(), level=5)
    for alias in [*range(1, 12), 65535, 0]:
        props = b"\x23" + struct.pack("!H", alias)
        topic = wire.string("alias/%d/%s" % (alias, "x" * 200))
        writer.write(wire.packet(0x30, topic + bytes([len(props)]) + props + b"x"))
        DONE["aliases"] += 1
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()


UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


async def web_abuse(target):
    """Heads without end, frames that are none, fragments of nothing, pings as fast as they go."""
    for what in range(4):
        reader, writer = await target.open(port=target.web_port)
        if what == 0:
            writer.write(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2000)
        else:
            writer.write(UPGRADE)
            await asyncio.wait_for(reader.read(1000), 10)
            if what == 1:
                writer.write(target.rng.randbytes(3000))
            elif what == 2:
                writer.write(b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 3000)
            else:
                writer.write(b"\x89\x80\0\0\0\0" * 5000)
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        DONE["web abuse"] += 1


async def login_storm(target):
    """A name and a wrong password, again and again."""
    head = wire.string("MQTT") + bytes([4, 0xC2]) + struct.pack("!H", 60)
    for n in range(20):
        reader, writer = await target.open()
        login = wire.string(target.name()) + wire.string("user") + wire.string(f"wrong{n}")
        writer.write(wire.packet(0x10, head + login))
        await asyncio.wait_for(reader.read(100), 30)
        writer.close()
        DONE["login storm"] += 1
    await asyncio.sleep(0.2)


async def garbage(target):
    """Bytes of no protocol, packets with a byte changed, before CONNECT and after it."""
    rng = target.rng
    for _ in range(20):
        good = rng.choice(
            [
                wire.publish("a/b", b"x" * 50, 1, 7),
                subscribe(3, ["a/+", "b/#"], 1),
                wire.connect("g"),
                wire.ack(wire.PUBREL, 9),
            ]
        )
        bad = bytearray(good if rng.random() < 0.8 else rng.randbytes(200))
        bad[rng.randrange(len(bad))] = rng.randrange(256)
        reader, writer = await target.open(target.name() if rng.random() < 0.5 else None)
        writer.write(bytes(bad))
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.close()
        DONE["garbage"] += 1


ATTACKS = [
    flood,
    slowloris,
    churn,
    half_packets,
    subscribe_bombs,
    deep_filters,
    overlapping_filters,
    retained_flood,
    take_over_war,
    stopped_readers,
    endless_sessions,
    open_handshakes,
    aliases,
    web_abuse,
    login_storm,
    garbage,
]


async def again_and_again(attack, target):
    """What ends, or is refused, begins anew: an attacker that is thrown out comes back."""
    while True:
        try:
            await attack(target)
        except (OSError, EOFError, TimeoutError):
            pass
        await asyncio.sleep(0.05)


async def attack_all(port, web_port, seconds, names):
    chosen = [a for a in ATTACKS if not names or a.__name__ in names]
    seed, start = random.randrange(1 << 32), time.monotonic()
    tasks = [
        asyncio.ensure_future(again_and_again(attack, Target(port, web_port, f"{seed}{attack}")))
        for attack in chosen
    ]
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()  # It never ends by itself but for a fault of its own.
    report = {"seconds": round(time.monotonic() - start), **DONE}
    print(json.dumps(report), flush=True)
    # In the midst of everything: some of them could take long to end.
    os._exit(0)


def main(port, web_port, seconds, *names):
    # A write to whom the broker has closed on is what they are for: asyncio's warnings of it, by the
    # thousand, would hide what the test says.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    os.nice(10)  # The devices and whoever measures come first.
    asyncio.run(attack_all(int(port), int(web_port), float(seconds), names))


if __name__ == "__main__":
    main(*sys.argv[1:])
