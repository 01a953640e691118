"""An upstream that only receives: as fast as Python can, for a bridge that speaks MQTT 3.1.1."""

import socket
import struct
import threading

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
