//! The seam between connections and the socket reactor.
//!
//! Everything above sees non-blocking reads and writes and two "wake me when" calls; only this
//! file knows that async-io answers them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Async;
use socket2::{SockRef, TcpKeepalive};

/// A connected stream socket.
#[derive(Debug)]
pub struct Stream(Async<TcpStream>);

/// How a read or write without blocking went.
#[derive(Debug)]
pub enum Progress {
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
    fn of(result: io::Result<usize>) -> Progress {
        match result {
            Ok(0) => Progress::Eof,
            Ok(n) => Progress::Bytes(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Progress::Blocked
            }
            Err(e) => Progress::Failed(e),
        }
    }
}

impl Stream {
    /// Takes over a socket that is already non-blocking.
    ///
    /// # Errors
    /// When the reactor has no room for one more descriptor.
    pub fn new(socket: TcpStream) -> io::Result<Stream> {
        Ok(Stream(Async::new_nonblocking(socket)?))
    }

    /// Connects to `address`, without blocking and without a deadline of its own.
    ///
    /// # Errors
    /// As the kernel reports them.
    pub async fn connect(address: SocketAddr) -> io::Result<(Stream, SocketAddr)> {
        let socket = Async::<TcpStream>::connect(address).await?;
        Ok((Stream(socket), address))
    }

    /// Reads what is there into `buf`, which is not empty.
    pub fn read(&self, buf: &mut [u8]) -> Progress {
        Progress::of(self.0.get_ref().read(buf))
    }

    /// Writes as much of `bytes`, which are not empty, as the kernel takes.
    pub fn write(&self, bytes: &[u8]) -> Progress {
        Progress::of(self.0.get_ref().write(bytes))
    }

    /// Ready when a read may have become possible since this last said `Pending`; otherwise wakes
    /// the task once it has.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    /// As [`Stream::poll_readable`], for writes.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    /// Ends the sending side, so that the peer reads what was written and then the end. A socket
    /// that is closed with input unread sends a reset instead, which may overtake the last packet;
    /// so what has arrived is read into `scratch` and thrown away.
    pub fn finish(&self, scratch: &mut [u8]) {
        // An error means that the connection is gone already.
        let _ = self.0.get_ref().shutdown(std::net::Shutdown::Write);
        let _ = self.0.get_ref().read(scratch);
    }

    /// `set_tcp_nodelay`: a flush holds a whole turn's output already, so waiting for more only
    /// delays it.
    pub fn set_nodelay(&self, on: bool) {
        // Without it the connection works, only slower.
        let _ = self.0.get_ref().set_nodelay(on);
    }

    /// Lets the kernel find out that the peer is gone: probes after `idle` of silence, and data
    /// that stays unacknowledged for `unacked` (TCP_USER_TIMEOUT) breaks the connection.
    pub fn set_liveness(&self, idle: Duration, unacked: Duration) {
        let socket = SockRef::from(&self.0);
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
