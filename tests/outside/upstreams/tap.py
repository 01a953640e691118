"""Links that read along: which of the bridge's messages the upstream has acknowledged, and in which
order they go."""

import contextlib

import wire
from dialect import Dialect
from link import Link


class Tap(Link):
    def __init__(self, behind):
        #: Payloads of messages for which PUBACK or PUBREC came.
        self.acknowledged = set()
        self._conversations = {}  # the bridge's socket: Conversation
        super().__init__(behind)

    def _carried(self, source, sink, data):
        outward = source.getsockname()[1] == self.port
        near = source if outward else sink
        conversation = self._conversations.setdefault(near, Conversation())
        conversation.buffers[outward] += data
        for packet in wire.split(conversation.buffers[outward]):
            if outward:
                conversation.say(packet)
            elif packet.kind in (wire.PUBACK, wire.PUBREC):
                with contextlib.suppress(KeyError):
                    self.acknowledged.add(conversation.in_flight.pop(packet.id))


class Messages(Link):
    """A link that notes what goes over it: the payloads of PUBLISH packets, resent ones too, in
    lists that several links may share."""

    def __init__(self, behind, up, down):
        self.up, self.down = up, down
        self._buffers = {}  # the socket that it came from: bytes
        super().__init__(behind)

    def _carried(self, source, sink, data):
        buffer = self._buffers.setdefault(source, bytearray())
        buffer += data
        noted = self.up if source.getsockname()[1] == self.port else self.down
        for packet in wire.split(buffer):
            if packet.kind == wire.PUBLISH:
                noted.append(Dialect(4).payload(packet).decode(errors="replace"))


class Conversation:
    """One connection of the bridge."""

    def __init__(self):
        self.buffers = {True: bytearray(), False: bytearray()}
        self.in_flight = {}  # packet id: payload
        self._dialect = Dialect(4)

    def say(self, packet):
        if packet.kind == wire.CONNECT:
            self._dialect = Dialect(packet.body[6])
        elif packet.kind == wire.PUBLISH and packet.qos:
            self.in_flight[packet.id] = self._dialect.payload(packet).decode(errors="replace")
