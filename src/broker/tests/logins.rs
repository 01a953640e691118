//! Logins whose password is checked beside the broker's other work.

use std::net::SocketAddr;

use super::world::Last;
use super::*;
use crate::broker::Address;
use crate::config::{self, CertificateUsername, Doors};
use crate::held;
use crate::mqtt::Packet;

/// Written by mosquitto_passwd 2.0.11; the password is `sekrit`.
const ROGER: &str = "roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQ\
                     wRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==\n";

const STRANGER: &str = "203.0.113.9:1";
const DEVICE: &str = "192.0.2.1:1";

/// A world whose users are those of a file; logins are looked at when the test says so.
struct Site {
    world: World,
    folder: tempfile::TempDir,
}

impl Site {
    fn new(change: impl FnOnce(&mut Doors)) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, ROGER).unwrap();
        let mut settings = settings();
        settings.security.password_file = Some(users);
        settings.security.allow_anonymous = Some(true);
        change(&mut settings.doors);
        let mut world = World::with(settings);
        world.logins_held = true;
        Site { world, folder }
    }

    /// SIGHUP, with these lines in the password file.
    fn reload(&mut self, users: &str) {
        std::fs::write(self.folder.path().join("users"), users).unwrap();
        self.world.reload();
    }

    /// Sends a CONNECT of roger's from somewhere.
    fn dial(&mut self, address: &str, dial: &Dial, password: &'static str) -> Peer {
        let address: SocketAddr = address.parse().unwrap();
        let peer = self.world.open_from(0, address.into(), dial.version);
        let dial = Dial {
            username: Some("roger"),
            password: Some(password),
            ..dial.clone()
        };
        self.world.send_connect(peer, &dial);
        peer
    }

    fn answer_all(&mut self) -> usize {
        let mut answered = 0;
        while self.world.answer_login() {
            self.world.turn();
            answered += 1;
        }
        self.world.pass(ms(50));
        answered
    }

    /// What the first packet says that has come.
    fn connack(&mut self, peer: Peer) -> Option<Reason> {
        match self.world.next(peer)? {
            Got::ConnAck(_, reason) => Some(reason),
            other => panic!("no CONNACK but {other:?}"),
        }
    }
}

/// Nothing happens to a session before the password is known to be right.
#[test]
fn a_connect_waits_for_its_answer_and_takes_over_only_then() {
    for version in VERSIONS {
        let mut site = Site::new(|_| ());
        let old = site.world.durable(version, "c");
        for (password, reason) in [("guessed", Reason::NOT_AUTHORIZED), ("sekrit", OK)] {
            let new = site.dial(DEVICE, &Dial::durable(version, "c"), password);
            site.world.pass(secs(5));
            assert_eq!(site.world.waiting(new), 0);
            assert!(!site.world.is_read(new) && site.world.is_open(old));
            let other = site.world.clean(version, password);
            site.world.send(other, &Packet::PingReq);
            assert_eq!(site.world.next(other), Some(Got::PingResp), "nobody waits");
            assert_eq!(site.answer_all(), 1);
            assert_eq!(site.connack(new), Some(reason));
            assert_eq!(site.world.is_open(old), reason != OK);
            assert_eq!(site.world.is_read(new), reason == OK);
        }
        assert_eq!(site.world.broker.counters().takeovers, 1);
    }
}

/// Who has its place meanwhile is not let in by an answer that comes late.
#[test]
fn the_answer_to_one_that_is_gone_lets_nobody_in() {
    let mut site = Site::new(|_| ());
    let gone = site.dial(DEVICE, &Dial::clean(Version::V5, "a"), "sekrit");
    let conn = site.world.conn(gone);
    site.world.cut(gone);
    let next = site.dial(STRANGER, &Dial::clean(Version::V5, "b"), "guessed");
    assert_eq!(site.world.conn(next).slot(), conn.slot());
    assert!(site.world.answer_login());
    site.world.pass(ms(50));
    assert_eq!(site.connack(next), None);
    assert_eq!(site.answer_all(), 1);
    assert_eq!(site.connack(next), Some(Reason::NOT_AUTHORIZED));
    assert_eq!(site.world.broker.counters().connects, 0);
}

/// A storm from one address makes its own logins wait, and no others.
#[test]
fn a_storm_of_strangers_delays_a_device_by_no_more_than_what_is_out() {
    let mut site = Site::new(|doors| doors.login_failures = None);
    let first = site.dial(DEVICE, &Dial::clean(Version::V5, "first"), "sekrit");
    site.answer_all();
    assert_eq!(site.connack(first), Some(OK));
    let storm: Vec<Peer> = (0..300)
        .map(|n| {
            let id = format!("s{n}");
            site.dial(STRANGER, &Dial::clean(Version::V5, &id), "guessed")
        })
        .collect();
    let out = site.world.questions();
    assert!(out <= 2, "{out}");
    let device = site.dial(DEVICE, &Dial::clean(Version::V5, "device"), "sekrit");
    let other = site.dial("192.0.2.2:1", &Dial::clean(Version::V5, "o"), "sekrit");
    let mut answers = 0;
    while site.connack(device).is_none() {
        assert!(site.world.answer_login());
        site.world.turn();
        answers += 1;
    }
    assert_eq!(answers, out + 1);
    // Nobody knows the other one; its address has its turn all the same.
    while site.connack(other).is_none() {
        assert!(site.world.answer_login());
        site.world.turn();
        answers += 1;
    }
    assert!(answers <= out + 4, "{answers}");
    site.answer_all();
    assert!(storm.iter().all(|peer| !site.world.is_open(*peer)));
}

#[test]
fn max_waiting_logins_refuses_more() {
    let mut site = Site::new(|doors| {
        doors.max_waiting_logins = Some(5);
        doors.max_waiting_logins_per_address = Some(3);
    });
    for version in VERSIONS {
        let dial = Dial::clean(version, "s");
        let own = [(); 4].map(|()| site.dial(STRANGER, &dial, "sekrit"));
        assert_eq!(
            site.connack(own[3]),
            Some(Reason::SERVER_BUSY)
                .filter(|_| version == Version::V5)
                .or(Some(Reason::SERVER_UNAVAILABLE))
        );
        let others = [1, 2, 3].map(|n| site.dial(&format!("203.0.113.{n}:1"), &dial, "sekrit"));
        assert!(site.world.is_open(others[1]) && !site.world.is_open(others[2]));
        assert_eq!(site.answer_all(), 5);
    }
    // From there somebody has logged in, so it is one of an address from which nobody has that goes.
    site.world.now += secs(3000);
    let device = site.dial(DEVICE, &Dial::clean(Version::V5, "d"), "sekrit");
    site.answer_all();
    assert_eq!(site.connack(device), Some(OK));
    site.world.now += secs(700);
    let crowd = [1, 2, 3, 4, 5].map(|n| {
        site.dial(
            &format!("203.0.113.{n}:1"),
            &Dial::clean(Version::V5, "x"),
            "guessed",
        )
    });
    let again = site.dial(DEVICE, &Dial::clean(Version::V5, "d"), "sekrit");
    let closed = crowd.iter().filter(|peer| !site.world.is_open(**peer));
    assert_eq!(closed.count(), 1);
    site.answer_all();
    assert_eq!(site.connack(again), Some(OK));
}

/// What is asked when the rules change is asked again, of the new ones.
#[test]
fn the_rules_that_hold_are_those_at_the_answer() {
    let mut site = Site::new(|_| ());
    let dials = ["a", "b", "c"].map(|id| Dial::clean(Version::V5, id));
    let peers = dials.map(|dial| site.dial(DEVICE, &dial, "sekrit"));
    site.reload("");
    site.answer_all();
    for peer in peers {
        assert_eq!(site.connack(peer), Some(Reason::NOT_AUTHORIZED));
    }
    let peer = site.dial(DEVICE, &Dial::clean(Version::V5, "a"), "sekrit");
    site.reload(ROGER);
    site.answer_all();
    assert_eq!(site.connack(peer), Some(OK));
    assert!(
        site.world.is_open(peer),
        "it is not judged by the old rules"
    );
    // Where nobody needs a password any more, nobody waits.
    let peer = site.dial(DEVICE, &Dial::clean(Version::V5, "b"), "guessed");
    let next = [(); 4].map(|()| site.dial(DEVICE, &Dial::clean(Version::V5, ""), "guessed"));
    site.world.settings.security.password_file = None;
    site.world.reload();
    site.answer_all();
    assert_eq!(site.connack(peer), Some(OK));
    assert!(next.into_iter().all(|peer| site.connack(peer) == Some(OK)));
}

/// Guesses that come at once are looked at no more often than those that come one by one.
#[test]
fn login_failures_hold_for_those_that_wait() {
    let mut site = Site::new(|_| ());
    for n in 0..100 {
        let id = n.to_string();
        site.dial(STRANGER, &Dial::clean(Version::V5, &id), "guessed");
    }
    let looked_at = site.answer_all();
    // Ten, and what was out when the tenth failed.
    assert!((10..=12).contains(&looked_at), "{looked_at}");
    let counters = site.world.broker.counters();
    assert_eq!(counters.refused, 100);
    assert_eq!(counters.locked_out, 100 - looked_at as u64);
}

/// No password is none, also where the hash is of nothing.
#[test]
fn without_a_password_nobody_is_asked_about() {
    let mut site = Site::new(|_| ());
    let empty = "roger:$7$101$2coRLe0qwwEBClKv$urSYAuDeFovpcMHjSvei5ZQpn8yrB67HshNOJjCeYZkDhlcXJtU3\
                 zTDwWzkHfIyxaU1SOhBvrmSUIjdGnuQekg==";
    site.reload(empty);
    let peer = site.dial(DEVICE, &Dial::clean(Version::V5, "a"), "");
    assert_eq!(site.world.questions(), 0);
    assert_eq!(site.connack(peer), Some(Reason::NOT_AUTHORIZED));
}

#[test]
fn a_login_that_nobody_looks_at_ends() {
    for version in VERSIONS {
        let mut site = Site::new(|_| ());
        let peer = site.dial(DEVICE, &Dial::clean(version, "a"), "sekrit");
        site.world.pass(secs(59));
        assert!(site.world.is_open(peer));
        site.world.pass(secs(2));
        assert_eq!(site.connack(peer), Some(Reason::SERVER_UNAVAILABLE));
        assert!(!site.world.is_open(peer));
    }
}

/// What waits is counted, will and all, and is no more once it is over.
#[test]
fn a_connect_that_waits_is_held() {
    let mut site = Site::new(|_| ());
    let dial = Dial {
        will: Some(Last {
            payload: "x".repeat(60_000).leak(),
            delay: 0,
            expiry: None,
        }),
        ..Dial::clean(Version::V5, "a")
    };
    let before = held::all();
    let peers = [(); 3].map(|()| site.dial(DEVICE, &dial, "sekrit"));
    assert!(held::all() - before > 180_000);
    for peer in peers {
        site.world.cut(peer);
    }
    assert!(held::all() - before < 1_000);
    let peer = site.dial(DEVICE, &dial, "sekrit");
    site.answer_all();
    assert_eq!(site.connack(peer), Some(OK));
    let held = held::all() - before;
    assert!((60_000..65_000).contains(&held), "the will: {held}");
}

/// A large CONNECT does not wait where little memory is left.
#[test]
fn a_large_connect_does_not_wait_without_memory() {
    let mut site = Site::new(|_| ());
    let _rest = held::Charge::<{ held::STORE }>::new(800_000);
    let mut general = site.world.settings.clone();
    general.memory_limit = Some(1_000_000);
    site.world.broker.set_general(&general, site.world.now);
    let mut dial = Dial::clean(Version::V5, "a");
    let small = site.dial(DEVICE, &dial, "sekrit");
    assert!(site.world.is_open(small));
    dial.will = Some(Last {
        payload: "x".repeat(8_000).leak(),
        delay: 0,
        expiry: None,
    });
    let large = site.dial(DEVICE, &dial, "sekrit");
    assert_eq!(site.connack(large), Some(Reason::SERVER_UNAVAILABLE));
}

/// The password of a client is not kept, so what counts is whether its line is the same.
#[test]
fn sighup_disconnects_those_whose_line_has_changed() {
    const OTHER: &str = "jane:$6$sMTNXLnwA0BTGSj4$Pp6L4fiG+TY0vdwmLw7KbgjWRQ0EC26N3MAaCd+Zaj9wIWTw0n\
                         dV+rdKCS6LGwycpmEzlo0hb0HvGiOVJRnBeg==\n";
    let mut site = Site::new(|_| ());
    let nobody = site.world.clean(Version::V5, "nobody");
    let connect = |site: &mut Site| {
        let peer = site.dial(DEVICE, &Dial::clean(Version::V5, "c"), "sekrit");
        site.answer_all();
        assert_eq!(site.connack(peer), Some(OK));
        peer
    };
    let peer = connect(&mut site);
    site.reload(&format!("# more\n{OTHER}{ROGER}"));
    assert!(site.world.is_open(peer), "it is the same");
    site.reload(&OTHER.replace("jane", "roger"));
    assert!(!site.world.is_open(peer), "another password");
    assert_eq!(
        site.world.next(peer),
        Some(Got::Disconnect(Reason::NOT_AUTHORIZED))
    );
    let peer = connect(&mut site);
    site.reload(OTHER);
    assert!(!site.world.is_open(peer), "gone");
    // A password that nobody has looked at.
    let file = site.world.settings.security.password_file.take();
    site.world.reload();
    let peer = connect(&mut site);
    site.world.settings.security.password_file = file;
    site.reload(ROGER);
    assert!(!site.world.is_open(peer), "never checked");
    assert!(site.world.is_open(nobody));
}

/// In what waits for a client, in what is retained, and in what it publishes.
#[test]
fn revoked_rights_hold_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("acl");
    std::fs::write(&rules, "topic #\n").unwrap();
    let mut settings = settings();
    settings.security.acl_file = Some(rules.clone());
    let mut world = World::with(settings);
    let absent = world.durable(Version::V5, "absent");
    let live = world.clean(Version::V5, "live");
    for peer in [absent, live] {
        world.listen(peer, "+/queued", QoS::AtLeastOnce);
    }
    world.cut(absent);
    for topic in ["a/queued", "b/queued"] {
        world.publish(live, topic, topic, qos1(1));
        world.pass(ms(100));
    }
    for topic in ["a/kept", "b/kept"] {
        world.publish_with(live, topic, topic, qos1(2), true, &[]);
        world.pass(ms(100));
    }
    world.got(live);
    std::fs::write(&rules, "topic b/#\n").unwrap();
    world.reload();
    let (absent, present) = world.connect(&Dial::durable(Version::V5, "absent"));
    assert!(present);
    assert_eq!(world.payloads(absent), ["b/queued"], "of what waited");
    world.listen(live, "+/kept", QoS::AtLeastOnce);
    assert_eq!(world.payloads(live), ["b/kept"], "of what is retained");
    world.publish(live, "a/queued", "x", qos1(3));
    world.pass(ms(100));
    let got = world.got(live);
    assert_eq!(got, [Got::PubAck(3, Reason::NOT_AUTHORIZED)]);
    assert_eq!(world.payloads(absent), NONE);
}

/// The name of a CONNECT that waits was not proven by a certificate when the listener asks for one by then:
/// it must not count as if it had been.
#[test]
fn a_claimed_name_is_not_taken_for_a_proven_one() {
    let mut site = Site::new(|_| ());
    site.world.listeners = vec![config::Listener::on(1883)];
    site.world.crash(secs(1));
    let by = [
        CertificateUsername::CommonName,
        CertificateUsername::Subject,
    ];
    for from in [CertificateUsername::None, by[0], by[1]] {
        for to in by {
            site.world.listeners[0].tls.username = CertificateUsername::None;
            site.world.reload();
            let waits = site.dial(DEVICE, &Dial::clean(Version::V5, ""), "guessed");
            assert_eq!(site.world.waiting(waits), 0);
            // Of which kind its proof was shows when it comes under rules that ask for one.
            site.world.listeners[0].tls.username = to;
            site.world.reload();
            site.answer_all();
            assert_eq!(site.connack(waits), Some(Reason::NOT_AUTHORIZED));
            let shows = site.world.open_from(0, Address::Local, Version::V5);
            if from != CertificateUsername::None {
                site.world.show_certificate(shows, from, "CN=roger");
            }
            let dial = Dial {
                username: Some("roger"),
                ..Dial::clean(Version::V5, "")
            };
            site.world.send_connect(shows, &dial);
            let reason = if from == to {
                OK
            } else {
                Reason::NOT_AUTHORIZED
            };
            assert_eq!(site.connack(shows), Some(reason), "{from:?} {to:?}");
        }
    }
}
