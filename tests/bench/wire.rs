//! Just enough MQTT 3.1.1 to load a broker, written without footbridge's codec: a load generator
//! that shares the codec under test would share its bugs.

/// Packet types, the high half of a packet's first byte (MQTT 3.1.1, table 2.1).
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const SUBACK: u8 = 9;

/// Appends a CONNECT for protocol level 4 without a keep-alive.
pub fn connect(out: &mut Vec<u8>, client_id: &str, clean: bool) {
    out.push(0x10);
    length(out, 12 + client_id.len());
    string(out, "MQTT");
    out.extend([4, if clean { 2 } else { 0 }, 0, 0]);
    string(out, client_id);
}

/// Appends a SUBSCRIBE with one filter.
pub fn subscribe(out: &mut Vec<u8>, packet_id: u16, filter: &str, qos: u8) {
    out.push(0x82);
    length(out, 5 + filter.len());
    out.extend(packet_id.to_be_bytes());
    string(out, filter);
    out.push(qos);
}

/// Appends a PUBLISH: QoS 0 without a packet id, QoS 1 with one.
pub fn publish(out: &mut Vec<u8>, topic: &str, packet_id: Option<u16>, payload: &[u8]) {
    out.push(if packet_id.is_some() { 0x32 } else { 0x30 });
    let id_len = if packet_id.is_some() { 2 } else { 0 };
    length(out, 2 + topic.len() + id_len + payload.len());
    string(out, topic);
    if let Some(id) = packet_id {
        out.extend(id.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// Appends a PUBACK.
pub fn puback(out: &mut Vec<u8>, packet_id: u16) {
    out.extend([0x40, 2]);
    out.extend(packet_id.to_be_bytes());
}

/// A packet in a receive buffer.
pub struct Packet<'a> {
    /// The packet type.
    pub kind: u8,
    flags: u8,
    body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet id of a PUBLISH above QoS 0, and its payload.
    pub fn publish(&self) -> (Option<u16>, &'a [u8]) {
        let topic_len = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let rest = &self.body[2 + topic_len..];
        if self.flags & 6 == 0 {
            (None, rest)
        } else {
            (Some(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        }
    }

    /// The return code that ends a CONNACK or SUBACK.
    pub fn return_code(&self) -> u8 {
        self.body.last().copied().unwrap_or(0xff)
    }
}

/// The first whole packet in `bytes` and how long it is, or `None` until more has come in.
pub fn next(bytes: &[u8]) -> Option<(Packet<'_>, usize)> {
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

fn length(out: &mut Vec<u8>, mut len: usize) {
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
