//! Messages on their way back to RAM: from the store's file, or from what of it is not written
//! yet.

use super::entry::Entry;
use super::outbound::Outbound;
use super::places::{READ_BYTES, READY_MESSAGES};
use crate::message::MessageId;
use crate::store::{IdRanges, Queued};

impl Outbound {
    /// True if there is little in RAM, so that more of the queue is to be brought there.
    pub fn is_low(&self) -> bool {
        let places = self.places.as_ref().filter(|_| self.online);
        places.is_some_and(|p| p.is_low() && p.reading.is_empty())
    }

    /// The ids to ask the store for now, and the token of the question. `durable_below`:
    /// messages below this number are on disk.
    pub fn wants(&mut self, durable_below: MessageId) -> Option<(u16, IdRanges)> {
        if !self.is_low() {
            return None;
        }
        let places = self.places.as_mut()?;
        let mut ids = IdRanges::default();
        loop {
            let shut = places.shut_lanes();
            let is_open = |lane| !shut.contains(&lane);
            if places.reading.len() >= READY_MESSAGES
                || places.cold.front_of(is_open).map(|id| id.0) <= ids.back()
            {
                break;
            }
            let Some(queued) = places.cold.pop_below(durable_below, is_open) else {
                break;
            };
            ids.push_back(queued.id.0);
            places.reading.push_back(queued);
        }
        places.recount();
        places.recount_cold();
        (!ids.is_empty()).then_some((self.reads, ids))
    }

    /// How many bytes come with the answer to the question under way, about.
    pub fn reading_bytes(&self) -> usize {
        let mut reading = self.places.iter().flat_map(|places| &places.reading);
        let first = reading.next().map_or(0, |queued| queued.size as usize);
        let rest = reading.map(|queued| queued.size as usize).sum::<usize>();
        first.max((first + rest).min(READ_BYTES))
    }

    /// Takes what comes next of the messages below `on_disk_below`, as long as there is room and
    /// `fetch` has them: the store need not be asked for those. True if one came.
    pub fn take_known(
        &mut self,
        on_disk_below: MessageId,
        mut fetch: impl FnMut(MessageId) -> Option<Entry>,
    ) -> bool {
        let mut taken = false;
        while self.is_next_below(on_disk_below)
            && let Some(places) = &mut self.places
        {
            let shut = places.shut_lanes();
            let is_open = |lane| !shut.contains(&lane);
            let next = places.cold.front_of(is_open);
            let Some((id, mut entry)) = next.and_then(|id| Some((id, fetch(id)?))) else {
                break;
            };
            places.cold.pop_below(on_disk_below, is_open);
            entry.dup = places.is_resent(id);
            places.make_ready(entry);
            taken = true;
        }
        taken
    }

    /// True if there is room for the next message, and its number is below `on_disk_below`.
    pub fn is_next_below(&self, on_disk_below: MessageId) -> bool {
        let places = self.places.as_ref().filter(|_| self.online);
        let places = places.filter(|places| places.has_room() && places.reading.is_empty());
        places.is_some_and(|places| {
            let shut = places.shut_lanes();
            let next = places.cold.front_of(|lane| !shut.contains(&lane));
            next.is_some_and(|id| id < on_disk_below)
        })
    }

    /// Takes what comes next from the store's RAM, where messages from `durable_below` on still are,
    /// as long as there is room. `fetch` gives a message, if the store has it. True if one came.
    pub fn fill(
        &mut self,
        durable_below: MessageId,
        mut fetch: impl FnMut(MessageId) -> Option<Entry>,
    ) -> bool {
        let (online, mut filled) = (self.online, false);
        while let Some(places) = &mut self.places
            && online
            && places.has_room()
            && places.reading.is_empty()
        {
            let shut = places.shut_lanes();
            let is_open = |lane| !shut.contains(&lane);
            let Some(queued) = places.cold.pop_from(durable_below, is_open) else {
                break;
            };
            match fetch(queued.id) {
                Some(mut entry) => {
                    entry.dup = places.is_resent(queued.id);
                    places.make_ready(entry);
                    filled = true;
                }
                None => self.forget(queued.lane, Some(queued.id), queued.size),
            }
        }
        filled
    }

    /// True if `token` belongs to the read under way.
    pub fn expects(&self, token: u16) -> bool {
        let reading = self.places.as_ref().is_some_and(|p| !p.reading.is_empty());
        self.reads == token && reading
    }

    /// True while the next message could be sent, or one be set aside, but for the commit that it
    /// waits for.
    pub fn awaits_commit(&self, durable_below: MessageId) -> bool {
        let Some(places) = self.places.as_ref().filter(|_| self.online) else {
            return false;
        };
        let first = places.first_ready(durable_below);
        let head = first.and_then(|at| places.ready.get(at)?.id);
        let moves = places.condemned.last().map(|(id, _)| *id);
        head.max(moves).is_some_and(|id| id >= durable_below)
    }

    /// A message came from the store, in the order asked for. Messages that were asked for
    /// before it and did not come are lost; they are returned.
    pub fn read(&mut self, mut entry: Entry) -> Vec<Queued> {
        let Some(id) = entry.id else {
            return Vec::new();
        };
        let lost = self.give_up(id);
        let places = self.places();
        if places.reading.front().is_some_and(|queued| queued.id == id) {
            places.reading.pop_front();
            entry.dup = places.is_resent(id);
            places.make_ready(entry);
        }
        lost
    }

    /// The answer is complete: everything below `through` was looked at, and what of it did not
    /// come is lost. The rest goes back to the front of the queue.
    pub fn read_done(&mut self, through: MessageId) -> Vec<Queued> {
        let lost = self.give_up(through);
        let places = self.places();
        let rest = std::mem::take(&mut places.reading);
        places.put_back(rest.into());
        lost
    }

    /// Forgets what was asked for below `id` and did not come.
    fn give_up(&mut self, id: MessageId) -> Vec<Queued> {
        let reading = &mut self.places().reading;
        let count = reading.iter().take_while(|queued| queued.id < id).count();
        let lost: Vec<Queued> = reading.drain(..count).collect();
        for queued in &lost {
            self.forget(queued.lane, Some(queued.id), queued.size);
            self.places().forget_resend(queued.id);
        }
        lost
    }
}
