//! One connection: reading, decoding, and the task that waits for its socket.
//!
//! An idle connection owns its socket, its place in the tables and a task of two words; a buffer
//! only while half a packet lies in it. Writes happen at the end of the turn (`turn`); the task
//! waits for room only after the kernel took less than it was given.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::hub::{Hub, Shared};
use super::stream::{Progress, Stream};
use crate::broker::ConnId;
use crate::mqtt;

/// Half packets up to this size move to the front of the shared buffer, so that one read and one
/// decode see them whole; larger ones grow where they are.
const SMALL: usize = 16 * 1024;

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
    Upstream(usize),
}

/// A connection's socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// Read but not yet decoded: half a packet, or all that came while the broker asked to wait.
    partial: Vec<u8>,
    pub(super) role: Role,
    /// Not to be read until the broker lets it go on.
    held: bool,
    /// The kernel takes no more output for now.
    pub(super) blocked: bool,
    /// Set when the task is to close the connection.
    pub(super) end: Option<End>,
}

impl Conn {
    pub(super) fn new(stream: Stream, role: Role, partial: Vec<u8>) -> Conn {
        Conn {
            stream,
            // What was read already is decoded before the next read, as if it had been held.
            held: !partial.is_empty(),
            partial,
            role,
            blocked: false,
            end: None,
        }
    }

    /// Lets the connection's task run.
    pub(super) fn wake(&self) {
        self.stream.wake();
    }
}

/// The task of one connection; done when the connection has ended.
pub(super) struct Connection {
    hub: Shared,
    id: ConnId,
}

impl Connection {
    pub(super) fn new(hub: Shared, id: ConnId) -> Connection {
        Connection { hub, id }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hub = self.hub.borrow_mut();
        match hub.drive(self.id, cx) {
            Ok(()) => Poll::Pending,
            Err(end) => {
                hub.detach(self.id, &end);
                Poll::Ready(())
            }
        }
    }
}

impl Hub {
    /// Does what the connection can do now; leaves a waker wherever it has to wait.
    fn drive(&mut self, id: ConnId, cx: &mut Context<'_>) -> Result<(), End> {
        let conn = self.conn(id).ok_or(End::Asked)?;
        if let Some(end) = conn.end.take() {
            return Err(end);
        }
        if conn.blocked && conn.stream.poll_writable(cx).is_ready() {
            conn.blocked = false;
            self.dirty.push(id);
            self.wake_turn();
        }
        self.read(id, cx)
    }

    /// At most one read, so that a connection that always has more takes turns with the others.
    fn read(&mut self, id: ConnId, cx: &mut Context<'_>) -> Result<(), End> {
        let conn = self.conn(id).ok_or(End::Asked)?;
        // Asked first, because it leaves the waker even where reading has to wait.
        let readable = conn.stream.poll_readable(cx).is_ready();
        if conn.held && !self.release(id) || !readable {
            return Ok(());
        }
        let mut buf = mem::take(&mut self.buf);
        let read = self.read_into(id, &mut buf);
        self.buf = buf;
        read?;
        let conn = self.conn(id).ok_or(End::Asked)?;
        if !conn.held && conn.stream.poll_readable(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
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
        let n = match conn.stream.read(room) {
            Progress::Bytes(n) => n,
            Progress::Blocked => return Ok(()),
            Progress::Eof => return Err(End::Eof),
            Progress::Failed(e) => return Err(End::Failed(e)),
        };
        let mut partial = mem::take(&mut conn.partial);
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
        let mut partial = mem::take(&mut conn.partial);
        let used = self.consume(id, &partial);
        partial.drain(..used);
        self.keep(id, partial);
        self.conn(id).is_some_and(|conn| !conn.held)
    }

    fn keep(&mut self, id: ConnId, partial: Vec<u8>) {
        if let Some(conn) = self.conn(id)
            && !partial.is_empty()
        {
            conn.partial = partial;
        }
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
}
