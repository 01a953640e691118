"""Packets by hand, for what a well-behaved client library won't send."""

import socket
import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

PING = b"\xc0\x00"
GOODBYE = b"\xe0\x00"


def string(text):
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("!H", len(data)) + data


def packet(first, body):
    length, out = len(body), bytearray([first])
    while True:
        low, length = length & 0x7F, length >> 7
        out.append(low | 0x80 if length else low)
        if not length:
            return bytes(out) + body


def connect(client_id, clean=True, keepalive=60, level=4, login=()):
    """A CONNECT; `login` is user name and password."""
    name = "MQIsdp" if level == 3 else "MQTT"
    flags = (2 if clean else 0) | (0xC0 if login else 0)
    head = string(name) + bytes([level, flags]) + struct.pack("!H", keepalive)
    body = b"".join(string(text) for text in (client_id, *login))
    return packet(0x10, head + (b"\0" if level == 5 else b"") + body)


def publish(topic, payload, qos=0, packet_id=None, dup=False, retain=False):
    first = 0x30 | dup << 3 | qos << 1 | retain
    identifier = struct.pack("!H", packet_id) if qos else b""
    return packet(first, string(topic) + identifier + payload)


def ack(kind, packet_id):
    return packet(kind << 4 | (2 if kind == PUBREL else 0), struct.pack("!H", packet_id))


def subscribe(packet_id, topic, qos):
    return packet(0x82, struct.pack("!H", packet_id) + string(topic) + bytes([qos]))


class Packet:
    """A received packet of MQTT 3.1.1."""

    def __init__(self, first, body):
        self.kind, self.flags, self.body = first >> 4, first & 15, bytes(body)

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def dup(self):
        return bool(self.flags & 8)

    @property
    def id(self):
        at = 2 + self._topic_len if self.kind == PUBLISH else 0
        return struct.unpack_from("!H", self.body, at)[0]

    @property
    def topic(self):
        return self.body[2 : 2 + self._topic_len].decode()

    @property
    def payload(self):
        return self.body[2 + self._topic_len + (2 if self.qos else 0) :]

    @property
    def _topic_len(self):
        return struct.unpack_from("!H", self.body)[0]

    def __repr__(self):
        return f"Packet({self.kind}, {self.flags:#x}, {self.body[:40]!r})"


def split(buffer):
    """Takes the whole packets from the front of a bytearray."""
    packets, at = [], 0
    while True:
        length, shift, i = 0, 0, at + 1
        while i < len(buffer):
            length |= (buffer[i] & 0x7F) << shift
            shift, i = shift + 7, i + 1
            if not buffer[i - 1] & 0x80:
                break
        else:
            break
        if len(buffer) < i + length:
            break
        packets.append(Packet(buffer[at], buffer[i : i + length]))
        at = i + length
    del buffer[:at]
    return packets


class Raw:
    """A blocking connection that sends what it is told to; by TLS where `tls` is an SSLContext."""

    def __init__(self, port, client_id=None, clean=True, *, tls=None, **options):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=8)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._buffer, self._packets = bytearray(), []
        self.session_present = None
        if client_id is not None:
            self.send(connect(client_id, clean, **options))
            connack = self.expect(CONNACK)
            assert connack.body[1] == 0, f"refused: {connack.body[1]}"
            self.session_present = connack.body[0] == 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next packet, or None once the broker has closed the connection."""
        while not self._packets:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
            self._packets = split(self._buffer)
        return self._packets.pop(0)

    def expect(self, kind):
        got = self.receive()
        assert got is not None and got.kind == kind, f"expected packet type {kind}, got {got}"
        return got

    def closed_by_broker(self):
        """Reads on until the end; fails when the broker keeps the connection."""
        try:
            while self.receive() is not None:
                pass
        except TimeoutError:
            return False
        return True
