//! Which receivers a topic has, and which retained messages a filter has.
//!
//! Both structures only know topics: what a receiver is, and what is done with a match, is the
//! broker's business.

mod cleared;
mod hash;
mod kept;
mod label;
mod node;
mod owners;
mod retained;
mod shared;
mod sorted;
mod subs;
mod tree;
mod trie;

pub use cleared::Cleared;
pub use kept::{Value, key, order};
pub use owners::Owned;
pub use retained::{Retained, Searched};
pub use shared::{Among, Fitness, Groups};
pub(crate) use subs::PackedOptions;
pub use subs::SubOptions;
pub use tree::Tree;
pub use trie::Trie;

#[cfg(test)]
mod tests;
