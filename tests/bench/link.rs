//! A connection to a broker, with or without TLS.

use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::load::PATIENCE;

/// A connection to a broker on loopback.
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Connects, and shakes hands where there is a `tls`.
    pub(crate) fn connect(port: u16, tls: Option<&Arc<ClientConfig>>) -> Result<Link> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Some(config) = tls else {
            return Ok(Link::Plain(stream));
        };
        let name = ServerName::try_from("localhost").map_err(Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(Error::other)?;
        let mut tls = StreamOwned::new(connection, stream);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock)?;
        }
        Ok(Link::Tls(Box::new(tls)))
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Link::Plain(stream) => stream,
            Link::Tls(tls) => &tls.sock,
        }
    }

    /// Bytes may have been read from the socket that nobody has taken yet.
    pub(crate) fn reads_ahead(&self) -> bool {
        matches!(self, Link::Tls(_))
    }

    /// What was written is not yet all with the kernel.
    pub(crate) fn holds_output(&self) -> bool {
        match self {
            Link::Plain(_) => false,
            Link::Tls(tls) => tls.conn.wants_write(),
        }
    }

    /// The handshake went on with a session of before.
    pub(crate) fn is_resumed(&self) -> bool {
        match self {
            Link::Plain(_) => false,
            Link::Tls(tls) => tls.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl Read for Link {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Link::Plain(stream) => stream.read(buf),
            Link::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Link {
    fn write(&mut self, buf: &[u8]) -> Result<usize> {
        match self {
            Link::Plain(stream) => stream.write(buf),
            Link::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Link::Plain(stream) => stream.flush(),
            Link::Tls(tls) => tls.flush(),
        }
    }
}
