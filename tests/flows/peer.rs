//! One client of a script: a socket, and the frames that came in on it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::packet::Version;
use super::pattern::read_varint;

/// What came next.
pub(crate) enum Next {
    /// A whole packet.
    Frame(Vec<u8>),
    /// The end of the connection, and the bytes before it that are no whole packet.
    Closed(Vec<u8>),
    /// Nothing in time, but for these bytes.
    Nothing(Vec<u8>),
}

/// A connection to the broker. A thread reads it all the time: a broker must never have to wait
/// for a script that still writes.
pub(crate) struct Peer {
    stream: TcpStream,
    chunks: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were used.
    used: usize,
    pub(crate) version: Version,
}

impl Peer {
    pub(crate) fn connect(addr: SocketAddr, version: Version) -> io::Result<Peer> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = stream.try_clone()?;
        let (sender, chunks) = mpsc::channel();
        thread::spawn(move || {
            let mut chunk = vec![0; 16 * 1024];
            // An error is the end, too: a reset.
            while let Ok(len @ 1..) = reader.read(&mut chunk) {
                if sender.send(chunk[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Peer {
            stream,
            chunks,
            buffer: Vec::new(),
            used: 0,
            version,
        })
    }

    /// Writes bytes. That the other side has closed shows when it is read.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                ) =>
            {
                Err(e)
            }
            _ => Ok(()),
        }
    }

    /// Closes the sending half.
    pub(crate) fn finish(&mut self) {
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next packet, or what there is instead of it.
    pub(crate) fn next(&mut self, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = self.frame() {
                return Next::Frame(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.chunks.recv_timeout(left) {
                Ok(chunk) => {
                    self.buffer.drain(..self.used);
                    self.used = 0;
                    self.buffer.extend_from_slice(&chunk);
                }
                Err(RecvTimeoutError::Disconnected) => return Next::Closed(self.rest()),
                Err(RecvTimeoutError::Timeout) => return Next::Nothing(self.rest()),
            }
        }
    }

    fn rest(&self) -> Vec<u8> {
        self.buffer[self.used..].to_vec()
    }

    /// The packet at the front of the buffer, if it is whole.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let bytes = &self.buffer[self.used..];
        let (len, size) = read_varint(bytes.get(1..)?)?;
        let frame = bytes.get(..1 + size + len)?.to_vec();
        self.used += frame.len();
        Some(frame)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Ends the reading thread.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
