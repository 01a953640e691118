//! What the router does piece by piece: filters of sessions that have ended leave the tree, and those that
//! stay move to another one where most of its memory is unused.

use super::moving::Moving;
use super::{Router, Subscriber};
use crate::broker::sessions::{Sessions, Subscribed, Subscriptions, levels};
use crate::keys::SessionKey;
use crate::mqtt;
use crate::route::SubOptions;

impl Router {
    /// A session ends: its filters, those of groups left out, leave the tree piece by piece
    /// ([`Router::clear_one`]). It gets nothing more in any case.
    pub(crate) fn forget(&mut self, key: SessionKey, filters: Subscriptions) {
        if filters.len() > 0 {
            self.gone.add(key, filters);
        }
    }

    /// What it has cost since the last call, in units of work, that many have subscribed to one filter.
    pub(crate) fn take_crowding(&mut self) -> usize {
        // A list of so many is moved in about the time of a unit.
        const MOVED: usize = 1_024;
        self.crowding += self.tree.take_moved();
        let units = self.crowding / MOVED;
        self.crowding %= MOVED;
        units
    }

    /// True if there is something for [`Router::clear_one`].
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes one of the filters out of the tree whose sessions have ended. Returns how many levels it
    /// had; `None` if none is left.
    pub(crate) fn clear_one(&mut self) -> Option<usize> {
        let (key, gone) = self.gone.take()?;
        if gone.options().lane.is_share() {
            // Its session has left the group already.
            return Some(0);
        }
        self.unsubscribe(&gone.filter, key);
        Some(levels(&gone.filter))
    }

    /// True if members of groups have left something in RAM that was not offered to others yet.
    pub(crate) fn has_left_in_ram(&self) -> bool {
        !self.left_in_ram.is_empty() || !self.leaving.is_empty()
    }

    /// True if there is something for [`Router::move_some`].
    pub(crate) fn is_to_move(&self) -> bool {
        self.tree.is_sparse() || !self.moving.left.is_empty()
    }

    /// Moves subscriptions to a new tree, for about `most` units of work. Returns how many it did.
    pub(crate) fn move_some(&mut self, sessions: &Sessions, most: usize) -> usize {
        if self.tree.is_sparse() {
            self.tree.begin_move();
            self.moving = Moving {
                left: sessions.keys(),
                passed: None,
            };
        }
        let mut done = 0;
        while done < most
            && let Some(key) = self.moving.left.last().copied()
        {
            done += 1;
            let passed = self.moving.passed.take();
            let session = sessions.get(key);
            let filters = session.map(|session| session.subscriptions.after(passed.as_deref()));
            for subscribed in filters.into_iter().flatten() {
                if done >= most {
                    break;
                }
                done += 1 + levels(&subscribed.filter);
                self.move_over(key, subscribed);
                self.moving.passed = Some(subscribed.filter.clone());
            }
            if done < most {
                self.moving.left.pop();
                self.moving.passed = None;
            }
        }
        if !self.tree.is_moving() {
            self.moving = Moving::default();
        }
        self.held.set(self.tree.bytes());
        done
    }

    fn move_over(&mut self, key: SessionKey, subscribed: &Subscribed) {
        let name = &*subscribed.filter;
        let Some((_, filter)) = mqtt::share(name).filter(|_| subscribed.options().lane.is_share())
        else {
            let subscriber = Subscriber::Session(key);
            return self.tree.move_over(name, subscriber, subscribed.options());
        };
        // With the first of its members.
        if let Some(group) = self.groups.find(name) {
            let subscriber = Subscriber::Group(group);
            self.tree
                .move_over(filter, subscriber, SubOptions::default());
        }
    }
}
