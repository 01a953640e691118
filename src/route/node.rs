//! A node of the subscription tree.

use super::label::Label;
use super::subs::Subs;

/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// The children of a node: how many begin with a level that is no wildcard, whether one begins with `+`, and
/// whether one is `#`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Children(u32);

impl Children {
    const SINGLE: u32 = 1 << 31;
    const MULTI: u32 = 1 << 30;

    pub(super) fn has_single(self) -> bool {
        self.0 & Children::SINGLE != 0
    }

    pub(super) fn has_multi(self) -> bool {
        self.0 & Children::MULTI != 0
    }

    pub(super) fn has_named(self) -> bool {
        self.0 & !(Children::SINGLE | Children::MULTI) != 0
    }

    pub(super) fn has(self, level: &[u8]) -> bool {
        match level {
            b"+" => self.has_single(),
            b"#" => self.has_multi(),
            _ => self.has_named(),
        }
    }

    /// There is one more, which begins with `level`.
    pub(super) fn add(&mut self, level: &[u8]) {
        self.0 += Children::one(level);
    }

    /// One that begins with `level` is gone.
    pub(super) fn take(&mut self, level: &[u8]) {
        self.0 -= Children::one(level);
    }

    /// What one that begins with `level` counts for. There are fewer nodes than would reach the two marks.
    fn one(level: &[u8]) -> u32 {
        match level {
            b"+" => Children::SINGLE,
            b"#" => Children::MULTI,
            _ => 1,
        }
    }
}

/// What stands for the levels up to where filters part or one ends.
#[derive(Debug)]
pub(super) struct Node<S> {
    pub(super) subs: Subs<S>,
    pub(super) label: Label,
    pub(super) parent: u32,
    pub(super) children: Children,
}

impl<S> Default for Node<S> {
    fn default() -> Node<S> {
        Node {
            subs: Subs::None,
            label: Label::default(),
            parent: NONE,
            children: Children::default(),
        }
    }
}

impl<S> Node<S> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.subs, Subs::None) && self.children == Children::default()
    }
}
