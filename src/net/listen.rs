//! Listening sockets: bound at the start where that can be had, else later.

mod accept;
mod bind;
mod descriptors;
mod error;
mod late;
mod names;
mod section;
mod trial;
mod unix;

pub use accept::serve;
pub use bind::{Bound, Start, Waiting, bind};
pub use descriptors::most_connections;
pub use error::Error;
pub(in crate::net) use error::Failure;
pub use late::listen_late;
pub use names::{Found, addresses_of, is_here, look_up};
pub use section::Listener;
pub use trial::{Trial, try_out};
pub(in crate::net) use unix::Place;

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::path::Path;
    use std::rc::Rc;

    use super::*;
    use crate::config::{self, Family};
    use crate::net::Reactor;

    fn address(listener: &Listener) -> SocketAddr {
        listener.to_string().parse().unwrap()
    }

    fn reactor() -> Rc<Reactor> {
        Reactor::new().unwrap()
    }

    fn section(bind: Option<&str>, port: u16) -> config::Listener {
        config::Listener {
            bind: bind.map(str::to_owned),
            ..config::Listener::on(port)
        }
    }

    fn try_bind(sections: &[config::Listener]) -> Result<Bound, Vec<Error>> {
        bind(&reactor(), sections, &[], Start::Plain)
    }

    /// The listeners of a configuration in which nothing is wrong or late.
    fn bound(sections: &[config::Listener]) -> Vec<Listener> {
        let bound = try_bind(sections).unwrap();
        assert!(bound.waiting.is_empty(), "{:?}", bound.waiting);
        bound.listeners
    }

    /// All that is wrong with a configuration, a line each.
    fn errors(sections: &[config::Listener]) -> Vec<String> {
        let errors = try_bind(sections).unwrap_err();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        lines
    }

    /// What is waited for, a line each.
    fn waiting(bound: &Bound) -> Vec<String> {
        bound.waiting.iter().map(|w| w.error.to_string()).collect()
    }

    fn free_port() -> u16 {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    }

    /// TEST-NET-1 (RFC 5737): on no interface.
    const NOBODYS: &str = "192.0.2.1";

    #[test]
    fn no_listener_means_loopback_of_both_families() {
        let free = free_port();
        let bound = bind(&reactor(), &[], &[free], Start::Plain).unwrap();
        assert!(!bound.listeners.is_empty());
        for listener in bound.listeners {
            let address = address(&listener);
            assert!(address.ip().is_loopback());
            assert_eq!(address.port(), free);
            assert_eq!(listener.section.index, 0);
        }
    }

    #[test]
    fn a_listener_keeps_the_index_of_its_section() {
        let bound = bound(&[section(Some("127.0.0.1"), 0), section(Some("localhost"), 0)]);
        assert_eq!(bound[0].section.index, 0);
        assert_eq!(bound[1].section.index, 1);
    }

    /// Alone it ends the start: whoever watches over the process starts it again.
    #[test]
    fn a_port_in_use_is_named_with_the_cure() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let lines = errors(&[section(Some("127.0.0.1"), port)]);
        let wanted = format!("cannot listen on 127.0.0.1 port {port}: ");
        assert!(lines[0].starts_with(&wanted), "{lines:?}");
        assert!(
            lines[0].contains("another program has this port"),
            "{lines:?}"
        );
    }

    #[test]
    fn one_listener_is_served_while_another_waits_for_its_port() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = section(Some("127.0.0.1"), held.local_addr().unwrap().port());
        let bound = try_bind(&[taken, section(Some("127.0.0.1"), 0)]).unwrap();
        assert_eq!(bound.listeners[0].section.index, 1);
        assert_eq!(bound.waiting[0].section.index, 0);
    }

    /// Its bridge comes up after the services of a router. That is no error even if nothing else is
    /// to be had yet.
    #[test]
    fn what_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut unix = section(None, 0);
        unix.net.path = Some(folder.path().join("later/mqtt.sock"));
        let mut interface = section(None, free_port());
        interface.net.interface = Some("nonesuch0".to_owned());
        interface.net.family = Some(Family::V4);
        let absent = [
            (section(Some(NOBODYS), 0), "no interface has this address"),
            (unix, "the folder must exist"),
            (interface, "bind_interface nonesuch0: "),
            (section(Some("nobody.invalid"), 0), "does not resolve"),
        ];
        for (one, says) in absent {
            let alone = try_bind(std::slice::from_ref(&one)).unwrap();
            assert!(alone.listeners.is_empty());
            let both = try_bind(&[one, section(Some("127.0.0.1"), 0)]).unwrap();
            assert_eq!(both.listeners[0].section.index, 1);
            assert!(waiting(&both)[0].contains(says), "{:?}", waiting(&both));
            assert_eq!(waiting(&alone), waiting(&both));
        }
    }

    #[test]
    fn mistakes_are_all_told() {
        let mut web = section(Some("127.0.0.1"), 0);
        web.web.protocol = config::Protocol::Http;
        web.web.http_dir = Some("/nonexistent/www".into());
        let mut other = section(Some("127.0.0.1"), 0);
        other.net.family = Some(Family::V6);
        let mut long = section(None, 0);
        long.net.path = Some("x".repeat(200).into());
        let lines = errors(&[web, other, section(Some("127.0.0.1"), 0), long]);
        let says = ["http_dir /nonexistent/www", "socket_domain", "107 bytes"];
        assert_eq!(lines.len(), says.len(), "{lines:?}");
        for (line, says) in lines.iter().zip(says) {
            assert!(line.contains(says), "{line}");
        }
    }

    /// It would wait for itself.
    #[test]
    fn a_listener_in_the_way_of_another_is_a_mistake() {
        let port = free_port();
        for (one, other) in [
            (Some("127.0.0.1"), Some("127.0.0.1")),
            (Some("localhost"), Some("127.0.0.1")),
            (Some("127.0.0.1"), None),
            (None, Some("127.0.0.1")),
            (None, None),
        ] {
            let lines = errors(&[section(one, port), section(other, port)]);
            assert_eq!(lines.len(), 1, "{one:?} {other:?} {lines:?}");
            assert!(lines[0].contains("another `listener`"), "{lines:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut unix = section(None, 0);
        unix.net.path = Some(folder.path().join("mqtt.sock"));
        let lines = errors(&[unix.clone(), unix]);
        assert!(lines[0].contains("another `listener`"), "{lines:?}");
    }

    /// Its clients count on it, and what could be bound before may take rights that it gave up.
    #[test]
    fn nothing_ends_a_broker_that_starts_over() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = section(Some("127.0.0.1"), held.local_addr().unwrap().port());
        let mut unix = section(None, 0);
        unix.net.path = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        let bound = bind(&reactor(), &[taken, unix], &[], Start::Again).unwrap();
        assert_eq!((bound.listeners.len(), bound.waiting.len()), (0, 2));
    }

    /// Before `user` is another: what can't be bound later is bound at once where that goes, else
    /// it is told.
    #[test]
    fn rights_that_will_be_missing() {
        let start = |port| {
            let mut there = section(None, port);
            there.net.path = None;
            there.net.interface = Some("nonesuch0".to_owned());
            let sections = [there, section(Some(NOBODYS), port)];
            bind(&reactor(), &sections, &[], Start::AsRoot).unwrap()
        };
        let plain = start(free_port());
        assert!(plain.listeners.is_empty());
        assert!(plain.waiting.iter().all(|waiting| !waiting.lacks_rights));
        let roots = start(953);
        assert!(roots.waiting[0].lacks_rights);
        // Only who may do that can be given a port of root.
        if roots.waiting.len() == 1 {
            assert_eq!(address(&roots.listeners[0]).to_string(), "192.0.2.1:953");
        }
    }

    #[test]
    fn socket_domain_picks_the_family() {
        for (family, is_v4) in [(Family::V4, true), (Family::V6, false)] {
            let mut any = section(None, free_port());
            any.net.family = Some(family);
            for listener in bound(&[any]) {
                assert_eq!(address(&listener).is_ipv4(), is_v4);
            }
        }
    }

    #[test]
    fn an_interface_is_bound() {
        let mut any = section(None, free_port());
        any.net.interface = Some("lo".to_owned());
        any.net.family = Some(Family::V4);
        let bound = bound(&[any]);
        let port = address(&bound[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}
