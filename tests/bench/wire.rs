//! Just enough MQTT 3.1.1 to load a broker, written without footbridge's codec: a load generator
//! that shares the codec under test would share its bugs.

/// Packet types, the high half of a packet's first byte (MQTT 3.1.1, table 2.1).
pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGREQ: u8 = 12;

/// Appends a CONNECT for protocol level 4 without a keep-alive.
pub(crate) fn connect(out: &mut Vec<u8>, client_id: &str, clean: bool) {
    out.push(0x10);
    length(out, 12 + client_id.len());
    string(out, "MQTT");
    out.extend([4, if clean { 2 } else { 0 }, 0, 0]);
    string(out, client_id);
}

/// Appends a SUBSCRIBE with one filter.
pub(crate) fn subscribe(out: &mut Vec<u8>, packet_id: u16, filter: &str, qos: u8) {
    out.push(0x82);
    length(out, 5 + filter.len());
    out.extend(packet_id.to_be_bytes());
    string(out, filter);
    out.push(qos);
}

/// The RETAIN flag of a PUBLISH; its QoS stands above it (MQTT 3.1.1, figure 3.10).
pub(crate) const RETAIN: u8 = 1;

/// Appends a PUBLISH, with a packet id above QoS 0.
pub(crate) fn publish(
    out: &mut Vec<u8>,
    flags: u8,
    topic: &str,
    packet_id: Option<u16>,
    payload: &[u8],
) {
    out.push(PUBLISH << 4 | flags);
    let id_len = if packet_id.is_some() { 2 } else { 0 };
    length(out, 2 + topic.len() + id_len + payload.len());
    string(out, topic);
    if let Some(id) = packet_id {
        out.extend(id.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(crate) fn ack(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    let flags = if kind == PUBREL { 2 } else { 0 };
    out.extend([kind << 4 | flags, 2]);
    out.extend(packet_id.to_be_bytes());
}

/// A packet in a receive buffer.
pub(crate) struct Packet<'a> {
    /// The packet type.
    pub(crate) kind: u8,
    flags: u8,
    /// What follows the fixed header.
    pub(crate) body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The QoS of a PUBLISH.
    pub(crate) fn qos(&self) -> u8 {
        self.flags >> 1 & 3
    }

    /// The packet id that begins the body of all but CONNECT and PUBLISH.
    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The packet id of a PUBLISH above QoS 0, and its payload.
    pub(crate) fn publish(&self) -> (Option<u16>, &'a [u8]) {
        let topic_len = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let rest = &self.body[2 + topic_len..];
        if self.qos() == 0 {
            (None, rest)
        } else {
            (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        }
    }

    /// The return code that ends a CONNACK or SUBACK.
    pub(crate) fn return_code(&self) -> u8 {
        self.body.last().copied().unwrap_or(0xff)
    }
}

/// The first whole packet in `bytes` and how long it is, or `None` until more has come in.
pub(crate) fn next(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
    let first = *bytes.first()?;
    let mut len = 0usize;
    for at in 0..4 {
        let byte = *bytes.get(1 + at)?;
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let end = 2 + at + len;
            let body = bytes.get(2 + at..end)?;
            return Some((
                Packet {
                    kind: first >> 4,
                    flags: first & 0xf,
                    body,
                },
                end,
            ));
        }
    }
    panic!("the broker sent a remaining length of more than four bytes");
}

/// Appends a remaining length.
pub(crate) fn length(out: &mut Vec<u8>, mut len: usize) {
    loop {
        let low = (len & 0x7f) as u8;
        len >>= 7;
        out.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            break;
        }
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).expect("a short string");
    out.extend(len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
