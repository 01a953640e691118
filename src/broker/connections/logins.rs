//! Logins that fail again and again: who is refused for a while, without a look at the password.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use super::doors::Block;
use crate::config::LoginFailures;
use crate::time::Time;

/// So many are remembered, those that failed last.
const REMEMBERED: usize = 512;
/// Of an address, under whatever names, so many times as many logins may fail.
const OF_AN_ADDRESS: u32 = 10;
/// For so long a login that succeeded speaks for its address and its name.
const LATELY: Duration = Duration::from_secs(3600);

/// Somebody who tries to log in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) block: Block,
    /// The user name.
    pub(crate) name: &'a str,
}

/// Which logins have failed, and which have succeeded lately. Neither grows beyond a bound, and what
/// is forgotten first is what is oldest.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// With a key of its own in each process, so that nobody can make names that meet.
    hasher: RandomState,
    failed: HashMap<u64, Failed>,
    succeeded: HashMap<u64, Time>,
}

/// Failures of one address under one name, or under all.
#[derive(Clone, Copy, Debug)]
struct Failed {
    count: u32,
    last: Time,
}

impl Logins {
    /// Whether a login is refused as it comes, unless a client that has logged in is connected there.
    pub(crate) fn refuses(&self, who: Attempt<'_>, rule: LoginFailures, now: Time) -> bool {
        self.refuses_name(who, rule, now) || self.refuses_address(who, rule, now)
    }

    /// Because of what came from the address under this name.
    pub(crate) fn refuses_name(&self, who: Attempt<'_>, rule: LoginFailures, now: Time) -> bool {
        self.is_over(self.pair(who), rule.most, rule, now)
    }

    /// Because of what came from the address under any name.
    pub(crate) fn refuses_address(&self, who: Attempt<'_>, rule: LoginFailures, now: Time) -> bool {
        self.is_over(self.address(who), of_an_address(rule), rule, now)
    }

    fn is_over(&self, key: u64, most: u32, rule: LoginFailures, now: Time) -> bool {
        let recent = self.failed.get(&key);
        let recent = recent.filter(|failed| now.since(failed.last) < rule.within);
        let trusted = self.succeeded.get(&key);
        recent.is_some_and(|failed| failed.count >= most)
            && trusted.is_none_or(|at| now.since(*at) >= LATELY)
    }

    /// A login has failed. True if that was the one after which more are refused.
    pub(crate) fn fail(&mut self, who: Attempt<'_>, rule: LoginFailures, now: Time) -> bool {
        let was_open = !self.refuses(who, rule, now);
        for key in [self.pair(who), self.address(who)] {
            make_room(&mut self.failed, key, |failed| failed.last);
            let failed = self.failed.entry(key).or_insert(Failed {
                count: 0,
                last: now,
            });
            if now.since(failed.last) >= rule.within {
                failed.count = 0;
            }
            failed.count = failed.count.saturating_add(1);
            failed.last = now;
        }
        was_open && self.refuses(who, rule, now)
    }

    /// A login has succeeded.
    pub(crate) fn succeed(&mut self, who: Attempt<'_>, now: Time) {
        for key in [self.pair(who), self.address(who)] {
            self.failed.remove(&key);
        }
        self.left(who, now);
    }

    /// A client that had logged in is gone: for a while that speaks for its address and its name.
    pub(crate) fn left(&mut self, who: Attempt<'_>, now: Time) {
        for key in [self.pair(who), self.address(who)] {
            make_room(&mut self.succeeded, key, |at| *at);
            self.succeeded.insert(key, now);
        }
    }

    fn pair(&self, who: Attempt<'_>) -> u64 {
        self.key((who.block, Some(who.name)))
    }

    fn address(&self, who: Attempt<'_>) -> u64 {
        self.key((who.block, None::<&str>))
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.hasher.hash_one(of)
    }
}

fn of_an_address(rule: LoginFailures) -> u32 {
    rule.most.saturating_mul(OF_AN_ADDRESS)
}

/// Forgets the oldest entry of a full table, unless `key` has a place in it.
fn make_room<V>(table: &mut HashMap<u64, V>, key: u64, age: impl Fn(&V) -> Time) {
    if table.len() < REMEMBERED || table.contains_key(&key) {
        return;
    }
    let oldest = table.iter().min_by_key(|(_, value)| age(value));
    if let Some(oldest) = oldest.map(|(key, _)| *key) {
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: LoginFailures = LoginFailures {
        most: 3,
        within: Duration::from_secs(60),
    };

    fn at(secs: u64) -> Time {
        Time::from_secs(1_000_000 + secs)
    }

    fn who(host: u32, name: &str) -> Attempt<'_> {
        let block = Block::V4(host);
        Attempt { block, name }
    }

    #[test]
    fn who_fails_again_and_again_waits() {
        let mut logins = Logins::default();
        let told: Vec<bool> = (0..3)
            .map(|n| logins.fail(who(1, "a"), RULE, at(n)))
            .collect();
        assert_eq!(told, [false, false, true]);
        assert!(logins.refuses(who(1, "a"), RULE, at(61)));
        assert!(!logins.refuses(who(1, "a"), RULE, at(62)));
        assert!(!logins.refuses(who(1, "b"), RULE, at(3)), "another name");
        assert!(!logins.refuses(who(2, "a"), RULE, at(3)), "another address");
        assert!(!logins.fail(who(1, "a"), RULE, at(62)), "counted anew");
    }

    #[test]
    fn many_names_from_one_address_count_together() {
        let mut logins = Logins::default();
        for n in 0..30 {
            assert!(!logins.refuses(who(1, "x"), RULE, at(1)), "{n}");
            logins.fail(who(1, &n.to_string()), RULE, at(1));
        }
        assert!(logins.refuses(who(1, "x"), RULE, at(2)));
        assert!(!logins.refuses(who(2, "x"), RULE, at(2)));
    }

    /// Behind a NAT many have one address.
    #[test]
    fn a_login_that_succeeded_lately_speaks_for_its_address() {
        let mut logins = Logins::default();
        logins.succeed(who(1, "good"), at(0));
        for n in 0..100 {
            logins.fail(who(1, &n.to_string()), RULE, at(1));
            logins.fail(who(1, "good"), RULE, at(1));
            logins.fail(who(1, "bad"), RULE, at(1));
        }
        assert!(!logins.refuses(who(1, "good"), RULE, at(2)));
        assert!(!logins.refuses(who(1, "another"), RULE, at(2)));
        assert!(logins.refuses(who(1, "bad"), RULE, at(2)));
    }

    #[test]
    fn names_that_are_made_up_fill_no_memory() {
        let mut logins = Logins::default();
        for n in 0..10_000 {
            let name = n.to_string();
            logins.fail(who(1, &name), RULE, at(n));
            logins.succeed(who(2, &name), at(n));
        }
        assert!(logins.failed.len() <= REMEMBERED && logins.succeeded.len() <= REMEMBERED);
        assert!(logins.failed.contains_key(&logins.address(who(1, ""))));
    }
}
