//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::rc::Rc;

use super::conn::ReplyKind;
use super::session::Subscribed;
use super::shared::MAX_SHARES;
use super::{Broker, ConnId};
use crate::auth::Who;
use crate::config::log_type::{SUBSCRIBE, UNSUBSCRIBE};
use crate::message::{Message, Origin};
use crate::mqtt::{
    self, Packet, Props, Reason, RetainHandling, SubAck, Subscribe, Subscription, UnsubAck,
    Unsubscribe, Version,
};
use crate::route::{SubOptions, is_share};
use crate::time::Time;

/// Filters that one client may be subscribed to. Each costs memory here and in the trie, and a
/// session's row on disk holds them all.
pub(super) const MAX_SUBSCRIPTIONS: usize = 10_000;

impl Broker {
    pub(super) fn on_subscribe(&mut self, c: ConnId, packet: &Subscribe<'_>, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        let (Some(index), version) = (conn.session(), conn.version) else {
            return;
        };
        let sub_id = packet
            .props
            .subscription_ids()
            .next()
            .and_then(NonZeroU32::new);
        // The SUBACK is queued before the retained messages, which wait for it.
        let mut granted = Vec::with_capacity(packet.filters.len());
        let mut room = self.room_for(index);
        for wanted in &packet.filters {
            granted.push(self.grant(index, wanted, &mut room));
        }
        let suback = Packet::SubAck(SubAck {
            id: packet.id,
            props: Props::EMPTY,
            reasons: granted.clone(),
        });
        let hold = ReplyKind::Hold(Self::encoded(&suback, version));
        let durable = self.sessions.get(index).is_some_and(|s| s.is_durable());
        if durable {
            self.unsave_identity(index);
            self.reply_after_commit(c, hold, now);
        } else {
            self.reply(c, hold, true);
        }
        let bridge = self.conns.get(c.0).is_some_and(|conn| conn.bridge);
        for (wanted, reason) in packet.filters.iter().zip(granted) {
            if !reason.is_error() {
                self.tell(
                    SUBSCRIBE,
                    index,
                    format_args!("{} {}", reason.0, wanted.filter),
                );
                self.subscribe_as_asked(index, wanted, sub_id, bridge, now);
            }
        }
        self.pump(index, now);
    }

    /// A line for `log_type subscribe` or `unsubscribe`, in Mosquitto's form.
    fn tell(&self, target: &str, index: usize, what: std::fmt::Arguments<'_>) {
        if let Some(session) = self.sessions.get(index) {
            log::info!(target: target, "{} {what}", session.client_id());
        }
    }

    /// How many more filters a session may subscribe to, and how many shared ones.
    fn room_for(&self, index: usize) -> (usize, usize) {
        let session = self.sessions.get(index);
        let taken = session.map_or((0, 0), |s| (s.subscriptions.len(), s.shares.len()));
        let all = MAX_SUBSCRIPTIONS.saturating_sub(taken.0);
        (all, MAX_SHARES.saturating_sub(taken.1))
    }

    /// The reason code for one filter: the QoS granted, or why not. A filter that the session
    /// does not have yet takes one of `room`.
    fn grant(
        &self,
        index: usize,
        wanted: &Subscription<'_>,
        (all, shared): &mut (usize, usize),
    ) -> Reason {
        let Some(session) = self.sessions.get(index) else {
            return Reason::UNSPECIFIED;
        };
        let share = mqtt::share(wanted.filter);
        if session.find(wanted.filter).is_err() {
            let shares = usize::from(share.is_some());
            match (all.checked_sub(1), shared.checked_sub(shares)) {
                (Some(all_left), Some(shared_left)) => {
                    (*all, *shared) = (all_left, shared_left);
                }
                _ => return Reason::QUOTA_EXCEEDED,
            }
        }
        let filter = share.map_or(wanted.filter, |(_, filter)| filter);
        if !self.auth.may_subscribe(&session.who(), filter) {
            return match session.version {
                Version::V31 => Reason(wanted.qos as u8),
                _ => Reason::NOT_AUTHORIZED,
            };
        }
        Reason(wanted.qos as u8)
    }

    fn subscribe_as_asked(
        &mut self,
        index: usize,
        wanted: &Subscription<'_>,
        sub_id: Option<NonZeroU32>,
        bridge: bool,
        now: Time,
    ) {
        let options = SubOptions {
            qos: wanted.qos,
            // A bridge that says so before MQTT 5 gets what it would ask for in MQTT 5.
            no_local: wanted.no_local || bridge,
            retain_as_published: wanted.retain_as_published || bridge,
            sub_id,
            mapping: 0,
        };
        self.subscribe(index, wanted.filter, options, wanted.retain_handling, now);
    }

    /// Adds or replaces a subscription [MQTT-3.8.4-3] and queues the retained messages that
    /// belong to it [MQTT-3.3.1-9].
    pub(super) fn subscribe(
        &mut self,
        index: usize,
        filter: &str,
        options: SubOptions,
        retain_handling: RetainHandling,
        now: Time,
    ) {
        let share = mqtt::share(filter).is_some() && options.mapping == 0;
        let mut options = options;
        if share {
            self.join(index, filter, &mut options);
        }
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let subscribed = Subscribed {
            filter: filter.into(),
            options,
            retain_handling,
        };
        let new = match session.find(filter) {
            Ok(at) => {
                session.subscriptions[at] = subscribed;
                false
            }
            Err(at) => {
                session.subscriptions.insert(at, subscribed);
                true
            }
        };
        if share {
            // No retained messages (5.0 §4.8.2).
            return;
        }
        self.trie.add(filter, index as u32, options);
        let wanted = match retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DontSend => false,
        };
        if wanted {
            self.send_retained(index, filter, &options, now);
        }
    }

    fn send_retained(&mut self, index: usize, filter: &str, options: &SubOptions, now: Time) {
        let mut found: Vec<Rc<Message>> = Vec::new();
        self.retained
            .matches(filter, now, &mut |message| found.push(Rc::clone(message)));
        for message in found {
            let Some(session) = self.sessions.get(index) else {
                return;
            };
            let own = options.no_local && message.origin.client_id == session.origin.client_id;
            let readable = session.bridge || self.auth.may_read(&session.who(), message.topic());
            if !own && readable && self.may_still_publish(&message) {
                self.queue_retained(index, &message, options, now);
            }
        }
    }

    /// With `check_retain_source`, a retained message whose publisher has lost the right to publish
    /// it is not sent. The broker's own and those of bridges need no right.
    fn may_still_publish(&self, message: &Message) -> bool {
        let Origin {
            client_id,
            username,
            listener,
        } = &*message.origin;
        let index = self.by_client_id.get(client_id);
        let bridge = index.is_some_and(|index| self.bridges.contains(index));
        let who = Who {
            client_id,
            username: username.as_deref(),
            listener: listener.as_deref(),
        };
        !self.settings.check_retain_source
            || client_id.is_empty()
            || bridge
            || self.auth.may_publish(&who, message.topic())
    }

    pub(super) fn on_unsubscribe(&mut self, c: ConnId, packet: &Unsubscribe<'_>, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        let (Some(index), version) = (conn.session(), conn.version) else {
            return;
        };
        let reasons: Vec<Reason> = packet
            .filters
            .iter()
            .map(|filter| {
                self.tell(UNSUBSCRIBE, index, format_args!("{filter}"));
                self.unsubscribe(index, filter, now)
            })
            .collect();
        let changed = reasons.contains(&Reason::SUCCESS);
        let unsuback = Packet::UnsubAck(UnsubAck {
            id: packet.id,
            props: Props::EMPTY,
            reasons,
        });
        let reply = ReplyKind::Encoded(Self::encoded(&unsuback, version));
        let durable = self.sessions.get(index).is_some_and(|s| s.is_durable());
        if durable && changed {
            self.unsave_identity(index);
        }
        // A repeated one must not be answered before the first is on disk.
        let saved = self.sessions.get(index).is_some_and(|s| self.is_saved(s));
        if durable && !saved {
            self.reply_after_commit(c, reply, now);
        } else {
            self.reply(c, reply, true);
        }
    }

    fn unsubscribe(&mut self, index: usize, filter: &str, now: Time) -> Reason {
        let Some(session) = self.sessions.get_mut(index) else {
            return Reason::UNSPECIFIED;
        };
        match session.find(filter) {
            Ok(at) => {
                let line = session.subscriptions.remove(at).options.mapping;
                match is_share(line) {
                    true => self.leave_group(index, filter, line, now),
                    false => drop(self.trie.remove(filter, index as u32)),
                }
                Reason::SUCCESS
            }
            Err(_) => Reason::NO_SUBSCRIPTION_EXISTED,
        }
    }
}
