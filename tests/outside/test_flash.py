"""What a client makes the broker write: in proportion to what it sends, not to what its session has."""

import struct

import pytest

from wire import (
    PUBCOMP,
    PUBLISH,
    PUBREC,
    PUBREL,
    SUBACK,
    Raw,
    ack,
    packet,
    publish,
    string,
)

pytestmark = pytest.mark.footbridge


def written(broker):
    """Bytes that the process has written: to files, and the little that went to sockets."""
    with open(f"/proc/{broker.process.pid}/io") as figures:
        return int(dict(line.split(": ") for line in figures)["wchar"])


def open_ids(client, ids):
    client.send(b"".join(publish("t", b"x", 2, n) for n in ids))
    assert [client.expect(PUBREC).id for _ in ids] == list(ids)


def handshake(client, n):
    open_ids(client, [n])
    client.send(ack(PUBREL, n))
    assert client.expect(PUBCOMP).id == n


def test_handshakes_beside_20_000_open_packet_ids(make_broker):
    broker = make_broker("max_inflight_messages 0", durable=True, quiet=True)
    with Raw(broker.port, "p", clean=False) as client:
        for first in range(1, 20_001, 1_000):
            open_ids(client, range(first, first + 1_000))
        before = written(broker)
        for n in range(30_001, 30_101):
            handshake(client, n)
        # 200 commits; a row with all ids would take 40 KB of each.
        assert written(broker) - before < 200 * 7_000
    broker.restart("kill")
    with Raw(broker.port, "l") as listener, Raw(broker.port, "p", clean=False) as client:
        assert client.session_present
        listener.send(packet(0x82, struct.pack("!H", 1) + string("t") + b"\0"))
        listener.expect(SUBACK)
        # The one is still open, and was delivered; the other is free for a new message.
        client.send(publish("t", b"again", 2, 20_000, dup=True) + publish("t", b"new", 2, 30_001))
        assert [client.expect(PUBREC).id for _ in range(2)] == [20_000, 30_001]
        assert listener.expect(PUBLISH).payload == b"new"


def subscribe(client, filters, qos):
    body = b"".join(string(f) + bytes([qos]) for f in filters)
    client.send(packet(0x82, struct.pack("!H", 7) + body))
    assert client.expect(SUBACK).body[2:] == bytes([qos]) * len(filters)


def test_subscriptions_of_two_megabytes(make_broker):
    broker = make_broker(durable=True, quiet=True)
    filters = [f"{n}/" + "x" * 1_000 for n in range(2_000)]
    with Raw(broker.port, "s", clean=False) as client:
        for first in range(0, 2_000, 200):
            subscribe(client, filters[first : first + 200], 1)
        before = written(broker)
        for first in range(0, 2_000, 200):
            subscribe(client, filters[first : first + 200], 1)
        assert written(broker) - before < 200_000, "nothing has changed"
        before = written(broker)
        for n in range(100):
            subscribe(client, [filters[n]], 0)
        # Before they had rows of their own, each of the 100 commits wrote 2 MB.
        assert written(broker) - before < 100 * 30_000
    broker.restart("kill")
    with Raw(broker.port, "p") as publisher, Raw(broker.port, "s", clean=False) as client:
        assert client.session_present
        publisher.send(publish(filters[50], b"x", 1, 1) + publish(filters[1_999], b"y", 1, 2))
        got = [client.expect(PUBLISH) for _ in range(2)]
        assert [(m.qos, m.payload) for m in got] == [(0, b"x"), (1, b"y")]
