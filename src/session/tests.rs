//! The outbound half against a naive model, with a store that is a map.

mod hold;
mod ids;
mod refill;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Entry, Outbound};
use crate::lane::{Lane, ShareNo};
use crate::message::{Message, MessageId, Origin, Parts, SessionId};
use crate::mqtt::{PacketId, QoS};
use crate::owed::Owed;
use crate::store::{Amount, IdRanges, Queue, Queued};
use crate::time::Time;

const SESSION: SessionId = SessionId(1);
const NOW: Time = Time::from_secs(1);

#[derive(Clone, Debug)]
enum Op {
    Connect(u16),
    Disconnect,
    /// A message of this QoS and size, on one of a few topics of one of a few lines, that expires
    /// after so many seconds; 0 is never.
    Push(u8, usize, u8, u64),
    /// So many seconds are over: what has expired is dropped, at most so many.
    Expire(u64, usize),
    /// The oldest of one line is dropped, or of all.
    DropOldest(Option<Lane>),
    /// What is superseded on one line is dropped.
    DropSuperseded(Lane),
    /// The peer has lost its half of the session.
    Forget,
    /// The next connection is to a peer that takes no QoS 2.
    NoExactlyOnce,
    /// Everything pushed so far is committed.
    Commit,
    /// As much is sent as may be.
    Send,
    /// The store answers with at most so many messages.
    Read(usize),
    /// The peer answers the nth packet in flight.
    Answer(usize),
    /// The state is written and the process killed.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (1..6u16).prop_map(Op::Connect),
        1 => Just(Op::Disconnect),
        6 => (1..3u8, prop_oneof![Just(1usize), 1..20usize, Just(12_000)], 0..6u8, 0..9u64)
            .prop_map(|(q, n, topic, expiry)| Op::Push(q, n, topic, expiry)),
        1 => (0..9u64, 1..9usize).prop_map(|(secs, most)| Op::Expire(secs, most)),
        1 => prop::option::of(lane()).prop_map(Op::DropOldest),
        1 => lane().prop_map(Op::DropSuperseded),
        1 => Just(Op::Forget),
        1 => Just(Op::NoExactlyOnce),
        3 => Just(Op::Commit),
        5 => Just(Op::Send),
        4 => (1..5usize).prop_map(Op::Read),
        6 => (0..4usize).prop_map(Op::Answer),
        1 => Just(Op::Restart),
    ]
}

fn lane() -> impl Strategy<Value = Lane> {
    (0..3u16).prop_map(Lane::from_code)
}

fn message(topic: &str, size: usize, expiry: u64) -> Rc<Message> {
    let payload = vec![0; size];
    let parts = Parts {
        topic,
        props: &[],
        payload: &payload,
    };
    let mut message = Message::new(parts, NOW, Rc::new(Origin::default())).unwrap();
    message.expiry = (expiry > 0).then(|| NOW + Duration::from_secs(expiry));
    Rc::new(message)
}

fn entry(id: u64, seq: u64, qos: QoS, size: usize) -> Entry {
    let owed = Owed {
        session: SESSION,
        lane: Lane::Client,
        seq,
        qos,
        retain: false,
        sub_ids: Box::default(),
    };
    Entry::new(message("t", size, 0), Some(MessageId(id)), owed)
}

/// What a queue keeps of an entry.
fn queued(id: u64, entry: &Entry) -> Queued {
    Queued {
        id: MessageId(id),
        lane: entry.owed.lane,
        size: entry.message.size(),
        arrival: NOW,
        expires: Queued::expires(NOW, entry.message.expiry),
    }
}

/// The queue under test, beside what it should hold.
struct Bench {
    queue: Outbound,
    /// Owed and not taken over by the peer.
    owed: BTreeMap<u64, Entry>,
    /// Sent on this connection, not answered; true once PUBREC was.
    flights: VecDeque<(u64, PacketId, bool)>,
    /// Sent before and still owed: comes with DUP.
    sent: Vec<u64>,
    /// Released: the messages are kept until PUBCOMP.
    kept: BTreeMap<u64, Entry>,
    asked: Option<(u16, IdRanges)>,
    /// Never sent: told apart by topic.
    tracked: BTreeSet<u64>,
    /// Those that have expired: what they superseded stays so.
    expired: BTreeMap<u64, Entry>,
    next: u64,
    durable_below: u64,
    window: usize,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            queue: Outbound::new(true),
            owed: BTreeMap::new(),
            flights: VecDeque::new(),
            sent: Vec::new(),
            kept: BTreeMap::new(),
            asked: None,
            tracked: BTreeSet::new(),
            expired: BTreeMap::new(),
            next: 1,
            durable_below: 1,
            window: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Connect(window) => self.connect(window),
            Op::Disconnect => self.disconnect(),
            Op::Push(qos, size, topic, expiry) => {
                let qos = QoS::from_bits(qos).unwrap();
                let mut entry = entry(self.next, self.queue.next_seq(), qos, size);
                entry.owed.lane = Lane::from_code(u16::from(topic % 3));
                entry.message = message(&topic.to_string(), size, expiry);
                self.tracked.insert(self.next);
                self.owed.insert(self.next, entry.clone());
                self.queue.push(entry, true);
                self.next += 1;
            }
            Op::Expire(secs, most) => self.expire(NOW + Duration::from_secs(secs), most),
            Op::DropOldest(line) => self.drop_oldest(line),
            Op::DropSuperseded(line) => self.drop_superseded(line),
            Op::Forget => self.forget(),
            Op::NoExactlyOnce => self.take_back_released(),
            Op::Commit => self.durable_below = self.next,
            Op::Send => self.send(),
            Op::Read(most) => self.read(most),
            Op::Answer(nth) => self.answer(nth),
            Op::Restart => self.restart(),
        }
    }

    fn connect(&mut self, window: u16) {
        self.disconnect();
        self.window = usize::from(window);
        // In the order of their PUBLISH packets on the last connection, which the model lacks.
        let released: BTreeSet<PacketId> = self.queue.connect(window, NOW).into_iter().collect();
        let expected: BTreeSet<PacketId> = self.kept.values().map(Entry::packet_id).collect();
        assert_eq!(released, expected, "PUBRELs");
        let kept = self.kept.iter();
        self.flights = kept.map(|(id, e)| (*id, e.packet_id(), true)).collect();
    }

    fn disconnect(&mut self) {
        self.queue.disconnect();
        let published = self.flights.drain(..).filter(|f| !f.2);
        self.sent.extend(published.map(|f| f.0));
        self.window = 0;
    }

    fn send(&mut self) {
        while let Some(entry) = self
            .queue
            .next(MessageId(self.durable_below), |entry| entry.owed.qos)
        {
            let id = entry.id.unwrap().0;
            let in_flight = |id: &u64| self.flights.iter().any(|f| f.0 == *id);
            let first = self.owed.keys().find(|id| !in_flight(id)).copied();
            assert_eq!(Some(id), first, "in order");
            assert_eq!(entry.packet_id(), self.owed[&id].packet_id());
            assert_eq!(entry.dup, self.sent.contains(&id), "DUP of {id}");
            self.sent.retain(|s| *s != id);
            self.tracked.remove(&id);
            assert!(entry.owed.qos == QoS::AtLeastOnce || id < self.durable_below);
            self.flights.push_back((id, entry.packet_id(), false));
            self.queue.sent(entry, NOW);
            assert!(self.flights.len() <= self.window.max(self.kept.len()));
        }
        self.queue.fill(MessageId(self.durable_below), |id| {
            assert!(id.0 >= self.durable_below, "still in the store's RAM");
            Some(self.owed[&id.0].clone())
        });
        if let Some(asked) = self.queue.wants(MessageId(self.durable_below)) {
            self.asked = Some(asked);
        }
    }

    fn read(&mut self, most: usize) {
        let Some((token, ids)) = self.asked.take() else {
            return;
        };
        if !self.queue.expects(token) {
            return;
        }
        let mut through = ids.back().unwrap() + 1;
        for (n, id) in ids.iter().enumerate() {
            if n == most {
                through = id;
                break;
            }
            // What was dropped since it was asked for comes all the same.
            let Some(entry) = self.owed.get(&id) else {
                continue;
            };
            let lost = self.queue.read(entry.clone());
            assert!(lost.is_empty());
        }
        assert!(self.queue.read_done(MessageId(through)).is_empty());
    }

    fn answer(&mut self, nth: usize) {
        let Some(&(id, packet, released)) = self.flights.get(nth) else {
            return;
        };
        let entry = self.owed.get(&id).or(self.kept.get(&id)).unwrap();
        let qos = entry.owed.qos;
        if qos == QoS::AtLeastOnce {
            assert!(self.queue.pubrec(packet, false, NOW).is_none());
            let acked = self.queue.puback(packet, false).unwrap();
            assert_eq!(acked.id, Some(MessageId(id)));
            self.flights.remove(nth);
            self.owed.remove(&id);
        } else if released {
            let acked = self.queue.pubcomp(packet).unwrap();
            assert_eq!(acked.id, Some(MessageId(id)));
            self.flights.remove(nth);
            self.kept.remove(&id);
        } else {
            assert!(self.queue.puback(packet, false).is_none());
            assert!(self.queue.pubcomp(packet).is_none());
            self.queue.pubrec(packet, false, NOW).unwrap();
            self.flights[nth].2 = true;
            let entry = self.owed.remove(&id).unwrap();
            self.kept.insert(id, entry);
        }
    }

    /// What may be dropped, in order.
    fn unsent(&self) -> Vec<u64> {
        let flying = |id: &u64| self.flights.iter().any(|f| f.0 == *id) || self.sent.contains(id);
        self.owed.keys().filter(|id| !flying(id)).copied().collect()
    }

    fn drop_oldest(&mut self, lane: Option<Lane>) {
        let ours = |other| lane.is_none_or(|lane| lane == other);
        let unsent = self.unsent().into_iter();
        let ids: Vec<u64> = unsent.filter(|id| ours(self.owed[id].owed.lane)).collect();
        let sizes = ids.iter().map(|id| u64::from(self.owed[id].message.size()));
        let amount = self.queue.unsent(ours);
        assert_eq!(
            (amount.messages, amount.bytes),
            (ids.len() as u64, sizes.sum())
        );
        let dropped = self.queue.drop_oldest(ours);
        assert_eq!(
            dropped.and_then(|d| d.id),
            ids.first().map(|id| MessageId(*id))
        );
        if let Some(id) = ids.first() {
            self.owed.remove(id);
            self.tracked.remove(id);
        }
    }

    fn drop_superseded(&mut self, line: Lane) {
        let ours = |id: &u64| self.owed.get(id).is_some_and(|e| e.owed.lane == line);
        let entry = |id: &u64| self.owed.get(id).unwrap_or_else(|| &self.expired[id]);
        let topic = |id: &u64| entry(id).message.topic();
        let ids: Vec<u64> = self.tracked.iter().copied().filter(ours).collect();
        let old = ids.iter().enumerate().filter(|(at, id)| {
            let expired = self.expired.range(*id..).map(|(id, _)| id);
            let mut newer = ids[at + 1..].iter().chain(expired);
            newer.any(|newer| topic(newer) == topic(id))
        });
        let old: BTreeSet<u64> = old.map(|(_, id)| *id).collect();
        let bytes: u32 = old.iter().map(|id| self.owed[id].message.size()).sum();
        let (dropped, all) = self.queue.drop_superseded(line);
        let dropped: Vec<u64> = dropped.map(|id| id.0).collect();
        assert_eq!(dropped.len(), old.len());
        assert_eq!(dropped.into_iter().collect::<BTreeSet<_>>(), old);
        assert_eq!(
            (all.messages, all.bytes),
            (old.len() as u64, u64::from(bytes))
        );
        self.owed.retain(|id, _| !old.contains(id));
        self.tracked.retain(|id| !old.contains(id));
    }

    fn expire(&mut self, now: Time, most: usize) {
        let is_expired = |id: &u64| self.owed[id].message.expired(now);
        let expired: BTreeSet<u64> = self.unsent().into_iter().filter(is_expired).collect();
        // What is being read is looked at when it has come.
        let asked = self.asked.iter();
        let reading = asked.filter(|(token, _)| self.queue.expects(*token));
        let reading: BTreeSet<u64> = reading.flat_map(|(_, ids)| ids.iter()).collect();
        let due = self.queue.next_expiry().is_some_and(|at| at <= now);
        assert!(
            due || expired.is_empty(),
            "it is known that {expired:?} are due"
        );
        let left = expired.difference(&reading).count();
        let dropped = self.queue.drop_expired(now, most);
        assert_eq!(dropped.len(), left.min(most), "{expired:?}");
        for done in dropped {
            let id = done.id.unwrap().0;
            assert!(expired.contains(&id));
            let entry = self.owed.remove(&id).unwrap();
            if self.tracked.remove(&id) {
                self.expired.insert(id, entry);
            }
        }
    }

    fn forget(&mut self) {
        self.disconnect();
        self.queue.peer_forgot();
        self.owed.append(&mut self.kept);
        self.sent.clear();
        self.flights.clear();
    }

    fn take_back_released(&mut self) {
        self.disconnect();
        assert_eq!(self.queue.take_back_released(), self.kept.len());
        self.sent.extend(self.kept.keys());
        self.owed.append(&mut self.kept);
    }

    /// Everything is written first, so that nothing differs but the memory.
    fn restart(&mut self) {
        self.disconnect();
        self.durable_below = self.next;
        let state = self.queue.record();
        let mut queue = Queue::default();
        self.sent = state.sent.iter().map(|id| id.0).collect();
        for (id, entry) in &self.owed {
            let sent = state.sent.contains(&MessageId(*id));
            assert!(*id > state.cursor.0 || sent);
            let queued = queued(*id, entry);
            if sent {
                queue.push_sent(queued)
            } else {
                queue.push_back(queued)
            };
            let topic = (!sent).then(|| entry.message.topic());
            queue.owe(queued.lane, Some(queued.id), queued.size, topic);
        }
        let kept: Vec<Queued> = self.kept.iter().map(|(id, e)| queued(*id, e)).collect();
        self.queue = Outbound::restore(SESSION, &state, queue, &kept);
        self.asked = None;
        self.expired.clear();
    }

    fn bytes(&self) -> u64 {
        self.owed
            .values()
            .map(|e| u64::from(e.message.size()))
            .sum()
    }

    fn check(&self) {
        assert_eq!(self.queue.len(), self.owed.len() as u64);
        assert_eq!(self.queue.bytes(), self.bytes());
        assert_eq!(self.queue.is_empty(), self.owed.is_empty());
        let ids = self.queue.all().into_iter().map(|queued| queued.id.0);
        assert!(ids.eq(self.owed.keys().copied()), "all there, in order");
        self.queue.check();
    }

    /// With a peer that answers, everything gets through.
    fn drain(mut self) {
        self.connect(3);
        self.apply(&Op::Commit);
        for _ in 0..self.next * 12 {
            self.send();
            self.read(4);
            self.answer(0);
        }
        assert!(self.owed.is_empty() && self.kept.is_empty());
        assert_eq!(self.queue.into_owed().count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::slow_tests::cases(256, 64)))]

    #[test]
    fn outbound_behaves_like_the_model(ops in prop::collection::vec(op(), 0..120)) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.apply(op);
            bench.check();
        }
        bench.drain();
    }
}
