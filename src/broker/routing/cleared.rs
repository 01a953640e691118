//! What upstreams are to be told of retained messages: their values, and which were cleared.

use std::rc::Rc;

use super::Router;
use crate::message::Message;
use crate::time::Time;

/// So many cleared topics are kept for upstreams that cannot be told at the moment.
const MAX_CLEARED: usize = 10_000;

impl Router {
    /// A topic has no retained message any more, and an upstream is to be told so.
    pub(crate) fn note_cleared(&mut self, message: &Rc<Message>) {
        self.cleared.set(Rc::clone(message));
        if self.cleared.len() <= MAX_CLEARED {
            return;
        }
        let oldest = self.cleared.arrived_by(message.arrival).next();
        if let Some(topic) = oldest.map(|oldest| oldest.topic().to_owned()) {
            log::warn!(
                "More than {MAX_CLEARED} retained messages were cleared while a bridge was down: its \
                 upstream keeps that on {topic}."
            );
            self.forget_cleared(&topic);
        }
    }

    /// Nobody is to be told any more that a topic was cleared. Its row goes with the next commit.
    fn forget_cleared(&mut self, topic: &str) {
        if self.cleared.remove(topic).is_some() {
            self.unwritten.promised(topic);
        }
    }

    /// True if somebody is to be told of topics that were cleared.
    pub(crate) fn has_cleared(&self) -> bool {
        !self.cleared.is_empty()
    }

    /// Forgets the topics that were cleared by `time` and that `is_known` says all know of.
    pub(crate) fn prune_cleared(&mut self, time: Time, is_known: impl Fn(&Message) -> bool) {
        let known = self.cleared.arrived_by(time).filter(|m| is_known(m));
        let topics: Vec<String> = known.map(|m| m.topic().to_owned()).collect();
        for topic in topics {
            self.forget_cleared(&topic);
        }
    }

    /// The retained messages and those that have cleared a topic, in one order, from the one after
    /// `key` on.
    pub(crate) fn kept_after<'a>(
        &'a self,
        key: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Rc<Message>)> {
        let mut kept = self.retained.after(key).peekable();
        let mut cleared = self.cleared.after(key).peekable();
        std::iter::from_fn(move || match (kept.peek(), cleared.peek()) {
            (Some((a, _)), Some((b, _))) if b < a => cleared.next(),
            (None, _) => cleared.next(),
            _ => kept.next(),
        })
    }
}
