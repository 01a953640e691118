//! Which lane of a queue goes next, of the thousand that a client may have.

use std::collections::VecDeque;

use crate::lane::Lane;

/// The first waiting message of each lane that has one, ascending. Mostly it is the first that leaves,
/// and what comes is the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Fronts(VecDeque<(u64, Lane)>);

impl Fronts {
    /// The lane whose first message is the oldest, and that message, of the lanes that `may` admits.
    pub(super) fn first(&self, may: impl Fn(Lane) -> bool) -> Option<(u64, Lane)> {
        self.0.iter().find(|(_, lane)| may(*lane)).copied()
    }

    /// The first message of a lane is `now`, and was `before`.
    pub(super) fn moved(&mut self, lane: Lane, before: Option<u64>, now: Option<u64>) {
        if before == now {
            return;
        }
        if let Some(before) = before
            && let Ok(at) = self.0.binary_search(&(before, lane))
        {
            self.0.remove(at);
        }
        if let Some(now) = now
            && let Err(at) = self.0.binary_search(&(now, lane))
        {
            self.0.insert(at, (now, lane));
        }
        if self.0.is_empty() {
            self.0 = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::ShareNo;

    /// A client with a thousand shares has a thousand lanes: none is looked at but the next.
    #[test]
    fn the_next_lane_is_not_looked_for_among_all() {
        let lanes = || ShareNo::all().take(1_000).map(Lane::Share);
        let mut fronts = Fronts::default();
        for (id, lane) in (0..).zip(lanes()) {
            fronts.moved(lane, None, Some(id));
        }
        let (asked, mut last) = (std::cell::Cell::new(0), None);
        for (id, lane) in (0..).zip(lanes()) {
            let next = fronts.first(|_| {
                asked.set(asked.get() + 1);
                true
            });
            assert_eq!(next, Some((id, lane)));
            fronts.moved(lane, Some(id), Some(1_000 + id));
            last = Some(lane);
        }
        assert_eq!(asked.get(), 1_000);
        assert_eq!(
            fronts.first(|lane| Some(lane) == last),
            last.map(|lane| (1_999, lane))
        );
        for (id, lane) in (1_000..).zip(lanes()) {
            fronts.moved(lane, Some(id), None);
        }
        assert_eq!((fronts.first(|_| true), fronts.0.capacity()), (None, 0));
    }
}
