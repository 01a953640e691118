//! What the peer refuses: its message goes back to its place, and its lane is paused while the others
//! go on. When the pause ends the lane probes with one message, and with each that is accepted one
//! more may be under way, until it is open again.
//!
//! A lane that was paused has a cursor of its own until it has caught up: else each of its messages
//! would have to be written down as one that the common cursor has passed, again and again, for as
//! long as the pause lasts.

use super::entry::{Done, Entry};
use super::outbound::Outbound;
use super::places::{Flight, Handshake, Hold, Places};
use crate::impossible;
use crate::lane::Lane;
use crate::message::MessageId;
use crate::mqtt::{PacketId, QoS, Reason};
use crate::store::Queued;

impl Places {
    pub(super) fn hold(&self, lane: Lane) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.lane == lane)
    }

    pub(super) fn is_condemned(&self, id: MessageId) -> bool {
        self.find_condemned(id).is_ok()
    }

    fn find_condemned(&self, id: MessageId) -> Result<usize, usize> {
        self.condemned.binary_search_by_key(&id, |(id, _)| *id)
    }

    /// The oldest message that was never sent, or is to be sent as if, of the lanes that `may` admits.
    pub(super) fn first_unsent(&self, may: impl Fn(Lane) -> bool) -> Option<MessageId> {
        let mut ready = self.ready.iter().filter(|e| !e.dup && may(e.owed.lane));
        let mut reading = self.reading.iter();
        let reading = reading.find(|queued| may(queued.lane) && !self.is_resent(queued.id));
        let firsts = [
            ready.find_map(|e| e.id),
            reading.map(|queued| queued.id),
            self.cold.first_unsent(&may),
        ];
        firsts.into_iter().flatten().min()
    }

    /// True if the oldest message that was never sent, of the lanes that `may` admits, is not in RAM:
    /// because none is there, or its lane is paused.
    pub(super) fn is_oldest_in_cold(&self, may: impl Fn(Lane) -> bool) -> bool {
        let mut reading = self.reading.iter();
        let reading = reading.find(|queued| may(queued.lane) && !self.is_resent(queued.id));
        let in_ram = self.oldest_ready(&may).and_then(|at| self.ready.get(at));
        let in_ram = in_ram.map(|entry| entry.id);
        let in_ram = in_ram.or(reading.map(|queued| Some(queued.id)));
        match in_ram {
            None => true,
            Some(_) if self.holds.is_empty() => false,
            Some(first) => {
                let cold = self.cold.first_unsent(&may);
                first.is_some() && cold.is_some() && cold < first
            }
        }
    }

    /// True if what was never sent of the lanes that `may` admits follows `sent`, and goes out in the
    /// order of its numbers.
    fn goes_in_order(&self, sent: MessageId, may: impl Fn(Lane) -> bool) -> bool {
        let ready = self.ready.iter().filter(|e| !e.dup && may(e.owed.lane));
        let reading = self.reading.iter();
        let reading = reading.filter(|queued| may(queued.lane) && !self.is_resent(queued.id));
        let in_ram = ready
            .filter_map(|e| e.id)
            .chain(reading.map(|queued| queued.id));
        let ids = in_ram.chain(self.cold.first_unsent(&may));
        std::iter::once(sent).chain(ids).is_sorted()
    }

    /// Puts back to `cold` what of a lane is in RAM and was never sent.
    fn clear_ram(&mut self, lane: Lane) {
        let mut at = 0;
        while let Some(entry) = self.ready.get(at) {
            let queued = entry.queued().filter(|_| !entry.dup);
            match queued.filter(|queued| queued.lane == lane) {
                Some(queued) => {
                    self.take_ready(at);
                    self.cold.put_back(queued);
                }
                None => at += 1,
            }
        }
        let reading = std::mem::take(&mut self.reading);
        for queued in reading.into_iter().rev() {
            if queued.lane == lane && !self.is_resent(queued.id) {
                self.cold.put_back(queued);
            } else {
                self.reading.push_front(queued);
            }
        }
    }
}

impl Outbound {
    /// The message under way with `id`, if the peer may refuse it now. `exactly_once`: by PUBREC;
    /// else by PUBACK, which some brokers send for QoS 2 too.
    pub fn refusable(&self, id: PacketId, exactly_once: bool) -> Option<Done> {
        let mut flights = self.places.as_ref()?.at(Handshake::Published);
        let flight = flights.find(|f| PacketId::of_sequence(f.owed.seq) == id)?;
        let fits = !exactly_once || flight.owed.qos == QoS::ExactlyOnce;
        let kept = flight.id.is_some() || (flight.message.is_some() && !flight.is_aside);
        (fits && kept).then(|| flight.done())
    }

    /// True if a message that was sent is still to be taken over by the peer. `seq`: its place in the
    /// sequence.
    pub fn is_owed(&self, lane: Lane, seq: u64, id: Option<MessageId>) -> bool {
        let Some(places) = &self.places else {
            return false;
        };
        let is_in_ram = places
            .at(Handshake::Published)
            .map(|f| &f.owed)
            .chain(places.ready.iter().map(|entry| &entry.owed))
            .any(|owed| owed.seq == seq && owed.qos != QoS::AtMostOnce);
        let is_stored = |id| {
            let mut reading = places.reading.iter();
            reading.any(|queued| queued.id == id) || places.cold.contains(lane, id)
        };
        is_in_ram || id.is_some_and(is_stored)
    }

    /// The peer has refused the message under way with `id`: it goes back to its place, to be sent
    /// again as new.
    pub fn take_back(&mut self, id: PacketId) {
        let Some(flight) = self.take_flight(id) else {
            return;
        };
        // They stand behind it in its lane.
        self.clear_ram(flight.owed.lane);
        let places = self.places();
        match flight.queued() {
            Some(queued) => places.cold.put_back(queued),
            None => places.make_ready_again(flight),
        }
    }

    /// The peer will never take the message under way with `id`, for this reason: as
    /// [`Outbound::condemn`]. The messages behind it go on.
    pub fn condemn_sent(&mut self, id: PacketId, reason: Reason) {
        let flight = self.take_flight(id);
        if let Some(queued) = flight.and_then(|flight| flight.queued()) {
            self.condemn(queued.id, reason);
            self.places().cold.put_back(queued);
        }
    }

    fn take_flight(&mut self, id: PacketId) -> Option<Flight> {
        let flights = &mut self.places.as_mut()?.flights;
        let mut carried = flights.iter();
        let at = carried.position(|f| PacketId::of_sequence(f.owed.seq) == id)?;
        flights.remove(at)
    }

    /// What of a lane is in RAM and was never sent goes back to where it came from. Later messages of
    /// others are sent before it from now on, so the lane gets a cursor of its own.
    fn clear_ram(&mut self, lane: Lane) {
        let cursor = self.cursor;
        let places = self.places();
        if places.hold(lane).is_none() {
            places.holds.push(Hold {
                is_low: false,
                ..Hold::low(lane, cursor)
            });
        }
        places.clear_ram(lane);
        if places.reading.is_empty() {
            // The answer to a question for nothing must not be taken for the next one's.
            self.reads = self.reads.wrapping_add(1);
        }
        if let Some(hold) = self.hold_mut(lane) {
            hold.is_late = true;
        }
    }

    /// The peer has refused the message under way with `id`, and it is nowhere else: it is no longer
    /// owed.
    pub fn abandon(&mut self, id: PacketId) {
        if let Some(flight) = self.take_flight(id) {
            self.forget(flight.owed.lane, flight.id, flight.size);
        }
    }

    /// The peer will never take a message, for this reason: [`Outbound::next`] gives it once more, and
    /// it is not to be sent then.
    pub fn condemn(&mut self, id: MessageId, reason: Reason) {
        let places = self.places();
        if let Err(at) = places.find_condemned(id) {
            places.condemned.insert(at, (id, reason));
        }
    }

    /// Why a message is not to be sent, once, if it was condemned.
    pub fn take_condemned(&mut self, id: Option<MessageId>) -> Option<Reason> {
        let places = self.places.as_mut()?;
        let at = places.find_condemned(id?).ok()?;
        Some(places.condemned.remove(at).1)
    }

    /// The message that [`Outbound::next`] gave is to be given once more.
    pub fn unsend(&mut self, entry: Entry) {
        let places = self.places();
        let (start, end) = places.part_of(&entry);
        places.count_in(&entry);
        // Those that wait before it for the same are passed over until their commit.
        let is_before = |e: &Entry| {
            e.owed.seq < entry.owed.seq && e.id.is_some_and(|id| places.is_condemned(id))
        };
        let at = places.ready.iter().take_while(|e| is_before(e)).count();
        places.ready.insert(at.clamp(start, end), entry);
    }

    /// Nothing more of a lane is sent for now.
    pub fn pause(&mut self, lane: Lane) {
        self.clear_ram(lane);
        if let Some(hold) = self.hold_mut(lane) {
            hold.limit = 0;
        }
    }

    /// The pause of a lane is over: `limit` of its messages may be under way, until the peer accepts
    /// one.
    pub fn probe(&mut self, lane: Lane, limit: u32) {
        if let Some(hold) = self.hold_mut(lane).filter(|hold| hold.limit == 0) {
            hold.limit = limit;
        }
    }

    /// The peer has accepted a message of a lane: if that one probes, one more may be under way.
    pub fn widen(&mut self, lane: Lane) {
        let window = u32::from(self.window);
        let Some(places) = self.places.as_ref().filter(|p| !p.holds.is_empty()) else {
            return;
        };
        let waits = places.first_unsent(|other| other == lane).is_some();
        // In a queue in RAM they have no numbers.
        let is_there = waits || places.ready.iter().any(|e| e.owed.lane == lane);
        let is_through = !is_there && places.unanswered(lane) == 0;
        if let Some(hold) = self.hold_mut(lane).filter(|hold| hold.limit > 0) {
            hold.limit = hold.limit.saturating_add(1);
            if hold.limit > window || is_through {
                hold.limit = Hold::OPEN;
            }
        }
        self.join_cursors();
    }

    /// No lane is paused any more: another configuration holds.
    pub fn open_lanes(&mut self) {
        for hold in self.places.iter_mut().flat_map(|places| &mut places.holds) {
            hold.limit = Hold::OPEN;
        }
    }

    fn hold_mut(&mut self, lane: Lane) -> Option<&mut Hold> {
        let holds = &mut self.places.as_mut()?.holds;
        holds.iter_mut().find(|hold| hold.lane == lane)
    }

    /// Every owed message of `lane` up to and including this one was sent at least once.
    pub(super) fn cursor_of(&self, lane: Lane) -> MessageId {
        let hold = self.places.as_ref().and_then(|places| places.hold(lane));
        hold.map_or(self.cursor, |hold| hold.cursor)
    }

    /// Every owed message of the lanes that have this cursor was sent, up to `id`.
    pub(super) fn move_cursor(&mut self, lane: Lane, id: MessageId) {
        match self.hold_mut(lane) {
            None => self.cursor = self.cursor.max(id),
            Some(hold) => hold.cursor = hold.cursor.max(id),
        }
        self.join_cursors();
    }

    /// Gives up the own cursors of lanes that are open and have caught up with the others; those of
    /// low priority keep theirs.
    fn join_cursors(&mut self) {
        let Some(places) = &mut self.places else {
            return;
        };
        let mut at = 0;
        while let Some(hold) = places.holds.get(at).copied() {
            at += 1;
            let own = |other| other == hold.lane;
            if hold.limit != Hold::OPEN || (hold.is_low && !hold.is_late) {
                continue;
            }
            if hold.is_low {
                let is_late = !places.goes_in_order(hold.cursor, own);
                places.holds[at - 1].is_late = is_late;
                continue;
            }
            let both = self.cursor.max(hold.cursor);
            let shares = |other| own(other) || places.hold(other).is_none();
            if places.goes_in_order(both, shares) {
                self.cursor = both;
                at -= 1;
                places.holds.remove(at);
            }
        }
    }

    /// True if a lane is paused, or was and has not caught up.
    pub fn is_held(&self, lane: Lane) -> bool {
        let hold = self.places.as_ref().and_then(|places| places.hold(lane));
        hold.is_some_and(|hold| !hold.is_low || hold.is_late)
    }

    /// Takes in the message of `entry` as a dead letter, which the store has as `id`.
    pub fn push_dead(&mut self, id: MessageId, entry: &Entry) {
        let Some(queued) = entry.queued() else {
            return impossible!("a dead letter was not in the store before");
        };
        let cold = &mut self.places().cold;
        cold.owe(Lane::Dead, Some(id), queued.size, None);
        cold.push_back(Queued {
            id,
            lane: Lane::Dead,
            ..queued
        });
    }
}

impl Places {
    /// Puts a message of a queue in RAM back to its place.
    fn make_ready_again(&mut self, flight: Flight) {
        let Some(message) = flight.message else {
            return;
        };
        let seq = flight.owed.seq;
        let entry = Entry::new(message, None, flight.owed);
        let (start, end) = self.part_of(&entry);
        self.count_in(&entry);
        let is_later = |e: &Entry| e.owed.qos != QoS::AtMostOnce && e.owed.seq > seq;
        let part = self.ready.iter().take(end).skip(start);
        let at = part.take_while(|e| !is_later(e)).count();
        self.ready.insert(start + at, entry);
    }
}
