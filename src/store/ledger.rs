//! The loop's side of the store: what is owed, what waits for a commit, what may be deleted.
//!
//! No redb and no thread here. The broker says `put`, `ack` and `after_commit` as things happen;
//! a turn ends with [`Store::begin_commit`], whose batch goes to the storage thread, and
//! [`Store::committed`] opens everything that waited for it.
//!
//! A message lives in the gathering batch as a shared pointer until the commit begins. If all
//! who are owed it have it before that, it is never written.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::refs::Refs;
use super::rows::batch::Batch;
use super::targets::{self, Targets};
use crate::held::{ALLOCATION, Charge, STORE};
use crate::impossible;
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::time::Time;

/// How long cursors and deletes may lag: a crash in between only repeats QoS 1.
const LAZY_DELAY: Duration = Duration::from_secs(1);
/// A gathering batch of this many bytes is committed at once.
const BATCH_BYTES: usize = 256 * 1024;
/// So many runs of deletes are committed at once: where queues share the disk, what one of them
/// drains is a run for every other message.
const DELETE_RUNS: usize = 8192;
/// Beyond this many bytes waiting for a commit, publishers are slowed down. On a disk that is
/// suddenly full all of it must go into the space that the ballast leaves.
const GATHER_LIMIT: usize = 1024 * 1024;
/// Room that is kept for so many promises that have come true: more come only in bursts.
const KEPT_OPENED: usize = 64;
/// What a row costs beyond topic, properties and payload, about.
const ROW_OVERHEAD: usize = 48;

/// When a promise that the ledger is asked for holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// Once its commit is on disk (`durability power`).
    Committed,
    /// At once: the disk follows (`durability lazy`), or there is none (`persistence false`).
    AtOnce,
}

/// A waiter for one message, or for several that are one to it: the last of them gives it back.
enum Waits<T> {
    One(T),
    Shared(Rc<T>),
}

impl<T> Waits<T> {
    fn done(self) -> Option<T> {
        match self {
            Waits::One(waiter) => Some(waiter),
            Waits::Shared(waiter) => Rc::into_inner(waiter),
        }
    }
}

/// A message put since the last commit began.
struct Pending<T> {
    message: Rc<Message>,
    /// Who is still owed it.
    targets: Targets,
    /// What happens when it is durable, or delivered to all who were owed it.
    waiter: Option<Waits<T>>,
    since: Time,
    /// What it takes, the message left out.
    held: Charge<STORE>,
}

/// The commit that the storage thread works on.
struct InFlight<T> {
    seq: u64,
    /// Messages below this number are on disk when it is done.
    below: MessageId,
    bytes: usize,
    waiters: Vec<Waits<T>>,
    /// What is being written, by number: receivers that are connected need not wait for it.
    messages: Vec<(MessageId, Rc<Message>, Vec<Owed>)>,
    /// What all of it takes, with the rows on their way to the disk and without the messages.
    _held: Charge<STORE>,
}

/// The ledger of everything owed. `T` is what the broker wants back when a promise is kept.
pub struct Store<T> {
    promise: Promise,
    commit_interval: Duration,
    /// The number of the first pending message; the others follow without a gap.
    first: MessageId,
    /// Oldest first, and the oldest is not `None`. `None`: delivered before it was written.
    pending: VecDeque<Option<Pending<T>>>,
    pending_bytes: usize,
    waiters: Vec<Waits<T>>,
    refs: Refs,
    /// Messages on disk that nobody is owed any more, runs merged.
    deletes: Vec<Range<u64>>,
    in_flight: Option<InFlight<T>>,
    /// Messages below this number are on disk or no longer owed.
    durable_below: MessageId,
    seq: u64,
    /// When the next commit must begin, the pending messages aside.
    due: Option<Time>,
    /// Something else than cursors and deletes asked for it.
    promised: bool,
    opened: VecDeque<T>,
    never_written: u64,
}

impl<T> Store<T> {
    /// A ledger that continues what the store held: `next` is the first free message number. A
    /// message is written once it has waited for its receivers for `commit_interval`.
    pub fn new(
        promise: Promise,
        commit_interval: Duration,
        next: MessageId,
        refs: Refs,
    ) -> Store<T> {
        Store {
            promise,
            commit_interval,
            first: next,
            pending: VecDeque::new(),
            pending_bytes: 0,
            waiters: Vec::new(),
            refs,
            deletes: Vec::new(),
            in_flight: None,
            durable_below: next,
            seq: 0,
            due: None,
            promised: false,
            opened: VecDeque::new(),
            never_written: 0,
        }
    }

    /// Owes `message` to `targets`, which must not be empty. `waiter` comes back from
    /// [`Store::next_opened`] once it is durable or delivered.
    pub fn put(
        &mut self,
        message: Rc<Message>,
        targets: Vec<Owed>,
        waiter: Option<T>,
        now: Time,
    ) -> MessageId {
        let waiter = waiter.and_then(|waiter| self.await_promise(waiter));
        self.push(message, targets, waiter.map(Waits::One), now)
    }

    /// Owes `message` to `targets`, which may be empty, and to each of `alone` apart, as messages
    /// of their own that [`Store::hand_over`] can move. They are numbered in this order, from the
    /// number that is returned. `waiter` comes back once all of them are durable or delivered.
    pub fn put_each(
        &mut self,
        message: &Rc<Message>,
        targets: Vec<Owed>,
        alone: Vec<Owed>,
        waiter: Option<T>,
        now: Time,
    ) -> MessageId {
        if alone.is_empty() {
            return self.put(Rc::clone(message), targets, waiter, now);
        }
        let first = self.next_id();
        let waiter = waiter
            .and_then(|waiter| self.await_promise(waiter))
            .map(Rc::new);
        let rows = Some(targets).filter(|targets| !targets.is_empty());
        for row in rows.into_iter().chain(alone.into_iter().map(|t| vec![t])) {
            let waiter = waiter.clone().map(Waits::Shared);
            self.push(Rc::clone(message), row, waiter, now);
        }
        first
    }

    /// Owes message `id`, which only `from` is owed, to `target` instead, under a new number. One
    /// commit holds both: a crash leaves it owed to the one or to the other.
    pub fn hand_over(
        &mut self,
        (id, from): (MessageId, SessionId),
        message: Rc<Message>,
        target: Owed,
        now: Time,
    ) -> MessageId {
        let at = self.pending_place(id);
        let pending = at.and_then(|at| self.pending.get_mut(at)?.as_mut());
        // What was never written was promised to nobody yet: it goes on waiting.
        let waiter = pending.and_then(|pending| pending.waiter.take());
        let new = self.push(message, vec![target], waiter, now);
        let never_written = self.never_written;
        self.ack(id, from, now);
        // It lives on under its new number.
        self.never_written = never_written;
        if at.is_none() {
            self.promise(now);
        }
        new
    }

    /// Keeps a waiter only if it has something to wait for.
    fn await_promise(&mut self, waiter: T) -> Option<T> {
        match self.promise {
            Promise::Committed => Some(waiter),
            Promise::AtOnce => {
                self.opened.push_back(waiter);
                None
            }
        }
    }

    /// The place of message `id` among the pending; `None` if it was there, and is no more.
    fn pending_place(&self, id: MessageId) -> Option<usize> {
        let at = id.0.checked_sub(self.first.0)?;
        Some(usize::try_from(at).unwrap_or(usize::MAX))
    }

    fn next_id(&self) -> MessageId {
        MessageId(self.first.0 + self.pending.len() as u64)
    }

    fn push(
        &mut self,
        message: Rc<Message>,
        targets: Vec<Owed>,
        waiter: Option<Waits<T>>,
        now: Time,
    ) -> MessageId {
        debug_assert!(
            !targets.is_empty(),
            "a message owed to nobody is not stored"
        );
        let id = self.next_id();
        let entry = size_of::<Pending<T>>() + ALLOCATION;
        let held = Charge::new(entry + targets.capacity() * size_of::<Owed>());
        self.pending_bytes += message.size() as usize + ROW_OVERHEAD;
        self.pending.push_back(Some(Pending {
            message,
            targets: Targets::new(targets),
            waiter,
            since: now,
            held,
        }));
        id
    }

    /// `session` no longer needs message `id`. True if the message stays on disk for others:
    /// then only the session's own row can tell that this one has it.
    pub fn ack(&mut self, id: MessageId, session: SessionId, now: Time) -> bool {
        let Some(at) = self.pending_place(id) else {
            if self.refs.get(id.0) == 0 {
                return false;
            }
            let last = self.refs.release(id.0);
            if last {
                self.delete(id.0);
            }
            if self.deletes.len() >= DELETE_RUNS {
                self.commit_by(now);
            }
            self.lazy(now);
            return !last;
        };
        let Some(slot) = self.pending.get_mut(at) else {
            impossible!("message {} was acknowledged, and never put", id.0);
            return false;
        };
        let Some(pending) = slot else { return false };
        pending.targets.remove(session);
        if pending.targets.is_empty() {
            self.pending_bytes -= pending.message.size() as usize + ROW_OVERHEAD;
            self.never_written += 1;
            let waiter = slot.take().and_then(|pending| pending.waiter);
            self.opened.extend(waiter.and_then(Waits::done));
            while let Some(None) = self.pending.front() {
                self.pending.pop_front();
                self.first.0 += 1;
            }
        }
        false
    }

    /// How many of the pending messages a commit now should hold: all, or none if the oldest has
    /// not waited long enough.
    fn messages_due(&self, now: Time) -> usize {
        let oldest = self.pending.front().and_then(Option::as_ref);
        let waited = oldest.is_some_and(|oldest| oldest.since + self.commit_interval <= now);
        let all = waited || self.promised || self.pending_bytes >= BATCH_BYTES;
        if all { self.pending.len() } else { 0 }
    }

    /// Schedules the row of `id` for deletion.
    fn delete(&mut self, id: u64) {
        match self.deletes.last_mut() {
            Some(run) if run.end == id => run.end += 1,
            _ => self.deletes.push(id..id + 1),
        }
    }

    /// Deletes the rows of messages that nobody is owed, with the next commit.
    pub fn discard(&mut self, runs: Vec<Range<u64>>, now: Time) {
        if !runs.is_empty() {
            self.deletes.extend(runs);
            self.lazy(now);
        }
    }

    /// Gives `waiter` back once everything said up to now is on disk.
    pub fn after_commit(&mut self, waiter: T, now: Time) {
        self.after_state(waiter, now);
        self.promised = true;
    }

    /// Gives `waiter` back once the rows of sessions are on disk: messages may be left out.
    pub fn after_state(&mut self, waiter: T, now: Time) {
        match self.promise {
            Promise::Committed => self.waiters.push(Waits::One(waiter)),
            Promise::AtOnce => self.opened.push_back(waiter),
        }
        self.commit_by(now + self.commit_interval);
    }

    /// Something changed that must be on disk within the commit interval.
    pub fn promise(&mut self, now: Time) {
        self.promised = true;
        self.commit_by(now + self.commit_interval);
    }

    /// Something changed that may reach the disk late.
    pub fn lazy(&mut self, now: Time) {
        self.commit_by(now + self.commit_interval.max(LAZY_DELAY));
    }

    /// A commit must begin at `at` at the latest.
    pub fn commit_by(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The next commit is due at once.
    pub fn hurry(&mut self, now: Time) {
        self.promised = true;
        self.due = Some(now);
    }

    /// When the next commit must begin: a pending message waits for its receivers for the commit
    /// interval, and is not written if they have all taken it by then.
    pub fn due(&self) -> Option<Time> {
        let oldest = self.pending.front().and_then(Option::as_ref);
        let messages = oldest.map(|pending| pending.since + self.commit_interval);
        messages.into_iter().chain(self.due).min()
    }

    /// When [`Store::begin_commit`] will have work; `None` while a commit is under way.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.in_flight {
            Some(_) => None,
            None => self.due(),
        }
    }

    /// True when a commit should begin now.
    pub fn is_due(&self, now: Time) -> bool {
        let is_time = self.due().is_some_and(|due| due <= now);
        (is_time || self.pending_bytes >= BATCH_BYTES) && self.in_flight.is_none()
    }

    /// Starts a commit: everything gathered goes into a batch, to which the caller adds session
    /// and retained rows. [`Store::committed`] must be told of its end.
    ///
    /// A commit that only cursors and deletes asked for leaves the messages out: they may be
    /// delivered before they have waited for the commit interval, and if they were written, their
    /// deletes would ask for the next such commit, and so for ever.
    pub fn begin_commit(&mut self, mut batch: Batch, now: Time) -> Batch {
        self.seq += 1;
        batch.seq = self.seq;
        let first = self.first.0;
        let count = self.messages_due(now);
        let (mut bytes, mut held) = (0, 0);
        let mut messages = Vec::with_capacity(count);
        self.first.0 += count as u64;
        for (id, pending) in (first..).zip(self.pending.drain(..count)) {
            let Some(pending) = pending else { continue };
            self.pending_bytes -= pending.message.size() as usize + ROW_OVERHEAD;
            bytes += pending.message.size() as usize + ROW_OVERHEAD;
            held += pending.held.bytes();
            let targets = pending.targets.into_vec();
            batch.put_message(MessageId(id), &pending.message, &targets);
            self.refs.add(id, targets.len());
            self.waiters.extend(pending.waiter);
            messages.push((MessageId(id), pending.message, targets));
        }
        for run in self.deletes.drain(..) {
            batch.delete(run);
        }
        self.in_flight = Some(InFlight {
            seq: self.seq,
            below: self.first,
            bytes,
            waiters: std::mem::take(&mut self.waiters),
            messages,
            _held: Charge::new(held + bytes),
        });
        (self.due, self.promised) = (None, false);
        batch
    }

    /// The commit `seq` is on disk.
    pub fn committed(&mut self, seq: u64) {
        if let Some(done) = self.in_flight.take_if(|c| c.seq == seq) {
            self.durable_below = done.below;
            let waiters = done.waiters.into_iter();
            self.opened.extend(waiters.filter_map(Waits::done));
        }
    }

    /// The next of what was waited for and has come true.
    pub fn next_opened(&mut self) -> Option<T> {
        let next = self.opened.pop_front();
        if next.is_none() {
            self.opened.shrink_to(KEPT_OPENED);
        }
        next
    }

    /// From now on a message waits this long for its receivers before it is written.
    pub fn set_commit_interval(&mut self, interval: Duration) {
        self.commit_interval = interval;
    }

    /// How long a message waits for its receivers before it is written.
    pub fn commit_interval(&self) -> Duration {
        self.commit_interval
    }

    /// Messages below this number are as durable as was promised, or no longer owed.
    pub fn durable_below(&self) -> MessageId {
        match self.promise {
            Promise::Committed => self.durable_below,
            Promise::AtOnce => MessageId(u64::MAX),
        }
    }

    /// Messages below this number are on disk and can be asked of the storage thread; the others
    /// are [`in_memory`](Store::in_memory).
    pub fn on_disk_below(&self) -> MessageId {
        self.durable_below
    }

    /// A message that is not on disk yet, and what `session` is owed of it.
    pub fn in_memory(&self, id: MessageId, session: SessionId) -> Option<(&Rc<Message>, &Owed)> {
        if let Some(at) = self.pending_place(id) {
            let pending = self.pending.get(at)?.as_ref()?;
            return Some((&pending.message, pending.targets.get(session)?));
        }
        let messages = &self.in_flight.as_ref()?.messages;
        let at = messages.binary_search_by_key(&id, |(id, ..)| *id).ok()?;
        let (_, message, targets) = messages.get(at)?;
        Some((message, targets::find(targets, session)?))
    }

    /// The number of the commit that began last.
    pub fn begun(&self) -> u64 {
        self.seq
    }

    /// The number of the commit that ended last.
    pub fn done(&self) -> u64 {
        self.seq - u64::from(self.in_flight.is_some())
    }

    /// True while more waits for the disk than should be held in RAM: stop taking in.
    pub fn is_congested(&self) -> bool {
        let in_flight = self.in_flight.as_ref().map_or(0, |c| c.bytes);
        self.pending_bytes + in_flight > GATHER_LIMIT
    }

    /// True when nothing is owed and nothing waits.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.iter().all(Option::is_none)
            && self.pending_bytes == 0
            && self.refs.is_empty()
            && self.waiters.is_empty()
            && self.deletes.is_empty()
            && self.in_flight.is_none()
    }

    /// Messages that reached all who were owed them before they had to be written.
    pub fn never_written(&self) -> u64 {
        self.never_written
    }
}
