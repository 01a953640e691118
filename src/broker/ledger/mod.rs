//! The ledger: what is owed on disk, what waits for a commit, what is asked of the storage thread.

mod reads;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::connections::Ticket;
pub(crate) use reads::Reader;
use reads::Reads;

use crate::keys::SessionKey;
use crate::message::{Message, MessageId, SessionId};
use crate::owed::Owed;
use crate::session::Disowned;
use crate::store::{Batch, Budget, Error, Figures, IdRanges, ReadRequest, Store};
use crate::time::Time;

/// Between commits that are [hastened](Ledger::hasten) the disk rests so many times as long as the last
/// of them took: a quarter of its time is for them at most.
const REST: u32 = 3;

/// How the disk of the store is.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// It is full; the ballast is off.
    pub full: bool,
    /// It takes nothing, for this reason.
    pub stalled: Option<String>,
    /// How large the store's file is, and what was written.
    pub figures: Figures,
}

impl Disk {
    /// Whether it takes what must be stored.
    pub fn is_ok(&self) -> bool {
        !self.full && self.stalled.is_none()
    }

    /// In one word or line: `ok`, `full`, `failing: REASON`.
    pub fn state(&self) -> String {
        match &self.stalled {
            Some(why) => format!("failing: {why}"),
            None if self.full => "full".to_owned(),
            None => "ok".to_owned(),
        }
    }
}

/// The ledger.
pub(crate) struct Ledger {
    store: Store<Ticket>,
    disk: Disk,
    budget: Option<Budget>,
    reads: Reads,
    /// The next commit is to leave nothing for later.
    write_all: bool,
    spare_batch: Option<Batch>,
    /// The next commit comes sooner than it would have to ([`Ledger::hasten`]).
    is_hastened: bool,
    /// When the commit that is under way began, if it is such a one.
    hastened_at: Option<Time>,
    /// Until then the disk rests from such commits.
    rests_until: Time,
    /// What sessions that have ended are owed no more, and is not told to the store yet.
    disowned: VecDeque<(SessionId, Disowned)>,
}

impl Ledger {
    pub(crate) fn new(store: Store<Ticket>, budget: Option<Budget>) -> Ledger {
        Ledger {
            store,
            disk: Disk::default(),
            budget,
            reads: Reads::default(),
            write_all: false,
            spare_batch: None,
            is_hastened: false,
            hastened_at: None,
            rests_until: Time::ZERO,
            disowned: VecDeque::new(),
        }
    }

    /// What is owed, and the promises about it.
    pub(crate) fn store(&self) -> &Store<Ticket> {
        &self.store
    }

    /// Owes `message` to `owed` alone; its number.
    pub(crate) fn put(&mut self, message: &Rc<Message>, owed: Owed, now: Time) -> MessageId {
        self.store.put(Rc::clone(message), vec![owed], None, now)
    }

    /// As [`Store::put_each`].
    pub(crate) fn put_each(
        &mut self,
        message: &Rc<Message>,
        together: Vec<Owed>,
        alone: Vec<Owed>,
        ticket: Option<Ticket>,
        now: Time,
    ) -> MessageId {
        self.store.put_each(message, together, alone, ticket, now)
    }

    /// As [`Store::hand_over`].
    pub(crate) fn hand_over(
        &mut self,
        from: (MessageId, SessionId),
        message: &Rc<Message>,
        owed: Owed,
        now: Time,
    ) -> MessageId {
        self.store.hand_over(from, Rc::clone(message), owed, now)
    }

    /// As [`Store::ack`].
    pub(crate) fn ack(&mut self, id: MessageId, session: SessionId, now: Time) -> bool {
        self.store.ack(id, session, now)
    }

    /// A session is owed these no more. The store is told piece by piece ([`Ledger::disown_one`]).
    pub(crate) fn disown(&mut self, session: SessionId, messages: Disowned) {
        if !messages.is_empty() {
            self.disowned.push_back((session, messages));
        }
    }

    /// True if there is something for [`Ledger::disown_one`].
    pub(crate) fn has_disowned(&self) -> bool {
        !self.disowned.is_empty()
    }

    /// Tells the store of a message that a session is owed no more; false if there is none.
    pub(crate) fn disown_one(&mut self, now: Time) -> bool {
        while let Some((session, messages)) = self.disowned.front_mut() {
            if let Some(id) = messages.next() {
                self.store.ack(id, *session, now);
                return true;
            }
            self.disowned.pop_front();
        }
        false
    }

    /// Opens `ticket` once everything said up to now is on disk.
    pub(crate) fn after_commit(&mut self, ticket: Ticket, now: Time) {
        self.store.after_commit(ticket, now);
    }

    /// Opens `ticket` once what is known of sessions by now is on disk; messages may come later.
    pub(crate) fn after_state(&mut self, ticket: Ticket, now: Time) {
        self.store.after_state(ticket, now);
    }

    /// The next commit is to begin `wait` after `now`, or once the disk has rested three times as long as
    /// the last that was asked for in this way took: each of them brings about the next, and they would
    /// keep the disk busy all the time. But no later than `most` after `now`.
    pub(crate) fn hasten(&mut self, wait: Duration, most: Duration, now: Time) {
        let at = self.rests_until.max(now + wait).min(now + most);
        self.is_hastened |= self.store.due().is_none_or(|due| at < due);
        self.store.commit_by(at);
    }

    /// Something changed that must be on disk within the commit interval.
    pub(crate) fn promise(&mut self, now: Time) {
        self.store.promise(now);
    }

    /// Something changed that may reach the disk late.
    pub(crate) fn lazy(&mut self, now: Time) {
        self.store.lazy(now);
    }

    /// A commit must begin at `at` at the latest.
    pub(crate) fn commit_by(&mut self, at: Time) {
        self.store.commit_by(at);
    }

    /// Everything is to be written with the next turn.
    pub(crate) fn commit_now(&mut self, now: Time) {
        self.write_all = true;
        self.store.hurry(now);
    }

    /// True if everything is to be written with this commit, and not with the next one again.
    pub(crate) fn take_write_all(&mut self) -> bool {
        std::mem::take(&mut self.write_all)
    }

    /// The next ticket whose promise has come true.
    pub(crate) fn next_opened(&mut self) -> Option<Ticket> {
        self.store.next_opened()
    }

    /// Starts a commit, with everything owed in the batch.
    pub(crate) fn begin_commit(&mut self, now: Time) -> Batch {
        // What was acknowledged since the last commit is not in memory any more.
        self.reads.clear_dead();
        self.hastened_at = std::mem::take(&mut self.is_hastened).then_some(now);
        let batch = self.spare_batch.take().unwrap_or_else(|| Batch::new(0));
        let mut batch = self.store.begin_commit(batch, now);
        batch.floor = now;
        batch
    }

    /// A commit has nothing to write.
    pub(crate) fn skip_commit(&mut self, batch: Batch) {
        self.store.committed(batch.seq);
        self.spare_batch = Some(batch);
    }

    /// A commit is on disk.
    pub(crate) fn committed(&mut self, seq: u64, figures: Figures, mut batch: Batch, now: Time) {
        if let Some(budget) = &self.budget {
            let interval = budget.interval(figures.written.today, now);
            self.store.set_commit_interval(interval);
        }
        self.disk.figures = figures;
        if let Some(begun) = self.hastened_at {
            self.rests_until = now + REST * now.since(begun);
        }
        self.store.committed(seq);
        batch.reset(0);
        self.spare_batch = Some(batch);
    }

    /// True while `flash_budget` makes commits rarer.
    pub(crate) fn is_over_budget(&self) -> bool {
        let shortest = self.budget.as_ref().map(|budget| budget.shortest);
        shortest.is_some_and(|shortest| self.store.commit_interval() > shortest)
    }

    /// `flash_budget`, in bytes a day; 0 is none.
    pub(crate) fn budget(&self) -> u64 {
        self.budget.as_ref().map_or(0, |budget| budget.bytes_a_day)
    }

    /// How the disk of the store is.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn set_figures(&mut self, figures: Figures) {
        self.disk.figures = figures;
    }

    pub(crate) fn set_full(&mut self, full: bool) {
        self.disk.full = full;
    }

    pub(crate) fn set_stalled(&mut self, error: Option<&Error>) {
        self.disk.stalled = error.map(ToString::to_string);
    }

    /// True while nothing more that must be stored is taken in: the disk is full, or it fails and
    /// enough waits for it.
    pub(crate) fn is_closed(&self) -> bool {
        self.disk.full || (self.disk.stalled.is_some() && self.store.is_congested())
    }

    /// True while publishers are not to be read: more waits for the disk than should. While the
    /// disk fails, what must be stored is refused instead, and the rest goes on.
    pub(crate) fn slows_publishers(&self) -> bool {
        self.store.is_congested() && self.disk.stalled.is_none()
    }

    /// Asks the storage thread for rows.
    pub(crate) fn read(&mut self, reader: Reader, ids: &IdRanges) {
        self.reads.ask(reader, ids, 0);
    }

    /// Asks the storage thread for the next rows of a session's queue, about so many `bytes`. It must be
    /// one that [`may_read`](Ledger::may_read).
    pub(crate) fn read_queue(
        &mut self,
        key: SessionKey,
        question: u16,
        ids: &IdRanges,
        bytes: usize,
    ) {
        self.reads.ask(Reader::Queue(key, question), ids, bytes);
    }

    /// True if a session's queue may ask for rows; else it gets its turn by
    /// [`next_to_read`](Ledger::next_to_read).
    pub(crate) fn may_read(&mut self, key: SessionKey) -> bool {
        self.reads.may_ask(key)
    }

    /// The next session whose queue has waited to ask for rows.
    pub(crate) fn next_to_read(&mut self) -> Option<SessionKey> {
        self.reads.next_waiting()
    }

    /// A row was decoded: `owed` is what others than its reader are owed of the message.
    pub(crate) fn note_read(&mut self, id: MessageId, message: &Rc<Message>, owed: Vec<Owed>) {
        self.reads.note(id, message, owed);
    }

    /// A message on disk that somebody has in memory, and what `session` is owed of it, which takes it.
    pub(crate) fn take_known(
        &mut self,
        id: MessageId,
        session: SessionId,
    ) -> Option<(Rc<Message>, Owed)> {
        self.reads.take_known(id, session)
    }

    /// Who asked for the rows that have come.
    pub(crate) fn answered(&mut self, token: u64) -> Option<Reader> {
        self.reads.answered(token)
    }

    /// True if something is to be asked of the storage thread.
    pub(crate) fn has_reads(&self) -> bool {
        self.reads.has_requests()
    }

    /// What is to be asked of the storage thread.
    pub(crate) fn take_reads(&mut self) -> std::vec::Drain<'_, ReadRequest> {
        self.reads.take()
    }
}
