//! Who publishes most, and on which topics: what the operator looks for when the uplink is full at night.
//!
//! It is counted all the time, as nobody asks before there is trouble, and costs next to nothing: of what comes
//! in a minute the first messages are counted each, and of the rest one of sixteen or so, which stands for
//! those that were passed over. Which one is left to chance, as devices that speak in turn would else be taken
//! for one. The memory it takes has a bound, about 80 KB, whatever the clients call themselves.

mod sketch;

use std::time::Duration;

use sketch::Sketch;
pub use sketch::Talker;

use crate::time::Time;

/// Counts begin anew so often; the last ones are kept until then.
const SPAN: Duration = Duration::from_secs(60);
/// So many messages of a span are counted each.
const EACH: u32 = 4096;
/// At most so many are passed over then; half as many on average.
const SKIP: u32 = 32;

/// The counts of a span.
#[derive(Debug, Default)]
struct Counts {
    begun: Time,
    counted: u32,
    clients: Sketch,
    topics: Sketch,
}

/// Who publishes most.
#[derive(Debug)]
pub(crate) struct Talkers {
    /// Messages to be passed over before the next is counted.
    skip: u32,
    /// Messages that the next stands for, itself included.
    weight: u32,
    chance: u32,
    counts: Counts,
    /// Those of the span before; `None` in the first.
    last: Option<Counts>,
}

/// What was counted.
#[derive(Debug)]
pub struct Talk {
    /// For how long: one to two minutes, or since the start.
    pub span: Duration,
    /// The clients that published most, at least so much each.
    pub clients: Vec<Talker>,
    /// The topics on which most was published.
    pub topics: Vec<Talker>,
}

impl Talkers {
    /// Nobody has said anything by `now`.
    pub(crate) fn new(now: Time) -> Talkers {
        Talkers {
            skip: 0,
            weight: 1,
            chance: 0x9e37_79b9,
            counts: Counts {
                begun: now,
                ..Counts::default()
            },
            last: None,
        }
    }

    /// A message was published: `bytes` are those of topic and payload.
    #[inline]
    pub(crate) fn note(&mut self, client_id: &str, topic: &str, bytes: usize, now: Time) {
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.count(client_id, topic, bytes, now);
        }
    }

    fn count(&mut self, client_id: &str, topic: &str, bytes: usize, now: Time) {
        self.turn_over(now);
        let weight = u64::from(self.weight);
        let bytes = (bytes as u64).saturating_mul(weight);
        self.counts.clients.add(client_id, weight, bytes);
        self.counts.topics.add(topic, weight, bytes);
        self.counts.counted = self.counts.counted.saturating_add(1);
        self.skip = if self.counts.counted < EACH {
            0
        } else {
            self.draw() % SKIP
        };
        self.weight = self.skip + 1;
    }

    /// Begins a new span where that is due.
    fn turn_over(&mut self, now: Time) {
        let old = now.since(self.counts.begun);
        if old < SPAN {
            return;
        }
        let next = Counts {
            begun: now,
            ..Counts::default()
        };
        let counts = std::mem::replace(&mut self.counts, next);
        // What is older says nothing about the last minutes.
        self.last = (old < 2 * SPAN).then_some(counts);
    }

    /// By xorshift, which is even enough.
    fn draw(&mut self) -> u32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        self.chance
    }

    /// Who has published most by `now`.
    pub(crate) fn talk(&mut self, now: Time) -> Talk {
        self.turn_over(now);
        let spans = || self.last.iter().chain([&self.counts]);
        let begun = spans().map(|counts| counts.begun).min();
        Talk {
            span: begun.map_or(Duration::ZERO, |begun| now.since(begun)),
            clients: sketch::sum(spans().map(|counts| &counts.clients)),
            topics: sketch::sum(spans().map(|counts| &counts.topics)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::ZERO;

    fn of<'a>(talkers: &'a [Talker], name: &str) -> Option<&'a Talker> {
        talkers.iter().find(|talker| &*talker.name == name)
    }

    #[test]
    fn few_messages_are_counted_each() {
        let mut talkers = Talkers::new(START);
        for n in 0..30 {
            talkers.note("a", "t/1", 10, START);
            if n % 3 == 0 {
                talkers.note("b", "t/2", 100, START);
            }
        }
        let talk = talkers.talk(START + Duration::from_secs(10));
        assert_eq!(talk.span, Duration::from_secs(10));
        let a = of(&talk.clients, "a").unwrap();
        assert_eq!((a.messages, a.bytes), (30, 300));
        let t2 = of(&talk.topics, "t/2").unwrap();
        assert_eq!((t2.messages, t2.bytes), (10, 1000));
        assert_eq!(&*talk.clients.first().unwrap().name, "a", "the most first");
    }

    /// Sixteen that speak in turn have the same share, though one of sixteen messages is counted.
    #[test]
    fn many_messages_are_estimated() {
        let mut talkers = Talkers::new(START);
        let ids: Vec<String> = (0..16).map(|n| format!("c{n}")).collect();
        let rounds = 50_000;
        for _ in 0..rounds {
            for id in &ids {
                talkers.note(id, "t", 1, START);
            }
        }
        let talk = talkers.talk(START);
        let all = of(&talk.topics, "t").unwrap().messages;
        assert!(all.abs_diff(16 * rounds) <= u64::from(SKIP), "{all}");
        for id in &ids {
            let messages = of(&talk.clients, id).unwrap().messages;
            assert!(messages.abs_diff(rounds) < rounds / 10, "{id}: {messages}");
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut talkers = Talkers::new(START);
        talkers.note("a", "t", 1, START);
        let later = START + Duration::from_secs(70);
        talkers.note("b", "t", 1, later);
        let talk = talkers.talk(later + Duration::from_secs(20));
        assert!(of(&talk.clients, "a").is_some() && of(&talk.clients, "b").is_some());
        assert_eq!(talk.span, Duration::from_secs(90));
        let talk = talkers.talk(later + Duration::from_secs(600));
        assert!(talk.clients.is_empty() && talk.topics.is_empty());
    }
}
