//! What holds for a connection before anybody knows who it is.

use std::net::SocketAddr;

use super::*;
use crate::broker::ConnId;
use crate::mqtt::{Connect, Packet, Props};

const HERE: &str = "192.0.2.1:1";
const THERE: &str = "192.0.2.2:1";

impl World {
    fn at(&mut self, address: &str) -> Option<ConnId> {
        let address: SocketAddr = address.parse().unwrap();
        self.broker.accept(0, address.into(), self.now)
    }

    /// Whether a connection goes on, as the sockets see it at the end of a turn.
    fn stays(&mut self, c: ConnId) -> bool {
        self.broker.outbox(c).is_some_and(|outbox| !outbox.close)
    }
}

fn world(change: impl FnOnce(&mut crate::config::Doors)) -> World {
    let mut settings = settings();
    change(&mut settings.doors);
    World::with(settings)
}

#[test]
fn max_connections_per_address_leaves_the_rest_to_others() {
    let mut world = world(|doors| doors.max_connections_per_address = Some(3));
    let first: Vec<ConnId> = (0..3).filter_map(|_| world.at(HERE)).collect();
    assert_eq!(first.len(), 3);
    assert_eq!(
        (world.at(HERE), world.at("[::ffff:192.0.2.1]:9")),
        (None, None)
    );
    assert_eq!(world.broker.counters().turned_away, 2);
    assert!(world.at(THERE).is_some());
    for network in ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3:4]:1"] {
        assert!(world.at(network).is_some());
    }
    assert_eq!(world.at("[2001:db8::5]:1"), None, "the /64 is one address");
    assert!(world.at("[2001:db8:0:1::5]:1").is_some());
    world.broker.closed(first[0], "gone", world.now);
    assert!(world.at(HERE).is_some(), "one that ends makes room");
    for _ in 0..9 {
        world.open(Version::V5);
    }
    assert_eq!(
        world.broker.counters().turned_away,
        3,
        "Unix sockets are not counted"
    );
}

#[test]
fn max_connecting_lets_the_oldest_go() {
    let mut world = world(|doors| doors.max_connecting = Some(2));
    let known = world.clean(Version::V5, "known");
    let waiting: Vec<ConnId> = (0..4).filter_map(|_| world.at(HERE)).collect();
    let stay: Vec<bool> = waiting.iter().map(|c| world.stays(*c)).collect();
    assert_eq!(stay, [false, false, true, true]);
    assert!(world.is_open(known), "it has sent its CONNECT");
    let late = world.clean(Version::V5, "late");
    assert!(world.is_open(late));
    assert!(!world.stays(waiting[2]) && world.stays(waiting[3]));
    assert_eq!(world.broker.counters().turned_away, 3);
}

/// A flood from one address costs only those of that address.
#[test]
fn max_connecting_per_address_lets_its_own_oldest_go() {
    let mut world = world(|doors| {
        doors.max_connecting = Some(100);
        doors.max_connecting_per_address = Some(2);
    });
    let other = world.at(THERE).unwrap();
    let first = world.at(HERE).unwrap();
    let last: Vec<ConnId> = (0..1000).filter_map(|_| world.at(HERE)).collect();
    assert!(world.stays(other) && !world.stays(first));
    assert_eq!(last.iter().filter(|c| world.stays(**c)).count(), 2);
    assert_eq!(world.broker.core.connections.connecting(), 3);
}

/// An attacker with several addresses pushes out its own, and a slow CONNECT from elsewhere has its time.
#[test]
fn max_connecting_lets_one_go_of_the_address_that_has_most() {
    let mut world = world(|doors| doors.max_connecting = Some(8));
    let slow: Vec<ConnId> = [THERE, "[fd00::1]:1", "[fd00::2]:1"]
        .iter()
        .filter_map(|address| world.at(address))
        .collect();
    for n in 0..1000u16 {
        let address = format!("[2001:db8:0:{}::{n:x}]:1", n % 2);
        world.at(&address).unwrap();
    }
    assert!(slow.iter().all(|c| world.stays(*c)));
    assert_eq!(world.broker.core.connections.connecting(), 8);
    // Where the descriptors are used up, it is the same.
    for _ in 0..3 {
        world.broker.make_room(world.now);
    }
    assert!(slow.iter().all(|c| world.stays(*c)));
    // The crowds are as large as an address with one more: that one pays for it itself.
    let again = world.at(THERE).unwrap();
    for _ in 0..20 {
        world.at(THERE).unwrap();
        world.at("[fd00::1]:1").unwrap();
    }
    assert!(!world.stays(slow[0]) && !world.stays(again) && world.stays(slow[2]));
}

/// All Unix sockets are one address among others here.
#[test]
fn max_connecting_counts_unix_sockets_as_one_address() {
    let mut world = world(|doors| doors.max_connecting = Some(4));
    let slow = world.at(THERE).unwrap();
    for _ in 0..20 {
        let local = crate::broker::Address::Local;
        world.broker.accept(0, local, world.now).unwrap();
    }
    assert!(world.stays(slow));
    assert_eq!(world.broker.core.connections.connecting(), 4);
}

/// Whatever order they come, speak and go in, nothing is left of them.
#[test]
fn counts_of_connections_go_back_to_nothing() {
    let mut world = world(|doors| doors.max_connecting = Some(50));
    let mut open = Vec::new();
    for n in 0..500u16 {
        let address = format!("192.0.2.{}:{}", n % 7, n + 1);
        open.extend(world.at(&address));
        if n % 3 == 0 {
            let gone = open.swap_remove(usize::from(n) * 7 % open.len());
            world.broker.closed(gone, "gone", world.now);
        }
    }
    world.pass(secs(60));
    for c in open {
        world.broker.closed(c, "gone", world.now);
    }
    let here = SocketAddr::from(([192, 0, 2, 1], 1)).into();
    let connections = &world.broker.core.connections;
    assert_eq!((connections.connecting(), connections.open()), (0, 0));
    assert_eq!(connections.share(&here).open, 0);
}

/// Written by mosquitto_passwd 2.0.11; the password is `sekrit`.
const ROGER: &str = "roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQ\
                     wRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==\n";

impl World {
    /// A CONNECT from an address with a password; whether it came in.
    fn logs_in(&mut self, address: &str, username: &str, password: &str) -> bool {
        let before = self.broker.counters().connects;
        let c = self.enter_as("c", address, username, password);
        self.broker.closed(c, "done", self.now);
        self.broker.counters().connects > before
    }

    /// The same, of a client that stays.
    fn enter(&mut self, address: &str, username: &str, password: &str) -> ConnId {
        self.enter_as("stays", address, username, password)
    }

    fn enter_as(
        &mut self,
        client_id: &str,
        address: &str,
        username: &str,
        password: &str,
    ) -> ConnId {
        let c = self.at(address).unwrap();
        let connect = Connect {
            version: Version::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id,
            will: None,
            username: Some(username),
            password: Some(password.as_bytes()),
            props: Props::EMPTY,
        };
        let packet = Packet::Connect(Box::new(connect));
        self.broker.packet(c, packet, self.now);
        self.turn();
        c
    }
}

#[test]
fn login_failures_are_refused_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, ROGER).unwrap();
    let rule = crate::config::LoginFailures {
        most: 3,
        within: secs(60),
    };
    for (login_failures, lets_in) in [(Some(rule), false), (None, true)] {
        let mut settings = settings();
        settings.security.password_file = Some(users.clone());
        settings.doors.login_failures = login_failures;
        let mut world = World::with(settings);
        for _ in 0..3 {
            assert!(!world.logs_in(HERE, "roger", "guessed"));
        }
        assert_eq!(world.logs_in(HERE, "roger", "sekrit"), lets_in);
        assert_eq!(world.broker.counters().locked_out, u64::from(!lets_in));
        assert!(world.logs_in(THERE, "roger", "sekrit"), "from elsewhere");
        world.now += secs(60);
        assert!(world.logs_in(HERE, "roger", "sekrit"));
        for _ in 0..100 {
            world.logs_in(HERE, "roger", "guessed");
        }
        assert!(world.logs_in(HERE, "roger", "sekrit"), "others are there");
        for _ in 0..3 {
            world.logs_in(HERE, "jane", "guessed");
        }
        let before = world.broker.counters().locked_out;
        world.reload();
        world.logs_in(HERE, "jane", "guessed");
        let after = world.broker.counters().locked_out;
        assert_eq!(after, before, "SIGHUP clears them");
    }
}

/// Somebody else in the same /64, or behind the same proxy, guesses.
#[test]
fn a_client_that_stays_connected_is_not_locked_out_by_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, ROGER).unwrap();
    let mut settings = settings();
    settings.security.password_file = Some(users);
    let mut world = World::with(settings);
    let (site, other) = ("[2001:db8::1]:1", "[2001:db8::2]:1");
    let open = world.enter(site, "roger", "sekrit");
    world.now += secs(2 * 3600);
    for _ in 0..20 {
        world.logs_in(other, "roger", "guessed");
    }
    assert!(world.logs_in(site, "roger", "sekrit"), "it is there");
    world.reload();
    for _ in 0..20 {
        world.logs_in(other, "roger", "guessed");
    }
    world.now += secs(2 * 3600);
    for _ in 0..20 {
        world.logs_in(other, "roger", "guessed");
    }
    world.broker.closed(open, "gone", world.now);
    assert!(world.logs_in(site, "roger", "sekrit"), "it was there");
}

/// [MQTT-3.1.3-8]: 0x85 in 5.0, identifier rejected before.
#[test]
fn max_clientid_length_bounds_ids() {
    let mut world = world(|doors| doors.max_clientid_length = 30);
    for version in VERSIONS {
        for (len, reason) in [
            (23, Reason::SUCCESS),
            (30, Reason::SUCCESS),
            (31, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        ] {
            let peer = world.dial(&Dial::clean(version, &"x".repeat(len)));
            world.pass(ms(50));
            let answer = world.next(peer);
            assert_eq!(answer, Some(Got::ConnAck(false, reason)), "{len}");
        }
    }
}

/// A session that is older than the bound is not lost to its client, as after an upgrade.
#[test]
fn a_client_with_a_session_gets_in_whatever_its_id() {
    for version in VERSIONS {
        let mut world = world(|doors| doors.max_clientid_length = u16::MAX);
        let long = Dial::durable(version, &"x".repeat(2_000));
        world.connect(&long);
        world.pass(secs(1));
        world.settings.doors.max_clientid_length = 1_024;
        world.crash(secs(1));
        let (_, present) = world.connect(&long);
        assert!(present);
        let other = world.dial(&Dial::durable(version, &"y".repeat(1_025)));
        world.pass(ms(50));
        let refused = Got::ConnAck(false, Reason::CLIENT_IDENTIFIER_NOT_VALID);
        assert_eq!(world.next(other), Some(refused));
    }
}

/// Many libraries do not look at what a SUBACK refuses.
#[test]
fn a_long_subscribe_is_granted_unless_a_bound_is_set() {
    for version in VERSIONS {
        let mut world = world(|_| ());
        let peer = world.clean(version, "c");
        let names: Vec<String> = (0..1_500).map(|n| format!("t/{n}")).collect();
        let filter = |name| Subscription::new(name, QoS::AtMostOnce);
        let filters: Vec<_> = names.iter().map(|name| filter(name)).collect();
        world.subscribe(peer, 1, &filters);
        world.pass(ms(500));
        let granted = vec![Reason(0); names.len()];
        assert_eq!(world.next(peer), Some(Got::SubAck(1, granted)));
    }
}

/// The first are granted, the others refused; what a session has counts no more.
#[test]
fn max_filters_per_packet_and_max_shared_subscriptions_refuse_the_rest() {
    for version in VERSIONS {
        let mut world = world(|doors| {
            doors.max_filters_per_packet = 3;
            doors.max_shared_subscriptions = 2;
        });
        let peer = world.clean(version, "c");
        let too_many = match version {
            Version::V5 => Reason::QUOTA_EXCEEDED,
            _ => Reason::UNSPECIFIED,
        };
        let mut granted = |filters: &[&'static str]| {
            let filter = |filter: &&'static str| Subscription::new(filter, QoS::AtMostOnce);
            let filters: Vec<_> = filters.iter().map(filter).collect();
            world.subscribe(peer, 1, &filters);
            world.pass(ms(50));
            match world.next(peer) {
                Some(Got::SubAck(1, reasons)) => reasons,
                other => panic!("no SUBACK but {other:?}"),
            }
        };
        let ok = Reason(0);
        assert_eq!(granted(&["a", "b", "c", "d"]), [ok, ok, ok, too_many]);
        assert_eq!(granted(&["d"]), [ok]);
        let shares = ["$share/g/a", "$share/g/b", "$share/g/c"];
        assert_eq!(granted(&shares), [ok, ok, too_many]);
        assert_eq!(granted(&shares[..2]), [ok, ok]);
    }
}
