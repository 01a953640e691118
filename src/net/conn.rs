//! One connection: its socket, and what is under way on it.
//!
//! An idle connection owns its socket and a small place in the tables; a buffer only while half a
//! packet lies in it. `drive` reads and writes.

use std::io::Read as _;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{Socket, TcpKeepalive};

use super::channel::{Channel, Part, Read};
use super::progress::End;
use super::reactor::Readiness;
use super::turn::ready::WRITE;
use super::web::Web;
use crate::broker::{ConnId, Outbox};
use crate::config::{self, General};
use crate::tls::{Certificate, Session};

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A client: its packets go to the broker.
    Device,
    /// The upstream of this bridge: its packets go to the link first.
    Upstream(u32),
}

/// How MQTT lies on the socket.
#[derive(Debug)]
pub(super) enum Transport {
    /// As it is. What was read but not yet decoded: half a packet, or all that came while the
    /// broker asked to wait.
    Plain(Vec<u8>),
    /// In WebSocket frames, once the request for them is answered.
    Web(Box<Web>),
}

/// MQTT as it is, of which `partial` was read already.
impl From<Vec<u8>> for Transport {
    fn from(partial: Vec<u8>) -> Transport {
        Transport::Plain(partial)
    }
}

impl Transport {
    /// What was read but not yet decoded.
    pub(super) fn partial(&mut self) -> &mut Vec<u8> {
        match self {
            Transport::Plain(partial) => partial,
            Transport::Web(web) => &mut web.partial,
        }
    }

    /// What the buffer of its half packet takes, in bytes.
    pub(super) fn half_packet(&self) -> usize {
        match self {
            Transport::Plain(partial) => partial.capacity(),
            Transport::Web(web) => web.partial.capacity(),
        }
    }
}

/// What the sockets of connections get.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketOptions {
    /// `set_tcp_nodelay`.
    nodelay: bool,
    /// `tcp_keepalive`.
    keepalive: Option<config::TcpKeepalive>,
}

impl SocketOptions {
    pub(super) fn of(general: &General) -> SocketOptions {
        SocketOptions {
            nodelay: general.set_tcp_nodelay,
            keepalive: general.tcp_keepalive,
        }
    }

    /// Sets them. Where the system refuses, as for a Unix socket, the connection works all the same.
    pub(super) fn set(self, socket: &Socket, role: Role) {
        if self.nodelay {
            // A flush holds a whole turn's output already, so waiting for more only delays it.
            let _ = socket.set_tcp_nodelay(true);
        }
        // An upstream's link asks by itself.
        if let Some(asked) = self.keepalive.filter(|_| role == Role::Device) {
            ask(socket, asked);
        }
    }
}

/// The system asks whether the peer is still there. Where it can't, nobody does.
fn ask(socket: &Socket, asked: config::TcpKeepalive) {
    let config::TcpKeepalive {
        idle,
        interval,
        probes,
    } = asked;
    let keepalive = TcpKeepalive::new().with_time(idle);
    let keepalive = keepalive.with_interval(interval).with_retries(probes);
    if socket.set_tcp_keepalive(&keepalive).is_ok() {
        // While something is on its way, the system does not ask.
        let _ = socket.set_tcp_user_timeout(Some(idle + interval * probes));
    }
}

/// A connection's socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Conn {
    /// Of what the broker calls it; the rest of that is its place.
    generation: u32,
    socket: Channel,
    pub(super) role: Role,
    pub(super) transport: Transport,
    pub(super) ready: Readiness,
    /// [`QUEUED`], [`PAUSED`].
    flags: u8,
}

/// In the list of connections to drive.
const QUEUED: u8 = 1;
/// Not to be read until the broker lets it go on.
const PAUSED: u8 = 2;

impl Conn {
    pub(super) fn new(id: ConnId, socket: Channel, role: Role, mut transport: Transport) -> Conn {
        Conn {
            generation: id.generation(),
            socket,
            // What was read already is decoded before the next read, as if reading had been paused.
            flags: if transport.partial().is_empty() {
                0
            } else {
                PAUSED
            },
            transport,
            role,
            // A first write finds room, or finds out.
            ready: Readiness {
                writable: true,
                ..Readiness::default()
            },
        }
    }

    fn set(&mut self, flag: u8, is_set: bool) {
        self.flags = if is_set {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }

    /// Whether it is in the list of connections to drive.
    pub(super) fn is_queued(&self) -> bool {
        self.flags & QUEUED != 0
    }

    /// It is in that list from now on; returns whether it was not.
    pub(super) fn queue(&mut self) -> bool {
        let was_in = self.is_queued();
        self.set(QUEUED, true);
        !was_in
    }

    /// It was taken from that list.
    pub(super) fn unqueue(&mut self) {
        self.set(QUEUED, false);
    }

    /// Whether it is not to be read until the broker lets it go on.
    pub(super) fn is_paused(&self) -> bool {
        self.flags & PAUSED != 0
    }

    /// It is to be read, or not.
    pub(super) fn pause(&mut self, is_paused: bool) {
        self.set(PAUSED, is_paused);
    }

    /// True if this is the connection `id`, in whose place it lies.
    pub(super) fn is(&self, id: ConnId) -> bool {
        self.generation == id.generation()
    }

    /// The system asks for the client only after its keep-alive, in seconds, if that is longer than
    /// what `options` say: a radio may sleep until then.
    pub(super) fn ask_after(&self, keep_alive: u16, options: SocketOptions) {
        let longest = u64::from(config::TcpKeepalive::LONGEST);
        let idle = Duration::from_secs(u64::from(keep_alive).min(longest));
        if let Some(asked) = options.keepalive.filter(|asked| asked.idle < idle) {
            ask(self.socket.socket(), config::TcpKeepalive { idle, ..asked });
        }
    }

    /// Reads what is there into `buf`, at most `most` bytes. `sealed`: room for what is encrypted.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn read(
        &mut self,
        bufs: (&mut [u8], &mut [u8]),
        most: usize,
    ) -> Result<Option<Read>, End> {
        self.socket.read(bufs, most, &mut self.ready)
    }

    /// Bytes that have come by the wire and were not read, as far as the system tells.
    pub(super) fn input_waiting(&self) -> usize {
        let bytes = rustix::io::ioctl_fionread(self.socket.socket());
        bytes.map_or(usize::MAX, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        })
    }

    /// From now on the system tells that something can be read once it is `bytes`.
    pub(super) fn wake_at(&self, bytes: usize) {
        self.socket.wake_at(bytes);
    }

    /// The system acknowledges at once what was read, without waiting for output to send along.
    pub(super) fn acknowledge_input(&self) {
        // Where it can't, what comes takes longer.
        let _ = rustix::net::sockopt::set_tcp_quickack(self.socket.socket(), true);
    }

    /// True until TLS has shaken hands.
    pub(super) fn is_handshaking(&self) -> bool {
        self.socket.is_handshaking()
    }

    pub(super) fn has_tls(&self) -> bool {
        self.socket.has_tls()
    }

    /// True while its handshake goes on elsewhere.
    pub(super) fn is_away(&self) -> bool {
        self.socket.is_away()
    }

    /// As [`Channel::has_begun_handshake`].
    pub(super) fn has_begun_handshake(&self) -> bool {
        self.socket.has_begun_handshake()
    }

    /// As [`Channel::read_handshake`].
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn read_handshake(&mut self, buf: &mut [u8]) -> Result<Option<Part>, End> {
        self.socket.read_handshake(buf, &mut self.ready)
    }

    /// As [`Channel::give_back`]: what has come with the handshake can be read.
    pub(super) fn give_back(&mut self, session: Box<Session>) {
        self.socket.give_back(session);
        self.ready.readable = true;
    }

    /// Writes what TLS has to say, as far as the kernel takes it.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        self.socket.flush(&mut self.ready)
    }

    /// The certificate that the client has shown.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        self.socket.session()?.peer()
    }

    /// What must be written though the broker has nothing to say: of a handshake, or encrypted and not yet
    /// taken by the kernel.
    pub(super) fn holds_output(&self) -> bool {
        self.socket.holds_output()
    }

    /// As [`Channel::take_moved`].
    pub(super) fn take_moved(&mut self) -> u32 {
        self.socket.take_moved()
    }

    /// As [`Channel::untaken`].
    pub(super) fn untaken(&self) -> u64 {
        self.socket.untaken()
    }

    /// Writes as much of the outbox as the kernel takes, but no more than a connection may at a time
    /// ([`WRITE`]); true if that was anything.
    pub(super) fn write_out(&mut self, outbox: &mut Outbox) -> Result<bool, End> {
        let mut left = WRITE;
        self.socket.flush(&mut self.ready)?;
        // One write takes it all, unless a large payload lies beside.
        while self.ready.writable && left > 0 && !outbox.is_empty() {
            let part = first(outbox.pending(), left);
            let Some(n) = self.socket.write(&[part], &mut self.ready)? else {
                break;
            };
            outbox.advance(n);
            left -= n;
        }
        Ok(left < WRITE)
    }

    /// As [`Conn::write_out`], in frames and with what else the WebSocket has to say, or the
    /// answer to a request. A file goes out by the size of `scratch` a turn.
    pub(super) fn write_web(
        &mut self,
        outbox: &mut Outbox,
        scratch: &mut [u8],
    ) -> Result<bool, End> {
        let Transport::Web(web) = &mut self.transport else {
            return Ok(false);
        };
        let (mut moved, mut left) = (false, WRITE);
        self.socket.flush(&mut self.ready)?;
        while self.ready.writable && left > 0 {
            let parts = web.parts(outbox);
            let parts = parts.each_ref().map(|part| first(part, left));
            if parts.iter().all(|part| part.is_empty()) {
                break;
            }
            let Some(n) = self.socket.write(&parts, &mut self.ready)? else {
                break;
            };
            moved |= web.advance(n, outbox);
            left = left.saturating_sub(n);
        }
        if self.ready.writable
            && let Some(body) = web.body()
        {
            let n = body.read(scratch).map_err(End::Failed)?;
            let bytes = scratch.get(..n).unwrap_or_default();
            // A file that has become shorter ends too early for the peer, too.
            let taken = self.socket.write(&[bytes], &mut self.ready)?;
            body.advance(taken.unwrap_or_default());
            moved |= taken.is_some_and(|n| n > 0);
            if body.left() == 0 {
                web.end_body();
            }
        }
        Ok(moved)
    }

    /// Takes MQTT out of what was read, in place; returns how long it is.
    pub(super) fn unwrap(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.transport {
            Transport::Plain(_) => bytes.len(),
            Transport::Web(web) => web.take(bytes),
        }
    }

    /// True once the answer to a request is with the kernel, to its end.
    pub(super) fn is_answered(&mut self) -> bool {
        let is_answered = self.web().is_some_and(|web| web.is_answered());
        is_answered && !self.holds_output()
    }

    /// True while the answer to a request goes out.
    pub(super) fn is_answering(&mut self) -> bool {
        let holds_output = self.holds_output();
        let is_answering =
            |web: &mut Web| web.body().is_some() || web.is_answered() && holds_output;
        self.web().is_some_and(is_answering)
    }

    /// What few connections have: HTTP and WebSocket.
    pub(super) fn web(&mut self) -> Option<&mut Web> {
        match &mut self.transport {
            Transport::Plain(_) => None,
            Transport::Web(web) => Some(web),
        }
    }

    /// Why a connection that the broker closes ends.
    pub(super) fn our_end(&mut self) -> End {
        let web = self.web();
        match web.map(|web| (web.over(), web.refused())) {
            Some((Some(over), _)) => over.into(),
            Some((_, Some(why))) => End::Refused(why),
            _ => End::Asked,
        }
    }

    /// What there is to tell of a client that never came as far as a CONNECT, now that its connection is
    /// at its `end`.
    pub(super) fn never_came_in(&self, end: &End) -> Option<String> {
        match end {
            _ if self.role != Role::Device => None,
            End::Refused(_) | End::BadTls(_) | End::Tls(_) => Some(end.to_string()),
            End::Eof | End::Failed(_) if self.socket.is_half_shaken() => Some(format!(
                "{end}, in the middle of TLS's handshake: does it trust certfile?"
            )),
            _ => None,
        }
    }

    /// Ends the sending side, so that the peer reads what was written and then the end. A socket
    /// that is closed with input unread sends a reset instead, which may overtake the last packet;
    /// so what has arrived is read into `scratch` and thrown away.
    pub(super) fn finish(&mut self, scratch: &mut [u8]) {
        self.socket.close();
        let mut socket = self.socket.socket();
        // An error means that the connection is gone already.
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.read(scratch);
    }
}

/// The first `most` of `bytes`, or all.
fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_64_bytes_here() {
        assert!(size_of::<Option<Conn>>() <= 64);
    }
}
