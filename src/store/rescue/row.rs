//! Which row is one of ours, and which of two versions is the newer.

use std::cmp::{Ordering, Reverse};

use crate::message::{MessageId, SessionId};
use crate::store::rows::codec::unseal;
use crate::store::rows::message::{decode_retained, scan};
use crate::store::rows::part::{self, Part};
use crate::store::rows::session::{IDENTITY, STATE, SessionKey, SessionRecord};
use crate::store::rows::state::StateRecord;
use crate::store::tables::meta::Meta;

/// A table of the store, in the order in which they are rescued: what a full disk leaves no room
/// for should be messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Table {
    Meta,
    Session,
    WideSession,
    Part,
    Retained,
    Message,
}

impl Table {
    pub(super) const ALL: [Table; 6] = [
        Table::Meta,
        Table::Session,
        Table::WideSession,
        Table::Part,
        Table::Retained,
        Table::Message,
    ];

    pub(super) fn named(name: &[u8]) -> Option<Table> {
        match name {
            b"meta" => Some(Table::Meta),
            b"session" => Some(Table::Session),
            b"session64" => Some(Table::WideSession),
            b"part" => Some(Table::Part),
            b"retained" => Some(Table::Retained),
            b"msg" => Some(Table::Message),
            _ => None,
        }
    }

    /// Bytes of each key, if they are all as long.
    pub(super) fn key_width(self) -> Option<usize> {
        match self {
            Table::Session => Some(5),
            Table::WideSession => Some(9),
            Table::Message => Some(8),
            Table::Meta | Table::Part | Table::Retained => None,
        }
    }

    /// Whether most stores don't have it: it comes into being with its first row.
    pub(super) fn is_optional(self) -> bool {
        matches!(self, Table::WideSession | Table::Part)
    }

    /// How redb sorts the keys.
    pub(super) fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Table::Session | Table::WideSession => session_key(a).cmp(&session_key(b)),
            Table::Message => message_id(a).cmp(&message_id(b)),
            Table::Meta | Table::Part | Table::Retained => a.cmp(b),
        }
    }

    /// Whether the row is, by its checksum, what was once written under `key` of this table.
    pub(super) fn accepts(self, key: &[u8], row: &[u8]) -> bool {
        match self {
            // A retained row would pass for one of these, but for its name.
            Table::Meta => Meta::has(key) && unseal(key, row).is_ok(),
            Table::Message => message_id(key).is_some_and(|id| scan(id, row, drop).is_ok()),
            Table::Retained => topic(key).is_some_and(|topic| decode_retained(topic, row).is_ok()),
            Table::Part => part::decode(key, row).is_ok(),
            Table::Session | Table::WideSession => match session_key(key) {
                Some((id, IDENTITY)) => SessionRecord::decode(SessionId(id), row).is_ok(),
                Some((id, STATE)) => StateRecord::decode(SessionId(id), row).is_ok(),
                _ => false,
            },
        }
    }

    /// Whether `row` is a newer version of what `old` is, both accepted under `key`. What only
    /// ever rises tells; of the same age, the one already there is as good.
    pub(super) fn is_newer(self, key: &[u8], row: &[u8], old: &[u8]) -> bool {
        match self {
            // It is asked for by name.
            Table::Meta => false,
            // Nothing in it rises.
            Table::Part => false,
            Table::Message => {
                let arrival = |row| Some(scan(message_id(key)?, row, drop).ok()?.arrival);
                arrival(row) > arrival(old)
            }
            Table::Retained => {
                let arrival = |row| Some(decode_retained(topic(key)?, row).ok()?.arrival);
                arrival(row) > arrival(old)
            }
            Table::Session | Table::WideSession => match session_key(key) {
                Some((id, IDENTITY)) => identity_age(id, row) > identity_age(id, old),
                Some((id, _)) => state_age(id, row) > state_age(id, old),
                None => false,
            },
        }
    }
}

/// Whether a row, accepted under `key`, is worth having also if it may be an old version. An older
/// subscription is better than none; a packet id that only we think is taken would swallow a message.
pub(super) fn is_worth_when_old(table: Table, key: &[u8], row: &[u8]) -> bool {
    let part = (table == Table::Part).then(|| part::decode(key, row));
    !matches!(part, Some(Ok((_, Part::Ids(..)))))
}

/// The id that is the key of a message.
pub(super) fn message_id(key: &[u8]) -> Option<MessageId> {
    let key = key.try_into().ok()?;
    Some(MessageId(u64::from_le_bytes(key)))
}

/// The key of a session row, of either table.
pub(super) fn session_key(key: &[u8]) -> Option<SessionKey> {
    let (&kind, id) = key.split_last()?;
    let narrow = id.try_into().ok().map(u32::from_le_bytes);
    let wide = id.try_into().ok().map(u64::from_le_bytes);
    Some((narrow.map(u64::from).or(wide)?, kind))
}

/// The topic that is the key of a retained message.
pub(super) fn topic(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()
}

/// Nothing in an identity only rises, but a session that ended its connection has lived longer.
fn identity_age(id: u64, row: &[u8]) -> impl PartialOrd {
    let record = SessionRecord::decode(SessionId(id), row).ok();
    record.map(|record| (record.disconnected_at, record.subscriptions.len()))
}

/// With the cursors where they are, what is still owed only gets less.
fn state_age(id: u64, row: &[u8]) -> impl PartialOrd {
    let state = StateRecord::decode(SessionId(id), row).ok();
    state.map(|state| {
        let owed = Reverse(state.sent.len());
        let lanes = state.lanes.iter().map(|(_, cursor)| u128::from(cursor.0));
        let lanes: u128 = lanes.sum();
        (state.next_seq, state.cursor, state.low_cursor, lanes, owed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::message::encode_retained;
    use crate::store::tests::{message, session};
    use crate::time::Time;

    fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut row = Vec::new();
        encode(&mut row);
        row
    }

    /// Checks that of the rows, all accepted under `key`, each is newer than those before it.
    fn rise(table: Table, key: &[u8], rows: &[Vec<u8>]) {
        for (at, row) in rows.iter().enumerate() {
            assert!(table.accepts(key, row));
            assert!(!table.is_newer(key, row, row));
            for old in &rows[..at] {
                assert!(table.is_newer(key, row, old) && !table.is_newer(key, old, row));
            }
        }
    }

    #[test]
    fn the_newest_version_wins() {
        let state = |next_seq, cursor, sent: &[u64]| {
            let state = StateRecord {
                next_seq,
                cursor: MessageId(cursor),
                sent: sent.iter().copied().map(MessageId).collect(),
                ..StateRecord::default()
            };
            encoded(|out| state.encode(SessionId(3), out))
        };
        let states = [
            state(5, 0, &[]),
            state(9, 7, &[4, 6, 7]),
            state(9, 7, &[6, 7]),
            state(9, 8, &[6, 7, 8]),
        ];
        rise(Table::Session, &[3, 0, 0, 0, STATE], &states);
        let identity = |at: Option<u64>| {
            let mut record = session("c");
            record.disconnected_at = at.map(Time::from_secs);
            encoded(|out| record.encode(SessionId(3), out))
        };
        let identities = [identity(None), identity(Some(8)), identity(Some(9))];
        rise(Table::Session, &[3, 0, 0, 0, IDENTITY], &identities);
        let retained = |at| {
            let mut message = message("t", b"x");
            message.arrival = Time::from_secs(at);
            encoded(|out| encode_retained(&message, out))
        };
        rise(Table::Retained, b"t", &[retained(4), retained(5)]);
    }

    #[test]
    fn a_row_of_another_key_or_table_is_not_accepted() {
        let record = session("c");
        let row = encoded(|out| record.encode(SessionId(3), out));
        assert!(Table::Session.accepts(&[3, 0, 0, 0, IDENTITY], &row));
        for key in [[4, 0, 0, 0, IDENTITY], [3, 0, 0, 0, STATE], [3, 0, 0, 0, 7]] {
            assert!(!Table::Session.accepts(&key, &row));
        }
        for table in [Table::Meta, Table::Message, Table::Part, Table::Retained] {
            assert!(!table.accepts(b"12345678", &row));
        }
    }
}
