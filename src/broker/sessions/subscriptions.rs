//! What a session is subscribed to, by filter.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use crate::held::{ALLOCATION, Charge, SESSIONS};
use crate::lane::Lane;
use crate::mqtt::RetainHandling;
use crate::route::{PackedOptions, SubOptions};
use crate::store::SubscriptionRecord;

/// One subscription of a session; the router has the same options under the filter.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) filter: Box<str>,
    options: PackedOptions,
    pub(crate) retain_handling: RetainHandling,
    /// It has not got all that is retained for it, and its row is to say so: after a crash a walk begins
    /// anew.
    pub(crate) awaits_retained: bool,
    _held: Charge<SESSIONS>,
}

/// What a SUBSCRIBE changes of the subscription to a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Changed {
    /// There was none.
    New,
    /// Its options are others.
    Options,
    /// It was there like this.
    Nothing,
}

impl Subscribed {
    pub(crate) fn new(
        filter: &str,
        options: SubOptions,
        retain_handling: RetainHandling,
    ) -> Subscribed {
        Subscribed {
            filter: filter.into(),
            options: options.into(),
            retain_handling,
            awaits_retained: false,
            _held: Charge::new(size_of::<Subscribed>() + filter.len() + ALLOCATION),
        }
    }

    /// What it asks for.
    pub(crate) fn options(&self) -> SubOptions {
        self.options.into()
    }

    /// As it is stored.
    pub(super) fn record(&self) -> SubscriptionRecord {
        let options = self.options();
        SubscriptionRecord {
            filter: self.filter.clone(),
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: self.retain_handling,
            sub_id: options.sub_id.map(|id| id.get()),
            lane: if options.lane.is_share() {
                options.lane
            } else {
                Lane::Client
            },
            awaits_retained: self.awaits_retained,
        }
    }

    /// What it changes of `known`, which has the same filter.
    fn changes(&self, known: &Subscribed) -> Changed {
        if self.options == known.options && self.retain_handling == known.retain_handling {
            Changed::Nothing
        } else {
            Changed::Options
        }
    }

    fn levels(&self) -> usize {
        levels(&self.filter)
    }
}

/// The levels of a filter or topic.
pub(crate) fn levels(filter: &str) -> usize {
    1 + filter.bytes().filter(|byte| *byte == b'/').count()
}

/// What a level of a filter takes in the tree at most, in bytes: a node and an edge, if another filter
/// parts from it there or has.
const LEVEL_BYTES: usize = 64;

/// What a subscription to `filter` takes, in bytes, about: itself, and its share of the tree of all
/// filters, as if no other had a level in common with it.
pub(crate) fn filter_bytes(filter: &str) -> usize {
    size_of::<Subscribed>() + 2 * filter.len() + ALLOCATION + levels(filter) * LEVEL_BYTES
}

/// Subscriptions that lie in a list, at most.
const FEW: usize = 32;

/// The subscriptions of a session, in the order of their filters.
#[derive(Debug)]
pub(crate) struct Subscriptions(Kept);

#[derive(Debug)]
enum Kept {
    /// Most sessions have one.
    One(Subscribed),
    /// None, or more, sorted by filter.
    Few(Vec<Subscribed>),
    /// Thousands, which come in whatever order a peer likes.
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    all: BTreeSet<ByFilter>,
    /// The levels of all filters.
    levels: usize,
    /// What all of them take, in bytes.
    bytes: usize,
}

impl Kept {
    /// Those that are not many.
    fn few(&self) -> &[Subscribed] {
        match self {
            Kept::One(one) => std::slice::from_ref(one),
            Kept::Few(few) => few,
            Kept::Many(_) => &[],
        }
    }

    /// As [`few`](Kept::few).
    fn few_mut(&mut self) -> &mut [Subscribed] {
        match self {
            Kept::One(one) => std::slice::from_mut(one),
            Kept::Few(few) => few,
            Kept::Many(_) => &mut [],
        }
    }

    /// Takes those that are not many, and leaves none of them.
    fn take_few(&mut self) -> Vec<Subscribed> {
        match self {
            Kept::One(_) | Kept::Few(_) => match std::mem::replace(self, Kept::Few(Vec::new())) {
                Kept::One(one) => vec![one],
                Kept::Few(few) => few,
                Kept::Many(_) => Vec::new(),
            },
            Kept::Many(_) => Vec::new(),
        }
    }

    /// So few, sorted by filter.
    fn of_few(mut few: Vec<Subscribed>) -> Kept {
        match few.pop() {
            None => Kept::Few(Vec::new()),
            Some(one) if few.is_empty() => Kept::One(one),
            Some(last) => {
                few.push(last);
                Kept::Few(few)
            }
        }
    }
}

/// A subscription as what its filter is.
#[derive(Debug)]
struct ByFilter(Subscribed);

impl Borrow<str> for ByFilter {
    fn borrow(&self) -> &str {
        &self.0.filter
    }
}

impl PartialEq for ByFilter {
    fn eq(&self, other: &ByFilter) -> bool {
        self.0.filter == other.0.filter
    }
}

impl Eq for ByFilter {}

impl PartialOrd for ByFilter {
    fn partial_cmp(&self, other: &ByFilter) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByFilter {
    fn cmp(&self, other: &ByFilter) -> Ordering {
        self.0.filter.cmp(&other.0.filter)
    }
}

impl Many {
    fn set(&mut self, mut subscribed: Subscribed) -> Changed {
        let known = self.all.get(&*subscribed.filter);
        let changed = known.map_or(Changed::New, |known| subscribed.changes(&known.0));
        if changed == Changed::New {
            self.levels += subscribed.levels();
            self.bytes += filter_bytes(&subscribed.filter);
        }
        subscribed.awaits_retained |= known.is_some_and(|known| known.0.awaits_retained);
        if changed != Changed::Nothing {
            self.all.replace(ByFilter(subscribed));
        }
        changed
    }
}

impl Default for Subscriptions {
    fn default() -> Subscriptions {
        Subscriptions(Kept::Few(Vec::new()))
    }
}

impl Subscriptions {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Kept::Many(many) => many.all.len(),
            few => few.few().len(),
        }
    }

    /// The levels of all filters together.
    pub(crate) fn levels(&self) -> usize {
        match &self.0 {
            Kept::Many(many) => many.levels,
            few => few.few().iter().map(Subscribed::levels).sum(),
        }
    }

    /// What they take, in bytes, with their share of the tree of all filters.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Kept::Many(many) => many.bytes,
            few => few.few().iter().map(|one| filter_bytes(&one.filter)).sum(),
        }
    }

    /// All, by filter.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscribed> {
        self.after(None)
    }

    /// Those whose filters come after `filter`, by filter; all of them for `None`.
    pub(crate) fn after(&self, filter: Option<&str>) -> impl Iterator<Item = &Subscribed> {
        let few = self.0.few();
        let passed = filter.map_or(0, |filter| few.partition_point(|s| *s.filter <= *filter));
        let few = few.get(passed..).unwrap_or_default();
        let many = match &self.0 {
            Kept::Many(many) => Some(&many.all),
            Kept::One(_) | Kept::Few(_) => None,
        };
        let from = filter.map_or(Unbounded, Excluded);
        let many = many.into_iter();
        let many = many.flat_map(move |all| all.range::<str, _>((from, Unbounded)));
        few.iter().chain(many.map(|found| &found.0))
    }

    /// True if `filter` is subscribed to.
    pub(crate) fn has(&self, filter: &str) -> bool {
        match &self.0 {
            Kept::Many(many) => many.all.contains(filter),
            few => find(few.few(), filter).is_ok(),
        }
    }

    /// The subscription to `filter`.
    pub(crate) fn get(&self, filter: &str) -> Option<&Subscribed> {
        match &self.0 {
            Kept::Many(many) => many.all.get(filter).map(|found| &found.0),
            few => few.few().get(find(few.few(), filter).ok()?),
        }
    }

    /// Notes whether the subscription to `filter` awaits what is retained. True if that is another than
    /// before.
    pub(crate) fn await_retained(&mut self, filter: &str, awaits: bool) -> bool {
        let known = self.get(filter);
        if known.is_none_or(|known| known.awaits_retained == awaits) {
            return false;
        }
        match &mut self.0 {
            Kept::Many(many) => {
                if let Some(ByFilter(mut known)) = many.all.take(filter) {
                    known.awaits_retained = awaits;
                    many.all.insert(ByFilter(known));
                }
            }
            few => {
                let at = find(few.few(), filter).ok();
                if let Some(known) = at.and_then(|at| few.few_mut().get_mut(at)) {
                    known.awaits_retained = awaits;
                }
            }
        }
        true
    }

    /// Adds a subscription or replaces it, which awaits what is retained as the one before did.
    pub(crate) fn set(&mut self, mut subscribed: Subscribed) -> Changed {
        if let Kept::Many(many) = &mut self.0 {
            return many.set(subscribed);
        }
        let few = self.0.few_mut();
        match find(few, &subscribed.filter) {
            Ok(at) => {
                let Some(known) = few.get_mut(at) else {
                    return Changed::Nothing;
                };
                let changed = subscribed.changes(known);
                subscribed.awaits_retained |= known.awaits_retained;
                *known = subscribed;
                return changed;
            }
            Err(at) if few.len() < FEW => {
                let mut few = self.0.take_few();
                few.insert(at, subscribed);
                self.0 = Kept::of_few(few);
            }
            Err(_) => {
                let mut many = Box::<Many>::default();
                let all = self.0.take_few().into_iter().chain([subscribed]);
                all.for_each(|one| {
                    many.set(one);
                });
                self.0 = Kept::Many(many);
            }
        }
        Changed::New
    }

    /// Takes out the subscription to `filter`.
    pub(crate) fn remove(&mut self, filter: &str) -> Option<Subscribed> {
        let Kept::Many(many) = &mut self.0 else {
            let at = find(self.0.few(), filter).ok()?;
            let mut few = self.0.take_few();
            let gone = few.remove(at);
            self.0 = Kept::of_few(few);
            return Some(gone);
        };
        let ByFilter(gone) = many.all.take(filter)?;
        many.levels -= gone.levels();
        many.bytes = many.bytes.saturating_sub(filter_bytes(&gone.filter));
        if many.all.len() <= FEW / 2 {
            let few = std::mem::take(&mut many.all).into_iter();
            self.0 = Kept::of_few(few.map(|one| one.0).collect());
        }
        Some(gone)
    }

    /// Takes out the last of them.
    pub(crate) fn pop(&mut self) -> Option<Subscribed> {
        let Kept::Many(many) = &mut self.0 else {
            let mut few = self.0.take_few();
            let gone = few.pop();
            self.0 = Kept::of_few(few);
            return gone;
        };
        let ByFilter(gone) = many.all.pop_last()?;
        many.levels -= gone.levels();
        many.bytes = many.bytes.saturating_sub(filter_bytes(&gone.filter));
        Some(gone)
    }

    /// Takes out those that `goes` says.
    pub(crate) fn extract(&mut self, goes: impl Fn(&Subscribed) -> bool) -> Vec<Subscribed> {
        let all = std::mem::take(self);
        let (gone, left): (Vec<_>, Vec<_>) = all.into_iter().partition(goes);
        *self = left.into_iter().collect();
        gone
    }
}

impl IntoIterator for Subscriptions {
    type Item = Subscribed;
    type IntoIter = std::vec::IntoIter<Subscribed>;

    fn into_iter(mut self) -> Self::IntoIter {
        let all = match self.0 {
            Kept::Many(many) => many.all.into_iter().map(|one| one.0).collect(),
            Kept::One(_) | Kept::Few(_) => self.0.take_few(),
        };
        all.into_iter()
    }
}

impl FromIterator<Subscribed> for Subscriptions {
    fn from_iter<I: IntoIterator<Item = Subscribed>>(all: I) -> Subscriptions {
        let mut subscriptions = Subscriptions::default();
        for subscribed in all {
            subscriptions.set(subscribed);
        }
        subscriptions
    }
}

fn find(few: &[Subscribed], filter: &str) -> Result<usize, usize> {
    few.binary_search_by(|s| (*s.filter).cmp(filter))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::mqtt::QoS;

    fn subscribed(filter: &str, qos: QoS) -> Subscribed {
        let options = SubOptions {
            qos,
            ..SubOptions::default()
        };
        Subscribed::new(filter, options, RetainHandling::Send)
    }

    proptest! {
        /// Few or many, in whatever order they come.
        #[test]
        fn they_are_what_a_map_is(
            steps in prop::collection::vec((0u8..5, 0u16..60, any::<bool>()), 0..300),
        ) {
            let (mut subscriptions, mut model) = (Subscriptions::default(), BTreeMap::new());
            for (adds, n, qos) in steps {
                let filter = format!("{}{n}", "l/".repeat(usize::from(n % 4)));
                let qos = if qos { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                if adds > 0 {
                    let known = model.insert(filter.clone(), qos);
                    prop_assert_eq!(subscriptions.has(&filter), known.is_some());
                    let changed = match known {
                        None => Changed::New,
                        Some(known) if known == qos => Changed::Nothing,
                        Some(_) => Changed::Options,
                    };
                    prop_assert_eq!(subscriptions.set(subscribed(&filter, qos)), changed);
                } else {
                    let known = model.remove(&filter);
                    let gone = subscriptions.remove(&filter);
                    prop_assert_eq!(gone.map(|s| s.options().qos), known);
                }
                prop_assert_eq!(subscriptions.len(), model.len());
                let found = model.keys().map(|filter| levels(filter));
                prop_assert_eq!(subscriptions.levels(), found.sum::<usize>());
            }
            let gone = subscriptions.extract(|s| s.options().qos == QoS::AtLeastOnce);
            let (at_least, rest): (Vec<_>, Vec<_>) =
                model.into_iter().partition(|(_, qos)| *qos == QoS::AtLeastOnce);
            let filters = |all: &[(String, QoS)]| -> Vec<String> {
                all.iter().map(|(filter, _)| filter.clone()).collect()
            };
            let gone: Vec<String> = gone.iter().map(|s| s.filter.to_string()).collect();
            let left: Vec<String> = subscriptions.iter().map(|s| s.filter.to_string()).collect();
            prop_assert_eq!((gone, left), (filters(&at_least), filters(&rest)));
        }
    }

    /// Those that come in falling order are not moved one by one, as a list would have to.
    #[test]
    fn many_lie_in_no_list() {
        let mut subscriptions = Subscriptions::default();
        for n in (0..1000).rev() {
            subscriptions.set(subscribed(&format!("{n:04}"), QoS::AtMostOnce));
            let is_list = !matches!(&subscriptions.0, Kept::Many(_));
            assert_eq!(is_list, subscriptions.len() <= FEW);
        }
        for n in 0..1000 {
            assert_eq!(subscriptions.len(), 1000 - n);
            subscriptions.remove(&format!("{n:04}")).unwrap();
        }
        assert!(matches!(&subscriptions.0, Kept::Few(few) if few.capacity() <= FEW));
    }
}
