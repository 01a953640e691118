//! Rows come back as they were written, or not at all.

use std::rc::Rc;

use proptest::option;
use proptest::prelude::*;

use crate::lane::{Lane, LineNo};
use crate::message::{Message, MessageId, Origin, Parts, SessionId};
use crate::mqtt::{PacketId, QoS, RetainHandling, Version};
use crate::owed::Owed;
use crate::store::rows::codec::{Reader, put_varint, seal, unseal};
use crate::store::rows::message::{encode_message, encode_retained, scan};
use crate::store::{
    DropRecord, GivenUpRecord, LineRecord, SessionRecord, StateRecord, SubscriptionRecord,
    SyncRecord, VolumeRecord, WillRecord, decode_message, decode_retained, decode_targets,
};
use crate::time::Time;

fn qos() -> impl Strategy<Value = QoS> {
    (0..3u8).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn bytes() -> impl Strategy<Value = Box<[u8]>> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(Into::into)
}

/// Half of them take more than 32 bits.
fn session_number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), any::<u32>().prop_map_into()]
}

fn name() -> impl Strategy<Value = Box<str>> {
    ".{0,30}".prop_map(Into::into)
}

fn time() -> impl Strategy<Value = Time> {
    any::<u64>().prop_map(Time::from_millis)
}

fn lane() -> impl Strategy<Value = Lane> {
    any::<u16>().prop_map(Lane::from_code)
}

prop_compose! {
    fn target()(
        session in session_number(), seq in any::<u64>(), qos in qos(), retain: bool,
        lane in lane(), sub_ids in prop::collection::vec(any::<u32>(), 0..4),
    ) -> Owed {
        let session = SessionId(session);
        Owed { session, seq, qos, retain, lane, sub_ids: sub_ids.into() }
    }
}

prop_compose! {
    fn message()(
        topic in ".{1,30}", props in bytes(), payload in bytes(), qos in qos(), retain: bool,
        arrival in time(), expiry in option::of(time()), client_id in name(),
        username in option::of(name()), listener in option::of(name()),
    ) -> Message {
        let parts = Parts { topic: &topic, props: &props, payload: &payload };
        let origin = Origin::new(&client_id, username.as_deref(), listener.as_deref());
        let mut message = Message::new(parts, arrival, Rc::new(origin)).unwrap();
        (message.qos, message.retain, message.expiry) = (qos, retain, expiry);
        message
    }
}

prop_compose! {
    fn subscription()(
        filter in name(), qos in qos(), no_local: bool, retain_as_published: bool,
        handling in 0..3usize, sub_id in option::of(any::<u32>()), lane in lane(),
        awaits_retained: bool,
    ) -> SubscriptionRecord {
        let retain_handling = [
            RetainHandling::Send,
            RetainHandling::SendIfNew,
            RetainHandling::DontSend,
        ][handling];
        SubscriptionRecord {
            filter, qos, no_local, retain_as_published, retain_handling, sub_id, lane,
            awaits_retained,
        }
    }
}

prop_compose! {
    fn will()(
        topic in name(), props in bytes(), payload in bytes(), qos in qos(), retain: bool,
        delay: u32, expiry in option::of(any::<u32>()),
    ) -> WillRecord {
        WillRecord { topic, props, payload, qos, retain, delay, expiry }
    }
}

prop_compose! {
    fn given_up_record()(
        upstream: u64, feature: u8, about in name(), why in name(), seen: u8, until in time(),
    ) -> GivenUpRecord {
        GivenUpRecord { upstream, feature, about, why, seen, until }
    }
}

prop_compose! {
    fn line_record()(number in 1..=LineNo::MAX, line: u64, local: u64) -> LineRecord {
        let number = LineNo::new(number).unwrap();
        LineRecord { number, line, local }
    }
}

prop_compose! {
    fn session()(
        client_id in name(), username in option::of(name()), listener in option::of(name()),
        version in 0..3usize, expiry: u32, disconnected_at in option::of(time()), will in option::of(will()), bridge: bool,
        ended: bool,
        subscriptions in prop::collection::vec(subscription(), 0..4),
        subscribed_upstream in prop::collection::vec(name(), 0..4),
        made_with: u64, records in prop::collection::vec(given_up_record(), 0..4),
        lines in prop::collection::vec(line_record(), 0..4),
    ) -> SessionRecord {
        let given_up = (if records.is_empty() { 0 } else { made_with }, records);
        let version = [Version::V31, Version::V311, Version::V5][version];
        SessionRecord {
            client_id, username, listener, version, expiry, disconnected_at, subscriptions, will,
            bridge, subscribed_upstream, lines, given_up, ended,
        }
    }
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

fn packet_ids() -> impl Strategy<Value = Vec<PacketId>> {
    prop::collection::vec(packet_id(), 0..5)
}

fn releasing() -> impl Strategy<Value = Vec<(PacketId, MessageId)>> {
    prop::collection::vec((packet_id(), any::<u64>().prop_map(MessageId)), 0..5)
}

prop_compose! {
    fn drop_record()(
        lane in lane(), reason: u8, messages: u64, bytes: u64, first in time(), last in time(),
    ) -> DropRecord {
        DropRecord { lane, reason, messages, bytes, first, last }
    }
}

prop_compose! {
    fn state()(
        next_seq: u64, cursor: u64, low_cursor: u64, releasing in releasing(),
        received in packet_ids(), sent in prop::collection::vec(any::<u64>(), 0..5),
        drops in prop::collection::vec(drop_record(), 0..3),
        rate in option::of((any::<u64>(), any::<u64>())), by_topic: bool,
        lanes in prop::collection::vec((lane(), any::<u64>().prop_map(MessageId)), 0..3),
        retained in option::of(sync_record()),
        volume in option::of(volume_record()),
    ) -> StateRecord {
        StateRecord {
            next_seq, cursor: MessageId(cursor), low_cursor: MessageId(low_cursor), releasing,
            received, sent: sent.into_iter().map(MessageId).collect(), drops, rate, by_topic,
            lanes,
            retained,
            volume,
        }
    }
}

prop_compose! {
    fn volume_record()(day: u64, today: u64, month: u64, this_month: u64) -> VolumeRecord {
        VolumeRecord { day, today, month, this_month }
    }
}

fn sync_record() -> impl Strategy<Value = SyncRecord> {
    let need = option::of((time(), time()));
    let numbers = (any::<u64>(), any::<u64>());
    (numbers, time(), need).prop_map(|((map, upstream), synced, need)| SyncRecord {
        map,
        upstream,
        synced,
        need,
    })
}

fn same(a: &Message, b: &Message) -> bool {
    (a.topic(), a.props(), a.payload()) == (b.topic(), b.props(), b.payload())
        && (a.qos, a.retain, a.arrival, a.expiry) == (b.qos, b.retain, b.arrival, b.expiry)
}

/// Every truncation and a bit flip of `row` must be found out.
fn damage_is_found(
    row: &[u8],
    flip: usize,
    decodes: impl Fn(&[u8]) -> bool,
) -> Result<(), TestCaseError> {
    for len in 0..row.len() {
        prop_assert!(!decodes(&row[..len]), "cut to {}", len);
    }
    let mut flipped = row.to_vec();
    let bit = flip % (row.len() * 8);
    flipped[bit / 8] ^= 1 << (bit % 8);
    prop_assert!(!decodes(&flipped), "bit {}", bit);
    Ok(())
}

proptest! {
    #[test]
    fn queued_messages(
        id: u64, message in message(), targets in prop::collection::vec(target(), 0..5),
        flip: usize,
    ) {
        let id = MessageId(id);
        let mut row = b"before".to_vec();
        let span = encode_message(id, &message, &targets, &mut row);
        let mut framed = Reader::new(&row[6..]);
        prop_assert_eq!(framed.bytes(), Ok(&row[span.clone()]), "its length is before it");
        prop_assert_eq!(framed.end(), Ok(()));
        row.drain(..span.start);
        let (read, owed) = decode_message(id, &row).unwrap();
        prop_assert!(same(&read, &message));
        prop_assert_eq!(&*read.origin, &Origin::default());
        prop_assert_eq!(&owed, &targets);
        prop_assert_eq!(&decode_targets(id, &row).unwrap(), &targets);
        let mut seen = Vec::new();
        let scanned = scan(id, &row, |target| seen.push((target.session, target.lane))).unwrap();
        prop_assert_eq!((scanned.arrival, scanned.size), (message.arrival, message.size()));
        prop_assert!(seen.into_iter().eq(targets.iter().map(|t| (t.session, t.lane))));
        let other = MessageId(id.0 ^ 1);
        prop_assert!(decode_message(other, &row).is_err(), "under another id");
        damage_is_found(&row, flip, |row| decode_message(id, row).is_ok())?;
    }

    #[test]
    fn retained_messages(message in message(), flip: usize) {
        let mut row = Vec::new();
        encode_retained(&message, &mut row);
        let read = decode_retained(message.topic(), &row).unwrap();
        prop_assert!(same(&read, &message));
        prop_assert_eq!(&read.origin, &message.origin);
        prop_assert!(decode_retained("elsewhere/than/any/topic/of/thirty/letters", &row).is_err());
        damage_is_found(&row, flip, |row| decode_retained(message.topic(), row).is_ok())?;
    }

    #[test]
    fn sessions(id in session_number(), record in session(), state in state(), flip: usize) {
        let id = SessionId(id);
        let mut row = Vec::new();
        record.encode(id, &mut row);
        prop_assert_eq!(&SessionRecord::decode(id, &row).unwrap(), &record);
        prop_assert!(StateRecord::decode(id, &row).is_err(), "as the wrong kind of row");
        damage_is_found(&row, flip, |row| SessionRecord::decode(id, row).is_ok())?;
        row.clear();
        state.encode(id, &mut row);
        prop_assert_eq!(&StateRecord::decode(id, &row).unwrap(), &state);
        damage_is_found(&row, flip, |row| StateRecord::decode(id, row).is_ok())?;
    }

    /// A right checksum over nonsense: refused or read, but never a panic or a huge allocation.
    #[test]
    fn nonsense(mut body in prop::collection::vec(any::<u8>(), 0..60), format: bool) {
        if let Some(first) = body.first_mut().filter(|_| format) {
            *first = 1;
        }
        let sealed = |key: &[u8]| {
            let mut row = body.clone();
            seal(key, 0, &mut row);
            row
        };
        let row = sealed(&7u64.to_le_bytes());
        let _ = decode_message(MessageId(7), &row);
        let _ = scan(MessageId(7), &row, |_| {});
        let _ = decode_retained("t", &sealed(b"t"));
        let _ = SessionRecord::decode(SessionId(7), &sealed(&[7, 0, 0, 0, 0]));
        let _ = StateRecord::decode(SessionId(7), &sealed(&[7, 0, 0, 0, 1]));
    }

    #[test]
    fn varints(n: u64, shift in 0..64u32) {
        let n = n >> shift;
        let mut row = Vec::new();
        put_varint(n, &mut row);
        seal(b"", 0, &mut row);
        let mut reader = unseal(b"", &row).unwrap();
        prop_assert_eq!(reader.varint(), Ok(n));
        prop_assert_eq!(reader.end(), Ok(()));
    }
}

#[test]
fn a_varint_of_more_than_64_bits_is_refused() {
    let mut row = vec![0xFF; 9];
    row.push(0x02);
    seal(b"", 0, &mut row);
    assert!(unseal(b"", &row).unwrap().varint().is_err());
}

/// The row of a bridge as builds wrote it that kept nothing of the subscriptions upstream, nor of
/// the numbers of lines: it is read, and written the same while there are none.
#[test]
fn a_row_without_subscriptions_upstream_or_lines_is_read() {
    let mut row = vec![1, 0x08, 5, 7];
    row.extend(b"local.b");
    row.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    seal(&[7, 0, 0, 0, 0], 0, &mut row);
    let record = SessionRecord::decode(SessionId(7), &row).unwrap();
    assert_eq!((&*record.client_id, record.bridge), ("local.b", true));
    assert!(record.subscribed_upstream.is_empty() && record.lines.is_empty());
    let mut again = Vec::new();
    record.encode(SessionId(7), &mut again);
    assert_eq!(again, row);
}
