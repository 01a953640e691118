//! `auth_socket`: another program says who may connect, and to what.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Kind;
use crate::config::keys::key::Section::General as S;
use crate::config::keys::key::Unset::{Is, Means};
use crate::config::keys::key::{Key, implemented, set_security};
use crate::config::value::Value;

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        S,
        "auth_socket",
        "PATH",
        Means("nobody is asked"),
        "The Unix socket of a program that says who may connect, and what they may do.",
        "footbridge keeps one connection to it, sends a line of JSON for each login, and takes a line \
         of JSON for an answer: allow, deny or ignore, with access rules for the client if it likes; \
         footbridge-auth-socket(5) has the words and an example. A user name that stands in \
         password_file is never asked about; all others are, and clients without a user name. After ignore \
         it is as without auth_socket. A user name with an empty password is refused without a \
         question, and so is one of more than 4096 bytes, or such a password, or a client id above \
         max_clientid_length. While nobody answers, logins that need an answer are refused as server \
         unavailable, and the log says so once. With per_listener_settings it belongs to the listener \
         above it. Read again on SIGHUP: who was let in by a socket that is gone is disconnected.",
        set_security!(auth_socket, v => Some(socket(v)?)),
    ),
    implemented(
        S,
        "auth_socket_cache",
        "DURATION",
        Is("300"),
        "How long an answer of auth_socket that lets a client in counts for its next logins.",
        "For the same client id, user name, password and address; who has no client id of its own is asked \
         about each time. At most a day; 0 asks each time. An \
         answer may say less or more for itself. SIGHUP and a revocation by the program end it. \
         Refusals are never kept. With per_listener_settings it belongs to the listener above it.",
        set_security!(auth_socket_cache, v => span(v, Duration::ZERO, DAY, "0 to 1d")?),
    ),
    implemented(
        S,
        "auth_socket_timeout",
        "DURATION",
        Is("5"),
        "How long auth_socket may take for an answer.",
        "From 100ms to 30s. After that the client is refused as server unavailable. With \
         per_listener_settings it belongs to the listener above it. Read again on SIGHUP.",
        set_security!(auth_socket_timeout, v => span(v, SHORTEST, LONGEST, "100ms to 30s")?),
    ),
];

/// The path of a Unix socket.
pub(super) fn socket(v: Value<'_>) -> Result<PathBuf, Kind> {
    const MOST: usize = 107;
    let path = v.path()?;
    if path.as_os_str().len() > MOST {
        return Err(Kind::bad(v.0, format!("a path of at most {MOST} bytes")));
    }
    Ok(path)
}

const DAY: Duration = Duration::from_secs(86_400);
/// A program that is swapped out needs as long.
const SHORTEST: Duration = Duration::from_millis(100);
/// No login waits for longer than a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// A duration within bounds, which `wants` names.
fn span(v: Value<'_>, from: Duration, to: Duration, wants: &str) -> Result<Duration, Kind> {
    let span = v.duration()?;
    if span < from || span > to {
        return Err(Kind::bad(v.0, format!("a duration from {wants}")));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Env};

    #[test]
    fn durations_have_bounds() {
        let error = |text: &str| {
            let parsed = Config::parse(text, "x.conf", &Env::default());
            parsed.map(|_| ()).map_err(|errors| errors.to_string())
        };
        for good in [
            "auth_socket_timeout 100ms",
            "auth_socket_timeout 30",
            "auth_socket_cache 0",
            "auth_socket_cache 1d",
        ] {
            assert_eq!(error(good), Ok(()), "{good}");
        }
        for (bad, wants) in [
            ("auth_socket_timeout 0", "from 100ms to 30s"),
            ("auth_socket_timeout 31", "from 100ms to 30s"),
            ("auth_socket_cache 2d", "from 0 to 1d"),
            (
                &format!("auth_socket /{}", "x".repeat(107)),
                "at most 107 bytes",
            ),
        ] {
            let error = error(bad).unwrap_err();
            assert!(error.contains(wants), "{error}");
        }
    }
}
