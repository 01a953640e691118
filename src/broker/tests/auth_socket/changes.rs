//! What is taken back, what SIGHUP changes, and what a restart forgets.

use super::*;

#[test]
fn a_revocation_takes_effect_at_once() {
    for (by_id, by_name) in [(None, Some("ann")), (Some("c"), None)] {
        let mut site = Site::new(|_| ());
        let watcher = site.enter(&Dial::clean(Version::V5, "w"), "w", ALL);
        site.world.listen(watcher, "will", QoS::AtLeastOnce);
        let dial = Dial {
            will: Some(Last {
                payload: "dead",
                delay: 0,
                expiry: None,
            }),
            ..Dial::durable(Version::V5, "c")
        };
        let peer = site.enter(&dial, "ann", ALL);
        site.world.listen(peer, "a", QoS::AtLeastOnce);
        site.revoke(Some("c"), Some("bob"));
        assert!(site.world.is_open(peer), "another's");
        site.revoke(by_id, by_name);
        assert_eq!(site.world.got(peer), [Got::Disconnect(DENIED), Got::Closed]);
        assert!(site.world.is_open(watcher));
        assert_eq!(site.world.payloads(watcher), NONE, "no will");
        // Its session is there, and what comes meanwhile is for its next login to get or not.
        site.publish(watcher, "a", "1");
        let peer = site.dial(&dial, "ann");
        site.answer("\"answer\":\"deny\"");
        assert_eq!(site.connack(peer), Some(DENIED));
        let peer = site.dial(&dial, "ann");
        site.answer(ALL);
        assert_eq!(site.world.next(peer), Some(Got::ConnAck(true, OK)));
        site.world.pass(ms(300));
        assert_eq!(site.world.payloads(peer), ["1"]);
    }
}

#[test]
fn a_revocation_knows_both_names_of_a_client() {
    let mut site = Site::new(|_| ());
    let rights = "\"answer\":\"allow\",\"username\":\"real\"";
    for name in ["token", "real"] {
        let dial = Dial::clean(Version::V5, "c");
        let peer = site.enter(&dial, "token", rights);
        site.revoke(None, Some("another"));
        assert!(site.world.is_open(peer));
        site.revoke(None, Some(name));
        assert!(!site.world.is_open(peer), "{name}");
    }
}

#[test]
fn a_revocation_is_about_who_is_away_too() {
    let mut site = Site::new(|_| ());
    let watcher = site.enter(&Dial::clean(Version::V5, "w"), "w", ALL);
    site.world.listen(watcher, "will", QoS::AtLeastOnce);
    let dial = Dial {
        will: Some(Last {
            payload: "dead",
            delay: 5,
            expiry: None,
        }),
        ..Dial::durable(Version::V5, "c")
    };
    let peer = site.enter(&dial, "ann", ALL);
    site.world.cut(peer);
    site.revoke(None, Some("ann"));
    site.world.pass(secs(10));
    assert_eq!(site.world.payloads(watcher), NONE);
    let peer = site.dial(&dial, "ann");
    site.answer("\"answer\":\"deny\"");
    assert_eq!(site.connack(peer), Some(DENIED));
    // Another socket's program has no say.
    let now = site.world.now;
    let revocation = Revocation {
        client_id: Some("w".into()),
        username: None,
    };
    let other = Path::new("/run/other.sock");
    site.world.broker.revoke(other, &revocation, now);
    site.world.pass(ms(50));
    assert!(site.world.is_open(watcher));
}

#[test]
fn sighup_asks_anew_only_those_whom_nobody_was_asked_about() {
    let mut site = Site::new(|general| {
        general.security.auth_socket = None;
        general.security.allow_anonymous = Some(true);
    });
    let dial = Dial::clean(Version::V5, "c");
    let before = site.world.dial(&dial);
    assert_eq!(site.connack(before), Some(OK));
    site.world.settings.security.auth_socket = Some(SOCKET.into());
    site.world.reload();
    assert!(!site.world.is_open(before));
    let rights = "\"answer\":\"allow\",\"acl\":[\"topic a\"]";
    let peer = site.enter(&dial, "ann", rights);
    site.world.reload();
    assert!(site.world.is_open(peer));
    assert_eq!(site.publish(peer, "b", ""), DENIED);
    assert_eq!(site.publish(peer, "a", ""), Reason(0x10));
    site.world.settings.security.auth_socket = Some("/run/other.sock".into());
    site.world.reload();
    assert!(!site.world.is_open(peer));
    let peer = site.enter(&dial, "ann", rights);
    site.world.settings.security.allow_anonymous = Some(false);
    site.world.settings.security.auth_socket = None;
    site.world.reload();
    assert!(!site.world.is_open(peer));
}

/// Between SIGHUP and the end of its connection a client whom nobody was asked about has no more rights
/// than the files give it.
#[test]
fn who_is_to_be_disconnected_reads_nothing_new() {
    for (keeps_acl, wanted) in [(true, &["open"][..]), (false, &[])] {
        let mut site = Site::new(|general| {
            general.security.auth_socket = None;
            general.security.allow_anonymous = Some(true);
        });
        site.world.logins_held = false;
        let acl = site.file("acl", "topic a\nuser roger\ntopic #\n");
        site.world.settings.security.acl_file = Some(acl);
        site.world.settings.security.password_file = Some(site.file("passwd", ROGER));
        site.world.reload();
        let readers = [
            Dial::clean(Version::V5, "c"),
            Dial::durable(Version::V5, "d"),
        ];
        let readers = readers.map(|dial| {
            let reader = site.world.dial(&dial);
            assert_eq!(site.connack(reader), Some(OK));
            site.world.listen(reader, "#", QoS::AtLeastOnce);
            reader
        });
        let dial = Dial {
            username: Some("roger"),
            password: Some("sekrit"),
            ..Dial::clean(Version::V5, "w")
        };
        let writer = site.world.dial(&dial);
        assert_eq!(site.connack(writer), Some(OK));
        site.world.settings.security.auth_socket = Some(SOCKET.into());
        if !keeps_acl {
            site.world.settings.security.acl_file = None;
        }
        site.world.change_rules();
        for message in [("a", "open"), ("b", "secret")] {
            let delivery = Delivery::AtMostOnce;
            site.world
                .publish_in_turn(writer, message, delivery, false, &[]);
        }
        site.world.pass(ms(50));
        for reader in readers {
            let got = site.world.got(reader);
            let read = got.iter().filter_map(|got| match got {
                Got::Publish(publish) => Some(&*publish.payload),
                _ => None,
            });
            assert_eq!(read.collect::<Vec<_>>(), wanted);
            assert!(!site.world.is_open(reader));
        }
        assert!(site.world.is_open(writer));
    }
}

/// Nobody knows the rights of those who are away after a start; nothing is lost for that, and nothing
/// told.
#[test]
fn after_a_restart_the_next_login_says_what_leaves_the_queue() {
    let mut site = Site::new(|_| ());
    let acl = site.file("acl", "user w\ntopic #\n");
    site.world.settings.security.acl_file = Some(acl);
    site.world.reload();
    let dial = Dial::durable(Version::V5, "c");
    let peer = site.enter(&dial, "ann", ALL);
    site.world.listen(peer, "#", QoS::AtLeastOnce);
    site.world.pass(secs(5));
    site.world.crash(secs(1));
    let writer = site.enter(&Dial::clean(Version::V5, "w"), "w", ALLOW);
    for topic in ["a", "b"] {
        site.publish(writer, topic, topic);
    }
    let peer = site.dial(&dial, "ann");
    site.answer("\"answer\":\"allow\",\"acl\":[\"topic a\"]");
    assert_eq!(site.world.next(peer), Some(Got::ConnAck(true, OK)));
    site.world.pass(ms(300));
    assert_eq!(site.world.payloads(peer), ["a"]);
}
