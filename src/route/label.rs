//! What stands along an edge of the tree: one level or several.

use std::fmt;

/// So many bytes lie in the node itself.
const SHORT: usize = 14;

/// One level, or several with their separators.
pub(super) enum Label {
    /// Its length, and its bytes.
    Short(u8, [u8; SHORT]),
    /// Its length, and its bytes: as large as the smallest block of most allocators.
    Medium(Box<(u8, [u8; 23])>),
    /// As before, one step larger.
    Large(Box<(u8, [u8; 39])>),
    /// Whatever is longer. Boxed twice, as a node is smaller for it.
    Long(Box<Box<[u8]>>),
}

/// `bytes` in room for them, if they fit.
fn within<const N: usize>(bytes: &[u8]) -> Option<(u8, [u8; N])> {
    let mut room = [0; N];
    room.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some((u8::try_from(bytes.len()).ok()?, room))
}

impl Label {
    pub(super) fn new(bytes: &[u8]) -> Label {
        if let Some((len, bytes)) = within(bytes) {
            return Label::Short(len, bytes);
        }
        match (within(bytes), within(bytes)) {
            (Some(medium), _) => Label::Medium(Box::new(medium)),
            (None, Some(large)) => Label::Large(Box::new(large)),
            (None, None) => Label::Long(Box::new(bytes.into())),
        }
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        let (len, bytes) = match self {
            Label::Short(len, bytes) => (len, &bytes[..]),
            Label::Medium(medium) => (&medium.0, &medium.1[..]),
            Label::Large(large) => (&large.0, &large.1[..]),
            Label::Long(bytes) => return bytes,
        };
        bytes.get(..usize::from(*len)).unwrap_or_default()
    }

    /// Bytes on the heap, with what the allocations cost.
    pub(super) fn heap(&self) -> usize {
        match self {
            Label::Short(..) => 0,
            Label::Medium(_) => 32,
            Label::Large(_) => 48,
            Label::Long(bytes) => 32 + bytes.len().next_multiple_of(16) + 16,
        }
    }
}

impl Default for Label {
    fn default() -> Label {
        Label::Short(0, [0; SHORT])
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.bytes()).fmt(f)
    }
}

/// The first level of a filter or of a label.
pub(super) fn first(path: &[u8]) -> &[u8] {
    let end = path.iter().position(|byte| *byte == b'/');
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// True if the first level of `path` is `level`.
#[inline]
pub(super) fn begins(path: &[u8], level: &[u8]) -> bool {
    let ends = path.get(level.len()).is_none_or(|byte| *byte == b'/');
    ends && path.starts_with(level)
}

/// What follows the first `len` bytes of a path, which are whole levels: `None` if nothing does.
#[inline]
pub(super) fn after(path: &[u8], len: usize) -> Option<&[u8]> {
    path.get(len + 1..)
}

/// How many bytes the whole levels take, with which both paths begin. Their first levels are the same.
pub(super) fn shared(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let ends = |path: &[u8]| path.get(same).is_none_or(|byte| *byte == b'/');
    if ends(a) && ends(b) {
        return same;
    }
    let before = a.get(..same).unwrap_or_default();
    before
        .iter()
        .rposition(|byte| *byte == b'/')
        .unwrap_or(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_each_length_comes_back() {
        assert_eq!(size_of::<Label>(), 16);
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len).collect();
            let label = Label::new(&bytes);
            assert_eq!(label.bytes(), bytes);
            assert_eq!(label.heap() == 0, len <= 14);
            assert!(label.heap() == 0 || label.heap() >= bytes.len());
        }
    }

    #[test]
    fn paths_share_whole_levels() {
        for (a, b, same) in [
            ("a", "a", 1),
            ("a/b", "a", 1),
            ("a/bc/d", "a/bc/e", 4),
            ("a/bc", "a/b", 1),
            ("a/", "a/b", 1),
            ("a/", "a/", 2),
            ("a/", "a//b", 2),
            ("", "/b", 0),
            ("/", "//", 1),
        ] {
            assert_eq!(shared(a.as_bytes(), b.as_bytes()), same, "{a} {b}");
            assert_eq!(shared(b.as_bytes(), a.as_bytes()), same, "{b} {a}");
        }
        assert_eq!(after(b"a/", 1), Some(&b""[..]));
        assert_eq!(after(b"a", 1), None);
        assert_eq!(
            (first(b"a/b"), first(b"/b"), first(b"ab")),
            (&b"a"[..], &b""[..], &b"ab"[..])
        );
    }
}
