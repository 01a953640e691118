//! What upstreams are to be told of retained messages: their values, and which were cleared.

use std::rc::Rc;

use super::Router;
use crate::message::Message;
use crate::route::{Value, order};
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
    pub(crate) fn kept_after<'a>(&'a self, key: Option<&[u8]>) -> impl Iterator<Item = Value<'a>> {
        let mut kept = self.retained.after(key).peekable();
        let cleared = self.cleared.after(key);
        let mut cleared = cleared.map(|(_, message)| Value::of(message)).peekable();
        std::iter::from_fn(move || match (kept.peek(), cleared.peek()) {
            (Some(a), Some(b)) if order(b.topic_bytes(), a.topic_bytes()).is_lt() => cleared.next(),
            (None, _) => cleared.next(),
            _ => kept.next(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Origin, Parts};
    use crate::store::Batch;

    fn message(topic: &str, payload: &[u8], secs: u64) -> Rc<Message> {
        let parts = Parts {
            topic,
            props: &[],
            payload,
        };
        let at = Time::from_secs(secs);
        let mut message = Message::new(parts, at, Rc::new(Origin::default())).unwrap();
        message.retain = true;
        Rc::new(message)
    }

    /// However many topics are cleared while an upstream is away, memory and disk hold the newest.
    #[test]
    fn the_oldest_of_too_many_cleared_topics_go() {
        let mut router = Router::new(MessageId(1));
        let most = MAX_CLEARED as u64;
        for n in 0..most + 5 {
            let (topic, now) = (format!("t/{n:05}"), Time::from_secs(n));
            router.retain(&message(&topic, b"x", n), false, now);
            router.retain(&message(&topic, b"", n), true, now);
        }
        let topics: Vec<String> = router
            .kept_after(None)
            .map(|value| value.topic().to_owned())
            .collect();
        assert_eq!((topics.len(), &*topics[0]), (MAX_CLEARED, "t/00005"));
        let mut batch = Batch::new(1);
        router.save(&mut batch, true, Time::from_secs(most));
        router.prune_cleared(Time::from_secs(most), |message| message.topic() < "t/09999");
        assert_eq!(router.kept_after(None).count(), 6);
    }

    /// Values and what has cleared a topic come in one order, each topic once.
    #[test]
    fn kept_topics_come_in_one_order() {
        let mut router = Router::new(MessageId(1));
        for (topic, is_cleared) in [("b", true), ("a/x", false), ("c", true), ("a", false)] {
            router.retain(&message(topic, b"x", 1), false, Time::from_secs(1));
            if is_cleared {
                router.retain(&message(topic, b"", 1), true, Time::from_secs(1));
            }
        }
        // It has a value again.
        router.retain(&message("c", b"x", 2), true, Time::from_secs(2));
        let after = |key: Option<&[u8]>| -> Vec<(String, bool)> {
            let kept = router.kept_after(key);
            let kept = kept.map(|m| (m.topic().to_owned(), m.payload().is_empty()));
            kept.collect()
        };
        let all = [("a", false), ("a/x", false), ("b", true), ("c", false)];
        let all = all.map(|(topic, is_cleared)| (topic.to_owned(), is_cleared));
        assert_eq!(after(None), all);
        let second = router.kept_after(None).nth(1).unwrap();
        assert_eq!(after(Some(&second.key())), all[2..]);
        assert_eq!(router.retained_len(), 3);
    }
}
