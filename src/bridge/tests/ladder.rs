//! What a CONNECT offers, and what it does without from then on.

use super::*;

/// The first words of a CONNECT: its protocol level and client id, and whether there is a will.
fn offer(connect: &str) -> String {
    let words: Vec<&str> = connect.split(' ').collect();
    let will = if connect.contains(" will ") {
        "will"
    } else {
        "-"
    };
    format!("{} {} {will}", words[1], words[2])
}

/// NATS 2.9: refuses MQTT 5 and the bridge bit, and closes on a will with a dot in its topic.
fn nats_29(s: &mut Script) -> Vec<String> {
    let mut offers = Vec::new();
    loop {
        let connect = s.dial();
        offers.push(offer(&connect));
        if connect.starts_with("CONNECT 5") || connect.starts_with("CONNECT 132") {
            s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
        } else if connect.contains("will") {
            s.close();
        } else {
            s.accept(false, &[]);
            return offers;
        }
    }
}

#[test]
fn a_will_that_closes_the_connection_is_left_out_at_the_third_attempt() {
    let mut s = Script::new(spec(&[]));
    let offers = nats_29(&mut s);
    let attempt = ["5 box.up will", "132 box.up will", "4 box.up will"];
    let expected = [&attempt[..], &attempt, &attempt, &["4 box.up -"]].concat();
    assert_eq!(offers, expected);
    let status = s.link.status().to_string();
    for known in [
        "without MQTT 5 (refused",
        "without the bridge bit",
        "without state notifications",
    ] {
        assert!(status.contains(known), "{status}");
    }
    let known = s.link.take_given_up().unwrap();
    s.close();
    assert_eq!(nats_29(&mut s), ["4 box.up -"], "remembered");
    let spec = s.link.spec().clone();
    s.link = Link::new(spec, 1, s.now).with_given_up(&known);
    assert_eq!(nats_29(&mut s), ["4 box.up -"], "over a restart");
}

/// ejabberd refuses a will to `$SYS` in so many words.
#[test]
fn a_will_that_is_refused_is_left_out_at_once() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.refuse(Reason::TOPIC_NAME_INVALID);
    assert_eq!(offer(&s.dial()), "5 box.up -");
    s.accept(false, &[]);
    assert_eq!(s.sent(), [""; 0], "and no notification");
    assert!(s.link.take_given_up().is_some());
}

/// NATS 2.15 takes no dot in a client id: the default one is written otherwise, one that was chosen is
/// not.
#[test]
fn a_client_id_that_is_refused_is_written_otherwise() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.refuse(Reason::CLIENT_IDENTIFIER_NOT_VALID);
    assert_eq!(offer(&s.dial()), "5 box-up will");
    s.accept(false, &[]);
    s.close();
    assert_eq!(offer(&s.dial()), "5 box-up will", "kept");

    let mut chosen = spec(&[]);
    chosen.remote_clientid = "my.box".into();
    chosen.has_default_clientid = false;
    let mut s = Script::new(chosen);
    s.dial();
    let error = s.refuse(Reason::CLIENT_IDENTIFIER_NOT_VALID);
    assert!(error.to_string().contains("remote_clientid"));
    assert!(s.wait().0 >= secs(5));
}

/// A wrong password has nothing to do with what is offered.
#[test]
fn a_refused_login_changes_nothing() {
    let mut s = Script::new(spec(&[]));
    for _ in 0..10 {
        assert_eq!(offer(&s.dial()), "5 box.up will");
        s.refuse(Reason::BAD_USER_NAME_OR_PASSWORD);
    }
    assert!(s.link.take_given_up().is_none());
}

/// The rights may be for the will's topic: the third refusal finds out.
#[test]
fn a_will_without_rights_is_left_out_at_the_third_attempt() {
    let mut s = Script::new(spec(&[]));
    for _ in 0..3 {
        assert_eq!(offer(&s.dial()), "5 box.up will");
        s.refuse(Reason::NOT_AUTHORIZED);
    }
    assert_eq!(offer(&s.dial()), "5 box.up -");
    s.accept(false, &[]);
    assert!(s.link.take_given_up().is_some());
}

/// Without a will there is none to be given up: what is left is the version.
#[test]
fn an_upstream_that_closes_on_mqtt_5_gets_3_1_1_at_once_without_notifications_too() {
    let mut quiet = spec(&[]);
    (quiet.notifications, quiet.try_private) = (false, false);
    let mut s = Script::new(quiet);
    assert_eq!(offer(&s.dial()), "5 box.up -");
    s.close();
    assert_eq!(offer(&s.dial()), "4 box.up -");
}

/// Each address is an upstream of its own: what the backup can't do the primary can.
#[test]
fn each_address_has_verdicts_of_its_own() {
    let mut two = spec(&[]);
    two.addresses = ["a", "b"].map(|host| (host.to_owned(), 1).into()).into();
    two.restart = Restart::Constant(secs(1));
    let mut s = Script::new(two);
    s.wait();
    s.no_answer();
    for _ in 0..3 {
        s.dial();
        s.refuse(Reason::UNSUPPORTED_PROTOCOL_VERSION);
        assert_eq!(offer(&s.dial()), "132 box.up will", "b knows 3.1.1 only");
        s.accept(false, &[]);
        s.pass(secs(10));
        s.lose(&Error::PingTimeout, 0);
        assert_eq!(offer(&s.dial()), "5 box.up will", "a does know 5");
        s.accept(false, &[]);
        s.pass(secs(10));
        s.lose(&Error::PingTimeout, 0);
        s.link.forget_given_up();
    }
}

/// One failure is no proof: a proxy may close while the upstream restarts.
#[test]
fn one_close_is_looked_at_again() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(true, &[]);
    s.close();
    s.dial();
    s.close();
    assert_eq!(offer(&s.dial()), "132 box.up will");
    s.accept(true, &[]);
    let known = s.link.take_given_up().unwrap();
    let spec = s.link.spec().clone();
    s.link = Link::new(spec, 1, s.now).with_given_up(&known);
    assert_eq!(offer(&s.dial()), "132 box.up will", "kept over a restart");
    s.accept(true, &[]);
    s.pass(secs(3600));
    s.close();
    assert_eq!(offer(&s.dial()), "5 box.up will");
    s.accept(true, &[]);
    assert_eq!(s.link.take_given_up().map(|(_, list)| list.len()), Some(0));
}

/// amqtt acknowledges what goes to a topic that begins with `$`, and then is silent for ever.
#[test]
fn an_upstream_that_is_silent_after_a_notification_gets_none() {
    let mut s = Script::new(spec(&[]));
    for n in 0..3 {
        assert_eq!(offer(&s.dial()), "5 box.up will", "{n}");
        s.accept(true, &[]);
        let id = s.ids;
        s.puback(id, Reason::SUCCESS).unwrap();
        let from = s.now;
        while s.wait().1 != "close" {}
        let took = s.now.since(from);
        assert_eq!(took, if n == 0 { secs(90) } else { secs(30) });
        s.lose(&Error::PingTimeout, 0);
        s.sent();
    }
    assert_eq!(offer(&s.dial()), "5 box.up -");
    assert!(s.link.take_given_up().is_some());
}
