//! Dropping what was never sent: the oldest, what a newer message on its topic supersedes, what
//! is too old.

use super::Outbound;
use crate::lane::Lane;
use crate::message::MessageId;
use crate::session::disowned::Disowned;
use crate::session::entry::Done;
use crate::session::places::Handshake;
use crate::store::{Amount, Taken};
use crate::time::Time;

impl Outbound {
    /// The lanes that owe something, or have.
    pub fn lanes(&self) -> Vec<Lane> {
        let places = self.places.as_ref();
        places.map_or(Vec::new(), |places| places.cold.lanes())
    }

    /// What could be dropped of all lanes: all that was never sent.
    pub fn unsent_all(&self) -> Amount {
        let Some(places) = &self.places else {
            return Amount::default();
        };
        if !self.durable {
            return Amount {
                messages: places.ready.len() as u64,
                bytes: places.ready_bytes as u64,
            };
        }
        let mut amount = places.cold.unsent_all();
        places.add_unsent(&mut amount, |_| true);
        amount
    }

    /// What could be dropped of the lanes that `may` admits: all that was never sent.
    pub fn unsent(&self, may: impl Fn(Lane) -> bool) -> Amount {
        let Some(places) = &self.places else {
            return Amount::default();
        };
        // A queue that lives in RAM may be long; mostly one answer holds for all of it.
        let all = || may(Lane::Client) && places.cold.lanes().into_iter().all(&may);
        if !self.durable && all() {
            return self.unsent_all();
        }
        let mut amount = places.cold.unsent(&may);
        places.add_unsent(&mut amount, may);
        amount
    }

    /// Drops the oldest message that was never sent, of the lanes that `may` admits.
    pub fn drop_oldest(&mut self, may: impl Fn(Lane) -> bool) -> Option<Done> {
        let places = self.places.as_mut()?;
        let dropped = if places.is_oldest_in_cold(&may) {
            // Only of a bridge matters when exactly; a client may have a thousand lanes.
            let next = places.cold.next_lane(&may)?;
            let lanes = next.line().map(|_| places.cold.lanes());
            let lanes = lanes.into_iter().flatten().filter(|lane| may(*lane));
            let latest = lanes.filter_map(|lane| places.cold.next_arrival(lane));
            let latest = latest.max();
            let queued = places.cold.pop_oldest(may)?;
            Done {
                arrived: (queued.arrival, latest.unwrap_or(queued.arrival)),
                ..queued.into()
            }
        } else {
            let ready = places.oldest_ready(&may);
            match ready.and_then(|at| places.take_ready(at)) {
                Some(dropped) => dropped,
                None => {
                    let queued = places.take_reading(&may)?;
                    // The answer to a question for nothing must not be taken for the next one's.
                    self.reads = self
                        .reads
                        .wrapping_add(u16::from(places.reading.is_empty()));
                    queued.into()
                }
            }
        };
        self.forget(dropped.lane, dropped.id, dropped.size);
        self.skip(dropped.id.map(|id| (dropped.lane, id)));
        Some(dropped)
    }

    /// Drops the oldest dead letter.
    pub fn drop_dead(&mut self) -> Option<Done> {
        let dropped = self.places.as_mut()?.cold.pop_dead()?;
        self.forget(dropped.lane, Some(dropped.id), dropped.size);
        Some(dropped.into())
    }

    /// The message before one on `topic` that is about to be pushed is superseded already.
    pub fn outdate(&mut self, lane: Lane, topic: &str) {
        if let Some(places) = &mut self.places {
            places.cold.outdate(lane, topic);
        }
    }

    /// Drops every message of a lane that was never sent and has a newer one on its topic. Returns
    /// their numbers, how many they are, and their bytes together.
    pub fn drop_superseded(&mut self, lane: Lane) -> (Disowned, Amount) {
        let places = self.places.as_mut();
        let Some(places) = places.filter(|places| places.cold.has_superseded(lane)) else {
            let none = Disowned::taken(Vec::new(), Taken::default());
            return (none, Amount::default());
        };
        let superseded = |id| places.cold.is_superseded(lane, id);
        let ready = places.ready.iter().filter_map(|e| e.id);
        let reading = places.reading.iter().map(|queued| queued.id);
        let in_ram: Vec<MessageId> = ready.chain(reading).filter(|id| superseded(*id)).collect();
        let asked = !places.reading.is_empty();
        let mut bytes = 0;
        for id in &in_ram {
            let Some(dropped) = self.places().take_by_id(*id) else {
                continue;
            };
            bytes += u64::from(dropped.size);
            self.forget(lane, dropped.id, dropped.size);
        }
        if asked && self.places().reading.is_empty() {
            self.reads = self.reads.wrapping_add(1);
        }
        let places = self.places();
        let (taken, cold_bytes) = places.cold.take_superseded(lane);
        places.owed.take(taken.len(), cold_bytes);
        let all = Amount {
            messages: taken.len() + in_ram.len() as u64,
            bytes: bytes + cold_bytes,
        };
        (Disowned::taken(in_ram, taken), all)
    }

    /// Drops the next message of a lane that waits outside RAM, was never sent, and is known to
    /// have arrived by `time`.
    pub fn drop_arrived_by(&mut self, lane: Lane, time: Time) -> Option<Done> {
        let cold = &mut self.places.as_mut()?.cold;
        let through = cold.arrived_by(lane, time)?;
        let queued = cold.pop_through(lane, through)?;
        self.forget(lane, Some(queued.id), queued.size);
        self.skip([(lane, queued.id)]);
        Some(Done {
            arrived: (queued.arrival, time),
            ..queued.into()
        })
    }

    /// The time that [`Outbound::drop_arrived_by`] wants to be asked for next.
    pub fn next_arrival(&self, lane: Lane) -> Option<Time> {
        self.places.as_ref()?.cold.next_arrival(lane)
    }

    /// About when the oldest message owed arrived; of one lane, or of all.
    pub fn oldest(&self, lane: Option<Lane>) -> Option<Time> {
        let places = self.places.as_ref()?;
        let wanted = |other: Lane| lane.is_none_or(|lane| lane == other);
        let flights = places.at(Handshake::Published);
        let flights = flights.filter(|f| wanted(f.owed.lane) && !f.is_aside);
        let flights = flights.map(|f| f.arrival);
        let ready = places.ready.iter().filter(|e| wanted(e.owed.lane));
        let reading = places.reading.iter().filter(|queued| wanted(queued.lane));
        flights
            .chain(ready.map(|entry| entry.message.arrival))
            .chain(reading.map(|queued| queued.arrival))
            .chain(places.cold.oldest(lane))
            .min()
    }

    /// Moves the cursors over dropped messages, if nothing before them is still to be sent: then they
    /// do not come back with the next start, even if their rows stay for others.
    pub(super) fn skip(&mut self, gone: impl IntoIterator<Item = (Lane, MessageId)>) {
        // Most of them share a cursor.
        let mut known: Option<(Option<Lane>, Option<MessageId>)> = None;
        for (lane, id) in gone {
            let Some(places) = self.places.as_ref().filter(|_| lane != Lane::Dead) else {
                continue;
            };
            let own = places.hold(lane).map(|hold| hold.lane);
            let first = match known {
                Some((cursor, first)) if cursor == own => first,
                _ => places.first_unsent(|other| {
                    own.map_or(places.hold(other).is_none(), |own| own == other)
                }),
            };
            known = Some((own, first));
            if first.is_none_or(|first| first > id) {
                self.move_cursor(lane, id);
            }
        }
    }
}
