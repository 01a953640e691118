//! A connecting or connected socket that a task of its own waits for: reads and writes that never
//! block, and "wake me when". Connections (`conn`) have no task and no [`Stream`].

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::progress::Progress;
use super::reactor::{Reactor, Source};
use crate::config;

/// How the kernel finds out that a peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Liveness {
    /// What it asks a peer that is silent.
    pub(super) asked: Option<config::TcpKeepalive>,
    /// How long data may stay unacknowledged (TCP_USER_TIMEOUT); `None` is up to the kernel.
    pub(super) unacked: Option<Duration>,
}

/// Counts the bytes that were read from and written to sockets.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Rc<Cell<u64>>);

impl Meter {
    /// So many more were.
    pub(super) fn add(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_add(bytes));
    }

    /// What was counted since this was asked for last.
    pub(super) fn take(&self) -> u64 {
        self.0.take()
    }

    fn note(&self, progress: &Progress) {
        if let Progress::Bytes(n) = progress {
            self.add(*n as u64);
        }
    }
}

/// A connected stream socket.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    source: Source,
    meter: Meter,
}

impl Stream {
    /// Takes over a socket that is already non-blocking.
    ///
    /// # Errors
    /// When the reactor has no room for one more descriptor.
    pub(super) fn new(socket: TcpStream, reactor: &Rc<Reactor>) -> io::Result<Stream> {
        let source = reactor.register(&socket)?;
        Ok(Stream {
            socket,
            source,
            meter: Meter::default(),
        })
    }

    /// The stream, whose bytes `meter` counts from now on.
    pub(super) fn metered(mut self, meter: Meter) -> Stream {
        self.meter = meter;
        self
    }

    /// Connects to `address`, from `local` if that is given, without blocking and without a deadline of its
    /// own.
    ///
    /// # Errors
    /// As the kernel reports them.
    pub(super) async fn connect(
        address: SocketAddr,
        local: Option<SocketAddr>,
        reactor: Rc<Reactor>,
    ) -> io::Result<(Stream, SocketAddr)> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )?;
        if let Some(local) = local {
            let says = |e: io::Error| format!("bridge_bind_address {}: {e}", local.ip());
            let bound = socket.bind(&local.into());
            bound.map_err(|e| io::Error::new(e.kind(), says(e)))?;
        }
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
        self.meter.note(&progress);
        if progress.is_short(buf.len()) {
            self.source.read_dry();
        }
        progress
    }

    /// Writes as much of `bytes`, which are not empty, as the kernel takes.
    pub(super) fn write(&self, bytes: &[u8]) -> Progress {
        let progress = Progress::of((&self.socket).write(bytes));
        self.meter.note(&progress);
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

    /// Lets the kernel find out that the peer is gone. MQTT's own keep-alive still finds it where the kernel
    /// refuses.
    pub(super) fn set_liveness(&self, liveness: Liveness) {
        let socket = SockRef::from(&self.socket);
        let _ = match liveness.asked {
            Some(config::TcpKeepalive {
                idle,
                interval,
                probes,
            }) => {
                let keepalive = TcpKeepalive::new().with_time(idle);
                let keepalive = keepalive.with_interval(interval).with_retries(probes);
                socket.set_tcp_keepalive(&keepalive)
            }
            None => socket.set_keepalive(false),
        };
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(liveness.unacked);
    }
}
