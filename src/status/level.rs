//! Names that clients and the configuration choose, as levels of the topics below `$SYS`.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::mqtt::check_string;

/// The most bytes that a name takes in a topic. A client id may have 65,535, and three times that
/// once it is escaped: with anything around it, no topic.
const MAX_LEN: usize = 1024;

/// Bytes of the hash that ends a name that was cut. Nobody finds two names with the same 16 bytes
/// of SHA-256.
const HASH_LEN: usize = 16;

/// What stands before the hash: no escape, so no other name can have it.
const HASH_MARK: &str = "%-";

/// `name` as one level of a topic: what means something in topics, or must not be in one, is
/// written as in URLs. A name that takes more than [`MAX_LEN`] bytes then is cut, and ends in
/// `%-` and a part of the SHA-256 of the whole name: different names have different levels.
pub(super) fn level(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len().min(MAX_LEN));
    let mut cut_at = 0;
    for c in name.chars() {
        put(c, &mut escaped);
        if escaped.len() <= MAX_LEN - HASH_MARK.len() - 2 * HASH_LEN {
            cut_at = escaped.len();
        } else if escaped.len() > MAX_LEN {
            escaped.truncate(cut_at);
            escaped.push_str(HASH_MARK);
            for byte in Sha256::digest(name).iter().take(HASH_LEN) {
                hex(*byte, &mut escaped);
            }
            break;
        }
    }
    escaped
}

/// Appends `c`, or its escapes.
fn put(c: char, out: &mut String) {
    let mut bytes = [0; 4];
    let text = c.encode_utf8(&mut bytes);
    if !matches!(c, '/' | '+' | '#' | '%') && check_string(text).is_ok() {
        return out.push(c);
    }
    for byte in text.bytes() {
        out.push('%');
        hex(byte, out);
    }
}

fn hex(byte: u8, out: &mut String) {
    // A String takes everything.
    let _ = write!(out, "{byte:02X}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::mqtt::TopicName;

    #[test]
    fn names_stay_one_level() {
        assert_eq!(level("gw-1.cloud"), "gw-1.cloud");
        assert_eq!(level("$a/b+c#d%e"), "$a%2Fb%2Bc%23d%25e");
        assert_eq!(level("a\0b\u{85}c"), "a%00b%C2%85c");
        assert_eq!(level("ä\u{1f321}"), "ä\u{1f321}");
    }

    /// Names of any length and of any characters make topics, and different ones different topics.
    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let mut seen = HashSet::new();
        for character in ["x", "+", "ä", "%", "\u{1f321}", "\u{ffff}"] {
            for len in [
                1, 300, 341, 342, 1023, 1024, 1025, 21_845, 65_509, 65_535, 65_536,
            ] {
                for end in ["a", "b"] {
                    let mut name = character.repeat((len - 1) / character.len());
                    name += &"-".repeat(len - 1 - name.len());
                    name += end;
                    assert_eq!(name.len(), len);
                    let level = level(&name);
                    let topic = format!("$SYS/broker/client/{level}/dropped");
                    assert!(TopicName::new(&topic).is_ok(), "{topic}");
                    assert_eq!(topic.split('/').count(), 5);
                    assert!(level.len() <= MAX_LEN, "{}", level.len());
                    assert!(seen.insert(level) || len == 1, "{len} {character}");
                }
            }
        }
    }

    #[test]
    fn what_was_cut_says_so() {
        let id = "x".repeat(MAX_LEN);
        assert_eq!(level(&id), id);
        let cut = level(&"x".repeat(65_535));
        let (start, hash) = cut.split_once("%-").unwrap();
        assert_eq!((start.len(), hash.len(), cut.len()), (990, 32, MAX_LEN));
        assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        // A name that looks like it is another name, and stays whole.
        assert!(level(&cut).ends_with(&format!("%25-{hash}")) || level(&cut).contains("%-"));
        assert_ne!(level(&cut), cut);
        // No escape is cut in two.
        let plus = level(&"+".repeat(1000));
        let (start, _) = plus.split_once("%-").unwrap();
        assert_eq!(start, "%2B".repeat(330));
    }
}
