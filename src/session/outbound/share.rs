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
        queue.flat_map(move |queue| queue.of_line(line, passed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Origin, Parts};
    use crate::mqtt::QoS;
    use crate::route::FIRST_SHARE;
    use crate::time::Time;

    const SHARE: u16 = FIRST_SHARE;
    const ON_DISK: MessageId = MessageId(u64::MAX);

    fn message() -> Rc<Message> {
        let parts = Parts {
            topic: "t",
            props: &[],
            payload: b"123456789",
        };
        Rc::new(Message::new(parts, Time::ZERO, Rc::new(Origin::default())).unwrap())
    }

    /// Ids 1 to 6: of a share, of another one, of none, and again.
    fn filled(durable: bool, qos: QoS) -> Outbound {
        let mut queue = Outbound::new(durable);
        queue.connect(4, Time::ZERO);
        for id in 1..=6 {
            let entry = Entry {
                message: message(),
                id: durable.then_some(MessageId(id)),
                seq: queue.next_seq(),
                qos,
                retain: false,
                dup: false,
                mapping: [SHARE, SHARE + 1, 0][id as usize % 3],
                sub_ids: Box::default(),
            };
            queue.push(entry, false);
        }
        queue
    }

    fn waiting(queue: &Outbound, line: u16, passed: u64) -> Vec<u64> {
        queue
            .waiting(line, MessageId(passed))
            .map(|id| id.0)
            .collect()
    }

    #[test]
    fn a_durable_queue_is_taken_apart_by_line() {
        let mut queue = filled(true, QoS::AtLeastOnce);
        for _ in 0..3 {
            queue.next(ON_DISK, QoS::ExactlyOnce, Time::ZERO);
        }
        queue.disconnect();
        assert_eq!(waiting(&queue, SHARE, 0), [3, 6]);
        assert_eq!(waiting(&queue, SHARE, 3), [6]);
        assert_eq!(waiting(&queue, SHARE + 1, 0), [1, 4]);
        assert!(queue.was_sent(MessageId(3)) && !queue.was_sent(MessageId(6)));
        for (line, id) in [(SHARE, 6), (SHARE, 3), (SHARE + 1, 4), (SHARE, 4)] {
            let waited = queue.is_waiting(line, MessageId(id));
            assert_eq!(waited, (line, id) != (SHARE, 4));
            queue.take_waiting(line, MessageId(id), 10);
            assert!(!queue.is_waiting(line, MessageId(id)));
            queue.check();
        }
        assert_eq!((queue.len(), queue.bytes()), (3, 30));
        let mut gone = Vec::new();
        queue.reduce_to(|line| line == SHARE + 1, |id| gone.push(id.0));
        assert_eq!((waiting(&queue, SHARE + 1, 0), gone), (vec![1], vec![2, 5]));
        assert!(queue.was_sent(MessageId(1)) && queue.len() == 1);
        queue.check();
    }

    #[test]
    fn what_was_not_sent_can_be_taken_out_of_ram() {
        let mut queue = filled(false, QoS::AtLeastOnce);
        for _ in 0..2 {
            queue.next(ON_DISK, QoS::ExactlyOnce, Time::ZERO);
        }
        let (at, _) = queue.next_unsent(SHARE, 0).unwrap();
        queue.take_unsent(at);
        assert_eq!(queue.next_unsent(SHARE, at).map(|(at, _)| at), Some(2));
        assert!(queue.next_unsent(SHARE, 3).is_none());
        assert_eq!((queue.len(), queue.ready()), (5, 3));
    }

    /// [MQTT-4.8.2-5]: of what is in flight, only QoS 1 is left to others.
    #[test]
    fn a_queue_in_ram_leaves_what_may_go_on() {
        for (qos, count) in [(QoS::AtLeastOnce, 4), (QoS::ExactlyOnce, 1)] {
            let mut queue = filled(false, qos);
            for _ in 0..4 {
                queue.next(ON_DISK, QoS::ExactlyOnce, Time::ZERO);
            }
            let left = queue.take_left(|id| panic!("{id:?} is in no store"));
            assert_eq!(left.len(), count, "{qos:?}");
            assert!(left.iter().all(|left| is_share(left.line)));
            assert!(queue.is_empty());
        }
    }
}
