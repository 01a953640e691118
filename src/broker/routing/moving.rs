//! Subscriptions move to a new tree, so that the memory of the old one goes back.

use super::{Router, Subscriber};
use crate::broker::sessions::{Sessions, Subscribed, levels};
use crate::keys::SessionKey;
use crate::mqtt;
use crate::route::SubOptions;

/// How far they have moved.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Sessions whose subscriptions are still to move, the last first. Those that have come since are
    /// in the new tree.
    left: Vec<SessionKey>,
    /// Of the last one, the filters up to this one have.
    passed: Option<Box<str>>,
}

impl Router {
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
        let Some((_, filter)) = mqtt::share(name).filter(|_| subscribed.options.lane.is_share())
        else {
            let subscriber = Subscriber::Session(key);
            return self.tree.move_over(name, subscriber, subscribed.options);
        };
        // With the first of its members.
        if let Some(group) = self.groups.find(name) {
            let subscriber = Subscriber::Group(group);
            self.tree
                .move_over(filter, subscriber, SubOptions::default());
        }
    }
}
