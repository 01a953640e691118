//! What a member of a shared subscription leaves to the others.

use std::rc::Rc;

use super::{Entry, Outbound, Stage};
use crate::message::{Message, MessageId};
use crate::route::is_share;
use crate::store::Queue;

/// A message that was not delivered and may go to somebody else.
#[derive(Clone, Debug)]
pub struct Left {
    /// The message.
    pub message: Rc<Message>,
    /// Its number in the store, if it was owed durably.
    pub id: Option<MessageId>,
    /// The line it came by.
    pub line: u16,
}

impl From<Entry> for Left {
    fn from(entry: Entry) -> Left {
        Left {
            message: entry.message,
            id: entry.id,
            line: entry.mapping,
        }
    }
}

impl Outbound {
    /// The messages of `line` that wait outside RAM and follow `passed`: first those that were
    /// sent on an earlier connection, all in the order of their numbers.
    pub fn waiting(&self, line: u16, passed: MessageId) -> impl Iterator<Item = MessageId> {
        let queue = self.places.iter().map(|places| &places.cold);
        let waiting = queue.flat_map(move |queue| queue.of_line(line));
        waiting.filter(move |id| *id > passed)
    }

    /// True if a message was sent on an earlier connection.
    pub fn was_sent(&self, id: MessageId) -> bool {
        self.places.as_ref().is_some_and(|p| p.is_resent(id))
    }

    /// True if [`Outbound::waiting`] names this message.
    pub fn is_waiting(&self, line: u16, id: MessageId) -> bool {
        let places = self.places.as_ref();
        places.is_some_and(|p| p.cold.contains(line, id))
    }

    /// Takes out one of the messages that [`Outbound::waiting`] names, of `size` bytes.
    pub fn take_waiting(&mut self, line: u16, id: MessageId, size: u32) {
        let Some(places) = &mut self.places else {
            return;
        };
        let Some(size) = places.cold.take(line, id, size) else {
            return;
        };
        if let Ok(at) = places.resend.binary_search(&id) {
            places.resend.remove(at);
        }
        self.forget(line, Some(id), size);
    }

    /// The next message of `line` that waits in RAM and was never sent, from place `at` on, and
    /// its place.
    pub fn next_unsent(&self, line: u16, at: usize) -> Option<(usize, Left)> {
        let ready = &self.places.as_ref()?.ready;
        let unsent = |(_, e): &(usize, &Entry)| e.mapping == line && !e.dup;
        let (at, entry) = ready.iter().enumerate().skip(at).find(unsent)?;
        Some((at, Left::from(entry.clone())))
    }

    /// Takes the message that [`Outbound::next_unsent`] found in this place.
    pub fn take_unsent(&mut self, at: usize) {
        let places = self.places.as_mut();
        if let Some(taken) = places.and_then(|places| places.take_ready(at)) {
            self.forget(taken.mapping, taken.id, taken.size);
        }
    }

    /// For a session that ends with its connection: takes all that came by a share and may go to
    /// somebody else, in order, and calls `discard` for what may not, because a QoS 2 handshake
    /// has begun [MQTT-4.8.2-5].
    pub fn take_left(&mut self, mut discard: impl FnMut(MessageId)) -> Vec<Left> {
        let Some(places) = &mut self.places else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for flight in std::mem::take(&mut places.flights) {
            match (flight.message, flight.id) {
                (Some(message), id) if flight.stage == Stage::Published => left.push(Left {
                    message,
                    id,
                    line: flight.mapping,
                }),
                (_, Some(id)) => discard(id),
                (_, None) => {}
            }
        }
        let ready = std::mem::take(&mut places.ready);
        left.extend(
            ready
                .into_iter()
                .filter(|e| is_share(e.mapping))
                .map(Left::from),
        );
        self.disconnect();
        left
    }

    /// For a durable session that ends: keeps what never was sent, or sent once, of the lines
    /// that `keep` admits, and calls `gone` for all else.
    pub fn reduce_to(&mut self, keep: impl Fn(u16) -> bool, mut gone: impl FnMut(MessageId)) {
        self.disconnect();
        let Some(places) = &mut self.places else {
            return;
        };
        for flight in std::mem::take(&mut places.flights) {
            flight.id.into_iter().for_each(&mut gone);
        }
        let mut kept = Queue::default();
        for held in places.cold.take_sent() {
            if !keep(held.mapping) {
                gone(held.id);
            } else if kept.push_sent(held) {
                kept.owe(held.mapping, Some(held.id), held.size, None);
            }
        }
        while let Some(held) = places.cold.pop_below(MessageId(u64::MAX)) {
            if !keep(held.mapping) {
                gone(held.id);
            } else if kept.push_back(held) {
                kept.owe(held.mapping, Some(held.id), held.size, None);
            }
        }
        self.owed = kept.total();
        places.cold = kept;
    }

    /// True if messages of `line` wait outside RAM.
    pub fn has_waiting(&self, line: u16) -> bool {
        self.waiting(line, MessageId(0)).next().is_some()
    }
}
