//! Lanes that are paused, against a peer that refuses: nothing is lost, nothing that the peer has comes
//! again as new, no packet id is in use twice, and the state says of no more than it must that it was
//! sent.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Entry, Outbound};
use crate::lane::{Lane, LineNo};
use crate::message::{Message, MessageId, Origin, Parts, SessionId};
use crate::mqtt::{PacketId, QoS, Reason};
use crate::owed::Owed;
use crate::store::{Queue, Queued, StateRecord};
use crate::time::Time;

const SESSION: SessionId = SessionId(1);
const NOW: Time = Time::from_secs(1);

#[derive(Clone, Debug)]
enum Op {
    /// A message of this QoS and size in one lane.
    Push(u8, usize, Lane),
    /// As much is sent as may be, and so many reads answered.
    Send(usize),
    /// The peer accepts the nth packet in flight, or goes on with its handshake.
    Accept(usize),
    /// The peer answers it by PUBACK, whatever its QoS, and also after PUBREC.
    Downgrade(usize),
    /// The peer refuses it, and its lane is paused.
    Refuse(usize),
    /// The peer refuses it, and it is tried again at once.
    Again(usize),
    /// The peer will never take it.
    Condemn(usize),
    Probe(Lane),
    DropOldest(Lane),
    Reconnect,
    /// The peer has lost its half of the session.
    Forget,
    /// The state is written and the process killed.
    Restart,
    /// Half a turn of packet ids goes by.
    Skip,
}

fn lane() -> impl Strategy<Value = Lane> {
    (0..3u16).prop_map(Lane::from_code)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1..3u8, prop_oneof![Just(1usize), Just(12_000)], lane())
            .prop_map(|(qos, size, lane)| Op::Push(qos, size, lane)),
        8 => (0..4usize).prop_map(Op::Send),
        6 => (0..4usize).prop_map(Op::Accept),
        1 => (0..4usize).prop_map(Op::Downgrade),
        4 => (0..4usize).prop_map(Op::Refuse),
        1 => (0..4usize).prop_map(Op::Again),
        1 => (0..4usize).prop_map(Op::Condemn),
        3 => lane().prop_map(Op::Probe),
        1 => lane().prop_map(Op::DropOldest),
        1 => Just(Op::Reconnect),
        1 => Just(Op::Forget),
        1 => Just(Op::Restart),
        1 => Just(Op::Skip),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u64,
    packet: PacketId,
    released: bool,
}

struct Bench {
    queue: Outbound,
    /// All rows: others are owed them too, so none goes.
    rows: BTreeMap<u64, Entry>,
    /// Those that the peer is still to get.
    owed: BTreeSet<u64>,
    /// Those that were sent since the peer had a session.
    sent: BTreeSet<u64>,
    kept: BTreeSet<u64>,
    flights: Vec<Flight>,
    condemned: BTreeSet<u64>,
    /// Dropped before they were sent: they may come back with a start, as long as older ones wait.
    dropped: BTreeSet<u64>,
}

impl Bench {
    fn new() -> Bench {
        let mut queue = Outbound::new(true);
        queue.connect(6, NOW);
        Bench {
            queue,
            rows: BTreeMap::new(),
            owed: BTreeSet::new(),
            sent: BTreeSet::new(),
            kept: BTreeSet::new(),
            flights: Vec::new(),
            condemned: BTreeSet::new(),
            dropped: BTreeSet::new(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push(qos, size, lane) => self.push(QoS::from_bits(qos).unwrap(), size, lane),
            Op::Send(reads) => self.send(reads),
            Op::Accept(nth) => self.accept(nth),
            Op::Downgrade(nth) => self.downgrade(nth),
            Op::Refuse(nth) => {
                if let Some(id) = self.refuse(nth, None) {
                    self.queue.pause(self.rows[&id].owed.lane);
                }
            }
            Op::Again(nth) => {
                self.refuse(nth, None);
            }
            Op::Condemn(nth) => {
                self.refuse(nth, Some(Reason::TOPIC_NAME_INVALID));
            }
            Op::Probe(lane) => self.queue.probe(lane, 1),
            Op::DropOldest(lane) => {
                let dropped = self.queue.drop_oldest(|other| other == lane);
                if let Some(id) = dropped.and_then(|dropped| dropped.id) {
                    assert!(self.owed.remove(&id.0));
                    self.condemned.remove(&id.0);
                    self.dropped.insert(id.0);
                }
            }
            Op::Reconnect => {
                self.queue.disconnect();
                self.connect();
            }
            Op::Forget => {
                self.queue.disconnect();
                self.queue.peer_forgot();
                self.owed.append(&mut self.kept);
                self.connect();
            }
            Op::Restart => self.restart(),
            Op::Skip => self.queue.skip_ids(),
        }
    }

    fn connect(&mut self) {
        self.flights
            .retain(|flight| flight.released && self.kept.contains(&flight.id));
        let released = self.queue.connect(6, NOW);
        let ours: Vec<PacketId> = self.flights.iter().map(|f| f.packet).collect();
        assert_eq!(released, ours);
    }

    fn push(&mut self, qos: QoS, size: usize, lane: Lane) {
        let payload = vec![0; size];
        let parts = Parts {
            topic: "t",
            props: &[],
            payload: &payload,
        };
        let message = Message::new(parts, NOW, Rc::new(Origin::default())).unwrap();
        let id = self.rows.len() as u64 + 1;
        let owed = Owed {
            session: SESSION,
            lane,
            seq: self.queue.next_seq(),
            qos,
            retain: false,
            sub_ids: Box::default(),
        };
        let entry = Entry::new(Rc::new(message), Some(MessageId(id)), owed);
        self.rows.insert(id, entry.clone());
        self.owed.insert(id);
        self.queue.push(entry, false);
    }

    fn send(&mut self, reads: usize) {
        let all = MessageId(u64::MAX);
        for round in 0..=reads {
            while let Some(entry) = self.queue.next(all, |entry| entry.owed.qos) {
                self.sent(entry);
            }
            if round == reads {
                break;
            }
            if let Some((_, ids)) = self.queue.wants(all) {
                for id in ids.iter() {
                    assert!(self.queue.read(self.rows[&id].clone()).is_empty());
                }
                let through = MessageId(ids.iter().max().unwrap() + 1);
                assert!(self.queue.read_done(through).is_empty());
            }
        }
    }

    fn sent(&mut self, entry: Entry) {
        let id = entry.id.unwrap().0;
        assert!(self.owed.contains(&id), "{id} is sent, and not owed");
        let condemned = self.queue.take_condemned(entry.id).is_some();
        assert_eq!(condemned, self.condemned.remove(&id));
        if condemned {
            self.queue.not_sent(&entry);
            self.owed.remove(&id);
            return;
        }
        let packet = entry.packet_id();
        let is_taken = self.flights.iter().any(|flight| flight.packet == packet);
        assert!(!is_taken, "{packet:?} is in use");
        self.sent.insert(id);
        self.queue.sent(entry, NOW);
        self.flights.push(Flight {
            id,
            packet,
            released: false,
        });
    }

    fn accept(&mut self, nth: usize) {
        let Some(flight) = self.flights.get(nth).copied() else {
            return;
        };
        let entry = &self.rows[&flight.id];
        if flight.released {
            self.queue.pubcomp(flight.packet).unwrap();
            self.kept.remove(&flight.id);
            self.flights.remove(nth);
            return;
        }
        self.owed.remove(&flight.id);
        if entry.owed.qos == QoS::ExactlyOnce {
            self.queue.pubrec(flight.packet, false, NOW).unwrap();
            self.kept.insert(flight.id);
            self.flights[nth].released = true;
        } else {
            self.queue.puback(flight.packet, false).unwrap();
            self.flights.remove(nth);
        }
        self.queue.widen(entry.owed.lane);
    }

    fn downgrade(&mut self, nth: usize) {
        let Some(flight) = self.flights.get(nth).copied() else {
            return;
        };
        let done = self.queue.puback(flight.packet, true);
        assert_eq!(done.is_none(), flight.released);
        if done.is_some() {
            self.owed.remove(&flight.id);
            self.flights.remove(nth);
            self.queue.widen(self.rows[&flight.id].owed.lane);
        }
    }

    fn refuse(&mut self, nth: usize, never: Option<Reason>) -> Option<u64> {
        let flight = self.flights.get(nth).copied()?;
        let exactly_once = self.rows[&flight.id].owed.qos == QoS::ExactlyOnce;
        let done = self.queue.refusable(flight.packet, exactly_once);
        assert_eq!(done.is_none(), flight.released);
        let id = done?.id.unwrap();
        assert_eq!(id.0, flight.id);
        if let Some(reason) = never {
            self.queue.condemn_sent(flight.packet, reason);
            self.condemned.insert(id.0);
        } else {
            self.queue.take_back(flight.packet);
        }
        self.flights.remove(nth);
        Some(id.0)
    }

    /// As the store finds it, with each row still there.
    fn restart(&mut self) {
        let state: StateRecord = self.queue.record();
        let (mut queue, mut releasing) = (Queue::default(), Vec::new());
        for (id, entry) in &self.rows {
            let (id, lane) = (MessageId(*id), entry.owed.lane);
            let queued = Queued {
                id,
                lane,
                size: entry.message.size(),
                arrival: NOW,
                expires: None,
            };
            if state.releasing.iter().any(|(_, kept)| *kept == id) {
                releasing.push(queued);
                continue;
            }
            let is_owed = if state.sent.binary_search(&id).is_ok() {
                queue.push_sent(queued)
            } else {
                id > state.cursor_of(lane) && queue.push_back(queued)
            };
            if is_owed && self.dropped.remove(&id.0) {
                self.owed.insert(id.0);
            }
            assert_eq!(is_owed, self.owed.contains(&id.0), "{id:?} of {state:?}");
            if is_owed {
                queue.owe(lane, Some(id), queued.size, None);
            }
        }
        self.queue = Outbound::restore(SESSION, &state, queue, &releasing);
        self.condemned.clear();
        self.connect();
    }

    fn check(&self) {
        self.queue.check();
        assert_eq!(self.queue.len(), self.owed.len() as u64);
        let state = self.queue.record();
        let is_sent = |id: &MessageId| self.sent.contains(&id.0) && self.owed.contains(&id.0);
        assert!(state.sent.iter().all(is_sent), "{state:?}");
    }

    /// With a peer that accepts, everything gets through, and no lane has a cursor of its own any more.
    fn drain(mut self) {
        for lane in (0..3).map(Lane::from_code) {
            self.push(QoS::AtLeastOnce, 1, lane);
        }
        for _ in 0..20 * self.rows.len() {
            (0..3).for_each(|lane| self.queue.probe(Lane::from_code(lane), 1));
            self.send(4);
            self.accept(0);
        }
        assert!(self.owed.is_empty() && self.kept.is_empty());
        assert_eq!(self.queue.record().lanes, []);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::slow_tests::cases(2048, 96)))]

    #[test]
    fn what_is_refused_is_not_lost(ops in prop::collection::vec(op(), 0..150)) {
        let mut bench = Bench::new();
        for op in &ops {
            bench.apply(op);
            bench.check();
        }
        bench.drain();
    }
}

/// A message that comes back to RAM expires there as before: not sent after all, or refused.
#[test]
fn what_comes_back_to_ram_expires() {
    let all = MessageId(u64::MAX);
    let expiry = NOW + Duration::from_secs(9);
    for refused in [false, true] {
        let mut queue = Outbound::new(false);
        queue.connect(6, NOW);
        let parts = Parts {
            topic: "t",
            props: &[],
            payload: b"x",
        };
        let mut message = Message::new(parts, NOW, Rc::new(Origin::default())).unwrap();
        message.expiry = Some(expiry);
        let owed = Owed {
            session: SESSION,
            lane: Lane::Bridge(LineNo::new(1).unwrap()),
            seq: queue.next_seq(),
            qos: QoS::AtLeastOnce,
            retain: false,
            sub_ids: Box::default(),
        };
        let entry = Entry::new(Rc::new(message), None, owed);
        let packet = entry.packet_id();
        queue.push(entry, false);
        let entry = queue.next(all, |entry| entry.owed.qos).unwrap();
        assert_eq!(queue.next_expiry(), None);
        if refused {
            queue.sent(entry, NOW);
            queue.take_back(packet);
        } else {
            queue.unsend(entry);
        }
        assert_eq!(queue.next_expiry(), Some(expiry));
        assert_eq!(queue.drop_expired(expiry, 9).len(), 1);
        assert!(queue.is_empty());
    }
}
