//! How a line of a script says bytes.
//!
//! Raw: `10 [ "MQTT" 04 02 003c "c" ]`. Hex digits are bytes, `"text"` has its length in two bytes
//! before it, `'text'` has not, `[ … ]` has its length as a variable byte integer before it, `??`
//! is a byte of any value. Both texts may be repeated: `"ab"*9`.
//!
//! Symbolic: `PUBLISH a/b "pay load" qos=1 id=7 {user=k:v}`, see [`super::packet`].

use super::pattern::Pattern;

/// One word of a line, its quotes removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    Plain(String),
    Open,
    Close,
}

/// Splits a symbolic line at spaces outside of quotes; `{` and `}` are words of their own.
pub(crate) fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if quoted => word.get_or_insert_default().push(c),
            ' ' | '{' | '}' => {
                found.extend(word.take().map(Word::Plain));
                match c {
                    '{' => found.push(Word::Open),
                    '}' => found.push(Word::Close),
                    _ => {}
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    found.extend(word.map(Word::Plain));
    if quoted {
        return Err(format!("an open quote in {line}"));
    }
    Ok(found)
}

/// A text that may be repeated: `ab*3` is `ababab`.
pub(crate) fn text(word: &str) -> Vec<u8> {
    if let Some((text, count)) = word.rsplit_once('*')
        && let Ok(count) = count.parse()
    {
        return text.repeat(count).into_bytes();
    }
    word.as_bytes().to_vec()
}

/// A number, decimal or `0x` and hex.
pub(crate) fn number(word: &str) -> Result<u32, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("{word} is not a number"))
}

/// Reads the raw notation.
pub(crate) fn raw(line: &str) -> Result<Pattern, String> {
    let mut stack = vec![Pattern::default()];
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let top = stack.last_mut().expect("never empty");
        let used = match first {
            '[' => {
                stack.push(Pattern::default());
                1
            }
            ']' => {
                let inner = stack.pop().expect("never empty");
                stack.last_mut().ok_or("a ] too many")?.sized(inner);
                1
            }
            '"' | '\'' => {
                let len = rest[1..].find(first).ok_or("an open quote")?;
                let (used, bytes) = repeated(&rest[1..1 + len], &rest[len + 2..])?;
                match first {
                    '"' => top.string(&bytes)?,
                    _ => top.bytes(&bytes),
                }
                len + 2 + used
            }
            _ => {
                let digits = rest.split(' ').next().unwrap_or_default();
                put_hex(digits, top)?;
                digits.len()
            }
        };
        rest = rest[used..].trim_start();
    }
    match stack.len() {
        1 => Ok(stack.remove(0)),
        _ => Err("a [ is open".to_owned()),
    }
}

/// A text and the `*N` that may follow it: the bytes, and how long the `*N` is.
fn repeated(text: &str, rest: &str) -> Result<(usize, Vec<u8>), String> {
    let Some(count) = rest.strip_prefix('*') else {
        return Ok((0, text.as_bytes().to_vec()));
    };
    let count = count.split(' ').next().unwrap_or_default();
    let times = number(count)? as usize;
    Ok((1 + count.len(), text.repeat(times).into_bytes()))
}

fn put_hex(digits: &str, out: &mut Pattern) -> Result<(), String> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return Err(format!("{digits} is not bytes in hex"));
    }
    for at in (0..digits.len()).step_by(2) {
        match &digits[at..at + 2] {
            "??" => out.any(1),
            pair => {
                let byte = u8::from_str_radix(pair, 16);
                out.bytes(&[byte.map_err(|_| format!("{digits} is not bytes in hex"))?]);
            }
        }
    }
    Ok(())
}

#[test]
fn raw_lines_compute_lengths() {
    let bytes = |line| raw(line).and_then(|p| p.concrete().ok_or("a wildcard".to_owned()));
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01c";
    assert_eq!(bytes(r#"10 [ "MQTT" 04 02 003c "c" ]"#).unwrap(), connect);
    assert_eq!(bytes("30 [ 'ab'*100 ]").unwrap().len(), 203);
    assert_eq!(bytes(r#"[] "" ''"#).unwrap(), [0, 0, 0]);
    for wrong in ["[", "]", "1", "xx", "\"", "'a'*b", "é"] {
        assert!(raw(wrong).is_err(), "{wrong}");
    }
    assert!(raw("?? 01").unwrap().matches(&[7, 1]));
}

#[test]
fn quotes_keep_spaces_and_empty_words() {
    let plain = |text: &str| Word::Plain(text.to_owned());
    let found = words(r#"A "b c" "" k="v w" will{x=1}"#).unwrap();
    let mut wanted = ["A", "b c", "", "k=v w", "will"].map(plain).to_vec();
    wanted.extend([Word::Open, plain("x=1"), Word::Close]);
    assert_eq!(found, wanted);
    assert!(words("\"a").is_err());
}
