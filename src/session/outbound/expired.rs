//! Messages that expire while they wait [MQTT-3.3.2-5].

use super::Outbound;
use crate::session::entry::Done;
use crate::session::places::Places;
use crate::time::Time;

impl Outbound {
    /// When the next message expires that waits and was never sent; about.
    pub fn next_expiry(&self) -> Option<Time> {
        let places = self.places.as_ref()?;
        let reading = places.reading.iter();
        let unsent = reading.filter(|queued| !places.is_resent(queued.id));
        let ready = places.ready_expires.into_iter();
        ready
            .chain(unsent.filter_map(|queued| queued.expires))
            .chain(places.cold.next_expiry())
            .min()
    }

    /// Drops messages that have expired by `now` and were never sent, at most `limit` of them. Those
    /// that are being read are left: they are looked at when they come.
    pub fn drop_expired(&mut self, now: Time, limit: usize) -> Vec<Done> {
        let mut gone = Vec::new();
        let Some(places) = &mut self.places else {
            return gone;
        };
        places.take_expired(now, limit, &mut gone);
        let left = limit.saturating_sub(gone.len());
        places.cold.take_expired(now, left, |queued| {
            gone.push(Done {
                arrived: (queued.arrival, now),
                ..queued.into()
            });
        });
        if !gone.is_empty() {
            places.recount_cold();
        }
        for done in &gone {
            self.forget(done.lane, done.id, done.size);
        }
        self.skip(gone.iter().filter_map(|done| Some((done.lane, done.id?))));
        self.shrink();
        gone
    }
}

impl Places {
    /// Takes what has expired by `now` out of `ready`, until there are `limit` in `gone`.
    fn take_expired(&mut self, now: Time, limit: usize, gone: &mut Vec<Done>) {
        if self.ready_expires.is_none_or(|at| at > now) {
            return;
        }
        let mut next = None;
        for entry in std::mem::take(&mut self.ready) {
            let is_expired = entry.expiry().is_some_and(|at| at <= now);
            if is_expired && gone.len() < limit {
                gone.push(entry.done());
                self.count_out(&entry);
            } else {
                next = next.into_iter().chain(entry.expiry()).min();
                self.ready.push_back(entry);
            }
        }
        self.ready_expires = next;
        self.recount();
    }
}
