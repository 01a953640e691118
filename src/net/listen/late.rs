//! Listeners that come late: their address, interface, folder or name was not there at the start,
//! or another program had it.

use std::io;
use std::time::Duration;

use smol::channel;

use super::bind::Waiting;
use super::names::{self, Found};
use super::section::{Listener, Spot};
use crate::net::hub::{Shared, sleep};

/// Between two attempts, at first and at most.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Between two lines of the log about it, at least and, while nothing changes, at most.
const SHORTEST_SILENCE: Duration = Duration::from_secs(60);
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Tries until it can be listened wherever `waiting` says, and gives each listener to `serve`.
pub async fn listen_late(waiting: Waiting, hub: Shared, mut serve: impl FnMut(Listener)) {
    let Waiting { section, error, .. } = waiting;
    log::warn!("{error}. Until that works it is tried again.");
    if waiting.lacks_rights {
        log::warn!(
            "Port {} takes the rights of root, which `user` has given up by then: restart \
             footbridge once it can be bound, or choose a port from 1024 on.",
            section.config.port
        );
    }
    let mut patience = Patience::new(error.to_string());
    hub.borrow_mut().health.waiting += 1;
    let mut open = vec![waiting.spot];
    while !open.is_empty() {
        sleep(&hub, patience.next_wait()).await;
        let mut failed = Vec::new();
        for spot in open {
            let found = match &spot {
                Spot::Name(host) => Some(look_up(host, section.config.port).await),
                _ => None,
            };
            let (bound, missing) = section.bind(spot, found);
            bound.into_iter().for_each(&mut serve);
            failed.extend(missing);
        }
        let errors: Vec<String> = failed.iter().map(|(_, e)| e.to_string()).collect();
        if let Some(error) = patience.worth_telling(errors.join(". ")) {
            log::warn!("{error}. It is still tried again.");
        }
        open = failed.into_iter().map(|(spot, _)| spot).collect();
    }
    hub.borrow_mut().health.waiting -= 1;
}

/// Looks a name up. Nothing else is started meanwhile, so there is never more than one thread a
/// listener.
async fn look_up(host: &str, port: u16) -> Found {
    let (sender, answer) = channel::bounded(1);
    names::start(host, port, move |found| {
        // Nobody waits any more: the broker stops.
        let _ = sender.try_send(found);
    })?;
    let gone = |_| Err(io::ErrorKind::BrokenPipe.into());
    answer.recv().await.unwrap_or_else(gone)
}

/// When to try again, and when to say so. Its clock is what it has asked to wait.
#[derive(Debug)]
struct Patience {
    wait: Duration,
    /// Since the last line of the log.
    silent: Duration,
    /// How long to be silent while nothing changes.
    silence: Duration,
    told: String,
}

impl Patience {
    fn new(told: String) -> Patience {
        Patience {
            wait: FIRST_WAIT / 2,
            silent: Duration::ZERO,
            silence: SHORTEST_SILENCE,
            told,
        }
    }

    fn next_wait(&mut self) -> Duration {
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.silent += self.wait;
        self.wait
    }

    /// `what`, if it is to be told: something else than the last time, or for long nothing was.
    fn worth_telling(&mut self, what: String) -> Option<&str> {
        let is_new = what != self.told;
        let due = if is_new {
            SHORTEST_SILENCE
        } else {
            self.silence
        };
        if what.is_empty() || self.silent < due {
            return None;
        }
        self.silent = Duration::ZERO;
        self.silence = if is_new {
            SHORTEST_SILENCE
        } else {
            (self.silence * 10).min(LONGEST_SILENCE)
        };
        self.told = what;
        Some(&self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::net::half::tests::hub;
    use crate::net::listen::{Start, bind};

    #[test]
    fn what_has_come_is_listened_on() {
        let (reactor, hub) = hub();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/mqtt.sock");
        let mut unix = config::Listener::on(0);
        unix.net.path = Some(path.clone());
        let named = config::Listener {
            bind: Some("nobody.invalid".to_owned()),
            ..config::Listener::on(0)
        };
        let mut bound = bind(&reactor, &[unix, named], &[], Start::Plain).unwrap();
        let mut name = bound.waiting.pop().unwrap();
        name.spot = Spot::Name("localhost".to_owned());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        for (waiting, at) in [
            (bound.waiting.pop().unwrap(), "/later/mqtt.sock"),
            (name, ":"),
        ] {
            let mut served = Vec::new();
            reactor.block_on(listen_late(waiting, hub.clone(), |new| served.push(new)));
            assert!(served[0].to_string().contains(at), "{served:?}");
        }
    }

    /// The seconds at which `what` is told, of a week.
    fn told(what: impl Fn(u64) -> &'static str) -> Vec<u64> {
        let mut patience = Patience::new(what(0).to_owned());
        let (mut now, mut told) = (0, Vec::new());
        while now < 7 * 86_400 {
            now += patience.next_wait().as_secs();
            if patience.worth_telling(what(now).to_owned()).is_some() {
                told.push(now);
            }
        }
        told
    }

    #[test]
    fn attempts_are_quick_at_first_and_never_rare() {
        let mut patience = Patience::new(String::new());
        let waits: Vec<u64> = (0..7).map(|_| patience.next_wait().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10, 10]);
    }

    #[test]
    fn the_log_is_told_ever_more_rarely() {
        let same = told(|_| "no such address");
        assert!(same.len() < 12, "{same:?}");
        assert!((60..75).contains(&same[0]), "{same:?}");
        assert!((600..700).contains(&(same[1] - same[0])), "{same:?}");
        assert!(same.last() > Some(&(6 * 86_400)), "{same:?}");
    }

    /// Told soon, but not each time where it comes and goes.
    #[test]
    fn another_reason_is_told_within_a_minute() {
        let changed = told(|now| if now < 100_000 { "a" } else { "b" });
        assert!(changed.iter().any(|at| (100_000..100_080).contains(at)));
        let flapping = told(|now| if now / 10 % 2 == 0 { "a" } else { "b" });
        let apart = flapping.windows(2).all(|pair| pair[1] - pair[0] >= 60);
        assert!(apart && flapping.len() > 100, "{}", flapping.len());
    }

    #[test]
    fn what_works_is_not_told() {
        assert_eq!(told(|_| ""), [0; 0]);
    }
}
