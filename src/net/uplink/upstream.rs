//! The connection to an upstream while a task has it: from TCP's connect to the CONNACK.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Write};

use crate::bridge::Error;
use crate::broker::Outbox;
use crate::impossible;
use crate::net::channel::Channel;
use crate::net::conn::Transport;
use crate::net::hub::Shared;
use crate::net::progress::{End, Progress};
use crate::net::stream::Stream;
use crate::net::web::{Answered, Head, Refusal, Web};
use crate::tls::Session;

/// Largest packet taken from an upstream before its CONNACK; a CONNACK is no larger.
pub(super) const HANDSHAKE_PACKET: usize = 64 * 1024;
/// What is read at a time, in bytes: answers before the CONNACK are short.
const READ: usize = 4096;
/// Room for the rest of a record of 16 KB that came before, in bytes.
const PLAIN: usize = 20 * 1024;

/// A connection to an upstream, with TLS on it and WebSocket in that if the bridge asks for them.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: Stream,
    tls: Option<Box<Session>>,
    web: Option<Box<Web>>,
    /// What has come already.
    early: Vec<u8>,
}

impl Upstream {
    /// One with nothing on it.
    pub(super) fn plain(stream: Stream) -> Upstream {
        Upstream {
            stream,
            tls: None,
            web: None,
            early: Vec::new(),
        }
    }

    /// Shakes hands; the thread for that does the arithmetic. There is no deadline here.
    ///
    /// # Errors
    /// The upstream is not who it should be, or ends the connection.
    pub(super) async fn secure(&mut self, hub: &Shared, session: Session) -> Result<(), End> {
        // It came behind the answer of a proxy.
        let mut came = std::mem::take(&mut self.early);
        self.tls = Some(Box::new(session));
        loop {
            if !came.is_empty()
                && let Err(end) = self.advance(hub, std::mem::take(&mut came)).await
            {
                // The alert; whether it arrives is not waited for.
                self.write_alert();
                return Err(end);
            }
            self.flush().await?;
            if !self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                return Ok(());
            }
            self.read_raw(&mut came).await?;
        }
    }

    /// Goes on with the handshake by what came.
    async fn advance(&mut self, hub: &Shared, came: Vec<u8>) -> Result<(), End> {
        let Some(mut session) = self.tls.take() else {
            impossible!("a handshake without a session");
            return Ok(());
        };
        let step = hub.borrow_mut().aside(move || {
            let end = session.advance(&came);
            (session, end)
        });
        let (session, end) = step.await.ok_or(End::Asked)?;
        self.tls = Some(session);
        Ok(end?)
    }

    /// Sends a request of HTTP, and returns the head of the answer. What comes behind it is what is received
    /// next.
    ///
    /// # Errors
    /// The end of the connection; what answers is no HTTP.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Unanswered> {
        self.write(request).await?;
        let (mut head, mut came) = (Head::default(), Vec::new());
        loop {
            came.clear();
            self.read(&mut came).await?;
            if let Some(Answered { head, rest }) = head.take(&came)? {
                self.early = rest;
                return Ok(head);
            }
        }
    }

    /// From now on MQTT lies in WebSocket.
    pub(super) fn upgraded(&mut self) {
        self.web = Some(Box::new(Web::to_server()));
    }

    /// True if the upstream has closed the WebSocket, or broken its rules.
    pub(super) fn is_over(&self) -> bool {
        self.web.as_ref().is_some_and(|web| web.over().is_some())
    }

    /// The stream, to be set up.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// It was closed, as `why` says, and nothing had come.
    pub(super) fn unanswered(&self, why: &str) -> Error {
        let tls = if self.tls.is_none() {
            ", or is this a port with TLS, for which the bridge needs bridge_cafile"
        } else {
            ""
        };
        Error::Closed(format!(
            "{why}, without an answer to CONNECT: does the upstream refuse this client{tls}?"
        ))
    }

    /// Sends all of `bytes`, which are MQTT.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        if self.web.is_none() {
            return self.write(bytes).await;
        }
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(bytes);
        while let Some(web) = &mut self.web {
            let parts = web.parts(&outbox);
            let framed = parts.each_ref().map(|part| &**part).concat();
            if framed.is_empty() {
                break;
            }
            web.advance(framed.len(), &mut outbox);
            self.write(&framed).await?;
        }
        Ok(())
    }

    /// Appends what can be read to `bytes`, and waits for the first of it. That may be nothing, where it was
    /// not MQTT.
    ///
    /// # Errors
    /// The end of the connection.
    pub(super) async fn receive(&mut self, bytes: &mut Vec<u8>) -> Result<(), End> {
        if let Some(over) = self.web.as_ref().and_then(|web| web.over()) {
            return Err(over.into());
        }
        let before = bytes.len();
        self.read(bytes).await?;
        let Some(web) = &mut self.web else {
            return Ok(());
        };
        let n = web.take(bytes.get_mut(before..).unwrap_or_default());
        let has_pong = web.has_output();
        bytes.truncate(before + n);
        if has_pong {
            self.send(&[]).await?;
        }
        Ok(())
    }

    /// Writes all of `bytes` as they are, or encrypted.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), End> {
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

    /// Appends what can be read, decrypted, to `bytes`. That may be nothing: it was for TLS.
    async fn read(&mut self, bytes: &mut Vec<u8>) -> Result<(), End> {
        if !self.early.is_empty() {
            bytes.append(&mut self.early);
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            // What came with the end of the handshake.
            let mut buf = [0; READ];
            let n = tls.open(&[], &mut buf)?;
            if n > 0 {
                bytes.extend_from_slice(buf.get(..n).unwrap_or_default());
                return Ok(());
            }
        }
        let before = bytes.len();
        self.read_raw(bytes).await?;
        if self.tls.is_some() {
            let plain = self.open(bytes.get(before..).unwrap_or_default())?;
            bytes.truncate(before);
            bytes.extend(plain);
        }
        Ok(())
    }

    /// Appends what comes by the wire to `bytes`, and waits for the first of it.
    async fn read_raw(&mut self, bytes: &mut Vec<u8>) -> Result<(), End> {
        let mut buf = [0; READ];
        loop {
            if let Some(n) = self.stream.read(&mut buf).moved()? {
                bytes.extend_from_slice(buf.get(..n).unwrap_or_default());
                return Ok(());
            }
            poll_fn(|cx| self.stream.poll_readable(cx)).await;
        }
    }

    /// Decrypts what came, once hands are shaken.
    fn open(&mut self, came: &[u8]) -> Result<Vec<u8>, End> {
        let Some(tls) = &mut self.tls else {
            return Ok(came.to_vec());
        };
        let mut plain = vec![0; came.len() + PLAIN];
        let n = tls.open(came, &mut plain)?;
        plain.truncate(n);
        Ok(plain)
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

    /// What a connection of the turn is made of; no task waits for it any more. `partial` has come already.
    pub(super) fn into_parts(self, partial: Vec<u8>) -> (Channel, Transport) {
        let transport = match self.web {
            Some(mut web) => {
                web.partial = partial;
                Transport::Web(web)
            }
            None => Transport::Plain(partial),
        };
        let channel = Channel::new(self.stream.into_socket().into(), self.tls);
        (channel, transport)
    }
}

/// Why a request of HTTP has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The connection has ended.
    End(End),
    /// The answer is none.
    Refused(Refusal),
}

impl From<End> for Unanswered {
    fn from(end: End) -> Unanswered {
        Unanswered::End(end)
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Unanswered {
        Unanswered::Refused(refusal)
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
