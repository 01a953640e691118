//! What goes out behind the head of an answer, a piece at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// What is being sent, and how far it has come.
#[derive(Debug)]
pub(in crate::net) struct Body {
    source: Source,
    at: u64,
    end: u64,
}

#[derive(Debug)]
enum Source {
    /// A file, as long as it was when it was opened.
    File(File),
    /// A part of the program.
    Program(&'static [u8]),
    /// What was made for one answer, of which there may be only so many ([`Permits`]).
    Made { bytes: Vec<u8>, _permit: Permit },
}

impl Body {
    /// The first `len` bytes of a file.
    pub(super) fn of_file(file: File, len: u64) -> Body {
        Body {
            source: Source::File(file),
            at: 0,
            end: len,
        }
    }

    /// A part of the program.
    pub(super) fn of_program(bytes: &'static [u8]) -> Body {
        Body {
            source: Source::Program(bytes),
            at: 0,
            end: bytes.len() as u64,
        }
    }

    /// What was made for one answer.
    pub(super) fn made(bytes: Vec<u8>, permit: Permit) -> Body {
        Body {
            at: 0,
            end: bytes.len() as u64,
            source: Source::Made {
                bytes,
                _permit: permit,
            },
        }
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> u64 {
        self.end - self.at
    }

    /// Reads the next bytes into `buf`; none are left, or the file has become shorter: 0.
    ///
    /// # Errors
    /// As the file system reports them.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left())
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let buf = buf.get_mut(..most).unwrap_or_default();
        let bytes = match &self.source {
            Source::File(file) => return file.read_at(buf, self.at),
            Source::Program(bytes) => bytes,
            Source::Made { bytes, .. } => bytes.as_slice(),
        };
        let from = usize::try_from(self.at).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default();
        buf.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
        Ok(buf.len().min(rest.len()))
    }

    /// `n` of the bytes were sent.
    pub(crate) fn advance(&mut self, n: usize) {
        self.at = (self.at + n as u64).min(self.end);
    }
}

/// How many answers may be held in RAM at a time: peers that ask and do not read fill no memory.
const MADE: usize = 8;

/// Who may have an answer made.
#[derive(Debug, Default)]
pub(in crate::net) struct Permits(Rc<()>);

/// Leave to hold one answer in RAM, for as long as it is kept.
#[derive(Debug)]
pub(in crate::net) struct Permit(#[expect(dead_code, reason = "it counts while it lives")] Rc<()>);

impl Permits {
    /// Leave for one more; `None` while there are as many as may be.
    pub(in crate::net) fn next(&self) -> Option<Permit> {
        (Rc::strong_count(&self.0) <= MADE).then(|| Permit(Rc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_out_in_pieces() {
        let permits = Permits::default();
        for mut body in [
            Body::of_program(b"abcdefg"),
            Body::made(b"abcdefg".to_vec(), permits.next().unwrap()),
        ] {
            let (mut buf, mut all) = ([0; 3], Vec::new());
            while body.left() > 0 {
                let n = body.read(&mut buf).unwrap();
                // The kernel takes less.
                let taken = n.min(2);
                all.extend_from_slice(&buf[..taken]);
                body.advance(taken);
            }
            assert_eq!(all, b"abcdefg");
            assert_eq!(body.read(&mut buf).unwrap(), 0);
        }
    }

    #[test]
    fn only_so_many_answers_are_held() {
        let permits = Permits::default();
        let mut held: Vec<Permit> = (0..MADE).filter_map(|_| permits.next()).collect();
        assert_eq!(held.len(), MADE);
        assert!(permits.next().is_none());
        held.pop();
        assert!(permits.next().is_some());
    }
}
