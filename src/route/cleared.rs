//! The topics whose retained message was cleared, for as long as an upstream is to be told so.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;

use super::kept::key;
use crate::message::Message;
use crate::time::Time;

/// The messages without payload that cleared a topic, each topic's last. They are keyed and ordered
/// as the retained messages are.
#[derive(Debug, Default)]
pub struct Cleared {
    messages: BTreeMap<Box<[u8]>, Rc<Message>>,
    /// The oldest first.
    arrivals: BTreeSet<(Time, Box<[u8]>)>,
}

impl Cleared {
    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What cleared `topic`.
    pub fn get(&self, topic: &str) -> Option<&Rc<Message>> {
        self.messages.get(&key(topic)[..])
    }

    /// As [`Retained::after`](super::Retained::after).
    pub fn after<'a>(
        &'a self,
        key: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Rc<Message>)> {
        let from = key.map_or(Unbounded, Excluded);
        let messages = self.messages.range::<[u8], _>((from, Unbounded));
        messages.map(|(key, message)| (&**key, message))
    }

    /// Notes what has cleared a topic.
    pub fn set(&mut self, message: Rc<Message>) {
        let key = key(message.topic());
        self.arrivals.insert((message.arrival, key.clone()));
        if let Some(old) = self.messages.insert(key.clone(), Rc::clone(&message))
            && old.arrival != message.arrival
        {
            self.arrivals.remove(&(old.arrival, key));
        }
    }

    /// The topic has a value again, or all know that it has none.
    pub fn remove(&mut self, topic: &str) -> Option<Rc<Message>> {
        let (key, old) = self.messages.remove_entry(&key(topic)[..])?;
        self.arrivals.remove(&(old.arrival, key));
        Some(old)
    }

    /// Those that arrived by `time`, the oldest first.
    pub fn arrived_by(&self, time: Time) -> impl Iterator<Item = &Rc<Message>> {
        let arrivals = self.arrivals.iter().take_while(move |(at, _)| *at <= time);
        arrivals.filter_map(|(_, key)| self.messages.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Origin, Parts};

    fn clearing(topic: &str, secs: u64) -> Rc<Message> {
        let parts = Parts {
            topic,
            props: &[],
            payload: &[],
        };
        let at = Time::from_secs(secs);
        Rc::new(Message::new(parts, at, Rc::new(Origin::default())).unwrap())
    }

    #[test]
    fn each_topic_is_there_once_and_the_oldest_are_found() {
        let mut cleared = Cleared::default();
        for (topic, secs) in [("b", 1), ("a/x", 2), ("a", 3), ("b", 4), ("c", 4), ("c", 4)] {
            cleared.set(clearing(topic, secs));
        }
        let topics = |messages: Vec<&Rc<Message>>| -> Vec<String> {
            messages.iter().map(|m| m.topic().to_owned()).collect()
        };
        let by =
            |cleared: &Cleared, secs| topics(cleared.arrived_by(Time::from_secs(secs)).collect());
        assert_eq!(by(&cleared, 3), ["a/x", "a"]);
        assert_eq!(by(&cleared, 9), ["a/x", "a", "b", "c"]);
        assert_eq!(
            topics(cleared.after(None).map(|(_, m)| m).collect()),
            ["a", "a/x", "b", "c"]
        );
        let key = cleared.after(None).nth(1).map(|(key, _)| key.to_vec());
        let rest = cleared.after(key.as_deref()).map(|(_, m)| m).collect();
        assert_eq!(topics(rest), ["b", "c"]);
        assert!(cleared.remove("b").is_some() && cleared.remove("b").is_none());
        assert_eq!(by(&cleared, 9), ["a/x", "a", "c"]);
        assert_eq!((cleared.len(), cleared.is_empty()), (3, false));
    }
}
