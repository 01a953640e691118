//! PUBACK, PUBREC, PUBREL and PUBCOMP: the acknowledgements of both directions.

use std::time::Duration;

use super::conn::ReplyKind;
use super::{Broker, ConnId, DropReason};
use crate::message::MessageId;
use crate::mqtt::{Ack, Packet, PacketId, Reason};
use crate::time::Time;

/// A full window of QoS 2 messages waits for its commit no longer than this: a long commit interval
/// would set the pace of a backlog. No shorter either: Mosquitto 2.0.11 passes messages on in
/// another order than it got them once they come faster than its own subscribers take them.
const WINDOW_WAIT: Duration = Duration::from_millis(20);

impl Broker {
    /// PUBREL: the publisher is done with a QoS 2 id. PUBCOMP promises that the id is free, so
    /// it waits for the commit that clears it; else a reused id would look like a duplicate.
    pub(super) fn on_pubrel(&mut self, c: ConnId, ack: &Ack<'_>, now: Time) {
        let Some(index) = self.conns.get(c.0).and_then(|conn| conn.session()) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let known = session.inbound.release(ack.id);
        let durable = session.is_durable();
        if known && durable {
            self.unsave_state(index);
        }
        // Also for an id that is not known: it may be a PUBREL sent again [MQTT-4.3.3-11].
        let kind = ReplyKind::Ack(Packet::PubComp(Ack::new(ack.id, Reason::SUCCESS)));
        if durable && !self.sessions.get(index).is_some_and(|s| self.is_saved(s)) {
            self.reply_after_commit(c, kind, now);
        } else {
            self.reply(c, kind, true);
        }
    }

    /// PUBACK: the receiver has a QoS 1 message. An id that is not in flight is ignored, as
    /// Mosquitto does: it may be late. One of a QoS 2 message is a protocol error.
    pub(super) fn on_puback(&mut self, c: ConnId, ack: &Ack<'_>, now: Time) {
        let Some((index, lenient)) = self.session_index(c) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if let Some(acked) = session.outbound.puback(ack.id, lenient) {
            if ack.reason.is_error() {
                log::debug!("{} refused a message: {}", session.client_id(), ack.reason);
                let lost = (1, acked.size.into());
                self.drop_message(index, acked.mapping, DropReason::Refused, lost, now);
            }
            self.delivered(index, acked.id, now);
            self.pump(index, now);
        } else if session.outbound.flying(ack.id).is_some() {
            self.close(c, Reason::PROTOCOL_ERROR, now);
        }
    }

    /// PUBREC: the receiver has a QoS 2 message. PUBREL leaves once the release is on disk.
    pub(super) fn on_pubrec(&mut self, c: ConnId, ack: &Ack<'_>, now: Time) {
        let Some((index, lenient)) = self.session_index(c) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let failed = ack.reason.is_error();
        let Some(acked) = session.outbound.pubrec(ack.id, failed, now) else {
            if !lenient && session.outbound.flying(ack.id).is_some() {
                return self.close(c, Reason::PROTOCOL_ERROR, now);
            }
            if failed {
                return;
            }
            // Not known: it may be a PUBREC sent again, which has its answer all the same.
            let packet = Packet::PubRel(Ack::new(ack.id, Reason::SUCCESS));
            return self.reply(c, ReplyKind::Ack(packet), true);
        };
        let durable = session.is_durable();
        if failed {
            log::debug!("{} refused a message: {}", session.client_id(), ack.reason);
            let lost = (1, acked.size.into());
            self.drop_message(index, acked.mapping, DropReason::Refused, lost, now);
        }
        self.delivered(index, acked.id, now);
        if failed {
            return self.pump(index, now);
        }
        if durable {
            self.unsave_state(index);
        }
        let session = self.sessions.get(index);
        let saved = session.is_some_and(|s| !durable || self.is_saved(s));
        let waits = !saved && session.is_some_and(|s| s.outbound.is_window_full());
        self.pubrel(c, ack.id, saved, now);
        if waits {
            self.store.commit_by(now + WINDOW_WAIT);
        }
    }

    /// PUBCOMP: a QoS 2 handshake is over. That may reach the disk late. Before PUBREL, or for a
    /// QoS 1 message, it is a protocol error.
    pub(super) fn on_pubcomp(&mut self, c: ConnId, ack: &Ack<'_>, now: Time) {
        let Some((index, lenient)) = self.session_index(c) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if let Some(acked) = session.outbound.pubcomp(ack.id) {
            if session.is_durable() {
                self.unsave_state(index);
                self.store.lazy(now);
            }
            self.delivered(index, acked.id, now);
            self.pump(index, now);
        } else if !lenient && session.outbound.flying(ack.id).is_some() {
            self.close(c, Reason::PROTOCOL_ERROR, now);
        }
    }

    /// The session of a connection, and whether it is an upstream broker, some of which answer
    /// QoS 2 with PUBACK.
    fn session_index(&self, c: ConnId) -> Option<(usize, bool)> {
        let conn = self.conns.get(c.0)?;
        Some((conn.session()?, conn.wire().is_some()))
    }

    /// A receiver has taken a message over.
    pub(super) fn delivered(&mut self, index: usize, id: Option<MessageId>, now: Time) {
        let (Some(id), Some(session)) = (id, self.sessions.get(index)) else {
            return;
        };
        if self.store.ack(id, session.id, now) {
            self.unsave_state(index);
        }
    }

    /// Sends PUBREL, at once or after the next commit.
    pub(super) fn pubrel(&mut self, c: ConnId, id: PacketId, saved: bool, now: Time) {
        let kind = ReplyKind::Ack(Packet::PubRel(Ack::new(id, Reason::SUCCESS)));
        if saved {
            self.reply(c, kind, true);
        } else {
            self.reply_after_commit(c, kind, now);
        }
    }
}
