//! What the member of a shared subscription leaves behind when it goes, and who gets it.
//!
//! A session that goes away leaves its unacknowledged QoS 1 messages and those that were never
//! sent to the others of the group; where a QoS 2 handshake may have begun, the message stays
//! [MQTT-4.8.2-4]. Its queue becomes an *estate*: it stays where it is, on disk, and whenever a
//! connected member could be sent something, the next message changes hands. So a backlog is
//! neither read at once nor written anew long before it can be delivered, and a member that comes
//! back in time finds the rest. A session that ends while it has such messages lives on without a
//! name until they are gone ([`Session::ended`]).

use std::rc::Rc;

use super::estates::{Estates, Place, Reading};
use super::session::Session;
use super::shared::{Given, Share, is_free};
use super::{Broker, DropReason};
use crate::message::{Message, MessageId};
use crate::mqtt::QoS;
use crate::route::{Among, is_share};
use crate::session::READ_BYTES;
use crate::store::{self, IdRanges, ReadRequest, Rows, Target};
use crate::time::Time;

/// How many messages are read at a time.
const PIECE: usize = 64;

impl Broker {
    /// A session has a connection: what waits for it is its own again.
    pub(super) fn come_online(&mut self, index: usize) {
        let shares = self.sessions.get(index).map(|s| s.shares.clone());
        for Share { group, line } in shares.into_iter().flatten() {
            self.shared.groups.set_connected(group, index as u32, true);
            self.shared.estates.remove(group, (index, line));
            self.shared.estates.revive(group);
        }
    }

    /// The connection of a session is gone: its queue falls back to disk, and what came by shares
    /// is for the others.
    pub(super) fn go_offline(&mut self, index: usize, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if !session.is_durable() {
            return self.leave_ram(index, now);
        }
        session.outbound.disconnect();
        for Share { group, line } in session.shares.clone() {
            self.shared.groups.set_connected(group, index as u32, false);
            self.leave_to_others(index, group, line);
        }
    }

    /// What waits for a session and came by `line` is for the other members of `group`.
    pub(super) fn leave_to_others(&mut self, index: usize, group: u32, line: u16) {
        let Some(session) = self.sessions.get(index) else {
            return;
        };
        if session.outbound.has_waiting(line) {
            self.shared.estates.add(group, (index, line), session.id);
        }
    }

    /// A message was queued for a member that is away, because no other could take it.
    pub(super) fn queued_away(&mut self, index: usize, line: u16) {
        let session = self.sessions.get(index).filter(|s| s.conn.is_none());
        if let Some((id, group)) = session.and_then(|s| Some((s.id, s.group(line)?))) {
            self.shared.estates.add(group, (index, line), id);
        }
    }

    /// A session that ends with its connection leaves its groups; what it did not deliver goes to
    /// others at once, since it lives nowhere else.
    fn leave_ram(&mut self, index: usize, now: Time) {
        let shares = self.leave_groups(index, now);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let (store, owner) = (&mut self.store, session.id);
        let left = session.outbound.take_left(|id| {
            store.ack(id, owner, now);
        });
        for left in left {
            let share = shares.iter().find(|(share, _)| share.line == left.line);
            let held = left.id.map(|id| (id, owner));
            let group = share
                .filter(|(_, lives)| *lives)
                .map(|(share, _)| share.group);
            let given = group.map(|group| {
                let anybody = (group, Among::All);
                self.give(anybody, &left.message, held, now)
            });
            if given == Some(Given::Taken) {
                continue;
            }
            let lost = (1, u64::from(left.message.size()));
            self.drop_message(index, left.line, DropReason::SessionEnded, lost, now);
            self.delivered(index, left.id, now);
        }
    }

    /// Ends all memberships of a session. Returns them, and which of the groups go on.
    fn leave_groups(&mut self, index: usize, now: Time) -> Vec<(Share, bool)> {
        let Some(session) = self.sessions.get_mut(index) else {
            return Vec::new();
        };
        session.shares.clear();
        let subscriptions = session.subscriptions.iter();
        let shared = subscriptions.filter(|s| is_share(s.options.mapping));
        let names: Vec<(Box<str>, u16)> = shared
            .map(|s| (s.filter.clone(), s.options.mapping))
            .collect();
        let mut left = Vec::with_capacity(names.len());
        for (name, line) in names {
            let Some(group) = self.shared.groups.find(&name) else {
                continue;
            };
            self.shared.estates.remove(group, (index, line));
            let lives = self.quit(index, &name, group, now);
            left.push((Share { group, line }, lives));
        }
        left
    }

    /// A session ends. If it has messages for others, it stays until they are gone, without a
    /// name, and this is true.
    pub(super) fn bequeath(&mut self, index: usize, now: Time) -> bool {
        let ended = self.sessions.get(index).is_none_or(|s| s.ended);
        if ended {
            return false;
        }
        let shares = self.leave_groups(index, now);
        let Some(session) = self.sessions.get_mut(index) else {
            return false;
        };
        let kept = |line| shares.iter().any(|(s, lives)| *lives && s.line == line);
        if !session.is_durable() || !shares.iter().any(|(share, _)| kept(share.line)) {
            return false;
        }
        let (len, bytes) = (session.outbound.len(), session.outbound.bytes());
        let (store, owner) = (&mut self.store, session.id);
        let gone = |id| {
            store.ack(id, owner, now);
        };
        session.outbound.reduce_to(kept, gone);
        let lost = (
            len - session.outbound.len().min(len),
            bytes - session.outbound.bytes().min(bytes),
        );
        if lost.0 > 0 {
            self.drop_message(index, 0, DropReason::SessionEnded, lost, now);
        }
        if self
            .sessions
            .get(index)
            .is_none_or(|s| s.outbound.is_empty())
        {
            return false;
        }
        let shares: Vec<Share> = shares.iter().map(|(share, _)| *share).collect();
        self.live_on(index, shares, now);
        true
    }

    /// Makes a session an estate and nothing else.
    fn live_on(&mut self, index: usize, mut shares: Vec<Share>, now: Time) {
        self.forget_identity(index);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        shares.retain(|share| session.outbound.has_waiting(share.line));
        let kept = |line| shares.iter().any(|share| share.line == line);
        session.subscriptions.retain(|s| kept(s.options.mapping));
        session.inbound = Default::default();
        session.will = None;
        session.ended = true;
        session.shares.clone_from(&shares);
        self.unsave_identity(index);
        self.unsave_state(index);
        self.store.promise(now);
        for share in shares {
            self.leave_to_others(index, share.group, share.line);
        }
    }

    /// A client leaves one group: what was sent to it is its own to the end [MQTT-3.10.4-3], the
    /// rest is for the others.
    pub(super) fn leave_group(&mut self, index: usize, name: &str, line: u16, now: Time) {
        let group = self.sessions.get(index).and_then(|s| s.group(line));
        let Some(group) = group else { return };
        if !self.quit(index, name, group, now) {
            return;
        }
        let mut at = 0;
        while let Some(session) = self.sessions.get(index)
            && let Some((found, left)) = session.outbound.next_unsent(line, at)
        {
            let held = left.id.map(|id| (id, session.id));
            if self.give((group, Among::All), &left.message, held, now) != Given::Taken {
                at = found + 1;
            } else if let Some(session) = self.sessions.get_mut(index) {
                session.outbound.take_unsent(found);
                at = found;
            }
        }
        self.leave_to_others(index, group, line);
    }

    /// A group is gone: what its estates have is lost, but for what their owners get themselves.
    pub(super) fn end_estates(&mut self, group: u32, now: Time) {
        for ((index, line), owner) in self.shared.estates.end(group) {
            let session = self.sessions.get_mut(index);
            if let Some(session) = session.filter(|s| s.id == owner && s.ended) {
                session.shares.retain(|share| share.line != line);
                self.end_if_spent(index, now);
            }
        }
    }

    /// Ends a session that lived on for messages that nobody is to get any more.
    fn end_if_spent(&mut self, index: usize, now: Time) {
        let spent = |s: &Session| {
            let waits = |share: &Share| s.outbound.has_waiting(share.line);
            s.ended && !s.shares.iter().any(waits)
        };
        if self.sessions.get(index).is_some_and(spent) {
            self.end_session(index, now);
        }
    }

    /// After a start: what lies with absent members is there for others.
    pub(super) fn restore_estates(&mut self, index: usize, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let groups = &self.shared.groups;
        if session.ended {
            let shares = session.subscriptions.iter().filter_map(|s| {
                let line = s.options.mapping;
                let group = groups.find(&s.filter)?;
                is_share(line).then_some(Share { group, line })
            });
            session.shares = shares.collect();
        }
        for Share { group, line } in session.shares.clone() {
            self.leave_to_others(index, group, line);
        }
        self.end_if_spent(index, now);
    }

    /// A session that had sent all it had may take over what others of its groups have left, if
    /// it still has nothing to send.
    fn ask_groups(&mut self, index: usize) {
        let session = self.sessions.get(index);
        let conn = session.and_then(|s| self.conns.get(s.conn?.0));
        let free = session.zip(conn).filter(|(s, conn)| is_free(s, conn));
        for share in free.into_iter().flat_map(|(session, _)| &session.shares) {
            self.shared.estates.look_at(share.group);
        }
    }

    /// Hands out what can be handed out; the end of every turn. While the disk takes nothing, all
    /// that waits to be looked at keeps waiting.
    pub(super) fn hand_out_due(&mut self, now: Time) {
        while !self.is_disk_closed() {
            if let Some(group) = self.shared.estates.take_due() {
                self.hand_out(group, now);
            } else if let Some(index) = self.shared.estates.take_asking() {
                self.ask_groups(index);
            } else {
                return;
            }
        }
    }

    fn hand_out(&mut self, group: u32, now: Time) {
        while let Some((place, estate)) = self.shared.estates.next(group)
            && self.has_free_member(group)
        {
            let (index, line) = place;
            let session = self.sessions.get(index);
            let Some(session) = session.filter(|s| s.id == estate.session) else {
                self.shared.estates.remove(group, place);
                continue;
            };
            let mut waiting = session.outbound.waiting(line, estate.passed).peekable();
            let on_disk_below = self.store.on_disk_below();
            let Some(first) = waiting.peek().copied() else {
                drop(waiting);
                self.shared.estates.spend(group, place);
                self.end_if_spent(index, now);
                continue;
            };
            if first < on_disk_below {
                let piece = waiting.take(PIECE).take_while(|id| *id < on_disk_below);
                let ids: Vec<MessageId> = piece.collect();
                let session = estate.session;
                return self.read_estate(Reading {
                    group,
                    place,
                    session,
                    ids,
                });
            }
            drop(waiting);
            let held = self.store.held(first, estate.session);
            match held.map(|(message, target)| (Rc::clone(message), target.qos)) {
                Some((message, qos)) => {
                    if !self.hand_on(group, place, first, &message, qos, now) {
                        return;
                    }
                }
                None => self.lose_left(place, first, now),
            }
        }
    }

    fn read_estate(&mut self, reading: Reading) {
        let mut ids = IdRanges::default();
        for id in &reading.ids {
            ids.push_back(id.0);
        }
        let token = self.shared.estates.read(reading);
        self.reads.push(ReadRequest {
            token,
            ranges: ids.runs().collect(),
            max_bytes: READ_BYTES,
        });
    }

    /// True if rows with this token are an estate's.
    pub(super) fn is_estate_read(token: u64) -> bool {
        Estates::is_read(token)
    }

    /// Rows of an estate have come.
    pub(super) fn on_estate_rows(&mut self, token: u64, rows: &Rows, now: Time) {
        let Some(reading) = self.shared.estates.read_done(token) else {
            return;
        };
        let Reading {
            group,
            place,
            session,
            ids,
        } = reading;
        let mut found = rows.iter().peekable();
        for id in ids.into_iter().take_while(|id| *id < rows.through) {
            let lives = self.sessions.get(place.0).is_some_and(|s| s.id == session);
            let owned = self.shared.estates.owns(group, place, session);
            if !lives || !owned {
                break;
            }
            while found.next_if(|(row, _)| *row < id).is_some() {}
            let row = found.next_if(|(row, _)| *row == id);
            let decoded = row.and_then(|(id, row)| store::decode_message(id, row).ok());
            let target = |targets: Vec<Target>| targets.into_iter().find(|t| t.session == session);
            match decoded.and_then(|(message, targets)| Some((message, target(targets)?.qos))) {
                Some((message, qos)) => {
                    if !self.hand_on(group, place, id, &Rc::new(message), qos, now) {
                        return;
                    }
                }
                None => self.lose_left(place, id, now),
            }
        }
        self.shared.estates.look_at(group);
    }

    /// Gives one message of an estate to somebody else, if that may be and somebody takes it. False
    /// if those who may have no room: [`Broker::ask_for_more`] tells when they do.
    fn hand_on(
        &mut self,
        group: u32,
        place: Place,
        id: MessageId,
        message: &Rc<Message>,
        qos: QoS,
        now: Time,
    ) -> bool {
        let (index, line) = place;
        let restored = id < self.shared.restored_below;
        let Some(session) = self.sessions.get(index) else {
            return true;
        };
        if !session.outbound.is_waiting(line, id) {
            return true;
        }
        let sent = session.outbound.was_sent(id);
        let (exact, ended, owner) = (qos == QoS::ExactlyOnce, session.ended, session.id);
        if exact && sent && ended {
            // Its session is over: nobody gets it [MQTT-4.8.2-5].
            let lost = (1, u64::from(message.size()));
            self.drop_message(index, line, DropReason::SessionEnded, lost, now);
            self.store.ack(id, owner, now);
        } else {
            // Whether one from before the start was sent is not known.
            let stays = exact && (sent || (restored && !ended));
            let given = match stays {
                true => Given::ToNobody,
                // Not to somebody who is away as well.
                false => {
                    let connected = (group, Among::Connected);
                    self.give(connected, message, Some((id, owner)), now)
                }
            };
            match given {
                Given::Taken => {}
                Given::NotYet => return false,
                Given::ToNobody => {
                    self.shared.estates.pass(group, place, id, stays);
                    return true;
                }
            }
        }
        if let Some(session) = self.sessions.get_mut(index) {
            let size = message.size();
            session.outbound.take_waiting(line, id, size);
        }
        true
    }

    /// A message that the store no longer has: a damaged row.
    fn lose_left(&mut self, (index, line): Place, id: MessageId, now: Time) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.outbound.is_waiting(line, id) {
            session.outbound.take_waiting(line, id, 0);
            self.drop_message(index, line, DropReason::Damaged, (1, 0), now);
            self.delivered(index, Some(id), now);
        }
    }
}
