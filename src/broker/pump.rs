//! From a session's queue to its connection's outbox.

use std::rc::Rc;

use super::alias::Naming;
use super::conn::{Conn, Stage};
use super::deliver::entry;
use super::mount::unmounted;
use super::session::Session;
use super::{Broker, ConnId, DropReason, OUTBOX_HIGH};
use crate::message::{Message, MessageId};
use crate::mqtt::{
    Delivery, Packet, Property, Props, PropsBuf, Publish, QoS, Version, encode, encode_head,
};
use crate::session::{Entry, READ_BYTES};
use crate::store::{self, Held, ReadRequest, Rows};
use crate::time::Time;

/// What became of a message on its way to the outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transmitted {
    /// It is in the outbox.
    Sent,
    /// It is too large for the peer [MQTT-3.1.2-24].
    TooLarge,
    /// It is too old.
    TooOld,
    /// The client may not read it any more.
    Denied,
    /// The bridge does not map it, or it is not below the mount point.
    NotMapped,
}

impl Broker {
    /// Sends as much of a session's queue as window and outbox take, and asks the store for
    /// more.
    pub(super) fn pump(&mut self, index: usize, now: Time) {
        loop {
            let durable_below = self.store.durable_below();
            let Some(session) = self.sessions.get_mut(index) else {
                return;
            };
            let Some(c) = session.conn else { return };
            let Some(conn) = self.conns.get(c.0) else {
                return;
            };
            let full = conn.outbox.len() >= OUTBOX_HIGH;
            if conn.stage != Stage::Connected || conn.holds > 0 || full {
                return;
            }
            match session.outbound.next(durable_below, conn.max_qos(), now) {
                Some(entry) => self.send_entry(c, index, entry, now),
                None if self.refill(index) => {}
                None => {
                    self.shared.estates.ask(index);
                    return self.stall(index, durable_below);
                }
            }
        }
    }

    /// Fills up the RAM part of a queue: from the messages that still wait for their commit, or
    /// by asking the storage thread. True if there is something new to send.
    fn refill(&mut self, index: usize) -> bool {
        let on_disk_below = self.store.on_disk_below();
        let Some(session) = self.sessions.get_mut(index) else {
            return false;
        };
        if let Some((read, ids)) = session.outbound.wants(on_disk_below) {
            self.reads.push(ReadRequest {
                token: (index as u64) << 32 | u64::from(read),
                ranges: ids.runs().collect(),
                max_bytes: READ_BYTES,
            });
            return false;
        }
        let mut filled = false;
        while let Some(id) = session.outbound.wants_fresh(on_disk_below) {
            let held = self.store.held(id, session.id);
            let entry = held.map(|(message, target)| entry(message, Some(id), target.clone()));
            filled |= entry.is_some();
            session.outbound.fresh(id, entry);
        }
        filled
    }

    /// Notes that a session goes on after the next commit, if that is what it waits for.
    fn stall(&mut self, index: usize, durable_below: MessageId) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if !session.stalled && session.outbound.awaits_commit(durable_below) {
            session.stalled = true;
            self.stalled.push(index);
        }
    }

    /// Sends one message that left the queue.
    fn send_entry(&mut self, c: ConnId, index: usize, entry: Entry, now: Time) {
        let transmitted = if self.is_too_old(index, &entry, now) {
            Transmitted::TooOld
        } else if !self.may_still_read(index, &entry) {
            Transmitted::Denied
        } else {
            self.transmit(c, &entry, now)
        };
        if transmitted == Transmitted::Sent && entry.qos != QoS::AtMostOnce {
            return;
        }
        match transmitted {
            Transmitted::TooOld => self.drop_entry(index, &entry, DropReason::Expired, now),
            Transmitted::TooLarge => self.drop_entry(index, &entry, DropReason::TooLarge, now),
            Transmitted::Sent | Transmitted::NotMapped | Transmitted::Denied => {}
        }
        if let (true, Some(session)) = (
            transmitted != Transmitted::Sent,
            self.sessions.get_mut(index),
        ) {
            session.outbound.take_back(&entry);
        }
        self.delivered(index, entry.id, now);
    }

    /// Whether the rules, which may have changed since it was queued, let a client have a message.
    fn may_still_read(&self, index: usize, entry: &Entry) -> bool {
        let session = self.sessions.get(index).filter(|s| !s.bridge);
        let allows = |s: &Session| self.auth.may_read(&s.who(), entry.message.topic());
        self.auth.open() || session.is_none_or(allows)
    }

    /// Encodes a message for one peer.
    pub(super) fn transmit(&mut self, c: ConnId, entry: &Entry, now: Time) -> Transmitted {
        let Broker {
            conns,
            spare_buffers,
            props,
            topic,
            counters,
            listeners,
            ..
        } = self;
        let Some(conn) = conns.get_mut(c.0) else {
            return Transmitted::NotMapped;
        };
        let message = &*entry.message;
        let mut retain = entry.retain;
        let topic = match conn.wire() {
            None => match unmounted(listeners, conn, message.topic()) {
                Some(topic) => topic,
                None => return Transmitted::NotMapped,
            },
            Some(wire) => {
                retain = wire.retain(retain);
                if !wire.outward(message, topic, now) {
                    return Transmitted::NotMapped;
                }
                topic.as_str()
            }
        };
        let publish = Publish {
            delivery: Delivery::new(entry.qos, entry.packet_id(), entry.dup),
            retain,
            topic,
            props: Props::EMPTY,
            payload: message.payload(),
        };
        conn.outbox.lend(spare_buffers);
        if !append(conn, &publish, entry, props, now) {
            return Transmitted::TooLarge;
        }
        counters.publish_sent += 1;
        counters.publish_bytes_sent += publish.payload.len() as u64;
        self.mark_dirty(c);
        Transmitted::Sent
    }

    /// Rows that were asked for have come: they go on to the queue that asked.
    pub(super) fn on_rows(&mut self, token: u64, rows: &Rows, now: Time) {
        if Self::is_estate_read(token) {
            return self.on_estate_rows(token, rows, now);
        }
        let (index, read) = ((token >> 32) as usize, token as u32);
        let session = self.sessions.get(index);
        if !session.is_some_and(|s| s.outbound.expects(read)) {
            return;
        }
        for (id, row) in rows.iter() {
            self.on_row(index, id, row, now);
        }
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let lost = session.outbound.read_done(rows.through);
        self.lose(index, lost, now);
        self.pump(index, now);
    }

    fn on_row(&mut self, index: usize, id: MessageId, row: &[u8], now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let Ok((message, targets)) = store::decode_message(id, row) else {
            return;
        };
        let own = session.id;
        let Some(target) = targets.into_iter().find(|t| t.session == own) else {
            return;
        };
        let message = Rc::new(message);
        let lost = session.outbound.read(entry(&message, Some(id), target));
        self.lose(index, lost, now);
    }

    /// Messages that the store no longer has: damaged rows.
    fn lose(&mut self, index: usize, lost: Vec<Held>, now: Time) {
        for held in lost {
            let amount = (1, held.size.into());
            self.drop_message(index, held.mapping, DropReason::Damaged, amount, now);
            self.delivered(index, Some(held.id), now);
        }
    }
}

/// Payloads from this many bytes on are not copied into outboxes, but shared by them.
const LARGE: usize = 16 * 1024;

/// Appends a PUBLISH to an outbox, with its properties and by a topic alias where there is one,
/// unless the peer does not take packets that large.
fn append(
    conn: &mut Conn,
    publish: &Publish<'_>,
    entry: &Entry,
    scratch: &mut PropsBuf,
    now: Time,
) -> bool {
    let topic = publish.topic;
    let named = conn.naming(topic);
    // An alias beside the topic may be what makes the packet too large.
    let again = matches!(named, Naming::Both(_)).then_some(Naming::Name);
    for naming in [Some(named), again].into_iter().flatten() {
        let publish = Publish {
            topic: match naming {
                Naming::Alias(_) => "",
                _ => topic,
            },
            props: properties(conn.version, entry, naming.alias(), scratch, now),
            ..*publish
        };
        if append_encoded(conn, &publish, &entry.message) {
            conn.named(topic, naming);
            return true;
        }
    }
    false
}

fn append_encoded(conn: &mut Conn, publish: &Publish<'_>, message: &Rc<Message>) -> bool {
    let (version, limit) = (conn.version, conn.max_packet as usize);
    let large = publish.payload.len() >= LARGE;
    let buffer = conn.outbox.buffer();
    let start = buffer.len();
    let (encoded, beside) = match large {
        true => (encode_head(publish, version, buffer), publish.payload.len()),
        false => (encode(&Packet::Publish(*publish), version, buffer), 0),
    };
    let fits = encoded.is_ok() && buffer.len() - start + beside <= limit;
    if !fits {
        buffer.truncate(start);
    } else if large {
        conn.outbox.push_payload(Rc::clone(message));
    }
    fits
}

/// The properties a receiver gets: subscription identifiers, the publisher's own in their order
/// [MQTT-3.3.2-18], what is left of the expiry [MQTT-3.3.2-6], and the topic alias.
fn properties<'a>(
    version: Version,
    entry: &'a Entry,
    alias: Option<u16>,
    scratch: &'a mut PropsBuf,
    now: Time,
) -> Props<'a> {
    let message = &*entry.message;
    if version < Version::V5 {
        return Props::EMPTY;
    }
    if entry.sub_ids.is_empty() && message.expiry.is_none() && alias.is_none() {
        return Props::from_checked(message.props());
    }
    scratch.clear();
    for id in &entry.sub_ids {
        scratch.push(Property::SubscriptionId(*id));
    }
    scratch.extend_raw(message.props());
    if let Some(at) = message.expiry {
        scratch.push(Property::MessageExpiry(
            at.since(now).as_millis().div_ceil(1000) as u32,
        ));
    }
    if let Some(alias) = alias {
        scratch.push(Property::TopicAlias(alias));
    }
    scratch.as_props()
}
