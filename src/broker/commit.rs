//! The end of a turn and the news from the storage thread.

use super::{Broker, ConnId};
use crate::store::{Batch, Event, ReadRequest};
use crate::time::Time;

impl Broker {
    /// The batch to commit now, if one is due and none is under way.
    pub fn take_batch(&mut self, now: Time) -> Option<Batch> {
        if !self.store.is_due(now) {
            return None;
        }
        let batch = self.spare_batch.take().unwrap_or_else(|| Batch::new(0));
        let mut batch = self.store.begin_commit(batch);
        batch.floor = now;
        self.save_sessions(&mut batch);
        for topic in self.retained_unsaved.drain() {
            match self.retained.get(&topic) {
                Some(message) => batch.put_retained(message),
                None => batch.delete_retained(&topic),
            }
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
                bytes,
                mut batch,
            } => {
                self.counters.commits += 1;
                self.counters.store_bytes = bytes;
                self.store.committed(seq);
                batch.reset(0);
                self.spare_batch = Some(batch);
                self.caught_up(now);
            }
            Event::Rows { token, rows } => self.on_rows(token, &rows, now),
            Event::Stalled { error } => {
                log::error!("{error}: acknowledgements wait, trying again every second");
            }
            Event::Resumed => log::warn!("The store works again."),
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
        if self.store.is_congested() {
            return;
        }
        for c in std::mem::take(&mut self.paused) {
            self.resume_reading(c);
        }
    }

    fn resume_reading(&mut self, c: ConnId) {
        if let Some(conn) = self.conns.get_mut(c.0) {
            conn.paused = false;
            self.resumed.push(c);
        }
    }

    /// Everything gathered is to be written with the next turn (SIGUSR1).
    pub fn commit_now(&mut self, now: Time) {
        self.store.hurry(now);
    }
}
