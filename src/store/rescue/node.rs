//! Leaves and branches of redb's B-trees. A damaged one yields what still makes sense.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_128;

use super::link::Link;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Bytes of a branch before its checksums, of a checksum and of a page number.
const BRANCH_HEAD: usize = 8;
const CHECKSUM: usize = 16;
const NUMBER: usize = 8;

/// A page of a tree whose keys are all `width` bytes long, or of any length; values are of any.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    page: &'a [u8],
    width: Option<usize>,
    /// Pairs of a leaf, keys of a branch.
    count: usize,
    is_leaf: bool,
}

impl<'a> Node<'a> {
    /// `None` if it is neither leaf nor branch.
    pub(super) fn parse(page: &'a [u8], width: Option<usize>) -> Option<Node<'a>> {
        let &[kind, _, low, high] = page.first_chunk()?;
        let count = u16::from_le_bytes([low, high]).into();
        if !matches!(kind, LEAF | BRANCH) || count == 0 {
            return None;
        }
        Some(Node {
            page,
            width,
            count,
            is_leaf: kind == LEAF,
        })
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.is_leaf
    }

    /// Where its contents end, which may be beyond the bytes at hand.
    pub(super) fn end(&self) -> Option<usize> {
        if self.is_leaf {
            self.value_end(self.count - 1)
        } else {
            self.key_end(self.count - 1)
        }
    }

    /// Where the pairs of a leaf end, if their places rise as they should: for a page of which
    /// nobody knows whether it is one.
    pub(super) fn leaf_end(&self) -> Option<usize> {
        let mut end = self.key_end(self.count - 1).filter(|_| self.is_leaf)?;
        for n in 0..self.count {
            end = self.value_end(n).filter(|&next| next >= end)?;
        }
        Some(end)
    }

    /// How many pairs or keys it has.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether it is, to the last bit, the page that `checksum` was made of.
    pub(super) fn is(&self, checksum: u128) -> bool {
        let bytes = self.end().and_then(|end| self.page.get(..end));
        bytes.map(xxh3_128) == Some(checksum)
    }

    /// The pairs of a leaf, without those whose place makes no sense.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let count = if self.is_leaf { self.count } else { 0 };
        (0..count).filter_map(move |n| {
            let value = match n {
                0 => self.key_end(self.count - 1)?,
                _ => self.value_end(n - 1)?,
            };
            let value = self.page.get(value..self.value_end(n)?)?;
            Some((self.key(n)?, value))
        })
    }

    /// The children of a branch, each with the keys between which its own lie: above the first,
    /// and up to the second.
    pub(super) fn children(self) -> impl Iterator<Item = (Link, Range<Option<&'a [u8]>>)> {
        let count = if self.is_leaf { 0 } else { self.count + 1 };
        (0..count).filter_map(move |n| {
            let checksum = self.page.get(BRANCH_HEAD + CHECKSUM * n..)?;
            let number = BRANCH_HEAD + CHECKSUM * count + NUMBER * n;
            let number = self.page.get(number..)?;
            let link = Link::new(*number.first_chunk()?, *checksum.first_chunk()?);
            let low = n.checked_sub(1).and_then(|n| self.key(n));
            Some((link, low..self.key(n)))
        })
    }

    fn key(&self, n: usize) -> Option<&'a [u8]> {
        if n >= self.count {
            return None;
        }
        let start = match n {
            0 => self.keys_start(),
            _ => self.key_end(n - 1)?,
        };
        self.page.get(start..self.key_end(n)?)
    }

    fn keys_start(&self) -> usize {
        let ends = if self.width.is_none() {
            4 * self.count
        } else {
            0
        };
        if self.is_leaf {
            4 + ends + 4 * self.count
        } else {
            BRANCH_HEAD + (CHECKSUM + NUMBER) * (self.count + 1) + ends
        }
    }

    fn key_end(&self, n: usize) -> Option<usize> {
        match self.width {
            Some(width) => Some(self.keys_start() + width * (n + 1)),
            None if self.is_leaf => self.offset(4 + 4 * n),
            None => self.offset(BRANCH_HEAD + (CHECKSUM + NUMBER) * (self.count + 1) + 4 * n),
        }
    }

    fn value_end(&self, n: usize) -> Option<usize> {
        let key_ends = if self.width.is_none() {
            4 * self.count
        } else {
            0
        };
        self.offset(4 + key_ends + 4 * n)
    }

    fn offset(&self, at: usize) -> Option<usize> {
        let bytes = self.page.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    }
}
