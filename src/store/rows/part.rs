//! Rows of sessions: parts that have a row each. A subscription, or a page of the packet ids of QoS 2
//! messages that were received and not released yet. What changes one of them writes that one, however
//! many the session has.
//!
//! All are in one table, made with the first of them. A key is the number of the session, so that
//! its parts lie together, the kind, and what tells those of one kind apart.

use super::codec::{Reader, seal, unseal};
use super::format::Format;
use super::session::{FORMAT, SubscriptionRecord};
use crate::impossible;
use crate::message::SessionId;
use crate::mqtt::PacketId;
use crate::store::error::Corrupt;

/// A page of packet ids: the number of the page is the high byte of the ids.
const IDS: u8 = 0;
/// A subscription: its filter follows.
const SUBSCRIPTION: u8 = 1;
/// Above all kinds.
const NO_KIND: u8 = u8::MAX;

/// What a checksum covers before the key: the row of a message retained on some topic is not one of
/// these, whatever the topic.
const TABLE: &[u8] = b"part";

/// Packet ids on one page.
pub const PAGE_IDS: usize = 256;

/// The packet ids on one page: the bit of an id is its low byte, counted from the lowest bit of the
/// first word.
pub type IdPage = [u64; PAGE_IDS / 64];

/// A part of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::store) enum Part {
    /// A subscription.
    Subscription(SubscriptionRecord),
    /// The packet ids on a page, by its number.
    Ids(u8, IdPage),
}

/// The key of a page of packet ids.
pub(in crate::store) fn ids_key(id: SessionId, page: u8) -> Vec<u8> {
    key(id, IDS, &[page])
}

/// The key of a subscription.
pub(in crate::store) fn subscription_key(id: SessionId, filter: &str) -> Vec<u8> {
    key(id, SUBSCRIPTION, filter.as_bytes())
}

fn key(id: SessionId, kind: u8, rest: &[u8]) -> Vec<u8> {
    [&id.0.to_be_bytes()[..], &[kind], rest].concat()
}

/// What the checksum of a row under `key` begins with.
pub(in crate::store) fn sealed_key(key: &[u8]) -> Vec<u8> {
    [TABLE, key].concat()
}

/// The keys of all parts of a session are from the first on, and below the second.
pub(in crate::store) fn keys_of(id: SessionId) -> (Vec<u8>, Vec<u8>) {
    (id.0.to_be_bytes().to_vec(), key(id, NO_KIND, &[]))
}

/// Whose part a key is of; `None` if it is no key.
pub(in crate::store) fn session_of(key: &[u8]) -> Option<SessionId> {
    let id = key.first_chunk()?;
    Some(SessionId(u64::from_be_bytes(*id)))
}

/// Appends the row of a subscription, whose filter is in `key`, to `out`.
pub(in crate::store) fn encode_subscription(
    key: &[u8],
    record: &SubscriptionRecord,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.push(FORMAT);
    record.encode_options(out);
    seal(&sealed_key(key), start, out);
}

/// Appends the row of a page of packet ids to `out`.
pub(in crate::store) fn encode_ids(key: &[u8], page: &IdPage, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(FORMAT);
    for word in page {
        out.extend_from_slice(&word.to_le_bytes());
    }
    seal(&sealed_key(key), start, out);
}

/// Decodes the row of a part.
///
/// # Errors
/// [`Corrupt`] if the row is not what was written under `key`.
pub(in crate::store) fn decode(key: &[u8], row: &[u8]) -> Result<(SessionId, Part), Corrupt> {
    let id = session_of(key).ok_or(Corrupt)?;
    let (&kind, rest) = key.get(8..).and_then(<[u8]>::split_first).ok_or(Corrupt)?;
    let mut reader = unseal(&sealed_key(key), row)?;
    if reader.byte()? != FORMAT {
        return Err(Corrupt);
    }
    let part = match (kind, rest) {
        (IDS, [page]) => Part::Ids(*page, read_ids(&mut reader)?),
        (SUBSCRIPTION, filter) => {
            let filter = std::str::from_utf8(filter).map_err(|_| Corrupt)?;
            Part::Subscription(SubscriptionRecord::decode_options(filter, &mut reader)?)
        }
        _ => return Err(Corrupt),
    };
    reader.end()?;
    Ok((id, part))
}

/// What a program must know to read the row of a part.
pub(in crate::store) fn format_of(key: &[u8], row: &[u8]) -> Format {
    match decode(key, row) {
        Ok((_, Part::Subscription(record))) => record.format().max(Format::Parts),
        _ => Format::Parts,
    }
}

fn read_ids(reader: &mut Reader<'_>) -> Result<IdPage, Corrupt> {
    let mut page = IdPage::default();
    for word in &mut page {
        let bytes = reader.take(8)?.first_chunk().ok_or(Corrupt)?;
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(page)
}

/// The page of a packet id, the word on it and its bit in that.
pub fn place_of(id: PacketId) -> (u8, usize, u64) {
    let [low, page] = id.get().to_le_bytes();
    (page, usize::from(low / 64), 1 << (low % 64))
}

/// The packet ids on page `number`, rising.
pub fn ids_on(number: u8, page: &IdPage) -> impl Iterator<Item = PacketId> {
    let page = *page;
    (0..=u8::MAX).filter_map(move |low| {
        let word = page.get(usize::from(low / 64)).copied().unwrap_or_else(|| {
            impossible!("a page of packet ids has no word for {low}");
            0
        });
        let is_in = word >> (low % 64) & 1 == 1;
        // There is no packet id 0.
        PacketId::new(u16::from_le_bytes([low, number])).filter(|_| is_in)
    })
}
