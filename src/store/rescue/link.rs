//! How one page names another, and which bytes of the file a page is.

/// Bytes of a page of order 0; one of order n has 2^n times as many.
pub(super) const PAGE: u64 = PAGE_BYTES as u64;
/// The same, in memory.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of a region.
const REGION: u64 = 4 << 30;

/// Where a page lies and how long it is at most, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// How one page names another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    pub(super) span: Span,
    /// The XXH3 of what the page holds.
    pub(super) checksum: u128,
}

impl Link {
    /// The link of redb's page number and checksum: 20 bits of index, 20 of region, and in the
    /// highest 5 the order.
    pub(super) fn new(number: [u8; 8], checksum: [u8; 16]) -> Link {
        let number = u64::from_le_bytes(number);
        let order = number >> 59;
        let index = number & (0xF_FFFF >> order);
        let region = number >> 20 & 0xF_FFFF;
        let len = PAGE << order;
        Link {
            span: Span {
                at: PAGE + region * REGION + index * len,
                len,
            },
            checksum: u128::from_le_bytes(checksum),
        }
    }
}

/// The root of a tree and how many pairs it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) link: Link,
    pub(super) length: u64,
}

impl Root {
    /// Reads page number, checksum and length; `None` if that is all zero, or too short.
    pub(super) fn parse(bytes: &[u8]) -> Option<Root> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        if bytes.get(..32)?.iter().all(|&byte| byte == 0) {
            return None;
        }
        Some(Root {
            link: Link::new(*number, *checksum),
            length: u64::from_le_bytes(*length),
        })
    }
}
