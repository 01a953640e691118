//! Retained messages in the order of their topics.
//!
//! A tree of the standard library leaves a third to a half of its places empty. Here they lie in short
//! lists that grow by a few places, and the lists in one list.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use super::kept::{Kept, order};

/// So many lie in a list, at most.
const MOST: usize = 64;
/// By so many places a list grows.
const GROWTH: usize = 8;

/// Retained messages in the order of their topics, each topic once.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// None is empty.
    lists: Vec<Vec<Kept>>,
    len: usize,
}

impl Sorted {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The list that a topic belongs to, and its place there: `Err` for where it would be.
    fn find(&self, topic: &[u8]) -> (usize, Result<usize, usize>) {
        let begins_by = |list: &Vec<Kept>| {
            let first = list.first();
            first.is_some_and(|kept| order(kept.topic(), topic).is_le())
        };
        let at = self.lists.partition_point(begins_by).saturating_sub(1);
        let list = self.lists.get(at).map_or(&[][..], Vec::as_slice);
        let found = list.binary_search_by(|kept| order(kept.topic(), topic));
        (at, found)
    }

    /// The message of a topic.
    pub(super) fn get(&self, topic: &[u8]) -> Option<&Kept> {
        let (at, found) = self.find(topic);
        self.lists.get(at)?.get(found.ok()?)
    }

    /// All, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.lists.iter().flatten()
    }

    /// Those from a topic or its key on, in order.
    pub(super) fn from(&self, bound: Bound<&[u8]>) -> impl Iterator<Item = &Kept> + use<'_> {
        let (at, start) = match bound {
            Unbounded => (0, 0),
            Included(topic) => {
                let (at, found) = self.find(topic);
                (at, found.unwrap_or_else(|place| place))
            }
            Excluded(topic) => {
                let (at, found) = self.find(topic);
                (at, found.map_or_else(|place| place, |place| place + 1))
            }
        };
        let first = self.lists.get(at).and_then(|list| list.get(start..));
        let rest = self.lists.get(at + 1..).unwrap_or_default();
        first.into_iter().flatten().chain(rest.iter().flatten())
    }

    /// The one before a topic.
    pub(super) fn before(&self, topic: &[u8]) -> Option<&Kept> {
        let (at, found) = self.find(topic);
        let place = found.unwrap_or_else(|place| place);
        match place.checked_sub(1) {
            Some(before) => self.lists.get(at)?.get(before),
            None => self.lists.get(at.checked_sub(1)?)?.last(),
        }
    }

    /// Puts a message in, and returns that of its topic.
    pub(super) fn replace(&mut self, kept: Kept) -> Option<Kept> {
        let (at, found) = self.find(kept.topic());
        let list = self.lists.get_mut(at);
        match (list, found) {
            (Some(list), Ok(place)) => {
                let known = list.get_mut(place)?;
                return Some(std::mem::replace(known, kept));
            }
            (Some(list), Err(place)) if list.len() < MOST => insert(list, place, kept),
            // In rising order each list becomes full.
            (None, Err(_)) => self.add_list(at, kept),
            (Some(_), Err(MOST..)) => self.add_list(at + 1, kept),
            (Some(list), Err(place)) => {
                let mut rest = list.split_off(MOST / 2);
                list.shrink_to_fit();
                match place.checked_sub(MOST / 2) {
                    Some(place) => insert(&mut rest, place, kept),
                    None => insert(list, place, kept),
                }
                self.lists.insert(at + 1, rest);
            }
            (None, Ok(_)) => return None,
        }
        self.len += 1;
        None
    }

    fn add_list(&mut self, at: usize, kept: Kept) {
        let mut list = Vec::new();
        insert(&mut list, 0, kept);
        self.lists.insert(at, list);
    }

    /// Takes the message of a topic out.
    pub(super) fn take(&mut self, topic: &[u8]) -> Option<Kept> {
        let (at, found) = self.find(topic);
        let list = self.lists.get_mut(at)?;
        let gone = list.remove(found.ok()?);
        self.len -= 1;
        if list.is_empty() {
            self.lists.remove(at);
            if self.lists.capacity() > 4 * self.lists.len() + GROWTH {
                self.lists.shrink_to(2 * self.lists.len());
            }
        } else if list.capacity() > list.len() + 2 * GROWTH {
            list.shrink_to(list.len() + GROWTH);
            self.join(at);
        }
        Some(gone)
    }

    /// Makes one list of a list and the next, if few are left in both.
    fn join(&mut self, at: usize) {
        let lens = [at, at + 1].map(|at| self.lists.get(at).map_or(MOST, Vec::len));
        if lens.iter().sum::<usize>() <= MOST / 2 {
            let mut next = self.lists.remove(at + 1);
            if let Some(list) = self.lists.get_mut(at) {
                list.reserve_exact(next.len());
                list.append(&mut next);
            }
        }
    }
}

fn insert(list: &mut Vec<Kept>, place: usize, kept: Kept) {
    if list.len() == list.capacity() {
        list.reserve_exact(GROWTH);
    }
    list.insert(place, kept);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::message::{Message, Origin, Parts};
    use crate::time::Time;

    fn kept(topic: &str, payload: &[u8]) -> Kept {
        let parts = Parts {
            topic,
            props: &[],
            payload,
        };
        let message = Message::new(parts, Time::ZERO, Rc::new(Origin::default()));
        Kept::new(Rc::new(message.unwrap()))
    }

    fn topics<'a>(all: impl Iterator<Item = &'a Kept>) -> Vec<&'a [u8]> {
        all.map(Kept::topic).collect()
    }

    fn places(sorted: &Sorted) -> usize {
        sorted.lists.iter().map(Vec::capacity).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn it_is_what_a_map_is(
            steps in prop::collection::vec((0u8..8, 0u16..400), 0..1_500),
            probes in prop::collection::vec(0u16..400, 10),
        ) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (step, (what, n)) in steps.into_iter().enumerate() {
                // First it grows, then it shrinks.
                let adds = if step < 1_000 { what > 1 } else { what > 6 };
                let topic = format!("t/{n:03}");
                if adds {
                    let payload = [what];
                    let old = sorted.replace(kept(&topic, &payload));
                    let old = old.map(|old| old.value().payload().to_vec());
                    prop_assert_eq!(old, model.insert(topic, payload.to_vec()));
                } else {
                    let gone = sorted.take(topic.as_bytes());
                    prop_assert_eq!(gone.is_some(), model.remove(&topic).is_some());
                }
            }
            prop_assert_eq!(sorted.len(), model.len());
            let all: Vec<&[u8]> = model.keys().map(String::as_bytes).collect();
            prop_assert_eq!(topics(sorted.iter()), all.clone());
            for n in probes {
                let topic = format!("t/{n:03}");
                let probe = topic.as_bytes();
                prop_assert_eq!(sorted.get(probe).is_some(), model.contains_key(&topic));
                let from = |least: &[u8]| topics(sorted.from(Included(least)));
                let rest: Vec<&[u8]> = all.iter().copied().filter(|t| *t >= probe).collect();
                prop_assert_eq!(from(probe), rest.clone());
                prop_assert_eq!(from(&crate::route::key(&topic)), rest);
                let later: Vec<&[u8]> = all.iter().copied().filter(|t| *t > probe).collect();
                prop_assert_eq!(topics(sorted.from(Excluded(probe))), later);
                let before = all.iter().copied().rfind(|t| *t < probe);
                prop_assert_eq!(sorted.before(probe).map(Kept::topic), before);
            }
        }
    }

    /// In rising order, in falling order, and where they come between each other.
    #[test]
    fn few_places_are_empty() {
        for order in [|n: u32| n, |n| 20_000 - n, |n| n % 100 * 1_000 + n / 100] {
            let mut sorted = Sorted::default();
            for n in 0..20_000 {
                sorted.replace(kept(&format!("t/{:06}", order(n)), b"x"));
            }
            assert_eq!(sorted.len(), 20_000);
            let places = places(&sorted);
            assert!(places < 20_000 / 8 * 10, "{places}");
        }
    }

    #[test]
    fn what_is_gone_leaves_nothing() {
        let mut sorted = Sorted::default();
        for n in 0..20_000 {
            sorted.replace(kept(&format!("t/{n}"), b"x"));
        }
        for n in (0..20_000).filter(|n| n % 100 > 0) {
            sorted.take(format!("t/{n}").as_bytes());
        }
        assert_eq!(sorted.len(), 200);
        assert!(places(&sorted) < 200 * 20, "{}", places(&sorted));
        for n in 0..200 {
            sorted.take(format!("t/{}", 100 * n).as_bytes());
        }
        assert!(sorted.lists.is_empty() && sorted.lists.capacity() < 20);
    }
}
