//! The `pattern` lines of an `acl_file`, in which `%u` and `%c` stand for the names of a client.
//!
//! As among `topic` lines, only a deny goes before others. The tree has each line with `+` for a level
//! in which a name stands: what it finds for a topic may be about it, and is looked at as a whole.

use std::fmt;

use super::Who;
use super::rule::{Access, Operation, Rule, is_wild};
use super::topics::stronger;
use crate::mqtt::filter_matches;
use crate::route::{SubOptions, Trie};

/// The lines.
#[derive(Default)]
pub(super) struct Patterns {
    rules: Vec<Rule>,
    /// The places of the rules, by filter with `+` for a level in which a name stands.
    by_level: Trie<usize>,
    /// Those that deny and have names, with `#` from the first of these on: a name with `/` in it is
    /// more than one level.
    spread: Trie<usize>,
    /// Those that begin with `$` and a name, which `+` does not find.
    rest: Vec<usize>,
    allowed: Allowed,
}

/// What the lines that allow something are about.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    any: bool,
    client_ids: bool,
    usernames: bool,
}

/// Whether a name of the client stands in a level.
fn has_name(level: &str) -> bool {
    level.contains("%c") || level.contains("%u")
}

impl Patterns {
    /// Adds a line.
    pub(super) fn add(&mut self, rule: Rule) {
        let at = self.rules.len();
        let levels = || rule.filter.split('/');
        if rule.filter.starts_with('$') && levels().next().is_some_and(has_name) {
            self.rest.push(at);
        } else {
            let level = |level| if has_name(level) { "+" } else { level };
            let filter: Vec<&str> = levels().map(level).collect();
            let options = SubOptions::default();
            self.by_level.add(&filter.join("/"), at, options);
            if rule.access == Access::Deny && has_name(&rule.filter) {
                let fixed = levels().take_while(|level| !has_name(level));
                let filter: Vec<&str> = fixed.chain(["#"]).collect();
                self.spread.add(&filter.join("/"), at, options);
            }
        }
        if rule.access != Access::Deny {
            self.allowed.any = true;
            self.allowed.client_ids |= rule.filter.contains("%c");
            self.allowed.usernames |= rule.filter.contains("%u");
        }
        self.rules.push(rule);
    }

    /// What the lines say about `operation` with `topic`, if anything.
    pub(super) fn verdict(&self, who: &Who<'_>, topic: &str, operation: Operation) -> Option<bool> {
        let mut verdict = None;
        self.look(who, topic, &mut |rule| {
            if matches(rule, who, topic) {
                verdict = stronger(verdict, rule.access.verdict(operation));
            }
        });
        verdict
    }

    /// Calls `f` for each line that may be about `topic`, some of them twice. Returns how many nodes
    /// and lines that took.
    fn look(&self, who: &Who<'_>, topic: &str, f: &mut impl FnMut(&Rule)) -> usize {
        if self.rules.is_empty() || is_wild(who) {
            return 0;
        }
        let mut at = |place: usize| self.rules.get(place).into_iter().for_each(&mut *f);
        self.rest.iter().for_each(|place| at(*place));
        let topic = topic.as_bytes();
        let mut looked_at = self.by_level.matches(topic, &mut |place, _| at(place));
        let mut names = [Some(who.client_id), who.username].into_iter().flatten();
        if names.any(|name| name.contains('/')) {
            looked_at += self.spread.matches(topic, &mut |place, _| at(place));
        }
        looked_at + self.rest.len()
    }

    /// Whether the lines give `who` less than others, for what its names are.
    pub(super) fn keep_out(&self, who: &Who<'_>) -> bool {
        let Allowed {
            any,
            client_ids,
            usernames,
        } = self.allowed;
        any && is_wild(who)
            || client_ids && who.client_id.contains('/')
            || usernames && who.username.is_some_and(|name| name.contains('/'))
    }

    /// How many nodes and lines a question takes a look at.
    #[cfg(test)]
    pub(super) fn looked_at(&self, who: &Who<'_>, topic: &str) -> usize {
        self.look(who, topic, &mut |_| {})
    }
}

/// True if a line is about `topic` when `who` asks.
fn matches(rule: &Rule, who: &Who<'_>, topic: &str) -> bool {
    if !rule.is_of_tree(topic) || rule.access != Access::Deny && rule.is_spread_by(who) {
        return false;
    }
    if !has_name(&rule.filter) {
        return filter_matches(&rule.filter, topic);
    }
    let filter = rule.for_client(who);
    filter.is_some_and(|filter| filter_matches(&filter, topic))
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.fmt(f)
    }
}
