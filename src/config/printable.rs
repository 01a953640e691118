//! Text of others in a line for people: in the log, on a terminal.

use std::borrow::Cow;

/// `text` on one line and without what would change how the rest of it is shown: control
/// characters, the line separators of Unicode and its marks for the direction of writing are
/// written as Rust escapes, such as `\n` and `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_ascii = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if is_ascii || !text.chars().any(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_escaped(c: char) -> bool {
    let directs = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || directs || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, expected) in [
            ("a/b c \\ ~", "a/b c \\ ~"),
            ("Zähler 1 \u{1f321}", "Zähler 1 \u{1f321}"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[2J\u{7f}\u{85}", r"\u{1b}[2J\u{7f}\u{85}"),
            (
                "x\u{2028}y\u{202e}z\u{2066}",
                r"x\u{2028}y\u{202e}z\u{2066}",
            ),
            ("\u{feff}\u{200f}", r"\u{feff}\u{200f}"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert!(matches!(printable("Zähler"), Cow::Borrowed(_)));
    }
}
