//! What the log says of a link: short, whatever happens, and never silent.

use std::cell::RefCell;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::*;
use crate::bridge::Backlog;
use crate::mqtt::Disconnect;

thread_local! {
    static LINES: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps the lines of a thread that asks for them.
struct Capture;

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.with_borrow_mut(|lines| {
                lines.iter_mut().for_each(|lines| {
                    lines.push(format!("{} {}", record.level(), record.args()));
                });
            });
        }
    }

    fn flush(&self) {}
}

/// What `run` logs.
pub(super) fn log_of(run: impl FnOnce()) -> Vec<String> {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
    LINES.set(Some(Vec::new()));
    run();
    LINES.take().unwrap_or_default()
}

/// As many of `lines` as contain `what`.
pub(super) fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

/// The only line that contains `what`.
pub(super) fn only<'a>(lines: &'a [String], what: &str) -> &'a str {
    let found: Vec<_> = lines.iter().filter(|line| line.contains(what)).collect();
    assert_eq!(found.len(), 1, "{what}: {lines:#?}");
    found[0]
}

fn login(user: Option<&str>) -> Bridge {
    let mut spec = spec(&[]);
    spec.remote_username = user.map(str::to_owned);
    spec
}

/// Lets attempts fail until `until`, by `fail`.
fn attempts(s: &mut Script, until: Time, mut fail: impl FnMut(&mut Script)) {
    loop {
        let action = match s.drive() {
            idle if idle == "idle" => {
                let next = s.link.next_timeout();
                if next > until {
                    s.now = until;
                    s.drive();
                    return;
                }
                s.now = s.now.max(next);
                s.drive()
            }
            action => action,
        };
        if action.starts_with("connect ") {
            fail(s);
        }
    }
}

#[test]
fn a_refused_login_is_said_once_with_the_user_name() {
    for (user, words) in [
        (Some("roger"), "upstream refuses user roger: "),
        (None, "upstream refuses a client without user name: "),
    ] {
        let mut s = Script::new(login(user));
        let until = s.now + secs(3000);
        let lines = log_of(|| {
            attempts(&mut s, until, |s| {
                s.link.connected(s.now, &mut s.out).unwrap();
                s.sent();
                s.refuse(Reason::NOT_AUTHORIZED);
            });
        });
        let line = only(&lines, words);
        assert!(
            line.starts_with("WARN Bridge up (up.example:1883): "),
            "{line}"
        );
        assert!(line.contains("not authorized") && line.contains(": check remote_username"));
        let status = s.link.status().to_string();
        assert!(status.contains(words), "{status}");
        assert_eq!(count(&lines, "Connecting bridge"), 1, "{lines:#?}");
    }
}

/// MQTT 3.1 has client ids of 23 characters at most.
#[test]
fn a_refused_client_id_names_the_cure() {
    for (version, id, words) in [
        (Version::V31, "x".repeat(24), "at most 23 characters"),
        (Version::V31, "x".repeat(23), "check remote_clientid"),
        (Version::V311, "x".repeat(24), "check remote_clientid"),
    ] {
        let mut spec = spec(&[]);
        (spec.version, spec.try_private) = (Some(version), false);
        (spec.remote_clientid, spec.has_default_clientid) = (id, false);
        let mut s = Script::new(spec);
        let lines = log_of(|| {
            s.dial();
            s.refuse(Reason::CLIENT_IDENTIFIER_NOT_VALID);
            s.wait();
        });
        only(&lines, words);
    }
}

#[test]
fn an_explicit_version_that_is_not_spoken_there_names_the_other() {
    for (version, words) in [
        (
            Version::V5,
            "no MQTT 5 here: set bridge_protocol_version mqttv311",
        ),
        (
            Version::V311,
            "no MQTT 3.1.1 here: set bridge_protocol_version mqttv50",
        ),
    ] {
        let mut only_this = spec(&[]);
        (only_this.version, only_this.try_private) = (Some(version), false);
        let mut s = Script::new(only_this);
        let lines = log_of(|| {
            s.dial();
            let now = s.now;
            let answer = s.link.read_answer(&[0x20, 2, 0, 1], 100, now).unwrap();
            let packet = answer.unwrap().0;
            s.receive(packet).unwrap_err();
        });
        only(&lines, words);
    }
}

/// What answers is no MQTT: neither is another version tried, nor the same said again.
#[test]
fn another_protocol_is_said_once() {
    let mut s = Script::new(spec(&[]));
    let until = s.now + secs(3000);
    let mut tries = 0;
    let lines = log_of(|| {
        attempts(&mut s, until, |s| {
            tries += 1;
            s.link.connected(s.now, &mut s.out).unwrap();
            assert!(s.sent()[0].starts_with("CONNECT 5 "));
            let now = s.now;
            let answer = s.link.read_answer(b"HTTP/1.1 400 Bad Request", 100, now);
            let error = answer.unwrap_err();
            s.link.failed(&error, now);
        });
    });
    assert!(tries > 50);
    let line = only(
        &lines,
        "not MQTT: this port speaks HTTP: check the port in address",
    );
    assert!(
        line.starts_with("WARN Bridge up (up.example:1883): "),
        "{line}"
    );
}

/// One reminder an hour, whatever the failures, and the amounts at the end.
#[test]
fn a_long_outage_in_the_log() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(true, &[]);
    s.pass(secs(600));
    s.drive();
    s.sent();
    let backlog = |messages, unsent| Backlog {
        messages,
        unsent,
        ..Backlog::default()
    };
    let lines = log_of(|| {
        s.close();
        s.link.owes(backlog(4211, 4211));
        let until = s.now + secs(3 * 3600 + 60);
        let mut n = 0;
        attempts(&mut s, until, |s| {
            n += 1;
            let why = ["no route to host", "no such name"][n % 2];
            s.link.failed(&Error::Io(why.into()), s.now);
        });
        s.dial();
        s.accept(true, &[]);
        s.pass(secs(30));
        s.link.owes(backlog(5, 0));
        s.drive();
    });
    assert_eq!(count(&lines, "(up.example:1883): no route to host"), 1);
    assert_eq!(count(&lines, "(up.example:1883): no such name"), 1);
    for hours in 1..=3 {
        let line =
            format!("WARN Bridge up: not connected for {hours} h, 4,211 messages to send: no ");
        only(&lines, &line);
    }
    only(
        &lines,
        "INFO Bridge up: connected after 3 h 1 min, 4,211 messages to send",
    );
    assert_eq!(
        lines.last().unwrap(),
        "INFO Bridge up: all sent, after 30 s"
    );
    assert!(lines.len() < 12, "{lines:#?}");
}

/// One connection after the other is accepted and ends at once, for two hours.
fn flaps(s: &mut Script, resumed: bool, mut end: impl FnMut(&mut Script)) -> Vec<String> {
    log_of(|| {
        let until = s.now + secs(7300);
        attempts(s, until, |s| {
            s.link.connected(s.now, &mut s.out).unwrap();
            s.sent();
            s.accept(resumed, &[]);
            s.puback(s.ids, Reason::SUCCESS).unwrap();
            s.pass(secs(2));
            end(s);
            s.link.judge(&UnderWay::default(), s.now);
        });
    })
}

#[test]
fn another_client_with_the_same_id_is_named_after_the_third_take_over() {
    let mut s = Script::new(spec(&[]));
    let lines = flaps(&mut s, true, |s| {
        let packet = Disconnect {
            reason: Reason::SESSION_TAKEN_OVER,
            props: Props::EMPTY,
        };
        s.receive(Packet::Disconnect(packet)).unwrap_err();
    });
    let line = only(
        &lines,
        "Bridge up (up.example:1883): disconnected by upstream again and again",
    );
    assert!(
        line.contains("another client uses the remote_clientid box.up, too"),
        "{line}"
    );
    assert_eq!(
        count(&lines, "connected to up.example:1883"),
        3,
        "{lines:#?}"
    );
    assert_eq!(count(&lines, "connections within"), 2, "{lines:#?}");
    assert!(lines.len() < 12, "{lines:#?}");
}

#[test]
fn before_mqtt_5_another_client_with_the_same_id_is_a_guess() {
    let mut s = Script::new(v311(spec(&[])));
    let lines = flaps(&mut s, true, Script::close);
    let line = only(
        &lines,
        "WARN Bridge up (up.example:1883): connection closed by upstream, again",
    );
    let guess = "perhaps another client uses the remote_clientid box.up, too";
    assert!(line.contains(guess), "{line}");
    // A session that is not there was not taken over.
    let mut s = Script::new(v311(spec(&[])));
    let lines = flaps(&mut s, false, Script::close);
    assert_eq!(count(&lines, "perhaps"), 0);
    assert!(lines.len() < 12, "{lines:#?}");
}

/// The last line says what is the case.
#[test]
fn a_link_that_holds_again_is_told() {
    let mut s = Script::new(spec(&[]));
    flaps(&mut s, false, Script::close);
    let lines = log_of(|| {
        s.dial();
        s.accept(false, &[]);
        s.puback(s.ids, Reason::SUCCESS).unwrap();
        s.pass(secs(60));
        s.drive();
        s.sent();
    });
    let [line] = &lines[..] else {
        panic!("{lines:#?}")
    };
    assert!(
        line.starts_with("INFO Bridge up: connected for a minute, after "),
        "{line}"
    );
    let lines = log_of(|| {
        s.close();
        s.dial();
        s.accept(false, &[]);
    });
    assert_eq!(count(&lines, "connection closed by upstream"), 1);
    assert_eq!(count(&lines, "Bridge up connected to"), 1);
}
