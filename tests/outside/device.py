"""A device with a durable session, as the specification wants one: it comes back after every lost
connection, sends what is unacknowledged again with DUP and the same packet id, and goes on with
PUBREL where PUBREC had arrived. Many of them share one asyncio loop."""

import asyncio

import wire

WINDOW = 20


class Device:
    """Publishes `messages` — (topic, payload, QoS) — and collects what `subscription` brings."""

    def __init__(self, port, client_id, messages=(), subscription=None):
        self.port, self.client_id = port, client_id
        self.messages, self.subscription = messages, subscription
        #: What came in, as (topic, payload, QoS); QoS 2 once per flow.
        self.received = []
        self.acknowledged = 0
        #: Reconnects on which the broker did not know the session any more.
        self.sessions_lost = 0
        self.connects = 0
        self.subscribed = asyncio.Event()
        self._sent = 0
        self._in_flight = {}  # packet id: message, or None once PUBREC has come
        self._last_id = 0
        self._incoming = set()  # QoS 2 ids between PUBLISH and PUBREL

    @property
    def done(self):
        return self.acknowledged == len(self.messages)

    async def run(self):
        """Until everything is acknowledged; a subscriber until it is cancelled."""
        while self.subscription or not self.done:
            try:
                await self._connection()
            except (OSError, EOFError, asyncio.TimeoutError):
                await asyncio.sleep(0.1)

    async def _connection(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(wire.connect(self.client_id, clean=False))
            buffer = bytearray()
            while self.subscription or not self.done:
                data = await asyncio.wait_for(reader.read(65536), 30 if not self.subscription else None)
                if not data:
                    raise EOFError
                buffer += data
                out = bytearray()
                for packet in wire.split(buffer):
                    self._handle(packet, out)
                writer.write(out)
                await writer.drain()
        finally:
            writer.close()

    def _handle(self, packet, out):
        if packet.kind == wire.CONNACK:
            self._resume(packet, out)
        elif packet.kind == wire.SUBACK:
            self.subscribed.set()
        elif packet.kind == wire.PUBLISH:
            self._receive(packet, out)
        elif packet.kind == wire.PUBREL:
            self._incoming.discard(packet.id)
            out += wire.ack(wire.PUBCOMP, packet.id)
        elif packet.kind == wire.PUBREC:
            if packet.id in self._in_flight:
                self._in_flight[packet.id] = None
            out += wire.ack(wire.PUBREL, packet.id)
        elif packet.kind in (wire.PUBACK, wire.PUBCOMP):
            if packet.id in self._in_flight:
                del self._in_flight[packet.id]
                self.acknowledged += 1
                self._fill(out)

    def _resume(self, connack, out):
        present, refused = connack.body
        assert not refused, f"{self.client_id} refused: {refused}"
        self.connects += 1
        if self.connects > 1 and not present:
            self.sessions_lost += 1
            self._incoming.clear()
        for packet_id, message in self._in_flight.items():
            if message is None:
                out += wire.ack(wire.PUBREL, packet_id)
            else:
                topic, payload, qos = message
                out += wire.publish(topic, payload, qos, packet_id, dup=True)
        if self.subscription and not present:
            out += wire.subscribe(1, self.subscription, 2)
        self._fill(out)

    def _fill(self, out):
        while len(self._in_flight) < WINDOW and self._sent < len(self.messages):
            topic, payload, qos = self.messages[self._sent]
            self._sent += 1
            self._last_id = self._last_id % 65535 + 1
            self._in_flight[self._last_id] = (topic, payload, qos)
            out += wire.publish(topic, payload, qos, self._last_id)

    def _receive(self, packet, out):
        if packet.qos < 2 or packet.id not in self._incoming:
            self.received.append((packet.topic, packet.payload, packet.qos))
        if packet.qos == 1:
            out += wire.ack(wire.PUBACK, packet.id)
        elif packet.qos == 2:
            self._incoming.add(packet.id)
            out += wire.ack(wire.PUBREC, packet.id)
