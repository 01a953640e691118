//! From one message to its receivers.

use std::rc::Rc;

use super::conn::{Stage, Waiter};
use super::pump::Transmitted;
use super::session::Session;
use super::{Broker, DropReason, OUTBOX_LIMIT};
use crate::config::General;
use crate::message::{Message, MessageId};
use crate::mqtt::QoS;
use crate::route::{Among, Groups, SubOptions, is_share};
use crate::session::Entry;
use crate::store::Target;
use crate::time::Time;

/// What became of a routed message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Routed {
    /// Someone is subscribed.
    pub matched: bool,
    /// The waiter comes back later: the acknowledgement must wait for it.
    pub waits: bool,
}

impl Routed {
    /// Not routed, but dealt with.
    pub const TO_NOBODY: Routed = Routed {
        matched: true,
        waits: false,
    };
}

/// A subscriber needs each retained message once, and once more for each filter that overlaps;
/// when this many times all of them wait for it, the filters were made to overlap.
const COPIES_OF_RETAINED: usize = 4;
/// Other messages that may wait in RAM for it besides.
const OTHERS_WAITING: usize = 10_000;

/// A durable queue that must hold the message has no room and drops nothing to make some, or the
/// disk has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full {
    /// The session whose queue it is; `None` for a message that is only to be retained.
    pub session: Option<usize>,
    /// The bridge topic line the message came by; 0 for none.
    pub mapping: u16,
}

/// One session a message goes to.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub session: usize,
    pub qos: QoS,
    pub retain: bool,
    pub mapping: u16,
    pub sub_ids: Vec<u32>,
    /// Owed through the store.
    pub stored: bool,
}

impl Broker {
    /// Routes a message to all who are subscribed and keeps it if it is retained. `from`: the
    /// publisher's session, for no-local. `waiter` is kept if someone is owed the message
    /// durably, and comes back once the promise of an acknowledgement holds.
    pub(super) fn route(
        &mut self,
        message: &Rc<Message>,
        from: Option<usize>,
        waiter: Option<Waiter>,
        now: Time,
    ) -> Result<Routed, Full> {
        let mut receivers = std::mem::take(&mut self.receivers);
        let matched = self.find_receivers(message, from, &mut receivers);
        let full = self.find_full(message, &receivers);
        let result = if let Some(full) = full {
            Err(full)
        } else {
            let by_commit = message.retain && self.retain(message, now);
            let (early, late) = if by_commit {
                (None, waiter)
            } else {
                (waiter, None)
            };
            let mut waits = self.deliver(message, &mut receivers, early, now);
            if let Some(waiter) = late {
                self.store.after_commit(waiter, now);
                waits = true;
            }
            Ok(Routed { matched, waits })
        };
        receivers.clear();
        self.receivers = receivers;
        result
    }

    /// Lists the sessions a message goes to, each once, at the highest QoS of its matching
    /// subscriptions and with all their identifiers [MQTT-3.3.4-2], and a member of each group
    /// besides. True if there is a matching subscription at all, be it one that does not want it.
    fn find_receivers(
        &mut self,
        message: &Message,
        from: Option<usize>,
        out: &mut Vec<Receiver>,
    ) -> bool {
        self.routing = self.routing.wrapping_add(1);
        let Broker {
            trie,
            sessions,
            auth,
            settings,
            routing,
            shared,
            ..
        } = self;
        let (topic, open) = (message.topic(), auth.open());
        let mut matched = false;
        trie.matches(topic, &mut |key: u32, options: &SubOptions| {
            matched = true;
            if let Some(group) = Groups::of_key(key) {
                return shared.met.push(group);
            }
            let index = key as usize;
            if options.no_local && from == Some(index) {
                return;
            }
            let Some(session) = sessions.get_mut(index) else {
                return;
            };
            let qos = outgoing_qos(settings, options, message);
            let retain = options.retain_as_published && message.retain;
            if session.reached.0 == *routing {
                let Some(known) = out.get_mut(session.reached.1 as usize) else {
                    return;
                };
                known.qos = known.qos.max(qos);
                known.retain |= retain;
                known.mapping = known.mapping.min(options.mapping);
                known.sub_ids.extend(options.sub_id.map(|id| id.get()));
                return;
            }
            if !open && !session.bridge && !auth.may_read(&session.who(), topic) {
                return;
            }
            session.reached = (*routing, out.len() as u32);
            let sub_ids = options.sub_id.map(|id| id.get()).into_iter().collect();
            out.push(Receiver {
                session: index,
                qos,
                retain,
                mapping: options.mapping,
                sub_ids,
                stored: false,
            });
        });
        while let Some(group) = self.shared.met.pop() {
            let chosen = self.choose(group, Among::All, message);
            out.extend(chosen.map(|(receiver, _)| receiver));
        }
        matched
    }

    /// The first durable queue that must hold the message and can't: it is full and refuses, or the
    /// disk takes nothing more.
    fn find_full(&self, message: &Message, receivers: &[Receiver]) -> Option<Full> {
        let closed = self.is_disk_closed();
        if self.is_memory_full(message) {
            return Some(Full {
                session: None,
                mapping: 0,
            });
        }
        let full = receivers.iter().find(|r| {
            let session = self.sessions.get(r.session);
            let waited_for = r.qos != QoS::AtMostOnce;
            waited_for
                && session.is_some_and(|s| {
                    (closed && s.is_durable()) || self.refuses(s, r.mapping, message.size())
                })
        });
        let kept = message.retain && message.qos != QoS::AtMostOnce;
        match full {
            Some(r) => Some(Full {
                session: Some(r.session),
                mapping: r.mapping,
            }),
            None => (closed && kept).then_some(Full {
                session: None,
                mapping: 0,
            }),
        }
    }

    /// Sends or queues a message. True if `waiter` was taken.
    fn deliver(
        &mut self,
        message: &Rc<Message>,
        receivers: &mut [Receiver],
        waiter: Option<Waiter>,
        now: Time,
    ) -> bool {
        // What came by a share may change hands, so it has a row of its own.
        let (mut targets, mut alone) = (Vec::new(), Vec::new());
        for receiver in receivers.iter_mut() {
            let Some(session) = self.sessions.get(receiver.session) else {
                continue;
            };
            let at_once = receiver.qos == QoS::AtMostOnce;
            let stored = Self::is_stored(session, receiver.qos, self.settings.queue_qos0_messages);
            // Nobody waits for a QoS 0 message to be stored, so nothing would slow it down.
            if stored && at_once && (self.is_disk_closed() || self.store.is_congested()) {
                let (mapping, lost) = (receiver.mapping, (1, u64::from(message.size())));
                self.drop_message(receiver.session, mapping, DropReason::QueueFull, lost, now);
                continue;
            }
            if stored && !self.make_room(receiver.session, receiver.mapping, message, now) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(receiver.session) else {
                continue;
            };
            receiver.stored = stored;
            if stored && is_share(receiver.mapping) {
                alone.push(target(session, receiver));
            } else if stored {
                targets.push(target(session, receiver));
            } else if at_once {
                self.send_now(message, receiver, now);
            } else {
                self.queue_in_ram(message, receiver, now);
            }
        }
        if targets.is_empty() && alone.is_empty() {
            return false;
        }
        let waits = waiter.is_some();
        let rows = u64::from(!targets.is_empty());
        let (together, apart) = (targets.clone(), alone.clone());
        let first = self.store.put_each(message, targets, alone, waiter, now);
        let mut together = together.into_iter().map(|target| (first, target));
        let mut apart = (first.0 + rows..).map(MessageId).zip(apart);
        for receiver in receivers.iter().filter(|r| r.stored) {
            let stored = match is_share(receiver.mapping) {
                true => apart.next(),
                false => together.next(),
            };
            let Some((id, target)) = stored else { break };
            self.queue_stored(message, receiver, id, target, now);
        }
        waits
    }

    /// Queues a message that the store has.
    pub(super) fn queue_stored(
        &mut self,
        message: &Rc<Message>,
        receiver: &Receiver,
        id: MessageId,
        target: Target,
        now: Time,
    ) {
        let (index, mapping) = (receiver.session, receiver.mapping);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let by_topic = session.by_topic && session.is_durable();
        session
            .outbound
            .push(entry(message, Some(id), target), by_topic);
        self.note_queued(index, mapping, message.size(), now);
        self.pump(index, now);
        if is_share(mapping) {
            self.queued_away(index, mapping);
        }
    }

    /// True if a message at `qos` for `session` goes through the store; at QoS 0 also behind
    /// those that were stored while the session was offline [MQTT-4.6.0-6].
    pub(super) fn is_stored(session: &Session, qos: QoS, queue_qos0: bool) -> bool {
        let late = session.conn.is_none() || session.outbound.is_behind();
        session.is_durable() && (qos != QoS::AtMostOnce || (late && queue_qos0))
    }

    /// Sends a QoS 0 message to a receiver that is connected and keeps up.
    pub(super) fn send_now(&mut self, message: &Rc<Message>, receiver: &Receiver, now: Time) {
        let Some(session) = self.sessions.get(receiver.session) else {
            return;
        };
        let Some(c) = session.conn else { return };
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        if conn.holds > 0 || session.outbound.holds_qos0() {
            return self.queue_in_ram(message, receiver, now);
        }
        if conn.stage != Stage::Connected || conn.outbox.len() > OUTBOX_LIMIT {
            let lost = (1, u64::from(message.size()));
            let (index, mapping) = (receiver.session, receiver.mapping);
            return self.drop_message(index, mapping, DropReason::Slow, lost, now);
        }
        let entry = Entry {
            message: Rc::clone(message),
            id: None,
            seq: 0,
            qos: QoS::AtMostOnce,
            retain: receiver.retain,
            dup: false,
            mapping: receiver.mapping,
            sub_ids: receiver.sub_ids.as_slice().into(),
        };
        if self.transmit(c, &entry, now) == Transmitted::TooLarge {
            self.drop_entry(receiver.session, &entry, DropReason::TooLarge, now);
        }
    }

    /// Queues a message for a session that lives only as long as its connection. Its queue is
    /// RAM and bounded.
    fn queue_in_ram(&mut self, message: &Rc<Message>, receiver: &Receiver, now: Time) {
        let (index, mapping) = (receiver.session, receiver.mapping);
        let connected = self.sessions.get(index).is_some_and(|s| s.conn.is_some());
        if !connected || !self.make_room_in_ram(index, mapping, message, now) {
            return;
        }
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let target = target(session, receiver);
        session.outbound.push(entry(message, None, target), false);
        self.pump(index, now);
    }

    /// Queues a retained message for a new subscription, behind what is queued already.
    pub(super) fn queue_retained(
        &mut self,
        index: usize,
        message: &Rc<Message>,
        options: &SubOptions,
        now: Time,
    ) {
        let limit = OTHERS_WAITING + COPIES_OF_RETAINED * self.retained.len();
        let fits = |s: &Session| s.outbound.ready() <= limit;
        if !self.sessions.get(index).is_some_and(fits) {
            let lost = (1, u64::from(message.size()));
            return self.drop_message(index, options.mapping, DropReason::QueueFull, lost, now);
        }
        if !self.make_room(index, options.mapping, message, now) {
            return;
        }
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let qos = outgoing_qos(&self.settings, options, message);
        let sub_ids = options.sub_id.map(|id| id.get()).into_iter().collect();
        let receiver = Receiver {
            session: index,
            qos,
            retain: true,
            mapping: options.mapping,
            sub_ids,
            stored: false,
        };
        let stored = Self::is_stored(session, qos, self.settings.queue_qos0_messages);
        if !stored && session.conn.is_none() {
            return;
        }
        let target = target(session, &receiver);
        let id = stored.then(|| {
            let targets = vec![target.clone()];
            self.store.put(Rc::clone(message), targets, None, now)
        });
        let by_topic = session.by_topic && id.is_some();
        session.outbound.push(entry(message, id, target), by_topic);
        self.note_queued(index, options.mapping, message.size(), now);
    }

    /// Keeps or deletes the retained message of a topic [MQTT-3.3.1-5], [MQTT-3.3.1-6]. True if
    /// that must reach the disk before the publisher is answered.
    fn retain(&mut self, message: &Rc<Message>, now: Time) -> bool {
        let topic = message.topic();
        let changed = if message.payload().is_empty() {
            self.retained.remove(topic).is_some()
        } else {
            self.retained.set(Rc::clone(message));
            if let Some(at) = message.expiry {
                self.wheel.wake(at);
            }
            true
        };
        // The broker's own figures are made anew at each start.
        if topic.starts_with("$SYS/") {
            return false;
        }
        // What is gone already may still have its row, until a change that nobody waited for is
        // written.
        let awaited = message.qos != QoS::AtMostOnce;
        if awaited && (changed || self.unwritten.rests(topic)) {
            self.unwritten.promised(topic);
            self.store.promise(now);
        } else if changed {
            match self.unwritten.changed(topic, now) {
                Some(at) => self.store.commit_by(at),
                None => self.store.lazy(now),
            }
        }
        // Also where nothing was deleted: an earlier deletion may still be on its way.
        true
    }
}

/// The QoS a subscriber gets a message at [MQTT-3.8.4-8], [MQTT-4.8.2-3].
pub(super) fn outgoing_qos(settings: &General, options: &SubOptions, message: &Message) -> QoS {
    match settings.upgrade_outgoing_qos {
        true => options.qos,
        false => options.qos.min(message.qos),
    }
}

/// The row's entry for one receiver; takes the next place in its sequence.
pub(super) fn target(session: &mut Session, receiver: &Receiver) -> Target {
    let seq = match receiver.qos {
        QoS::AtMostOnce => 0,
        _ => session.outbound.next_seq(),
    };
    Target {
        session: session.id,
        seq,
        qos: receiver.qos,
        retain: receiver.retain,
        low: false,
        mapping: receiver.mapping,
        sub_ids: receiver.sub_ids.as_slice().into(),
    }
}

/// The queue's entry for a message as its row has it.
pub(super) fn entry(message: &Rc<Message>, id: Option<MessageId>, target: Target) -> Entry {
    Entry {
        message: Rc::clone(message),
        id,
        seq: target.seq,
        qos: target.qos,
        retain: target.retain,
        dup: false,
        mapping: target.mapping,
        sub_ids: target.sub_ids,
    }
}
