"""Each directive of a bridge by what it changes, towards an upstream that looks at every packet."""

import queue
import signal
import socket
import struct
import threading
import time

import pytest

import wire
from clients import V5
from harness import wait_until
from wire import Raw, string

pytestmark = pytest.mark.footbridge


class Upstream:
    """Accepts every bridge, acknowledges everything and keeps the packets. With `refuses` it ends
    each connection at the CONNECT."""

    def __init__(self, host="127.0.0.1", refuses=False, port=0):
        self.refuses = refuses
        #: Whether it says that it has the session.
        self.present = False
        #: The properties of its CONNACK.
        self.props = b""
        self.connects, self.packets = queue.Queue(), queue.Queue()
        self.count = 0
        self._over = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family)
        self.port = self._listener.getsockname()[1]
        self._open = None
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self._over = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self):
        """Ends the connection."""
        if self._open is not None:
            try:
                self._open.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _serve(self):
        while not self._over:
            try:
                self._open, _ = self._listener.accept()
            except OSError:
                return
            with self._open:
                try:
                    self._converse(self._open)
                except ConnectionError:
                    pass

    def _converse(self, connection):
        buffer, level = bytearray(), 4
        while data := connection.recv(1 << 18):
            buffer += data
            for packet in wire.split(buffer):
                if packet.kind == wire.CONNECT:
                    name = struct.unpack_from("!H", packet.body)[0]
                    level = packet.body[2 + name] & 0x7F
                    self.count += 1
                    self.connects.put(packet.body)
                    if self.refuses:
                        return
                self.packets.put(packet)
                connection.sendall(self._answer(packet, level))

    def _answer(self, packet, level):
        none = b"\0" if level == 5 else b""
        if packet.kind == wire.CONNECT:
            props = bytes([len(self.props)]) + self.props if level == 5 else b""
            return wire.packet(wire.CONNACK << 4, bytes([self.present, 0]) + props)
        if packet.kind == wire.SUBSCRIBE:
            return wire.packet(wire.SUBACK << 4, struct.pack("!H", packet.id) + none + b"\1")
        if packet.kind == wire.UNSUBSCRIBE:
            codes = b"\0\0" if level == 5 else b""
            return wire.packet(wire.UNSUBACK << 4, struct.pack("!H", packet.id) + codes)
        if packet.kind == wire.PUBLISH and packet.qos == 1:
            return wire.ack(wire.PUBACK, packet.id)
        if packet.kind == wire.PINGREQ:
            return wire.packet(wire.PINGRESP << 4, b"")
        return b""

    def connect(self):
        """The body of the next CONNECT."""
        return self.connects.get(timeout=8)

    def next_request(self):
        """The next SUBSCRIBE or UNSUBSCRIBE."""
        while True:
            packet = self.packets.get(timeout=8)
            if packet.kind in (wire.SUBSCRIBE, wire.UNSUBSCRIBE):
                return packet

    def next(self, kind, timeout=8):
        """The next packet of this kind."""
        end = time.monotonic() + timeout
        while True:
            packet = self.packets.get(timeout=max(0.01, end - time.monotonic()))
            if packet.kind == kind:
                return packet


@pytest.fixture
def upstream():
    made = Upstream()
    yield made
    made.close()


def bridge(upstream, *lines, topic="topic t/# out 1", name="edge"):
    address = f"address 127.0.0.1:{upstream.port}"
    return "\n".join([f"connection {name}", address, topic, "restart_timeout 1", *lines, ""])


def connect_of(make_broker, upstream, *lines):
    make_broker(bridge(upstream, *lines))
    return upstream.connect()


MQTT_5, MQTT_311, MQTT_31 = string("MQTT") + b"\5", string("MQTT") + b"\4", string("MQIsdp") + b"\3"
#: The CONNECT of a bridge that says nothing but where and what; made once.
WITHOUT = []


@pytest.mark.parametrize(
    "lines, there",
    [
        ("remote_clientid edge-7", string("edge-7")),
        ("clientid edge-7", string("edge-7")),
        ("remote_username ann", string("ann")),
        ("username ann", string("ann")),
        ("remote_username u\nremote_password s3cret", string("s3cret")),
        ("username u\npassword s3cret", string("s3cret")),
        ("keepalive_interval 77", struct.pack("!H", 77)),
        ("notification_topic my/state", string("my/state")),
        ("bridge_protocol_version mqttv50", MQTT_5),
        ("bridge_protocol_version mqttv311\ntry_private false", MQTT_311),
        ("bridge_protocol_version mqttv311\ntry_private true", string("MQTT") + b"\x84"),
        ("bridge_protocol_version mqttv31\ntry_private false", MQTT_31),
        ("bridge_session_expiry_interval 12345", b"\x11" + struct.pack("!I", 12345)),
        ("bridge_receive_maximum 7", b"\x21\0\7"),
        ("bridge_max_packet_size 5000", b"\x27" + struct.pack("!I", 5000)),
        ("bridge_max_topic_alias 9", b"\x22\0\x09"),
    ],
)
def test_what_the_connect_says(make_broker, upstream, lines, there):
    """With the lines it is in there; without them it is not, except for version 5."""
    assert there in connect_of(make_broker, upstream, *lines.split("\n"))
    upstream.cut()
    if not WITHOUT:
        other = Upstream()
        WITHOUT.append(connect_of(make_broker, other))
        other.close()
    assert (there in WITHOUT[0]) == (there == MQTT_5)


def test_cleansession(make_broker, upstream):
    flags = connect_of(make_broker, upstream, "cleansession true")[7]
    assert flags & 2
    other = Upstream()
    assert not connect_of(make_broker, other, "cleansession false")[7] & 2
    other.close()


@pytest.mark.parametrize("line", ["notifications false", "notifications_local_only true"])
def test_notifications_that_stay_here(make_broker, upstream, client, line):
    topic = "$SYS/broker/connection/edge/state"
    other = Upstream()
    assert string(topic) in connect_of(make_broker, other, "remote_clientid edge")
    other.close()
    broker = make_broker(bridge(upstream, "remote_clientid edge", line))
    assert string(topic) not in upstream.connect(), "no will"
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    watcher = client(broker.port, "watcher")
    watcher.subscribe(topic)
    if line.startswith("notifications_local_only"):
        assert watcher.payloads(1) == ["1"]
    else:
        assert watcher.silent()


def test_addresses(make_broker, upstream, client):
    """The old plural, with several on a line."""
    dead = Upstream()
    dead.close()
    lines = bridge(upstream).replace("address ", f"addresses 127.0.0.1:{dead.port} ")
    make_broker(lines)
    assert upstream.connect()


@pytest.mark.parametrize("setting, comes", [("true", True), ("false", False)])
@pytest.mark.parametrize("how", ["restart", "SIGHUP"])
def test_bridge_attempt_unsubscribe(make_broker, upstream, setting, comes, how):
    """What came in before, by the acknowledgement of the upstream, and only goes out now; nothing
    for a new session, whatever goes out."""
    lines = f"bridge_attempt_unsubscribe {setting}", "bridge_reload_type immediate"
    broker = make_broker(
        bridge(upstream, *lines, "topic in/# in 1", topic="topic t/# both 1"), durable=True
    )
    upstream.connect()
    for _ in range(2):
        assert upstream.next_request().kind == wire.SUBSCRIBE
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    upstream.present = True
    config = broker.config_file.read_text().replace("topic t/# both", "topic t/# out")
    broker.config_file.write_text(config)
    time.sleep(0.5)  # The SUBACKs are on disk within a commit_interval.
    if how == "restart":
        broker.restart("kill")
    else:
        broker.process.send_signal(signal.SIGHUP)
    upstream.connect()
    upstream.next(wire.SUBSCRIBE)
    if comes:
        assert b"t/#" in upstream.next(wire.UNSUBSCRIBE).body
    else:
        with pytest.raises(queue.Empty):
            upstream.next(wire.UNSUBSCRIBE, timeout=1)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_bridge_max_packet_size(make_broker, upstream, client, version):
    """The largest packet that goes upstream, though the upstream takes any."""
    broker = make_broker(
        bridge(upstream, "bridge_max_packet_size 100", f"bridge_protocol_version {version}")
    )
    upstream.connect()
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    device = client(broker.port, "device")
    for size in (101, 50):
        device.publish("t/x", "x" * size, 1)
    sent = upstream.next(wire.PUBLISH)
    while sent.topic != "t/x":
        sent = upstream.next(wire.PUBLISH)
    assert sent.body.endswith(b"x" * 50) and len(sent.body) < 100


@pytest.mark.parametrize(
    "setting, count", [("", 20), ("bridge_max_inflight_qos2 50", 50), ("bridge_max_inflight_qos2 0", 60)]
)
def test_bridge_max_inflight_qos2(make_broker, upstream, client, setting, count):
    """An upstream of MQTT 3.1.1 that answers no QoS 2 message is sent so many."""
    lines = bridge(upstream, "bridge_protocol_version mqttv311", setting, topic="topic t/# out 2")
    broker = make_broker(f"max_inflight_messages 100\n{lines}", durable=True)
    upstream.connect()
    device = client(broker.port, "device")
    for n in range(60):
        device.publish("t/x", str(n), 2)
    sent = []
    while len(sent) < count:
        packet = upstream.next(wire.PUBLISH)
        sent += [packet.body[-2:]] if packet.topic == "t/x" else []
    with pytest.raises(queue.Empty):
        upstream.next(wire.PUBLISH, timeout=0.5)


@pytest.mark.parametrize("directive", ["local_cleansession", "cleansession"])
@pytest.mark.parametrize("setting, kept", [("false", True), ("true", False)])
def test_what_waits_while_the_upstream_is_away(
    make_broker, upstream, client, directive, setting, kept
):
    """local_cleansession is as cleansession says, where it is not given."""
    other = ["cleansession true"] if setting == "false" and "local" in directive else []
    broker = make_broker(bridge(upstream, f"{directive} {setting}", *other))
    upstream.connect()
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    upstream.refuses = True
    upstream.cut()
    upstream.connect()
    device = client(broker.port, "device")
    device.publish("t/x", "waits", 1)
    upstream.refuses = False
    upstream.connect()
    wait_until(lambda: broker.log().count("connected to") >= 2, what="a bridge that is up again")
    device.publish("t/x", "comes", 1)
    came = []
    while not came or not came[-1].endswith(b"comes"):
        packet = upstream.next(wire.PUBLISH)
        if packet.topic == "t/x":
            came.append(packet.body)
    assert any(body.endswith(b"waits") for body in came) == kept


def test_local_clientid(make_broker, upstream):
    """Nobody else may have it, and it is the one that the next start looks for."""
    broker = make_broker(bridge(upstream, "local_clientid mine"))
    for client_id, code in [("mine", 2), ("local.other", 0)]:
        with Raw(broker.port) as raw:
            raw.send(wire.connect(client_id))
            assert raw.expect(wire.CONNACK).body[1] == code, client_id


@pytest.mark.parametrize("timeout, more", [("1", True), ("60", False), ("60 90 9", False)])
def test_restart_timeout(make_broker, timeout, more):
    upstream = Upstream(refuses=True)
    lines = bridge(upstream, f"restart_timeout {timeout}", "bridge_protocol_version mqttv50")
    make_broker(lines)
    upstream.connect()
    if more:
        upstream.connect()
    else:
        time.sleep(3)
        assert upstream.count == 1
    upstream.close()


@pytest.mark.parametrize("setting, flag", [("true", 1), ("false", 0)])
def test_bridge_outgoing_retain(make_broker, upstream, client, setting, flag):
    broker = make_broker(bridge(upstream, f"bridge_outgoing_retain {setting}"))
    upstream.connect()
    client(broker.port, "device").publish("t/x", "x", 1, retain=True)
    sent = upstream.next(wire.PUBLISH)
    while sent.topic != "t/x":
        sent = upstream.next(wire.PUBLISH)
    assert sent.flags & 1 == flag


@pytest.mark.parametrize("setting, aliased", [("0", False), ("1", True)])
def test_bridge_outgoing_topic_alias(make_broker, upstream, client, setting, aliased):
    upstream.props = b"\x22\0\5"
    broker = make_broker(bridge(upstream, f"bridge_outgoing_topic_alias {setting}"))
    upstream.connect()
    device = client(broker.port, "device")
    sent = []
    for n in range(5):
        device.publish("t/x", str(n), 1)
    while len(sent) < 5:
        sent.append(upstream.next(wire.PUBLISH))
        if sent[-1].topic.startswith("$SYS"):
            sent.pop()
    # A topic gets an alias when it comes again, and is then left out.
    assert any(packet.topic == "" for packet in sent) == aliased


@pytest.mark.parametrize(
    "topic, out, asked",
    [
        ("topic t/# out 0", 0, None),
        ("topic t/# out 1", 1, None),
        ("topic t/# out 2", 2, None),
        ("topic t/# in 0", None, 0),
        ("topic t/# in 1", None, 1),
        ("topic t/# both 2", 2, 2),
        ("topic t/#", 0, None),
    ],
)
def test_direction_and_qos_of_a_topic(make_broker, upstream, client, topic, out, asked):
    lines = bridge(upstream, "bridge_attempt_unsubscribe false", topic=topic)
    broker = make_broker(lines)
    upstream.connect()
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    if asked is not None:
        assert upstream.next(wire.SUBSCRIBE).body[-1] & 3 == asked
    client(broker.port, "device").publish("t/x", "x", 2)
    try:
        sent = upstream.next(wire.PUBLISH, timeout=1.5)
        while sent.topic != "t/x":
            sent = upstream.next(wire.PUBLISH, timeout=1.5)
        assert sent.qos == out
    except queue.Empty:
        assert out is None


def test_prefixes_of_a_topic(make_broker, upstream, client):
    broker = make_broker(bridge(upstream, topic="topic x out 1 here/ there/"))
    upstream.connect()
    client(broker.port, "device").publish("here/x", "x", 1)
    sent = upstream.next(wire.PUBLISH)
    while sent.topic.startswith("$SYS"):
        sent = upstream.next(wire.PUBLISH)
    assert sent.topic == "there/x"


@pytest.mark.parametrize(
    "option, waits",
    [
        ("max_queued_messages=2 overflow=newest", [1, 2]),
        ("max_queued_messages=2 overflow=oldest", [3, 4]),
        ("max_queued_messages=2 overflow=latest-per-topic", [1, 4]),
        ("max_queued_messages=2 overflow=refuse", [1, 2]),
        ("max_queued_bytes=400 overflow=newest", [1, 2]),
        ("ttl=1s", []),
    ],
)
def test_options_of_a_topic(make_broker, upstream, client, option, waits):
    """What waits of four messages, of which the last three are on one topic."""
    upstream.refuses = True
    broker = make_broker(bridge(upstream, topic=f"topic t/# out 1 {option}"))
    upstream.connect()
    device = client(broker.port, "device", version=V5)
    codes = [device.publish(f"t/{n > 1}", f"{n}" + "." * 100, 1) for n in (1, 2, 3, 4)]
    assert codes == [0, 0] + [0x97 if "refuse" in option else 0] * 2
    if "ttl" in option:
        time.sleep(2)
    upstream.refuses = False
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up", timeout=20)
    came = []
    try:
        while True:
            sent = upstream.next(wire.PUBLISH, timeout=1.5)
            if sent.topic.startswith("t/"):
                came.append(int(sent.body[-101:-100]))
    except queue.Empty:
        assert came == waits


@pytest.mark.parametrize(
    "option, setting, qos",
    [
        ("", "", None),
        ("qos0=keep", "", 1),
        ("", "queue_qos0_messages true\n", 0),
    ],
)
def test_qos_0_while_the_upstream_is_away(make_broker, upstream, client, option, setting, qos):
    """It is dropped and counted, and the log says so once with the cure; or it is kept. A
    subscriber here gets it in any case, and what comes when the upstream is there goes up."""
    upstream.refuses = True
    broker = make_broker(setting + bridge(upstream, topic=f"topic t/# out 1 {option}"))
    upstream.connect()
    here, device = client(broker.port, "here"), client(broker.port, "device")
    here.subscribe("t/#")
    for n in (1, 2, 3):
        device.publish("t/x", f"{n}")
    assert here.payloads(3) == ["1", "2", "3"]
    said = broker.log().count("qos0=keep on the topic line, or queue_qos0_messages true, queues them")
    assert said == (qos is None)
    upstream.refuses = False
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up", timeout=20)
    device.publish("t/x", "4")
    came = []
    while not came or not came[-1].body.endswith(b"4"):
        packet = upstream.next(wire.PUBLISH)
        if packet.topic == "t/x":
            came.append(packet)
    if qos is None:
        assert len(came) == 1
    else:
        assert [packet.body[-1:] for packet in came] == [b"1", b"2", b"3", b"4"]
        assert [packet.qos for packet in came[:3]] == [qos] * 3


def test_low_priority_of_a_topic(make_broker, make_upstream, link, client):
    """A backlog for a Mosquitto, with one killing in between: what is of low priority comes last."""
    mosquitto = make_upstream()
    uplink = link(mosquitto.port)
    uplink.cut()
    watcher = client(mosquitto.port, "watcher")
    watcher.subscribe("#", 1)
    lines = "topic alarm/# out 1", "max_inflight_messages 20"
    broker = make_broker(bridge(uplink, *lines, topic='topic bulk/# out 1 "" "" low'), durable=True)
    device = client(broker.port, "device")
    for n in range(200):
        device.publish("bulk/x", f"bulk {n}", 1)
    for n in range(20):
        device.publish("alarm/x", f"alarm {n}", 1)
    broker.restart("kill")
    uplink.mend()
    alarms, bulk = [f"alarm {n}" for n in range(20)], [f"bulk {n}" for n in range(200)]
    assert watcher.payloads(220, timeout=30) == alarms + bulk
