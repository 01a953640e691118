//! Following the trees as far as they hold.
//!
//! A freed page keeps its rows, with right checksums, until it is used again. So the rows of a
//! page count only if the page is known to be part of the tree: its contents have the checksum
//! that its parent knows it by, or the parent is such a page itself and this one is damaged. A
//! damaged branch still vouches for those of its children whose checksum fits.

use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use super::link::Link;
use super::node::Node;
use super::pages::Pages;
use super::row::Table;
use super::tables::{Found, Tables};

/// Beyond this many, the lost ranges of a table are taken for one.
const MAX_RANGES: usize = 64;

/// Where the rows go.
pub(super) trait Sink {
    /// Takes a row that its table accepts. `is_live`: it is known to be no old version.
    fn row(&mut self, table: Table, key: &[u8], row: &[u8], is_live: bool);
}

/// What the trees led to.
#[derive(Debug)]
pub(super) struct Walked {
    /// The rows there should be in all tables but [`Table::Meta`]; `None` if that isn't known.
    pub(super) expected: Option<u64>,
    /// Where a search may find more.
    pub(super) lost: Vec<Lost>,
}

/// Keys whose rows were not found.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) table: Table,
    keys: Keys,
}

impl Lost {
    /// Whether `key`, of its table, is one of them.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.keys.contain(self.table, key)
    }
}

/// Keys above the start and up to the end; `None` bounds nothing.
#[derive(Clone, Debug, Default)]
struct Keys(Range<Option<Rc<[u8]>>>);

impl Keys {
    fn contain(&self, table: Table, key: &[u8]) -> bool {
        let above = self.0.start.as_ref();
        let up_to = self.0.end.as_ref();
        above.is_none_or(|low| table.compare(key, low) == Ordering::Greater)
            && up_to.is_none_or(|high| table.compare(key, high) != Ordering::Greater)
    }

    /// Those between the two keys of a branch.
    fn between(&self, keys: Range<Option<&[u8]>>) -> Keys {
        let bound = |key: Option<&[u8]>, outer: &Option<Rc<[u8]>>| match key {
            Some(key) => Some(key.into()),
            None => outer.clone(),
        };
        Keys(bound(keys.start, &self.0.start)..bound(keys.end, &self.0.end))
    }
}

/// Follows all trees.
pub(super) fn walk(pages: &mut Pages<'_>, sink: &mut impl Sink) -> Walked {
    let tables = Tables::find(pages);
    let mut walked = Walked {
        expected: tables.is_exact.then_some(0),
        lost: Vec::new(),
    };
    for (table, found) in Table::ALL.into_iter().zip(tables.found) {
        match found {
            Found::Empty => {}
            Found::Lost => walked.lost.push(Lost {
                table,
                keys: Keys::default(),
            }),
            Found::Tree(root) => {
                if table != Table::Meta {
                    let sum = walked.expected.and_then(|n| n.checked_add(root.length));
                    walked.expected = sum;
                }
                let mut tree = Tree::new(table, pages, sink);
                tree.walk(root.link);
                walked.lost.extend(tree.worth_searching());
            }
        }
    }
    walked
}

/// Follows the tree of one table; `false` if the file is sound, as far as it was read, and has none of
/// this name.
pub(super) fn walk_table(pages: &mut Pages<'_>, table: Table, sink: &mut impl Sink) -> bool {
    let tables = Tables::find(pages);
    if let Some(Found::Tree(root)) = tables.found.get(table as usize) {
        Tree::new(table, pages, sink).walk(root.link);
    }
    !tables.lack(table)
}

/// A page to visit. It is known to belong to the tree, whatever it holds by now.
struct Visit {
    link: Link,
    keys: Keys,
    depth: usize,
}

/// The walk through one table.
struct Tree<'w, 'p, S> {
    table: Table,
    pages: &'w mut Pages<'p>,
    sink: &'w mut S,
    stack: Vec<Visit>,
    page: Vec<u8>,
    /// How far below the root the leaves are: all are equally far.
    leaf_depth: Option<usize>,
    /// Subtrees that were not found, by their depth.
    lost: Vec<(usize, Keys)>,
}

impl<'w, 'p, S: Sink> Tree<'w, 'p, S> {
    fn new(table: Table, pages: &'w mut Pages<'p>, sink: &'w mut S) -> Self {
        Tree {
            table,
            pages,
            sink,
            stack: Vec::new(),
            page: Vec::new(),
            leaf_depth: None,
            lost: Vec::new(),
        }
    }

    fn walk(&mut self, root: Link) {
        self.stack.push(Visit {
            link: root,
            keys: Keys::default(),
            depth: 0,
        });
        while let Some(visit) = self.stack.pop() {
            self.visit(visit);
        }
    }

    fn visit(&mut self, visit: Visit) {
        let mut page = std::mem::take(&mut self.page);
        let width = self.table.key_width();
        let is_sound = self.pages.read_node(visit.link, width, &mut page);
        // Nothing is visited twice, also if damage made a ring of pages.
        if self.pages.claim(visit.link.span) {
            match Node::parse(&page, width) {
                Some(node) if node.is_leaf() => self.leaf(node, visit, is_sound),
                Some(node) => self.branch(node, visit, is_sound),
                None => self.lose(visit.depth, visit.keys),
            }
        }
        self.page = page;
    }

    fn leaf(&mut self, leaf: Node<'_>, visit: Visit, is_sound: bool) {
        let mut taken = 0;
        for (key, row) in leaf.pairs() {
            let belongs = is_sound || visit.keys.contain(self.table, key);
            if belongs && self.table.accepts(key, row) {
                self.sink.row(self.table, key, row, true);
                taken += 1;
            }
        }
        if is_sound {
            self.leaf_depth = Some(visit.depth);
        } else if taken < leaf.len() {
            self.lose(visit.depth, visit.keys);
        }
    }

    fn branch(&mut self, branch: Node<'_>, visit: Visit, is_sound: bool) {
        let depth = visit.depth + 1;
        let mut lost = 0;
        let first = self.stack.len();
        for (link, between) in branch.children() {
            // A damaged branch may lead anywhere, and its keys may be wrong.
            let keys = if is_sound {
                visit.keys.between(between)
            } else {
                visit.keys.clone()
            };
            if is_sound || self.pages.proves(link, self.table.key_width()) {
                self.stack.push(Visit { link, keys, depth });
            } else {
                lost += 1;
            }
        }
        // The next to visit is the last: rows come in rising order.
        if let Some(children) = self.stack.get_mut(first..) {
            children.reverse();
        }
        if lost > branch.len() / 2 {
            self.lose(visit.depth, visit.keys);
        } else if lost > 0 {
            self.lose(depth, visit.keys);
        }
    }

    fn lose(&mut self, depth: usize, keys: Keys) {
        if self.lost.len() >= MAX_RANGES {
            let depth = self.lost.iter().map(|(depth, _)| *depth).min();
            self.lost.truncate(0);
            self.lost.push((depth.unwrap_or(0), Keys::default()));
        }
        self.lost.push((depth, keys));
    }

    /// Where it is worth looking for rows on other pages. Not for messages and retained ones of a
    /// lost leaf: older versions of that leaf hold few that are still live, and all that were
    /// deleted. An older version of a session is better than to lose all that it is owed, and so is a
    /// subscription that may have been ended.
    fn worth_searching(self) -> impl Iterator<Item = Lost> {
        let table = self.table;
        let is_worth = move |depth| match table {
            Table::Meta | Table::Session | Table::WideSession | Table::Part => true,
            Table::Message | Table::Retained => self.leaf_depth != Some(depth),
        };
        self.lost
            .into_iter()
            .filter(move |(depth, _)| is_worth(*depth))
            .map(move |(_, keys)| Lost { table, keys })
    }
}
