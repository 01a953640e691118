//! The addresses that names had, for a time when their name server is silent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::lookup::Family;

/// Names that are remembered, by family; the one that was answered the longest ago makes room.
const MOST_NAMES: usize = 32;
/// Addresses that are remembered of each.
const MOST_ADDRESSES: usize = 8;
/// How long an answer may be used when there is no new one (RFC 8767 §5: one to three days).
const LONGEST: Duration = Duration::from_secs(3 * 24 * 3600);

/// What was answered last.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<Name>);

#[derive(Debug)]
struct Name {
    host: String,
    family: Family,
    addresses: Vec<SocketAddr>,
    at: Instant,
    /// That they are in use has been told.
    is_told: bool,
}

/// Addresses from before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) addresses: Vec<SocketAddr>,
    /// How long ago they were answered.
    pub(super) age: Duration,
    /// For the first time since then.
    pub(super) is_news: bool,
}

impl Known {
    /// `host` has these `addresses` of one family at `at`, and no others of it.
    pub(super) fn learn(
        &mut self,
        host: &str,
        family: Family,
        addresses: &[SocketAddr],
        at: Instant,
    ) {
        self.0
            .retain(|name| (&*name.host, name.family) != (host, family));
        if self.0.len() >= MOST_NAMES {
            let times = self.0.iter().enumerate().map(|(i, name)| (name.at, i));
            if let Some((_, oldest)) = times.min() {
                self.0.swap_remove(oldest);
            }
        }
        let addresses = addresses.iter().take(MOST_ADDRESSES).copied().collect();
        self.0.push(Name {
            host: host.to_owned(),
            family,
            addresses,
            at,
            is_told: false,
        });
    }

    /// Whether there is something to fall back on.
    pub(super) fn has(&self, host: &str, now: Instant) -> bool {
        self.0.iter().any(|name| name.is_for(host, now))
    }

    /// What `host` had, to be used; that is told once.
    pub(super) fn recall(&mut self, host: &str, now: Instant) -> Option<Old> {
        let mut old: Option<Old> = None;
        for name in self.0.iter_mut().filter(|name| name.is_for(host, now)) {
            let old = old.get_or_insert_default();
            old.addresses.extend(&name.addresses);
            old.age = old.age.max(now.saturating_duration_since(name.at));
            old.is_news |= !std::mem::replace(&mut name.is_told, true);
        }
        old
    }
}

impl Name {
    fn is_for(&self, host: &str, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.at);
        self.host == host && age <= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 0))
    }

    fn v6(n: u16) -> SocketAddr {
        SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, n], 0))
    }

    #[test]
    fn families_are_learnt_one_by_one() {
        let (mut known, now) = (Known::default(), Instant::now());
        let hour = Duration::from_secs(3600);
        known.learn("a", Family::V4, &[v4(1), v4(2)], now);
        known.learn("a", Family::V6, &[v6(1)], now);
        known.learn("a", Family::V4, &[v4(3)], now + hour);
        let mut old = known.recall("a", now + hour).unwrap();
        old.addresses.sort();
        assert_eq!(old.addresses, [v4(3), v6(1)]);
        assert!(old.age == hour && old.is_news);
        assert!(!known.recall("a", now + hour).unwrap().is_news);
        let old = known.recall("a", now + LONGEST + hour).unwrap();
        assert_eq!(old.addresses, [v4(3)], "the others are too old");
        known.learn("a", Family::V4, &[v4(3)], now + hour);
        assert!(known.recall("a", now + hour).unwrap().is_news);
        assert_eq!(known.recall("b", now), None);
    }

    #[test]
    fn there_is_a_bound_to_all() {
        let (mut known, now) = (Known::default(), Instant::now());
        let many: Vec<_> = (0..=255).map(v4).collect();
        for n in 0..40_u64 {
            let at = now + Duration::from_secs(n);
            known.learn(&format!("name{n}"), Family::V4, &many, at);
        }
        let later = now + Duration::from_secs(40);
        assert_eq!(known.0.len(), MOST_NAMES);
        assert!(!known.has("name7", later) && known.has("name8", later));
        let old = known.recall("name39", later).unwrap();
        assert_eq!(old.addresses.len(), MOST_ADDRESSES);
        assert!(!known.has("name39", later + LONGEST));
    }
}
