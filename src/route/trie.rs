//! The subscription tree.
//!
//! Levels are interned: a topic costs one string hash a level, whatever the number of branches
//! that `+` opens, and the tree itself is walked by numbers. Nodes lie in one arena; all edges
//! lie in one hash table keyed by (node, level), so that a node with a hundred thousand children
//! is as quick as one with two and a leaf costs no table of its own. `+` and `#` children are
//! fields of the node: they are asked for at every step.
//!
//! Nodes and levels that are free are used again; to give their memory back, the subscriptions move to
//! another tree ([`super::Tree`]).

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::hash::EdgeHasher;
use super::subs::{Sub, SubOptions, Subs};
use super::symbols::{Symbol, Symbols};
use crate::held::table;
use crate::impossible;

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

/// Numbers that may be free whatever is in use.
const SPARE: usize = 64;

/// True if so few of `all` numbers are in use that their memory is to be given back.
fn is_sparse(free: usize, all: usize) -> bool {
    free > SPARE && free > all / 4 * 3
}

/// Work space of a match, kept so that matching does not allocate.
#[derive(Debug, Default)]
struct Scratch {
    levels: Vec<u32>,
    pending: Vec<(u32, u32)>,
}

impl Scratch {
    fn heap(&self) -> usize {
        self.levels.capacity() * size_of::<u32>()
            + self.pending.capacity() * size_of::<(u32, u32)>()
    }
}

/// All subscriptions, by filter. `S` is who is subscribed.
pub struct Trie<S> {
    nodes: Vec<Node<S>>,
    free_nodes: Vec<u32>,
    edges: HashMap<(u32, u32), u32, BuildHasherDefault<EdgeHasher>>,
    symbols: Symbols,
    free_symbols: Vec<u32>,
    /// How many subscriptions have one level, two levels, and so on up to the most that one has.
    depths: Vec<u32>,
    len: usize,
    /// How many entries of lists had to move for others that came and went.
    moved: usize,
    /// Bytes of lists of subscriptions.
    lists: usize,
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
        Trie {
            nodes: vec![Node::default()],
            free_nodes: Vec::new(),
            edges: HashMap::default(),
            symbols: Symbols::new(),
            free_symbols: Vec::new(),
            depths: Vec::new(),
            len: 0,
            moved: 0,
            lists: 0,
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
        let mut node = ROOT;
        let mut levels = 0;
        for level in filter.split('/') {
            levels += 1;
            node = self.child_or_new(node, level);
        }
        let subs = &mut self.nodes[node as usize].subs;
        let before = subs.heap();
        let (new, moved) = subs.insert(Sub { key, options });
        self.moved += moved;
        self.lists = self.lists + subs.heap() - before;
        if new {
            self.len += 1;
            if self.depths.len() < levels {
                self.depths.resize(levels, 0);
            }
            self.depths[levels - 1] += 1;
        }
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
        let subs = &mut self.nodes[node as usize].subs;
        let before = subs.heap();
        let Some(moved) = subs.remove(key) else {
            return false;
        };
        self.moved += moved;
        self.lists = self.lists + subs.heap() - before;
        self.len -= 1;
        self.depths[path.len() - 1] -= 1;
        while self.depths.last() == Some(&0) {
            self.depths.pop();
        }
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
    /// overlapping filters comes up once a filter. Returns how many nodes and subscriptions were
    /// looked at.
    ///
    /// Filters that begin with a wildcard do not match topics that begin with `$`
    /// [MQTT-4.7.2-1].
    pub fn matches(&self, topic: &[u8], f: &mut impl FnMut(S, &SubOptions)) -> usize {
        let mut scratch = self.scratch.take();
        scratch.levels.clear();
        // One level more than any filter has tells a longer topic from one that fits.
        let levels = topic.split(|byte| *byte == b'/');
        for level in levels.take(self.depths.len() + 1) {
            scratch
                .levels
                .push(self.symbols.get(level).map_or(NONE, |s| s.id));
        }
        let looked_at = if topic.starts_with(b"$") {
            let first = scratch.levels.first().copied().unwrap_or(NONE);
            let child = self.edges.get(&(ROOT, first));
            child.map_or(0, |child| self.walk(*child, 1, &mut scratch, f))
        } else {
            self.walk(ROOT, 0, &mut scratch, f)
        };
        self.scratch_heap.set(scratch.heap());
        self.scratch.set(scratch);
        looked_at
    }

    /// Visits what matches below `node`, whose levels end before level `at` of the topic. Not
    /// recursive: the depth is a peer's choice.
    fn walk(
        &self,
        node: u32,
        at: u32,
        scratch: &mut Scratch,
        f: &mut impl FnMut(S, &SubOptions),
    ) -> usize {
        let Scratch { levels, pending } = scratch;
        let mut looked_at = 0;
        pending.push((node, at));
        while let Some((index, at)) = pending.pop() {
            let node = &self.nodes[index as usize];
            looked_at += 1;
            if node.multi != NONE {
                // `#` includes the level above it (5.0 §4.7.1.2).
                looked_at += self.visit(node.multi, f);
            }
            let Some(&symbol) = levels.get(at as usize) else {
                looked_at += self.visit(index, f);
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
        looked_at
    }

    fn visit(&self, node: u32, f: &mut impl FnMut(S, &SubOptions)) -> usize {
        let subs = self.nodes[node as usize].subs.as_slice();
        for sub in subs {
            f(sub.key, &sub.options);
        }
        subs.len()
    }

    fn child(&self, node: u32, level: &str) -> u32 {
        let parent = &self.nodes[node as usize];
        match level {
            "+" => parent.single,
            "#" => parent.multi,
            _ if parent.children == 0 => NONE,
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
        if let Some(known) = self.symbols.get_mut(level.as_bytes()) {
            known.edges += 1;
            return known.id;
        }
        // Without a free number, the numbers in use are 0 to len - 1.
        let next = number(self.symbols.len());
        let id = self.free_symbols.pop().unwrap_or(next);
        self.symbols
            .insert(level.as_bytes(), Symbol { id, edges: 1 });
        id
    }

    /// How many numbers levels have had at once.
    fn numbered_symbols(&self) -> usize {
        self.symbols.len() + self.free_symbols.len()
    }

    /// How many entries of lists of subscribers have moved since the last call, for others that came and
    /// went.
    pub(super) fn take_moved(&mut self) -> usize {
        std::mem::take(&mut self.moved)
    }

    /// True if most of the memory of nodes or levels is unused.
    pub(super) fn is_sparse(&self) -> bool {
        is_sparse(self.free_nodes.len(), self.nodes.len())
            || is_sparse(self.free_symbols.len(), self.numbered_symbols())
    }

    /// How many bytes the tree takes, as far as the capacities tell; costs no look at the nodes.
    pub fn bytes(&self) -> usize {
        let free = self.free_nodes.capacity() + self.free_symbols.capacity();
        self.lists
            + self.scratch_heap.get()
            + (free + self.depths.capacity()) * size_of::<u32>()
            + self.nodes.capacity() * size_of::<Node<S>>()
            + table(self.edges.capacity(), size_of::<((u32, u32), u32)>())
            + self.symbols.bytes()
    }

    /// True if nothing but the root is left.
    #[cfg(test)]
    pub(super) fn is_pruned(&self) -> bool {
        self.edges.is_empty()
            && self.symbols.len() == 0
            && self.nodes.len() == self.free_nodes.len() + 1
    }
}
