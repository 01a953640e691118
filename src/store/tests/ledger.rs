//! The loop's ledger against a naive model: what is written, what is deleted, what opens when.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::{message, target};
use crate::message::{MessageId, SessionId};
use crate::store::{Batch, Promise, Refs, Store};
use crate::time::Time;

const NOW: Time = Time::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
enum Op {
    /// A message owed to these sessions; someone may wait for it.
    Put(BTreeSet<u64>, bool),
    /// The nth (message, session) still owed is delivered.
    Ack(usize),
    AfterCommit,
    Begin,
    Done,
}

/// All that was waited for and has come true.
fn opened(store: &mut Store<u32>) -> Vec<u32> {
    std::iter::from_fn(|| store.next_opened()).collect()
}

fn op() -> impl Strategy<Value = Op> {
    let sessions = prop::collection::btree_set(1..4u64, 1..4);
    prop_oneof![
        4 => (sessions, any::<bool>()).prop_map(|(to, waits)| Op::Put(to, waits)),
        6 => (0..8usize).prop_map(Op::Ack),
        1 => Just(Op::AfterCommit),
        2 => Just(Op::Begin),
        2 => Just(Op::Done),
    ]
}

struct Bench {
    store: Store<u32>,
    volatile: bool,
    /// Who is owed each message.
    owed: BTreeMap<u64, BTreeSet<u64>>,
    /// Messages that no commit has taken up.
    pending: BTreeSet<u64>,
    /// Waiters by message, and those for whatever was said.
    by_message: BTreeMap<u64, u32>,
    waiting: BTreeSet<u32>,
    in_flight: Option<(u64, BTreeSet<u32>)>,
    /// What must open now.
    open: BTreeSet<u32>,
    /// What the batches have left on disk.
    rows: BTreeSet<u64>,
    waiter: u32,
}

impl Bench {
    fn new(volatile: bool) -> Bench {
        let promise = if volatile {
            Promise::AtOnce
        } else {
            Promise::Committed
        };
        Bench {
            store: Store::new(promise, INTERVAL, MessageId(1), Refs::new()),
            volatile,
            owed: BTreeMap::new(),
            pending: BTreeSet::new(),
            by_message: BTreeMap::new(),
            waiting: BTreeSet::new(),
            in_flight: None,
            open: BTreeSet::new(),
            rows: BTreeSet::new(),
            waiter: 0,
        }
    }

    fn new_waiter(&mut self) -> u32 {
        self.waiter += 1;
        if self.volatile {
            self.open.insert(self.waiter);
        }
        self.waiter
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(to, waits) => self.put(to, *waits),
            Op::Ack(nth) => self.ack(*nth),
            Op::AfterCommit => {
                let waiter = self.new_waiter();
                self.store.after_commit(waiter, NOW);
                if !self.volatile {
                    self.waiting.insert(waiter);
                }
            }
            Op::Begin => self.begin(),
            Op::Done => self.done(),
        }
    }

    fn put(&mut self, to: &BTreeSet<u64>, waits: bool) {
        let waiter = waits.then(|| self.new_waiter());
        let targets = to.iter().map(|session| target(*session, 0)).collect();
        let message = Rc::new(message("t", b"x"));
        let id = self.store.put(message, targets, waiter, NOW).0;
        assert!(self.owed.keys().all(|known| *known < id), "numbers rise");
        self.owed.insert(id, to.clone());
        self.pending.insert(id);
        if let (Some(waiter), false) = (waiter, self.volatile) {
            self.by_message.insert(id, waiter);
        }
    }

    fn ack(&mut self, nth: usize) {
        let pairs = |(id, to): (&u64, &BTreeSet<u64>)| -> Vec<(u64, u64)> {
            to.iter().map(|session| (*id, *session)).collect()
        };
        let Some((id, session)) = self.owed.iter().flat_map(pairs).nth(nth) else {
            return;
        };
        let stays = self.store.ack(MessageId(id), SessionId(session), NOW);
        let Some(to) = self.owed.get_mut(&id) else {
            return;
        };
        to.remove(&session);
        let others = !to.is_empty();
        let written = !self.pending.contains(&id);
        assert_eq!(
            stays,
            written && others,
            "only then the session's row tells"
        );
        if !others {
            self.owed.remove(&id);
            if self.pending.remove(&id) {
                self.open.extend(self.by_message.remove(&id));
            }
        }
    }

    fn begin(&mut self) {
        if self.in_flight.is_some() {
            assert!(
                !self.store.is_due(NOW + Duration::from_secs(9)),
                "one at a time"
            );
            return;
        }
        let batch = self
            .store
            .begin_commit(Batch::new(0), NOW + Duration::from_secs(9));
        let written: BTreeSet<u64> = batch.messages().map(|(id, _)| id).collect();
        assert_eq!(written, self.pending, "what was delivered is not written");
        self.rows.extend(&written);
        for run in batch.deletes() {
            self.rows.retain(|id| !run.contains(id));
        }
        let owed: BTreeSet<u64> = self.owed.keys().copied().collect();
        assert_eq!(self.rows, owed, "what is owed is on disk, and nothing else");
        self.pending.clear();
        let mut waiters = std::mem::take(&mut self.waiting);
        waiters.extend(std::mem::take(&mut self.by_message).into_values());
        self.in_flight = Some((batch.seq, waiters));
    }

    fn done(&mut self) {
        if let Some((seq, waiters)) = self.in_flight.take() {
            self.store.committed(seq);
            self.open.extend(waiters);
            assert_eq!(self.store.done(), self.store.begun());
        }
    }

    fn check(&mut self) {
        let opened = opened(&mut self.store);
        let set: BTreeSet<u32> = opened.iter().copied().collect();
        assert_eq!(set.len(), opened.len(), "each opens once");
        assert_eq!(set, std::mem::take(&mut self.open));
    }

    /// With every receiver served and two commits, nothing is left.
    fn drain(&mut self) {
        while !self.owed.is_empty() {
            self.ack(0);
        }
        for _ in 0..2 {
            self.done();
            self.begin();
        }
        self.done();
        self.check();
        assert!(self.store.is_idle() && self.rows.is_empty());
    }
}

proptest! {
    #[test]
    fn the_ledger_behaves_like_the_model(
        volatile in prop::bool::weighted(0.2),
        ops in prop::collection::vec(op(), 0..80),
    ) {
        let mut bench = Bench::new(volatile);
        for op in &ops {
            bench.apply(op);
            bench.check();
        }
        bench.drain();
    }
}

/// A promise is due within the commit interval, what may lag within a second, and a batch that
/// has grown large at once.
#[test]
fn when_a_commit_is_due() {
    let mut store: Store<u32> = Store::new(Promise::Committed, INTERVAL, MessageId(1), Refs::new());
    assert_eq!(store.next_timeout(), None);
    store.lazy(NOW);
    assert_eq!(store.next_timeout(), Some(NOW + Duration::from_secs(1)));
    store.after_commit(1, NOW);
    assert_eq!(store.next_timeout(), Some(NOW + INTERVAL));
    assert!(!store.is_due(NOW) && store.is_due(NOW + INTERVAL));
    let large = Rc::new(message("t", &[0; 300_000]));
    store.put(large, vec![target(1, 0)], None, NOW);
    assert!(store.is_due(NOW));
}

/// A commit that only cursors and deletes asked for leaves alone the messages that have not waited
/// for their receivers yet: a healthy uplink takes them in time.
#[test]
fn a_lazy_commit_leaves_young_messages_out() {
    let mut store: Store<u32> = Store::new(Promise::Committed, INTERVAL, MessageId(1), Refs::new());
    let small = || Rc::new(message("t", b"x"));
    let orphans = 7..9;
    store.discard(vec![orphans.clone()], NOW);
    let late = NOW + Duration::from_secs(1);
    let young = store.put(small(), vec![target(1, 0)], Some(5), late);
    assert!(store.is_due(late));
    let batch = store.begin_commit(Batch::new(0), late);
    assert_eq!((batch.messages().len(), &batch.deletes()[0]), (0, &orphans));
    store.committed(batch.seq);
    assert!(store.next_opened().is_none(), "nothing is promised of it");
    assert_eq!(store.next_timeout(), Some(late + INTERVAL));
    assert!(store.in_memory(young, SessionId(1)).is_some());
    // Once somebody waits for everything, it is written too.
    store.after_commit(6, late);
    let batch = store.begin_commit(Batch::new(0), late + INTERVAL);
    assert_eq!(batch.messages().len(), 1);
    store.committed(batch.seq);
    let mut opened = opened(&mut store);
    opened.sort_unstable();
    assert_eq!(opened, [5, 6]);
}

/// A message that changes hands: whichever commit deletes the old row holds the new one, also one
/// that only deletes asked for.
#[test]
fn one_commit_holds_both_ends_of_a_change_of_hands() {
    let mut store: Store<u32> = Store::new(Promise::Committed, INTERVAL, MessageId(1), Refs::new());
    let moved = Rc::new(message("t", b"x"));
    let other = store.put(Rc::clone(&moved), vec![target(3, 0)], None, NOW);
    let old = store.put(Rc::clone(&moved), vec![target(1, 0)], None, NOW);
    let batch = store.begin_commit(Batch::new(0), NOW + INTERVAL);
    assert_eq!(batch.messages().len(), 2);
    store.committed(batch.seq);
    store.ack(other, SessionId(3), NOW);
    let due = store.next_timeout().unwrap();
    let from = (old, SessionId(1));
    let new = store.hand_over(from, Rc::clone(&moved), target(2, 0), due);
    assert!(store.in_memory(new, SessionId(2)).is_some());
    assert!(store.is_due(due), "the other's delete");
    let batch = store.begin_commit(Batch::new(0), due);
    let put: Vec<u64> = batch.messages().map(|(id, _)| id).collect();
    let deleted: Vec<u64> = batch.deletes().iter().cloned().flatten().collect();
    assert_eq!((put, deleted), (vec![new.0], vec![other.0, old.0]));
    store.committed(batch.seq);
    store.ack(new, SessionId(2), due);
    let batch = store.begin_commit(Batch::new(0), due);
    store.committed(batch.seq);
    assert!(store.is_idle());
}

/// The publisher of a message that changes hands before it is written goes on waiting; one of a
/// message with several rows waits for all of them.
#[test]
fn a_waiter_follows_its_message() {
    let mut store: Store<u32> = Store::new(Promise::Committed, INTERVAL, MessageId(1), Refs::new());
    let message = Rc::new(message("t", b"x"));
    let alone = vec![target(2, 0), target(3, 0)];
    let first = store.put_each(&message, vec![target(1, 0)], alone, Some(7), NOW);
    let second = MessageId(first.0 + 1);
    store.ack(first, SessionId(1), NOW);
    let from = (second, SessionId(2));
    let moved = store.hand_over(from, Rc::clone(&message), target(4, 0), NOW);
    assert!(store.next_opened().is_none(), "two of three are still owed");
    store.ack(moved, SessionId(4), NOW);
    assert!(store.next_opened().is_none());
    let batch = store.begin_commit(Batch::new(0), NOW + INTERVAL);
    assert_eq!(batch.messages().len(), 1);
    assert!(store.next_opened().is_none());
    store.committed(batch.seq);
    assert_eq!(opened(&mut store), [7]);
}
