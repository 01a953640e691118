//! Whether listeners could be had, without listening.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use super::error::{Error, Kind};
use super::names::Found;
use super::section::Section;
use crate::config;
use crate::net::reactor::Reactor;

/// What was found out about listeners.
#[derive(Debug, Default)]
pub struct Trial {
    /// What would end the start, and host names that do not resolve.
    pub wrong: Vec<Error>,
    /// What a start would wait for.
    pub absent: Vec<Error>,
}

/// Finds out which of `listeners` could not be bound. Ports are not tried: a broker that runs has
/// them, and who may bind them is another. `found` has what became of the look-up of their host
/// names.
///
/// # Errors
/// When the system has no room for an epoll descriptor.
pub fn try_out(
    listeners: &[config::Listener],
    found: &BTreeMap<String, Found>,
) -> io::Result<Trial> {
    let reactor: Rc<Reactor> = Reactor::new()?;
    let mut trial = Trial::default();
    for (index, config) in listeners.iter().enumerate() {
        let section = match Section::new(&reactor, index, config) {
            Ok(section) => section,
            Err(error) => {
                trial.wrong.push(error);
                continue;
            }
        };
        let host = config.bind.as_ref().and_then(|host| found.get(host));
        let is_unknown = host.is_some_and(|found| found.is_err());
        let answer = host.map(|found| match found {
            Ok(addresses) => Ok(addresses.clone()),
            // It can't be cloned.
            Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
        });
        for error in section.try_out(answer) {
            let is_absent = error.kind() == Kind::Absent && !is_unknown;
            let list = if is_absent {
                &mut trial.absent
            } else {
                &mut trial.wrong
            };
            list.push(error);
        }
    }
    Ok(trial)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Env};
    use crate::net::listen::names::look_up;

    fn lines(text: &str) -> (Vec<String>, Vec<String>) {
        let config = Config::parse(text, "x", &Env::default()).unwrap().config;
        let hosts = config.listeners.iter().filter_map(|l| l.bind.as_deref());
        let found = look_up(hosts, Duration::from_secs(60));
        let trial = try_out(&config.listeners, &found).unwrap();
        let told = |errors: Vec<Error>| errors.iter().map(Error::to_string).collect();
        (told(trial.wrong), told(trial.absent))
    }

    /// What another program has, and the ports of root, are not this one's to try.
    #[test]
    fn what_can_be_had_is_fine() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let _held = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let text = format!(
            "listener {port} 127.0.0.1\nlistener 80 localhost\nlistener 81\nlistener 0 {}\n\
             listener 82\nbind_interface lo\nsocket_domain ipv4",
            path.display()
        );
        assert_eq!(lines(&text), (vec![], vec![]));
    }

    #[test]
    fn all_that_is_wrong_or_missing_is_told() {
        let (wrong, absent) = lines(
            "listener 1 192.0.2.1\nlistener 2 nobody.invalid\nlistener 3\nbind_interface none0\n\
             listener 0 /nonexistent/a.sock\nlistener 0 /etc/passwd\nlistener 4 127.0.0.1\n\
             socket_domain ipv6\nlistener 5\nprotocol http\nhttp_dir /nonexistent",
        );
        for (line, says) in wrong.iter().zip([
            "nobody.invalid port 2: ",
            "/etc/passwd: ",
            "socket_domain",
            "http_dir /nonexistent",
        ]) {
            assert!(line.contains(says), "{line}");
        }
        for (line, says) in absent.iter().zip([
            "192.0.2.1 port 1: ",
            "bind_interface none0: ",
            "/nonexistent/a.sock: ",
        ]) {
            assert!(line.contains(says), "{line}");
        }
        assert_eq!((wrong.len(), absent.len()), (4, 3), "{wrong:?} {absent:?}");
    }
}
