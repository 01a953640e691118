//! `auth_socket`: who is asked about, what the answers bring about, and what is taken back.

mod bounds;
mod changes;
mod names;

use std::path::Path;

use super::world::Last;
use super::*;
use crate::auth::{Check, Reply, Revocation};
use crate::config::{General, Listener, LoginFailures};

/// Written by mosquitto_passwd 2.0.11; the password is `sekrit`.
const ROGER: &str = "roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQ\
                     wRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==\n";

const SOCKET: &str = "/run/auth.sock";
const DENIED: Reason = Reason::NOT_AUTHORIZED;

/// A world whose clients are asked about; the test answers.
struct Site {
    world: World,
    folder: tempfile::TempDir,
}

impl Site {
    fn new(change: impl FnOnce(&mut General)) -> Site {
        let mut settings = settings();
        settings.security.auth_socket = Some(SOCKET.into());
        settings.security.allow_anonymous = Some(false);
        change(&mut settings);
        let mut world = World::with(settings);
        world.logins_held = true;
        let folder = tempfile::tempdir().unwrap();
        Site { world, folder }
    }

    /// Writes a file and says where it is.
    fn file(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn dial(&mut self, dial: &Dial, username: &'static str) -> Peer {
        let dial = Dial {
            username: Some(username),
            password: Some("pw"),
            ..dial.clone()
        };
        self.world.dial(&dial)
    }

    /// Answers the next question; what stands between "id" and the end of the answer.
    fn answer(&mut self, rest: &str) -> String {
        let question = self.world.take_question().expect("a question");
        let Check::Socket(check) = question.check() else {
            panic!("no question for a program: {question:?}");
        };
        let line = check.line(7).to_string();
        let said = match Reply::parse(format!("{{\"id\":7,{rest}}}").as_bytes()) {
            Ok(Reply::Answer(7, Ok(said))) => said,
            other => panic!("{other:?}"),
        };
        let answer = question.answered(said);
        let now = self.world.now;
        self.world.broker.login_answer(answer, now);
        self.world.pass(ms(50));
        line
    }

    fn connack(&mut self, peer: Peer) -> Option<Reason> {
        self.world.pass(ms(50));
        match self.world.next(peer)? {
            Got::ConnAck(_, reason) => Some(reason),
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    /// A client that is let in.
    fn enter(&mut self, dial: &Dial, username: &'static str, rest: &str) -> Peer {
        let peer = self.dial(dial, username);
        self.answer(rest);
        assert_eq!(self.connack(peer), Some(OK));
        peer
    }

    fn revoke(&mut self, client_id: Option<&str>, username: Option<&str>) {
        let revocation = Revocation {
            client_id: client_id.map(Into::into),
            username: username.map(Into::into),
        };
        let now = self.world.now;
        let path = Path::new(SOCKET);
        self.world.broker.revoke(path, &revocation, now);
        self.world.pass(ms(50));
    }

    /// What came of a PUBLISH.
    fn publish(&mut self, peer: Peer, topic: &str, payload: &str) -> Reason {
        self.world.publish(peer, topic, payload, qos1(1));
        self.world.pass(ms(300));
        let got = self.world.got(peer);
        let acked = got.into_iter().find_map(|got| match got {
            Got::PubAck(1, reason) => Some(reason),
            _ => None,
        });
        acked.expect("a PUBACK")
    }
}

const ALLOW: &str = "\"answer\":\"allow\"";
const ALL: &str = "\"answer\":\"allow\",\"acl\":[\"topic #\"]";

#[test]
fn the_answer_decides() {
    for (version, denied, unavailable) in [
        (Version::V311, DENIED, Reason::SERVER_UNAVAILABLE),
        (Version::V5, DENIED, Reason::SERVER_UNAVAILABLE),
    ] {
        let mut site = Site::new(|_| ());
        let dial = Dial::clean(version, "c");
        let peer = site.dial(&dial, "ann");
        assert_eq!(site.connack(peer), None);
        let line = site.answer(ALLOW);
        let wanted = "\"client_id\":\"c\",\"username\":\"ann\",\"password\":\"pw\"";
        assert!(line.contains(wanted), "{line}");
        assert_eq!(site.connack(peer), Some(OK));
        let peer = site.dial(&dial, "bob");
        site.answer("\"answer\":\"deny\"");
        assert_eq!(site.connack(peer), Some(denied));
        // Without a user name, too. What the program does not know is as without it.
        for allow in [false, true] {
            site.world.settings.security.allow_anonymous = Some(allow);
            site.world.reload();
            let peer = site.world.dial(&dial);
            let line = site.answer("\"answer\":\"ignore\"");
            assert!(
                !line.contains("username") && !line.contains("password"),
                "{line}"
            );
            assert_eq!(site.connack(peer) == Some(OK), allow);
        }
        let peer = site.dial(&dial, "carl");
        assert!(site.world.answer_login(), "as when nobody answers");
        assert_eq!(site.connack(peer), Some(unavailable));
    }
}

/// A user name that the file has is settled by it.
#[test]
fn the_password_file_goes_first() {
    let mut site = Site::new(|general| general.security.allow_anonymous = Some(true));
    site.world.settings.security.password_file = Some(site.file("users", ROGER));
    site.world.reload();
    let dial = Dial::clean(Version::V5, "c");
    for (password, reason) in [("wrong", DENIED), ("sekrit", OK)] {
        let dial = Dial {
            username: Some("roger"),
            password: Some(password),
            ..dial.clone()
        };
        let peer = site.world.dial(&dial);
        assert!(site.world.answer_login());
        assert_eq!(site.connack(peer), Some(reason));
    }
    for (rest, reason) in [("\"answer\":\"ignore\"", DENIED), (ALLOW, OK)] {
        let peer = site.dial(&dial, "ann");
        site.answer(rest);
        assert_eq!(site.connack(peer), Some(reason));
    }
}

/// A directory may take an empty password for an anonymous login.
#[test]
fn nobody_is_asked_about_an_empty_password() {
    let mut site = Site::new(|general| general.security.allow_anonymous = Some(true));
    for username in [Some("ann"), None] {
        let dial = Dial {
            username,
            password: Some(""),
            ..Dial::clean(Version::V5, "c")
        };
        let peer = site.world.dial(&dial);
        assert_eq!(site.world.questions(), 0);
        assert_eq!(site.connack(peer), Some(DENIED));
    }
}

#[test]
fn denials_are_failed_logins() {
    let rule = LoginFailures {
        most: 2,
        within: secs(60),
    };
    let mut site = Site::new(|general| general.doors.login_failures = Some(rule));
    let address: std::net::SocketAddr = "203.0.113.9:1".parse().unwrap();
    for _ in 0..2 {
        let peer = site.world.open_from(0, address.into(), Version::V5);
        let dial = Dial {
            username: Some("ann"),
            password: Some("pw"),
            ..Dial::clean(Version::V5, "c")
        };
        site.world.send_connect(peer, &dial);
        let line = site.answer("\"answer\":\"deny\"");
        assert!(line.contains("\"address\":\"203.0.113.9\""), "{line}");
        assert_eq!(site.connack(peer), Some(DENIED));
    }
    let peer = site.world.open_from(0, address.into(), Version::V5);
    let dial = Dial {
        username: Some("ann"),
        password: Some("pw"),
        ..Dial::clean(Version::V5, "c")
    };
    site.world.send_connect(peer, &dial);
    assert_eq!(site.world.questions(), 0);
    assert_eq!(site.connack(peer), Some(DENIED));
    assert_eq!(site.world.broker.counters().locked_out, 1);
}

#[test]
fn an_answer_counts_for_the_same_login() {
    let mut site = Site::new(|general| general.security.auth_socket_cache = secs(100));
    let dial = Dial::clean(Version::V5, "c");
    site.enter(&dial, "ann", ALL);
    let again = |site: &mut Site| {
        let peer = site.dial(&dial, "ann");
        let asked = site.world.questions() > 0;
        if asked {
            site.answer(ALL);
        }
        assert_eq!(site.connack(peer), Some(OK));
        asked
    };
    assert!(!again(&mut site), "kept");
    site.world.pass(secs(101));
    assert!(again(&mut site), "too old");
    assert!(!again(&mut site), "kept");
    let other = Dial {
        username: Some("ann"),
        password: Some("other"),
        ..dial.clone()
    };
    let peer = site.world.dial(&other);
    site.answer("\"answer\":\"deny\"");
    assert_eq!(site.connack(peer), Some(DENIED));
    assert!(!again(&mut site), "of another password nothing is known");
    site.world.reload();
    assert!(again(&mut site), "SIGHUP");
    site.revoke(None, Some("ann"));
    assert!(again(&mut site), "revoked");
    site.revoke(Some("c"), None);
    let peer = site.dial(&dial, "ann");
    site.answer("\"answer\":\"allow\",\"cache\":0");
    assert_eq!(site.connack(peer), Some(OK));
    assert!(again(&mut site), "not to be kept");
    // What is kept has its rights.
    let peer = site.dial(&dial, "ann");
    assert_eq!(site.connack(peer), Some(OK));
    assert_eq!(site.publish(peer, "any", "1"), Reason(0x10));
}

/// Live, queued and retained messages, and a will.
#[test]
fn rights_come_with_the_answer() {
    let mut site = Site::new(|general| general.max_keepalive = 0);
    let writer = site.enter(&Dial::clean(Version::V5, "w"), "w", ALL);
    let rights = "\"answer\":\"allow\",\"acl\":[\"topic read a/#\",\"topic deny a/secret\",\
                  \"pattern write up/%c\"]";
    let dial = Dial::durable(Version::V5, "r");
    let reader = site.enter(&dial, "r", rights);
    site.world.listen(reader, "#", QoS::AtLeastOnce);
    for topic in ["a/b", "a/secret", "b"] {
        site.publish(writer, topic, topic);
    }
    assert_eq!(site.world.payloads(reader), ["a/b"]);
    assert_eq!(site.publish(reader, "a/b", "x"), DENIED);
    assert_eq!(site.publish(reader, "up/w", "x"), DENIED);
    assert_eq!(site.publish(reader, "up/r", "x"), Reason(0));
    // While it is away it has the rights of its last login; what has come is sent by those of the next.
    site.world.cut(reader);
    for topic in ["a/c", "a/secret", "b"] {
        site.publish(writer, topic, topic);
    }
    let peer = site.dial(&dial, "r2");
    site.answer("\"answer\":\"allow\",\"acl\":[\"topic read b\"]");
    assert_eq!(site.connack(peer), Some(OK));
    site.world.pass(ms(300));
    assert_eq!(site.world.payloads(peer), NONE);
    site.publish(writer, "b", "live");
    assert_eq!(site.world.payloads(peer), ["live"]);
    // What is retained.
    let now = site.world.now;
    for topic in ["a/b", "b"] {
        site.world
            .publish_with(writer, topic, topic, qos1(1), true, &[]);
    }
    assert!(site.world.now >= now);
    site.world.pass(ms(300));
    site.world.got(peer);
    site.world.listen(peer, "+/b", QoS::AtLeastOnce);
    assert_eq!(site.world.payloads(peer), NONE);
    let reader = site.enter(&Dial::clean(Version::V5, "r3"), "r", rights);
    site.world
        .subscribe(reader, 1, &[Subscription::new("#", QoS::AtLeastOnce)]);
    site.world.pass(ms(300));
    let got = site.world.got(reader);
    let payloads: Vec<String> = got
        .into_iter()
        .filter_map(|got| match got {
            Got::Publish(arrived) => Some(arrived.payload),
            _ => None,
        })
        .collect();
    assert_eq!(payloads, ["a/b"]);
    // A will.
    let dial = Dial {
        will: Some(Last {
            payload: "dead",
            delay: 0,
            expiry: None,
        }),
        ..Dial::clean(Version::V5, "x")
    };
    for (rights, reason) in [("[\"topic read will\"]", DENIED), ("[\"topic will\"]", OK)] {
        let peer = site.dial(&dial, "x");
        site.answer(&format!(
            "\"answer\":\"allow\",\"cache\":0,\"acl\":{rights}"
        ));
        assert_eq!(site.connack(peer), Some(reason));
    }
}

/// One whose rights come from the socket is no business of the file, and the other way round.
#[test]
fn the_acl_file_holds_where_the_answer_says_nothing() {
    let mut site = Site::new(|_| ());
    let acl = site.file("acl", "user ann\ntopic a\nuser real\ntopic r\n");
    site.world.settings.security.acl_file = Some(acl);
    site.world.reload();
    let plain = site.enter(&Dial::clean(Version::V5, "1"), "ann", ALLOW);
    assert_eq!(site.publish(plain, "b", ""), DENIED);
    assert_eq!(site.publish(plain, "a", ""), Reason(0x10));
    let own = "\"answer\":\"allow\",\"acl\":[\"topic b\"]";
    let own = site.enter(&Dial::clean(Version::V5, "2"), "ann", own);
    assert_eq!(site.publish(own, "a", ""), DENIED);
    assert_eq!(site.publish(own, "b", ""), Reason(0x10));
    let none = site.enter(
        &Dial::clean(Version::V5, "3"),
        "ann",
        "\"answer\":\"allow\",\"acl\":[]",
    );
    assert_eq!(site.publish(none, "a", ""), DENIED);
    let named = "\"answer\":\"allow\",\"username\":\"real\"";
    let named = site.enter(&Dial::clean(Version::V5, "4"), "token", named);
    assert_eq!(site.publish(named, "a", ""), DENIED);
    assert_eq!(site.publish(named, "r", ""), Reason(0x10));
}

/// A retained message stays when its publisher, whose rights nobody knows any more, is gone.
#[test]
fn what_was_published_by_right_stays() {
    let mut site = Site::new(|_| ());
    let acl = site.file("acl", "user reader\ntopic read #\n");
    site.world.settings.security.acl_file = Some(acl);
    site.world.reload();
    let writer = site.enter(&Dial::clean(Version::V5, "w"), "w", ALL);
    site.world
        .publish_with(writer, "a", "1", qos1(1), true, &[]);
    site.world.pass(ms(300));
    site.world.cut(writer);
    let reader = site.enter(&Dial::clean(Version::V5, "r"), "reader", ALLOW);
    site.world.listen(reader, "a", QoS::AtLeastOnce);
    assert_eq!(site.world.payloads(reader), ["1"]);
}

/// A program that takes its time holds up neither those whose passwords the file has nor, up to a
/// bound, those it is asked about.
#[test]
fn who_waits_for_a_program_holds_nobody_up() {
    let mut site = Site::new(|general| general.max_keepalive = 0);
    site.world.settings.security.password_file = Some(site.file("users", ROGER));
    site.world.reload();
    for n in 0..100 {
        site.dial(&Dial::clean(Version::V5, &format!("c{n}")), "ann");
    }
    site.world.pass(ms(50));
    assert_eq!(site.world.questions(), 64);
    let dial = Dial {
        username: Some("roger"),
        password: Some("sekrit"),
        ..Dial::clean(Version::V5, "r")
    };
    let peer = site.world.dial(&dial);
    assert_eq!(site.world.questions(), 65);
    let mut held: Vec<_> = std::iter::from_fn(|| site.world.take_question()).collect();
    let password = held.pop().unwrap();
    assert!(matches!(password.check(), Check::Password(_)));
    let now = site.world.now;
    site.world.broker.login_answer(password.answer(), now);
    assert_eq!(site.connack(peer), Some(OK));
    // The next are asked about as answers come; by other rules it may be another's business.
    for question in held.drain(..32) {
        site.world.broker.login_answer(question.unanswered(), now);
    }
    site.world.pass(ms(50));
    assert_eq!(site.world.questions(), 32);
    site.world.settings.security.auth_socket = None;
    site.world.reload();
    for question in held {
        site.world.broker.login_answer(question.unanswered(), now);
    }
    while site.world.answer_login() {
        site.world.turn();
    }
    site.world.pass(ms(50));
    assert_eq!(site.world.broker.counters().refused, 100);
}

/// Nor does one program hold up those about whom another is asked.
#[test]
fn who_waits_for_one_program_waits_for_no_other() {
    let listener = |port: u16, path: &str| {
        let mut listener = Listener::on(port);
        listener.security.auth_socket = Some(path.into());
        listener
    };
    let settings = General {
        per_listener_settings: true,
        ..settings()
    };
    let listeners = vec![listener(1, "/run/slow.sock"), listener(2, SOCKET)];
    let mut world = World::with_listeners(settings, listeners);
    world.logins_held = true;
    for n in 0..100 {
        let peer = world.open_at(0, Version::V5);
        world.send_connect(peer, &Dial::clean(Version::V5, &format!("c{n}")));
    }
    assert_eq!(world.questions(), 64);
    let peer = world.open_at(1, Version::V5);
    world.send_connect(peer, &Dial::clean(Version::V5, "other"));
    assert_eq!(world.questions(), 65);
    let asked: Vec<_> = std::iter::from_fn(|| world.take_question()).collect();
    let Some(Check::Socket(last)) = asked.last().map(|question| question.check()) else {
        panic!("nobody is asked");
    };
    assert_eq!(*last.socket().path, *Path::new(SOCKET));
    for question in asked {
        world.broker.login_answer(question.unanswered(), world.now);
    }
    world.pass(ms(50));
    assert_eq!(world.questions(), 36);
}
