//! A connected socket, with or without TLS on it.

mod handshakes;
mod listeners;
mod low_water;
#[cfg(all(test, feature = "tls"))]
mod tests;
mod untaken;

use std::io::{IoSlice, Read as _, Write as _};

use socket2::Socket;

use super::progress::{End, Progress};
use super::reactor::Readiness;
use crate::held::{self, Charge};
use crate::tls::Session;

pub use handshakes::{Handshakes, Stepped};
pub(super) use handshakes::{Part, Step, Whose};
pub(super) use listeners::ListenersTls;

/// What is read of a handshake at a time, in bytes, and what a handshake may be long: those with a chain of
/// certificates and a client's own have some 5 KB.
const STEP: usize = 4 * 1024;
const LONGEST: usize = 32 * 1024;
/// What may come after it that is for nobody: the largest record has 16,645 bytes (RFC 8446, section 5.2).
const MOST_WITHOUT_PLAIN: usize = 20 * 1024;

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
    /// Bytes read from and written to the socket since somebody asked last.
    moved: u32,
    /// `None` without TLS: all that it costs then.
    tls: Option<Box<Secured>>,
}

/// TLS of a connection.
#[derive(Debug)]
struct Secured {
    /// `None` while the thread that shakes hands has it.
    session: Option<Box<Session>>,
    /// Bytes of the handshake that have come, and in how many parts.
    shaken: usize,
    steps: u32,
    /// What has come since, and lies there because its record is not whole, in bytes.
    unopened: usize,
    /// What is encrypted and may not be written yet, in bytes.
    unsent: usize,
    /// What it takes in memory.
    charge: Charge<{ held::TLS }>,
}

impl Secured {
    fn new(session: Box<Session>) -> Secured {
        let mut secured = Secured {
            session: Some(session),
            shaken: 0,
            steps: 0,
            unopened: 0,
            unsent: 0,
            charge: Charge::default(),
        };
        secured.charge();
        secured
    }

    /// Counts what it takes: what has come of a handshake lies there until it is done.
    fn charge(&mut self) {
        if !self
            .session
            .as_ref()
            .is_some_and(|session| session.wants_write())
        {
            self.unsent = 0;
        }
        let lies_there = self.shaken + self.unopened + self.unsent;
        self.charge.set(held::TLS_SESSION + lies_there);
    }

    /// The session, once hands are shaken.
    fn open(&mut self) -> Option<&mut Session> {
        let session = self.session.as_deref_mut();
        session.filter(|session| !session.is_handshaking())
    }
}

impl Channel {
    pub(super) fn new(socket: Socket, tls: Option<Box<Session>>) -> Channel {
        let tls = tls.map(|session| Box::new(Secured::new(session)));
        Channel {
            socket,
            moved: 0,
            tls,
        }
    }

    /// How many bytes were read from and written to the socket since this was asked for last. It is asked
    /// for the upstreams of bridges, each turn; for others it stays at its most.
    pub(super) fn take_moved(&mut self) -> u32 {
        std::mem::take(&mut self.moved)
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// From now on the system tells that something can be read once it is `bytes`. Where it can't, it tells
    /// of each.
    pub(super) fn wake_at(&self, bytes: usize) {
        // What was read early was only read by itself.
        let _ = low_water::set(&self.socket, bytes);
    }

    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The session of TLS, unless there is none or it is away.
    pub(super) fn session(&self) -> Option<&Session> {
        self.tls.as_ref()?.session.as_deref()
    }

    /// True if the peer has begun to shake hands, and that is not done.
    pub(super) fn is_half_shaken(&self) -> bool {
        self.is_handshaking() && self.tls.as_ref().is_some_and(|tls| tls.shaken > 0)
    }

    /// True if a part of the handshake went to the thread that shakes hands before the last one.
    pub(super) fn has_begun_handshake(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.steps > 1)
    }

    /// True while the thread that shakes hands has the session.
    pub(super) fn is_away(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.session.is_none())
    }

    /// True until hands are shaken.
    pub(super) fn is_handshaking(&self) -> bool {
        let session = |tls: &Secured| tls.session.as_ref().is_none_or(|s| s.is_handshaking());
        self.tls.as_deref().is_some_and(session)
    }

    /// Reads a part of the handshake: the session that is to take it goes with it. `None`: nothing came, or
    /// an earlier part is still under way.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn read_handshake(
        &mut self,
        buf: &mut [u8],
        ready: &mut Readiness,
    ) -> Result<Option<Part>, End> {
        let tls = self.tls.as_mut().filter(|tls| tls.session.is_some());
        let Some(tls) = tls else { return Ok(None) };
        let room = buf.get_mut(..STEP).unwrap_or_default();
        let progress = Progress::of(self.socket.read(room));
        if progress.is_short(STEP) {
            ready.read_dry();
        }
        let Some(came) = progress.moved()? else {
            return Ok(None);
        };
        tls.shaken += came;
        tls.steps += 1;
        if tls.shaken > LONGEST {
            return Err(End::BadTls("a handshake of more than 32 KB"));
        }
        tls.charge();
        let sealed = room.get(..came).unwrap_or_default().into();
        Ok(tls.session.take().map(|session| Part { session, sealed }))
    }

    /// The session comes back from the thread that shakes hands.
    pub(super) fn give_back(&mut self, session: Box<Session>) {
        let Some(tls) = &mut self.tls else {
            crate::impossible!("a session of TLS comes to a connection without");
            return;
        };
        if !session.is_handshaking() {
            tls.shaken = 0;
        }
        tls.session = Some(session);
        tls.charge();
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
        let Some(tls) = &mut self.tls else {
            let room = buf.get_mut(..most).unwrap_or_default();
            let wire = read(&self.socket, room, ready)?;
            self.moved = count(self.moved, wire);
            return Ok(wire.map(|wire| Read { wire, plain: wire }));
        };
        let Some(session) = tls.open() else {
            return Ok(None);
        };
        // What came with the end of the handshake.
        let early = session.open(&[], buf)?;
        if early > 0 {
            return Ok(Some(Read {
                wire: 0,
                plain: early,
            }));
        }
        if session.has_ended() {
            // [RFC 8446, section 6.1] What the peer waits for, where it is well-behaved.
            self.close();
            return Err(End::Eof);
        }
        let room = sealed.get_mut(..most / 2).unwrap_or_default();
        let Some(wire) = read(&self.socket, room, ready)? else {
            return Ok(None);
        };
        self.moved = count(self.moved, Some(wire));
        let plain = session.open(sealed.get(..wire).unwrap_or_default(), buf)?;
        // The end comes behind what was before it.
        ready.readable |= session.has_ended();
        tls.unopened = match plain {
            0 => tls.unopened + wire,
            plain => wire.saturating_sub(plain),
        };
        if tls.unopened > MOST_WITHOUT_PLAIN {
            return Err(End::BadTls("more than a record for nobody"));
        }
        tls.charge();
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
            let written = progress.moved()?;
            self.moved = count(self.moved, written);
            return Ok(written);
        };
        let Some(session) = tls.open() else {
            return Ok(None);
        };
        let mut taken = 0;
        for part in parts {
            let n = session.seal(part);
            taken += n;
            if n < part.len() {
                break;
            }
        }
        tls.unsent += taken;
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
        let Some(session) = &mut tls.session else {
            return Ok(());
        };
        while ready.writable && session.wants_write() {
            let written = Progress::of(session.write(&mut self.socket)).moved()?;
            ready.writable = written.is_some();
            self.moved = count(self.moved, written);
            tls.unsent = tls.unsent.saturating_sub(written.unwrap_or_default());
        }
        tls.charge();
        Ok(())
    }

    /// True if there is something to write that the broker knows nothing of.
    pub(super) fn holds_output(&self) -> bool {
        self.session().is_some_and(Session::wants_write)
    }

    /// How many bytes of what was written the peer's TCP has not acknowledged, as far as the kernel
    /// says: with those that wait here encrypted.
    pub(super) fn untaken(&self) -> u64 {
        let here = self.tls.as_ref().map_or(0, |tls| tls.unsent);
        untaken::untaken(&self.socket).unwrap_or(0) + here as u64
    }

    /// The peer is told that nothing more comes, if the kernel takes that at once.
    pub(super) fn close(&mut self) {
        let session = self.tls.as_mut().and_then(|tls| tls.session.as_mut());
        if let Some(session) = session {
            session.close();
            while session.wants_write()
                && let Ok(n @ 1..) = session.write(&mut self.socket)
            {
                self.moved = count(self.moved, Some(n));
            }
        }
    }
}

/// What was moved before, and `more` bytes.
fn count(moved: u32, more: Option<usize>) -> u32 {
    let more = u32::try_from(more.unwrap_or_default());
    moved.saturating_add(more.unwrap_or(u32::MAX))
}

/// Reads what is there into `room`.
fn read(mut socket: &Socket, room: &mut [u8], ready: &mut Readiness) -> Result<Option<usize>, End> {
    let progress = Progress::of(socket.read(room));
    if progress.is_short(room.len()) {
        ready.read_dry();
    }
    progress.moved()
}

/// A socket without TLS.
impl From<Socket> for Channel {
    fn from(socket: Socket) -> Channel {
        Channel::new(socket, None)
    }
}
