//! PUBLISH packets on their way into the outbox of one peer.

use std::collections::VecDeque;
use std::rc::Rc;

use super::alias::Naming;
use super::buffers::Buffers;
use super::connection::Connection;
use crate::bridge::LoopGuard;
use crate::keys::ConnId;
use crate::mqtt::{Delivery, Property, Props, PropsBuf, Publish, Version, encode_head};
use crate::session::Entry;
use crate::time::Time;

/// Payloads from this many bytes on are not copied into outboxes, but shared by them.
const LARGE: usize = 16 * 1024;

/// What messages go to one peer by.
pub(crate) struct Writer<'a> {
    pub(super) id: ConnId,
    pub(super) conn: &'a mut Connection,
    pub(super) dirty: &'a mut VecDeque<ConnId>,
    pub(super) buffers: &'a mut Buffers,
}

impl Writer<'_> {
    /// Whom it writes to.
    pub(crate) fn connection(&self) -> &Connection {
        self.conn
    }

    /// Appends a message as a PUBLISH on `topic`, by a topic alias where there is one. False if the
    /// packet is larger than the peer takes [MQTT-3.1.2-24]. `mark`: what the loop guard adds.
    pub(crate) fn publish(
        &mut self,
        entry: &Entry,
        topic: &str,
        retain: bool,
        (scratch, mark): (&mut PropsBuf, Option<&str>),
        now: Time,
    ) -> bool {
        self.conn.outbox.lend(self.buffers);
        let mut naming = self.conn.naming(topic);
        loop {
            let publish = Publish {
                delivery: Delivery::new(entry.owed.qos, entry.packet_id(), entry.dup),
                retain,
                topic: match naming {
                    Naming::Alias(_) => "",
                    Naming::Name | Naming::Both(_) => topic,
                },
                props: properties(
                    self.conn.version(),
                    entry,
                    (naming.alias(), mark),
                    scratch,
                    now,
                ),
                payload: entry.message.payload(),
            };
            if self.append(&publish, entry) {
                self.conn.named(topic, naming);
                if !std::mem::replace(&mut self.conn.dirty, true) {
                    self.dirty.push_back(self.id);
                }
                return true;
            }
            // The alias beside the topic may be what makes the packet too large.
            match naming {
                Naming::Both(_) => naming = Naming::Name,
                Naming::Name | Naming::Alias(_) => return false,
            }
        }
    }

    fn append(&mut self, publish: &Publish<'_>, entry: &Entry) -> bool {
        let (version, limit) = (self.conn.version(), self.conn.max_packet as usize);
        let payload = publish.payload;
        let room = self.conn.outbox.room();
        let buffer = self.conn.outbox.buffer();
        let start = buffer.len();
        let is_encoded = encode_head(publish, version, buffer).is_ok();
        let fits = is_encoded && buffer.len() - start + payload.len() <= limit;
        if !fits {
            buffer.truncate(start);
        } else if payload.len() < LARGE {
            buffer.extend_from_slice(payload);
        } else {
            self.conn.outbox.push_payload(Rc::clone(&entry.message));
        }
        self.buffers.note(room, self.conn.outbox.room());
        fits
    }
}

/// The properties a receiver gets: subscription identifiers, the publisher's own in their order
/// [MQTT-3.3.2-18], what is left of the expiry [MQTT-3.3.2-6], and the topic alias.
fn properties<'a>(
    version: Version,
    entry: &'a Entry,
    (alias, mark): (Option<u16>, Option<&str>),
    scratch: &'a mut PropsBuf,
    now: Time,
) -> Props<'a> {
    let message = &*entry.message;
    if version < Version::V5 {
        return Props::EMPTY;
    }
    let has_own = message.expiry.is_some() || alias.is_some() || mark.is_some();
    if entry.owed.sub_ids.is_empty() && !has_own {
        return Props::from_checked(message.props());
    }
    scratch.clear();
    for id in &entry.owed.sub_ids {
        scratch.push(Property::SubscriptionId(*id));
    }
    match mark {
        None => scratch.extend_raw(message.props()),
        Some(mark) => {
            let all = Props::from_checked(message.props()).iter();
            for property in all.filter(|property| !is_mark(property)) {
                scratch.push(property);
            }
            scratch.push(Property::User(LoopGuard::PROPERTY, mark));
        }
    }
    if let Some(at) = message.expiry {
        let left = at.since(now).as_millis().div_ceil(1000);
        // An expiry is made of 32 bits of seconds.
        scratch.push(Property::MessageExpiry(
            u32::try_from(left).unwrap_or(u32::MAX),
        ));
    }
    if let Some(alias) = alias {
        scratch.push(Property::TopicAlias(alias));
    }
    scratch.as_props()
}

/// True for the property of the loop guard.
fn is_mark(property: &Property<'_>) -> bool {
    matches!(property, Property::User(LoopGuard::PROPERTY, _))
}
