//! The subscriptions that end at one node of the tree.

use std::num::NonZeroU32;

use crate::lane::Lane;
use crate::mqtt::QoS;

/// What a subscription asks for, beside its filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubOptions {
    /// The highest QoS to send at.
    pub qos: QoS,
    /// Do not send the subscriber its own messages back (5.0 §3.8.3.1).
    pub no_local: bool,
    /// Forward the RETAIN flag as published (5.0 §3.8.3.1).
    pub retain_as_published: bool,
    /// The Subscription Identifier (5.0 §3.8.2.1.2).
    pub sub_id: Option<NonZeroU32>,
    /// The lane of the subscriber's queue that its messages belong to.
    pub lane: Lane,
}

/// [`SubOptions`] as they lie beside each of thousands of subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PackedOptions {
    sub_id: Option<NonZeroU32>,
    lane: u16,
    qos: QoS,
    /// [`NO_LOCAL`], [`AS_PUBLISHED`].
    flags: u8,
}

const NO_LOCAL: u8 = 1;
const AS_PUBLISHED: u8 = 2;

impl From<SubOptions> for PackedOptions {
    fn from(options: SubOptions) -> PackedOptions {
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        PackedOptions {
            sub_id: options.sub_id,
            lane: options.lane.code(),
            qos: options.qos,
            flags: flag(options.no_local, NO_LOCAL)
                | flag(options.retain_as_published, AS_PUBLISHED),
        }
    }
}

impl From<PackedOptions> for SubOptions {
    #[inline]
    fn from(packed: PackedOptions) -> SubOptions {
        SubOptions {
            qos: packed.qos,
            no_local: packed.flags & NO_LOCAL != 0,
            retain_as_published: packed.flags & AS_PUBLISHED != 0,
            sub_id: packed.sub_id,
            lane: Lane::from_code(packed.lane),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sub<S> {
    pub(super) key: S,
    pub(super) options: PackedOptions,
}

/// The subscriptions that end at one node. Nearly all nodes have none or one.
#[derive(Debug, Default)]
pub(super) enum Subs<S> {
    #[default]
    None,
    One(Sub<S>),
    /// Two or more, sorted by key.
    #[expect(clippy::box_collection, reason = "a node is smaller by a fifth")]
    Many(Box<Vec<Sub<S>>>),
}

impl<S: Copy + Ord> Subs<S> {
    pub(super) fn as_slice(&self) -> &[Sub<S>] {
        match self {
            Subs::None => &[],
            Subs::One(sub) => std::slice::from_ref(sub),
            Subs::Many(subs) => subs,
        }
    }

    /// True if `sub` is new, false if it replaces one of the same key; and how many others moved for it.
    pub(super) fn insert(&mut self, sub: Sub<S>) -> (bool, usize) {
        match self {
            Subs::None => *self = Subs::One(sub),
            Subs::One(old) if old.key == sub.key => {
                *old = sub;
                return (false, 0);
            }
            Subs::One(old) => {
                let mut both = vec![*old, sub];
                both.sort_unstable_by_key(|s| s.key);
                *self = Subs::Many(Box::new(both));
            }
            Subs::Many(subs) => match subs.binary_search_by_key(&sub.key, |s| s.key) {
                Ok(at) => {
                    subs[at] = sub;
                    return (false, 0);
                }
                Err(at) => {
                    subs.insert(at, sub);
                    return (true, subs.len() - at);
                }
            },
        }
        (true, 0)
    }

    /// How many others moved when the subscription of `key` went; `None` if there was none.
    pub(super) fn remove(&mut self, key: S) -> Option<usize> {
        let mut moved = 0;
        match self {
            Subs::One(sub) if sub.key == key => *self = Subs::None,
            Subs::None | Subs::One(_) => return None,
            Subs::Many(subs) => {
                let at = subs.binary_search_by_key(&key, |s| s.key).ok()?;
                subs.remove(at);
                moved = subs.len() - at;
                if let [last] = subs[..] {
                    *self = Subs::One(last);
                } else if subs.len() * 4 < subs.capacity() {
                    subs.shrink_to(subs.len() * 2);
                }
            }
        }
        Some(moved)
    }

    /// Bytes on the heap.
    pub(super) fn heap(&self) -> usize {
        match self {
            Subs::None | Subs::One(_) => 0,
            Subs::Many(subs) => size_of_val(&**subs) + subs.capacity() * size_of::<Sub<S>>(),
        }
    }
}
