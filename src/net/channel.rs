//! A connected socket, with or without TLS on it.

use std::io::{IoSlice, Read as _, Write as _};

use socket2::Socket;

use super::progress::{End, Progress};
use super::reactor::Readiness;
use crate::tls::Session;

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Read {
    /// Bytes that came by the wire.
    pub(super) wire: usize,
    /// Bytes for us that they became.
    pub(super) plain: usize,
}

/// A connected socket, with or without TLS on it.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    /// `None` without TLS: all that it costs then.
    tls: Option<Box<Session>>,
}

impl Channel {
    pub(super) fn new(socket: Socket, tls: Option<Box<Session>>) -> Channel {
        Channel { socket, tls }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what is there into `buf`, at most `most` bytes. With TLS it goes by way of `sealed`: half of
    /// that, because the rest of a record that came before may become more than what is read now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn read(
        &mut self,
        (buf, sealed): (&mut [u8], &mut [u8]),
        most: usize,
        ready: &mut Readiness,
    ) -> Result<Option<Read>, End> {
        let (room, most) = match self.tls {
            Some(_) => (&mut *sealed, most / 2),
            None => (&mut *buf, most),
        };
        let room = room.get_mut(..most).unwrap_or_default();
        let asked = room.len();
        let progress = Progress::of(self.socket.read(room));
        if progress.is_short(asked) {
            ready.read_dry();
        }
        let Some(wire) = progress.moved()? else {
            return Ok(None);
        };
        let plain = match &mut self.tls {
            None => wire,
            Some(tls) => tls.open(sealed.get(..wire).unwrap_or_default(), buf)?,
        };
        Ok(Some(Read { wire, plain }))
    }

    /// Writes as much of `parts`, one behind the other, as the kernel takes, or as may lie encrypted until
    /// it does. Returns how many bytes; `None`: nothing now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn write(
        &mut self,
        parts: &[&[u8]],
        ready: &mut Readiness,
    ) -> Result<Option<usize>, End> {
        let Some(tls) = &mut self.tls else {
            let asked = parts.iter().map(|part| part.len()).sum();
            let progress = Progress::of(match parts {
                [part] => self.socket.write(part),
                parts => {
                    let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                    self.socket.write_vectored(&parts)
                }
            });
            ready.writable = !progress.is_short(asked);
            return progress.moved();
        };
        if tls.is_handshaking() {
            return Ok(None);
        }
        let mut taken = 0;
        for part in parts {
            let n = tls.seal(part);
            taken += n;
            if n < part.len() {
                break;
            }
        }
        self.flush(ready)?;
        Ok((taken > 0).then_some(taken))
    }

    /// Writes what is encrypted and what belongs to a handshake, as far as the kernel takes it.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn flush(&mut self, ready: &mut Readiness) -> Result<(), End> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while ready.writable && tls.wants_write() {
            let written = Progress::of(tls.write(&mut self.socket));
            ready.writable = written.moved()?.is_some();
        }
        Ok(())
    }

    /// True if there is something to write that the broker knows nothing of.
    pub(super) fn holds_output(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// The peer is told that nothing more comes, if the kernel takes that at once.
    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            while tls.wants_write() && tls.write(&mut self.socket).is_ok_and(|n| n > 0) {}
        }
    }
}

/// A socket without TLS.
impl From<Socket> for Channel {
    fn from(socket: Socket) -> Channel {
        Channel::new(socket, None)
    }
}
