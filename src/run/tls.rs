//! TLS of the listeners: its files, and what the log says of certificates.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::config::{Config, Listener, ListenerTls, Protocol};
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

/// A certificate or a list that ends soon, or does not hold.
#[derive(Debug)]
pub(super) struct Ending {
    /// Whose it is, and what there is to do.
    pub(super) line: String,
    /// It does not hold now.
    pub(super) is_invalid: bool,
}

/// The certificates and revocation lists that end soon or don't hold; nothing of listeners whose files can't
/// be read, which [`check`] tells.
pub(super) fn expiring(config: &Config) -> Vec<Ending> {
    let mut readable = config.clone();
    readable
        .listeners
        .retain(|listener| side(listener, &Clock::default(), None).is_ok());
    let tls = Tls::read(&readable, Clock::default());
    tls.map_or_else(|_| Vec::new(), |tls| tls.expiring(&readable))
}

/// TLS of the listeners.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// What certificates are judged by.
    pub(super) clock: Clock,
    /// What the handshakes of each listener go by, in the order of the configuration; `None` for one
    /// without TLS.
    pub(super) sides: Vec<Option<ServerSide>>,
    /// What each of them was made for.
    asked: Vec<Asked>,
}

/// What a listener is called, and what it asks of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    name: String,
    tls: ListenerTls,
    protocol: Protocol,
}

/// What was read of the listeners' files, and what could not be used.
struct Gathered {
    tls: Tls,
    /// By listeners that go on with what was read before, because they ask for the same.
    kept: Vec<Error>,
    /// By others.
    wrong: Vec<Error>,
}

impl Tls {
    /// Reads the files of the listeners.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn read(config: &Config, clock: Clock) -> Result<Tls, Vec<Error>> {
        let gathered = Tls::gather(config, clock, None);
        if gathered.wrong.is_empty() {
            Ok(gathered.tls)
        } else {
            Err(gathered.wrong)
        }
    }

    /// Reads them again. A listener that asks for the same as before, but whose files cannot be used, goes
    /// on with what was read then, as in Mosquitto, and the log says why: a key that only root could read
    /// must not stop what else is new.
    ///
    /// # Errors
    /// All that is wrong with the files of listeners that ask for something new.
    pub(super) fn read_again(&self, config: &Config) -> Result<Tls, Vec<Error>> {
        let gathered = Tls::gather(config, self.clock.clone(), Some(self));
        if !gathered.wrong.is_empty() {
            return Err(gathered.wrong);
        }
        for error in gathered.kept {
            log::error!("The certificates of this listener stay as they were: {error}");
        }
        Ok(gathered.tls)
    }

    fn gather(config: &Config, clock: Clock, before: Option<&Tls>) -> Gathered {
        let (mut kept, mut wrong) = (Vec::new(), Vec::new());
        let (mut sides, mut all_asked) = (Vec::new(), Vec::new());
        for listener in &config.listeners {
            let asked = Asked {
                name: listener.name(),
                tls: listener.tls.clone(),
                protocol: listener.web.protocol,
            };
            let known = before.and_then(|before| before.of(&asked.name));
            let old = known.map(|(_, side)| side);
            match side(listener, &clock, old) {
                Ok(side) => sides.push(side),
                Err(cause) => {
                    let same = known.filter(|(before, _)| **before == asked);
                    let errors = if same.is_some() {
                        &mut kept
                    } else {
                        &mut wrong
                    };
                    errors.push(Error {
                        listener: asked.name.clone(),
                        cause,
                    });
                    sides.push(same.map(|(_, side)| side.clone()));
                }
            }
            all_asked.push(asked);
        }
        let tls = Tls {
            clock,
            sides,
            asked: all_asked,
        };
        Gathered { tls, kept, wrong }
    }

    /// What the listener of this name has, if it speaks TLS. By the name: the next configuration may have
    /// others before it.
    fn of(&self, name: &str) -> Option<(&Asked, &ServerSide)> {
        let mut all = self.asked.iter().zip(&self.sides);
        let (asked, side) = all.find(|(asked, _)| asked.name == name)?;
        Some((asked, side.as_ref()?))
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
        for ending in self.expiring(config) {
            log::warn!("{}", ending.line);
        }
    }

    /// The certificates and revocation lists that end soon or don't hold.
    fn expiring(&self, config: &Config) -> Vec<Ending> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.clock.tell(now.unwrap_or_default());
        let now = self.clock.now();
        let mut lines = Vec::new();
        for (owner, certificate) in self.certificates(config) {
            let (from, to) = (certificate.not_before, certificate.not_after);
            lines.extend(warning((from, to), now).map(|line| Ending {
                line: format!("{owner}: {line}"),
                is_invalid: to < now || now < from,
            }));
        }
        for (listener, side) in config.listeners.iter().zip(&self.sides) {
            let warned = side.iter().flat_map(|side| side.warn_of_lists(now));
            lines.extend(warned.map(|line| Ending {
                line: format!("listener {}: {line}", listener.name()),
                is_invalid: false,
            }));
        }
        lines
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

    /// A folder with NAME.pem and NAME.key for each of these.
    #[cfg(feature = "tls")]
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            make_pair(folder.path(), name);
        }
        folder
    }

    #[cfg(feature = "tls")]
    fn make_pair(folder: &std::path::Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.join(format!("{name}.key")), key).unwrap();
    }

    /// Listeners on these ports, the second part of each being the name of its pair.
    #[cfg(feature = "tls")]
    fn config(folder: &std::path::Path, listeners: &[(u16, &str)]) -> Config {
        let lines = listeners.iter().map(|(port, name)| {
            let pair = folder.join(name);
            let pair = pair.display();
            format!("listener {port}\ncertfile {pair}.pem\nkeyfile {pair}.key\n")
        });
        let text: String = lines.collect();
        let env = crate::config::Env::default();
        Config::parse(&text, "x", &env).unwrap().config
    }

    /// What is shown by the listener at each place, by the name in the certificate.
    #[cfg(feature = "tls")]
    fn shown(tls: &Tls) -> Vec<&[String]> {
        let sides = tls.sides.iter().flatten();
        sides.map(|side| &*side.certificate.names).collect()
    }

    /// As where only root can read them, at the start.
    #[cfg(feature = "tls")]
    #[test]
    fn a_listener_whose_files_cannot_be_read_again_keeps_what_it_has() {
        let folder = folder(&["a", "b", "c"]);
        let folder = folder.path();
        let first = Tls::read(&config(folder, &[(1, "a"), (2, "b")]), Clock::default()).unwrap();
        std::fs::remove_file(folder.join("b.pem")).unwrap();
        make_pair(folder, "other");
        for end in ["pem", "key"] {
            let [new, old] = ["other", "a"].map(|name| folder.join(format!("{name}.{end}")));
            std::fs::copy(new, old).unwrap();
        }
        // The other listener has its new certificate, wherever the two stand.
        let second = first
            .read_again(&config(folder, &[(2, "b"), (1, "a")]))
            .unwrap();
        assert_eq!(shown(&second), [["b"], ["other"]]);
        assert_eq!(
            shown(&second.read_again(&config(folder, &[(2, "b")])).unwrap()),
            [["b"]]
        );
        // What is asked for anew has to be there.
        for listeners in [&[(3, "b")][..], &[(1, "b"), (2, "b")]] {
            let wrong = first.read_again(&config(folder, listeners)).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].to_string().contains("b.pem"), "{wrong:?}");
        }
        let without = Config::parse("listener 2", "x", &crate::config::Env::default());
        let without = first.read_again(&without.unwrap().config).unwrap();
        assert!(without.sides[0].is_none());
    }

    /// Starting over: a listener never has what another one had, nor nothing, where it asks for TLS.
    #[cfg(feature = "tls")]
    #[test]
    fn listeners_and_their_certificates_stay_together_when_starting_over() {
        use crate::run::prepare::Prepared;
        let folder = folder(&["a", "b"]);
        let folder = folder.path();
        let old = config(folder, &[(1, "a"), (2, "b")]);
        let tls = Tls::read(&old, Clock::default()).unwrap();
        let again = |listeners: &[(u16, &str)]| {
            let mut newer = config(folder, listeners);
            newer.general.max_keepalive = 7;
            let (rules, _) = crate::auth::Auth::for_config(&old).unwrap();
            let prepared = Prepared::again(&mut newer, &old, rules, &tls).unwrap();
            let ports: Vec<u16> = newer
                .listeners
                .iter()
                .map(|listener| listener.port)
                .collect();
            assert_eq!(newer.general.max_keepalive, 7);
            assert_eq!(prepared.tls.sides.len(), ports.len());
            (ports, shown(&prepared.tls).concat())
        };
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        assert_eq!(
            again(&[(2, "b"), (1, "a")]),
            (vec![2, 1], names(["b", "a"]))
        );
        for broken in [&[(3, "absent"), (1, "a")][..], &[(2, "absent")]] {
            assert_eq!(again(broken), (vec![1, 2], names(["a", "b"])));
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
