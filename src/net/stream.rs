//! A connecting or connected socket that a task of its own waits for: reads and writes that never
//! block, and "wake me when". Connections (`conn`) have no task and no [`Stream`].

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::conn::End;
use super::reactor::{Reactor, Source};

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    source: Source,
}

/// How a read or write without blocking went.
#[derive(Debug)]
pub(super) enum Progress {
    /// This many bytes; at least one.
    Bytes(usize),
    /// Nothing can be moved now.
    Blocked,
    /// The peer has closed its side (reads only).
    Eof,
    /// The connection is broken.
    Failed(io::Error),
}

impl Progress {
    pub(super) fn of(result: io::Result<usize>) -> Progress {
        match result {
            Ok(0) => Progress::Eof,
            Ok(n) => Progress::Bytes(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Blocked
            }
            Err(e) => Progress::Failed(e),
        }
    }

    /// The bytes that were moved; `None`: none now.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) fn moved(self) -> Result<Option<usize>, End> {
        match self {
            Progress::Bytes(n) => Ok(Some(n)),
            Progress::Blocked => Ok(None),
            Progress::Eof => Err(End::Eof),
            Progress::Failed(e) => Err(End::Failed(e)),
        }
    }

    /// True if less than `asked` bytes could be moved: no need to ask the kernel for the rest.
    pub(super) fn is_short(&self, asked: usize) -> bool {
        match self {
            Progress::Bytes(n) => *n < asked,
            Progress::Blocked => true,
            Progress::Eof | Progress::Failed(_) => false,
        }
    }
}

impl Stream {
    /// Takes over a socket that is already non-blocking.
    ///
    /// # Errors
    /// When the reactor has no room for one more descriptor.
    pub(super) fn new(socket: TcpStream, reactor: &Rc<Reactor>) -> io::Result<Stream> {
        let source = reactor.register(&socket)?;
        Ok(Stream { socket, source })
    }

    /// Connects to `address`, without blocking and without a deadline of its own.
    ///
    /// # Errors
    /// As the kernel reports them.
    pub(super) async fn connect(
        address: SocketAddr,
        reactor: Rc<Reactor>,
    ) -> io::Result<(Stream, SocketAddr)> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        match socket.connect(&address.into()) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::INPROGRESS) => {}
            other => other?,
        }
        let stream = Stream::new(socket.into(), &reactor)?;
        poll_fn(|cx| stream.poll_writable(cx)).await;
        match stream.socket.take_error()? {
            Some(e) => Err(e),
            None => Ok((stream, address)),
        }
    }

    /// Reads what is there into `buf`, which is not empty.
    pub(super) fn read(&self, buf: &mut [u8]) -> Progress {
        let progress = Progress::of((&self.socket).read(buf));
        if progress.is_short(buf.len()) {
            self.source.read_dry();
        }
        progress
    }

    /// Writes as much of `bytes`, which are not empty, as the kernel takes.
    pub(super) fn write(&self, bytes: &[u8]) -> Progress {
        let progress = Progress::of((&self.socket).write(bytes));
        if progress.is_short(bytes.len()) {
            self.source.write_full();
        }
        progress
    }

    /// Ready while a read may find something; otherwise wakes the task once that is so. Reads,
    /// writes and the task's own calls share one waker: a stream belongs to one task.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.source.poll_readable(cx)
    }

    /// As [`Stream::poll_readable`], for writes.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.source.poll_writable(cx)
    }

    /// The socket, for a connection; no task waits for it any more.
    pub(super) fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Lets the kernel find out that the peer is gone: probes after `idle` of silence, and data
    /// that stays unacknowledged for `unacked` (TCP_USER_TIMEOUT) breaks the connection.
    pub(super) fn set_liveness(&self, idle: Duration, unacked: Duration) {
        let socket = SockRef::from(&self.socket);
        let keepalive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval((idle / 4).max(Duration::from_secs(1)))
            .with_retries(4);
        // MQTT's own keep-alive still finds a dead peer where the kernel refuses.
        let _ = socket.set_tcp_keepalive(&keepalive);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(unacked));
        #[cfg(not(target_os = "linux"))]
        let _ = unacked;
    }
}
