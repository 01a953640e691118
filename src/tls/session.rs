//! One TLS connection, without its socket.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, HandshakeKind, ServerConnection};

use super::certificate::Certificate;
use super::client::ClientSide;
use super::error::Error;
use super::explain::Failure;
use super::server::ServerSide;
use crate::config::BridgeTls;

/// What may lie encrypted and unsent, in bytes: [`Session::seal`] takes no more. Enough for what a turn
/// writes, in records as large as they may be.
const SEALED: usize = 128 * 1024;

/// One end of a TLS connection. What comes in goes through [`Session::open`], what is to go out through
/// [`Session::seal`] and [`Session::write`].
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// What the peer was called, for sentences about it; empty for a client.
    name: Box<str>,
}

impl Session {
    /// That of a client of a listener.
    ///
    /// # Errors
    /// None in practice.
    pub fn accept(side: &ServerSide) -> Result<Session, Failure> {
        let connection = ServerConnection::new(Arc::clone(&side.config));
        let mut connection = connection.map_err(|error| Failure::of(error, ""))?;
        connection.set_buffer_limit(Some(SEALED));
        Ok(Session {
            connection: connection.into(),
            name: Box::default(),
        })
    }

    /// That with the upstream at `host`; the files of `tls` are read now.
    ///
    /// # Errors
    /// What is wrong with the files, or with the name of the host.
    pub fn connect(side: &mut ClientSide, tls: &BridgeTls, host: &str) -> Result<Session, Error> {
        let config = side.config(tls)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Refused(format!("{host} is neither a host name nor an address")))?;
        let connection = ClientConnection::new(config, name);
        let mut connection = connection.map_err(|why| Error::Refused(why.to_string()))?;
        connection.set_buffer_limit(Some(SEALED));
        Ok(Session {
            connection: connection.into(),
            name: host.into(),
        })
    }

    /// Decrypts what came, `sealed`, into `plain`, which has room for that and one record more. Returns
    /// how many bytes it became.
    ///
    /// # Errors
    /// The peer breaks the rules, or its certificate is refused. There may be something to write then.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut [u8]) -> Result<usize, Failure> {
        let mut len = 0;
        while !sealed.is_empty() {
            // Never fails: it reads from memory, and what it has read was taken out.
            let taken = self.connection.read_tls(&mut sealed).unwrap_or(0);
            let processed = self.connection.process_new_packets();
            processed.map_err(|error| Failure::of(error, &self.name))?;
            len += self.drain(plain.get_mut(len..).unwrap_or_default());
            if taken == 0 {
                break;
            }
        }
        Ok(len)
    }

    /// Takes out what is decrypted.
    fn drain(&mut self, plain: &mut [u8]) -> usize {
        let mut len = 0;
        while let Some(room) = plain.get_mut(len..).filter(|room| !room.is_empty()) {
            match self.connection.reader().read(room) {
                Ok(n) if n > 0 => len += n,
                // Nothing more now, or never again: the end of the connection says so, too.
                _ => break,
            }
        }
        len
    }

    /// Encrypts as much of `plain` as may lie unsent. Returns how many bytes of it.
    pub fn seal(&mut self, plain: &[u8]) -> usize {
        // Never fails: it writes to memory.
        self.connection.writer().write(plain).unwrap_or(0)
    }

    /// Writes what is encrypted, or belongs to a handshake, to `out`, with one call. Returns how many
    /// bytes were taken.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, out: &mut dyn Write) -> io::Result<usize> {
        self.connection.write_tls(out)
    }

    /// True if there is something to write.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// True until both sides have shown who they are.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The peer is to be told that nothing more comes.
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// What the peer's certificate says, if it has shown one.
    #[must_use]
    pub fn peer(&self) -> Option<Certificate> {
        Certificate::read(self.connection.peer_certificates()?.first()?)
    }

    /// The version and the cipher suite, for the log.
    #[must_use]
    pub fn terms(&self) -> String {
        let version = self.connection.protocol_version();
        let suite = self.connection.negotiated_cipher_suite();
        let resumed = match self.connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => ", resumed",
            _ => "",
        };
        match (version, suite) {
            (Some(version), Some(suite)) => format!("{version:?} {:?}{resumed}", suite.suite()),
            _ => "no TLS yet".to_owned(),
        }
    }
}
