//! How long turns take, and what takes so long.

use std::time::{Duration, Instant};

use crate::broker::ConnId;
use crate::time::Time;

/// A turn that takes longer is told to the log.
const LONG: Duration = Duration::from_millis(100);

/// The log is told no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a part of a turn is spent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Part {
    /// What other tasks did since the kernel was asked: new connections, signals, bridges.
    Tasks,
    /// What the storage thread has reported, and its next batch.
    Store,
    /// Packets of this connection.
    Packets(ConnId),
    /// What was due, and `$SYS`.
    Timers,
    /// Output of this connection.
    Writing(ConnId),
}

/// Measures the turn under way.
#[derive(Debug)]
pub(in crate::net) struct Watch {
    begun: Instant,
    /// Up to here it is known on what the time was spent.
    last: Instant,
    /// On other tasks, the store and timers.
    tasks: Duration,
    store: Duration,
    timers: Duration,
    packets: Most,
    writing: Most,
    /// When the log was last told.
    told: Option<Time>,
}

/// Time spent on connections, and the one that most of it was spent on at once.
#[derive(Debug, Default)]
struct Most {
    all: Duration,
    most: Duration,
    whose: Option<ConnId>,
}

impl Most {
    fn add(&mut self, took: Duration, whose: ConnId) {
        self.all += took;
        if took >= self.most {
            (self.most, self.whose) = (took, Some(whose));
        }
    }
}

impl Watch {
    /// A watch at `now`, before the first turn.
    pub(in crate::net) fn new(now: Instant) -> Watch {
        Watch {
            begun: now,
            last: now,
            tasks: Duration::ZERO,
            store: Duration::ZERO,
            timers: Duration::ZERO,
            packets: Most::default(),
            writing: Most::default(),
            told: None,
        }
    }

    /// The turn begins, `now`. What has been done since the wait that was over at `woken` belongs to it.
    pub(in crate::net) fn begin(&mut self, woken: Instant, now: Instant) {
        self.begun = woken.max(self.last);
        // What the store has reported was looked at meanwhile.
        self.tasks = now
            .saturating_duration_since(self.begun)
            .saturating_sub(self.store);
        self.last = now;
    }

    /// The time up to `now` was spent on `part`.
    pub(in crate::net) fn lap(&mut self, part: Part, now: Instant) {
        let took = now.saturating_duration_since(self.last);
        self.last = now;
        match part {
            Part::Tasks => self.tasks += took,
            Part::Store => self.store += took,
            Part::Packets(id) => self.packets.add(took, id),
            Part::Timers => self.timers += took,
            Part::Writing(id) => self.writing.add(took, id),
        }
    }

    /// So much of what came before the turn was spent on what the store has reported.
    pub(in crate::net) fn add_store(&mut self, took: Duration) {
        self.store += took;
    }

    /// The turn is over: how long it took, and what most of it was spent on.
    pub(in crate::net) fn end(&mut self) -> (Duration, Option<Part>) {
        let parts = [
            (self.tasks, Some(Part::Tasks)),
            (self.store, Some(Part::Store)),
            (self.timers, Some(Part::Timers)),
            (self.packets.all, self.packets.whose.map(Part::Packets)),
            (self.writing.all, self.writing.whose.map(Part::Writing)),
        ];
        let most = parts.into_iter().max_by_key(|(took, _)| *took);
        let took = self.last.saturating_duration_since(self.begun);
        *self = Watch {
            told: self.told,
            ..Watch::new(self.last)
        };
        (took, most.and_then(|(_, part)| part))
    }

    /// True if the log is to be told of a turn that took so long.
    pub(in crate::net) fn is_worth_a_line(&mut self, took: Duration, now: Time) -> bool {
        let is = took > LONG && self.told.is_none_or(|at| now.since(at) >= TELL_EVERY);
        if is {
            self.told = Some(now);
        }
        is
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_turn_is_measured_from_the_wait_on_and_its_largest_part_is_named() {
        let start = Instant::now();
        let at = |ms: u32| start + ms * MS;
        let mut table = Table::<ConnId, ()>::default();
        let (a, b) = (table.insert(()), table.insert(()));
        let mut watch = Watch::new(start);
        watch.begin(at(100), at(110));
        watch.lap(Part::Packets(a), at(115));
        watch.lap(Part::Packets(b), at(123));
        watch.lap(Part::Timers, at(124));
        watch.lap(Part::Store, at(130));
        watch.lap(Part::Writing(a), at(131));
        assert_eq!(watch.end(), (31 * MS, Some(Part::Packets(b))));
        // Nobody waited since.
        watch.add_store(4 * MS);
        watch.begin(at(100), at(137));
        watch.lap(Part::Timers, at(140));
        assert_eq!(watch.end(), (9 * MS, Some(Part::Store)));
        watch.begin(at(200), at(205));
        assert_eq!(watch.end(), (5 * MS, Some(Part::Tasks)));
    }

    #[test]
    fn the_log_is_told_of_long_turns_now_and_then() {
        let mut watch = Watch::new(Instant::now());
        let at = Time::from_secs;
        assert!(!watch.is_worth_a_line(LONG, at(100)));
        assert!(watch.is_worth_a_line(LONG + MS, at(100)));
        assert!(!watch.is_worth_a_line(LONG * 9, at(109)));
        assert!(watch.is_worth_a_line(LONG * 9, at(110)));
    }
}
