//! The tree of all subscriptions, which gives memory back once most of it is unused.
//!
//! To make a tree of a hundred thousand nodes anew would hold everybody up. So a new one is begun
//! beside it, and its subscriptions move over one by one, as whoever knows them all names them. Until they
//! have, both are asked.

mod recent;

use super::subs::SubOptions;
use super::trie::Trie;
use recent::Recent;

/// All subscriptions, by filter. `S` is who is subscribed.
pub struct Tree<S> {
    trie: Trie<S>,
    /// What is left of the one before, while its subscriptions move.
    old: Option<Box<Trie<S>>>,
    /// Where the topics of late were found in `trie`.
    recent: Recent,
}

impl<S: Copy + Ord> Default for Tree<S> {
    fn default() -> Tree<S> {
        Tree::new()
    }
}

impl<S: Copy + Ord> Tree<S> {
    /// A tree without subscriptions.
    pub fn new() -> Tree<S> {
        Tree {
            trie: Trie::new(),
            old: None,
            recent: Recent::default(),
        }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.trie.len() + self.old.as_ref().map_or(0, |old| old.len())
    }

    /// True without any subscription.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes it takes, about; see [`Trie::bytes`].
    pub fn bytes(&self) -> usize {
        let old = self.old.as_ref().map_or(0, |old| old.bytes());
        self.trie.bytes() + old + self.recent.bytes()
    }

    /// As [`Trie::add`].
    pub fn add(&mut self, filter: &str, key: S, options: SubOptions) -> bool {
        self.recent.forget();
        let was_there = self.remove_old(filter, key);
        self.trie.add(filter, key, options) && !was_there
    }

    /// As [`Trie::remove`].
    pub fn remove(&mut self, filter: &str, key: S) -> bool {
        self.recent.forget();
        let removed = self.trie.remove(filter, key) || self.remove_old(filter, key);
        if self.is_empty() {
            self.recent.give_back();
        }
        removed
    }

    /// As [`Trie::matches`].
    pub fn matches(&self, topic: &[u8], f: &mut impl FnMut(S, &SubOptions)) -> usize {
        if let Some(old) = &self.old {
            return self.trie.matches(topic, f) + old.matches(topic, f);
        }
        if let Some(nodes) = self.recent.find(topic) {
            return 1 + self.trie.visit(nodes.as_slice(), f);
        }
        self.trie.search(topic, |nodes| {
            self.recent.remember(topic, nodes);
            self.trie.visit(nodes, f)
        })
    }

    /// How many entries of lists of subscribers have moved since the last call, for others that came and
    /// went: of ten thousand to one filter each is some work.
    pub fn take_moved(&mut self) -> usize {
        let old = self.old.as_mut().map_or(0, |old| old.take_moved());
        self.trie.take_moved() + old
    }

    /// True if so much of the memory is unused that [`begin_move`](Tree::begin_move) is worth while.
    pub fn is_sparse(&self) -> bool {
        self.old.is_none() && self.trie.is_sparse()
    }

    /// Begins a new tree, to which all subscriptions are to [move](Tree::move_over).
    pub fn begin_move(&mut self) {
        if self.old.is_none() {
            self.recent.forget();
            self.old = Some(Box::new(std::mem::take(&mut self.trie)));
            self.forget_old();
        }
    }

    /// True while subscriptions are still to move.
    pub fn is_moving(&self) -> bool {
        self.old.is_some()
    }

    /// The subscription of `key` to `filter`, with `options`, moves if it has not yet. Once all have, the
    /// memory of the old tree goes back.
    pub fn move_over(&mut self, filter: &str, key: S, options: SubOptions) {
        if self.remove_old(filter, key) {
            self.recent.forget();
            self.trie.add(filter, key, options);
        }
    }

    fn remove_old(&mut self, filter: &str, key: S) -> bool {
        let removed = self.old.as_mut().is_some_and(|old| old.remove(filter, key));
        if removed {
            self.forget_old();
        }
        removed
    }

    /// Forgets the old tree if it is empty.
    fn forget_old(&mut self) {
        self.old.take_if(|old| old.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::lane::Lane;
    use crate::mqtt::filter_matches;

    fn found(tree: &Tree<u32>, topic: &str) -> Vec<(u32, SubOptions)> {
        let mut all = Vec::new();
        tree.matches(topic.as_bytes(), &mut |key, options| {
            all.push((key, *options));
        });
        all.sort_by_key(|(key, o)| (*key, o.qos, o.lane));
        all
    }

    fn keys(tree: &Tree<u32>, topic: &str) -> Vec<u32> {
        found(tree, topic).into_iter().map(|(key, _)| key).collect()
    }

    /// What thousands of deep filters have taken comes back when they go, though others stay.
    #[test]
    fn memory_of_filters_that_are_gone_comes_back() {
        let mut tree = Tree::<u32>::new();
        let deep = |n: u32| format!("{n}{}", format!("/level{n}").repeat(30));
        let stay = [("a/+/c", 0), ("a/#", 1), ("b/c", 2)];
        for (filter, key) in stay {
            tree.add(filter, key, SubOptions::default());
        }
        let before = tree.bytes();
        for n in 0..10_000 {
            tree.add(&deep(n), n, SubOptions::default());
        }
        assert!(tree.bytes() > 3_000_000 && !tree.is_sparse());
        for n in 0..10_000 {
            assert!(tree.remove(&deep(n), n));
            if n % 1000 == 0 {
                assert_eq!(keys(&tree, "a/b/c"), [0, 1]);
                assert_eq!(keys(&tree, &deep(n + 1)), [n + 1]);
            }
        }
        assert!(tree.is_sparse());
        tree.begin_move();
        for (filter, key) in stay {
            assert!(tree.is_moving() && !tree.is_sparse());
            assert_eq!(keys(&tree, "a/b/c"), [0, 1]);
            tree.move_over(filter, key, SubOptions::default());
        }
        assert!(!tree.is_moving() && !tree.is_sparse());
        assert_eq!(
            (keys(&tree, "a/b/c"), keys(&tree, "b/c")),
            (vec![0, 1], vec![2])
        );
        let after = tree.bytes();
        assert!(after < before + 32_768, "{before} and then {after}");
        assert!(stay.iter().all(|(filter, key)| tree.remove(filter, *key)));
        assert!(tree.is_empty());
    }

    /// Names that come and go leave no numbers behind, nor do lists of subscribers.
    #[test]
    fn memory_of_names_and_lists_that_are_gone_comes_back() {
        let mut tree = Tree::<u32>::new();
        // The nodes stay in use: only their names change.
        for n in 0..10_000 {
            tree.add(&format!("{n}"), 0, SubOptions::default());
        }
        for n in 0..10_000 {
            tree.add(&format!("x/y/{}", n % 10), n, SubOptions::default());
            tree.remove(&format!("{n}"), 0);
        }
        for n in 0..10_000 {
            tree.remove(&format!("x/y/{}", n % 10), n);
        }
        assert!(tree.is_empty() && tree.is_sparse());
        tree.begin_move();
        assert!(
            !tree.is_moving() && tree.bytes() < 4_096,
            "{}",
            tree.bytes()
        );
    }

    proptest! {
        /// Whatever comes and goes while subscriptions move, the tree has what a map has.
        #[test]
        fn it_agrees_with_a_map_while_it_moves(
            steps in prop::collection::vec((0u8..6, "[ab+](/[ab+]){0,2}(/#)?", 0u32..5, any::<bool>()), 1..200),
        ) {
            let (mut tree, mut model) = (Tree::<u32>::new(), BTreeMap::new());
            for (step, filter, key, lane) in steps {
                let place = (filter, key);
                let lane = if lane { Lane::Client } else { Lane::Dead };
                let options = SubOptions { lane, ..SubOptions::default() };
                match step {
                    0..3 => {
                        let new = model.insert(place.clone(), options).is_none();
                        prop_assert_eq!(tree.add(&place.0, key, options), new);
                    }
                    3 => {
                        let known = model.remove(&place).is_some();
                        prop_assert_eq!(tree.remove(&place.0, key), known);
                    }
                    4 => tree.begin_move(),
                    _ => {
                        let next = model.range(&place..).next();
                        if let Some(((filter, key), options)) = next {
                            tree.move_over(filter, *key, *options);
                        }
                    }
                }
                prop_assert_eq!(tree.len(), model.len());
                // The second time it may be remembered.
                for topic in ["a", "b", "a/b", "b/a", "a/a/b", "a", "a/b", "a/a/b"] {
                    let mut expected: Vec<_> = model
                        .iter()
                        .filter(|((filter, _), _)| filter_matches(filter, topic))
                        .map(|((_, key), options)| (*key, *options))
                        .collect();
                    expected.sort_by_key(|(key, o)| (*key, o.qos, o.lane));
                    prop_assert_eq!(found(&tree, topic), expected, "{}", topic);
                }
            }
            for ((filter, key), options) in model {
                tree.move_over(&filter, key, options);
            }
            prop_assert!(!tree.is_moving());
        }
    }
}
