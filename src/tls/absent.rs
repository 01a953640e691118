//! What stands here in a build without the feature `tls`: nothing can be made of it, and who asks for TLS
//! is told.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::clock::Clock;
use crate::config::{BridgeTls, CertificateUsername, ListenerTls, Protocol};

/// Why there is no TLS. Prints as one line: cause, then cure.
#[derive(Debug)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this footbridge was built without TLS (cargo feature `tls`): use one with it, or take certfile, \
             keyfile, bridge_cafile, bridge_capath and bridge_tls_use_os_certs out",
        )
    }
}

impl std::error::Error for Error {}

/// There is none.
#[derive(Clone, Copy, Debug)]
enum Never {}

/// Why a handshake failed; there is none.
#[derive(Debug)]
pub struct Failure(Never);

impl Failure {
    /// Never asked.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        match self.0 {}
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl std::error::Error for Failure {}

/// A certificate that nobody has read.
#[derive(Clone, Debug)]
pub struct Certificate {
    never: Never,
    /// As in a build with TLS.
    pub subject: String,
    /// As in a build with TLS.
    pub not_before: Duration,
    /// As in a build with TLS.
    pub not_after: Duration,
}

impl Certificate {
    /// # Errors
    /// Always.
    pub fn of_file(_: &Path) -> Result<Certificate, Error> {
        Err(Error)
    }

    /// Never asked.
    pub fn username(&self, _: CertificateUsername) -> Option<&str> {
        match self.never {}
    }
}

/// TLS of a listener; there is none.
#[derive(Clone, Debug)]
pub struct ServerSide {
    /// As in a build with TLS.
    pub certificate: Certificate,
}

impl ServerSide {
    /// Never asked.
    #[must_use]
    pub fn is_same(&self, _: &ServerSide) -> bool {
        match self.certificate.never {}
    }

    /// # Errors
    /// Always.
    pub fn new(
        _: &ListenerTls,
        _: Protocol,
        _: &Clock,
        _: Option<&ServerSide>,
    ) -> Result<ServerSide, Error> {
        Err(Error)
    }

    /// Never asked.
    #[must_use]
    pub fn warn_of_lists(&self, _: Duration) -> Vec<String> {
        match self.certificate.never {}
    }
}

/// TLS of a bridge, which comes to nothing.
#[derive(Debug)]
pub struct ClientSide;

impl ClientSide {
    /// As in a build with TLS.
    #[must_use]
    pub fn new(_: Clock) -> ClientSide {
        ClientSide
    }

    /// # Errors
    /// Always.
    pub fn check(_: &BridgeTls) -> Result<(), Error> {
        Err(Error)
    }
}

/// A TLS connection; there is none.
#[derive(Debug)]
pub struct Session(Never);

impl Session {
    /// Never asked: there is no [`ServerSide`].
    #[must_use]
    pub fn accept(side: &ServerSide) -> Session {
        match side.certificate.never {}
    }

    /// # Errors
    /// Always.
    pub fn connect(_: &mut ClientSide, _: &BridgeTls, _: &str) -> Result<Session, Error> {
        Err(Error)
    }

    /// Never asked.
    ///
    /// # Errors
    /// None.
    pub fn advance(&mut self, _: &[u8]) -> Result<(), Failure> {
        match self.0 {}
    }

    /// Never asked.
    ///
    /// # Errors
    /// None.
    pub fn open(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize, Failure> {
        match self.0 {}
    }

    /// Never asked.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.0 {}
    }

    /// Never asked.
    pub fn seal(&mut self, _: &[u8]) -> usize {
        match self.0 {}
    }

    /// Never asked.
    ///
    /// # Errors
    /// None.
    pub fn write(&mut self, _: &mut dyn Write) -> io::Result<usize> {
        match self.0 {}
    }

    /// Never asked.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match self.0 {}
    }

    /// Never asked.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match self.0 {}
    }

    /// Never asked.
    pub fn close(&mut self) {
        match self.0 {}
    }

    /// Never asked.
    #[must_use]
    pub fn peer(&self) -> Option<Certificate> {
        match self.0 {}
    }
}

/// Never asked.
#[must_use]
pub fn describe(certificate: &Certificate) -> String {
    match certificate.never {}
}
