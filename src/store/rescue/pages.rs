//! The pages of a redb file, read without redb: whatever lies there, nothing panics, and what
//! cannot be read is zeroes.
//!
//! The layout is that of redb's file format 3 as this store's databases have it: pages of 4 KiB,
//! regions of 4 GiB without headers, one page of file header.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_128;

use super::link::{Link, PAGE, PAGE_BYTES, Root, Span};
use super::node::Node;
use crate::store::rows::codec::tail;

/// The format whose layout this is.
const FORMAT: u8 = 3;
/// The largest page that is read: twice the largest MQTT packet.
const MAX_PAGE: u64 = 512 << 20;
/// The largest page that is read on the word of damaged or freed pages: a wrong size must not
/// cost all memory.
const MAX_UNPROVEN_PAGE: u64 = 32 << 20;
/// After so many failed reads the disk is taken for dead: each may take it seconds.
const MAX_FAILURES: u32 = 256;

const SLOTS: [usize; 2] = [64, 192];
const SLOT: usize = 128;

/// Where the damaged bytes come from.
pub(in crate::store) trait Source {
    /// Bytes there are.
    fn len(&self) -> io::Result<u64>;
    /// Fills `out` with the bytes from `at` on.
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, at)
    }
}

/// One of the two places where a commit names its root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Whether its checksum is right.
    pub(super) is_sound: bool,
    pub(super) transaction: u64,
    /// The tree of tables.
    pub(super) tables: Option<Root>,
}

impl Slot {
    fn parse(slot: &[u8]) -> Option<Slot> {
        let (body, checksum) = slot.split_last_chunk()?;
        let transaction = body.get(104..)?.first_chunk()?;
        let sound = xxh3_128(body) == u128::from_le_bytes(*checksum);
        Some(Slot {
            is_sound: sound && body.first() == Some(&FORMAT),
            transaction: u64::from_le_bytes(*transaction),
            tables: Root::parse(body.get(8..)?),
        })
    }
}

/// The file, and which of its pages were looked at.
pub(super) struct Pages<'a> {
    source: &'a dyn Source,
    len: u64,
    /// A bit for each 4 KiB.
    seen: Vec<u64>,
    failures: u32,
}

impl<'a> Pages<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Pages<'a> {
        let len = source.len().unwrap_or(0);
        Pages {
            source,
            len,
            seen: vec![0; in_memory(len / PAGE / 64 + 1)],
            failures: 0,
        }
    }

    /// The commits that the header names, the one to believe first: sound before unsound, newer
    /// before older.
    pub(super) fn slots(&mut self) -> Vec<Slot> {
        let mut header = Vec::new();
        self.read(0, PAGE, &mut header);
        let slots = SLOTS.iter().filter_map(|&at| header.get(at..at + SLOT));
        let mut slots: Vec<Slot> = slots.filter_map(Slot::parse).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse((slot.is_sound, slot.transaction)));
        slots
    }

    /// The pages of order 0 behind the header.
    pub(super) fn starts(&self) -> impl Iterator<Item = u64> + use<> {
        (PAGE..self.len).step_by(PAGE_BYTES)
    }

    /// Marks a page as looked at; `false` if it was before.
    pub(super) fn claim(&mut self, span: Span) -> bool {
        let first = !self.is_seen(span.at);
        let end = span.at.saturating_add(span.len).min(self.len);
        for page in span.at / PAGE..end.div_ceil(PAGE) {
            if let Some(bits) = self.seen.get_mut(in_memory(page / 64)) {
                *bits |= 1 << (page % 64);
            }
        }
        first
    }

    pub(super) fn is_seen(&self, at: u64) -> bool {
        let page = at / PAGE;
        let bits = self.seen.get(in_memory(page / 64));
        bits.is_some_and(|bits| bits >> (page % 64) & 1 == 1)
    }

    /// Reads the page that `link` names, in a tree with keys of `width`; whether it is the very
    /// page that the link was made for. Of a damaged page, `out` gets what there is.
    pub(super) fn read_node(
        &mut self,
        link: Link,
        width: Option<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        if link.span.len > MAX_PAGE || link.span.at >= self.len {
            return false;
        }
        let end = |page: &[u8]| Node::parse(page, width)?.end();
        self.read_page(link.span.at, link.span.len, end, out);
        Node::parse(out, width).is_some_and(|node| node.is(link.checksum))
    }

    /// Whether `link`, which may be damaged itself, names the very page it was made for.
    pub(super) fn proves(&mut self, link: Link, width: Option<usize>) -> bool {
        let mut page = Vec::new();
        link.span.len <= MAX_UNPROVEN_PAGE && self.read_node(link, width, &mut page)
    }

    /// Reads what may be a leaf, at the start of any page.
    pub(super) fn read_leaf(&mut self, at: u64, width: Option<usize>, out: &mut Vec<u8>) {
        let end = |page: &[u8]| Node::parse(page, width)?.leaf_end();
        self.read_page(at, MAX_UNPROVEN_PAGE, end, out);
    }

    /// Reads the first 4 KiB of the page at `at` and then to its `end`, which these tell, but not
    /// beyond `max` bytes.
    fn read_page(
        &mut self,
        at: u64,
        max: u64,
        end: impl Fn(&[u8]) -> Option<usize>,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        // What one large page took isn't kept for all the small ones.
        out.shrink_to(64 * PAGE_BYTES);
        self.read(at, PAGE, out);
        let end = end(out).unwrap_or(0) as u64;
        let end = end.min(max).min(self.len.saturating_sub(at));
        if end > PAGE {
            self.read(at + PAGE, end - PAGE, out);
        }
    }

    /// Appends `len` bytes; zeroes where they cannot be read.
    fn read(&mut self, at: u64, len: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + in_memory(len), 0);
        let bytes = tail(out, start);
        if self.failures < MAX_FAILURES && self.source.read_at(at, bytes).is_ok() {
            return;
        }
        bytes.fill(0);
        if len <= PAGE && at + len <= self.len {
            self.failures += 1;
            return;
        }
        for (page, bytes) in (at..).step_by(PAGE_BYTES).zip(bytes.chunks_mut(PAGE_BYTES)) {
            // The last page of a file cut short.
            let left = in_memory(self.len.saturating_sub(page)).min(bytes.len());
            let Some(bytes) = bytes.get_mut(..left).filter(|bytes| !bytes.is_empty()) else {
                return;
            };
            if self.failures >= MAX_FAILURES || self.source.read_at(page, bytes).is_err() {
                self.failures += 1;
                bytes.fill(0);
            }
        }
    }
}

/// A length or a place as one of memory, all of which lies before what is too large for it.
fn in_memory(n: u64) -> usize {
    n.try_into().unwrap_or(usize::MAX)
}
