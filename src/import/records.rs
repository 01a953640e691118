//! The records of Mosquitto's file, formats 3 to 6: which fields they have, and where. Nothing here reads a
//! file, and nothing panics, whatever the bytes.
//!
//! Formats 3 and 4 (Mosquitto 1.0 to 1.5) write field by field, strings with their lengths before them. 5
//! (1.6) and 6 (2.0 on) write a C struct of fixed fields first and then what is of any length; such a
//! struct may end in padding, how much is up to the machine.

use super::native::Native;

/// The format of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Format {
    /// Mosquitto 1.0 to 1.5.5.
    Three = 3,
    /// Mosquitto 1.5.6 to 1.5.11: who published a message.
    Four = 4,
    /// Mosquitto 1.6: MQTT 5.
    Five = 5,
    /// Mosquitto 2.0 on: who a client logged in as.
    Six = 6,
}

impl Format {
    /// The format of this number, if it is known.
    pub(super) fn new(number: u32) -> Option<Format> {
        [Format::Three, Format::Four, Format::Five, Format::Six]
            .into_iter()
            .find(|format| *format as u32 == number)
    }

    /// True if records begin with structs.
    pub(super) fn has_structs(self) -> bool {
        self >= Format::Five
    }
}

/// The kind of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// About the file: the last number of a message.
    Settings,
    /// A message.
    Message,
    /// A message in the queue of a client.
    Queued,
    /// A message that is retained.
    Retained,
    /// A subscription of a client.
    Subscription,
    /// A client.
    Client,
    /// Anything else.
    Unknown,
}

impl Kind {
    pub(super) fn new(number: u32) -> Kind {
        match number {
            1 => Kind::Settings,
            2 => Kind::Message,
            3 => Kind::Queued,
            4 => Kind::Retained,
            5 => Kind::Subscription,
            6 => Kind::Client,
            _ => Kind::Unknown,
        }
    }
}

/// Bytes at the start of a message that [`message_head`] wants.
pub(super) const MESSAGE_HEAD: usize = 16;

/// The number of a message, and when it expires, in seconds since 1970; 0 never.
pub(super) fn message_head(format: Format, head: &[u8]) -> Option<(Native, Native)> {
    let mut fields = Fields(head);
    let number = fields.long()?;
    let expires = if format.has_structs() {
        fields.long()?
    } else {
        Native::Short([0; 4])
    };
    Some((number, expires))
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message<'a> {
    /// When it expires, in seconds since 1970; 0 never.
    pub(super) expires: Native,
    /// The client id of its publisher.
    pub(super) client_id: &'a [u8],
    /// The user name of its publisher; empty if there was none.
    pub(super) username: &'a [u8],
    /// The port of the listener that it came by; 0 if that is not known.
    pub(super) port: u16,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
    /// The properties with their length before them, or nothing.
    pub(super) props: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn parse(format: Format, body: &'a [u8]) -> Option<Message<'a>> {
        let (_, expires) = message_head(format, body)?;
        let mut fields = Fields(body);
        fields.long()?;
        if !format.has_structs() {
            return Message::parse_fields(format, expires, &mut fields);
        }
        fields.long()?;
        let payload_len = fields.u32()?;
        let _packet_id = fields.u16()?;
        let client_id_len = fields.u16()?;
        let username_len = fields.u16()?;
        let topic_len = fields.u16()?;
        Some(Message {
            expires,
            port: fields.u16()?,
            qos: fields.u8()?,
            retain: fields.u8()? != 0,
            client_id: fields.take(client_id_len.into())?,
            username: fields.take(username_len.into())?,
            topic: fields.take(topic_len.into())?,
            payload: fields.take(payload_len.try_into().ok()?)?,
            props: fields.0,
        })
    }

    fn parse_fields(
        format: Format,
        expires: Native,
        fields: &mut Fields<'a>,
    ) -> Option<Message<'a>> {
        let client_id = fields.string()?;
        let (mut username, mut port) = (&[][..], 0);
        if format == Format::Four {
            username = fields.string()?;
            port = fields.u16()?;
        }
        let _packet_ids = (fields.u16()?, fields.u16()?);
        let topic = fields.string()?;
        let (qos, retain) = (fields.u8()?, fields.u8()? != 0);
        let payload_len = fields.u32()?;
        Some(Message {
            expires,
            client_id,
            username,
            port,
            qos,
            retain,
            topic,
            payload: fields.take(payload_len.try_into().ok()?)?,
            props: &[],
        })
    }
}

/// How long a session lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lasts {
    /// As formats 3 and 4 say it: for ever, and it has been absent since this time, in seconds since 1970.
    Since(Native),
    /// As the later ones do.
    Until {
        /// When it ends, in seconds since 1970; 0 if it was connected or never ends.
        end: Native,
        /// The session expiry interval in seconds; `u32::MAX` never expires.
        interval: u32,
    },
}

/// A client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Client<'a> {
    pub(super) id: &'a [u8],
    /// Its user name; empty if it had none, or the format has none.
    pub(super) username: &'a [u8],
    pub(super) lasts: Lasts,
    /// The packet id that was given last.
    pub(super) last_packet_id: u16,
    /// The port of its listener; `None` if the format does not say, 0 for a bridge.
    pub(super) port: Option<u16>,
}

impl<'a> Client<'a> {
    pub(super) fn parse(format: Format, body: &'a [u8]) -> Option<Client<'a>> {
        let mut fields = Fields(body);
        if !format.has_structs() {
            let (id, last_packet_id) = (fields.string()?, fields.u16()?);
            let since = match fields.0.len() {
                4 => Native::Short(fields.array()?),
                _ => fields.long()?,
            };
            return Some(Client {
                id,
                username: &[],
                lasts: Lasts::Since(since),
                last_packet_id,
                port: None,
            });
        }
        let (end, interval) = (fields.long()?, fields.u32()?);
        let (last_packet_id, id_len) = (fields.u16()?, fields.u16()?);
        let (mut port, mut username_len) = (None, 0);
        if format == Format::Six {
            port = Some(fields.u16()?);
            username_len = fields.u16()?;
        }
        // Four bytes of padding where 64 bits are aligned to eight bytes; none on i386.
        let strings = usize::from(id_len) + usize::from(username_len);
        fields.skip_padding(strings, 4)?;
        Some(Client {
            id: fields.take(id_len.into())?,
            username: fields.take(username_len.into())?,
            lasts: Lasts::Until { end, interval },
            last_packet_id,
            port,
        })
    }
}

/// A message in the queue of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queued<'a> {
    pub(super) client_id: &'a [u8],
    /// The number of the message.
    pub(super) number: Native,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
    /// The client has published it, rather than being owed it.
    pub(super) incoming: bool,
    /// The properties with their length before them, or nothing.
    pub(super) props: &'a [u8],
}

impl<'a> Queued<'a> {
    pub(super) fn parse(format: Format, body: &'a [u8]) -> Option<Queued<'a>> {
        let mut fields = Fields(body);
        if !format.has_structs() {
            let client_id = fields.string()?;
            let (number, packet_id) = (fields.long()?, fields.u16()?);
            let (qos, retain) = (fields.u8()?, fields.u8()?);
            let (direction, state) = (fields.u8()?, fields.u8()?);
            let _dup = fields.u8()?;
            return Some(Queued {
                client_id,
                number,
                packet_id,
                qos,
                state,
                retain: retain != 0,
                incoming: direction == 0,
                props: &[],
            });
        }
        let (number, packet_id) = (fields.long()?, fields.u16()?);
        let id_len = fields.u16()?;
        let (qos, state) = (fields.u8()?, fields.u8()?);
        // The high half is RETAIN, the low one DUP.
        let (flags, direction) = (fields.u8()?, fields.u8()?);
        Some(Queued {
            client_id: fields.take(id_len.into())?,
            number,
            packet_id,
            qos,
            state,
            retain: flags >> 4 != 0,
            incoming: direction == 0,
            props: fields.0,
        })
    }
}

/// A subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscription<'a> {
    pub(super) client_id: &'a [u8],
    pub(super) filter: &'a [u8],
    /// QoS and the options of MQTT 5, as in a SUBSCRIBE.
    pub(super) options: u8,
    /// The subscription identifier; 0 for none.
    pub(super) identifier: u32,
}

impl<'a> Subscription<'a> {
    pub(super) fn parse(format: Format, body: &'a [u8]) -> Option<Subscription<'a>> {
        let mut fields = Fields(body);
        if !format.has_structs() {
            return Some(Subscription {
                client_id: fields.string()?,
                filter: fields.string()?,
                options: fields.u8()?,
                identifier: 0,
            });
        }
        let identifier = fields.u32()?;
        let (id_len, filter_len) = (fields.u16()?, fields.u16()?);
        let (qos, options) = (fields.u8()?, fields.u8()?);
        fields.skip_padding(usize::from(id_len) + usize::from(filter_len), 2)?;
        Some(Subscription {
            client_id: fields.take(id_len.into())?,
            filter: fields.take(filter_len.into())?,
            options: qos & 0x03 | options & 0x3C,
            identifier,
        })
    }
}

/// The number of a message that is retained, or the last number, of the record of settings.
pub(super) fn number(format: Format, kind: Kind, body: &[u8]) -> Option<Native> {
    let mut fields = Fields(body);
    if kind == Kind::Settings && !format.has_structs() {
        // Whether it was written at the end, and how many bytes a number has.
        fields.take(2)?;
    }
    fields.long()
}

/// What is left of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<Native> {
        self.array().map(Native::Long)
    }

    /// A string with its length before it.
    fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// Skips the padding at the end of a struct, after which `strings` bytes follow: none, or `most`.
    fn skip_padding(&mut self, strings: usize, most: usize) -> Option<()> {
        if self.0.len() > strings {
            self.take(most)?;
        }
        Some(())
    }
}
