//! XXH3 with 128 bits and without a seed: the checksum by which a page of redb names its children.
//!
//! After the specification of xxHash. No page is as short as 16 bytes, so the shortest forms are
//! left out.

/// The default secret.
const SECRET: [u8; 192] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

const P32_1: u64 = 0x9E37_79B1;
const P32_2: u64 = 0x85EB_CA77;
const P32_3: u64 = 0xC2B2_AE3D;
const P64_1: u64 = 0x9E37_79B1_85EB_CA87;
const P64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P64_3: u64 = 0x1656_67B1_9E37_79F9;
const P64_4: u64 = 0x85EB_CA77_C2B2_AE63;
const P64_5: u64 = 0x27D4_EB2F_1656_67C5;
const PRIME_MX1: u64 = 0x1656_6791_9E37_79F9;

/// Bytes taken in at once, and how far the secret moves on for each.
const STRIPE: usize = 64;
const STEP: usize = 8;
/// Bytes between two scramblings.
const BLOCK: usize = (SECRET.len() - STRIPE) / STEP * STRIPE;

/// The checksum of `data`; `None` for up to 16 bytes.
pub(super) fn xxh3(data: &[u8]) -> Option<u128> {
    match data.len() {
        0..=16 => None,
        17..=128 => Some(short(data)),
        129..=240 => Some(middle(data)),
        _ => Some(long(data)),
    }
}

fn short(data: &[u8]) -> u128 {
    let mut acc = Pair::new(data.len());
    // From the middle outwards.
    for n in (0..(data.len() - 1) / 32).rev().map(|n| n + 1) {
        acc.mix(data, 16 * n, data.len() - 16 * (n + 1), 32 * n);
    }
    acc.mix(data, 0, data.len() - 16, 0);
    acc.finish(data.len())
}

fn middle(data: &[u8]) -> u128 {
    let mut acc = Pair::new(data.len());
    for n in 0..4 {
        acc.mix(data, 32 * n, 32 * n + 16, 32 * n);
    }
    acc = Pair {
        low: avalanche(acc.low),
        high: avalanche(acc.high),
    };
    for n in 4..data.len() / 32 {
        acc.mix(data, 32 * n, 32 * n + 16, 3 + 32 * (n - 4));
    }
    acc.mix(data, data.len() - 16, data.len() - 32, 103);
    acc.finish(data.len())
}

fn long(data: &[u8]) -> u128 {
    let mut acc = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1];
    // The last byte is never in a full block: what is left ends in a stripe of its own.
    let blocks = (data.len() - 1) / BLOCK;
    let (full, rest) = data.split_at(blocks * BLOCK);
    for block in full.chunks_exact(BLOCK) {
        accumulate(&mut acc, block);
        for (n, acc) in acc.iter_mut().enumerate() {
            let secret = word(&SECRET, SECRET.len() - STRIPE + 8 * n);
            *acc = ((*acc ^ (*acc >> 47)) ^ secret).wrapping_mul(P32_1);
        }
    }
    let stripes = (rest.len() - 1) / STRIPE * STRIPE;
    accumulate(&mut acc, rest.get(..stripes).unwrap_or_default());
    take_in(
        &mut acc,
        data,
        data.len() - STRIPE,
        SECRET.len() - STRIPE - 7,
    );
    let len = data.len() as u64;
    let low = merge(&acc, 11, len.wrapping_mul(P64_1));
    let high = merge(&acc, SECRET.len() - STRIPE - 11, !len.wrapping_mul(P64_2));
    join(low, high)
}

fn accumulate(acc: &mut [u64; 8], stripes: &[u8]) {
    for n in 0..stripes.len() / STRIPE {
        take_in(acc, stripes, n * STRIPE, n * STEP);
    }
}

/// Takes in the stripe of `data` at `at`, with the secret from `secret` on.
fn take_in(acc: &mut [u64; 8], data: &[u8], at: usize, secret: usize) {
    for n in 0..8 {
        let value = word(data, at + 8 * n);
        let key = value ^ word(&SECRET, secret + 8 * n);
        acc[n ^ 1] = acc[n ^ 1].wrapping_add(value);
        acc[n] = acc[n].wrapping_add((key & 0xFFFF_FFFF).wrapping_mul(key >> 32));
    }
}

fn merge(acc: &[u64; 8], secret: usize, start: u64) -> u64 {
    let folded = (0..4).fold(start, |sum, n| {
        let low = acc[2 * n] ^ word(&SECRET, secret + 16 * n);
        let high = acc[2 * n + 1] ^ word(&SECRET, secret + 16 * n + 8);
        sum.wrapping_add(fold(low, high))
    });
    avalanche(folded)
}

/// The state of the shorter forms.
struct Pair {
    low: u64,
    high: u64,
}

impl Pair {
    fn new(len: usize) -> Pair {
        Pair {
            low: (len as u64).wrapping_mul(P64_1),
            high: 0,
        }
    }

    /// Takes in the 16 bytes at `a` and those at `b`.
    fn mix(&mut self, data: &[u8], a: usize, b: usize, secret: usize) {
        self.low = self.low.wrapping_add(mix16(data, a, secret));
        self.low ^= word(data, b).wrapping_add(word(data, b + 8));
        self.high = self.high.wrapping_add(mix16(data, b, secret + 16));
        self.high ^= word(data, a).wrapping_add(word(data, a + 8));
    }

    fn finish(self, len: usize) -> u128 {
        let low = self.low.wrapping_add(self.high);
        let high = self
            .low
            .wrapping_mul(P64_1)
            .wrapping_add(self.high.wrapping_mul(P64_4))
            .wrapping_add((len as u64).wrapping_mul(P64_2));
        join(avalanche(low), avalanche(high).wrapping_neg())
    }
}

fn mix16(data: &[u8], at: usize, secret: usize) -> u64 {
    fold(
        word(data, at) ^ word(&SECRET, secret),
        word(data, at + 8) ^ word(&SECRET, secret + 8),
    )
}

/// The halves of the product, xored.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn avalanche(n: u64) -> u64 {
    let n = (n ^ (n >> 37)).wrapping_mul(PRIME_MX1);
    n ^ (n >> 32)
}

fn join(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// The little-endian word at `at`; the callers stay within the data.
fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use redb::{Database, TableDefinition};

    use super::super::node::Node;
    use super::super::pages::{Pages, Root, Source};
    use crate::store::tests::disk::Disk;

    impl Source for Disk {
        fn len(&self) -> std::io::Result<u64> {
            redb::StorageBackend::len(self)
        }

        fn read_at(&self, at: u64, out: &mut [u8]) -> std::io::Result<()> {
            redb::StorageBackend::read(self, at, out)
        }
    }

    /// Against redb's own checksums, of pages of all lengths up to beyond the first blocks.
    #[test]
    fn it_is_the_checksum_that_redb_uses() {
        const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("meta");
        let disk = Disk::default();
        let database = Database::builder()
            .create_with_backend(disk.clone())
            .unwrap();
        let lengths = (1..260)
            .chain((260..4_000).step_by(61))
            .chain([9_000, 70_000]);
        for len in lengths {
            let row: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            let txn = database.begin_write().unwrap();
            txn.open_table(TABLE)
                .unwrap()
                .insert(1, row.as_slice())
                .unwrap();
            txn.commit().unwrap();
            let mut pages = Pages::new(&disk);
            let mut page = Vec::new();
            let newest = pages
                .slots()
                .into_iter()
                .max_by_key(|slot| slot.transaction)
                .unwrap();
            assert!(newest.is_sound);
            let tables = newest.tables.unwrap().link;
            assert!(pages.read_node(tables, None, &mut page));
            let (_, definition) = Node::parse(&page, None).unwrap().pairs().next().unwrap();
            let root = Root::parse(&definition[10..]).unwrap();
            assert!(
                pages.read_node(root.link, Some(8), &mut page),
                "a row of {len}"
            );
            let (_, read) = Node::parse(&page, Some(8)).unwrap().pairs().next().unwrap();
            assert_eq!(read, row);
        }
    }
}
