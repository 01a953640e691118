"""What an upstream sends and MQTT forbids: it never cuts the link for good."""

import pytest

import wire
from dialect import Dialect
from upstreams.erlang import RabbitMQ
from harness import wait_until
from test_bridge_directives import Upstream
from test_refusals import figure
from upstream_stub import Deliverer
from wire import string

pytestmark = pytest.mark.footbridge

VERSIONS = pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
DROPPED = "connection/up/queue/dropped"

#: Topic names that upstreams deliver.
TOPICS = {
    "wildcard": b"a/+/b",
    "multi-level wildcard": b"#",
    "control character": b"a\nb",
    "U+0000": b"a\0b",
    "non-character": b"a\xef\xbf\xbe",
    "not UTF-8": b"a\xc3(",
    "empty": b"",
}


@pytest.fixture
def upstream():
    made = Deliverer()
    yield made
    made.close()


def bridge(port, version, *lines, topic="topic # in 2"):
    return "\n".join(
        [
            "sys_interval 1",
            *lines,
            "connection up",
            f"address 127.0.0.1:{port}",
            f"remote_clientid from-{port}",
            f"bridge_protocol_version {version}",
            "restart_timeout 1",
            "notifications false",
            topic,
        ]
    )


def dialect(version):
    return Dialect(5 if version == "mqttv50" else 4)


def is_served(upstream, reader, version, packet_id=60_000):
    """A good message comes, and nothing is left of what was before; all on one connection."""
    good = dialect(version).publish("good", b"still here", 1, packet_id)
    upstream.deliver(packet_id, good)
    assert reader.payloads(1) == ["still here"]
    wait_until(lambda: not upstream.waiting, what="acknowledgements")
    assert upstream.connects == 1


@VERSIONS
def test_poison_is_acknowledged_dropped_and_told(make_broker, upstream, client, version):
    edge = make_broker(bridge(upstream.port, version), durable=True)
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    speak, expected = dialect(version), []
    for n, topic in enumerate(TOPICS.values()):
        upstream.send(speak.publish(topic, b"x", 0, None))
        upstream.deliver(2 * n + 1, speak.publish(topic, b"x", 1, 2 * n + 1))
        upstream.deliver(2 * n + 2, speak.publish(topic, b"x", 2, 2 * n + 2))
        expected += [(wire.PUBACK, 2 * n + 1), (wire.PUBREC, 2 * n + 2), (wire.PUBCOMP, 2 * n + 2)]
    answers = [upstream.answers.get(timeout=8) for _ in expected]
    assert sorted(answers) == sorted(expected)
    is_served(upstream, reader, version)
    wait_until(lambda: figure(edge, DROPPED) == 3 * len(TOPICS), what="the figure")
    told = [line for line in edge.log().splitlines() if "breaks the protocol: " in line]
    assert len(told) == 1 and 'topic "a/+/b"' in told[0], told


@VERSIONS
def test_a_message_that_is_too_large_streams_by(make_broker, upstream, client, version):
    edge = make_broker(bridge(upstream.port, version, "max_packet_size 100000"), durable=True)
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    for packet_id, qos in ((1, 1), (2, 2)):
        large = dialect(version).publish("large", bytes(8_000_000), qos, packet_id)
        upstream.deliver(packet_id, large)
    is_served(upstream, reader, version)
    wait_until(lambda: figure(edge, DROPPED) == 2, what="the figure")
    wait_until(lambda: "at most 100000 allowed" in edge.log(), what="line in the log")


def test_a_message_that_takes_long_is_waited_for(make_broker, upstream, client):
    """On a slow line, one that takes longer than the keep-alive and the answer to a PINGREQ."""
    edge = make_broker(bridge(upstream.port, "mqttv311", topic="topic # in 2\nkeepalive_interval 5"))
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    upstream.trickle(wire.publish("slow", b"x" * 1400, 1, 1), pieces=14, every=1)
    assert reader.payloads(1) == ["x" * 1400]
    is_served(upstream, reader, "mqttv311")


#: Packets that are not as they should be, or not for a client, without DISCONNECT.
ODD = {
    "CONNECT": wire.connect("c"),
    "CONNACK": b"\x20\x02\0\0",
    "CONNACK that refuses": b"\x20\x02\0\x05",
    "PUBLISH at QoS 3": b"\x36\x06\0\1a\0\7x",
    "PUBLISH with packet id 0": b"\x32\x06\0\1a\0\0x",
    "PUBLISH cut short": b"\x32\x02\0\x09",
    "PUBACK for nothing": b"\x40\x02\0\x09",
    "PUBACK with flags": b"\x4f\x02\0\x09",
    "PUBACK without id": b"\x40\0",
    "PUBREC with more": b"\x50\x08\0\x09\x63\xff\xff\xff\xff\xff",
    "PUBREL without flags": b"\x60\x02\0\x09",
    "PUBCOMP with id 0": b"\x70\x02\0\0",
    "SUBSCRIBE": wire.subscribe(1, "a", 0),
    "SUBACK for nothing": b"\x90\x04\0\x63\0\0",
    "SUBACK without a code": b"\x90\x02\0\x63",
    "UNSUBSCRIBE": b"\xa2\x05\0\1\0\1a",
    "UNSUBACK with codes": b"\xb0\x05\0\x63\x55\x55\x55",
    "PINGREQ with more": b"\xc0\x01x",
    "PINGRESP with flags": b"\xd3\0",
    "type 0": b"\0\x03abc",
    "AUTH": b"\xf0\x02\x18\0",
}


@VERSIONS
def test_odd_packets_are_passed_over(make_broker, upstream, client, version):
    edge = make_broker(bridge(upstream.port, version), durable=True)
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    for data in ODD.values():
        upstream.send(data)
    is_served(upstream, reader, version)


@pytest.mark.parametrize("suback", [b"", b"\x55", b"\x85", b"\0\x55\1\2\3"])
@VERSIONS
def test_a_suback_that_cannot_be_read(make_broker, upstream, client, version, suback):
    upstream.suback = suback
    edge = make_broker(bridge(upstream.port, version, topic="topic # in 2"), durable=True)
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    is_served(upstream, reader, version)


@VERSIONS
def test_a_broken_frame_ends_the_connection(make_broker, upstream, client, version):
    """The control of those above: there is no way to go on behind it, other than to connect again."""
    edge = make_broker(bridge(upstream.port, version), durable=True)
    reader = client(edge.port, "reader")
    reader.subscribe("#", 1)
    wait_until(lambda: upstream.connection, what="a subscription")
    before = upstream.connection
    upstream.send(b"\x30\xff\xff\xff\xff\x01" + string("a"))
    wait_until(lambda: upstream.connection is not before, what="another connection", timeout=20)
    upstream.deliver(1, dialect(version).publish("good", b"again", 1, 1))
    assert reader.payloads(1) == ["again"]


#: What may come instead of a good CONNACK; some of it before the connection ends.
NO_CONNACK = {
    **{f"refused {code}": bytes([0x20, 2, 0, code]) for code in (1, 2, 3, 4, 5, 6, 255)},
    "refused in MQTT 5": b"\x20\x03\0\x88\0",
    "too short": b"\x20\x01\0",
    "too long": b"\x20\x03\0\0\x09",
    "of another length": b"\x20\xff\xff\xff\x7f\0\0",
    "flags": b"\x2f\x02\0\0",
    "a session of nobody": b"\x20\x02\xff\0",
    "PINGRESP": b"\xd0\0",
    "PUBLISH": wire.publish("early", b"x"),
    "SUBACK": b"\x90\x03\0\1\0",
    "DISCONNECT": b"\xe0\x02\x8b\0",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "TLS": b"\x15\x03\x01\0\x02\x02\x46",
    "zeros": bytes(100),
    "nothing": b"",
}


class Confused(Upstream):
    """The first CONNECT it answers by `says`, and ends the connection; it is well from the second on."""

    def __init__(self, says):
        self._says = says
        super().__init__()

    def _answer(self, packet, level):
        if self.count > 1:
            return super()._answer(packet, level)
        if packet.kind == wire.CONNECT:
            self._open.sendall(self._says)
        raise ConnectionError


@VERSIONS
def test_answers_to_connect_that_are_none(make_broker, client, version):
    """The bridge tries again, and what waited goes up."""
    upstreams = [Confused(says) for says in NO_CONNACK.values()]
    try:
        lines = [
            bridge(there.port, version, topic="topic t out 1").replace("connection up", f"connection up{n}")
            for n, there in enumerate(upstreams)
        ]
        edge = make_broker("\n".join(lines), durable=True)
        client(edge.port, "device").publish("t", "x", 1)
        for there, name in zip(upstreams, NO_CONNACK):
            assert there.next(wire.PUBLISH, timeout=60).payload.endswith(b"x"), name
            assert there.count >= 2, name
    finally:
        for there in upstreams:
            there.close()


def test_rabbitmq_makes_wildcards_of_asterisks(make_broker, client, tmp_path):
    """It hands out `a/*/b` as `a/+/b`, and keeps that for the bridge until it is acknowledged."""
    cloud = RabbitMQ(tmp_path / "cloud")
    try:
        cloud.start()
        config = bridge(cloud.port, "mqttv311", topic="topic a/# in 1")
        edge = make_broker(config, durable=True)
        reader = client(edge.port, "reader")
        reader.subscribe("#", 1)
        there = cloud.client("there")
        try:
            there.publish("a/first", "first", 1)
            # RabbitMQ looks the subscription up beside.
            wait_until(lambda: comes(reader, there), what="a subscription", timeout=30)
            for n in range(3):
                there.publish(f"a/*/{n}", "x", 1)
            there.publish("a/last", "last", 1)
            wait_until(lambda: reader.get().payload == b"last", what="the last message")
            wait_until(lambda: figure(edge, DROPPED) == 3, what="the figure")
            told = [line for line in edge.log().splitlines() if "breaks the protocol: " in line]
            assert len(told) == 1 and 'topic "a/+/0"' in told[0], told
            edge.restart()
            there.publish("a/next", "next", 1)
            reader = client(edge.port, "reader")
            reader.subscribe("#", 1)
            there.publish("a/end", "end", 1)
            wait_until(lambda: reader.get(30).payload == b"end", what="the link")
            told = [line for line in edge.log().splitlines() if "breaks the protocol: " in line]
            assert len(told) == 1, "it comes no more"
        finally:
            there.close()
    finally:
        cloud.close()


def comes(reader, there):
    """Whether what `there` publishes comes to `reader`."""
    there.publish("a/first", "first", 1)
    return not reader.silent(1)
