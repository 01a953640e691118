//! An upstream is brought up to date with what is retained: at each connect it ends with the value
//! of each topic that is mapped, and gets nothing again that it has acknowledged.

mod renamed;
mod site;

use std::rc::Rc;

use site::{Site, out};

use super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::config::{Bounds, BridgeTopic, Direction, Overflow};
use crate::mqtt::{Ack, Packet, Property};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Values that change, come new and are cleared during an outage, at each QoS of line and message,
/// with a session here that lasts or not, and upstream too.
#[test]
fn after_an_outage_the_upstream_has_what_is_retained_here() {
    for line in QOS {
        for qos in 0..3 {
            for (durable, present) in [(true, true), (true, false), (false, true), (false, false)] {
                let case = format!("line {line:?}, QoS {qos}, {durable}, {present}");
                let mut site = Site::with(&[out("#", line)], durable, settings());
                site.up(false);
                for topic in ["same", "changes", "goes"] {
                    site.set(topic, "1", qos);
                }
                site.ping();
                assert_eq!(site.has(), ["changes=1", "goes=1", "same=1"], "{case}");
                site.came();
                site.down();
                site.set("changes", "2", qos);
                site.set("changes", "3", qos);
                site.set("goes", "", qos);
                site.set("new", "1", qos);
                site.set("comes and goes", "1", qos);
                site.set("comes and goes", "", qos);
                site.up(present);
                assert_eq!(site.has(), ["changes=3", "new=1", "same=1"], "{case}");
                site.ping();
                let came = site.came();
                let again = came.iter().any(|what| what == "same=1");
                assert_eq!(again, !present, "{case}: {came:?}");
                // And nothing comes twice.
                site.down();
                site.up(true);
                assert_eq!(site.came(), NONE, "{case}");
                let other = site.world.durable(Version::V5, "a commit");
                site.pass(secs(2));
                assert_eq!(site.cleared(), 0, "{case}");
                site.world.cut(other);
            }
        }
    }
}

/// The last word here and upstream is the same where the QoS of a topic's messages changes.
#[test]
fn a_newer_value_of_qos_0_wins_over_an_older_one_that_was_queued() {
    let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
    site.up(false);
    site.down();
    site.set("t", "queued", 1);
    site.set("t", "newer", 0);
    site.up(true);
    assert_eq!(site.has(), ["t=newer"]);
    assert_eq!(site.came(), ["t=queued", "t=newer"]);
}

/// A bridge that is added to a broker with retained messages brings them all up, once, and asks
/// nothing of the store for it.
#[test]
fn a_new_bridge_sends_what_is_retained() {
    let mut site = Site::new(&[out("none", QoS::AtLeastOnce)]);
    for n in 0..1_200 {
        site.set(&format!("t/{n}"), "x", u8::from(n % 2 == 0));
    }
    site.world.pass(secs(2));
    site.lines = vec![out("#", QoS::AtLeastOnce)];
    site.start();
    assert_eq!(site.world.rows(), [], "nothing is queued");
    site.up(true);
    assert_eq!(site.upstream.len(), 1_200);
    assert!(
        site.came.iter().all(|(_, qos)| *qos == 1),
        "so that arrival is known"
    );
    assert_eq!(site.came().len(), 1_200);
    site.down();
    site.up(true);
    site.crash();
    site.up(true);
    let again = site.came();
    let was_0 = |what: &String| {
        let n: u32 = what
            .strip_prefix("t/")
            .unwrap()
            .strip_suffix("=x")
            .unwrap()
            .parse()
            .unwrap();
        n % 2 == 1
    };
    // After a kill nobody knows what was sent of values that may not have been written.
    assert!(
        again.iter().all(was_0) && again.len() == 600,
        "{}",
        again.len()
    );
    site.down();
    site.restart();
    site.up(true);
    assert_eq!(site.came(), NONE);
}

/// A new line and a new prefix bring their topics, though the upstream keeps the session.
#[test]
fn a_changed_map_sends_what_it_maps() {
    let mut site = Site::new(&[out("a/#", QoS::AtLeastOnce)]);
    site.set("a/x", "1", 1);
    site.set("b/x", "2", 1);
    site.up(false);
    assert_eq!(site.has(), ["a/x=1"]);
    site.down();
    site.lines.push(BridgeTopic {
        remote: "site/".to_owned(),
        ..out("b/#", QoS::AtMostOnce)
    });
    site.start();
    site.up(true);
    assert_eq!(site.has(), ["a/x=1", "site/b/x=2"]);
    site.lines[0].remote = "other/".to_owned();
    site.down();
    site.start();
    site.up(true);
    assert_eq!(site.has(), ["a/x=1", "other/a/x=1", "site/b/x=2"]);
}

/// An upstream that restarts without its store gets everything again, and what was queued once.
#[test]
fn an_upstream_that_has_lost_its_session_gets_all_again() {
    for crash in [false, true] {
        let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
        site.up(false);
        site.set("old", "1", 1);
        site.set("older", "1", 0);
        site.ping();
        site.came();
        site.down();
        site.upstream.clear();
        site.set("new", "1", 1);
        if crash {
            site.world.pass(secs(2));
            site.crash();
        }
        site.up(false);
        assert_eq!(site.has(), ["new=1", "old=1", "older=1"]);
        // After a kill nobody knows since when the queue holds all.
        assert_eq!(site.came().len(), if crash { 4 } else { 3 });
    }
}

/// It is told what was cleared also over a kill during the outage.
#[test]
fn an_outage_may_be_interrupted_by_a_kill() {
    for line in QOS {
        for qos in 0..2 {
            let mut site = Site::new(&[out("#", line)]);
            site.up(false);
            for topic in ["changes", "goes", "same"] {
                site.set(topic, "1", qos);
            }
            site.world.pass(secs(2));
            site.down();
            site.set("changes", "2", 1);
            site.set("goes", "", qos);
            site.set("new", "1", qos);
            site.world.pass(secs(61));
            site.crash();
            assert_eq!(site.cleared(), 1);
            let seen = site.world.clean(Version::V311, "seen");
            site.world.listen(seen, "#", QoS::AtMostOnce);
            assert_eq!(
                site.world.got(seen).len(),
                3,
                "who subscribes does not see it"
            );
            site.up(true);
            assert_eq!(
                site.has(),
                ["changes=2", "new=1", "same=1"],
                "{line:?} {qos}"
            );
            site.ping();
            site.set("t", "1", 1);
            site.world.pass(secs(2));
            assert_eq!(site.cleared(), 0, "{line:?} {qos}");
            site.crash();
            assert_eq!(site.cleared(), 0, "its row is gone");
        }
    }
}

/// What a full queue, or the time to live of a line, has dropped is made good, and no more.
#[test]
fn what_was_dropped_from_the_queue_is_made_good() {
    let line = BridgeTopic {
        bounds: Bounds {
            messages: 3,
            bytes: 0,
        },
        overflow: Some(Overflow::Oldest),
        ..out("#", QoS::AtLeastOnce)
    };
    for crash in [false, true] {
        let mut site = Site::new(std::slice::from_ref(&line));
        site.up(false);
        site.set("before", "1", 1);
        site.set("goes", "1", 1);
        site.down();
        site.came();
        site.set("goes", "", 1);
        for n in 0..6 {
            // Of messages in one second the queue does not know which came first.
            site.world.pass(secs(2));
            site.set(&format!("t{n}"), "1", 1);
        }
        if crash {
            site.world.pass(secs(2));
            site.crash();
        }
        site.up(true);
        let mut came = site.came();
        came.sort();
        let expected = ["goes=", "t0=1", "t1=1", "t2=1", "t3=1", "t4=1", "t5=1"];
        if !crash {
            assert_eq!(came, expected);
        }
        assert!(came.len() <= expected.len() + 3, "{came:?}");
        assert_eq!(site.has().len(), 7);
        assert!(!site.upstream.contains_key("goes"));
        site.down();
        site.up(true);
        assert_eq!(site.came(), NONE);
    }
}

/// What came from the upstream is not sent back, and the first line with a prefix decides.
#[test]
fn nothing_goes_back_and_each_goes_by_its_line() {
    let both = |line: BridgeTopic| BridgeTopic {
        direction: Direction::Both,
        ..line
    };
    let mapped = BridgeTopic {
        remote: "up/".to_owned(),
        ..both(out("a/#", QoS::AtMostOnce))
    };
    let mut site = Site::new(&[both(out("#", QoS::ExactlyOnce)), mapped]);
    site.up(false);
    let uplink = site.uplink.unwrap();
    site.world
        .publish_with(uplink, "theirs", "1", qos1(900), true, &[]);
    site.world.pass(ms(50));
    assert_eq!(site.world.next(uplink), Some(Got::PubAck(900, OK)));
    site.down();
    site.set("a/x", "1", 1);
    site.set("b", "1", 0);
    site.crash();
    site.up(false);
    assert_eq!(site.has(), ["b=1", "up/a/x=1"]);
    let qos: Vec<u8> = site.came.iter().map(|(_, qos)| *qos).collect();
    assert_eq!(site.came(), ["up/a/x=1", "b=1"]);
    assert_eq!(qos, [0, 1]);
}

/// A link that breaks again and again in the middle brings all up all the same, each once.
#[test]
fn a_pass_goes_on_where_it_was() {
    let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
    for n in 0..300 {
        site.set(&format!("t/{n:03}"), "1", 0);
    }
    site.world.pass(secs(2));
    let mut attempts = 0;
    while site.upstream.len() < 301 {
        let wire = Rc::new(Wire::new(Rc::new(Map::new(&site.lines))));
        let limits = Limits {
            receive_maximum: 20,
            session_present: attempts > 0,
            ..Limits::unnamed(Version::V5, secs(60))
        };
        let world = &mut site.world;
        let conn = world
            .broker
            .bridge_up(site.bridge, &limits, wire, world.now);
        let peer = world.adopt(conn.unwrap(), Version::V5);
        world.broker.bridge_start(world.conn(peer), world.now);
        world.turn();
        for _ in 0..60 {
            site.answer_one(peer);
        }
        site.uplink = Some(peer);
        site.down();
        site.world.got(peer);
        attempts += 1;
        assert!(attempts < 15, "{}", site.upstream.len());
        // The first topic changes each time, and comes in the end.
        site.set("t/000", &attempts.to_string(), 0);
        if site.upstream.len() == 300 {
            break;
        }
    }
    assert!(attempts > 3);
    site.up(true);
    assert_eq!(site.upstream["t/000"], attempts.to_string());
    let came = site.came().len();
    assert!(
        came < 300 + attempts * 41,
        "{came} for 300 topics in {attempts} attempts"
    );
}

/// Another address is another upstream, though it may know the session from earlier: what went to the
/// one is not at the other.
#[test]
fn each_upstream_is_brought_up_to_date() {
    let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
    let wire = |site: &Site, host: &str| {
        let wire = Wire::new(Rc::new(Map::new(&site.lines)));
        wire.set_upstream(fingerprint_of(host));
        Rc::new(wire)
    };
    site.up_with(false, wire(&site, "one"));
    site.set("t", "1", 1);
    site.ping();
    for (host, present, comes) in [
        ("one", true, false),
        ("two", true, true),
        ("two", true, false),
        ("one", true, true),
    ] {
        site.down();
        site.came();
        site.up_with(present, wire(&site, host));
        assert_eq!(site.came() == ["t=1"], comes, "{host}");
        site.ping();
    }
    // Also after a kill in between, of which the store has no time.
    site.down();
    site.set("u", "1", 1);
    site.up_with(true, wire(&site, "two"));
    site.pass(secs(1));
    site.crash();
    site.came();
    site.up_with(true, wire(&site, "one"));
    assert_eq!(site.came(), ["t=1", "u=1"]);
}

/// Values of QoS 0 that were sent and not answered when the link broke come again, and what has come
/// since does not wait for an answer either.
#[test]
fn what_was_not_answered_comes_again_with_what_came_since() {
    for lines in [
        &[out("#", QoS::AtMostOnce)][..],
        &[out("a/#", QoS::AtLeastOnce), out("z/#", QoS::AtMostOnce)],
    ] {
        let mut site = Site::new(lines);
        for n in 0..40 {
            site.set(&format!("a/{n:02}"), "1", 0);
        }
        site.set("z/x", "1", 0);
        site.world.pass(secs(2));
        site.up(false);
        assert_eq!(site.came().len(), 41);
        site.down();
        site.set("a/00", "2", 0);
        site.set("z/new", "1", 0);
        site.up(true);
        assert_eq!(site.upstream["a/00"], "2");
        assert_eq!(site.upstream["z/new"], "1");
        let came = site.came();
        assert!(came.contains(&"z/x=1".to_owned()), "{came:?}");
        site.ping();
        site.down();
        site.up(true);
        assert_eq!(site.came(), NONE);
    }
}

/// With `bridge_outgoing_retain false`, or an upstream that takes none, nothing is brought up.
#[test]
fn an_upstream_that_takes_no_retained_messages_gets_none() {
    let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
    site.set("t", "1", 0);
    let wire = Wire::without_retain(Rc::new(Map::new(&site.lines)));
    site.up_with(false, Rc::new(wire));
    assert_eq!(site.came(), NONE);
    site.set("t", "", 0);
    site.set("flagless", "1", 1);
    site.pass(secs(2));
    assert_eq!(
        (site.came(), site.cleared()),
        (vec!["t=".to_owned(), "flagless=1".to_owned()], 0)
    );
    assert_eq!(site.has(), NONE);
    // The next one, or the next configuration, may.
    site.down();
    site.up(true);
    assert_eq!(site.has(), ["flagless=1"]);
}

/// What an upstream refuses for now comes later on the same connection; what it never takes does not.
#[test]
fn a_value_that_is_refused_for_now_comes_later() {
    for (reason, times) in [(Reason::QUOTA_EXCEEDED, 2), (Reason::NOT_AUTHORIZED, 1)] {
        let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
        site.set("t", "1", 0);
        let uplink = {
            let wire = Rc::new(Wire::new(Rc::new(Map::new(&site.lines))));
            let world = &mut site.world;
            let limits = bridge::limits(false);
            let conn = world
                .broker
                .bridge_up(site.bridge, &limits, wire, world.now);
            let peer = world.adopt(conn.unwrap(), Version::V5);
            world.broker.bridge_start(world.conn(peer), world.now);
            world.turn();
            peer
        };
        let first = site.world.message(uplink).delivery.id().unwrap();
        site.world
            .send(uplink, &Packet::PubAck(Ack::new(first, reason)));
        site.world.pass(secs(1));
        assert_eq!(site.world.got(uplink), []);
        site.uplink = Some(uplink);
        site.pass(secs(60));
        assert_eq!(site.came().len(), times - 1);
        site.pass(secs(60));
        assert_eq!(site.came(), NONE);
    }
}

/// Before MQTT 5 an upstream does not know when a value expires: it is cleared there.
#[test]
fn a_value_that_expires_is_cleared_where_the_upstream_knows_no_expiry() {
    for (version, connected) in [
        (Version::V311, true),
        (Version::V311, false),
        (Version::V5, true),
    ] {
        let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
        site.version = version;
        let modern = site.world.clean(Version::V5, "modern");
        site.up(false);
        let expiry = [Property::MessageExpiry(30)];
        site.world
            .publish_with(modern, "t", "1", qos1(1), true, &expiry);
        site.pass(secs(1));
        assert_eq!(site.came(), ["t=1"]);
        if !connected {
            site.down();
        }
        site.pass(secs(60));
        if !connected {
            site.up(true);
        }
        let cleared: &[&str] = if version == Version::V5 { &[] } else { &["t="] };
        assert_eq!(site.came(), cleared, "{version:?} {connected}");
    }
}

/// The clearing of a topic over a link that is up writes nothing that is not written anyway.
#[test]
fn a_healthy_link_needs_no_row_for_what_is_cleared() {
    let mut site = Site::new(&[out("#", QoS::AtLeastOnce)]);
    site.up(false);
    site.set("t", "1", 1);
    site.pass(secs(2));
    site.set("t", "", 1);
    site.pass(secs(2));
    assert_eq!((site.cleared(), site.has().len()), (0, 0));
    let batches = site.world.batches;
    site.pass(secs(300));
    assert_eq!(
        site.world.batches, batches,
        "nothing is written while nothing happens"
    );
}

/// A number that stands for a host.
fn fingerprint_of(host: &str) -> u64 {
    host.bytes().fold(1, |sum, byte| sum * 31 + u64::from(byte))
}
