//! The second connection, which asks the primary whether it is there again while another address serves.
//!
//! It has a client id of its own: in a cluster the bridge's own would take the session from the
//! connection that works.

use log::{debug, info};

use crate::bridge::link::answer::read;
use crate::bridge::link::state::State;
use crate::bridge::link::{CONNECT_TIMEOUT, Link};
use crate::bridge::upstream::ladder::Ladder;
use crate::bridge::upstream::primary::Found;
use crate::bridge::{Error, Said};
use crate::config::UpstreamAddress;
use crate::config::log_type::NOTICE;
use crate::mqtt::{Connect, Disconnect, Packet, Props, Reason, Version, encode};
use crate::time::Time;

/// What the client id of the probe has behind that of the bridge.
const SUFFIX: &str = "-probe";

impl Link {
    /// When the next probe is due; `None` unless a secondary address serves.
    pub fn next_probe(&self) -> Option<Time> {
        let is_up = matches!(self.state, State::Up(_));
        self.primary.due().filter(|_| is_up)
    }

    /// Begins the probe that is due: the address of the primary, and by when TCP, TLS and WebSocket must
    /// stand. The CONNACK may take as long again.
    pub fn begin_probe(&mut self, now: Time) -> Option<(&UpstreamAddress, Time)> {
        if !matches!(self.state, State::Up(_)) || !self.primary.begins(now) {
            return None;
        }
        let ladder = self.ladders.first_mut();
        if let Some(ladder) = ladder.filter(|ladder| !ladder.was_refused()) {
            ladder.begin(&self.verdicts);
        }
        let address = self.spec.addresses.first()?;
        Some((address, now + CONNECT_TIMEOUT))
    }

    /// The version of MQTT that the probe speaks.
    pub fn probe_version(&self) -> Version {
        let ladder = self.ladders.first();
        ladder.map_or(Version::V311, |ladder| ladder.current().dialect.version)
    }

    /// Appends the CONNECT of the probe: without a session, and without a will.
    ///
    /// # Errors
    /// [`Error::Encode`] if a directive holds too long a value.
    pub fn probe_connect(&self, password: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Error> {
        let offer = self.ladders.first().map(Ladder::current);
        let offer = offer.ok_or(Error::GivenUp)?;
        let spec = &self.spec;
        let spare = super::spare_client_id(spec).filter(|_| !offer.own_client_id);
        let client_id = spare.as_deref().unwrap_or(&spec.remote_clientid).to_owned() + SUFFIX;
        let connect = Connect {
            version: offer.dialect.version,
            bridge: offer.dialect.bridge,
            clean_start: true,
            keep_alive: u16::try_from(spec.keepalive.as_secs()).unwrap_or(u16::MAX),
            client_id: &client_id,
            will: None,
            username: spec.remote_username.as_deref(),
            password: password.or(spec.remote_password.as_deref().map(str::as_bytes)),
            props: Props::EMPTY,
        };
        let version = offer.dialect.version;
        encode(&Packet::Connect(Box::new(connect)), version, out).map_err(Error::from)
    }

    /// Reads what the primary has answered so far. True once its CONNACK accepts; then `out` has the
    /// DISCONNECT to send.
    ///
    /// # Errors
    /// It does not accept: close the connection.
    pub fn probe_answer(
        &self,
        bytes: &[u8],
        max_packet: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let version = self.probe_version();
        match read(bytes, version, max_packet)? {
            None => Ok(false),
            Some((Packet::ConnAck(ack), _)) if ack.reason == Reason::SUCCESS => {
                let disconnect = Packet::Disconnect(Disconnect {
                    reason: Reason::SUCCESS,
                    props: Props::EMPTY,
                });
                encode(&disconnect, version, out)?;
                Ok(true)
            }
            Some((Packet::ConnAck(ack), _)) => {
                Err(Error::Refused(ack.reason, Said::new(&ack.props)))
            }
            Some((packet, _)) => Err(Error::Unexpected(packet.name())),
        }
    }

    /// The probe has ended like that. True if the bridge leaves for the primary: from now on nothing is sent
    /// to the address that serves, and [`Link::drive`] says when it is time.
    pub fn probed(&mut self, answer: Result<(), Error>, now: Time) -> bool {
        let State::Up(up) = &self.state else {
            return false;
        };
        let since = up.since;
        let found = answer.as_ref().map_or_else(found, |()| Found::Accepted);
        let leaves = self.primary.found(found, since, now, &mut self.rng);
        let name = &self.spec.name;
        let primary = self.spec.addresses.first();
        let primary = primary.map(ToString::to_string).unwrap_or_default();
        if leaves {
            let how = answer.err().map_or(String::new(), |error| {
                format!(", though it does not take the probe ({error})")
            });
            info!(
                target: NOTICE,
                "Bridge {name}: the primary {primary} is there again{how}: going back to it"
            );
            self.wire.shut();
        } else if let Err(error) = answer {
            debug!("Bridge {name}: no way back to the primary {primary}: {error}");
            self.probe_otherwise(&error, now);
        }
        leaves
    }

    /// A primary that refuses the version in so many words is offered another at once. All else says
    /// nothing of what it takes: it may be frozen, or on its way up.
    fn probe_otherwise(&mut self, error: &Error, now: Time) {
        let is_version = matches!(
            error,
            Error::Refused(Reason::UNSUPPORTED_PROTOCOL_VERSION, _)
        );
        let Some(ladder) = self.ladders.first_mut() else {
            return;
        };
        if is_version && ladder.refused(error, &self.verdicts).is_some() {
            self.primary.again(now);
        } else {
            ladder.begin(&self.verdicts);
        }
    }
}

/// What it means that the primary did not accept the probe.
fn found(error: &Error) -> Found {
    match error {
        Error::Refused(
            Reason::CLIENT_IDENTIFIER_NOT_VALID
            | Reason::NOT_AUTHORIZED
            | Reason::BAD_USER_NAME_OR_PASSWORD,
            _,
        ) => Found::Stranger,
        Error::Closed(_) => Found::Closed,
        _ => Found::Nothing,
    }
}
