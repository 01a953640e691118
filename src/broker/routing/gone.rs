//! Filters of sessions that have ended: where there are thousands, they leave the tree in pieces.

use std::collections::VecDeque;

use crate::broker::sessions::{Subscribed, levels};
use crate::keys::SessionKey;
use crate::time::Time;

/// Levels of filters that leave the tree in a turn, about: a millisecond's work.
const PIECE: usize = 4000;

/// Filters that are still in the tree, though their session has ended.
#[derive(Debug, Default)]
pub(super) struct Gone {
    filters: VecDeque<(SessionKey, Vec<Subscribed>)>,
    /// When to take more of them out.
    due: Time,
    /// Levels that have left the tree in this turn already.
    done: usize,
}

impl Gone {
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// When more of them are to leave the tree.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.is_empty()).then_some(self.due)
    }

    /// A session ends, whose filters these are.
    pub(super) fn add(&mut self, key: SessionKey, filters: Vec<Subscribed>) {
        self.filters.push_back((key, filters));
    }

    /// Takes the next of them, and whose it was; `None` once a turn's piece was taken. `now`: there is
    /// time for more of them at once.
    pub(super) fn take(&mut self, now: Time) -> Option<(SessionKey, Subscribed)> {
        if self.done >= PIECE {
            return None;
        }
        self.due = now;
        loop {
            let (key, filters) = self.filters.front_mut()?;
            if let Some(filter) = filters.pop() {
                self.done += levels(&filter.filter);
                return Some((*key, filter));
            }
            self.filters.pop_front();
        }
    }

    /// Levels of the filters that were taken in this turn: all sessions that end in it share one piece.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// The next turn may take a piece again.
    pub(super) fn next_turn(&mut self) {
        self.done = 0;
    }
}
