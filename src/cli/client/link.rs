//! The bytes of a connection: buffers, deadlines, keep-alive.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::Error;
use crate::mqtt::{Packet, Version, encode};
use crate::net::{Waiter, Wanted};

/// Bytes asked of the socket at once.
const READ_SIZE: usize = 64 * 1024;
/// How long the broker has to close a connection after DISCONNECT.
const LINGER: Duration = Duration::from_secs(1);

/// A socket with its buffers.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Received bytes.
    pub(super) input: Vec<u8>,
    /// How many of them have been decoded.
    pub(super) consumed: usize,
    /// Bytes to be sent.
    pub(super) output: Vec<u8>,
    keep_alive: Option<Duration>,
    written: Instant,
    pinged: Option<Instant>,
    waiter: Waiter,
}

impl Connection {
    /// The connection over `stream`, with a keep-alive time in seconds.
    ///
    /// # Errors
    /// When the system is out of descriptors or memory.
    pub(super) fn new(stream: TcpStream, keep_alive: u16) -> io::Result<Connection> {
        let mut link = Connection {
            stream,
            input: Vec::new(),
            consumed: 0,
            output: Vec::new(),
            keep_alive: None,
            written: Instant::now(),
            pinged: None,
            waiter: Waiter::new()?,
        };
        link.set_keep_alive(keep_alive);
        Ok(link)
    }

    /// Sets the keep-alive time in seconds; 0 turns it off.
    pub(super) fn set_keep_alive(&mut self, seconds: u16) {
        let time = Duration::from_secs(u64::from(seconds));
        self.keep_alive = (seconds > 0).then_some(time);
        // A broker that reads nothing for that long would not answer a PINGREQ either. Without
        // the timeout it only takes longer to notice.
        let _ = self
            .stream
            .set_write_timeout(self.keep_alive.map(|time| time * 2));
    }

    /// PINGRESP came.
    pub(super) fn pong(&mut self) {
        self.pinged = None;
    }

    /// Sends what is to be sent.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).map_err(lost)?;
            self.output.clear();
            self.written = Instant::now();
        }
        Ok(())
    }

    /// Sends what is to be sent, and waits for the broker to close. What it has sent meanwhile is read: a
    /// socket that is closed before that is reset, and with it go acknowledgements on their way.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.flush()?;
        let deadline = Instant::now() + LINGER;
        let mut dropped = [0; READ_SIZE];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err();
            if is_over || !matches!(self.stream.read(&mut dropped), Ok(1..)) {
                return Ok(());
            }
        }
    }

    /// Sends PINGREQ if it is time [MQTT-3.1.2-20]; returns when to look again.
    fn stay_alive(&mut self) -> Result<Instant, Error> {
        let now = Instant::now();
        let Some(keep_alive) = self.keep_alive else {
            return Ok(now + Duration::from_secs(3600));
        };
        match self.pinged {
            Some(pinged) if now >= pinged + keep_alive => return Err(Error::KeepAlive),
            Some(pinged) => return Ok(pinged + keep_alive),
            None => {}
        }
        if now < self.written + keep_alive {
            return Ok(self.written + keep_alive);
        }
        encode(&Packet::PingReq, Version::V311, &mut self.output)?;
        self.flush()?;
        self.pinged = Some(now);
        Ok(now + keep_alive)
    }

    /// Sends what is to be sent, and reads what is there or waits for it until the deadline.
    pub(super) fn fill(&mut self, deadline: Instant) -> Result<(), Error> {
        self.flush()?;
        let until = deadline.min(self.stay_alive()?);
        let left = until.saturating_duration_since(Instant::now());
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .map_err(lost)?;
        self.input.drain(..self.consumed);
        self.consumed = 0;
        let len = self.input.len();
        self.input.resize(len + READ_SIZE, 0);
        let result = match self.input.get_mut(len..) {
            Some(room) => self.stream.read(room),
            None => Ok(0),
        };
        self.input.truncate(len + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => Err(Error::Lost),
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock
                | io::ErrorKind::TimedOut
                | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(Error::Lost),
            },
        }
    }

    /// Sends what is to be sent, and waits until the broker or `other` has something to read, or
    /// until the deadline, or until a PINGREQ is due; says which has.
    pub(super) fn wait(
        &mut self,
        other: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(bool, bool), Error> {
        self.flush()?;
        let until = deadline.min(self.stay_alive()?);
        let left = until.saturating_duration_since(Instant::now());
        let mut wanted = [
            Wanted::readable(self.stream.as_fd()),
            Wanted::readable(other),
        ];
        let waited = self.waiter.wait(&mut wanted, Some(left));
        waited.map_err(lost)?;
        let [broker, other] = wanted;
        Ok((broker.is_ready, other.is_ready))
    }
}

fn lost(_: io::Error) -> Error {
    Error::Lost
}
