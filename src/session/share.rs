//! What a member of a shared subscription leaves to the others.

use std::collections::VecDeque;

use super::disowned::Disowned;
use super::entry::Entry;
use super::outbound::Outbound;
use super::places::Handshake;
use crate::lane::Lane;
use crate::message::MessageId;
use crate::store::Queue;

impl Outbound {
    /// The messages of `lane` that wait outside RAM and follow `passed`: first those that were
    /// sent on an earlier connection, all in the order of their numbers.
    pub fn waiting(&self, lane: Lane, passed: MessageId) -> impl Iterator<Item = MessageId> {
        let queue = self.places.iter().map(|places| &places.cold);
        queue.flat_map(move |queue| queue.of_lane(lane, passed))
    }

    /// True if a message was sent on an earlier connection.
    pub fn was_sent(&self, id: MessageId) -> bool {
        self.places.as_ref().is_some_and(|p| p.is_resent(id))
    }

    /// True if [`Outbound::waiting`] names this message.
    pub fn is_waiting(&self, lane: Lane, id: MessageId) -> bool {
        let places = self.places.as_ref();
        places.is_some_and(|p| p.cold.contains(lane, id))
    }

    /// Takes out one of the messages that [`Outbound::waiting`] names, of `size` bytes.
    pub fn take_waiting(&mut self, lane: Lane, id: MessageId, size: u32) {
        let Some(places) = &mut self.places else {
            return;
        };
        let Some(size) = places.cold.take(lane, id, size) else {
            return;
        };
        places.forget_resend(id);
        self.forget(lane, Some(id), size);
    }

    /// Takes out one of the messages that [`Outbound::waiting`] names and the store no longer has.
    /// Returns its bytes.
    pub fn take_lost(&mut self, lane: Lane, id: MessageId) -> Option<u32> {
        let size = self.places.as_ref()?.cold.find_size(lane, id)?;
        self.take_waiting(lane, id, size);
        Some(size)
    }

    /// The next message of `lane` that waits in RAM and was never sent, from place `at` on, and
    /// its place.
    pub fn next_unsent(&self, lane: Lane, at: usize) -> Option<(usize, Entry)> {
        let ready = &self.places.as_ref()?.ready;
        let unsent = |(_, e): &(usize, &Entry)| e.owed.lane == lane && !e.dup;
        let (at, entry) = ready.iter().enumerate().skip(at).find(unsent)?;
        Some((at, entry.clone()))
    }

    /// Takes the message that [`Outbound::next_unsent`] found in this place.
    pub fn take_unsent(&mut self, at: usize) {
        let places = self.places.as_mut();
        if let Some(taken) = places.and_then(|places| places.take_ready(at)) {
            self.forget(taken.lane, taken.id, taken.size);
        }
    }

    /// For a session that ends with its connection: takes all that was not sent, and what came by a share
    /// and may go to somebody else, in order. Calls `discard` for what may not go to anybody, because a
    /// QoS 2 handshake has begun [MQTT-4.8.2-5].
    pub fn take_left(&mut self, mut discard: impl FnMut(MessageId)) -> VecDeque<Entry> {
        let Some(places) = &mut self.places else {
            return VecDeque::new();
        };
        let mut left = std::mem::take(&mut places.ready);
        for flight in std::mem::take(&mut places.flights).into_iter().rev() {
            // What an upstream was sent it may have.
            let may_go = flight.handshake == Handshake::Published && flight.owed.lane.is_share();
            match (flight.message, flight.id) {
                (Some(message), id) if may_go => {
                    left.push_front(Entry::new(message, id, flight.owed));
                }
                (_, Some(id)) => discard(id),
                (_, None) => {}
            }
        }
        self.disconnect();
        left
    }

    /// For a durable session that ends: keeps what never was sent, or sent once, of the lanes
    /// that `keep` admits, and returns all else.
    pub fn reduce_to(&mut self, keep: impl Fn(Lane) -> bool) -> Disowned {
        self.disconnect();
        let Some(places) = &mut self.places else {
            return Disowned::new(Vec::new(), Queue::default(), 0);
        };
        let flights = std::mem::take(&mut places.flights).into_iter();
        let sent = flights.filter_map(|flight| flight.id).collect();
        let gone = places.cold.part_with(|lane| !keep(lane));
        places.owed = places.cold.total();
        places.recount_cold();
        let gone_bytes = gone.room();
        Disowned::new(sent, gone, gone_bytes)
    }

    /// True if messages of `lane` wait outside RAM.
    pub fn has_waiting(&self, lane: Lane) -> bool {
        self.waiting(lane, MessageId(0)).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    use crate::lane::ShareNo;
    use crate::message::{Message, Origin, Parts, SessionId};
    use crate::mqtt::QoS;
    use crate::owed::Owed;
    use crate::store::Amount;
    use crate::time::Time;

    const ON_DISK: MessageId = MessageId(u64::MAX);

    fn share(number: u16) -> Lane {
        Lane::Share(ShareNo::new(number).unwrap())
    }

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
            let owed = Owed {
                session: SessionId(1),
                lane: [share(0), share(1), Lane::Client][id as usize % 3],
                seq: queue.next_seq(),
                qos,
                retain: false,
                sub_ids: Box::default(),
            };
            let entry = Entry::new(message(), durable.then_some(MessageId(id)), owed);
            queue.push(entry, false);
        }
        queue
    }

    fn send(queue: &mut Outbound) {
        let entry = queue.next(ON_DISK, |entry| entry.owed.qos).unwrap();
        queue.sent(entry, Time::ZERO);
    }

    fn waiting(queue: &Outbound, lane: Lane, passed: u64) -> Vec<u64> {
        queue
            .waiting(lane, MessageId(passed))
            .map(|id| id.0)
            .collect()
    }

    #[test]
    fn a_durable_queue_is_taken_apart_by_lane() {
        let mut queue = filled(true, QoS::AtLeastOnce);
        for _ in 0..3 {
            send(&mut queue);
        }
        queue.disconnect();
        assert_eq!(waiting(&queue, share(0), 0), [3, 6]);
        assert_eq!(waiting(&queue, share(0), 3), [6]);
        assert_eq!(waiting(&queue, share(1), 0), [1, 4]);
        assert!(queue.was_sent(MessageId(3)) && !queue.was_sent(MessageId(6)));
        for (lane, id) in [(share(0), 6), (share(0), 3), (share(1), 4), (share(0), 4)] {
            let waited = queue.is_waiting(lane, MessageId(id));
            assert_eq!(waited, (lane, id) != (share(0), 4));
            queue.take_waiting(lane, MessageId(id), 10);
            assert!(!queue.is_waiting(lane, MessageId(id)));
            queue.check();
        }
        assert_eq!((queue.len(), queue.bytes()), (3, 30));
        let gone = queue.reduce_to(|lane| lane == share(1));
        let mut gone: Vec<u64> = gone.map(|id| id.0).collect();
        gone.sort_unstable();
        assert_eq!((waiting(&queue, share(1), 0), gone), (vec![1], vec![2, 5]));
        assert!(queue.was_sent(MessageId(1)) && queue.len() == 1);
        queue.check();
    }

    #[test]
    fn a_message_that_is_lost_takes_its_size_along() {
        let mut queue = filled(true, QoS::AtLeastOnce);
        queue.disconnect();
        for (lane, id) in [(share(1), 4), (share(0), 3), (share(1), 1), (share(0), 6)] {
            assert_eq!(queue.take_lost(lane, MessageId(id)), Some(10));
            assert_eq!(queue.take_lost(lane, MessageId(id)), None);
            queue.check();
        }
        assert_eq!((queue.len(), queue.bytes()), (2, 20));
        assert_eq!(queue.owed_by(share(0)), Amount::default());
    }

    #[test]
    fn what_was_not_sent_can_be_taken_out_of_ram() {
        let mut queue = filled(false, QoS::AtLeastOnce);
        for _ in 0..2 {
            send(&mut queue);
        }
        let (at, _) = queue.next_unsent(share(0), 0).unwrap();
        queue.take_unsent(at);
        assert_eq!(queue.next_unsent(share(0), at).map(|(at, _)| at), Some(2));
        assert!(queue.next_unsent(share(0), 3).is_none());
        assert_eq!((queue.len(), queue.ready()), (5, 3));
    }

    /// [MQTT-4.8.2-5]: of what is in flight, only QoS 1 is left to others.
    #[test]
    fn a_queue_in_ram_leaves_what_may_go_on() {
        for (qos, count) in [(QoS::AtLeastOnce, 4), (QoS::ExactlyOnce, 1)] {
            let mut queue = filled(false, qos);
            for _ in 0..4 {
                send(&mut queue);
            }
            let left = queue.take_left(|id| panic!("{id:?} is in no store"));
            let by_share = left.iter().filter(|left| left.owed.lane.is_share());
            assert_eq!(by_share.count(), count, "{qos:?}");
            assert!(queue.is_empty());
        }
    }
}
