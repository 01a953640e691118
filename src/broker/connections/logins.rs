//! Logins that fail again and again: who is refused for a while, without a look at the password.

pub(super) mod shown;
pub(super) mod waiting;

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
/// For so long a login that succeeded speaks for its address and its name, and refusals are remembered
/// for the next to last longer.
const LATELY: Duration = Duration::from_secs(3600);
/// So many times the time doubles for which logins are refused.
const DOUBLINGS: u32 = 4;

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
    /// How often too many have failed before, a while ago at most.
    rounds: u32,
}

impl Failed {
    /// For how long after the last failure it counts, or more are refused.
    fn lasts(&self, rule: LoginFailures) -> Duration {
        rule.within.saturating_mul(1 << self.rounds.min(DOUBLINGS))
    }

    /// One more failure. After a pause they are counted anew, but more are then refused for longer.
    fn add(&mut self, most: u32, rule: LoginFailures, now: Time) {
        let pause = now.since(self.last);
        if pause >= self.lasts(rule) {
            self.rounds += u32::from(self.count >= most);
            self.count = 0;
        }
        if pause >= LATELY.max(self.lasts(rule)) {
            self.rounds = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
    }
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
        let recent = recent.filter(|failed| now.since(failed.last) < failed.lasts(rule));
        let trusted = self.succeeded.get(&key);
        recent.is_some_and(|failed| failed.count >= most)
            && trusted.is_none_or(|at| now.since(*at) >= LATELY)
    }

    /// Whether somebody has logged in from this address lately.
    pub(crate) fn knows(&self, block: Block, now: Time) -> bool {
        let known = self
            .succeeded
            .get(&self.address(Attempt { block, name: "" }));
        known.is_some_and(|at| now.since(*at) < LATELY)
    }

    /// A login has failed. For how long more are refused, if that was the one after which they are.
    pub(crate) fn fail(
        &mut self,
        who: Attempt<'_>,
        rule: LoginFailures,
        now: Time,
    ) -> Option<Duration> {
        let was_open = !self.refuses(who, rule, now);
        let (pair, address) = (self.pair(who), self.address(who));
        for (key, most) in [(pair, rule.most), (address, of_an_address(rule))] {
            make_room(&mut self.failed, key, |failed| failed.last);
            let failed = self.failed.entry(key).or_insert(Failed {
                count: 0,
                last: now,
                rounds: 0,
            });
            failed.add(most, rule, now);
        }
        let refused = was_open && self.refuses(who, rule, now);
        let by_name = self.refuses_name(who, rule, now);
        let by = self.failed.get(if by_name { &pair } else { &address });
        by.filter(|_| refused).map(|failed| failed.lasts(rule))
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
        let told = [0, 1, 2].map(|n| logins.fail(who(1, "a"), RULE, at(n)));
        assert_eq!(told, [None, None, Some(RULE.within)]);
        assert!(logins.refuses(who(1, "a"), RULE, at(61)));
        assert!(!logins.refuses(who(1, "a"), RULE, at(62)));
        assert!(!logins.refuses(who(1, "b"), RULE, at(3)), "another name");
        assert!(!logins.refuses(who(2, "a"), RULE, at(3)), "another address");
        let next = logins.fail(who(1, "a"), RULE, at(62));
        assert_eq!(next, None, "counted anew");
    }

    /// Each time for twice as long, until it is left alone for an hour or succeeds.
    #[test]
    fn who_goes_on_waits_longer_each_time() {
        let mut logins = Logins::default();
        let guess = |logins: &mut Logins, secs| {
            let told = [0; 3].map(|_| logins.fail(who(1, "a"), RULE, at(secs)));
            told[2].expect("refused").as_secs()
        };
        let mut secs = 0;
        for wait in [60, 120, 240, 480, 960, 960] {
            assert_eq!(guess(&mut logins, secs), wait);
            assert!(logins.refuses(who(1, "a"), RULE, at(secs + wait - 1)));
            secs += wait;
            assert!(!logins.refuses(who(1, "a"), RULE, at(secs)));
        }
        assert_eq!(guess(&mut logins, secs + 3600), 60);
        logins.succeed(who(1, "b"), at(secs + 3660));
        assert_eq!(guess(&mut logins, secs + 3660), 120, "another's");
        logins.succeed(who(1, "a"), at(secs + 3700));
        let cleared = logins.failed.get(&logins.pair(who(1, "a")));
        assert!(cleared.is_none());
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
