//! One TLS connection, without its socket.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{ClientConnection, Connection, HandshakeKind};

use super::certificate::Certificate;
use super::client::ClientSide;
use super::error::Error;
use super::explain::Failure;
use super::server::{Configs, ServerSide};
use crate::config::BridgeTls;

/// What may lie encrypted and unsent, in bytes: [`Session::seal`] takes no more. Two records as large as they
/// may be, so that a peer that reads nothing holds little.
const SEALED: usize = 32 * 1024;

/// One end of a TLS connection. Until the handshake is done, what comes in goes through
/// [`Session::advance`], from then on through [`Session::open`]; what is to go out through
/// [`Session::seal`] and [`Session::write`].
pub struct Session {
    state: State,
    /// What the peer was called, for sentences about it; empty for a client.
    name: Box<str>,
    /// The peer has said that nothing more comes, or broken the rules.
    has_ended: bool,
    /// How, once what came before is taken.
    failed: Option<Failure>,
    /// By which the certificate of a client is judged that goes on with its session; taken when it was.
    judge: Option<Arc<Configs>>,
}

enum State {
    /// A client has yet to say what it wants.
    Hello(Acceptor, Arc<Configs>),
    /// The rest of the handshake, and all that comes after it.
    Open(Connection),
    /// The client was told why nothing comes of it, once that is written.
    Refused(AcceptedAlert),
    /// Nothing comes of it, and all is said.
    Over,
}

impl std::fmt::Debug for Session {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.terms())
    }
}

impl Session {
    /// That of a client of a listener.
    #[must_use]
    pub fn accept(side: &ServerSide) -> Session {
        Session {
            state: State::Hello(Acceptor::default(), Arc::clone(&side.configs)),
            name: Box::default(),
            has_ended: false,
            failed: None,
            judge: Some(Arc::clone(&side.configs)),
        }
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
            state: State::Open(connection.into()),
            name: host.into(),
            has_ended: false,
            failed: None,
            judge: None,
        })
    }

    /// Goes on with the handshake by what came, `sealed`: signatures and curves, so it takes as long as
    /// the machine needs for those. What comes behind the handshake waits for [`Session::open`].
    ///
    /// # Errors
    /// The peer breaks the rules, or its certificate is refused. There may be something to write then.
    pub fn advance(&mut self, mut sealed: &[u8]) -> Result<(), Failure> {
        while !sealed.is_empty() {
            let before = sealed.len();
            match &mut self.state {
                State::Hello(acceptor, _) => {
                    acceptor
                        .read_tls(&mut sealed)
                        .map_err(Failure::of_buffers)?;
                    match acceptor.accept() {
                        Ok(None) => {}
                        Ok(Some(accepted)) => {
                            self.begin(accepted)?;
                            // What came right behind the ClientHello.
                            self.process()?;
                        }
                        Err((error, alert)) => return Err(self.refuse(error, alert)),
                    }
                }
                State::Open(connection) => {
                    connection
                        .read_tls(&mut sealed)
                        .map_err(Failure::of_buffers)?;
                    self.process()?;
                }
                // It will be closed.
                State::Refused(_) | State::Over => return Ok(()),
            }
            if sealed.len() == before {
                // Behind the end that the peer has announced nothing counts.
                break;
            }
        }
        Ok(())
    }

    /// Takes in what was read.
    fn process(&mut self) -> Result<(), Failure> {
        if let State::Open(connection) = &mut self.state {
            let processed = connection.process_new_packets();
            let state = processed.map_err(|error| Failure::of(error, &self.name))?;
            self.has_ended |= state.peer_has_closed();
            if !connection.is_handshaking()
                && let Some(configs) = self.judge.take()
                && let Err(error) = configs.judge_again(connection)
            {
                // Nor does the ticket leave that would let it try that again.
                self.state = State::Over;
                return Err(Failure::of(error, &self.name));
            }
        }
        Ok(())
    }

    /// The client has said what it wants.
    fn begin(&mut self, accepted: Accepted) -> Result<(), Failure> {
        let State::Hello(_, configs) = &self.state else {
            crate::impossible!("a second ClientHello was accepted");
            return Ok(());
        };
        let config = configs.for_client(accepted.client_hello().alpn());
        match accepted.into_connection(Arc::clone(config)) {
            Ok(mut connection) => {
                connection.set_buffer_limit(Some(SEALED));
                self.state = State::Open(connection.into());
                Ok(())
            }
            Err((error, alert)) => Err(self.refuse(error, alert)),
        }
    }

    fn refuse(&mut self, error: rustls::Error, alert: AcceptedAlert) -> Failure {
        self.state = State::Refused(alert);
        Failure::of(error, &self.name)
    }

    /// Decrypts what came, `sealed`, into `plain`, which has room for that and one record more. Returns
    /// how many bytes it became.
    ///
    /// # Errors
    /// The peer breaks the rules. There may be something to write then.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut [u8]) -> Result<usize, Failure> {
        let State::Open(connection) = &mut self.state else {
            crate::impossible!("a record is to be decrypted before the handshake");
            return Ok(0);
        };
        // What came with the end of the handshake is first.
        let mut len = drain(connection, plain);
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        while !sealed.is_empty() {
            let taken = connection
                .read_tls(&mut sealed)
                .map_err(Failure::of_buffers)?;
            match connection.process_new_packets() {
                Ok(state) => self.has_ended |= state.peer_has_closed(),
                Err(error) => {
                    let failure = Failure::of(error, &self.name);
                    // What came whole before it counts.
                    len += drain(connection, plain.get_mut(len..).unwrap_or_default());
                    if len == 0 {
                        return Err(failure);
                    }
                    (self.failed, self.has_ended) = (Some(failure), true);
                    break;
                }
            }
            len += drain(connection, plain.get_mut(len..).unwrap_or_default());
            if taken == 0 {
                // Behind the end that the peer has announced nothing counts.
                break;
            }
        }
        Ok(len)
    }

    /// True once the peer has said that nothing more comes, or has broken the rules; what came before that may still wait for
    /// [`Session::open`].
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Encrypts as much of `plain` as may lie unsent. Returns how many bytes of it.
    pub fn seal(&mut self, plain: &[u8]) -> usize {
        match &mut self.state {
            // Never fails: it writes to memory.
            State::Open(connection) => connection.writer().write(plain).unwrap_or(0),
            _ => 0,
        }
    }

    /// Writes what is encrypted, or belongs to a handshake, to `out`, with one call. Returns how many
    /// bytes were taken.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&mut self, out: &mut dyn Write) -> io::Result<usize> {
        match &mut self.state {
            State::Open(connection) => connection.write_tls(out),
            State::Refused(alert) => {
                let written = alert.write(out)?;
                // It is a few bytes: the kernel takes them all, or the client has lost interest.
                self.state = State::Over;
                Ok(written)
            }
            State::Hello(..) | State::Over => Ok(0),
        }
    }

    /// True if there is something to write.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        match &self.state {
            State::Open(connection) => connection.wants_write(),
            State::Refused(_) => true,
            State::Hello(..) | State::Over => false,
        }
    }

    /// True until both sides have shown who they are.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Open(connection) => connection.is_handshaking(),
            _ => true,
        }
    }

    /// The peer is to be told that nothing more comes.
    pub fn close(&mut self) {
        if let State::Open(connection) = &mut self.state {
            connection.send_close_notify();
        }
    }

    /// What the peer's certificate says, if it has shown one.
    #[must_use]
    pub fn peer(&self) -> Option<Certificate> {
        let State::Open(connection) = &self.state else {
            return None;
        };
        Certificate::read(connection.peer_certificates()?.first()?)
    }

    /// The version and the cipher suite, for the log.
    #[must_use]
    pub fn terms(&self) -> String {
        let State::Open(connection) = &self.state else {
            return "no TLS yet".to_owned();
        };
        let version = connection.protocol_version();
        let suite = connection.negotiated_cipher_suite();
        let resumed = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => ", resumed",
            _ => "",
        };
        match (version, suite) {
            (Some(version), Some(suite)) => format!("{version:?} {:?}{resumed}", suite.suite()),
            _ => "no TLS yet".to_owned(),
        }
    }
}

/// Takes out what is decrypted.
fn drain(connection: &mut Connection, plain: &mut [u8]) -> usize {
    let mut len = 0;
    while let Some(room) = plain.get_mut(len..).filter(|room| !room.is_empty()) {
        match connection.reader().read(room) {
            Ok(n) if n > 0 => len += n,
            // Nothing more now, or never again: `Session::has_ended` tells.
            _ => break,
        }
    }
    len
}
