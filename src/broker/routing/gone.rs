//! Filters of sessions that have ended: there may be thousands, so they leave the tree in pieces.

use std::collections::VecDeque;

use crate::broker::sessions::{Subscribed, Subscriptions};
use crate::keys::SessionKey;

/// Filters that are still in the tree, though their session has ended.
#[derive(Debug, Default)]
pub(super) struct Gone {
    filters: VecDeque<(SessionKey, Subscriptions)>,
}

impl Gone {
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// A session ends, whose filters these are.
    pub(super) fn add(&mut self, key: SessionKey, filters: Subscriptions) {
        self.filters.push_back((key, filters));
    }

    /// Takes the next of them, and whose it was.
    pub(super) fn take(&mut self) -> Option<(SessionKey, Subscribed)> {
        let (key, filters) = self.filters.front_mut()?;
        let (key, filter) = (*key, filters.pop());
        if filters.len() == 0 {
            self.filters.pop_front();
        }
        Some((key, filter?))
    }
}
