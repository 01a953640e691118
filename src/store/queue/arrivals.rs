//! When the messages of a queue arrived, roughly.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// Checkpoints kept; beyond, every second one goes.
const MAX_CHECKPOINTS: usize = 96;
/// The least time between two checkpoints.
const SPACING: Duration = Duration::from_secs(1);

/// Checkpoints in an ascending queue of ids: of each one is known that it, and every id before
/// it, had arrived by its time. Their spacing doubles as the queue comes to span more time.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals {
    marks: VecDeque<(Time, u64)>,
    /// The newest id; a checkpoint too.
    last: Option<(Time, u64)>,
    /// Zero stands for [`SPACING`].
    spacing: Duration,
}

impl Arrivals {
    /// `id` was appended.
    pub(super) fn push_back(&mut self, id: u64, at: Time) {
        let at = self.last.map_or(at, |(last, _)| last.max(at));
        self.last = Some((at, id));
        let spacing = self.spacing.max(SPACING);
        if self.marks.back().is_some_and(|(t, _)| at < *t + spacing) {
            return;
        }
        self.marks.push_back((at, id));
        if self.marks.len() > MAX_CHECKPOINTS {
            self.spacing = spacing * 2;
            let mut n = 0;
            self.marks.retain(|_| {
                n += 1;
                n % 2 == 1
            });
        }
    }

    /// What it takes, in bytes.
    pub(super) fn room(&self) -> usize {
        self.marks.capacity() * size_of::<(Time, u64)>()
    }

    /// `id` was put back at the front.
    pub(super) fn push_front(&mut self, id: u64, at: Time) {
        let Some((first, _)) = self.marks.front().copied() else {
            return self.push_back(id, at);
        };
        for mark in self.marks.iter_mut().chain(&mut self.last) {
            // Rarely: a message that waited before it was queued.
            mark.0 = mark.0.max(at);
        }
        if at + self.spacing.max(SPACING) <= first {
            self.marks.push_front((at, id));
        }
    }

    /// About when the id at the front, `front`, arrived; not before its time.
    pub(super) fn oldest(&self, front: u64) -> Option<Time> {
        let before = self.marks.iter().rev().find(|(_, id)| *id <= front);
        before.or(self.marks.front()).map(|(t, _)| *t)
    }

    /// The highest id of which is known that it and all before it arrived at or before `time`.
    pub(super) fn through(&self, time: Time) -> Option<u64> {
        let marks = self.last.iter().chain(self.marks.iter().rev());
        marks.copied().find(|(t, _)| *t <= time).map(|(_, id)| id)
    }

    /// When [`Arrivals::through`] answers for the first id that is not below `front`.
    pub(super) fn next(&self, front: u64) -> Option<Time> {
        let marks = self.marks.iter().chain(&self.last);
        marks.copied().find(|(_, id)| *id >= front).map(|(t, _)| t)
    }

    /// Ids below `front` are gone; `None`: all.
    pub(super) fn forget(&mut self, front: Option<u64>) {
        let Some(front) = front else {
            *self = Arrivals::default();
            return;
        };
        while self.marks.get(1).is_some_and(|(_, id)| *id <= front) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_stay_few_and_safe() {
        let mut arrivals = Arrivals::default();
        // Ten messages a second for a day.
        let at = |id: u64| Time::from_millis(id * 100);
        for id in 0..864_000 {
            arrivals.push_back(id, at(id));
        }
        assert!(arrivals.marks.len() <= MAX_CHECKPOINTS);
        for asked in (0..86_400).step_by(997) {
            let time = Time::from_secs(asked);
            let through = arrivals.through(time).unwrap();
            assert!(at(through) <= time, "nothing too early");
            let late = time.since(at(through));
            assert!(late < Duration::from_secs(86_400 / 20), "{late:?} late");
            arrivals.forget(Some(through + 1));
            let oldest = arrivals.oldest(through + 1).unwrap();
            assert!(at(through + 1).since(oldest) < Duration::from_secs(86_400 / 20));
        }
        assert_eq!(
            arrivals.through(at(863_999)),
            Some(863_999),
            "the very last"
        );
        arrivals.forget(None);
        assert_eq!(arrivals.through(at(863_999)), None);
    }

    #[test]
    fn what_is_put_back_keeps_checkpoints_true() {
        let mut arrivals = Arrivals::default();
        arrivals.push_front(6, Time::from_secs(50));
        arrivals.push_front(5, Time::from_secs(100));
        assert_eq!(arrivals.through(Time::from_secs(99)), None);
        assert_eq!(arrivals.through(Time::from_secs(100)), Some(6));
        arrivals.push_front(4, Time::from_secs(10));
        assert_eq!(arrivals.through(Time::from_secs(99)), Some(4));
        assert_eq!(arrivals.next(4), Some(Time::from_secs(10)));
        assert_eq!(arrivals.next(5), Some(Time::from_secs(100)));
    }
}
