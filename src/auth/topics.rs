//! The `topic` lines of one list of an `acl_file`.
//!
//! Which of them says more than another does not depend on their order, but for denies, which go
//! first. So it is enough to find all that match: few are looked at one by one, many lie in a tree
//! by level.

use std::fmt;

use super::rule::{Access, Operation, Rule};
use crate::mqtt::filter_matches;
use crate::route::{SubOptions, Trie};

/// Lines that are looked at one by one, at most.
const FEW: usize = 16;

/// The lines.
pub(super) enum Topics {
    Few(Vec<Rule>),
    Many(Box<Trie<Access>>),
}

impl Default for Topics {
    fn default() -> Topics {
        Topics::Few(Vec::new())
    }
}

impl Topics {
    /// Adds a line.
    pub(super) fn add(&mut self, rule: Rule) {
        let tree = match self {
            Topics::Few(rules) if rules.len() < FEW => return rules.push(rule),
            Topics::Few(rules) => {
                let mut tree = Trie::new();
                for rule in rules.drain(..) {
                    add(&mut tree, &rule);
                }
                *self = Topics::Many(Box::new(tree));
                return self.add(rule);
            }
            Topics::Many(tree) => tree,
        };
        add(tree, &rule);
    }

    /// What the lines say about `operation` with `topic`, if anything.
    pub(super) fn verdict(&self, topic: &str, operation: Operation) -> Option<bool> {
        let mut verdict = None;
        match self {
            Topics::Few(rules) => {
                for rule in rules {
                    if rule.is_of_tree(topic) && filter_matches(&rule.filter, topic) {
                        verdict = stronger(verdict, rule.access.verdict(operation));
                    }
                }
            }
            // A filter that begins with a wildcard finds no topic that begins with `$`, and any other
            // begins with `$` itself if it does.
            Topics::Many(tree) => {
                tree.matches(topic.as_bytes(), &mut |access, _| {
                    verdict = stronger(verdict, access.verdict(operation));
                });
            }
        }
        verdict
    }

    /// How many rules and nodes a question takes a look at.
    #[cfg(test)]
    pub(super) fn looked_at(&self, topic: &str) -> usize {
        match self {
            Topics::Few(rules) => rules.len(),
            Topics::Many(tree) => tree.matches(topic.as_bytes(), &mut |_, _| {}),
        }
    }
}

fn add(tree: &mut Trie<Access>, rule: &Rule) {
    tree.add(&rule.filter, rule.access, SubOptions::default());
}

/// What two lines say together: a deny goes first.
pub(super) fn stronger(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    one.into_iter().chain(other).min()
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topics::Few(rules) => rules.fmt(f),
            Topics::Many(tree) => write!(f, "{} rules", tree.len()),
        }
    }
}
