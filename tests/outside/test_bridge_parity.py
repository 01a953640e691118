"""One bridge section, given to this broker and to Mosquitto: what the upstream sees of both."""

import queue
import struct
import time

import pytest

import wire
from harness import MOSQUITTO, wait_until
from test_bridge_directives import Upstream
from wire import string

pytestmark = pytest.mark.footbridge

STATE = "$SYS/broker/connection/edge/state"


class Connect:
    """A CONNECT by its fields."""

    def __init__(self, body):
        self._body, self._at = body, 0
        self.protocol = self._text(), self._number("B")
        flags = self._number("B")
        self.clean, self.keepalive = bool(flags & 2), self._number("H")
        is_v5 = self.protocol[1] & 0x7F == 5
        self.props = self._props() if is_v5 else b""
        self.client_id = self._text()
        self.will = None
        if flags & 4:
            if is_v5:
                self._props()
            self.will = self._text(), self._text(), flags >> 3 & 3, bool(flags & 0x20)
        self.login = tuple(self._text() for bit in (0x80, 0x40) if flags & bit)

    def _number(self, form):
        (number,) = struct.unpack_from("!" + form, self._body, self._at)
        self._at += struct.calcsize("!" + form)
        return number

    def _text(self):
        length = self._number("H")
        self._at += length
        return self._body[self._at - length : self._at].decode()

    def _props(self):
        length = self._number("B")
        self._at += length
        return self._body[self._at - length : self._at]

    def fields(self):
        return self.protocol, self.clean, self.keepalive, self.client_id, self.will, self.login


@pytest.fixture
def both(make_broker, make_upstream):
    """Lines -> two pairs, ours and Mosquitto's, each of a broker and what it is a bridge of."""
    stubs = []

    def make(*lines):
        pairs = []
        for maker in (make_broker, make_upstream):
            stub = Upstream()
            stubs.append(stub)
            section = "connection edge", f"address 127.0.0.1:{stub.port}", "remote_clientid edge"
            more = () if any("restart_timeout" in line for line in lines) else ("restart_timeout 1",)
            pairs.append((maker("\n".join([*section, *more, *lines])), stub))
        return pairs

    yield make
    for stub in stubs:
        stub.close()


@pytest.mark.parametrize(
    "lines",
    [
        "bridge_protocol_version mqttv311",
        "bridge_protocol_version mqttv31",
        "bridge_protocol_version mqttv50",
        "bridge_protocol_version mqttv311\ntry_private false",
        "bridge_protocol_version mqttv31\ntry_private false",
        "bridge_protocol_version mqttv311\nnotifications false",
        "bridge_protocol_version mqttv311\nnotifications_local_only true",
        "bridge_protocol_version mqttv311\nnotification_topic site/7/state",
        "bridge_protocol_version mqttv311\ncleansession true",
        "bridge_protocol_version mqttv311\ncleansession true\nlocal_cleansession false",
        "bridge_protocol_version mqttv311\nkeepalive_interval 77",
        "bridge_protocol_version mqttv311\nremote_username ann\nremote_password s3cret",
        "bridge_protocol_version mqttv311\nremote_username ann",
        "bridge_protocol_version mqttv311\nlocal_clientid mine",
    ],
)
def test_the_connect_has_the_same_fields(both, lines):
    ours, theirs = (
        Connect(stub.connect()).fields() for _, stub in both("topic t/# out 1", *lines.split("\n"))
    )
    assert ours == theirs
    assert (ours[4] is None) == ("notifications false" in lines or "local_only" in lines)


@pytest.mark.parametrize("topic", [STATE, "site/7/state"])
def test_the_state_is_told_upstream_in_the_same_way(both, topic):
    lines = [f"notification_topic {topic}"] if topic != STATE else []
    seen = []
    for _, stub in both("topic t/# out 1", "bridge_protocol_version mqttv311", *lines):
        will = Connect(stub.connect()).will
        told = stub.next(wire.PUBLISH)
        seen.append((will, told.topic, told.payload, told.qos, told.flags & 1))
    assert seen[0] == seen[1] == ((topic, "0", 1, True), topic, b"1", 1, 1)


def payloads(watcher, count):
    return [(m.payload.decode(), m.topic) for m in (watcher.get() for _ in range(count))]


@pytest.mark.parametrize(
    "line, told",
    [("", True), ("notifications_local_only true", True), ("notifications false", False)],
)
def test_the_state_is_told_here_in_the_same_way(both, client, line, told):
    """1 when the bridge is up, 0 when it is down; retained."""
    seen = []
    for broker, stub in both("topic t/# out 1", "bridge_protocol_version mqttv311", line):
        stub.connect()
        watcher = client(broker.port, "watcher")
        watcher.subscribe(STATE, 1)
        if not told:
            assert watcher.silent()
            continue
        states = []
        while not states or states[-1] != "1":
            states += watcher.payloads(1)
        stub.refuses = True
        stub.cut()
        states += watcher.payloads(1)
        late = client(broker.port, "late")
        late.subscribe(STATE, 1)
        states += late.payloads(1)
        seen.append(states[-3:])
    assert seen in ([], [["1", "0", "0"]] * 2)
    assert bool(seen) == told


@pytest.mark.parametrize("setting, flag", [("true", 1), ("false", 0)])
@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_bridge_outgoing_retain(both, client, version, setting, flag):
    lines = f"bridge_protocol_version {version}", f"bridge_outgoing_retain {setting}"
    for broker, stub in both("topic t/# out 1", *lines):
        stub.connect()
        stub.next(wire.PUBLISH)
        time.sleep(0.5)
        client(broker.port, "device").publish("t/x", "x", 1, retain=True)
        sent = stub.next(wire.PUBLISH)
        while sent.topic != "t/x":
            sent = stub.next(wire.PUBLISH)
        assert sent.flags & 1 == flag, broker.binary


@pytest.mark.parametrize("setting", ["true", "false"])
def test_bridge_attempt_unsubscribe_at_a_new_session(both, setting):
    """Mosquitto unsubscribes what goes out, whether anybody has it; we only what the upstream has."""
    asked = []
    for _, stub in both(
        "topic t/# out 1",
        "topic c/# in 1",
        "bridge_protocol_version mqttv311",
        f"bridge_attempt_unsubscribe {setting}",
    ):
        stub.connect()
        kinds = []
        try:
            while True:
                kinds.append(stub.packets.get(timeout=1.5).kind)
        except queue.Empty:
            asked.append(wire.UNSUBSCRIBE in kinds)
            assert wire.SUBSCRIBE in kinds
    assert asked == [False, setting == "true"]


@pytest.mark.parametrize("setting", ["", "bridge_max_packet_size 100"])
def test_bridge_max_packet_size(both, client, setting):
    """What is larger does not go up, and what comes after it does."""
    for broker, stub in both("topic t/# out 1", "bridge_protocol_version mqttv50", setting):
        connect = Connect(stub.connect())
        is_told = b"\x27\0\0\0\x64" in connect.props
        # Mosquitto tells the upstream nothing of it, and takes larger ones.
        assert is_told == (bool(setting) and broker.binary != MOSQUITTO)
        stub.next(wire.PUBLISH)
        time.sleep(0.5)
        device = client(broker.port, "device")
        device.publish("t/x", "x" * 200, 1)
        device.publish("t/x", "end", 1)
        lengths = []
        while not lengths or lengths[-1] > 100:
            packet = stub.next(wire.PUBLISH)
            if packet.topic == "t/x" or packet.topic == "":
                lengths.append(len(packet.body))
        assert (len(lengths) == 1) == bool(setting), broker.binary


def test_an_upstream_may_use_the_aliases_that_it_was_given(make_broker, client):
    """bridge_max_topic_alias: what comes by an alias has its topic here."""
    stub = Upstream()
    broker = make_broker(
        f"connection edge\naddress 127.0.0.1:{stub.port}\ntopic c/# in 1\n"
        "bridge_protocol_version mqttv50\nbridge_max_topic_alias 2"
    )
    assert b"\x22\0\x02" in Connect(stub.connect()).props
    watcher = client(broker.port, "watcher")
    watcher.subscribe("c/#", 1)
    stub.next(wire.SUBSCRIBE)
    wait_until(lambda: "connected to" in broker.log(), what="a bridge that is up")
    for topic, alias, payload in [("c/a", 1, "1"), ("c/b", 2, "2"), ("", 1, "3"), ("", 2, "4")]:
        alias = b"\x03\x23" + struct.pack("!H", alias)
        stub._open.sendall(wire.packet(0x30, string(topic) + alias + payload.encode()))
    assert payloads(watcher, 4) == [("1", "c/a"), ("2", "c/b"), ("3", "c/a"), ("4", "c/b")]
    stub.close()
