//! CONNECT, CONNACK and keep-alive.

use super::*;
use crate::mqtt::Packet;

/// [MQTT-3.1.0-1]: the first packet is CONNECT.
#[test]
fn the_first_packet_is_connect() {
    for version in VERSIONS {
        let mut world = World::new();
        let peer = world.open(version);
        world.send(peer, &Packet::PingReq);
        assert_eq!(world.got(peer), [Got::Closed], "and no DISCONNECT either");
        assert_eq!(world.broker.core.connections.keys().len(), 0);
    }
}

/// [MQTT-3.1.0-2]: a second CONNECT is a protocol error.
#[test]
fn a_second_connect_ends_the_connection() {
    let mut world = World::new();
    let old = world.clean(Version::V311, "old");
    world.send_connect(old, &Dial::clean(Version::V311, "old"));
    assert_eq!(world.got(old), [Got::Closed]);
    let new = world.clean(Version::V5, "new");
    world.send_connect(new, &Dial::clean(Version::V5, "new"));
    let said = Got::Disconnect(Reason::PROTOCOL_ERROR);
    assert_eq!(world.got(new), [said, Got::Closed]);
}

/// [MQTT-3.1.3-8]: no client id needs a clean session in 3.1.1; 5.0 assigns one always.
#[test]
fn a_client_without_an_id_gets_one_or_is_refused() {
    let refused = Reason::CLIENT_IDENTIFIER_NOT_VALID;
    for (dial, reason) in [
        (Dial::clean(Version::V311, ""), OK),
        (Dial::clean(Version::V5, ""), OK),
        (Dial::durable(Version::V5, ""), OK),
        (Dial::durable(Version::V311, ""), refused),
    ] {
        let mut world = World::new();
        let peer = world.dial(&dial);
        world.pass(ms(50));
        let connack = Got::ConnAck(false, reason);
        assert_eq!(world.next(peer), Some(connack), "{dial:?}");
        assert_eq!(world.is_open(peer), reason == OK);
    }
}

/// [MQTT-3.1.4-3]: a client id that connects again takes over, and the old end is told 0x8E.
#[test]
fn a_takeover_tells_the_old_connection() {
    for version in VERSIONS {
        let mut world = World::new();
        let old = world.durable(version, "c");
        let (new, present) = world.connect(&Dial::durable(version, "c"));
        assert!(present);
        let told = Got::Disconnect(Reason::SESSION_TAKEN_OVER);
        match version {
            Version::V5 => assert_eq!(world.got(old), [told, Got::Closed]),
            _ => assert_eq!(world.got(old), [Got::Closed]),
        }
        world.publish(new, "a", "1", Delivery::AtMostOnce);
        assert!(world.is_open(new));
    }
}

/// [MQTT-3.14.0-1]: no DISCONNECT before CONNACK, nor anything else [MQTT-3.2.0-1].
#[test]
fn connack_is_the_first_packet() {
    let mut world = World::new();
    world.held = true;
    let pinging = world.dial(&Dial::durable(Version::V5, "p"));
    world.send(pinging, &Packet::PingReq);
    assert_eq!(world.got(pinging), []);
    let early = world.dial(&Dial::durable(Version::V5, "c"));
    let late = world.dial(&Dial::durable(Version::V5, "c"));
    assert_eq!(world.got(early), [Got::Closed], "no DISCONNECT");
    world.held = false;
    world.pass(ms(50));
    assert_eq!(world.got(pinging), [Got::ConnAck(false, OK), Got::PingResp]);
    assert_eq!(world.got(late), [Got::ConnAck(true, OK)]);
}

/// A PINGRESP does not wait for the disk once CONNACK has left.
#[test]
fn pings_do_not_wait_for_a_commit() {
    let mut world = World::new();
    let peer = world.durable(Version::V5, "c");
    world.held = true;
    world.subscribe(peer, 1, &[Subscription::new("a", QoS::AtMostOnce)]);
    world.send(peer, &Packet::PingReq);
    assert_eq!(world.got(peer), [Got::PingResp]);
}

/// [MQTT-3.1.2-22]: one and a half keep-alives of silence end the connection.
#[test]
fn keep_alive_is_one_and_a_half_times() {
    for version in VERSIONS {
        let mut world = World::new();
        let dial = Dial {
            keep_alive: 10,
            ..Dial::clean(version, "c")
        };
        let (peer, _) = world.connect(&dial);
        world.pass(secs(14));
        world.send(peer, &Packet::PingReq);
        world.pass(ms(14_900));
        assert_eq!(world.got(peer), [Got::PingResp]);
        world.pass(ms(1_200));
        assert!(!world.is_open(peer));
        if version == Version::V5 {
            let told = Got::Disconnect(Reason::KEEP_ALIVE_TIMEOUT);
            assert_eq!(world.next(peer), Some(told));
        }
    }
}

/// Whose input waits to be taken in is not silent, before CONNECT and after.
#[test]
fn what_was_not_taken_in_counts_as_a_sign_of_life() {
    let mut world = World::new();
    let dial = Dial {
        keep_alive: 10,
        ..Dial::clean(Version::V5, "c")
    };
    let (peer, _) = world.connect(&dial);
    let new = world.open(Version::V5);
    for _ in 0..100 {
        world.now += secs(1);
        world.broker.tick_unless(world.now, &|_| true);
        world.turn();
        assert!(world.is_open(peer) && world.is_open(new));
    }
    // Then there is nothing more.
    world.pass(secs(2));
    assert!(!world.is_open(peer) && !world.is_open(new));
}

/// A connection that sends no CONNECT is closed in the end.
#[test]
fn connect_must_come_in_time() {
    let mut world = World::new();
    let peer = world.open(Version::V5);
    world.pass(secs(9));
    assert!(world.is_open(peer));
    world.pass(secs(3));
    assert!(!world.is_open(peer));
}

/// A timer goes with what it looks at: those of clients that come and go, with sessions that could
/// last for 136 years, do not gather.
#[test]
fn reconnects_leave_no_timers() {
    let mut world = World::new();
    for n in 0..2000 {
        let (id, keep_alive) = (format!("clean{n}"), 60_000);
        let durable = Dial {
            keep_alive,
            expiry: u32::MAX - 1 - n,
            ..Dial::durable(Version::V5, "c")
        };
        let clean = Dial {
            keep_alive,
            ..Dial::clean(Version::V5, &id)
        };
        for dial in [durable, clean] {
            let (peer, _) = world.connect(&dial);
            world.cut(peer);
        }
        let timers = world.broker.core.timers.len();
        assert!(timers <= 1, "{timers} after {n}");
    }
    world.pass(secs(10));
    assert!(world.broker.core.timers.len() <= 1);
}
