//! The hashes of the tree's table.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes the hash of a level's name, which peers choose: its key is drawn for each tree, so that they
/// cannot choose names that fall together.
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

    /// The hash of a level.
    #[inline]
    pub(super) fn of(&self, level: &[u8]) -> u64 {
        xxh3_64_with_seed(level, self.key)
    }
}

/// The hash of an edge: of the node that it leads away from, and of its level. All its bits are mixed.
#[inline]
pub(super) fn edge(node: u32, level: u64) -> u64 {
    let product = (level ^ u64::from(node)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
