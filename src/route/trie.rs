//! The subscription tree.
//!
//! Levels are interned: a topic costs one string hash a level, whatever the number of branches
//! that `+` opens, and the tree itself is walked by numbers. Nodes lie in one arena; all edges
//! lie in one hash table keyed by (node, level), so that a node with a hundred thousand children
//! is as quick as one with two and a leaf costs no table of its own. `+` and `#` children are
//! fields of the node: they are asked for at every step.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::num::NonZeroU32;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::impossible;
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

#[derive(Clone, Copy, Debug)]
struct Sub<S> {
    key: S,
    options: SubOptions,
}

/// The subscriptions that end at one node. Nearly all nodes have none or one.
#[derive(Debug, Default)]
enum Subs<S> {
    #[default]
    None,
    One(Sub<S>),
    /// Two or more, sorted by key.
    Many(Vec<Sub<S>>),
}

impl<S: Copy + Ord> Subs<S> {
    fn as_slice(&self) -> &[Sub<S>] {
        match self {
            Subs::None => &[],
            Subs::One(sub) => std::slice::from_ref(sub),
            Subs::Many(subs) => subs,
        }
    }

    /// True if `sub` is new, false if it replaces one of the same key.
    fn insert(&mut self, sub: Sub<S>) -> bool {
        match self {
            Subs::None => *self = Subs::One(sub),
            Subs::One(old) if old.key == sub.key => {
                *old = sub;
                return false;
            }
            Subs::One(old) => {
                let mut both = vec![*old, sub];
                both.sort_unstable_by_key(|s| s.key);
                *self = Subs::Many(both);
            }
            Subs::Many(subs) => match subs.binary_search_by_key(&sub.key, |s| s.key) {
                Ok(at) => {
                    subs[at] = sub;
                    return false;
                }
                Err(at) => subs.insert(at, sub),
            },
        }
        true
    }

    /// True if there was a subscription of `key`.
    fn remove(&mut self, key: S) -> bool {
        match self {
            Subs::One(sub) if sub.key == key => *self = Subs::None,
            Subs::None | Subs::One(_) => return false,
            Subs::Many(subs) => {
                let Ok(at) = subs.binary_search_by_key(&key, |s| s.key) else {
                    return false;
                };
                subs.remove(at);
                if let [last] = subs[..] {
                    *self = Subs::One(last);
                } else if subs.len() * 4 < subs.capacity() {
                    subs.shrink_to(subs.len() * 2);
                }
            }
        }
        true
    }
}

/// No node, or no such level.
const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;

#[derive(Debug)]
struct Node<S> {
    subs: Subs<S>,
    /// The child `+`.
    single: u32,
    /// The child `#`.
    multi: u32,
    /// How many children `edges` holds.
    children: u32,
}

impl<S> Default for Node<S> {
    fn default() -> Node<S> {
        Node {
            subs: Subs::None,
            single: NONE,
            multi: NONE,
            children: 0,
        }
    }
}

impl<S> Node<S> {
    fn is_empty(&self) -> bool {
        matches!(self.subs, Subs::None)
            && self.single == NONE
            && self.multi == NONE
            && self.children == 0
    }
}

/// The number of a node or level: there are fewer than [`NONE`].
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_else(|_| {
        impossible!("a tree of {at} nodes");
        NONE
    })
}

/// A level's number, and how many edges carry it.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    id: u32,
    edges: u32,
}

/// Work space of a match, kept so that matching does not allocate.
#[derive(Debug, Default)]
struct Scratch {
    levels: Vec<u32>,
    pending: Vec<(u32, u32)>,
}

/// All subscriptions, by filter. `S` is who is subscribed.
pub struct Trie<S> {
    nodes: Vec<Node<S>>,
    free_nodes: Vec<u32>,
    edges: HashMap<(u32, u32), u32, BuildHasherDefault<EdgeHasher>>,
    /// Level names come from peers, hence a hash with a key.
    symbols: HashMap<Box<[u8]>, Symbol, LevelHash>,
    free_symbols: Vec<u32>,
    /// The most levels that a filter has had.
    depth: usize,
    len: usize,
    scratch: Cell<Scratch>,
}

impl<S: Copy + Ord> Default for Trie<S> {
    fn default() -> Trie<S> {
        Trie::new()
    }
}

impl<S: Copy + Ord> Trie<S> {
    /// A tree without subscriptions.
    pub fn new() -> Trie<S> {
        Trie {
            nodes: vec![Node::default()],
            free_nodes: Vec::new(),
            edges: HashMap::default(),
            symbols: HashMap::with_hasher(LevelHash::new()),
            free_symbols: Vec::new(),
            depth: 0,
            len: 0,
            scratch: Cell::default(),
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
        let mut node = ROOT;
        let mut levels = 0;
        for level in filter.split('/') {
            levels += 1;
            node = self.child_or_new(node, level);
        }
        self.depth = self.depth.max(levels);
        let new = self.nodes[node as usize].subs.insert(Sub { key, options });
        self.len += usize::from(new);
        new
    }

    /// Unsubscribes `key` from `filter`; returns false if it was not subscribed.
    pub fn remove(&mut self, filter: &str, key: S) -> bool {
        let mut path = Vec::new();
        let mut node = ROOT;
        for level in filter.split('/') {
            path.push((node, level));
            node = self.child(node, level);
            if node == NONE {
                return false;
            }
        }
        if !self.nodes[node as usize].subs.remove(key) {
            return false;
        }
        self.len -= 1;
        while let Some((parent, level)) = path.pop() {
            if !self.nodes[node as usize].is_empty() {
                break;
            }
            self.unlink(parent, level);
            self.free_nodes.push(node);
            node = parent;
        }
        true
    }

    /// Calls `f` for each subscription whose filter matches `topic`, a topic name, in no order; a session with
    /// overlapping filters comes up once a filter.
    ///
    /// Filters that begin with a wildcard do not match topics that begin with `$`
    /// [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &[u8], f: &mut impl FnMut(S, &SubOptions)) {
        let mut scratch = self.scratch.take();
        scratch.levels.clear();
        // One level more than any filter has tells a longer topic from one that fits.
        let levels = topic.split(|byte| *byte == b'/');
        for level in levels.take(self.depth + 1) {
            scratch
                .levels
                .push(self.symbols.get(level).map_or(NONE, |s| s.id));
        }
        if topic.starts_with(b"$") {
            let first = scratch.levels.first().copied().unwrap_or(NONE);
            if let Some(&child) = self.edges.get(&(ROOT, first)) {
                self.walk(child, 1, &mut scratch, f);
            }
        } else {
            self.walk(ROOT, 0, &mut scratch, f);
        }
        self.scratch.set(scratch);
    }

    /// Visits what matches below `node`, whose levels end before level `at` of the topic. Not
    /// recursive: the depth is a peer's choice.
    fn walk(&self, node: u32, at: u32, scratch: &mut Scratch, f: &mut impl FnMut(S, &SubOptions)) {
        let Scratch { levels, pending } = scratch;
        pending.push((node, at));
        while let Some((index, at)) = pending.pop() {
            let node = &self.nodes[index as usize];
            if node.multi != NONE {
                // `#` includes the level above it (5.0 §4.7.1.2).
                self.visit(node.multi, f);
            }
            let Some(&symbol) = levels.get(at as usize) else {
                self.visit(index, f);
                continue;
            };
            if node.single != NONE {
                pending.push((node.single, at + 1));
            }
            if node.children > 0
                && symbol != NONE
                && let Some(&child) = self.edges.get(&(index, symbol))
            {
                pending.push((child, at + 1));
            }
        }
    }

    fn visit(&self, node: u32, f: &mut impl FnMut(S, &SubOptions)) {
        for sub in self.nodes[node as usize].subs.as_slice() {
            f(sub.key, &sub.options);
        }
    }

    fn child(&self, node: u32, level: &str) -> u32 {
        let parent = &self.nodes[node as usize];
        match level {
            "+" => parent.single,
            "#" => parent.multi,
            _ => self
                .symbols
                .get(level.as_bytes())
                .and_then(|symbol| self.edges.get(&(node, symbol.id)))
                .copied()
                .unwrap_or(NONE),
        }
    }

    fn child_or_new(&mut self, node: u32, level: &str) -> u32 {
        let found = self.child(node, level);
        if found != NONE {
            return found;
        }
        let child = self.new_node();
        match level {
            "+" => self.nodes[node as usize].single = child,
            "#" => self.nodes[node as usize].multi = child,
            _ => {
                let symbol = self.intern(level);
                self.edges.insert((node, symbol), child);
                self.nodes[node as usize].children += 1;
            }
        }
        child
    }

    fn new_node(&mut self) -> u32 {
        self.free_nodes.pop().unwrap_or_else(|| {
            if self.nodes.len() == self.nodes.capacity() {
                // By a quarter: doubling would leave half of the largest table unused.
                self.nodes.reserve_exact(self.nodes.len() / 4 + 8);
            }
            self.nodes.push(Node::default());
            number(self.nodes.len() - 1)
        })
    }

    /// Takes the edge `level` off `parent`.
    fn unlink(&mut self, parent: u32, level: &str) {
        let node = &mut self.nodes[parent as usize];
        match level {
            "+" => node.single = NONE,
            "#" => node.multi = NONE,
            _ => {
                node.children -= 1;
                if let Some(symbol) = self.symbols.get_mut(level.as_bytes()) {
                    self.edges.remove(&(parent, symbol.id));
                    symbol.edges -= 1;
                    if symbol.edges == 0 {
                        self.free_symbols.push(symbol.id);
                        self.symbols.remove(level.as_bytes());
                    }
                }
            }
        }
    }

    fn intern(&mut self, level: &str) -> u32 {
        let next = number(self.symbols.len());
        match self.symbols.entry(level.as_bytes().into()) {
            Entry::Occupied(mut known) => {
                known.get_mut().edges += 1;
                known.get().id
            }
            Entry::Vacant(new) => {
                // Without a free number, the numbers in use are 0 to len - 1.
                let id = self.free_symbols.pop().unwrap_or(next);
                new.insert(Symbol { id, edges: 1 }).id
            }
        }
    }

    /// Heap bytes held, as far as the capacities tell.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let subs: usize = self
            .nodes
            .iter()
            .map(|n| {
                if let Subs::Many(v) = &n.subs {
                    v.capacity() * size_of::<Sub<S>>()
                } else {
                    0
                }
            })
            .sum();
        let table = |capacity: usize, entry: usize| capacity * 8 / 7 * (entry + 1);
        let names: usize = self
            .symbols
            .keys()
            .map(|k| k.len().next_multiple_of(16) + 16)
            .sum();
        subs + names
            + self.nodes.capacity() * size_of::<Node<S>>()
            + table(self.edges.capacity(), size_of::<((u32, u32), u32)>())
            + table(self.symbols.capacity(), size_of::<(Box<[u8]>, Symbol)>())
    }

    /// True if nothing but the root is left.
    #[cfg(test)]
    pub(super) fn is_pruned(&self) -> bool {
        self.edges.is_empty()
            && self.symbols.is_empty()
            && self.nodes.len() == self.free_nodes.len() + 1
    }
}

/// Makes the hash of a level's name, which peers choose: its key is drawn at each start, so that they
/// cannot choose names that fall together. A third of the work of std's hash, which was a tenth of
/// all work for a message.
#[derive(Clone, Debug)]
struct LevelHash {
    key: u64,
}

impl LevelHash {
    fn new() -> LevelHash {
        LevelHash {
            key: RandomState::new().hash_one(0),
        }
    }
}

impl BuildHasher for LevelHash {
    type Hasher = LevelHasher;

    fn build_hasher(&self) -> LevelHasher {
        LevelHasher(self.key)
    }
}

/// XXH3, keyed by what was hashed before.
struct LevelHasher(u64);

impl Hasher for LevelHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn write_usize(&mut self, _: usize) {
        // The length of what follows, which XXH3 sees to itself.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Hashes an edge: two numbers that this module hands out, so a multiplication will do.
#[derive(Default)]
struct EdgeHasher(u64);

impl Hasher for EdgeHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = self.0 << 32 | u64::from(n);
    }

    fn finish(&self) -> u64 {
        // A table takes its bucket from the low bits, which the product mixes least.
        let product = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    }
}
