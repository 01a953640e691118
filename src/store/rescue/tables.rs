//! Where the trees of the tables begin.

use super::link::Root;
use super::node::Node;
use super::pages::{Pages, Slot};
use super::row::Table;
use crate::impossible;

/// The type of a plain table in redb's definition of it.
const PLAIN: u8 = 3;
/// Where a definition says whether there is a root, and where the root is.
const HAS_ROOT: usize = 9;
const ROOT: usize = 10;

/// What became of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Nothing leads to it.
    Lost,
    /// It has no rows.
    Empty,
    /// This is its tree.
    Tree(Root),
}

impl Found {
    fn is_lost(&self) -> bool {
        matches!(self, Found::Lost)
    }
}

/// The tables of the commit to believe.
pub(super) struct Tables {
    /// In the order of [`Table::ALL`].
    pub(super) found: [Found; Table::ALL.len()],
    /// Whether all of it, the numbers of rows too, is what the last commit left.
    pub(super) is_exact: bool,
    /// Of which tables, in the same order, a definition was seen: most stores don't have all.
    seen: [bool; Table::ALL.len()],
    /// Whether the definitions of the last commit lie on more pages than the one that was read.
    has_more: bool,
}

impl Tables {
    /// Looks for each table in what the newer commit left and, if that is no use, in the commit
    /// before it.
    pub(super) fn find(pages: &mut Pages<'_>) -> Tables {
        let slots = pages.slots();
        let mut tables = Tables {
            found: [Found::Lost; Table::ALL.len()],
            is_exact: is_last(&slots),
            seen: [false; Table::ALL.len()],
            has_more: false,
        };
        let mut page = Vec::new();
        for slot in &slots {
            if tables.are_complete() {
                break;
            }
            let Some(link) = slot.tables.map(|root| root.link) else {
                continue;
            };
            let is_sound = pages.read_node(link, None, &mut page);
            tables.is_exact &= is_sound;
            tables.has_more |= Node::parse(&page, None).is_some_and(|node| !node.is_leaf());
            // Of a damaged slot nothing but a whole page proves that it leads to the right one.
            if is_sound || slot.is_sound {
                tables.take(pages, &page, is_sound);
            }
            if is_sound {
                pages.claim(link.span);
            }
        }
        if tables.found.iter().any(|found| !found.is_lost()) {
            tables.settle_optional();
        }
        tables
    }

    /// Takes those of the tables that come into being with their first row for empty whose definition
    /// was nowhere.
    fn settle_optional(&mut self) {
        let places = self.found.iter_mut().zip(self.seen);
        for (table, (place, seen)) in Table::ALL.into_iter().zip(places) {
            if table.is_optional() && place.is_lost() && !seen {
                *place = Found::Empty;
            }
        }
    }

    /// Whether the last commit is sound and has no table of this name.
    pub(super) fn lack(&self, table: Table) -> bool {
        let is_seen = self.seen.get(table as usize).is_some_and(|seen| *seen);
        self.is_exact && !self.has_more && !is_seen
    }

    fn are_complete(&self) -> bool {
        !self.found.iter().any(Found::is_lost)
    }

    /// Takes the tables not yet found from a leaf of definitions.
    fn take(&mut self, pages: &mut Pages<'_>, page: &[u8], is_sound: bool) {
        let leaf = Node::parse(page, None).into_iter();
        for (name, definition) in leaf.flat_map(Node::pairs) {
            let Some(table) = Table::named(name) else {
                continue;
            };
            let (place, seen) = (
                self.found.get_mut(table as usize),
                self.seen.get_mut(table as usize),
            );
            let (Some(place), Some(seen)) = (place, seen) else {
                impossible!("{table:?} is none of the tables");
                continue;
            };
            *seen = true;
            let found = parse(definition);
            let is_proven = match found {
                Found::Tree(Root { link, .. }) => is_sound || pages.proves(link, table.key_width()),
                _ => is_sound,
            };
            if place.is_lost() && is_proven {
                *place = found;
            }
        }
        if is_sound {
            self.settle_optional();
        }
    }
}

/// Whether the first of the slots is sure to be the last commit.
fn is_last(slots: &[Slot]) -> bool {
    let root = |slot: &Slot| slot.tables.map(|root| root.link);
    match slots {
        [first, second] => first.is_sound && (second.is_sound || root(first) == root(second)),
        _ => false,
    }
}

/// Reads redb's definition of a table.
fn parse(definition: &[u8]) -> Found {
    let Some(length) = definition.get(1..).and_then(|rest| rest.first_chunk()) else {
        return Found::Lost;
    };
    let root = definition.get(ROOT..).and_then(Root::parse);
    match (definition.first(), definition.get(HAS_ROOT), root) {
        (Some(&PLAIN), Some(0), _) => Found::Empty,
        (Some(&PLAIN), Some(_), Some(root)) => Found::Tree(Root {
            link: root.link,
            length: u64::from_le_bytes(*length),
        }),
        _ => Found::Lost,
    }
}
