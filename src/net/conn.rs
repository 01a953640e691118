//! One connection: reading, decoding, writing.
//!
//! An idle connection owns its socket and a small place in the tables; a buffer only while half a
//! packet lies in it. It has no task: the turn (`turn`) drives those that are ready.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpStream};

use super::hub::Hub;
use super::reactor::Readiness;
use super::stream::Progress;
use crate::broker::ConnId;
use crate::mqtt;
use crate::time::Time;

/// Half packets up to this size move to the front of the shared buffer, so that one read and one
/// decode see them whole; larger ones grow where they are.
const SMALL: usize = 16 * 1024;

/// Bytes of half packets, of all connections but one, beyond which larger ones are refused.
const PARTIAL_BYTES: usize = 64 << 20;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The broker wanted it closed.
    Asked,
    /// The peer closed it.
    Eof,
    /// The socket failed.
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Asked => f.write_str("closed by the broker"),
            End::Eof => f.write_str("connection closed by the peer"),
            End::Failed(e) => e.fmt(f),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A client: its packets go to the broker.
    Device,
    /// The upstream of this bridge: its packets go to the link first.
    Upstream(u32),
}

/// A connection's socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Conn {
    socket: TcpStream,
    pub(super) role: Role,
    /// Read but not yet decoded: half a packet, or all that came while the broker asked to wait.
    partial: Vec<u8>,
    ready: Readiness,
    /// In the list of connections to drive.
    queued: bool,
    /// Not to be read until the broker lets it go on.
    held: bool,
}

impl Conn {
    pub(super) fn new(socket: TcpStream, role: Role, partial: Vec<u8>) -> Conn {
        Conn {
            socket,
            // What was read already is decoded before the next read, as if it had been held.
            held: !partial.is_empty(),
            partial,
            role,
            // A first write finds room, or finds out.
            ready: Readiness {
                writable: true,
                ..Readiness::default()
            },
            queued: false,
        }
    }

    /// Reads what is there into `buf`, which is not empty.
    fn read(&mut self, buf: &mut [u8]) -> Progress {
        let progress = Progress::of(self.socket.read(buf));
        if progress.is_short(buf.len()) {
            self.ready.read_dry();
        }
        progress
    }

    /// Writes as much of `bytes`, which are not empty, as the kernel takes.
    fn write(&mut self, bytes: &[u8]) -> Progress {
        let progress = Progress::of(self.socket.write(bytes));
        self.ready.writable = !progress.is_short(bytes.len());
        progress
    }

    /// Ends the sending side, so that the peer reads what was written and then the end. A socket
    /// that is closed with input unread sends a reset instead, which may overtake the last packet;
    /// so what has arrived is read into `scratch` and thrown away.
    pub(super) fn finish(&mut self, scratch: &mut [u8]) {
        // An error means that the connection is gone already.
        let _ = self.socket.shutdown(Shutdown::Write);
        let _ = self.socket.read(scratch);
    }
}

impl Hub {
    /// Takes in what more can be done with the connection's socket.
    pub(super) fn changed(&mut self, id: ConnId, more: Readiness) {
        let Some(conn) = self.conn(id) else {
            return;
        };
        let unblocked = more.writable && !conn.ready.writable;
        conn.ready.add(more);
        if unblocked {
            self.dirty.push(id);
        }
        if more.readable || unblocked {
            self.make_ready(id);
        }
    }

    /// Puts the connection on the list of those that the turn drives.
    pub(super) fn make_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && !mem::replace(&mut conn.queued, true)
        {
            self.ready.push(id);
        }
    }

    /// Does what the connection can do now.
    pub(super) fn drive(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.queued = false;
        }
        if let Err(end) = self.read(id) {
            self.detach(id, &end);
        }
    }

    /// At most one read, so that a connection that always has more takes turns with the others.
    fn read(&mut self, id: ConnId) -> Result<(), End> {
        let conn = self.conn(id).ok_or(End::Asked)?;
        if conn.held && !self.release(id) || !self.is_readable(id) {
            return Ok(());
        }
        let mut buf = mem::take(&mut self.buf);
        let read = self.read_into(id, &mut buf);
        self.buf = buf;
        read?;
        if self.is_readable(id) {
            self.make_ready(id);
        }
        Ok(())
    }

    fn is_readable(&mut self, id: ConnId) -> bool {
        self.conn(id)
            .is_some_and(|conn| conn.ready.readable && !conn.held)
    }

    /// Reads once and hands on what is whole.
    fn read_into(&mut self, id: ConnId, buf: &mut [u8]) -> Result<(), End> {
        let conn = self.conn(id).ok_or(End::Asked)?;
        let front = if conn.partial.len() <= SMALL {
            conn.partial.len()
        } else {
            0
        };
        let (head, room) = buf.split_at_mut_checked(front).ok_or(End::Asked)?;
        let n = match conn.read(room) {
            Progress::Bytes(n) => n,
            Progress::Blocked => return Ok(()),
            Progress::Eof => return Err(End::Eof),
            Progress::Failed(e) => return Err(End::Failed(e)),
        };
        self.traffic.bytes_received += n as u64;
        let mut partial = self.take_partial(id);
        if front == partial.len() {
            head.copy_from_slice(&partial);
            let bytes = buf.get(..front + n).unwrap_or_default();
            let used = self.consume(id, bytes);
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                // Frees the buffer of the half packet, if there was one.
                return Ok(());
            }
            partial.clear();
            partial.extend_from_slice(rest);
        } else {
            partial.extend_from_slice(room.get(..n).unwrap_or_default());
            let used = self.consume(id, &partial);
            partial.drain(..used);
        }
        self.keep(id, partial);
        Ok(())
    }

    /// Goes on with what was held back. False: the broker still asks to wait.
    fn release(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conn(id) else {
            return false;
        };
        conn.held = false;
        let mut partial = self.take_partial(id);
        let used = self.consume(id, &partial);
        partial.drain(..used);
        self.keep(id, partial);
        self.conn(id).is_some_and(|conn| !conn.held)
    }

    /// Takes out what was read but not yet decoded.
    pub(super) fn take_partial(&mut self, id: ConnId) -> Vec<u8> {
        let partial = self.conn(id).map(|conn| mem::take(&mut conn.partial));
        let partial = partial.unwrap_or_default();
        self.partial_bytes = self.partial_bytes.saturating_sub(partial.len());
        partial
    }

    /// Keeps `partial` until more of it comes, unless the others hold too much memory already: any
    /// one peer may send the largest packet allowed, but not all at the same time.
    fn keep(&mut self, id: ConnId, partial: Vec<u8>) {
        let others = self.partial_bytes;
        let Some(conn) = self.conn(id).filter(|_| !partial.is_empty()) else {
            return;
        };
        if others > PARTIAL_BYTES && partial.len() > SMALL && conn.role == Role::Device {
            let now = self.now();
            self.broker.no_memory(id, now);
            return self.hold(id);
        }
        let bytes = partial.len();
        conn.partial = partial;
        self.partial_bytes += bytes;
    }

    /// Decodes packets and hands them on, until half a packet is left or reading is to wait.
    /// Returns the bytes used.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let now = self.now();
        let Some(role) = self.conn(id).map(|c| c.role) else {
            return bytes.len();
        };
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if !self.broker.may_read(id) {
                self.hold(id);
                break;
            }
            let (version, max) = (self.broker.version(id), self.broker.max_packet(id));
            match mqtt::decode(rest, version, max) {
                Ok(Some((packet, len))) => {
                    used += len;
                    self.traffic.packets_received += 1;
                    match role {
                        Role::Device => self.broker.packet(id, packet, now),
                        Role::Upstream(index) => self.upstream_packet(index, id, packet, now),
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    // Nothing can be read after it; the broker closes the connection.
                    if let Role::Upstream(index) = role
                        && let Some(uplink) = self.uplink(index)
                    {
                        uplink.failed(&e.to_string(), now);
                    }
                    self.broker.malformed(id, e, now);
                    self.hold(id);
                    return bytes.len();
                }
            }
        }
        used
    }

    fn hold(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.held = true;
        }
    }

    /// Writes to `id` what its outbox holds. A connection that is to close gets this one attempt:
    /// what the kernel does not take then, the peer was not reading.
    pub(super) fn flush_one(&mut self, id: ConnId, now: Time) {
        let Some(conn) = self.conns.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let Some(outbox) = self.broker.outbox(id) else {
            return;
        };
        let waiting = outbox.len();
        let mut moved = false;
        // One write takes it all, unless a large payload lies beside.
        while conn.ready.writable && !outbox.is_empty() {
            match conn.write(outbox.pending()) {
                Progress::Bytes(n) => {
                    outbox.advance(n);
                    moved = true;
                }
                Progress::Blocked => break,
                // Reading would say so too, but may be held back.
                Progress::Eof => return self.detach(id, &End::Eof),
                Progress::Failed(e) => return self.detach(id, &End::Failed(e)),
            }
        }
        self.traffic.bytes_sent += (waiting - outbox.len()) as u64;
        let (close, role, held) = (outbox.close, conn.role, conn.held);
        if moved {
            if let Role::Upstream(index) = role
                && let Some(uplink) = self.uplink(index)
            {
                uplink.sent(now);
            }
            self.broker.flushed(id, now);
        }
        if close {
            self.detach(id, &End::Asked);
        } else if moved && held {
            // It may be held because it did not take its output.
            self.make_ready(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_48_bytes_here() {
        assert!(mem::size_of::<Option<Conn>>() <= 48);
    }
}
