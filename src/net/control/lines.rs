//! Lines that come in pieces.

/// The longest line, in bytes, without its end.
pub(super) const LONGEST: usize = 64 * 1024;

/// What has come and was not taken yet. Nothing is read while a whole line is there, so it holds little
/// more than one.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buf: Vec<u8>,
    /// No line ends before this byte.
    searched: usize,
    /// Nothing more will come.
    is_over: bool,
}

/// What there is to take.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line that has more than [`LONGEST`] bytes: where the next begins is not to be known.
    TooLong,
    /// Nothing before more has come.
    Nothing,
    /// Nothing will come any more.
    Over,
}

impl Lines {
    /// These bytes have come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The other end has said all: what stands behind the last end of a line is one, too.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// The next line.
    pub(super) fn take(&mut self) -> Taken {
        let unsearched = self.buf.get(self.searched..).unwrap_or_default();
        let found = unsearched.iter().position(|byte| *byte == b'\n');
        let end = found.map_or(self.buf.len(), |at| self.searched + at);
        if end > LONGEST {
            return Taken::TooLong;
        }
        if found.is_some() || self.is_over && end > 0 {
            let mut line: Vec<u8> = self.buf.drain(..self.buf.len().min(end + 1)).collect();
            line.truncate(end);
            self.searched = 0;
            return Taken::Line(line);
        }
        self.searched = end;
        if self.is_over {
            Taken::Over
        } else {
            Taken::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Taken {
        Taken::Line(text.as_bytes().to_vec())
    }

    #[test]
    fn lines_come_in_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(), Taken::Nothing);
        for (piece, first) in [("ab", None), ("c\n\nde\nf", Some("abc"))] {
            lines.push(piece.as_bytes());
            assert_eq!(lines.take(), first.map_or(Taken::Nothing, line));
        }
        assert_eq!(lines.take(), line(""));
        assert_eq!(lines.take(), line("de"));
        assert_eq!(lines.take(), Taken::Nothing);
        lines.push(b"g");
        lines.end();
        assert_eq!(lines.take(), line("fg"), "printf without a line feed");
        assert_eq!(lines.take(), Taken::Over);
    }

    #[test]
    fn a_line_has_a_bound() {
        let longest = "x".repeat(LONGEST);
        let mut lines = Lines::default();
        lines.push(longest.as_bytes());
        assert_eq!(lines.take(), Taken::Nothing);
        lines.push(b"\n");
        assert_eq!(lines.take(), line(&longest));
        for end in ["x", "x\n"] {
            let mut lines = Lines::default();
            lines.push(longest.as_bytes());
            lines.push(end.as_bytes());
            assert_eq!(lines.take(), Taken::TooLong);
        }
    }

    proptest! {
        /// However it is cut.
        #[test]
        fn the_pieces_do_not_matter(text in "[a\n]{0,40}", cuts in prop::collection::vec(1..9_usize, 40)) {
            let (mut lines, mut got, mut unread) = (Lines::default(), Vec::new(), text.as_bytes());
            for cut in cuts {
                let (piece, rest) = unread.split_at(cut.min(unread.len()));
                unread = rest;
                lines.push(piece);
                while let Taken::Line(line) = lines.take() {
                    got.push(String::from_utf8(line).unwrap());
                }
            }
            lines.end();
            while let Taken::Line(line) = lines.take() {
                got.push(String::from_utf8(line).unwrap());
            }
            let wanted: Vec<&str> = text.lines().collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
