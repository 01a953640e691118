//! `--watch`: the screen is drawn again and again, in place.

use std::io::{self, IsTerminal};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::cli::process::asked_within;
use crate::cli::{Error, put};

/// Another screen, which leaves what is on the first as it is, without a cursor; and back again.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Prints what `make` makes, every so often until the process is asked to end, of which `ended` tells. What goes wrong then is shown,
/// and it is tried again: a broker that starts anew comes back.
///
/// # Errors
/// It goes wrong the first time, or standard output can't be written.
pub(super) fn run(
    every: Duration,
    ended: &UnixStream,
    make: impl Fn() -> Result<String, Error>,
) -> Result<(), Error> {
    let mut text = make()?;
    let is_terminal = io::stdout().is_terminal();
    let say = |text: &str| put(text).map_err(Error::Write);
    if !is_terminal {
        loop {
            say(&text)?;
            if asked_within(ended, every) {
                return Ok(());
            }
            text = make()?;
        }
    }
    say(ENTER)?;
    let drawn = loop {
        let drawn = say(&in_place(&text));
        if drawn.is_err() || asked_within(ended, every) {
            break drawn;
        }
        text = make().unwrap_or_else(|e| format!("{e}\n"));
    };
    say(LEAVE)?;
    drawn
}

/// The text over what stood there: each line to its end, so that nothing flickers, and nothing below.
fn in_place(text: &str) -> String {
    let mut out = String::from("\x1b[H");
    for line in text.lines() {
        out.push_str(line);
        out.push_str("\x1b[K\r\n");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_over_those_before() {
        assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
    }
}
