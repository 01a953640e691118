//! What waits to be written to one connection.

use std::collections::VecDeque;
use std::rc::Rc;

use super::buffers::Buffers;
use crate::impossible;
use crate::message::Message;

/// Encoded packets for one peer, gathered over a turn and written at its end. Large payloads are
/// not copied: they lie beside, and stand at their place in the stream.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: u32,
    /// `None` most of the time.
    payloads: Option<Box<Payloads>>,
    /// Close the connection once everything is written.
    pub close: bool,
    /// The last write was not taken whole: the peer reads slowly, or not at all.
    pub is_blocked: bool,
}

/// Payloads that stand between the bytes of an outbox.
#[derive(Debug, Default)]
struct Payloads {
    queue: VecDeque<Payload>,
    /// What is left of them, in bytes.
    left: usize,
}

#[derive(Debug)]
struct Payload {
    /// Its place: before the byte with this index.
    at: usize,
    message: Rc<Message>,
    written: usize,
}

impl Payload {
    fn pending(&self) -> &[u8] {
        self.message
            .payload()
            .get(self.written..)
            .unwrap_or_default()
    }
}

impl Outbox {
    /// The next bytes to be written, as far as they lie together; empty only if there are none.
    pub fn pending(&self) -> &[u8] {
        let written = self.written as usize;
        let first = self.payloads.as_ref().and_then(|p| p.queue.front());
        match first {
            Some(payload) if payload.at == written => payload.pending(),
            Some(payload) => self.bytes.get(written..payload.at).unwrap_or_default(),
            None => self.bytes.get(written..).unwrap_or_default(),
        }
    }

    /// How many bytes are still to be written.
    pub fn len(&self) -> usize {
        let payloads = self.payloads.as_ref().map_or(0, |p| p.left);
        self.bytes.len() - self.written as usize + payloads
    }

    /// What its buffer takes, in bytes: not the payloads that lie beside.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// True if everything was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n` bytes of [`Outbox::pending`] were written.
    pub fn advance(&mut self, n: usize) {
        let written = self.written as usize;
        match &mut self.payloads {
            Some(payloads) if payloads.queue.front().is_some_and(|p| p.at == written) => {
                payloads.advance(n);
                if payloads.queue.is_empty() {
                    self.payloads = None;
                }
            }
            // An outbox stays far below 4 GB: OUTBOX_LIMIT and one packet.
            _ => {
                let written = (written + n).min(self.bytes.len());
                self.written = u32::try_from(written).unwrap_or_else(|_| {
                    impossible!("an outbox of {written} bytes");
                    u32::MAX
                });
            }
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
        self.payloads = None;
        self.is_blocked = false;
    }

    /// Where packets are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        // A slow reader must not make the written part grow for ever.
        let written = self.written as usize;
        if written > 64 * 1024 {
            self.bytes.drain(..written);
            self.written = 0;
            for payload in self.payloads.iter_mut().flat_map(|p| &mut p.queue) {
                payload.at -= written;
            }
        }
        &mut self.bytes
    }

    /// The payload of `message`, which is not empty, follows what is there.
    pub(super) fn push_payload(&mut self, message: Rc<Message>) {
        let payloads = self.payloads.get_or_insert_default();
        payloads.left += message.payload().len();
        payloads.queue.push_back(Payload {
            at: self.bytes.len(),
            message,
            written: 0,
        });
    }

    /// Takes the buffer of an empty outbox, so that an idle connection owns none.
    pub(super) fn take_spare(&mut self) -> Option<Vec<u8>> {
        let idle = self.is_empty() && self.bytes.capacity() > 0;
        idle.then(|| std::mem::take(&mut self.bytes))
    }

    /// Gives the outbox a buffer to fill, if it has none.
    pub(super) fn lend(&mut self, buffers: &mut Buffers) {
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
    }
}

impl Payloads {
    fn advance(&mut self, n: usize) {
        let Some(first) = self.queue.front_mut() else {
            return;
        };
        let n = n.min(first.pending().len());
        first.written += n;
        self.left -= n;
        if first.pending().is_empty() {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Origin, Parts};
    use crate::time::Time;

    fn message(payload: &[u8]) -> Rc<Message> {
        let parts = Parts {
            topic: "t",
            props: &[],
            payload,
        };
        Rc::new(Message::new(parts, Time::ZERO, Rc::new(Origin::default())).unwrap())
    }

    /// Writes everything, at most `step` bytes at a time, with `more` to append on the way.
    fn drain(outbox: &mut Outbox, step: usize, mut more: impl FnMut(&mut Outbox)) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let bytes = outbox.pending();
            let n = bytes.len().min(step);
            assert!(n > 0);
            out.extend_from_slice(&bytes[..n]);
            outbox.advance(n);
            more(outbox);
        }
        assert_eq!((outbox.len(), outbox.pending()), (0, &[][..]));
        out
    }

    #[test]
    fn payloads_stand_at_their_place() {
        for step in [1, 2, 3, 100] {
            let mut outbox = Outbox::default();
            outbox.buffer().extend_from_slice(b"ab");
            outbox.push_payload(message(b"LARGE"));
            outbox.push_payload(message(b"TWICE"));
            outbox.buffer().extend_from_slice(b"cd");
            outbox.push_payload(message(b"LAST"));
            assert_eq!(outbox.len(), 18);
            assert_eq!(drain(&mut outbox, step, |_| {}), b"abLARGETWICEcdLAST");
        }
    }

    #[test]
    fn what_is_written_goes_while_more_comes() {
        let mut outbox = Outbox::default();
        let block = [b'x'; 10_000];
        let large = message(&[b'L'; 30_000]);
        let mut expected = Vec::new();
        let mut rounds = 0;
        let mut append = |outbox: &mut Outbox| {
            rounds += 1;
            if rounds < 300 && outbox.len() < 200_000 {
                outbox.buffer().extend_from_slice(&block);
                outbox.push_payload(Rc::clone(&large));
                expected.extend_from_slice(&block);
                expected.extend_from_slice(large.payload());
            }
        };
        append(&mut outbox);
        let out = drain(&mut outbox, 25_000, &mut append);
        assert!(out == expected, "{} bytes of {}", out.len(), expected.len());
        assert!(outbox.bytes.capacity() < 300_000, "the written part goes");
        assert_eq!(Rc::strong_count(&large), 1, "payloads are let go");
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<Outbox>() <= 40);
    }
}
