//! TLS of the listeners: its files, and what the log says of certificates.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::config::{Config, Listener};
use crate::tls::{self, Certificate, ClientSide, Clock, ServerSide, describe};

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
    let listeners = Tls::read(config, Clock::default(), None).err();
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
    /// Reads the files of the listeners; `before` is what was read of them last.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn read(
        config: &Config,
        clock: Clock,
        before: Option<&Tls>,
    ) -> Result<Tls, Vec<Error>> {
        let (mut sides, mut errors) = (Vec::new(), Vec::new());
        for (n, listener) in config.listeners.iter().enumerate() {
            let before = before.and_then(|tls| tls.sides.get(n)?.as_ref());
            match side(listener, &clock, before) {
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

    /// Says which certificates the listeners and the bridges show, and warns of those that end soon.
    pub(super) fn tell(&self, config: &Config) {
        for (owner, certificate) in self.certificates(config) {
            log::info!("{owner}: certificate {}.", describe(&certificate));
        }
        if self.sides.iter().any(Option::is_some)
            && let Some(line) = self.clock.complaint()
        {
            log::warn!("{line}");
        }
        self.tell_expiring(config);
    }

    /// Warns of the certificates and revocation lists that end soon or have ended.
    pub(super) fn tell_expiring(&self, config: &Config) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.clock.tell(now.unwrap_or_default());
        for (owner, certificate) in self.certificates(config) {
            if let Some(line) = warning(
                (certificate.not_before, certificate.not_after),
                self.clock.now(),
            ) {
                log::warn!("{owner}: {line}");
            }
        }
        for (listener, side) in config.listeners.iter().zip(&self.sides) {
            let lines = side
                .iter()
                .flat_map(|side| side.warn_of_lists(self.clock.now()));
            for line in lines {
                log::warn!("listener {}: {line}", listener.name());
            }
        }
    }

    /// Those of the listeners, as they are in use, and those of the bridges, as they are in their files;
    /// with whose each is.
    fn certificates(&self, config: &Config) -> Vec<(String, Certificate)> {
        let listeners = config.listeners.iter().zip(&self.sides);
        let listeners = listeners.filter_map(|(listener, side)| {
            let owner = format!("listener {}", listener.name());
            Some((owner, side.as_ref()?.certificate.clone()))
        });
        let bridges = config.bridges.iter().filter_map(|bridge| {
            let mut addresses = bridge.addresses.iter();
            addresses.find(|address| bridge.tls.to(address).is_some())?;
            // What can't be read, the next connect complains of.
            let certificate = Certificate::of_file(bridge.tls.certfile.as_deref()?).ok()?;
            Some((format!("connection {}", bridge.name), certificate))
        });
        listeners.chain(bridges).collect()
    }
}

fn side(
    listener: &Listener,
    clock: &Clock,
    before: Option<&ServerSide>,
) -> Result<Option<ServerSide>, tls::Error> {
    let tls = &listener.tls;
    if tls.certfile.is_none() && tls.keyfile.is_none() {
        return Ok(None);
    }
    ServerSide::new(tls, listener.web.protocol, clock, before).map(Some)
}

/// What there is to warn of at `now` about a certificate that holds from one moment to another, all since
/// 1970.
fn warning((not_before, not_after): (Duration, Duration), now: Duration) -> Option<String> {
    if not_after < now {
        let line =
            "its certificate has expired, and is refused: renew it; SIGHUP takes the new one.";
        return Some(line.to_owned());
    }
    if now < not_before {
        let line =
            "its certificate is not valid yet: is the clock right, here or where it was made?";
        return Some(line.to_owned());
    }
    let left = not_after - now;
    let days = left.as_secs() / 86_400;
    (left < SOON).then(|| {
        format!("its certificate expires in {days} days: renew it; SIGHUP takes the new one.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_thirty_days_before_its_end() {
        let days = |days: u64| Duration::from_secs(86_400 * days);
        for (now, says) in [
            (99, Some("not valid yet")),
            (100, None),
            (170, None),
            (171, Some("expires in 29 days")),
            (200, Some("expires in 0 days")),
            (201, Some("has expired")),
        ] {
            let line = warning((days(100), days(200)), days(now));
            let is_said = says.map(|says| line.as_ref().is_some_and(|line| line.contains(says)));
            assert!(is_said.unwrap_or(line.is_none()), "{now}: {line:?}");
        }
    }

    /// A file that asks for TLS does not start a broker that speaks without it.
    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_refuses_it() {
        let text = "listener 1\ncertfile /c\nkeyfile /k\nconnection b\naddress u\ntopic #\nbridge_cafile /a";
        let config = Config::parse(text, "x", &crate::config::Env::default()).unwrap();
        let wrong = check(&config.config);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(
            wrong.iter().all(|line| line.contains("built without TLS")),
            "{wrong:?}"
        );
    }
}
