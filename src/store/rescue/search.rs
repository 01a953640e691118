//! Searching the pages that no tree leads to.
//!
//! For where a branch is lost: rows that could have been below it are taken from wherever they
//! are found. What was deleted and what is old comes back with the rest, as long as its page was
//! not used again; of each row the newest version is kept.

use super::link::Span;
use super::node::Node;
use super::pages::Pages;
use super::row::Table;
use super::walk::{Lost, Sink};

/// Offers to `sink` all rows with `lost` keys on pages that were not looked at.
pub(super) fn search(pages: &mut Pages<'_>, lost: &[Lost], sink: &mut impl Sink) {
    let of = |table| lost.iter().filter(move |lost| lost.table == table);
    let tables = Table::ALL
        .into_iter()
        .filter(|&table| of(table).next().is_some());
    let tables: Vec<Table> = tables.collect();
    let mut page = Vec::new();
    for at in pages.starts() {
        for &table in &tables {
            if pages.is_seen(at) {
                break;
            }
            pages.read_leaf(at, table.key_width(), &mut page);
            let leaf = Node::parse(&page, table.key_width()).filter(Node::is_leaf);
            let Some(leaf) = leaf else { continue };
            for (key, row) in leaf.pairs() {
                if of(table).any(|lost| lost.contains(key)) && table.accepts(key, row) {
                    // With what follows in a page of several: that is no page of its own.
                    let len = leaf.end().unwrap_or(0) as u64;
                    pages.claim(Span { at, len });
                    sink.row(table, key, row, false);
                }
            }
        }
    }
}
