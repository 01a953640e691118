//! What waits to be written to one connection.

/// Encoded packets for one peer, gathered over a turn and written at its end.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    written: u32,
    /// Close the connection once everything is written.
    pub close: bool,
}

impl Outbox {
    /// The bytes still to be written.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.written as usize..]
    }

    /// How many bytes are still to be written.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written as usize
    }

    /// True if everything was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n` bytes were written.
    pub fn advance(&mut self, n: usize) {
        let written = (self.written as usize + n).min(self.bytes.len());
        // An outbox stays far below 4 GB: OUTBOX_LIMIT and one packet.
        self.written = written as u32;
        if written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Where packets are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        // A slow reader must not make the written part grow for ever.
        if self.written > 64 * 1024 {
            self.bytes.drain(..self.written as usize);
            self.written = 0;
        }
        &mut self.bytes
    }

    /// Takes the buffer of an empty outbox, so that an idle connection owns none.
    pub(super) fn take_spare(&mut self) -> Option<Vec<u8>> {
        let idle = self.is_empty() && self.bytes.capacity() > 0;
        idle.then(|| std::mem::take(&mut self.bytes))
    }

    /// Gives the outbox a buffer to fill, if it has none.
    pub(super) fn lend(&mut self, spare: &mut Vec<Vec<u8>>) {
        if self.bytes.capacity() == 0
            && let Some(buffer) = spare.pop()
        {
            self.bytes = buffer;
        }
    }
}
