//! General directives that bound what clients may have and send.

use super::*;
use crate::broker::DropReason;
use crate::config::General;

fn world(change: impl FnOnce(&mut General)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::with(settings)
}

/// What a file says.
fn config_of(text: &str) -> General {
    let env = crate::config::Env::default();
    crate::config::Config::parse(text, "x", &env)
        .unwrap()
        .config
        .general
}

impl World {
    /// The answer to a CONNECT.
    fn answer(&mut self, dial: &Dial) -> (Peer, Reason) {
        let peer = self.dial(dial);
        self.pass(ms(50));
        match self.next(peer) {
            Some(Got::ConnAck(_, reason)) => (peer, reason),
            other => panic!("no CONNACK but {other:?}"),
        }
    }
}

/// `max_keepalive`: MQTT 5 is given the longest there is [MQTT-3.1.2-21], for none too; before,
/// there is no way to say so, and Mosquitto refuses with return code 2.
#[test]
fn max_keepalive_binds_those_who_ask_for_more_or_none() {
    let mut world = world(|settings| settings.max_keepalive = 60);
    for (version, keep_alive, reason) in [
        (Version::V5, 0, OK),
        (Version::V5, 61, OK),
        (Version::V311, 60, OK),
        (Version::V311, 61, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V311, 0, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V31, 0, Reason::CLIENT_IDENTIFIER_NOT_VALID),
    ] {
        let dial = Dial {
            keep_alive,
            ..Dial::clean(version, "c")
        };
        let (peer, answer) = world.answer(&dial);
        assert_eq!(answer, reason, "{version:?} {keep_alive}");
        world.pass(secs(100));
        assert!(!world.is_open(peer), "{version:?} {keep_alive}");
    }
}

/// Without it, keep-alive 0 is none (5.0 §3.1.2.10).
#[test]
fn without_max_keepalive_no_keep_alive_is_none() {
    for version in VERSIONS {
        let mut world = World::new();
        let peer = world.clean(version, "c");
        world.pass(secs(200_000));
        assert!(world.is_open(peer));
    }
}

/// As Mosquitto: 0x80 in 5.0, identifier rejected before.
#[test]
fn clients_without_an_id_may_be_refused() {
    let mut world = world(|s| s.security.allow_zero_length_clientid = false);
    for (version, reason) in [
        (Version::V311, Reason::CLIENT_IDENTIFIER_NOT_VALID),
        (Version::V5, Reason::UNSPECIFIED),
    ] {
        assert_eq!(world.answer(&Dial::clean(version, "")).1, reason);
        assert_eq!(world.answer(&Dial::clean(version, "c")).1, OK);
    }
}

#[test]
fn client_ids_begin_with_their_prefix() {
    let mut world = world(|s| {
        s.clientid_prefixes = "dev-".to_owned();
        s.security.auto_id_prefix = "dev-auto-".to_owned();
    });
    for version in VERSIONS {
        for (id, reason) in [
            ("dev-1", OK),
            ("dev", Reason::NOT_AUTHORIZED),
            ("x-dev-", Reason::NOT_AUTHORIZED),
            ("", OK),
        ] {
            assert_eq!(world.answer(&Dial::clean(version, id)).1, reason, "{id}");
        }
    }
}

/// `global_max_clients` counts sessions, connected or not; who has one may come back.
#[test]
fn sessions_are_counted() {
    let mut world = world(|s| s.global_max_clients = Some(2));
    let kept = world.durable(Version::V5, "kept");
    world.cut(kept);
    let clean = world.clean(Version::V5, "clean");
    let another = Dial::clean(Version::V5, "another");
    assert_eq!(world.answer(&another).1, Reason::SERVER_BUSY);
    let (_, present) = world.connect(&Dial::durable(Version::V5, "kept"));
    assert!(present);
    world.cut(clean);
    assert_eq!(world.answer(&another).1, OK);
}

/// `max_inflight_bytes` counts payloads; one message goes always, and all go in the end.
#[test]
fn bytes_in_flight_are_bounded() {
    let mut world = world(|s| s.max_inflight_bytes = 16);
    let sub = world.durable(Version::V5, "sub");
    world.listen(sub, "t", QoS::ExactlyOnce);
    let publisher = world.clean(Version::V5, "pub");
    let payloads = [
        "12345678",
        "12345678",
        "x",
        "a payload of more than sixteen",
        "y",
    ];
    for (n, payload) in payloads.into_iter().enumerate() {
        world.publish(publisher, "t", payload, qos1(n as u16 + 1));
    }
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), ["12345678", "12345678"]);
    world.puback(sub, 1);
    world.pass(ms(50));
    let next = ["x", "a payload of more than sixteen"];
    assert_eq!(world.payloads(sub), next, "9 bytes are below 16");
    world.puback(sub, 2);
    world.puback(sub, 3);
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), NONE);
    world.puback(sub, 4);
    world.pass(ms(50));
    assert_eq!(world.payloads(sub), ["y"]);
}

/// `memory_limit`: what is not retained MQTT 5 is told and older publishers are not; who makes room may.
#[test]
fn memory_for_messages_is_bounded() {
    let mut world = World::new();
    let (old, new) = (
        world.clean(Version::V311, "old"),
        world.clean(Version::V5, "new"),
    );
    let taken = world.broker.memory();
    world.broker.core.settings.general.memory_limit = Some((taken + 2_000) / 3 * 4);
    world.broker.core.settings.general.max_retained_bytes = Some(0);
    let large = "x".repeat(1_400);
    world.publish_with(new, "kept", &large, qos1(1), true, &[]);
    world.pass(ms(50));
    assert!(matches!(world.got(new)[..], [Got::PubAck(1, reason)] if !reason.is_error()));
    assert!(world.broker.memory() >= taken + 1_400);
    world.publish_with(new, "more", &large, qos1(2), true, &[]);
    assert_eq!(world.got(new), [Got::PubAck(2, Reason::QUOTA_EXCEEDED)]);
    world.publish_with(new, "more", &large, Delivery::AtMostOnce, true, &[]);
    world.publish_with(old, "more", &large, qos1(3), true, &[]);
    world.pass(secs(2));
    assert_eq!(
        (world.got(old), world.broker.core.router.retained_len()),
        (vec![Got::PubAck(3, OK)], 1)
    );
    world.publish_with(new, "kept", "", qos1(4), true, &[]);
    world.pass(secs(2));
    assert!(matches!(world.got(new)[..], [Got::PubAck(4, reason)] if !reason.is_error()));
    assert_eq!(world.got(old), []);
    assert_eq!(world.broker.core.router.retained_len(), 0);
}

/// Without persistence the store is memory.
#[test]
fn without_persistence_what_is_queued_counts() {
    let mut world = world(|s| {
        s.persistence = false;
        s.memory_limit = Some(1_000_000);
    });
    let sub = world.durable(Version::V5, "sub");
    world.listen(sub, "t", QoS::AtLeastOnce);
    world.cut(sub);
    let publisher = world.clean(Version::V5, "pub");
    let taken = world.broker.memory();
    world.publish(publisher, "t", &"x".repeat(1_000), qos1(1));
    world.pass(secs(5));
    assert!(world.broker.memory() >= taken + 1_000);
}

/// `persistent_client_expiration` holds for what is found at the start, and for 3.1.1.
#[test]
fn sessions_found_at_the_start_expire_too() {
    let mut world = World::new();
    for (version, id) in [(Version::V311, "old"), (Version::V5, "new")] {
        let dial = Dial {
            expiry: u32::MAX,
            ..Dial::durable(version, id)
        };
        let (peer, _) = world.connect(&dial);
        world.cut(peer);
    }
    world.pass(secs(1));
    world.settings.persistent_client_expiration = Some(secs(3_600));
    world.crash(secs(1_800));
    assert_eq!(world.broker.gauges().clients, 2);
    world.pass(secs(1_900));
    assert_eq!(world.broker.gauges().clients, 0);
}

/// A store from before sessions were forgotten: whoever is away for longer has a week, once.
#[test]
fn sessions_that_are_too_old_at_the_first_start_have_one_more_week() {
    const WEEK: u64 = 7 * 24 * 3600;
    let mut world = world(|s| s.persistent_client_expiration = None);
    for (expiry, id) in [(u32::MAX, "old"), (10 * WEEK as u32, "asked")] {
        let dial = Dial {
            expiry,
            ..Dial::durable(Version::V5, id)
        };
        let (peer, _) = world.connect(&dial);
        world.cut(peer);
    }
    world.pass(secs(1));
    world.settings.persistent_client_expiration = settings().persistent_client_expiration;
    world.crash(secs(20 * WEEK));
    assert_eq!(
        world.broker.gauges().clients,
        1,
        "ten weeks were its own wish"
    );
    world.pass(secs(WEEK / 2));
    world.crash(secs(WEEK / 4));
    assert_eq!(world.broker.gauges().clients, 1);
    world.pass(secs(WEEK / 4 + 10));
    assert_eq!(
        world.broker.gauges().clients,
        0,
        "no week more at the second start"
    );
}

/// What waits in a session that is forgotten is counted.
#[test]
fn sessions_are_forgotten_after_weeks() {
    const WEEK: u64 = 7 * 24 * 3600;
    let never = config_of("persistent_client_expiration never");
    let never = never.persistent_client_expiration;
    for (most, goes) in [
        (settings().persistent_client_expiration, true),
        (never, false),
    ] {
        let mut world = world(|s| s.persistent_client_expiration = most);
        let (old, _) = world.connect(&Dial::durable(Version::V311, "old"));
        world.listen(old, "t", QoS::AtLeastOnce);
        world.cut(old);
        let publisher = world.clean(Version::V311, "p");
        world.publish(publisher, "t", "1", qos1(1));
        world.pass(secs(1));
        let first = world.broker.first_to_expire();
        assert_eq!(
            first.map(|(id, _)| id.to_owned()),
            goes.then(|| "old".to_owned())
        );
        world.crash(secs(7 * WEEK));
        assert_eq!(world.broker.gauges().queued_messages, 1);
        world.pass(secs(2 * WEEK));
        let gone = world
            .broker
            .counters()
            .dropped_for(DropReason::SessionEnded);
        assert_eq!(gone, u64::from(goes));
        assert_eq!(world.broker.gauges().queued_messages, u64::from(!goes));
    }
}

/// A client that comes back is not told only after a commit, unless its session has not long to go.
#[test]
fn a_session_that_lasts_for_weeks_does_not_wait_for_the_disk() {
    let mut world = world(|_| ());
    let dial = Dial::durable(Version::V311, "c");
    let (c, _) = world.connect(&dial);
    for (absent, waits) in [(secs(3_600), false), (secs(50 * 24 * 3_600), true)] {
        let c = world.dial(&dial);
        world.cut(c);
        world.pass(absent);
        world.held = true;
        let c = world.dial(&dial);
        let answer = world.next(c);
        assert_eq!(answer.is_none(), waits, "{absent:?} {answer:?}");
        world.held = false;
        world.pass(secs(2));
    }
    assert!(!world.is_open(c));
}

/// `upgrade_outgoing_qos`: retained messages, too.
#[test]
fn messages_are_upgraded_to_the_subscription() {
    for (upgrade, qos) in [(true, QoS::AtLeastOnce), (false, QoS::AtMostOnce)] {
        let mut world = world(|s| s.upgrade_outgoing_qos = upgrade);
        let c = world.clean(Version::V5, "c");
        world.publish_with(c, "t", "kept", Delivery::AtMostOnce, true, &[]);
        world.listen(c, "t", QoS::AtLeastOnce);
        world.publish(c, "t", "live", Delivery::AtMostOnce);
        world.pass(ms(50));
        let messages = world.messages(c);
        let came: Vec<QoS> = messages.iter().map(|m| m.delivery.qos()).collect();
        assert_eq!(came, [qos, qos]);
    }
}

/// `retain_available false` ends the connection of who publishes retained (5.0 §3.2.2.3.5).
#[test]
fn retained_messages_may_be_unavailable() {
    for version in VERSIONS {
        let mut world = world(|s| s.retain_available = false);
        let c = world.clean(version, "c");
        world.publish_with(c, "t", "1", Delivery::AtMostOnce, true, &[]);
        let mut got = world.got(c);
        assert_eq!(got.pop(), Some(Got::Closed));
        let told = Got::Disconnect(Reason::RETAIN_NOT_SUPPORTED);
        assert_eq!(got.pop(), (version == Version::V5).then_some(told));
    }
}

/// `max_packet_size`: what is larger ends the connection, by its header alone [MQTT-3.2.2-15].
#[test]
fn packets_may_be_too_large() {
    for version in VERSIONS {
        let mut world = world(|s| s.max_packet_size = Some(100));
        let c = world.clean(version, "c");
        world.publish(c, "t", &"x".repeat(90), Delivery::AtMostOnce);
        assert!(world.is_open(c));
        world.publish(c, "t", &"x".repeat(100), Delivery::AtMostOnce);
        let mut got = world.got(c);
        assert_eq!(got.pop(), Some(Got::Closed));
        let told = Got::Disconnect(Reason::PACKET_TOO_LARGE);
        assert_eq!(got.pop(), (version == Version::V5).then_some(told));
    }
}

/// SUBSCRIBE to filters; the reasons of the SUBACK.
fn reasons(world: &mut World, peer: Peer, filters: &[&str]) -> Vec<u8> {
    let wanted = filters
        .iter()
        .map(|f| Subscription::new(f, QoS::AtMostOnce));
    let wanted: Vec<Subscription<'_>> = wanted.collect();
    world.subscribe(peer, 1, &wanted);
    match world.next(peer) {
        Some(Got::SubAck(1, reasons)) => reasons.iter().map(|reason| reason.0).collect(),
        other => panic!("no SUBACK but {other:?}"),
    }
}

/// `max_topic_levels` bounds filters, without the name of a share; a filter that a session has, maybe
/// from before a reload, may be subscribed to again.
#[test]
fn deep_filters_are_refused() {
    let deep = |levels: usize| vec!["l"; levels].join("/");
    for (version, refused) in [(Version::V5, 0x8f), (Version::V311, 0x80)] {
        let mut world = World::new();
        let peer = world.clean(version, "c");
        let (fits, shared) = (deep(32), format!("$share/g/{}", deep(32)));
        let filters = [&*fits, &shared, &deep(33), "+/#"];
        assert_eq!(reasons(&mut world, peer, &filters), [0, 0, refused, 0]);
        let mut settings = settings();
        settings.max_topic_levels = 4;
        world.broker.set_general(&settings, world.now);
        let filters = ["1/2/3/4", "1/2/3/4/#", &fits];
        assert_eq!(reasons(&mut world, peer, &filters), [0, refused, 0]);
    }
}

/// `max_subscriptions`: one more is refused, but not one that is there already, and one that goes
/// makes room.
#[test]
fn filters_are_bounded() {
    for (version, refused) in [(Version::V5, 0x97), (Version::V311, 0x80)] {
        let mut world = world(|s| s.max_subscriptions = 2);
        let peer = world.clean(version, "c");
        assert_eq!(reasons(&mut world, peer, &["a", "b", "c"]), [0, 0, refused]);
        assert_eq!(reasons(&mut world, peer, &["a"]), [0], "once more");
        world.unsubscribe(peer, 2, "a");
        world.got(peer);
        assert_eq!(reasons(&mut world, peer, &["c", "d"]), [0, refused]);
        let other = world.clean(version, "other");
        assert_eq!(reasons(&mut world, other, &["d"]), [0], "each client");
    }
}

/// `max_subscription_levels`: what a client's filters may take in the tree.
#[test]
fn the_levels_of_all_filters_are_bounded() {
    for (version, refused) in [(Version::V5, 0x97), (Version::V311, 0x80)] {
        let mut world = world(|s| s.max_subscription_levels = 10);
        let peer = world.clean(version, "c");
        let filters = ["a/b/c/d", "1/2/3/4", "x/y/z", "x/y"];
        assert_eq!(reasons(&mut world, peer, &filters), [0, 0, refused, 0]);
        assert_eq!(reasons(&mut world, peer, &["x"]), [refused]);
        world.unsubscribe(peer, 2, "1/2/3/4");
        world.got(peer);
        assert_eq!(reasons(&mut world, peer, &["x/y/z"]), [0]);
    }
}

/// The filters of all clients together take about half of `memory_limit`, whatever one may have.
#[test]
fn the_tree_of_all_filters_is_bounded() {
    let limit = 1 << 20;
    let mut world = world(|s| s.memory_limit = Some(limit));
    let mut refused = 0;
    for client in 0..40 {
        let peer = world.clean(Version::V5, &format!("c{client}"));
        let deep = |n: usize| format!("{client}/{n}{}", format!("/{n}{client}").repeat(20));
        let filters: Vec<String> = (0..100).map(deep).collect();
        let filters: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
        let reasons = reasons(&mut world, peer, &filters);
        refused += reasons.iter().filter(|reason| **reason == 0x97).count();
    }
    let tree = world.broker.core.router.tree_bytes() as u64;
    assert!(refused > 1000, "{refused}");
    // Tables grow by leaps.
    assert!(tree > limit / 8 && tree <= limit / 8 * 5, "{tree}");
}
