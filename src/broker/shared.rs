//! Shared subscriptions (5.0 §4.8.2): who belongs to which group, and which member gets a message.
//!
//! A session numbers its shared subscriptions. The number travels with each message that comes by
//! one, where a bridge has the number of its topic line: so the queue keeps them in a lane of
//! their own, and what a member leaves behind is found without a look at the rest. In the store
//! such a message is a row of its own for this one receiver, because it may change hands
//! ([`super::hand_over`]).

use std::rc::Rc;

use super::conn::{Conn, Stage};
use super::deliver::{Receiver, entry, outgoing_qos, target};
use super::estates::Estates;
use super::session::Session;
use super::{Broker, OUTBOX_HIGH, OUTBOX_LIMIT};
use crate::message::{Message, MessageId, SessionId};
use crate::mqtt::{self, QoS};
use crate::route::{Among, FIRST_SHARE, Fitness, Groups, SubOptions};
use crate::time::Time;

/// Shared subscriptions that one client may have. Each is a lane of its queue.
pub(super) const MAX_SHARES: usize = 1_000;

/// A session's part in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Share {
    pub group: u32,
    /// The number that the session knows it by, from [`FIRST_SHARE`].
    pub line: u16,
}

/// All shared subscriptions.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub groups: Groups,
    pub estates: Estates,
    /// Messages below this number were stored before the broker started: whether they were sent
    /// is not known for sure.
    pub restored_below: MessageId,
    /// The groups that the message being routed meets.
    pub met: Vec<u32>,
}

/// What became of a message that was to be given to a member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Given {
    /// A member has it.
    Taken,
    /// Those that may have it have no room at the moment.
    NotYet,
    /// No member may have it.
    ToNobody,
}

impl Session {
    /// The group whose messages come by `line`.
    pub fn group(&self, line: u16) -> Option<u32> {
        let share = self.shares.iter().find(|share| share.line == line)?;
        Some(share.group)
    }

    /// A number for a new shared subscription; none of those that still owe something.
    fn free_line(&self) -> u16 {
        let mut taken: Vec<u16> = self.shares.iter().map(|share| share.line).collect();
        taken.sort_unstable();
        let free = |line: &u16| {
            taken.binary_search(line).is_err() && self.outbound.owed_by(*line).messages == 0
        };
        (FIRST_SHARE..=u16::MAX).find(free).unwrap_or(u16::MAX)
    }
}

impl Broker {
    /// Makes a session a member of the group `name`, a whole `$share/NAME/FILTER`, or changes its
    /// options. `options` get the line that its messages come by; one that is set is kept.
    pub(super) fn join(&mut self, index: usize, name: &str, options: &mut SubOptions) {
        let (Some((_, filter)), Some(session)) = (mqtt::share(name), self.sessions.get(index))
        else {
            return;
        };
        let key = index as u32;
        let known = self.shared.groups.find(name);
        let member = session.shares.iter().find(|s| Some(s.group) == known);
        let is_new = member.is_none();
        options.mapping = match (member, options.mapping) {
            (Some(share), _) => share.line,
            (None, 0) => session.free_line(),
            (None, line) => line,
        };
        let connected = session.conn.is_some();
        let (group, first) = self.shared.groups.join(name, key, *options);
        self.shared.groups.set_connected(group, key, connected);
        if first {
            let key = Groups::key(group);
            self.trie.add(filter, key, SubOptions::default());
        }
        if let (true, Some(session)) = (is_new, self.sessions.get_mut(index)) {
            let line = options.mapping;
            session.shares.push(Share { group, line });
            self.shared.estates.revive(group);
        }
    }

    /// Ends a session's part in the group `name`. True if there are other members; else the group
    /// is gone, and what is left in it.
    pub(super) fn quit(&mut self, index: usize, name: &str, group: u32, now: Time) -> bool {
        if let Some(session) = self.sessions.get_mut(index) {
            session.shares.retain(|share| share.group != group);
        }
        let last = self.shared.groups.leave(group, index as u32);
        if let (true, Some((_, filter))) = (last, mqtt::share(name)) {
            self.trie.remove(filter, Groups::key(group));
            self.end_estates(group, now);
        }
        !last
    }

    /// Picks the member of a group that gets a message, and says how fit it is.
    pub(super) fn choose(
        &mut self,
        group: u32,
        among: Among,
        message: &Message,
    ) -> Option<(Receiver, Fitness)> {
        let mut groups = std::mem::take(&mut self.shared.groups);
        let picked = groups.pick(group, among, |key, options| {
            self.fitness(key as usize, options, message)
        });
        self.shared.groups = groups;
        let (key, options, fitness) = picked?;
        let receiver = Receiver {
            session: key as usize,
            qos: outgoing_qos(&self.settings, &options, message),
            retain: options.retain_as_published && message.retain,
            mapping: options.mapping,
            sub_ids: options.sub_id.map(|id| id.get()).into_iter().collect(),
            stored: false,
        };
        Some((receiver, fitness))
    }

    /// How well a session could take a message now.
    fn fitness(&self, index: usize, options: &SubOptions, message: &Message) -> Fitness {
        let Some(session) = self.sessions.get(index) else {
            return Fitness::Unfit;
        };
        if !self.auth.open() && !self.auth.may_read(&session.who(), message.topic()) {
            return Fitness::Unfit;
        }
        let acked = outgoing_qos(&self.settings, options, message) != QoS::AtMostOnce;
        let conn = session.conn.and_then(|c| self.conns.get(c.0));
        let kept = session.is_durable() && (acked || self.settings.queue_qos0_messages);
        // Whoever goes with its connection is no help while all of them end.
        if !kept && (conn.is_none() || self.shutting_down) {
            return Fitness::Unfit;
        }
        let full = match conn {
            Some(conn) if !acked => conn.outbox.len() > OUTBOX_LIMIT,
            Some(_) if !kept => self.is_full_in_ram(session),
            _ => self.is_disk_closed() || !self.has_room(session, options.mapping, message.size()),
        };
        match conn {
            _ if full => Fitness::Full,
            None => Fitness::Away,
            Some(conn) if is_free(session, conn) => Fitness::Free,
            Some(_) => Fitness::Busy(session.outbound.len()),
        }
    }

    /// True if a connected member of a group could be sent something now.
    pub(super) fn has_free_member(&mut self, group: u32) -> bool {
        let mut groups = std::mem::take(&mut self.shared.groups);
        let has_free = groups.has_free(group, |key| {
            let session = self.sessions.get(key as usize);
            let conn = session.and_then(|s| self.conns.get(s.conn?.0));
            let member = session.zip(conn);
            member.is_some_and(|(s, c)| is_free(s, c) && self.has_room(s, 0, 0))
        });
        self.shared.groups = groups;
        has_free
    }

    /// Gives a message to a member of a group. `held`: its number, and the session that it is owed
    /// to.
    pub(super) fn give(
        &mut self,
        (group, among): (u32, Among),
        message: &Rc<Message>,
        held: Option<(MessageId, SessionId)>,
        now: Time,
    ) -> Given {
        match self.choose(group, among, message) {
            None => Given::ToNobody,
            Some((_, Fitness::Full)) => Given::NotYet,
            Some((receiver, _)) => match self.deliver_left(message, receiver, held, now) {
                true => Given::Taken,
                false => Given::NotYet,
            },
        }
    }

    /// Gives a message that a member of a group has left to another. `held`: its number, and the
    /// session that it is owed to: it changes hands in the store too, until the other has it,
    /// even if that one's session ends with its connection. False if there was no room.
    fn deliver_left(
        &mut self,
        message: &Rc<Message>,
        receiver: Receiver,
        held: Option<(MessageId, SessionId)>,
        now: Time,
    ) -> bool {
        let (index, mapping) = (receiver.session, receiver.mapping);
        let Some(session) = self.sessions.get(index) else {
            return false;
        };
        let stored = Self::is_stored(session, receiver.qos, self.settings.queue_qos0_messages);
        if receiver.qos == QoS::AtMostOnce && !stored {
            self.send_now(message, &receiver, now);
            if let Some((id, owner)) = held {
                self.store.ack(id, owner, now);
            }
            return true;
        }
        let room = match stored {
            true => self.make_room(index, mapping, message, now),
            false => self.make_room_in_ram(index, mapping, message, now),
        };
        let Some(session) = self.sessions.get_mut(index).filter(|_| room) else {
            return false;
        };
        let target = target(session, &receiver);
        let (message_of, row) = (Rc::clone(message), target.clone());
        let id = match held {
            Some(held) => self.store.hand_over(held, message_of, row, now),
            None if stored => self.store.put(message_of, vec![row], None, now),
            None => {
                session.outbound.push(entry(message, None, target), false);
                self.pump(index, now);
                return true;
            }
        };
        if !stored {
            // With a row of its own the message finds its way on after a crash.
            self.unsave_identity(index);
        }
        self.queue_stored(message, &receiver, id, target, now);
        true
    }

    /// How many subscriptions there are: each member of a group counts.
    pub(super) fn subscriptions(&self) -> usize {
        self.trie.len() - self.shared.groups.len() + self.shared.groups.members()
    }
}

/// True if a message for the session would leave at once.
pub(super) fn is_free(session: &Session, conn: &Conn) -> bool {
    let open = conn.stage == Stage::Connected && conn.holds == 0 && conn.outbox.len() < OUTBOX_HIGH;
    let queue = &session.outbound;
    open && queue.ready() == 0 && !queue.is_behind() && !queue.is_window_full()
}
