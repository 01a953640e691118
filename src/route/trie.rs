//! The subscription tree.
//!
//! A node stands for the levels from its parent's on, up to the next at which filters part or one ends: a
//! filter that has nothing in common with others is one node, whatever its depth. Nodes lie in one arena;
//! all edges lie in one hash table keyed by the parent and the first level, so that a node with a hundred
//! thousand children is as quick as one with two and a leaf costs no table of its own. The name of a level
//! lies in the node alone.
//!
//! A node that filters no longer part at stays until nothing is below it: it does not know its children.
//! Nodes that are free are used again; to give their memory back, the subscriptions move to another tree
//! ([`super::Tree`]).

use std::cell::Cell;

use super::hash::{self, LevelHash};
use super::label::{Label, after, begins, first, shared};
use super::node::{NONE, Node};
use super::subs::{Sub, SubOptions};
use crate::impossible;
use crate::keys::Numbers;

const ROOT: u32 = 0;

/// The number of a node: there are fewer than [`NONE`].
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_else(|_| {
        impossible!("a tree of {at} nodes");
        NONE
    })
}

/// Nodes that may be free whatever is in use.
const SPARE: usize = 64;

/// A level of a topic: where it lies, and its hash once somebody has asked for it; 0 before.
#[derive(Clone, Copy, Debug)]
struct Level {
    start: u32,
    end: u32,
    hash: u64,
}

/// Work space of a match, kept so that matching does not allocate.
#[derive(Debug, Default)]
struct Scratch {
    levels: Vec<Level>,
    /// Nodes whose levels match, and how many levels of the topic they have taken.
    pending: Vec<(u32, u32)>,
    /// Nodes of filters that match.
    found: Vec<u32>,
}

impl Scratch {
    fn heap(&self) -> usize {
        self.levels.capacity() * size_of::<Level>()
            + self.pending.capacity() * size_of::<(u32, u32)>()
            + self.found.capacity() * size_of::<u32>()
    }
}

/// All subscriptions, by filter. `S` is who is subscribed.
pub struct Trie<S> {
    nodes: Vec<Node<S>>,
    free_nodes: Vec<u32>,
    /// All nodes but the root, by parent and first level.
    edges: Numbers,
    hash: LevelHash,
    /// The hashes of `+` and `#`.
    single: u64,
    multi: u64,
    /// How many subscriptions have one level, two levels, and so on up to the most that one has.
    depths: Vec<u32>,
    len: usize,
    /// How many entries of lists had to move for others that came and went.
    moved: usize,
    /// Bytes of lists of subscriptions and of labels.
    heap: usize,
    scratch: Cell<Scratch>,
    /// Bytes of the work space.
    scratch_heap: Cell<usize>,
}

impl<S: Copy + Ord> Default for Trie<S> {
    fn default() -> Trie<S> {
        Trie::new()
    }
}

impl<S: Copy + Ord> Trie<S> {
    /// A tree without subscriptions.
    pub fn new() -> Trie<S> {
        let hash = LevelHash::new();
        Trie {
            single: hash.of(b"+"),
            multi: hash.of(b"#"),
            nodes: vec![Node::default()],
            free_nodes: Vec::new(),
            edges: Numbers::default(),
            hash,
            depths: Vec::new(),
            len: 0,
            moved: 0,
            heap: 0,
            scratch: Cell::default(),
            scratch_heap: Cell::default(),
        }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without any subscription.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Subscribes `key` to `filter`, a checked topic filter; returns false if that replaced a
    /// subscription of the same key and filter [MQTT-3.8.4-3].
    pub fn add(&mut self, filter: &str, key: S, options: SubOptions) -> bool {
        let node = self.node_or_new(filter.as_bytes());
        let subs = &mut self.nodes[node as usize].subs;
        let before = subs.heap();
        let options = options.into();
        let (new, moved) = subs.insert(Sub { key, options });
        self.moved += moved;
        self.heap = self.heap + subs.heap() - before;
        if new {
            self.len += 1;
            let levels = levels(filter);
            if self.depths.len() < levels {
                self.depths.resize(levels, 0);
            }
            self.depths[levels - 1] += 1;
        }
        new
    }

    /// Unsubscribes `key` from `filter`; returns false if it was not subscribed.
    pub fn remove(&mut self, filter: &str, key: S) -> bool {
        let Some(node) = self.node(filter.as_bytes()) else {
            return false;
        };
        let subs = &mut self.nodes[node as usize].subs;
        let before = subs.heap();
        let Some(moved) = subs.remove(key) else {
            return false;
        };
        self.moved += moved;
        self.heap = self.heap + subs.heap() - before;
        self.len -= 1;
        self.depths[levels(filter) - 1] -= 1;
        while self.depths.last() == Some(&0) {
            self.depths.pop();
        }
        self.prune(node);
        true
    }

    /// Calls `f` for each subscription whose filter matches `topic`, a topic name, in no order; a session with
    /// overlapping filters comes up once a filter. Returns how many nodes, levels of labels and
    /// subscriptions were looked at.
    ///
    /// Filters that begin with a wildcard do not match topics that begin with `$`
    /// [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &[u8], f: &mut impl FnMut(S, &SubOptions)) -> usize {
        self.search(topic, |nodes| self.visit(nodes, f))
    }

    /// Gives `visit` the nodes where filters end that match `topic`, and no others. Returns how many nodes and
    /// levels of labels were looked at, and what `visit` returns besides.
    pub(super) fn search(&self, topic: &[u8], visit: impl FnOnce(&[u32]) -> usize) -> usize {
        let mut scratch = self.scratch.take();
        scratch.levels.clear();
        scratch.found.clear();
        split(topic, self.depths.len() + 1, &mut scratch.levels);
        let looked_at = self.walk(topic, &mut scratch);
        let visited = visit(&scratch.found);
        self.scratch_heap.set(scratch.heap());
        self.scratch.set(scratch);
        looked_at + visited
    }

    /// Calls `f` for each subscription that ends at one of `nodes`. Returns how many there are.
    #[inline]
    pub(super) fn visit(&self, nodes: &[u32], f: &mut impl FnMut(S, &SubOptions)) -> usize {
        let mut count = 0;
        for node in nodes {
            let subs = self.nodes[*node as usize].subs.as_slice();
            count += subs.len();
            for sub in subs {
                f(sub.key, &sub.options.into());
            }
        }
        count
    }

    /// Finds the nodes that match. Not recursive: the depth is a peer's choice.
    fn walk(&self, topic: &[u8], scratch: &mut Scratch) -> usize {
        let Scratch {
            levels,
            pending,
            found,
        } = scratch;
        let is_private = topic.starts_with(b"$");
        let mut looked_at = 0;
        pending.push((ROOT, 0));
        while let Some((index, at)) = pending.pop() {
            let children = self.nodes[index as usize].children;
            let takes_wildcards = index != ROOT || !is_private;
            looked_at += 1;
            if children.has_multi() && takes_wildcards {
                // `#` includes the level above it (5.0 §4.7.1.2).
                found.extend(self.find(index, b"#", self.multi));
            }
            let at = at as usize;
            let Some(level) = levels.get_mut(at) else {
                if !self.nodes[index as usize].subs.as_slice().is_empty() {
                    found.push(index);
                }
                continue;
            };
            let name = name(topic, *level);
            // A topic has no wildcards, whoever asks.
            if children.has_named() && !matches!(name, b"+" | b"#") {
                if level.hash == 0 {
                    level.hash = self.hash.of(name);
                }
                if let Some(child) = self.find(index, name, level.hash) {
                    looked_at +=
                        self.follow((child, name.len()), at, topic, (levels, pending, found));
                }
            }
            if children.has_single()
                && takes_wildcards
                && let Some(child) = self.find(index, b"+", self.single)
            {
                looked_at += self.follow((child, 1), at, topic, (levels, pending, found));
            }
        }
        looked_at
    }

    /// Goes on along the label of a node, whose first level has `first` bytes and matches that of the topic
    /// numbered `at`: the node is then pending, or found if it ends with `#`. Returns how many levels were looked
    /// at.
    fn follow(
        &self,
        (node, first): (u32, usize),
        at: usize,
        topic: &[u8],
        (levels, pending, found): (&[Level], &mut Vec<(u32, u32)>, &mut Vec<u32>),
    ) -> usize {
        let label = self.nodes[node as usize].label.bytes();
        if label.len() == first {
            // It has no other, as most inner nodes.
            pending.push((node, number(at + 1)));
            return 0;
        }
        let (mut next, mut rest) = (at + 1, after(label, first));
        while let Some(path) = rest {
            if path == b"#" {
                found.push(node);
                return next - at;
            }
            let Some(level) = levels.get(next) else {
                return next - at;
            };
            let name = name(topic, *level);
            let len = if begins(path, name) {
                name.len()
            } else if begins(path, b"+") {
                1
            } else {
                return next - at;
            };
            rest = after(path, len);
            next += 1;
        }
        pending.push((node, number(next)));
        next - at - 1
    }

    /// The child of `parent` whose label begins with `level`, of this hash.
    #[inline]
    fn find(&self, parent: u32, level: &[u8], hash: u64) -> Option<u32> {
        let is = |index: u32| {
            let node = &self.nodes[index as usize];
            node.parent == parent && begins(node.label.bytes(), level)
        };
        self.edges.find(hash::edge(parent, hash), is)
    }

    fn child(&self, parent: u32, level: &[u8]) -> Option<u32> {
        let children = self.nodes[parent as usize].children;
        let known = children.has(level);
        known.then(|| self.find(parent, level, self.hash.of(level)))?
    }

    /// The node where `filter` ends, if it is there.
    fn node(&self, filter: &[u8]) -> Option<u32> {
        let mut node = ROOT;
        let mut rest = Some(filter);
        while let Some(path) = rest {
            node = self.child(node, first(path))?;
            let label = self.nodes[node as usize].label.bytes();
            if shared(label, path) < label.len() {
                return None;
            }
            rest = after(path, label.len());
        }
        Some(node)
    }

    fn node_or_new(&mut self, filter: &[u8]) -> u32 {
        let mut node = ROOT;
        let mut rest = Some(filter);
        while let Some(path) = rest {
            let Some(child) = self.child(node, first(path)) else {
                return self.new_child(node, path);
            };
            let label = self.nodes[child as usize].label.bytes();
            let same = shared(label, path);
            node = if same < label.len() {
                self.split(child, same)
            } else {
                child
            };
            rest = after(path, same);
        }
        node
    }

    /// A new node below `parent`, which has no child that begins like `label`.
    fn new_child(&mut self, parent: u32, label: &[u8]) -> u32 {
        let node = self.new_node();
        self.set_label(node, label);
        self.nodes[node as usize].parent = parent;
        self.link(node);
        node
    }

    /// A new node between `node` and its parent, which takes the first `same` bytes of its label.
    fn split(&mut self, node: u32, same: usize) -> u32 {
        let hash = self.edge_hash(node);
        let above = self.new_node();
        let label = std::mem::take(&mut self.nodes[node as usize].label);
        let (upper, lower) = label.bytes().split_at(same);
        self.heap -= label.heap();
        self.set_label(above, upper);
        self.set_label(node, after(lower, 0).unwrap_or_default());
        self.nodes[above as usize].parent = self.nodes[node as usize].parent;
        self.edges.replace(hash, node, above);
        self.nodes[node as usize].parent = above;
        self.link(node);
        above
    }

    /// Gives a label to a node that has none.
    fn set_label(&mut self, node: u32, label: &[u8]) {
        let label = Label::new(label);
        self.heap += label.heap();
        self.nodes[node as usize].label = label;
    }

    fn new_node(&mut self) -> u32 {
        self.free_nodes.pop().unwrap_or_else(|| {
            if self.nodes.len() == self.nodes.capacity() {
                // By an eighth: doubling would leave half of the largest table unused.
                self.nodes.reserve_exact(self.nodes.len() / 8 + 8);
            }
            self.nodes.push(Node::default());
            number(self.nodes.len() - 1)
        })
    }

    /// The hash of the edge that leads to a node.
    fn edge_hash(&self, node: u32) -> u64 {
        edge_hash(&self.nodes, &self.hash, node)
    }

    /// Puts a node that has parent and label among the children of its parent.
    fn link(&mut self, node: u32) {
        let (nodes, hash) = (&self.nodes, &self.hash);
        let edge = edge_hash(nodes, hash, node);
        self.edges
            .insert(edge, node, |other| edge_hash(nodes, hash, other));
        let parent = self.nodes[node as usize].parent;
        let label = std::mem::take(&mut self.nodes[node as usize].label);
        let children = &mut self.nodes[parent as usize].children;
        children.add(first(label.bytes()));
        self.nodes[node as usize].label = label;
    }

    /// Takes a node off the tree if nothing needs it any more; then its parent, and so on.
    fn prune(&mut self, mut node: u32) {
        while node != ROOT && self.nodes[node as usize].is_empty() {
            let (nodes, hash) = (&self.nodes, &self.hash);
            let edge = edge_hash(nodes, hash, node);
            self.edges
                .remove(edge, node, |other| edge_hash(nodes, hash, other));
            let gone = std::mem::take(&mut self.nodes[node as usize]);
            self.heap -= gone.label.heap();
            let children = &mut self.nodes[gone.parent as usize].children;
            children.take(first(gone.label.bytes()));
            self.free_nodes.push(node);
            node = gone.parent;
        }
    }

    /// How many entries of lists of subscribers have moved since the last call, for others that came and
    /// went.
    pub(super) fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// True if most of the memory of nodes is unused.
    pub(super) fn is_sparse(&self) -> bool {
        let free = self.free_nodes.len();
        free > SPARE && free > self.nodes.len() / 4 * 3
    }

    /// How many bytes the tree takes, as far as the capacities tell; costs no look at the nodes.
    pub fn bytes(&self) -> usize {
        self.heap
            + self.scratch_heap.get()
            + (self.free_nodes.capacity() + self.depths.capacity()) * size_of::<u32>()
            + self.nodes.capacity() * size_of::<Node<S>>()
            + self.edges.bytes()
    }

    /// True if nothing but the root is left.
    #[cfg(test)]
    pub(super) fn is_pruned(&self) -> bool {
        self.edges.len() == 0
            && self.heap == self.nodes[0].subs.heap()
            && self.nodes.len() == self.free_nodes.len() + 1
    }
}

/// How many levels a filter has.
fn levels(filter: &str) -> usize {
    1 + filter.bytes().filter(|byte| *byte == b'/').count()
}

/// The levels of a topic, at most so many.
fn split(topic: &[u8], most: usize, levels: &mut Vec<Level>) {
    let mut start = 0;
    let mut push = |end: usize| {
        // A topic has 65,535 bytes at most.
        levels.push(Level {
            start: number(start),
            end: number(end),
            hash: 0,
        });
        start = end + 1;
        levels.len() < most
    };
    for (at, byte) in topic.iter().enumerate() {
        if *byte == b'/' && !push(at) {
            return;
        }
    }
    push(topic.len());
}

/// The name of a level of a topic.
#[inline]
fn name(topic: &[u8], level: Level) -> &[u8] {
    topic
        .get(level.start as usize..level.end as usize)
        .unwrap_or_default()
}

/// The hash of the edge that leads to a node.
fn edge_hash<S>(nodes: &[Node<S>], hash: &LevelHash, node: u32) -> u64 {
    let node = &nodes[node as usize];
    hash::edge(node.parent, hash.of(first(node.label.bytes())))
}
