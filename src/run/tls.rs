//! TLS of the listeners: its files, and what the log says of certificates.

use std::fmt;
use std::time::Duration;

use crate::config::{Config, Listener};
use crate::tls::{self, ClientSide, Clock, ServerSide, describe};

/// A certificate that ends so soon is warned of.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// What keeps a listener from speaking TLS.
#[derive(Debug)]
pub struct Error {
    listener: String,
    cause: tls::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}: {}", self.listener, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// What would keep listeners and bridges from speaking TLS.
pub(super) fn check(config: &Config) -> Vec<String> {
    let listeners = Tls::read(config, Clock::default()).err();
    let listeners = listeners.into_iter().flatten();
    let mut wrong: Vec<String> = listeners.map(|error| error.to_string()).collect();
    for bridge in &config.bridges {
        let mut addresses = bridge.addresses.iter();
        // It is the same for all that have any.
        let tls = addresses.find_map(|address| bridge.tls.to(address));
        if let Some(Err(error)) = tls.map(|tls| ClientSide::check(&tls)) {
            wrong.push(format!("connection {}: {error}", bridge.name));
        }
    }
    wrong
}

/// TLS of the listeners.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// What certificates are judged by.
    pub(super) clock: Clock,
    /// What the handshakes of each listener go by, in the order of the configuration; `None` for one
    /// without TLS.
    pub(super) sides: Vec<Option<ServerSide>>,
}

impl Tls {
    /// Reads the files of the listeners.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn read(config: &Config, clock: Clock) -> Result<Tls, Vec<Error>> {
        let (mut sides, mut errors) = (Vec::new(), Vec::new());
        for listener in &config.listeners {
            match side(listener, &clock) {
                Ok(side) => sides.push(side),
                Err(cause) => errors.push(Error {
                    listener: listener.name(),
                    cause,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Tls { clock, sides })
        } else {
            Err(errors)
        }
    }

    /// Says which certificates the listeners show, and warns of those that end soon.
    pub(super) fn tell(&self, config: &Config) {
        for (listener, side) in config.listeners.iter().zip(&self.sides) {
            if let Some(side) = side {
                let name = listener.name();
                let certificate = describe(&side.certificate);
                log::info!("listener {name}: certificate {certificate}.");
            }
        }
        if self.sides.iter().any(Option::is_some)
            && let Some(line) = self.clock.complaint()
        {
            log::warn!("{line}");
        }
        self.tell_expiring(config);
    }

    /// Warns of the certificates that end soon or have ended.
    pub(super) fn tell_expiring(&self, config: &Config) {
        for (listener, side) in config.listeners.iter().zip(&self.sides) {
            let now = self.clock.now();
            if let Some(line) = side.as_ref().and_then(|side| warning(side, now)) {
                log::warn!("listener {}: {line}", listener.name());
            }
        }
    }
}

fn side(listener: &Listener, clock: &Clock) -> Result<Option<ServerSide>, tls::Error> {
    let tls = &listener.tls;
    if tls.certfile.is_none() && tls.keyfile.is_none() {
        return Ok(None);
    }
    ServerSide::new(tls, listener.web.protocol, clock).map(Some)
}

fn warning(side: &ServerSide, now: Duration) -> Option<String> {
    let certificate = &side.certificate;
    let cure = "renew certfile, and SIGHUP takes the new one";
    if certificate.not_after < now {
        return Some(format!(
            "its certificate has expired, and clients refuse it: {cure}."
        ));
    }
    if now < certificate.not_before {
        return Some(
            "its certificate is not valid yet: is the clock right, here or where it was made?"
                .to_owned(),
        );
    }
    let left = certificate.not_after - now;
    let days = left.as_secs() / 86_400;
    (left < SOON).then(|| format!("its certificate expires in {days} days: {cure}."))
}
