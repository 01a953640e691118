"""The packets of MQTT 3.1.1 and 5 side by side, for clients that speak either (see wire)."""

import struct

import wire

SESSION_EXPIRY = b"\x11"
WEEK = 7 * 24 * 3600


class Dialect:
    """Builds and reads packets of one protocol level, 4 (MQTT 3.1.1) or 5."""

    def __init__(self, level):
        self.v5 = level == 5
        self._no_properties = b"\0" if self.v5 else b""

    def connect(self, client_id, clean, expiry=WEEK, login=None):
        """`login` is a pair of user name and password."""
        flags = (2 if clean else 0) | (0xC0 if login else 0)
        properties = b"\x05" + SESSION_EXPIRY + struct.pack("!I", 0 if clean else expiry)
        body = wire.string("MQTT") + bytes([5 if self.v5 else 4, flags, 0, 0])
        names = b"".join(map(wire.string, (client_id, *(login or ()))))
        return wire.packet(0x10, body + (properties if self.v5 else b"") + names)

    def publish(self, topic, payload, qos, packet_id, dup=False, retain=False):
        first = 0x30 | dup << 3 | qos << 1 | retain
        identifier = struct.pack("!H", packet_id) if qos else b""
        return wire.packet(first, wire.string(topic) + identifier + self._no_properties + payload)

    def subscribe(self, packet_id, filters):
        """`filters` are pairs of filter and QoS."""
        asked = b"".join(wire.string(f) + bytes([qos]) for f, qos in filters)
        return wire.packet(0x82, struct.pack("!H", packet_id) + self._no_properties + asked)

    def unsubscribe(self, packet_id, topic):
        body = struct.pack("!H", packet_id) + self._no_properties + wire.string(topic)
        return wire.packet(0xA2, body)

    def payload(self, packet):
        """A PUBLISH's payload, behind its properties."""
        data = packet.payload
        if not self.v5:
            return data
        length = at = shift = 0
        while True:
            length |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 0x80:
                return data[at + length :]

    def reason(self, packet):
        """The reason code of an acknowledgement; 0 where there is none."""
        return packet.body[2] if self.v5 and len(packet.body) > 2 else 0

    def granted(self, packet):
        """A SUBACK's codes."""
        return list(packet.body[3 if self.v5 else 2 :])
