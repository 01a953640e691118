"""MQTT over WebSocket: by hand what libraries hide, and paho for the rest."""

import struct
import time

import pytest

import wire
from clients import V311, V5
from frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    GOING_AWAY,
    NORMAL,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    UNSUPPORTED,
    Web,
    ask,
    binary,
    frame,
    handshake,
)
from harness import free_port, wait_until
from wire import Raw

# Debian's Mosquitto speaks it by another library, whose errors differ.
pytestmark = pytest.mark.footbridge


@pytest.fixture
def web(make_broker):
    """A broker with a listener for WebSockets: `web(config)`; its port is `web_port`."""

    def make(config="", listener="", **options):
        port = free_port()
        text = f"{config}\nlistener {port} 127.0.0.1\nprotocol websockets\n{listener}"
        broker = make_broker(text, **options)
        broker.web_port = port
        return broker

    return make


def test_the_handshake(web):
    with Web(web().web_port, "c") as c:
        fields = c.response.fields
        assert c.accepts()
        assert (fields["upgrade"].lower(), fields["connection"].lower()) == ("websocket", "upgrade")
        # [MQTT-6.0.0-4]
        assert fields["sec-websocket-protocol"] == "mqtt"
        assert "sec-websocket-extensions" not in fields
        c.mqtt(wire.PING)
        assert c.packet().kind == wire.PINGRESP


def test_the_subprotocol_is_mqtt_where_that_is_offered(web):
    port = web().web_port
    for offered, chosen in [("mqttv3.1", "mqttv3.1"), ("chat, mqttv3.1,mqtt", "mqtt")]:
        with Web(port, Sec_WebSocket_Protocol=offered) as c:
            assert c.response.fields["sec-websocket-protocol"] == chosen


@pytest.mark.parametrize(
    "status, changes",
    [
        (400, {"method": "POST"}),
        (400, {"version": "1.0"}),
        (400, {"Host": None}),
        (400, {"Upgrade": None}),
        (400, {"Upgrade": "h2c"}),
        (400, {"Connection": "close"}),
        (400, {"Sec_WebSocket_Key": None}),
        (400, {"Sec_WebSocket_Key": "AAAA"}),
        (400, {"Sec_WebSocket_Protocol": None}),
        (400, {"Sec_WebSocket_Protocol": "MQTT"}),
        (426, {"Sec_WebSocket_Version": "8"}),
        (431, {"Cookie": "x" * 9000}),
    ],
)
def test_other_handshakes_are_refused(web, status, changes):
    response, body = ask(web().web_port, handshake(**changes))
    assert response.status == status
    assert len(body) == int(response.fields["content-length"]) > 0
    if status == 426:
        assert response.fields["sec-websocket-version"] == "13"


def test_what_is_no_http_is_refused_at_once(web):
    broker = web()
    response, _ = ask(broker.web_port, wire.connect("plain"))
    assert response.status == 400
    wait_until(lambda: "HTTP request refused" in broker.log(), what="line in the log")


def test_a_request_must_come_in_time(web):
    """The CONNECT's time covers it."""
    with Raw(web().web_port) as raw:
        raw.send(b"GET / HTTP/1.1\r\n")
        raw.socket.settimeout(15)
        assert raw.socket.recv(10) == b""


def test_origins(web):
    listener = "websockets_origin http://a.example\nwebsockets_origin https://b.example:8443"
    port = web("", listener).web_port
    assert ask(port, handshake(Origin="http://evil.example"))[0].status == 403
    for origin in ["http://a.example", "https://b.example:8443", None]:
        with Web(port, "c", Origin=origin):
            pass


def test_packets_over_frames_and_frames_over_packets(web):
    """[MQTT-6.0.0-2]"""
    port = web().web_port
    with Web(port) as c:
        connect, subscribe = wire.connect("c"), wire.subscribe(1, "t", 1)
        # A frame a byte, and the bytes of frames one at a time.
        for byte in connect:
            for part in binary(bytes([byte])):
                c.send(bytes([part]))
        assert c.packet().kind == wire.CONNACK
        # Many packets in one frame, the last one only half.
        many = subscribe + wire.publish("t", b"1", 1, 2) + wire.PING + wire.publish("t", b"2")
        c.send(binary(many[:-3]))
        assert [c.packet().kind for _ in range(4)].count(wire.PINGRESP) == 1
        # The rest in fragments, with a ping within the message.
        c.send(frame(BINARY, many[-3:-2], fin=False) + frame(PING, b"now?"))
        c.send(frame(CONTINUATION, many[-2:]))
        assert c.frame() == (PONG, b"now?")
        assert c.packet().payload == b"2"


def test_frames_of_all_lengths_both_ways(web):
    port = web().web_port
    with Web(port, "c") as c:
        c.mqtt(wire.subscribe(1, "t", 0))
        assert c.packet().kind == wire.SUBACK
        for size in [0, 120, 124, 130, 65530, 65536, 3_000_000]:
            payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            c.mqtt(wire.publish("t", payload))
            assert c.packet().payload == payload, size


@pytest.mark.parametrize(
    "code, data",
    [
        (UNSUPPORTED, frame(TEXT, wire.PING)),  # [MQTT-6.0.0-1]
        (PROTOCOL_ERROR, frame(BINARY, wire.PING, mask=None)),
        (PROTOCOL_ERROR, frame(BINARY, wire.PING, reserved=4)),
        (PROTOCOL_ERROR, frame(3, wire.PING)),
        (PROTOCOL_ERROR, frame(11, b"")),
        (PROTOCOL_ERROR, frame(CONTINUATION, wire.PING)),
        (PROTOCOL_ERROR, frame(BINARY, wire.PING, fin=False) + frame(BINARY, wire.PING)),
        (PROTOCOL_ERROR, frame(PING, b"", fin=False)),
        (PROTOCOL_ERROR, frame(PING, b"x" * 126)),
        (PROTOCOL_ERROR, frame(CLOSE, b"x")),
        (PROTOCOL_ERROR, frame(CLOSE, struct.pack("!H", 1006))),
        (TOO_BIG, b"\x82\xff" + struct.pack("!Q", 1 << 40)),
    ],
)
def test_what_breaks_the_rules_of_websocket(web, client, code, data):
    broker = web()
    watcher = client(broker.port, "watcher")
    watcher.subscribe("will")
    with Web(broker.web_port) as c:
        c.mqtt(b"\x10\x19\0\4MQTT\4\6\0\x3c\0\1c\0\4will\0\4gone")
        assert c.packet().kind == wire.CONNACK
        c.send(data)
        while (got := c.frame())[0] == BINARY:
            assert got[1] == wire.PING.replace(b"\xc0", b"\xd0")
        assert got == (CLOSE, struct.pack("!H", code))
        assert c.socket.recv(1) == b""
    assert watcher.payloads(1) == ["gone"]
    wait_until(lambda: "no valid WebSocket" in broker.log(), what="line in the log")


def test_a_packet_that_is_too_large_is_told_before_it_is_there(web):
    broker = web("max_packet_size 1000")
    with Web(broker.web_port, "c") as c:
        # More than one packet may be in a frame that is longer.
        c.send(binary(wire.publish("t", b"x" * 900) * 3 + wire.PING))
        assert c.packet().kind == wire.PINGRESP
        c.send(binary(wire.publish("t", b"x" * 2000))[:40])
        assert c.closed() == TOO_BIG


def test_the_closing_handshake(web, client):
    broker = web()
    watcher = client(broker.port, "watcher")
    watcher.subscribe("will")
    will = b"\x10\x19\0\4MQTT\4\6\0\x3c\0\1c\0\4will\0\4gone"
    # By the client, without a DISCONNECT: its will goes out.
    for code in (1000, 1001, 3000, None):
        with Web(broker.web_port) as c:
            c.mqtt(will)
            assert c.packet().kind == wire.CONNACK
            c.send(frame(CLOSE, struct.pack("!H", code) if code else b""))
            assert c.closed() == code
        assert watcher.payloads(1) == ["gone"]
    # After a DISCONNECT, in one go: it does not.
    with Web(broker.web_port) as c:
        c.mqtt(will)
        assert c.packet().kind == wire.CONNACK
        c.send(binary(wire.GOODBYE) + frame(CLOSE, struct.pack("!H", 1000)))
        assert c.closed() == NORMAL
    # By the broker.
    with Web(broker.web_port) as c:
        c.mqtt(will)
        assert c.packet().kind == wire.CONNACK
        c.mqtt(wire.GOODBYE)
        assert c.closed() == NORMAL
    assert watcher.silent()
    with Web(broker.web_port, "c") as c:
        broker.stop()
        assert c.closed() == GOING_AWAY
    broker.start()


def test_pings_are_answered_once_each_at_least_the_last(web):
    with Web(web().web_port, "c") as c:
        for n in range(50):
            c.send(frame(PING, b"%d" % n))
        got = []
        while not got or got[-1] != b"49":
            opcode, payload = c.frame()
            assert opcode == PONG
            got.append(payload)
        assert got == sorted(got, key=int)
        c.send(frame(PONG, b"unasked for"))
        c.mqtt(wire.PING)
        assert c.packet().kind == wire.PINGRESP


def test_a_reader_that_is_slow_gets_all_and_costs_no_memory(web):
    """Backpressure as for TCP: 40 MB for one who does not read stay in the queue, or go."""
    broker = web(durable=True)
    with Web(broker.web_port, "slow", clean=False) as c, Raw(broker.port, "pub") as pub:
        c.mqtt(wire.subscribe(1, "t", 1))
        assert c.packet().kind == wire.SUBACK
        payload = b"x" * 100_000
        for n in range(1, 401):
            pub.send(wire.publish("t", b"%6d" % n + payload, 1, n))
        for _ in range(400):
            pub.expect(wire.PUBACK)
        with open(f"/proc/{broker.process.pid}/status") as status:
            rss = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        assert rss < 30_000, f"{rss} KB"
        for n in range(1, 401):
            got = c.packet()
            assert int(got.payload[:6]) == n and len(got.payload) == 100_006
            c.mqtt(wire.ack(wire.PUBACK, got.id))


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
def test_paho_over_websockets_beside_tcp(web, client, version):
    broker = web(durable=True)
    ws = {"version": version, "transport": "websockets"}
    durable = {"clean": False, **({"expiry": 600} if version == V5 else {})}
    over_ws = client(broker.web_port, "ws", **ws, **durable)
    over_tcp = client(broker.port, "tcp", version=version)
    assert over_ws.subscribe([("t/0", 0), ("t/1", 1), ("t/2", 2)]) == [0, 1, 2]
    over_tcp.subscribe("t/#", 2)
    for publisher in (over_ws, over_tcp):
        for qos in (0, 1, 2):
            publisher.publish(f"t/{qos}", f"at {qos}", qos)
            for subscriber in (over_ws, over_tcp):
                got = subscriber.get()
                assert (got.topic, got.payload, got.qos) == (f"t/{qos}", b"at %d" % qos, qos)
    over_ws.close()
    for qos in (1, 2):
        over_tcp.publish(f"t/{qos}", "while away", qos)
    # A session is the client's, not the transport's.
    back = client(broker.port, "ws", version=version, **durable)
    assert back.session_present
    assert sorted(m.topic for m in (back.get(), back.get())) == ["t/1", "t/2"]
    back.close()
    over_tcp.publish("t/1", "once more", 1)
    again = client(broker.web_port, "ws", **ws, **durable)
    assert again.session_present
    assert again.payloads(1) == ["once more"]


def test_a_durable_session_over_websockets_outlives_the_broker(web, client):
    broker = web(durable=True)
    device = client(broker.web_port, "d", clean=False, transport="websockets")
    device.subscribe("t", 2)
    device.close()
    client(broker.web_port, "p", transport="websockets").publish("t", "kept", 2)
    broker.restart("kill")
    assert client(broker.web_port, "d", clean=False, transport="websockets").payloads(1) == ["kept"]


def test_large_messages_by_paho(web, client):
    """Down only: up, paho 2.2 forgets a frame that the kernel takes in two goes."""
    broker = web()
    sub = client(broker.web_port, "sub", transport="websockets")
    sub.subscribe("t", 1)
    payload = bytes(range(256)) * 20_000
    client(broker.port, "pub").publish("t", payload, 1)
    assert sub.get().payload == payload


def test_idle_connections_take_little(web):
    """Besides what the kernel takes."""
    broker = web()
    count = 500

    def rss():
        with open(f"/proc/{broker.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    first = [Web(broker.web_port, f"first{n}") for n in range(100)]
    before = rss()
    more = [Web(broker.web_port, f"more{n}") for n in range(count)]
    time.sleep(0.3)
    each = (rss() - before) * 1024 / count
    for c in first + more:
        c.socket.close()
    assert each < 2000, f"{each} bytes"
