"""What a peer can make grow has a bound: the broker's memory, its subscriptions, its time."""

import contextlib
import os
import resource
import socket
import struct
import time

import pytest

import wire
from harness import free_port, wait_until
from wire import Raw

pytestmark = pytest.mark.footbridge


def resident(broker):
    """Megabytes of memory that the broker has now."""
    with open(f"/proc/{broker.process.pid}/status") as status:
        (line,) = [line for line in status if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def subscribe(packet_id, filters, qos=0):
    body = struct.pack("!H", packet_id)
    return wire.packet(0x82, body + b"".join(wire.string(f) + bytes([qos]) for f in filters))


def still_answers(broker):
    start = time.monotonic()
    with Raw(broker.port, "witness") as raw:
        raw.send(wire.publish("witness", b"x", 1, 1))
        raw.expect(wire.PUBACK)
    assert time.monotonic() - start < 3


def test_subscriptions_of_one_client(make_broker):
    """One client's filters don't hold the others up, however many it sends."""
    broker = make_broker("max_filters_per_packet 0")
    with Raw(broker.port, "s") as raw:
        raw.socket.settimeout(30)
        start = time.monotonic()
        for n in range(4):
            raw.send(subscribe(n + 1, [f"f/{n}/{i}" for i in range(5000)]))
        granted = b"".join(raw.expect(wire.SUBACK).body[2:] for _ in range(4))
        assert time.monotonic() - start < 5
        assert granted == bytes(10_000) + b"\x80" * 10_000
        # A filter that is there already takes no room.
        raw.send(subscribe(9, ["f/0/0", "new"], 1))
        assert raw.expect(wire.SUBACK).body[2:] == b"\x01\x80"
    still_answers(broker)


def test_overlapping_filters_and_many_retained_messages(broker):
    """Each filter brings all the retained messages again: a client that doesn't read them must
    not fill the memory with them."""
    with Raw(broker.port, "p") as raw:
        topics = [f"r/{i // 100}/{i % 100}" for i in range(20_000)]
        raw.send(b"".join(wire.publish(t, b"x", 0, retain=True) for t in topics))
        raw.send(wire.publish("end", b"x", 1, 1))
        raw.expect(wire.PUBACK)
    before = resident(broker)
    with Raw(broker.port, "s") as raw:
        raw.send(subscribe(1, ["#"] * 500, 1))
        time.sleep(1)
        assert resident(broker) - before < 60
        still_answers(broker)


def test_one_filter_brings_every_retained_message(broker):
    """The bound above is none for a client that behaves."""
    with Raw(broker.port, "p") as raw:
        raw.send(b"".join(wire.publish(f"r/{i}", b"x", 0, retain=True) for i in range(20_000)))
        raw.send(wire.publish("end", b"x", 1, 1))
        raw.expect(wire.PUBACK)
    with Raw(broker.port, "s") as raw:
        raw.send(subscribe(1, ["#", "r/#"]))
        got = 0
        while got < 40_000:
            got += raw.receive().kind == wire.PUBLISH


#: What all half packets may take together, in megabytes, but for one that is larger by itself; and
#: what the allocator may keep on top, of buffers that grew or were given back.
HALF_PACKETS, MARGIN = 64, 16


def flood_with_halves(broker, megabytes, peers=40):
    """Many peers that each send a packet of that size but for its end, for three seconds; returns
    the most memory that it took, in megabytes."""
    length = megabytes << 20
    digits = [length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80]
    start = bytes([0x30, *digits, length >> 21]) + b"\0\1t"
    before = most = resident(broker)
    with contextlib.ExitStack() as open_ones:
        raws = [open_ones.enter_context(Raw(broker.port, f"c{n}")) for n in range(peers)]
        left = dict.fromkeys(raws, length - 100_000)
        for raw in raws:
            raw.socket.setblocking(False)
            raw.send(start)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            for raw in raws:
                with contextlib.suppress(OSError):
                    left[raw] -= raw.socket.send(bytes(min(left[raw], 65536)))
            most = max(most, resident(broker))
        still_answers(broker)
    return most - before


@pytest.mark.parametrize("megabytes", [2, 20, 60])
def test_half_packets(broker, megabytes):
    """Many peers that each send half a packet, as fast as the broker reads."""
    assert flood_with_halves(broker, megabytes) < HALF_PACKETS + MARGIN


def test_large_half_packets(broker):
    """Of packets that are larger than what all others may take, there is one at a time."""
    assert flood_with_halves(broker, 200) < 200 + HALF_PACKETS + MARGIN


def test_one_large_packet(broker):
    """The bound above is none for a single peer."""
    payload = bytes(100 << 20)
    with Raw(broker.port, "c") as raw:
        raw.socket.settimeout(20)
        raw.send(wire.publish("large", payload, 1, 1))
        raw.expect(wire.PUBACK)


def test_a_large_message_to_many_slow_readers(broker):
    """The payload is held once, however many receivers have not read it yet."""
    readers, megabytes = 60, 10
    payload = bytes(range(256)) * (megabytes * 4096)
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(broker.port, f"slow{n}")) for n in range(readers)]
        for raw in raws:
            raw.send(wire.subscribe(1, "large", 0))
            raw.expect(wire.SUBACK)
        before = resident(broker)
        with Raw(broker.port, "p") as raw:
            raw.socket.settimeout(30)
            raw.send(wire.publish("large", payload, 0))
            raw.send(wire.publish("end", b"x", 1, 1))
            raw.expect(wire.PUBACK)
        assert resident(broker) - before < 6 * megabytes
        still_answers(broker)
        for raw in raws[::15]:
            raw.socket.settimeout(30)
            assert raw.expect(wire.PUBLISH).payload == payload


@pytest.mark.skipif(os.geteuid() != 0, reason="counts the descriptors of another process")
def test_no_descriptors_are_left(broker):
    """Connections that take all descriptors hold up new ones only, until some are given back. The
    last quarter is kept back."""
    pid = broker.process.pid
    limit = -(-(len(os.listdir(f"/proc/{pid}/fd")) + 4) * 4 // 3)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    with contextlib.ExitStack() as stack:
        raws = [stack.enter_context(Raw(broker.port, f"c{n}")) for n in range(4)]
        late = stack.enter_context(socket.create_connection(("127.0.0.1", broker.port), timeout=10))
        late.sendall(wire.connect("late"))
        wait_until(lambda: "No more connections can be accepted" in broker.log(), what="a warning")
        raws[0].send(wire.publish("still", b"x", 1, 1))
        raws[0].expect(wire.PUBACK)
        raws[1].send(b"\xe0\x00")
        assert late.recv(4) == b"\x20\x02\x00\x00"
    broker.stop()


def test_a_bridge_has_descriptors_whatever_clients_take(make_broker):
    """Idle sockets take all that there are but the last quarter."""
    port = free_port()
    bridge = f"connection up\naddress 127.0.0.1:{port}\ntopic # out 1\nrestart_timeout 1"
    broker = make_broker(f"max_connecting -1\nmax_connecting_per_address -1\n{bridge}")
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            idle = socket.create_connection(("127.0.0.1", broker.port), timeout=10)
            stack.enter_context(idle)
        wait_until(lambda: "kept back for bridges" in broker.log(), what="a warning")
        server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        server.settimeout(30)
        uplink = stack.enter_context(server.accept()[0])
        uplink.settimeout(30)
        assert uplink.recv(1) == b"\x10"
    broker.stop()


def test_a_slow_connect_has_its_time_beside_a_flood_from_several_addresses(make_broker):
    """What goes is of the address that has most, so the flood takes its own places."""
    broker = make_broker("max_connecting 6\nmax_connecting_per_address 4")
    here = ("127.0.0.1", broker.port)

    def dial(source):
        return socket.create_connection(here, timeout=10, source_address=(source, 0))

    with contextlib.ExitStack() as stack:
        slow = stack.enter_context(dial("127.0.0.9"))
        connect = wire.connect("slow")
        slow.sendall(connect[:5])
        for n in range(60):
            stack.enter_context(dial(f"127.0.0.{2 + n % 2}"))
        wait_until(lambda: "max_connecting is reached" in broker.log(), what="one to go")
        slow.sendall(connect[5:])
        assert slow.recv(4) == b"\x20\x02\x00\x00"
    broker.stop()


#: The numbers of a file at the most they take, of which some are larger than any machine.
MOST = f"""
commit_interval 1s
flash_budget {2**64 - 1}/day {2**32 - 1}
login_failures 86400 86400
persistent_client_expiration {2**32 - 1}s
sys_interval 1
tcp_keepalive 32767 32767 127
""" + "".join(
    f"{name} {most}\n"
    for most, names in {
        201: ["max_topic_levels"],
        1000: ["max_shared_subscriptions"],
        2**16 - 1: ["max_clientid_length", "max_filters_per_packet", "max_inflight_messages"],
        2**28 - 1: ["message_size_limit"],
        2**32 - 1: [
            "global_max_clients",
            "global_max_connections",
            "max_connecting",
            "max_connecting_per_address",
            "max_connections_per_address",
            "max_packet_size",
            "max_subscription_levels",
            "max_subscriptions",
        ],
        2**64 - 1: [
            "max_dead_letter_bytes",
            "max_dead_letters",
            "max_inflight_bytes",
            "max_queued_bytes",
            "max_queued_messages",
            "memory_limit",
        ],
    }.items()
    for name in names
)

#: The same at the least with which one client is served, with a session, a subscription, a message.
LEAST = """
commit_interval 0
flash_budget 1/day 1s
global_max_clients 2
global_max_connections 2
login_failures 1 1
max_clientid_length 23
max_connecting 1
max_connecting_per_address 1
max_connections_per_address 2
max_dead_letter_bytes 1
max_dead_letters 1
max_filters_per_packet 1
max_inflight_bytes 1
max_inflight_messages 1
max_packet_size 32
max_queued_bytes 100
max_queued_messages 1
max_shared_subscriptions 0
max_subscription_levels 2
max_subscriptions 1
max_topic_levels 2
memory_limit 64K
message_size_limit 1
sys_interval 1
tcp_keepalive 1 1 1
"""

BRIDGE_MOST = f"""
bridge_max_inflight_qos2 65535
bridge_max_packet_size {2**32 - 1}
bridge_max_topic_alias 65535
bridge_outgoing_topic_alias 65535
bridge_receive_maximum 65535
bridge_session_expiry_interval {2**32 - 1}
keepalive_interval 65535
restart_timeout {2**32 - 1} {2**32 - 1} {2**32 - 1}
"""


@pytest.mark.parametrize(("numbers", "bridge"), [(MOST, ""), (LEAST, ""), (MOST, BRIDGE_MOST)])
def test_numbers_at_their_ends(make_broker, numbers, bridge):
    """A client is served all the same, and nothing ends the broker."""
    if bridge:
        bridge = f"connection b\naddress 127.0.0.1:{free_port()}\ntopic # out 1\n{bridge}"
    broker = make_broker(f"{numbers}{bridge}", durable=True)
    with Raw(broker.port, "c", clean=False) as raw:
        raw.socket.settimeout(30)
        raw.send(wire.subscribe(1, "a/b", 1))
        assert raw.expect(wire.SUBACK).body[2:] == b"\x01"
        raw.send(wire.publish("a/b", b"x", 1, 1, retain=True))
        kinds = {raw.receive().kind, raw.receive().kind}
        assert kinds == {wire.PUBACK, wire.PUBLISH}
    broker.kill()
    broker.start()
    with Raw(broker.port, "other") as raw:
        raw.send(wire.subscribe(1, "a/b", 0))
        raw.expect(wire.SUBACK)
        assert raw.expect(wire.PUBLISH).payload == b"x"
    broker.stop()
