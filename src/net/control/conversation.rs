//! One connection of the control socket.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::lines::{Lines, Taken};
use super::{Answer, Asked};
use crate::net::reactor::{Reactor, Source};

/// How long the next line may take to come, and each piece of an answer to be made and to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that was accepted.
pub(super) struct Conversation {
    socket: UnixStream,
    source: Source,
    reactor: Rc<Reactor>,
    lines: Lines,
}

impl Conversation {
    /// Takes over a socket that is already non-blocking.
    ///
    /// # Errors
    /// When nothing more can be watched.
    pub(super) fn new(socket: UnixStream, reactor: &Rc<Reactor>) -> io::Result<Conversation> {
        let source = reactor.register(&socket)?;
        Ok(Conversation {
            socket,
            source,
            reactor: Rc::clone(reactor),
            lines: Lines::default(),
        })
    }

    /// Answers lines until the other end has no more, or takes too long. `moved` is when it last did
    /// something.
    pub(super) async fn go_on(
        mut self,
        ask: impl Fn(Asked<'_>) -> Answer,
        moved: Rc<Cell<Instant>>,
    ) {
        loop {
            let reactor = Rc::clone(&self.reactor);
            let line = match within(&reactor, self.next()).await {
                Some(Ok(Taken::Line(line))) => Some(line),
                Some(Ok(Taken::TooLong)) => None,
                _ => return,
            };
            moved.set(Instant::now());
            let asked = line.as_deref().map_or(Asked::TooLong, Asked::Line);
            let mut answer = ask(asked);
            while let Some(Some(piece)) = within(&reactor, poll_fn(&mut answer)).await {
                match within(&reactor, self.write(piece.as_bytes())).await {
                    Some(Ok(())) => moved.set(Instant::now()),
                    _ => return,
                }
                // Whoever asks without end, or for much, takes no more than a piece in a turn.
                reactor.ask().await;
            }
            if line.is_none() {
                return;
            }
        }
    }

    /// What comes next, which is never nothing.
    async fn next(&mut self) -> io::Result<Taken> {
        let mut chunk = [0; 4096];
        loop {
            match self.lines.take() {
                Taken::Nothing => {}
                taken => return Ok(taken),
            }
            poll_fn(|cx| self.source.poll_readable(cx)).await;
            match (&self.socket).read(&mut chunk) {
                Ok(0) => self.lines.end(),
                Ok(n) => self.lines.push(chunk.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.source.read_dry(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            poll_fn(|cx| self.source.poll_writable(cx)).await;
            match (&self.socket).write(bytes) {
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.source.write_full(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What `future` comes to, unless it takes longer than [`PATIENCE`].
async fn within<F: Future>(reactor: &Reactor, future: F) -> Option<F::Output> {
    let late = async {
        reactor.timer_after(PATIENCE).await;
        None
    };
    future::or(async { Some(future.await) }, late).await
}
