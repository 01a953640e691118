"""Upstreams by hand: one that only receives, as fast as Python can, for a bridge that speaks MQTT
3.1.1; and one that delivers what it is told to, again and again until it is acknowledged."""

import queue
import socket
import struct
import threading
import time

import wire

PUBLISH_1 = wire.PUBLISH << 4 | 2  # QoS 1, neither DUP nor RETAIN
FIRST, AGAIN = PUBLISH_1, PUBLISH_1 | 8


class Upstream:
    """Answers one connection after the other; every PUBLISH is QoS 1 and begins with its number,
    in decimal and ended by a space. Keeps their numbers, not their payloads."""

    def __init__(self, port):
        self.numbers = []
        #: PUBLISH packets with DUP.
        self.repeated = 0
        self._over = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._over = True
        # Wakes accept() and recv() alike.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self):
        while not self._over:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._converse(connection)

    def _converse(self, connection):
        connection.settimeout(0.2)
        buffer = bytearray()
        while not self._over:
            try:
                data = connection.recv(1 << 18)
            except TimeoutError:
                continue
            except ConnectionError:
                return
            if not data:
                return
            buffer += data
            if answer := self._take(buffer):
                connection.sendall(answer)

    def _take(self, buffer):
        """Takes all whole packets; returns the answers."""
        answer, at, end = bytearray(), 0, len(buffer)
        while end - at >= 2:
            first, length, body = buffer[at], buffer[at + 1], at + 2
            if length & 0x80:
                if end == body:
                    break
                length, body = length & 0x7F | buffer[body] << 7, body + 1
            if end < body + length:
                break
            if first == FIRST or first == AGAIN:
                packet_id = body + 2 + (buffer[body] << 8 | buffer[body + 1])
                payload = packet_id + 2
                self.numbers.append(int(buffer[payload : buffer.index(b" ", payload)]))
                self.repeated += first == AGAIN
                answer += b"\x40\x02" + buffer[packet_id : packet_id + 2]
            else:
                answer += self._reply(wire.Packet(first, buffer[body : body + length]))
            at = body + length
        del buffer[:at]
        return answer

    @staticmethod
    def _reply(packet):
        if packet.kind == wire.CONNECT:
            return wire.packet(wire.CONNACK << 4, bytes([1, 0]))
        if packet.kind == wire.SUBSCRIBE:
            return wire.packet(wire.SUBACK << 4, struct.pack("!HB", packet.id, 1))
        if packet.kind == wire.UNSUBSCRIBE:
            return wire.ack(wire.UNSUBACK, packet.id)
        if packet.kind == wire.PUBLISH and packet.qos:  # retained: the bridge's state
            return wire.ack(wire.PUBACK, packet.id)
        if packet.kind == wire.PINGREQ:
            return wire.packet(wire.PINGRESP << 4, b"")
        return b""


class Deliverer:
    """Keeps a session for one bridge, and on each connection delivers what is not acknowledged."""

    def __init__(self):
        self.connects = 0
        #: By packet id, what is not acknowledged to the end.
        self.waiting = {}
        #: What the bridge answered, as (packet type, packet id).
        self.answers = queue.Queue()
        #: Bytes of a SUBACK behind its packet id, for something else than a plain yes.
        self.suback = None
        #: The one that is subscribed.
        self.connection = None
        self._over, self._level = False, 4
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self._over = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self.connection is not None:
            self.connection.close()

    def send(self, data):
        """Sends bytes once."""
        with self._lock:
            self.connection.sendall(data)

    def trickle(self, data, pieces, every):
        """Sends bytes once, in pieces with `every` seconds between them; nothing goes in between."""
        size = -(-len(data) // pieces)
        with self._lock:
            for at in range(0, len(data), size):
                self.connection.sendall(data[at : at + size])
                time.sleep(every)

    def deliver(self, packet_id, data):
        """Sends a PUBLISH of QoS 1 or 2, on each connection until it is acknowledged."""
        with self._lock:
            self.waiting[packet_id] = data
            self.connection.sendall(data)

    def _serve(self):
        while not self._over:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._converse(connection)
            except OSError:
                continue

    def _converse(self, connection):
        buffer = bytearray()
        while data := connection.recv(1 << 16):
            buffer += data
            for packet in wire.split(buffer):
                with self._lock:
                    connection.sendall(self._answer(packet))
                    if packet.kind == wire.SUBSCRIBE and self.connection is not connection:
                        self.connection = connection
                        connection.sendall(b"".join(self.waiting.values()))

    def _answer(self, packet):
        none = b"\0" if self._level == 5 else b""
        if packet.kind == wire.CONNECT:
            self.connects += 1
            self._level = packet.body[2 + packet.body[1]] & 0x7F
            none = b"\0" if self._level == 5 else b""
            return wire.packet(wire.CONNACK << 4, bytes([self.connects > 1, 0]) + none)
        if packet.kind == wire.SUBSCRIBE:
            rest = none + b"\2" if self.suback is None else self.suback
            return wire.packet(wire.SUBACK << 4, struct.pack("!H", packet.id) + rest)
        if packet.kind == wire.PINGREQ:
            return wire.packet(wire.PINGRESP << 4, b"")
        if packet.kind in (wire.PUBACK, wire.PUBREC, wire.PUBCOMP):
            self.answers.put((packet.kind, packet.id))
            if packet.kind == wire.PUBREC:
                return wire.ack(wire.PUBREL, packet.id)
            self.waiting.pop(packet.id, None)
        return b""
