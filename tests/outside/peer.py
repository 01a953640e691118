"""A client as the specification wants one, for tests in which brokers die: it keeps its half of a
durable session, connects again by itself, sends what is unacknowledged again with DUP and the same
packet id, and goes on with PUBREL where PUBREC had come. Many share one asyncio loop."""

import asyncio
import collections
from dataclasses import dataclass

import wire
from dialect import Dialect

WINDOW = 20
AGAIN = 0.02  # seconds between two attempts to connect
# Seconds that a broker may take for its CONNACK. RabbitMQ takes connections while it still starts, and
# one of these may stay without an answer.
CONNACK_WITHIN = 15


@dataclass(eq=False)
class Message:
    """One PUBLISH on its way out."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    #: PUBACK or PUBREC has come: the broker has promised to keep it.
    acknowledged: bool = False
    #: The reason with which it was acknowledged (MQTT 5).
    reason: int | None = None
    released: bool = False


class Peer(asyncio.Protocol):
    """A durable client; `filters` are (filter, QoS) pairs it subscribes to in a new session."""

    def __init__(self, port, client_id, *, level=4, filters=(), clean=False, login=None):
        self.port, self.client_id, self.filters, self.clean = port, client_id, filters, clean
        self.login = login
        self.dialect = Dialect(level)
        #: What came in, as (topic, payload, QoS, retain); QoS 2 once per flow.
        self.received = []
        #: Reconnects on which the broker did not know the session that it had promised.
        self.sessions_lost = 0
        self.connects = 0
        self.disconnects = 0
        self.subscribed = asyncio.Event()
        self.online = asyncio.Event()
        #: Called with each (topic, payload, QoS, retain) and with each acknowledged Message.
        self.on_receive = self.received.append
        self.on_acknowledge = lambda message: None
        self._wanted = asyncio.Event()
        self._lost = asyncio.Event()
        self._transport, self._buffer = None, bytearray()
        self._unsent = collections.deque()
        self._in_flight = {}  # packet id: Message
        self._last_id = 0
        self._incoming = set()  # QoS 2 ids between PUBLISH and PUBREL
        self._asked = {}  # packet id of a SUBSCRIBE or UNSUBSCRIBE: future of its codes
        self._task = None

    # What a test says.

    def start(self):
        """Connects, and connects again after each loss, until `leave`."""
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.create_task(self._stay_connected())

    def leave(self):
        """Drops the connection and stays away until `start`."""
        self._wanted.clear()
        if self._transport is not None:
            self._transport.abort()

    async def pause(self, seconds):
        """Reads nothing for so long, though it stays connected."""
        self._transport.pause_reading()
        await asyncio.sleep(seconds)
        self._transport.resume_reading()

    async def end(self):
        self.leave()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def publish(self, topic, payload, qos, retain=False):
        """Sends it as soon as the window allows; returns the Message, which fills in."""
        message = Message(topic, payload, qos, retain)
        self._unsent.append(message)
        if self.online.is_set():
            out = bytearray()
            self._fill(out)
            self._transport.write(out)
        return message

    def subscribe(self, *filters):
        """A future of the SUBACK's codes; cancelled when the connection is lost."""
        return self._ask(lambda i: self.dialect.subscribe(i, filters))

    def unsubscribe(self, topic):
        return self._ask(lambda i: self.dialect.unsubscribe(i, topic))

    @property
    def pending(self):
        """Messages not yet acknowledged to the end."""
        return len(self._unsent) + len(self._in_flight)

    # What asyncio and the broker say.

    async def _stay_connected(self):
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self._lost.clear()
            try:
                transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self.port)
                impatience = loop.call_later(CONNACK_WITHIN, self._give_up, transport)
                await self._lost.wait()
                impatience.cancel()
            except OSError:
                pass
            await asyncio.sleep(AGAIN)

    def _give_up(self, transport):
        """Tries again where no CONNACK has come."""
        if not self.online.is_set():
            transport.abort()

    def connection_made(self, transport):
        self._transport, self._buffer = transport, bytearray()
        transport.write(self.dialect.connect(self.client_id, self.clean, login=self.login))

    def connection_lost(self, _):
        self.disconnects += self.online.is_set()
        self.online.clear()
        self._transport = None
        for future in self._asked.values():
            future.cancel()
        self._asked.clear()
        self._lost.set()

    def data_received(self, data):
        self._buffer += data
        out = bytearray()
        for packet in wire.split(self._buffer):
            self._handle(packet, out)
        if out and self._transport is not None:
            self._transport.write(out)

    def _handle(self, packet, out):
        if packet.kind == wire.PUBLISH:
            self._receive(packet, out)
        elif packet.kind == wire.PUBREL:
            self._incoming.discard(packet.id)
            out += wire.ack(wire.PUBCOMP, packet.id)
        elif packet.kind in (wire.PUBACK, wire.PUBREC, wire.PUBCOMP):
            self._acknowledged(packet, out)
        elif packet.kind == wire.CONNACK:
            self._connected(packet, out)
        elif packet.kind in (wire.SUBACK, wire.UNSUBACK):
            future = self._asked.pop(packet.id, None)
            if future is not None and not future.done():
                future.set_result(self.dialect.granted(packet))

    def _connected(self, connack, out):
        present, refused = connack.body[:2]
        assert not refused, f"{self.client_id} refused: {refused}"
        self.connects += 1
        if not present:
            self.sessions_lost += self.connects > 1 and not self.clean
            self._incoming.clear()
        self.online.set()
        for packet_id, message in self._in_flight.items():
            if message.released and present:
                out += wire.ack(wire.PUBREL, packet_id)
            else:
                out += self._encode(message, packet_id, dup=True)
        if self.filters and not (present and self.subscribed.is_set()):
            self.subscribe(*self.filters).add_done_callback(self._granted)
        self._fill(out)

    def _granted(self, future):
        if not future.cancelled():
            self.subscribed.set()

    def _receive(self, packet, out):
        if packet.qos < 2 or packet.id not in self._incoming:
            payload, retain = self.dialect.payload(packet), bool(packet.flags & 1)
            self.on_receive((packet.topic, payload, packet.qos, retain))
        if packet.qos == 1:
            out += wire.ack(wire.PUBACK, packet.id)
        elif packet.qos == 2:
            self._incoming.add(packet.id)
            out += wire.ack(wire.PUBREC, packet.id)

    def _acknowledged(self, packet, out):
        message = self._in_flight.get(packet.id)
        reason = self.dialect.reason(packet)
        if packet.kind == wire.PUBREC and reason < 0x80:
            out += wire.ack(wire.PUBREL, packet.id)
        if message is None:
            return
        if packet.kind != wire.PUBCOMP and not message.acknowledged:
            message.reason, message.acknowledged = reason, reason < 0x80
            self.on_acknowledge(message)
        if packet.kind == wire.PUBREC and reason < 0x80:
            message.released = True
        else:
            del self._in_flight[packet.id]
            self._fill(out)

    def _fill(self, out):
        while self._unsent and len(self._in_flight) < WINDOW:
            message = self._unsent.popleft()
            packet_id = None
            if message.qos:
                packet_id = self._next_id()
                self._in_flight[packet_id] = message
            out += self._encode(message, packet_id)

    def _encode(self, message, packet_id, dup=False):
        m = message
        return self.dialect.publish(m.topic, m.payload, m.qos, packet_id, dup, m.retain)

    def _next_id(self):
        while True:
            self._last_id = self._last_id % 65535 + 1
            if self._last_id not in self._in_flight and self._last_id not in self._asked:
                return self._last_id

    def _ask(self, encode):
        future = asyncio.get_running_loop().create_future()
        if self._transport is None or not self.online.is_set():
            future.cancel()
            return future
        packet_id = self._next_id()
        self._asked[packet_id] = future
        self._transport.write(encode(packet_id))
        return future
