//! The hashes of the tree's tables.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes the hash of a level's name, which peers choose: its key is drawn at each start, so that they
/// cannot choose names that fall together. A third of the work of std's hash, which was a tenth of
/// all work for a message.
#[derive(Clone, Debug)]
pub(super) struct LevelHash {
    key: u64,
}

impl LevelHash {
    pub(super) fn new() -> LevelHash {
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
pub(super) struct LevelHasher(u64);

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
pub(super) struct EdgeHasher(u64);

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
