"""An upstream with one oddity, of a kind that no registry has: it speaks MQTT 3.1.1, and a hook
changes its answers."""

import itertools
import socket
import struct
import threading

import wire


#: A CONNACK: no such protocol version.
REFUSAL = wire.packet(wire.CONNACK << 4, b"\0\x01")


#: The largest PUBLISH that some take.
LIMIT = 10_000


class Refuse(Exception):
    """Raised by a hook: the connection is closed."""


class Stub:
    """Takes any number of connections, and grants and acknowledges everything.

    `hook(stub, packet, answer)` may return another answer than the one it is given; b"" is none.
    """

    def __init__(self, port, hook):
        self._hook = hook
        #: How many connections said CONNECT in MQTT 3.1.1, without the bridge bit.
        self.connects = 0
        #: (connect, payload) of each PUBLISH that is not a notification.
        self.published = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open = set()
        self._over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self):
        self._over = True
        for one in [self._listener, *self._open]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(5)
        self._listener.close()

    def payloads(self):
        """What has come, each once, in order."""
        return list(dict.fromkeys(payload for _, payload in self.published))

    def _accept(self):
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection):
        buffer = bytearray()
        with connection:
            try:
                while data := connection.recv(1 << 16):
                    buffer += data
                    for packet in wire.split(buffer):
                        answer = self._hook(self, packet, self._answer(packet))
                        connection.sendall(answer)
                        if answer == REFUSAL:
                            return
            except (OSError, Refuse):
                pass
            finally:
                self._open.discard(connection)

    def _answer(self, packet):
        if packet.kind == wire.CONNECT:
            if is_foreign(packet):
                return REFUSAL
            self.connects += 1
            return wire.packet(wire.CONNACK << 4, b"\0\0")
        if packet.kind == wire.PUBLISH:
            if not packet.topic.startswith("$SYS"):
                self.published.append((self.connects, packet.payload.decode()))
            kinds = [None, wire.PUBACK, wire.PUBREC]
            return wire.ack(kinds[packet.qos], packet.id) if packet.qos else b""
        if packet.kind == wire.PUBREL:
            return wire.ack(wire.PUBCOMP, packet.id)
        if packet.kind == wire.SUBSCRIBE:
            return wire.packet(wire.SUBACK << 4, packet.body[:2] + bytes(granted(packet)))
        if packet.kind == wire.UNSUBSCRIBE:
            return wire.ack(wire.UNSUBACK, packet.id)
        return wire.packet(wire.PINGRESP << 4, b"") if packet.kind == wire.PINGREQ else b""


def is_foreign(packet):
    """Whether it is a CONNECT of something else than MQTT 3.1.1."""
    return packet.kind == wire.CONNECT and packet.body[6] != 4


def granted(packet):
    """The QoS that each filter of a SUBSCRIBE asks for."""
    at = 2
    while at < len(packet.body):
        at += 2 + struct.unpack_from("!H", packet.body, at)[0]
        yield packet.body[at]
        at += 1


# Oddities, each a hook.


def faithful(_stub, _packet, answer):
    return answer


def instead(kind, answer_with, times=None):
    """Answers a kind of packet with what `answer_with(packet)` returns; only so often."""
    counted = itertools.count(1)

    def hook(_stub, packet, answer):
        if packet.kind != kind or (times is not None and next(counted) > times):
            return answer
        return answer_with(packet)

    return hook


def deaf_to_the_unknown(_stub, packet, answer):
    """No answer to MQTT 5 or to the bridge bit; the connection stays."""
    return b"" if is_foreign(packet) else answer


def close_at_pubrel(_stub, packet, answer):
    """It takes QoS 2 half the way."""
    if packet.kind == wire.PUBREL:
        raise Refuse
    return answer


def close_at_large(stub, packet, answer):
    """A limit that nothing tells of: the message is not even looked at."""
    if packet.kind == wire.PUBLISH and len(packet.body) > LIMIT:
        stub.published.pop()
        raise Refuse
    return answer


def close_at_every_message(_stub, packet, answer):
    """The worst: whatever is published."""
    if packet.kind == wire.PUBLISH:
        raise Refuse
    return answer


ODDITIES = {
    "faithful": faithful,
    "no SUBACK": instead(wire.SUBSCRIBE, lambda p: b""),
    "SUBACK without codes": instead(wire.SUBSCRIBE, lambda p: wire.ack(wire.SUBACK, p.id)),
    "SUBACK with an unknown code": instead(
        wire.SUBSCRIBE, lambda p: wire.packet(wire.SUBACK << 4, p.body[:2] + b"\x70" * 3)
    ),
    "SUBACK of another id": instead(
        wire.SUBSCRIBE, lambda p: wire.packet(wire.SUBACK << 4, b"\x7f\x7f" + bytes(granted(p)))
    ),
    "no UNSUBACK": instead(wire.UNSUBSCRIBE, lambda p: b""),
    "UNSUBACK with a code": instead(
        wire.UNSUBSCRIBE, lambda p: wire.packet(wire.UNSUBACK << 4, p.body[:2] + b"\0")
    ),
    "UNSUBACK cut short": instead(wire.UNSUBSCRIBE, lambda p: wire.packet(0xB0, p.body[:1])),
    "one PUBACK with a code": instead(
        wire.PUBLISH, lambda p: wire.packet(wire.PUBACK << 4, struct.pack("!HB", p.id, 0)), 1
    ),
    "one PUBACK of another id": instead(
        wire.PUBLISH, lambda p: wire.ack(wire.PUBACK, p.id ^ 0x4000), 1
    ),
}
