//! The end of a turn and the news from the storage thread.

use super::Broker;
use crate::store::{Batch, Event, Figures, ReadRequest};
use crate::time::Time;

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
    /// In one word or line: `ok`, `full`, `failing: REASON`.
    pub fn state(&self) -> String {
        match &self.stalled {
            Some(why) => format!("failing: {why}"),
            None if self.full => "full".to_owned(),
            None => "ok".to_owned(),
        }
    }
}

impl Broker {
    /// How the disk of the store is.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The batch to commit now, if one is due and none is under way.
    pub fn take_batch(&mut self, now: Time) -> Option<Batch> {
        self.count_stored();
        if !self.store.is_due(now) {
            return None;
        }
        let batch = self.spare_batch.take().unwrap_or_else(|| Batch::new(0));
        let mut batch = self.store.begin_commit(batch, now);
        batch.floor = now;
        self.save_sessions(&mut batch);
        let all = std::mem::take(&mut self.write_all);
        for topic in self.unwritten.take(all, now) {
            match self.retained.get(&topic) {
                Some(message) => batch.put_retained(message),
                None => batch.delete_retained(&topic),
            }
        }
        if let Some(at) = self.unwritten.due() {
            self.store.commit_by(at);
        }
        if batch.is_empty() {
            // All that was gathered was delivered meanwhile: a commit would wear the flash out
            // for nothing.
            self.store.committed(batch.seq);
            self.spare_batch = Some(batch);
            self.caught_up(now);
            return None;
        }
        Some(batch)
    }

    /// Writes the rows of the sessions that changed.
    fn save_sessions(&mut self, batch: &mut Batch) {
        for index in self.unsaved.drain(..) {
            let Some(session) = self.sessions.get_mut(index) else {
                continue;
            };
            let what = std::mem::take(&mut session.unsaved);
            if what.identity {
                batch.put_session(session.id, &session.record());
            }
            if what.state {
                batch.put_state(session.id, &session.state());
            }
            if what.identity || what.state {
                session.saved_in = batch.seq;
                session.on_disk = true;
            }
        }
        for id in self.gone.drain(..) {
            batch.delete_session(id);
        }
    }

    /// What is to be read from the store; the answers come back as events.
    pub fn take_reads(&mut self) -> std::vec::Drain<'_, ReadRequest> {
        self.reads.drain(..)
    }

    /// The storage thread reports.
    pub fn store_event(&mut self, event: Event, now: Time) {
        match event {
            Event::Committed {
                seq,
                figures,
                mut batch,
            } => {
                self.counters.commits += 1;
                self.disk.figures = figures;
                if let Some(budget) = &self.budget {
                    let interval = budget.interval(figures.written.today, now);
                    self.store.set_commit_interval(interval);
                }
                self.store.committed(seq);
                batch.reset(0);
                self.spare_batch = Some(batch);
                self.caught_up(now);
            }
            Event::Figures(figures) => self.disk.figures = figures,
            Event::Rows { token, rows } => self.on_rows(token, &rows, now),
            Event::Stalled { error } => {
                log::error!("{error}: acknowledgements wait until it works again");
                self.disk.stalled = Some(error.to_string());
                // From now on what must be stored is refused, rather than not read.
                self.resume_paused();
            }
            Event::Resumed => {
                log::warn!("The store works again.");
                self.disk.stalled = None;
                self.shared.estates.look_at_all();
            }
            Event::Full => {
                log::error!(
                    "The disk of the store is full: messages that would have to be stored are \
                     refused until there is room; deliveries and QoS 0 go on."
                );
                self.disk.full = true;
            }
            Event::Room => {
                log::warn!("The disk of the store has room again.");
                self.disk.full = false;
                self.shared.estates.look_at_all();
                self.retry_parked(now);
            }
            Event::Rewritten => log::error!(
                "The store's file was deleted or replaced under the broker: it was written anew."
            ),
            // What follows is the business of `run`.
            Event::Damaged { error } => log::error!("{error}"),
        }
        self.settle(now);
    }

    /// A commit is done: what waited for it goes on.
    fn caught_up(&mut self, now: Time) {
        self.settle(now);
        for index in std::mem::take(&mut self.stalled) {
            if let Some(session) = self.sessions.get_mut(index) {
                session.stalled = false;
                self.pump(index, now);
            }
        }
        if !self.store.is_congested() {
            self.resume_paused();
        }
    }

    fn resume_paused(&mut self) {
        for c in std::mem::take(&mut self.paused) {
            if let Some(conn) = self.conns.get_mut(c.0) {
                conn.paused = false;
                self.resumed.push(c);
            }
        }
    }

    /// True while nothing more that must be stored is taken in: the disk is full, or it fails and
    /// enough waits for it.
    pub(super) fn is_disk_closed(&self) -> bool {
        self.disk.full || (self.disk.stalled.is_some() && self.store.is_congested())
    }

    /// Everything gathered is to be written with the next turn (SIGUSR1).
    pub fn commit_now(&mut self, now: Time) {
        self.write_all = true;
        self.store.hurry(now);
    }
}
