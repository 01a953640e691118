//! The connection to an upstream while a task has it: from TCP's connect to the CONNACK.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Write};

use crate::net::channel::Channel;
use crate::net::progress::{End, Progress};
use crate::net::stream::Stream;
use crate::tls::Session;

/// What is read at a time, in bytes: answers before the CONNACK are short.
const READ: usize = 4096;
/// Room for what that becomes, with the rest of a record of 16 KB that came before.
const PLAIN: usize = 24 * 1024;

/// A connection to an upstream, with TLS on it if the bridge asks for that.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: Stream,
    tls: Option<Box<Session>>,
    /// What came with the end of TLS's handshake.
    early: Vec<u8>,
}

impl Upstream {
    /// One without TLS.
    pub(super) fn plain(stream: Stream) -> Upstream {
        Upstream {
            stream,
            tls: None,
            early: Vec::new(),
        }
    }

    /// Shakes hands. There is no deadline here.
    ///
    /// # Errors
    /// The upstream is not who it should be, or ends the connection.
    pub(super) async fn secure(stream: Stream, tls: Session) -> Result<Upstream, End> {
        let mut upstream = Upstream {
            stream,
            tls: Some(Box::new(tls)),
            early: Vec::new(),
        };
        let mut early = Vec::new();
        let shaken = loop {
            // What went wrong is told, too.
            upstream.flush().await?;
            if !upstream
                .tls
                .as_ref()
                .is_some_and(|tls| tls.is_handshaking())
            {
                break Ok(());
            }
            if let Err(end) = upstream.receive(&mut early).await {
                break Err(end);
            }
        };
        if shaken.is_err() {
            // The alert; whether it arrives is not waited for.
            upstream.write_alert();
        }
        upstream.early = early;
        shaken.map(|()| upstream)
    }

    /// The stream, to be set up.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) async fn send(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let n = match &mut self.tls {
                Some(tls) => {
                    let n = tls.seal(bytes);
                    self.flush().await?;
                    n
                }
                None => match self.stream.write(bytes).moved()? {
                    Some(n) => n,
                    None => {
                        poll_fn(|cx| self.stream.poll_writable(cx)).await;
                        0
                    }
                },
            };
            bytes = bytes.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Appends what can be read to `bytes`, and waits for the first of it. With TLS that may be nothing: it
    /// was for the handshake.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) async fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), End> {
        if !self.early.is_empty() {
            bytes.append(&mut self.early);
            return Ok(());
        }
        let mut buf = [0; READ];
        if let Some(tls) = self.tls.as_mut().filter(|tls| !tls.is_handshaking()) {
            // What came with the end of the handshake.
            let n = tls.open(&[], &mut buf)?;
            if n > 0 {
                bytes.extend_from_slice(buf.get(..n).unwrap_or_default());
                return Ok(());
            }
        }
        loop {
            let Some(n) = self.stream.read(&mut buf).moved()? else {
                poll_fn(|cx| self.stream.poll_readable(cx)).await;
                continue;
            };
            let came = buf.get(..n).unwrap_or_default();
            let Some(tls) = &mut self.tls else {
                bytes.extend_from_slice(came);
                return Ok(());
            };
            if tls.is_handshaking() {
                tls.advance(came)?;
                return Ok(());
            }
            let before = bytes.len();
            bytes.resize(before + PLAIN, 0);
            let opened = tls.open(came, bytes.get_mut(before..).unwrap_or_default());
            bytes.truncate(before + *opened.as_ref().unwrap_or(&0));
            opened?;
            return Ok(());
        }
    }

    /// Writes what TLS has to say.
    async fn flush(&mut self) -> Result<(), End> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        while tls.wants_write() {
            match Progress::of(tls.write(&mut Out(&self.stream))).moved()? {
                Some(_) => {}
                None => poll_fn(|cx| self.stream.poll_writable(cx)).await,
            }
        }
        Ok(())
    }

    fn write_alert(&mut self) {
        let Upstream { stream, tls, .. } = self;
        if let Some(tls) = tls.as_mut().filter(|tls| tls.wants_write()) {
            // The connection ends in any case.
            let _ = tls.write(&mut Out(stream));
        }
    }

    /// What a connection of the turn is made of; no task waits for it any more.
    pub(super) fn into_channel(self) -> Channel {
        Channel::new(self.stream.into_socket().into(), self.tls)
    }
}

/// A stream as rustls writes to it.
struct Out<'a>(&'a Stream);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Progress::Bytes(n) => Ok(n),
            Progress::Blocked => Err(ErrorKind::WouldBlock.into()),
            Progress::Eof => Ok(0),
            Progress::Failed(e) => Err(e),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
