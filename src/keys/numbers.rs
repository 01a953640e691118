//! A hash table of numbers of things that lie elsewhere, and know themselves what they are called.
//!
//! A place takes five bytes: the number, and a byte of the hash that tells most others apart without a
//! look at them. Whoever is asked for stands in its own place or, if that is taken, in the next that was
//! free; half to three quarters of all places are taken.

/// No number.
const NONE: u32 = u32::MAX;

/// A place of the table: a byte of the hash, then the number.
type Place = [u8; 5];

const EMPTY: Place = [u8::MAX; 5];

fn number_at(place: Place) -> u32 {
    let [_, a, b, c, d] = place;
    u32::from_ne_bytes([a, b, c, d])
}

fn place_of(hash: u64, number: u32) -> Place {
    let [a, b, c, d] = number.to_ne_bytes();
    [mark(hash), a, b, c, d]
}

/// The byte of a hash that stands beside its number: not of the half that says where.
fn mark(hash: u64) -> u8 {
    hash.to_le_bytes()[0]
}

/// Numbers by the hash of what they are the number of.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    places: Vec<Place>,
    len: usize,
}

impl Numbers {
    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first place where a number with this hash may stand.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let places = self.places.len() as u64;
        // Below `places`, as what it is multiplied by is below 1.
        usize::try_from(((hash >> 32) * places) >> 32).unwrap_or_default()
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.places.len() {
            0
        } else {
            at + 1
        }
    }

    /// Where the first number with this hash stands that `is` the one.
    #[inline]
    fn place(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        // A quarter is free, so this ends.
        loop {
            // There is none in an empty table.
            let place = *self.places.get(at)?;
            let number = number_at(place);
            if place[0] == mark(hash) && number != NONE && is(number) {
                return Some(at);
            }
            if number == NONE {
                return None;
            }
            at = self.next(at);
        }
    }

    /// The number with this hash that `is` the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let at = self.place(hash, is)?;
        Some(number_at(self.places[at]))
    }

    /// Puts in a number that is not there; `hash_of` knows the hashes of all others.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let places = self.places.len();
        if (self.len + 1) * 4 > places * 3 {
            let old = std::mem::take(&mut self.places);
            self.places = vec![EMPTY; places + places / 2 + 8];
            for place in old {
                let number = number_at(place);
                if number != NONE {
                    self.put(hash_of(number), number);
                }
            }
        }
        self.put(hash, number);
        self.len += 1;
    }

    fn put(&mut self, hash: u64, number: u32) {
        let mut at = self.home(hash);
        while number_at(self.places[at]) != NONE {
            at = self.next(at);
        }
        self.places[at] = place_of(hash, number);
    }

    /// Puts `new` in the place of `old`, which has the same hash.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        if let Some(at) = self.place(hash, |number| number == old) {
            self.places[at] = place_of(hash, new);
        }
    }

    /// Takes a number out; `hash_of` knows the hashes of all others.
    pub(crate) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mut free) = self.place(hash, |other| other == number) else {
            return;
        };
        self.len -= 1;
        // Those behind it close ranks, as far as they stand behind their own place.
        let mut at = free;
        loop {
            at = self.next(at);
            let place = self.places[at];
            let number = number_at(place);
            if number == NONE {
                break;
            }
            let home = self.home(hash_of(number));
            let stays = if free < at {
                free < home && home <= at
            } else {
                free < home || home <= at
            };
            if !stays {
                self.places[free] = place;
                free = at;
            }
        }
        self.places[free] = EMPTY;
    }

    /// All numbers, in no order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        let numbers = self.places.iter().map(|place| number_at(*place));
        numbers.filter(|number| *number != NONE)
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Also where many have the same hash, or stand at the end of the table.
        #[test]
        fn it_agrees_with_a_set(
            steps in prop::collection::vec((any::<bool>(), 0u32..40), 1..400),
            bits in 0u32..6,
            high in any::<bool>(),
        ) {
            let hash_of = |n: u32| {
                let few = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits.max(1));
                if high { u64::MAX - few } else { few << 60 | few }
            };
            let (mut numbers, mut model) = (Numbers::default(), BTreeSet::new());
            for (is_new, n) in steps {
                if !is_new {
                    numbers.remove(hash_of(n), n, hash_of);
                    model.remove(&n);
                } else if model.insert(n) {
                    numbers.insert(hash_of(n), n, hash_of);
                }
                prop_assert_eq!(numbers.len(), model.len());
                for n in 0..40 {
                    let found = numbers.find(hash_of(n), |other| other == n);
                    prop_assert_eq!(found, model.get(&n).copied());
                }
            }
        }
    }

    #[test]
    fn a_number_takes_the_place_of_another() {
        let mut numbers = Numbers::default();
        numbers.insert(7, 1, |_| 7);
        numbers.insert(7, 2, |_| 7);
        numbers.replace(7, 1, 3);
        assert_eq!(numbers.find(7, |n| n == 1), None);
        assert_eq!(numbers.find(7, |_| true), Some(3));
        assert_eq!(numbers.find(7, |n| n == 2), Some(2));
    }

    #[test]
    fn it_takes_five_to_ten_bytes_a_number() {
        let mut numbers = Numbers::default();
        let hash = |n: u32| u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..20_000 {
            numbers.insert(hash(n), n, hash);
            let each = numbers.bytes() / numbers.len();
            assert!(n < 100 || (5..=10).contains(&each), "{each}");
        }
    }
}
