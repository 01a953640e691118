//! PUBLISH from a peer, and the acknowledgements of both directions.

use std::rc::Rc;
use std::time::Duration;

use super::conn::{Parked, ReplyKind};
use super::deliver::{Full, Routed};
use super::session::Session;
use super::{Broker, ConnId, DropReason};
use crate::message::{Message, Parts};
use crate::mqtt::filter_matches;
use crate::mqtt::{Ack, Delivery, Packet, PacketId, Props, Publish, QoS, Reason, Version};
use crate::session::Receipt;
use crate::time::Time;

/// What to do with a PUBLISH.
enum Verdict {
    /// Route it.
    Take(Rc<Message>),
    /// Acknowledge it with this reason and drop it.
    Drop(Reason),
    /// Close the connection with this reason.
    Close(Reason),
}

/// Nobody but the broker publishes under `$SYS`, except that other brokers' bridges tell their
/// state there; and `$share` begins filters, not topics.
pub(super) fn reserved(topic: &str) -> bool {
    topic.starts_with("$share")
        || topic.starts_with("$SYS") && !filter_matches("$SYS/broker/connection/+/state", topic)
}

/// False for a payload that is said to be UTF-8 and is not (5.0 §3.3.2.3.2). Like one without the
/// right to publish, it is refused at QoS 1 and 2, and dropped at QoS 0. A bridge passes on what
/// the upstream has accepted: to refuse it would only lose it.
pub(super) fn is_in_format(props: Props<'_>, payload: &[u8]) -> bool {
    props.payload_format() != Some(1) || std::str::from_utf8(payload).is_ok()
}

impl Broker {
    pub(super) fn on_publish(&mut self, c: ConnId, publish: &Publish<'_>, now: Time) {
        self.counters.publish_received += 1;
        self.counters.publish_bytes_received += publish.payload.len() as u64;
        if let Err(reason) = self.check_limits(c, publish) {
            return self.close(c, reason, now);
        }
        // A resent QoS 2 message was routed before: acknowledge, whatever it says now.
        if let Delivery::ExactlyOnce(id, _) = publish.delivery
            && self.look(c, id) == Receipt::Known
        {
            if let Err(reason) = self.resolve_alias(c, publish) {
                return self.close(c, reason, now);
            }
            self.uncount_unacked(c);
            return self.again_pubrec(c, id, now);
        }
        match self.judge(c, publish, now) {
            Verdict::Take(message) => {
                let acked = publish.delivery != Delivery::AtMostOnce;
                let behind = acked && self.conns.get(c.0).is_some_and(|conn| conn.is_parked());
                let full = match behind {
                    true => None,
                    false => match self.take(c, &message, publish.delivery, now) {
                        Ok(()) => return,
                        Err(full) => Some(full),
                    },
                };
                self.no_room(c, message, publish.delivery, full, now);
            }
            Verdict::Drop(reason) if reason.is_error() => {
                self.acknowledge(c, publish.delivery, reason, true);
            }
            Verdict::Drop(_) => self.accept_message(c, publish.delivery, &Routed::TO_NOBODY, now),
            Verdict::Close(reason) => self.close(c, reason, now),
        }
    }

    /// Checks a PUBLISH against what the peer was told; what is wrong ends the connection.
    fn check_limits(&mut self, c: ConnId, publish: &Publish<'_>) -> Result<(), Reason> {
        if publish.delivery.id().is_some() && !self.count_unacked(c) {
            return Err(Reason::RECEIVE_MAXIMUM_EXCEEDED);
        }
        let client = self.conns.get(c.0).filter(|conn| conn.wire().is_none());
        let Some(conn) = client else {
            return Ok(());
        };
        // A client never sends one [MQTT-3.3.4-6].
        if publish.props.subscription_ids().next().is_some() {
            return Err(Reason::PROTOCOL_ERROR);
        }
        if publish.delivery.qos() > self.max_qos(conn.listener) {
            return Err(Reason::QOS_NOT_SUPPORTED);
        }
        if publish.retain && !self.settings.retain_available {
            return Err(Reason::RETAIN_NOT_SUPPORTED);
        }
        Ok(())
    }

    /// Counts a QoS 1 or 2 message against the receive maximum [MQTT-3.3.4-7]. False if an
    /// MQTT 5 client has gone beyond it.
    fn count_unacked(&mut self, c: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return true;
        };
        conn.unacked = conn.unacked.saturating_add(1);
        conn.version < Version::V5 || conn.unacked <= conn.receive_maximum
    }

    /// Sets the topic alias of a PUBLISH, or answers what it stands for.
    fn resolve_alias(&mut self, c: ConnId, publish: &Publish<'_>) -> Result<Option<&str>, Reason> {
        if publish.props.topic_alias().is_none() {
            return Ok(None);
        }
        let Some(conn) = self.conns.get(c.0) else {
            return Ok(None);
        };
        let upstream = conn.upstream_alias_max();
        let max = upstream.unwrap_or_else(|| self.max_topic_alias(conn.listener));
        match self.conns.get_mut(c.0) {
            Some(conn) => conn.rare().inward.resolve(publish, max),
            None => Ok(None),
        }
    }

    fn uncount_unacked(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get_mut(c.0) {
            conn.unacked = conn.unacked.saturating_sub(1);
        }
    }

    fn look(&self, c: ConnId, id: PacketId) -> Receipt {
        self.session_of(c)
            .map_or(Receipt::New, |(_, s)| s.inbound.look(id))
    }

    /// The session of a connection.
    pub(super) fn session_of(&self, c: ConnId) -> Option<(usize, &Session)> {
        let index = self.conns.get(c.0)?.session()?;
        Some((index, self.sessions.get(index)?))
    }

    /// PUBREC for a message that was received before: after the commit that holds its id.
    fn again_pubrec(&mut self, c: ConnId, id: PacketId, now: Time) {
        let kind = ReplyKind::Ack(Packet::PubRec(Ack::new(id, Reason::SUCCESS)));
        let Some((_, session)) = self.session_of(c) else {
            return;
        };
        if !session.is_durable() || self.is_saved(session) {
            self.reply(c, kind, true);
        } else {
            self.reply_after_commit(c, kind, now);
        }
    }

    /// Checks a PUBLISH and makes it a message.
    fn judge(&mut self, c: ConnId, publish: &Publish<'_>, now: Time) -> Verdict {
        let mut topic = std::mem::take(&mut self.topic);
        let named = self.name_topic(c, publish, &mut topic, now);
        let verdict = match named {
            Err(verdict) => verdict,
            Ok(()) => self.judge_named(c, publish, &topic, now),
        };
        self.topic = topic;
        verdict
    }

    /// Finds the topic a PUBLISH is for: by name, by alias, or by the map of a bridge.
    fn name_topic(
        &mut self,
        c: ConnId,
        publish: &Publish<'_>,
        topic: &mut String,
        now: Time,
    ) -> Result<(), Verdict> {
        topic.clear();
        topic.push_str(publish.topic);
        let known = self.resolve_alias(c, publish).map_err(Verdict::Close)?;
        if let Some(known) = known {
            topic.push_str(known);
        }
        if let Some(wire) = self.conns.get(c.0).and_then(|conn| conn.wire()).cloned() {
            let remote = std::mem::take(topic);
            if !wire.inward(&remote, publish.payload, topic, now) {
                return Err(Verdict::Drop(Reason::SUCCESS));
            }
        }
        Ok(())
    }

    fn judge_named(&mut self, c: ConnId, publish: &Publish<'_>, topic: &str, now: Time) -> Verdict {
        let Some((index, session)) = self.session_of(c) else {
            return Verdict::Drop(Reason::SUCCESS);
        };
        let bridge = self
            .conns
            .get(c.0)
            .is_some_and(|conn| conn.wire().is_some());
        if let Some(max) = self.settings.message_size_limit
            && publish.payload.len() > max as usize
        {
            let lost = (1, publish.payload.len() as u64);
            self.drop_message(index, 0, DropReason::TooLarge, lost, now);
            // As mosquitto.conf(5) has it; the 0x95 that Mosquitto sends is not for PUBACK and PUBREC
            // [MQTT-3.4.2-1].
            return Verdict::Drop(Reason::IMPLEMENTATION_SPECIFIC);
        }
        // As in Mosquitto, a bridge is the operator's own and needs no right, but $SYS is the broker's.
        let allowed = bridge || self.auth.may_publish(&session.who(), topic);
        if reserved(topic) || !allowed {
            log::debug!("Denied PUBLISH from {} to {topic}", session.client_id());
            self.counters.denied += 1;
            return Verdict::Drop(Reason::NOT_AUTHORIZED);
        }
        if !bridge && !is_in_format(publish.props, publish.payload) {
            log::debug!("{}: payload is not UTF-8: {topic}", session.client_id());
            return Verdict::Drop(Reason::PAYLOAD_FORMAT_INVALID);
        }
        let origin = Rc::clone(&session.origin);
        let mut props = Vec::new();
        publish.props.forwardable(&mut props);
        let parts = Parts {
            topic,
            props: &props,
            payload: publish.payload,
        };
        let Ok(mut message) = Message::new(parts, now, origin) else {
            return Verdict::Close(Reason::TOPIC_NAME_INVALID);
        };
        message.qos = publish.delivery.qos();
        // Only the upstream of a bridge comes here with RETAIN where it is not available.
        message.retain = publish.retain && self.settings.retain_available;
        let expiry = publish.props.message_expiry();
        message.expiry = expiry.map(|secs| now + Duration::from_secs(u64::from(secs)));
        Verdict::Take(Rc::new(message))
    }

    /// Routes an accepted message and sees to its acknowledgement. [`Full`] if a durable queue
    /// that must hold it has no room.
    fn take(
        &mut self,
        c: ConnId,
        message: &Rc<Message>,
        delivery: Delivery,
        now: Time,
    ) -> Result<(), Full> {
        let Some((from, session)) = self.session_of(c) else {
            return Ok(());
        };
        // The PUBREC to a durable session promises the packet id too: an early delivery of the
        // message does not open it, only the commit does.
        let by_commit = delivery.qos() == QoS::ExactlyOnce && session.is_durable();
        let waits = delivery != Delivery::AtMostOnce && !by_commit;
        let waiter = self
            .conns
            .get(c.0)
            .filter(|_| waits)
            .map(|conn| conn.next_waiter(c));
        // A publisher that is its own subscriber expects PUBREC before the message: of Mosquitto
        // it gets that only after PUBREL.
        let pubrec_first = delivery.qos() == QoS::ExactlyOnce;
        if pubrec_first {
            self.hold(c, true);
        }
        let routed = self.route(message, Some(from), waiter, now);
        if let Ok(routed) = &routed {
            self.accept_message(c, delivery, routed, now);
        }
        if pubrec_first {
            self.hold(c, false);
            self.pump(from, now);
        }
        // While the disk fails, what must be stored is refused instead, and the rest goes on.
        let acked = delivery != Delivery::AtMostOnce;
        if acked && self.store.is_congested() && self.disk.stalled.is_none() {
            self.pause(c);
        }
        routed.map(drop)
    }

    /// Holds back, or no longer, the messages for a connection.
    fn hold(&mut self, c: ConnId, held: bool) {
        if let Some(conn) = self.conns.get_mut(c.0) {
            conn.holds = match held {
                true => conn.holds.saturating_add(1),
                false => conn.holds.saturating_sub(1),
            };
        }
    }

    /// The queue `full` must hold the message, or one that waits before it: an MQTT 5 publisher
    /// is told; the message of an older one, or of the upstream of a bridge, waits until there is
    /// room.
    fn no_room(
        &mut self,
        c: ConnId,
        message: Rc<Message>,
        delivery: Delivery,
        full: Option<Full>,
        now: Time,
    ) {
        if let (Delivery::AtMostOnce, Some(full)) = (delivery, full) {
            return self.drop_unrefused(full, &message, now);
        }
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        self.counters.refused_full += 1;
        if conn.version == Version::V5 && conn.wire().is_none() {
            return self.acknowledge(c, delivery, Reason::QUOTA_EXCEEDED, true);
        }
        log::debug!("no room for {}: its publisher waits", message.topic());
        if conn.park(Parked { message, delivery }) {
            self.parked.push(c);
            self.wheel.wake(now + Duration::from_secs(1));
        }
    }

    /// Acknowledges a message that was routed; QoS 2 takes its packet id.
    fn accept_message(&mut self, c: ConnId, delivery: Delivery, routed: &Routed, now: Time) {
        // That nobody is subscribed only a server says (5.0 §3.4.2.1), and as Mosquitto, which routes
        // a QoS 2 message later, only with PUBACK.
        let upstream = self.conns.get(c.0).is_some_and(|c| c.wire().is_some());
        let reason = match (routed.matched || upstream, delivery) {
            (false, Delivery::AtLeastOnce(..)) => Reason::NO_MATCHING_SUBSCRIBERS,
            _ => Reason::SUCCESS,
        };
        if let Delivery::ExactlyOnce(id, _) = delivery {
            let Some(index) = self.conns.get(c.0).and_then(|conn| conn.session()) else {
                return;
            };
            let Some(session) = self.sessions.get_mut(index) else {
                return;
            };
            session.inbound.receive(id);
            if session.is_durable() {
                self.unsave_state(index);
                let kind = ReplyKind::Ack(Packet::PubRec(Ack::new(id, reason)));
                return self.reply_after_commit(c, kind, now);
            }
        }
        self.acknowledge(c, delivery, reason, !routed.waits);
    }

    /// PUBACK or PUBREC, if the delivery wants one. Before MQTT 5 a failure can't be said: the
    /// message is acknowledged all the same [MQTT-3.3.5-2].
    fn acknowledge(&mut self, c: ConnId, delivery: Delivery, reason: Reason, open: bool) {
        let packet = match delivery {
            Delivery::AtMostOnce => return,
            Delivery::AtLeastOnce(id, _) => Packet::PubAck(Ack::new(id, reason)),
            Delivery::ExactlyOnce(id, _) => Packet::PubRec(Ack::new(id, reason)),
        };
        self.reply(c, ReplyKind::Ack(packet), open);
    }

    /// Stops reading a connection until the store has caught up.
    fn pause(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get_mut(c.0)
            && !conn.paused
        {
            conn.paused = true;
            self.paused.push(c);
        }
    }

    /// Tries the parked messages again, each connection's in order.
    pub(super) fn retry_parked(&mut self, now: Time) {
        for c in std::mem::take(&mut self.parked) {
            while let Some(parked) = self.conns.get(c.0).and_then(|conn| conn.parked()).cloned() {
                if self.take(c, &parked.message, parked.delivery, now).is_err() {
                    self.parked.push(c);
                    self.wheel.wake(now + Duration::from_secs(1));
                    break;
                }
                self.conns.get_mut(c.0).and_then(|conn| conn.unpark());
            }
            if self.may_read(c) {
                self.resumed.push(c);
            }
        }
    }
}
