//! Rows of sessions: who they are. Where their delivery stands is another row (`state`), so that it,
//! which changes often, doesn't drag the subscriptions along.

use super::bridge::{GivenUpRecord, LineRecord, decode_more, encode_more};
use super::codec::{Reader, flag, put_bytes, put_varint, seal, unseal};
use super::format::Format;
use crate::lane::Lane;
use crate::message::SessionId;
use crate::mqtt::{QoS, RetainHandling, Version};
use crate::store::error::Corrupt;
use crate::time::Time;

/// The format of session rows.
pub(super) const FORMAT: u8 = 1;

/// The key of a session's row: the session and which of its rows.
pub(in crate::store) type SessionKey = (u64, u8);

/// The key of the rows of a session whose number takes at most 32 bits: those of others are in a
/// table of their own, for the first versions knew no others.
pub(in crate::store) type NarrowKey = (u32, u8);

/// `key` as the table of 32-bit numbers has it; `None` if the number is wide: of more bits.
pub(in crate::store) fn narrow((id, kind): SessionKey) -> Option<NarrowKey> {
    Some((u32::try_from(id).ok()?, kind))
}

/// Whether the number takes more than 32 bits.
pub(in crate::store) fn is_wide(id: SessionId) -> bool {
    id.0 > u32::MAX.into()
}

/// The row of a [`SessionRecord`].
pub(in crate::store) const IDENTITY: u8 = 0;
/// The row of a [`StateRecord`](super::state::StateRecord).
pub(in crate::store) const STATE: u8 = 1;

/// A session as it outlives its connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRecord {
    /// The client id.
    pub client_id: Box<str>,
    /// The user name it logged in with.
    pub username: Option<Box<str>>,
    /// The listener it last connected to, if rules depend on that.
    pub listener: Option<Box<str>>,
    /// The protocol version it last connected with.
    pub version: Version,
    /// The session expiry interval in seconds; `u32::MAX` never expires, 0 is a row that only
    /// keeps a will.
    pub expiry: u32,
    /// When its connection ended; `None` while it is connected.
    pub disconnected_at: Option<Time>,
    /// Its subscriptions, as far as they don't have rows of their own.
    pub subscriptions: Vec<SubscriptionRecord>,
    /// The will of the connection, or one whose delay runs.
    pub will: Option<WillRecord>,
    /// Whether it is a bridge of this broker.
    pub bridge: bool,
    /// The filters that the upstream's session for this bridge is subscribed to.
    pub subscribed_upstream: Vec<Box<str>>,
    /// What this bridge does without towards its upstreams, and a number that stands for what that was
    /// found with.
    pub given_up: (u64, Vec<GivenUpRecord>),
    /// The `topic` lines that the lanes of this bridge's queue belong to; none in rows of builds that
    /// knew lines by their places.
    pub lines: Vec<LineRecord>,
    /// It has ended, and only keeps what its shared subscriptions leave to others.
    pub ended: bool,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionRecord {
    /// The topic filter; may start with `$share/`.
    pub filter: Box<str>,
    /// The granted QoS.
    pub qos: QoS,
    /// No Local (5.0).
    pub no_local: bool,
    /// Retain As Published (5.0).
    pub retain_as_published: bool,
    /// Retain Handling (5.0).
    pub retain_handling: RetainHandling,
    /// The subscription identifier (5.0).
    pub sub_id: Option<u32>,
    /// The lane that its messages come by.
    pub lane: Lane,
    /// It has not got all yet of what was retained when it was made.
    pub awaits_retained: bool,
}

/// A will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WillRecord {
    /// The topic name.
    pub topic: Box<str>,
    /// The raw properties that go to receivers (5.0).
    pub props: Box<[u8]>,
    /// The payload.
    pub payload: Box<[u8]>,
    /// The QoS.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The will delay in seconds (5.0).
    pub delay: u32,
    /// The message expiry interval in seconds (5.0).
    pub expiry: Option<u32>,
}

impl SessionRecord {
    const USERNAME: u8 = 0x01;
    const DISCONNECTED: u8 = 0x02;
    const WILL: u8 = 0x04;
    const BRIDGE: u8 = 0x08;
    const LISTENER: u8 = 0x10;
    const ENDED: u8 = 0x20;
    const UPSTREAM: u8 = 0x40;
    /// More follows at the end.
    const MORE: u8 = 0x80;

    /// Appends the row of session `id` to `out`.
    pub(in crate::store) fn encode(&self, id: SessionId, out: &mut Vec<u8>) {
        let start = out.len();
        let flags = flag(self.username.is_some(), Self::USERNAME)
            | flag(self.disconnected_at.is_some(), Self::DISCONNECTED)
            | flag(self.will.is_some(), Self::WILL)
            | flag(self.bridge, Self::BRIDGE)
            | flag(self.listener.is_some(), Self::LISTENER)
            | flag(self.ended, Self::ENDED)
            | flag(!self.subscribed_upstream.is_empty(), Self::UPSTREAM)
            | flag(self.has_more(), Self::MORE);
        out.extend_from_slice(&[FORMAT, flags, self.version as u8]);
        put_bytes(self.client_id.as_bytes(), out);
        for name in [&self.username, &self.listener].into_iter().flatten() {
            put_bytes(name.as_bytes(), out);
        }
        put_varint(self.expiry.into(), out);
        if let Some(at) = self.disconnected_at {
            put_varint(at.as_millis(), out);
        }
        put_varint(self.subscriptions.len() as u64, out);
        for subscription in &self.subscriptions {
            subscription.encode(out);
        }
        if let Some(will) = &self.will {
            will.encode(out);
        }
        if !self.subscribed_upstream.is_empty() {
            put_varint(self.subscribed_upstream.len() as u64, out);
            for filter in &self.subscribed_upstream {
                put_bytes(filter.as_bytes(), out);
            }
        }
        if self.has_more() {
            encode_more(&self.lines, &self.given_up, out);
        }
        seal(&key_bytes(id, IDENTITY), start, out);
    }

    /// Decodes the row of session `id`.
    ///
    /// # Errors
    /// [`Corrupt`] if the row is not what was written under `id`.
    pub(in crate::store) fn decode(id: SessionId, row: &[u8]) -> Result<SessionRecord, Corrupt> {
        let mut reader = unseal(&key_bytes(id, IDENTITY), row)?;
        let flags = read_format(&mut reader)?;
        let mut record = SessionRecord {
            version: match reader.byte()? {
                3 => Version::V31,
                4 => Version::V311,
                5 => Version::V5,
                _ => return Err(Corrupt),
            },
            client_id: reader.str()?.into(),
            username: match flags & Self::USERNAME {
                0 => None,
                _ => Some(reader.str()?.into()),
            },
            listener: match flags & Self::LISTENER {
                0 => None,
                _ => Some(reader.str()?.into()),
            },
            expiry: reader.number()?,
            disconnected_at: match flags & Self::DISCONNECTED {
                0 => None,
                _ => Some(Time::from_millis(reader.varint()?)),
            },
            subscriptions: (0..reader.count(2)?)
                .map(|_| SubscriptionRecord::decode(&mut reader))
                .collect::<Result<_, _>>()?,
            will: match flags & Self::WILL {
                0 => None,
                _ => Some(WillRecord::decode(&mut reader)?),
            },
            subscribed_upstream: match flags & Self::UPSTREAM {
                0 => Vec::new(),
                _ => (0..reader.count(1)?)
                    .map(|_| Ok(reader.str()?.into()))
                    .collect::<Result<_, _>>()?,
            },
            lines: Vec::new(),
            given_up: (0, Vec::new()),
            bridge: flags & Self::BRIDGE != 0,
            ended: flags & Self::ENDED != 0,
        };
        if flags & Self::MORE != 0 {
            (record.lines, record.given_up) = decode_more(&mut reader)?;
        }
        reader.end()?;
        Ok(record)
    }

    fn has_more(&self) -> bool {
        !self.lines.is_empty() || !self.given_up.1.is_empty()
    }
}

impl SessionRecord {
    /// What a program must know to read its row, beside its number.
    pub(super) fn format(&self) -> Format {
        let formats = self.subscriptions.iter().map(SubscriptionRecord::format);
        formats.max().unwrap_or_default()
    }

    /// Whether it is still owed what came by `lane`.
    pub(in crate::store) fn keeps(&self, lane: Lane) -> bool {
        !self.ended
            || self
                .subscriptions
                .iter()
                .any(|s| s.lane.is_share() && s.lane == lane)
    }
}

impl SubscriptionRecord {
    const NO_LOCAL: u8 = 0x04;
    const RETAIN_AS_PUBLISHED: u8 = 0x08;
    const HANDLING_SHIFT: u8 = 4;
    /// In place of the retain handling, which follows at the end then: it awaits what is retained.
    const AWAITS: u8 = 3;
    const SUB_ID: u8 = 0x40;
    const LANE: u8 = 0x80;

    /// What a program must know to read it: those before that take [`AWAITS`](Self::AWAITS) for damage.
    pub(super) fn format(&self) -> Format {
        if self.awaits_retained {
            Format::Awaits
        } else {
            Format::First
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.flags());
        put_bytes(self.filter.as_bytes(), out);
        self.encode_numbers(out);
    }

    /// Appends all but the filter.
    pub(super) fn encode_options(&self, out: &mut Vec<u8>) {
        out.push(self.flags());
        self.encode_numbers(out);
    }

    fn flags(&self) -> u8 {
        let handling = if self.awaits_retained {
            Self::AWAITS
        } else {
            self.retain_handling as u8
        };
        self.qos as u8
            | flag(self.no_local, Self::NO_LOCAL)
            | flag(self.retain_as_published, Self::RETAIN_AS_PUBLISHED)
            | handling << Self::HANDLING_SHIFT
            | flag(self.sub_id.is_some(), Self::SUB_ID)
            | flag(self.lane != Lane::Client, Self::LANE)
    }

    fn encode_numbers(&self, out: &mut Vec<u8>) {
        if let Some(sub_id) = self.sub_id {
            put_varint(sub_id.into(), out);
        }
        if self.lane != Lane::Client {
            put_varint(self.lane.code().into(), out);
        }
        if self.awaits_retained {
            out.push(self.retain_handling as u8);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<SubscriptionRecord, Corrupt> {
        let flags = reader.byte()?;
        let filter = reader.str()?;
        SubscriptionRecord::read(flags, filter, reader)
    }

    /// Decodes what [`SubscriptionRecord::encode_options`] appended.
    pub(super) fn decode_options(
        filter: &str,
        reader: &mut Reader<'_>,
    ) -> Result<SubscriptionRecord, Corrupt> {
        let flags = reader.byte()?;
        SubscriptionRecord::read(flags, filter, reader)
    }

    fn read(
        flags: u8,
        filter: &str,
        reader: &mut Reader<'_>,
    ) -> Result<SubscriptionRecord, Corrupt> {
        let handling = flags >> Self::HANDLING_SHIFT & 0x03;
        let mut record = SubscriptionRecord {
            filter: filter.into(),
            qos: QoS::from_bits(flags & 0x03).ok_or(Corrupt)?,
            no_local: flags & Self::NO_LOCAL != 0,
            retain_as_published: flags & Self::RETAIN_AS_PUBLISHED != 0,
            retain_handling: RetainHandling::Send,
            sub_id: match flags & Self::SUB_ID {
                0 => None,
                _ => Some(reader.number()?),
            },
            lane: match flags & Self::LANE {
                0 => Lane::Client,
                _ => Lane::from_code(reader.number()?),
            },
            awaits_retained: handling == Self::AWAITS,
        };
        record.retain_handling = match (handling, record.awaits_retained) {
            (_, true) => retain_handling(reader.byte()?)?,
            (handling, false) => retain_handling(handling)?,
        };
        Ok(record)
    }
}

fn retain_handling(bits: u8) -> Result<RetainHandling, Corrupt> {
    match bits {
        0 => Ok(RetainHandling::Send),
        1 => Ok(RetainHandling::SendIfNew),
        2 => Ok(RetainHandling::DontSend),
        _ => Err(Corrupt),
    }
}

impl WillRecord {
    const RETAIN: u8 = 0x04;
    const EXPIRY: u8 = 0x08;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(
            self.qos as u8
                | flag(self.retain, Self::RETAIN)
                | flag(self.expiry.is_some(), Self::EXPIRY),
        );
        put_bytes(self.topic.as_bytes(), out);
        put_bytes(&self.props, out);
        put_bytes(&self.payload, out);
        put_varint(self.delay.into(), out);
        if let Some(expiry) = self.expiry {
            put_varint(expiry.into(), out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<WillRecord, Corrupt> {
        let flags = reader.byte()?;
        Ok(WillRecord {
            topic: reader.str()?.into(),
            props: reader.bytes()?.into(),
            payload: reader.bytes()?.into(),
            qos: QoS::from_bits(flags & 0x03).ok_or(Corrupt)?,
            retain: flags & Self::RETAIN != 0,
            delay: reader.number()?,
            expiry: match flags & Self::EXPIRY {
                0 => None,
                _ => Some(reader.number()?),
            },
        })
    }
}

/// Checks the format byte and returns the flags byte.
pub(super) fn read_format(reader: &mut Reader<'_>) -> Result<u8, Corrupt> {
    match reader.byte()? {
        FORMAT => reader.byte(),
        _ => Err(Corrupt),
    }
}

/// The bytes of the key in its table.
pub(in crate::store) fn key_bytes(id: SessionId, kind: u8) -> Vec<u8> {
    let mut key = match u32::try_from(id.0) {
        Ok(narrow) => narrow.to_le_bytes().to_vec(),
        Err(_) => id.0.to_le_bytes().to_vec(),
    };
    key.push(kind);
    key
}
