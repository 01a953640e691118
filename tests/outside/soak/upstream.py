"""An upstream that means ill: it floods, says what is none, closes when it likes.

    python -m soak.upstream PORT

Listens until it is ended.
"""

import asyncio
import os
import random
import struct
import sys

import wire

MOODS = ("floods", "sends endless topics", "sends large ones", "babbles", "closes", "is silent")


async def answer(reader, writer):
    """Takes the CONNECT and each SUBSCRIBE as a broker of 3.1.1 would, and acknowledges."""
    buffer = bytearray()
    while data := await reader.read(1 << 16):
        buffer += data
        for packet in wire.split(buffer):
            if packet.kind == wire.CONNECT:
                level = packet.body[6] & 0x7F
                writer.write(b"\x20\x02\0\0" if level < 5 else b"\x20\x03\0\0\0")
                writer.level = level
            elif packet.kind == wire.SUBSCRIBE:
                extra = b"\0" if writer.level == 5 else b""
                writer.write(wire.packet(0x90, packet.body[:2] + extra + b"\1"))
                writer.subscribed.set()
            elif packet.kind == wire.PUBLISH and packet.qos == 1:
                writer.write(wire.ack(wire.PUBACK, packet.id))
            elif packet.kind == wire.PINGREQ:
                writer.write(b"\xd0\0")


def message(writer, topic, payload, qos=0, packet_id=None, retain=False):
    first = 0x30 | qos << 1 | retain
    head = wire.string(topic) + (struct.pack("!H", packet_id) if qos else b"")
    return wire.packet(first, head + (b"\0" if writer.level == 5 else b"") + payload)


async def misbehave(writer, mood, rng):
    if mood == "floods":
        for _ in range(100):
            writer.write(message(writer, "hostile/in", b"x") * 2000)
            await writer.drain()
    elif mood == "sends endless topics":
        for n in range(20_000):
            topic = f"hostile/{rng.randrange(1 << 40):x}"
            writer.write(message(writer, topic, bytes(200), 1, n % 60_000 + 1, retain=True))
            await writer.drain()
    elif mood == "sends large ones":
        for n in range(50):
            writer.write(message(writer, f"hostile/large{n}", bytes(500_000), 1, n + 1))
            await writer.drain()
    elif mood == "babbles":
        writer.write(rng.randbytes(5000))
        await writer.drain()
    elif mood == "is silent":
        await asyncio.sleep(30)


async def serve(reader, writer):
    rng = random.Random()
    writer.level, writer.subscribed = 4, asyncio.Event()
    answering = asyncio.ensure_future(answer(reader, writer))
    try:
        await asyncio.wait_for(writer.subscribed.wait(), 10)
        await misbehave(writer, rng.choice(MOODS), rng)
        await asyncio.sleep(rng.random() * 5)
    except (OSError, TimeoutError):
        pass
    finally:
        answering.cancel()
        writer.close()


async def main(port):
    os.nice(10)
    server = await asyncio.start_server(serve, "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
