//! To whom a message is owed that waits for its commit. There may be ten thousand, who take it over one by
//! one: that costs each a search, not a walk through all the others.

use crate::message::SessionId;
use crate::owed::Owed;

/// So many and fewer are moved together at once.
const FEW: usize = 16;

/// Who is owed a message, in the order of their sessions.
#[derive(Debug)]
pub(super) struct Targets {
    all: Vec<Owed>,
    /// By place in `all`: who is owed it no more. Made with the first of many.
    is_gone: Vec<bool>,
    gone: usize,
}

impl Targets {
    pub(super) fn new(mut all: Vec<Owed>) -> Targets {
        all.sort_by_key(|owed| owed.session);
        Targets {
            all,
            is_gone: Vec::new(),
            gone: 0,
        }
    }

    /// `session` is owed it no more.
    pub(super) fn remove(&mut self, session: SessionId) {
        if self.all.len() <= FEW {
            self.settle();
            return self.all.retain(|owed| owed.session != session);
        }
        self.is_gone.resize(self.all.len(), false);
        for at in places(&self.all, session) {
            if let Some(is_gone) = self.is_gone.get_mut(at) {
                self.gone += usize::from(!std::mem::replace(is_gone, true));
            }
        }
        if self.gone * 2 > self.all.len() {
            self.settle();
        }
    }

    /// True if nobody is owed it.
    pub(super) fn is_empty(&self) -> bool {
        self.all.len() == self.gone
    }

    /// How `session` is owed it.
    pub(super) fn get(&self, session: SessionId) -> Option<&Owed> {
        let is_gone = |at: &usize| self.is_gone.get(*at).copied().unwrap_or_default();
        let at = places(&self.all, session).find(|at| !is_gone(at))?;
        self.all.get(at)
    }

    /// All who are owed it, in the order of their sessions.
    pub(super) fn into_vec(mut self) -> Vec<Owed> {
        self.settle();
        self.all
    }

    /// Takes those out that are owed it no more.
    fn settle(&mut self) {
        let mut gone = std::mem::take(&mut self.is_gone).into_iter();
        if std::mem::take(&mut self.gone) > 0 {
            self.all.retain(|_| !gone.next().unwrap_or_default());
        }
    }
}

/// How `session` is owed a message, in what [`Targets::into_vec`] has returned.
pub(super) fn find(all: &[Owed], session: SessionId) -> Option<&Owed> {
    all.get(places(all, session).start)
        .filter(|owed| owed.session == session)
}

/// The places of a session.
fn places(all: &[Owed], session: SessionId) -> std::ops::Range<usize> {
    let start = all.partition_point(|owed| owed.session < session);
    let rest = all.get(start..).unwrap_or_default();
    let count = rest.iter().take_while(|owed| owed.session == session);
    start..start + count.count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lane::Lane;
    use crate::mqtt::QoS;

    fn owed(session: u64) -> Owed {
        Owed {
            session: SessionId(session),
            lane: Lane::Client,
            seq: session + 1,
            qos: QoS::AtLeastOnce,
            retain: false,
            sub_ids: Box::default(),
        }
    }

    proptest! {
        #[test]
        fn they_are_what_a_list_is(
            all in prop::collection::vec(0u64..60, 1..80),
            steps in prop::collection::vec(0u64..62, 0..120),
        ) {
            let mut model: Vec<u64> = all.clone();
            model.sort_unstable();
            let mut targets = Targets::new(all.into_iter().map(owed).collect());
            for session in steps {
                targets.remove(SessionId(session));
                model.retain(|other| *other != session);
                prop_assert_eq!(targets.is_empty(), model.is_empty());
                for other in 0..62 {
                    let found = targets.get(SessionId(other)).map(|owed| owed.session.0);
                    prop_assert_eq!(found, model.contains(&other).then_some(other));
                }
            }
            let left = targets.into_vec();
            for other in 0..62 {
                let found = find(&left, SessionId(other)).map(|owed| owed.session.0);
                prop_assert_eq!(found, model.contains(&other).then_some(other));
            }
            let left: Vec<u64> = left.iter().map(|owed| owed.session.0).collect();
            prop_assert_eq!(left, model);
        }
    }

    /// Each of ten thousand that takes a message over moves next to nothing.
    #[test]
    fn many_are_taken_out_without_moving_the_others_each_time() {
        let mut targets = Targets::new((0..10_000).map(owed).collect());
        let mut moves = 0;
        for session in 0..10_000 {
            let before = targets.all.len();
            targets.remove(SessionId(session));
            let moved = before != targets.all.len() && before > FEW;
            moves += if moved { before } else { 0 };
        }
        assert!(targets.is_empty());
        assert!(moves < 20_000, "{moves}");
    }
}
