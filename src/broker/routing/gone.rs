//! Filters of sessions that have ended: where there are thousands, they leave the tree in pieces.

use std::collections::VecDeque;

use crate::broker::sessions::Subscribed;
use crate::keys::SessionKey;
use crate::time::Time;

/// Filters that are still in the tree, though their session has ended.
#[derive(Debug, Default)]
pub(super) struct Gone {
    filters: VecDeque<(SessionKey, Vec<Subscribed>)>,
    /// When to take more of them out.
    due: Time,
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

    /// Takes the next of them, and whose it was. `now`: there is time for more of them at once.
    pub(super) fn take(&mut self, now: Time) -> Option<(SessionKey, Subscribed)> {
        self.due = now;
        loop {
            let (key, filters) = self.filters.front_mut()?;
            if let Some(filter) = filters.pop() {
                return Some((*key, filter));
            }
            self.filters.pop_front();
        }
    }
}
