//! Searching the pages that no tree leads to.
//!
//! For where a branch is lost: rows that could have been below it are taken from wherever they
//! are found. What was deleted and what is old comes back with the rest, as long as its page was
//! not used again; of each row the newest version is kept.

use super::node::Node;
use super::pages::{Pages, Span};
use super::row::Table;
use super::walk::{Lost, Sink};

/// Offers to `sink` all rows with `lost` keys on pages that were not looked at.
pub(super) fn search(pages: &mut Pages<'_>, lost: &[Lost], sink: &mut impl Sink) {
    let mut page = Vec::new();
    for at in pages.starts() {
        for table in Table::ALL {
            let mut of_table = lost.iter().filter(|lost| lost.table == table).peekable();
            if of_table.peek().is_none() || pages.is_seen(at) {
                continue;
            }
            let of_table: Vec<&Lost> = of_table.collect();
            let is_lost = |key: &[u8]| of_table.iter().any(|lost| lost.contains(key));
            let width = table.key_width();
            let end = |page: &[u8]| Node::parse(page, width)?.leaf_end();
            pages.read_page(at, u64::MAX, end, &mut page);
            let Some(leaf) = Node::parse(&page, width).filter(Node::is_leaf) else {
                continue;
            };
            for (key, row) in leaf.pairs() {
                if is_lost(key) && table.accepts(key, row) {
                    // Also what follows in a page of several: it is no page of its own.
                    let len = leaf.end().unwrap_or(0) as u64;
                    pages.claim(Span { at, len });
                    sink.row(table, key, row, false);
                }
            }
        }
    }
}
