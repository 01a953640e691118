//! Replies and the end of connections: what goes to a peer that is not a message.
//!
//! Replies leave in the order in which they were caused [MQTT-4.6.0-2], [MQTT-4.6.0-3]; one that
//! waits for the store holds back those behind it. A reply that is too large for the peer is not
//! sent [MQTT-3.1.2-24], and ends the connection: the peer would wait for it for ever.
//!
//! No packet carries a Reason String or User Property of the broker's own, whatever Request Problem
//! Information says [MQTT-3.1.2-29]: the code says it, the log says more, and the bytes are those
//! that Mosquitto sends.

use std::time::Duration;

use super::conn::{Reply, ReplyKind, Stage};
use super::{Broker, ConnId};
use crate::config::log_type::NOTICE;
use crate::mqtt::{Disconnect, Packet, Props, Reason, Version, encode};
use crate::time::Time;

/// How long the last bytes to a peer may take.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Broker {
    /// Sends a packet now, ahead of any reply that waits. False if it is too large for the peer.
    pub(super) fn send(&mut self, c: ConnId, packet: &Packet<'_>) -> bool {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return true;
        };
        conn.outbox.lend(&mut self.spare_buffers);
        let buffer = conn.outbox.buffer();
        let start = buffer.len();
        if let Err(error) = encode(packet, conn.version, buffer) {
            log::error!("cannot encode {}: {error}", packet.name());
        }
        let fits = buffer.len() - start <= conn.max_packet as usize;
        if !fits {
            buffer.truncate(start);
        }
        self.counters.others_sent += u64::from(fits);
        self.mark_dirty(c);
        fits
    }

    /// A reply to `c` is too large for it. [`Broker::settle`] ends the connection.
    fn give_up(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get(c.0) {
            log::info!(
                "{} takes packets of {} bytes at most, too few for a reply.",
                self.name(conn),
                conn.max_packet
            );
            self.unanswerable.push((c, conn.serial));
        }
    }

    /// Encodes a packet for a reply.
    pub(super) fn encoded(packet: &Packet<'_>, version: Version) -> Box<[u8]> {
        let mut out = Vec::new();
        if let Err(error) = encode(packet, version, &mut out) {
            log::error!("cannot encode {}: {error}", packet.name());
        }
        out.into_boxed_slice()
    }

    /// Queues a reply; `open` if nothing has to happen before it may leave.
    pub(super) fn reply(&mut self, c: ConnId, kind: ReplyKind, open: bool) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        if matches!(kind, ReplyKind::Hold(_)) {
            conn.holds += 1;
        }
        if open && conn.replies_at_once() {
            self.leave(c, kind);
        } else {
            conn.queue(Reply { open, kind });
        }
    }

    /// PINGRESP waits for nothing but CONNACK [MQTT-3.2.0-1].
    pub(super) fn on_pingreq(&mut self, c: ConnId) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        if conn.greeted {
            if !self.send(c, &Packet::PingResp) {
                self.give_up(c);
            }
        } else {
            let bytes = Self::encoded(&Packet::PingResp, conn.version);
            self.reply(c, ReplyKind::Encoded(bytes), true);
        }
    }

    /// Queues a reply that leaves once everything said to the store up to now is on disk.
    pub(super) fn reply_after_commit(&mut self, c: ConnId, kind: ReplyKind, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        let waiter = conn.next_waiter(c);
        self.store.after_commit(waiter, now);
        self.reply(c, kind, false);
    }

    /// Sends the replies whose promise holds, in order.
    pub(super) fn flush_replies(&mut self, c: ConnId, now: Time) {
        let mut released = false;
        while let Some(kind) = self.conns.get_mut(c.0).and_then(|conn| conn.next_open()) {
            released |= matches!(kind, ReplyKind::Hold(_));
            self.leave(c, kind);
        }
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        if let (true, Some(session)) = (released, conn.session()) {
            self.pump(session, now);
        }
    }

    /// A reply leaves, unless one before it could not: nothing may seem to be its answer, and
    /// nothing goes before CONNACK [MQTT-3.2.0-1].
    fn leave(&mut self, c: ConnId, kind: ReplyKind) {
        if self.unanswerable.iter().any(|(other, _)| *other == c) {
            return;
        }
        match kind {
            ReplyKind::Ack(packet) => {
                let ends = match &packet {
                    Packet::PubAck(_) | Packet::PubComp(_) => true,
                    Packet::PubRec(ack) => ack.reason.is_error(),
                    _ => false,
                };
                if let (true, Some(conn)) = (ends, self.conns.get_mut(c.0)) {
                    conn.unacked = conn.unacked.saturating_sub(1);
                }
                if !self.send(c, &packet) {
                    self.give_up(c);
                }
            }
            ReplyKind::Hold(bytes) => {
                if let Some(conn) = self.conns.get_mut(c.0) {
                    conn.holds -= 1;
                    // The first of them is CONNACK.
                    conn.greeted |= bytes.len() <= conn.max_packet as usize;
                }
                self.leave(c, ReplyKind::Encoded(bytes));
            }
            ReplyKind::Encoded(bytes) => {
                let Some(conn) = self.conns.get_mut(c.0) else {
                    return;
                };
                if bytes.len() > conn.max_packet as usize {
                    return self.give_up(c);
                }
                conn.outbox.lend(&mut self.spare_buffers);
                conn.outbox.buffer().extend_from_slice(&bytes);
                self.counters.others_sent += 1;
                self.mark_dirty(c);
            }
        }
    }

    /// Ends a connection on the broker's behalf: DISCONNECT with `reason` to an MQTT 5 peer,
    /// the session detached with its will due, the socket closed after the last byte.
    pub(super) fn close(&mut self, c: ConnId, reason: Reason, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        if conn.stage == Stage::Closing {
            return;
        }
        if conn.session().is_some() && self.settings.connection_messages {
            log::info!(target: NOTICE, "Client {} disconnected: {reason}", self.name(conn));
        }
        if conn.can_say(reason) {
            let props = Props::EMPTY;
            self.send(c, &Packet::Disconnect(Disconnect { reason, props }));
        }
        self.detach(c, true, now);
        self.finish(c, now);
    }

    /// Nothing more is read from or queued for a connection; what is in its outbox goes out.
    pub(super) fn finish(&mut self, c: ConnId, now: Time) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        conn.stage = Stage::Closing;
        conn.last_seen = now;
        conn.abandon();
        conn.outbox.close = true;
        self.mark_dirty(c);
        self.watch(c, CLOSE_TIMEOUT, now);
    }

    /// A connection whose peer does not read its last bytes is closed without them.
    pub(super) fn abort(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get_mut(c.0) {
            conn.outbox.clear();
            self.mark_dirty(c);
        }
    }

    /// Lets everything that the ledger says has come true happen.
    pub(super) fn settle(&mut self, now: Time) {
        loop {
            self.open_replies(now);
            if self.unanswerable.is_empty() {
                return;
            }
            for (c, serial) in std::mem::take(&mut self.unanswerable) {
                let conn = self.conns.get_mut(c.0);
                if let Some(conn) = conn.filter(|conn| conn.serial == serial) {
                    if !conn.greeted {
                        // Nothing goes before CONNACK [MQTT-3.2.0-1].
                        conn.outbox.clear();
                    }
                    self.close(c, Reason::PACKET_TOO_LARGE, now);
                }
            }
        }
    }

    fn open_replies(&mut self, now: Time) {
        while self.store.has_opened() {
            for waiter in self.store.opened() {
                let Some(conn) = self.conns.get_mut(waiter.conn.0) else {
                    continue;
                };
                if conn.serial == waiter.serial {
                    conn.open(waiter.reply);
                    self.flush_replies(waiter.conn, now);
                }
            }
        }
        self.hand_out_due(now);
    }
}
