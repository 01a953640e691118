//! Wills.

use super::world::Last;
use super::*;

fn with_will(version: Version, expiry: u32, delay: u32) -> Dial {
    Dial {
        expiry,
        clean: expiry == 0,
        will: Some(Last {
            payload: "gone",
            delay,
            expiry: None,
        }),
        ..Dial::clean(version, "c")
    }
}

fn watched() -> (World, Peer) {
    let mut world = World::new();
    let watcher = world.clean(Version::V311, "watcher");
    world.listen(watcher, "will", QoS::AtMostOnce);
    (world, watcher)
}

/// [MQTT-3.1.2-8]: a connection that ends without DISCONNECT publishes its will.
#[test]
fn a_broken_connection_publishes_the_will() {
    for version in VERSIONS {
        let (mut world, watcher) = watched();
        let (peer, _) = world.connect(&with_will(version, 0, 0));
        world.cut(peer);
        assert_eq!(world.payloads(watcher), ["gone"]);
        world.pass(secs(3));
        assert_eq!(
            world.broker.core.sessions.len(),
            1,
            "no session is left for it"
        );
    }
}

/// [MQTT-3.14.4-3]: DISCONNECT with success deletes the will, also on disk.
#[test]
fn a_disconnect_deletes_the_will() {
    for version in VERSIONS {
        let (mut world, watcher) = watched();
        let (peer, _) = world.connect(&with_will(version, 3600, 0));
        world.pass(secs(2));
        world.disconnect(peer, OK);
        world.pass(secs(5));
        assert_eq!(world.payloads(watcher), NONE);
        world.crash(secs(1));
        assert!(
            world
                .broker
                .core
                .sessions
                .iter()
                .all(|(_, s)| s.will.is_none())
        );
    }
}

/// 5.0 §3.14.2.1: reason 0x04 keeps the will.
#[test]
fn disconnect_with_will_publishes_it() {
    let (mut world, watcher) = watched();
    let (peer, _) = world.connect(&with_will(Version::V5, 0, 0));
    world.disconnect(peer, Reason::DISCONNECT_WITH_WILL);
    assert_eq!(world.payloads(watcher), ["gone"]);
}

/// The keep-alive and a protocol error publish it too.
#[test]
fn the_broker_closing_publishes_the_will() {
    let (mut world, watcher) = watched();
    let dial = Dial {
        keep_alive: 5,
        ..with_will(Version::V311, 0, 0)
    };
    world.connect(&dial);
    world.pass(secs(9));
    assert_eq!(world.payloads(watcher), ["gone"]);
    let (peer, _) = world.connect(&dial);
    world.send_connect(peer, &dial);
    assert_eq!(world.payloads(watcher), ["gone"]);
}

/// [MQTT-3.1.3-9]: a delayed will waits, and is not sent if the client comes back in time.
#[test]
fn a_delayed_will_waits_for_the_client() {
    let (mut world, watcher) = watched();
    let dial = with_will(Version::V5, 3600, 30);
    let (peer, _) = world.connect(&dial);
    world.cut(peer);
    world.pass(secs(28));
    assert_eq!(world.payloads(watcher), NONE);
    let without = Dial {
        will: None,
        ..dial.clone()
    };
    let (peer, _) = world.connect(&without);
    world.pass(secs(60));
    assert_eq!(world.payloads(watcher), NONE);
    world.disconnect(peer, OK);
    let (peer, _) = world.connect(&dial);
    world.cut(peer);
    world.pass(secs(31));
    assert_eq!(world.payloads(watcher), ["gone"]);
}

/// 5.0 §3.1.3.2.2: the end of the session publishes the will at the latest.
#[test]
fn the_end_of_the_session_publishes_a_delayed_will() {
    let (mut world, watcher) = watched();
    let (peer, _) = world.connect(&with_will(Version::V5, 10, 30));
    world.cut(peer);
    world.pass(secs(12));
    assert_eq!(world.payloads(watcher), ["gone"]);
}

/// A takeover with a clean start ends the session, and so publishes a delayed will (5.0
/// §3.1.4); one that goes on with the session does not.
#[test]
fn a_takeover_publishes_the_will_of_a_session_that_ends() {
    let (mut world, watcher) = watched();
    let dial = with_will(Version::V5, 3600, 30);
    world.connect(&dial);
    world.connect(&dial);
    world.pass(secs(40));
    assert_eq!(world.payloads(watcher), NONE, "the session went on");
    world.connect(&Dial::clean(Version::V5, "c"));
    assert_eq!(world.payloads(watcher), ["gone"], "the session ended");
    world.connect(&with_will(Version::V5, 0, 0));
    world.connect(&Dial::clean(Version::V5, "c"));
    assert_eq!(world.payloads(watcher), ["gone"], "no delay");
}

/// A will outlives the broker: who was connected when it died is gone when it starts.
#[test]
fn a_restart_publishes_the_wills_of_the_connected() {
    for expiry in [0, 3600] {
        let mut world = World::new();
        let watcher = world.durable(Version::V311, "watcher");
        world.listen(watcher, "will", QoS::AtLeastOnce);
        world.connect(&with_will(Version::V5, expiry, 0));
        world.pass(secs(3));
        world.crash(secs(1));
        world.pass(secs(3));
        let watcher = world.durable(Version::V311, "watcher");
        let will = world.message(watcher);
        assert_eq!(will.payload, "gone");
        world.puback(watcher, will.delivery.id().unwrap().get());
        world.pass(secs(3));
        world.crash(secs(1));
        let watcher = world.durable(Version::V311, "watcher");
        world.pass(secs(3));
        assert_eq!(world.payloads(watcher), NONE, "once");
    }
}

/// A will's message expiry runs from its publication (5.0 §3.1.3.2.4).
#[test]
fn the_expiry_of_a_will_starts_with_its_publication() {
    let mut world = World::new();
    let watcher = world.clean(Version::V5, "watcher");
    world.listen(watcher, "will", QoS::AtMostOnce);
    let dial = Dial {
        will: Some(Last {
            payload: "gone",
            delay: 0,
            expiry: Some(60),
        }),
        ..Dial::clean(Version::V5, "c")
    };
    let (peer, _) = world.connect(&dial);
    world.pass(secs(1000));
    world.cut(peer);
    assert_eq!(world.message(watcher).expiry, Some(60));
}
