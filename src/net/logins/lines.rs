//! Lines to and from another program, over a socket that does not block.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use zeroize::Zeroizing;

/// A line that comes has so many bytes at most.
pub(super) const LONGEST: usize = 64 * 1024;

/// Why no more lines come.
#[derive(Debug)]
pub(super) enum Lost {
    /// The other end has closed the connection.
    Closed,
    /// A line is longer than [`LONGEST`].
    TooLong,
    /// The system says so.
    Io(io::Error),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        Lost::Io(error)
    }
}

/// Takes what has come, for about 64 KB at a time, and calls `take` for each whole line, until it says
/// false. `buf` holds what is left.
pub(super) fn read(
    socket: &mut impl Read,
    buf: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]) -> bool,
) -> Result<(), Lost> {
    let mut chunk = [0; 4096];
    for _ in 0..LONGEST / chunk.len() {
        let n = match socket.read(&mut chunk) {
            Ok(0) => return Err(Lost::Closed),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut unread = chunk.get(..n).unwrap_or_default();
        while let Some(at) = unread.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = unread.split_at(at);
            unread = rest.get(1..).unwrap_or_default();
            buf.extend_from_slice(line);
            let is_too_long = buf.len() > LONGEST;
            let goes_on = !is_too_long && take(buf);
            buf.clear();
            match (is_too_long, goes_on) {
                (true, _) => return Err(Lost::TooLong),
                (_, false) => return Ok(()),
                _ => {}
            }
        }
        buf.extend_from_slice(unread);
        if buf.len() > LONGEST {
            return Err(Lost::TooLong);
        }
    }
    Ok(())
}

/// Lines that are to be written, each of which is gone from memory when it is.
#[derive(Default)]
pub(super) struct Unsent {
    lines: VecDeque<(u64, Zeroizing<String>)>,
    /// So many bytes of the first are written.
    written: usize,
}

impl Unsent {
    pub(super) fn push(&mut self, id: u64, line: Zeroizing<String>) {
        self.lines.push_back((id, line));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A line need not be written, unless it is in part.
    pub(super) fn take_back(&mut self, id: u64) {
        let begun = self.lines.front().filter(|_| self.written > 0);
        let begun = begun.map(|(id, _)| *id);
        self.lines
            .retain(|(other, _)| *other != id || begun == Some(id));
    }

    /// Writes as much as goes.
    pub(super) fn write(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while let Some((_, line)) = self.lines.front() {
            let unsent = line.as_bytes().get(self.written..).unwrap_or_default();
            match socket.write(unsent) {
                Ok(n) if n < unsent.len() => self.written += n,
                Ok(_) => {
                    self.lines.pop_front();
                    self.written = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes, a piece at each read, and then nothing yet.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
            buf[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn pieces(all: &[&[u8]]) -> Pieces {
        Pieces(all.iter().map(|piece| piece.to_vec()).collect())
    }

    #[test]
    fn lines_come_in_pieces() {
        let (mut buf, mut got) = (Vec::new(), Vec::new());
        let mut from = pieces(&[b"ab", b"c\n\nde\nf", b"g", b"\nh"]);
        read(&mut from, &mut buf, |line| {
            got.push(line.to_vec());
            true
        })
        .unwrap();
        assert_eq!(got, [&b"abc"[..], b"", b"de", b"fg"]);
        assert_eq!(buf, b"h");
        let closed = read(&mut pieces(&[b""]), &mut buf, |_| true);
        assert!(matches!(closed, Err(Lost::Closed)));
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut buf = Vec::new();
        let longest = vec![b'x'; LONGEST];
        let chunks: Vec<&[u8]> = longest.chunks(4096).collect();
        read(&mut pieces(&chunks), &mut buf, |_| true).unwrap();
        assert_eq!(buf.len(), LONGEST);
        let mut whole = 0;
        read(&mut pieces(&[b"\n"]), &mut buf, |line| {
            whole = line.len();
            true
        })
        .unwrap();
        assert_eq!(whole, LONGEST);
        for end in [&b"x"[..], b"x\n"] {
            let mut buf = longest.clone();
            let lost = read(&mut pieces(&[end]), &mut buf, |_| panic!("a whole line"));
            assert!(matches!(lost, Err(Lost::TooLong)));
        }
    }

    /// Takes so many bytes, and then no more.
    struct Narrow(Vec<u8>, usize);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(self.1).min(3);
            self.1 -= n;
            self.0.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_in_part_is_written_whole() {
        let mut unsent = Unsent::default();
        for id in 0..3 {
            unsent.push(id, Zeroizing::new(format!("line {id}\n")));
        }
        let mut socket = Narrow(Vec::new(), 4);
        unsent.write(&mut socket).unwrap();
        unsent.take_back(0);
        unsent.take_back(1);
        socket.1 = 100;
        unsent.write(&mut socket).unwrap();
        assert_eq!(socket.0, b"line 0\nline 2\n");
        assert!(unsent.is_empty());
    }
}
