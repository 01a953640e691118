//! Sessions: present, expired, ended.

use super::*;
use crate::mqtt::{Disconnect, Packet, Property, PropsBuf};

/// [MQTT-3.2.2-2], [MQTT-3.2.2-3]: session present says whether there is one.
#[test]
fn session_present() {
    for version in VERSIONS {
        let mut world = World::new();
        let durable = Dial::durable(version, "c");
        assert!(!world.connect(&durable).1);
        assert!(world.connect(&durable).1);
        world.crash(secs(1));
        assert!(world.connect(&durable).1);
        assert!(!world.connect(&Dial::clean(version, "c")).1);
        assert!(!world.connect(&durable).1, "a clean start ended it");
    }
}

/// A CONNACK that grants a durable session waits for the commit that holds it.
#[test]
fn connack_of_a_durable_session_waits_for_the_commit() {
    let mut world = World::new();
    world.held = true;
    let durable = world.dial(&Dial::durable(Version::V311, "d"));
    let clean = world.dial(&Dial::clean(Version::V311, "c"));
    assert_eq!(world.got(clean), [Got::ConnAck(false, OK)]);
    world.pass(ms(30));
    assert_eq!(world.got(durable), []);
    // It comes back while the commit is under way: the promise is the same.
    world.cut(durable);
    let again = world.dial(&Dial::durable(Version::V311, "d"));
    assert_eq!(world.got(again), [], "the session is not on disk yet");
    world.held = false;
    world.pass(ms(50));
    assert_eq!(world.got(again), [Got::ConnAck(true, OK)]);
}

/// [MQTT-3.1.2-4]: once a clean start is acknowledged, the old session does not come back.
#[test]
fn a_clean_start_waits_for_the_end_of_the_session_on_disk() {
    let mut world = World::new();
    let old = world.durable(Version::V5, "c");
    world.listen(old, "#", QoS::AtLeastOnce);
    world.held = true;
    let new = world.dial(&Dial::clean(Version::V5, "c"));
    assert_eq!(world.got(new), []);
    world.held = false;
    world.pass(ms(50));
    assert_eq!(world.got(new), [Got::ConnAck(false, OK)]);
    world.crash(secs(1));
    assert_eq!(world.broker.core.sessions.len(), 0);
}

/// 5.0 §3.1.2.11.2: a session ends when its expiry interval has passed without a connection.
#[test]
fn sessions_expire() {
    let mut world = World::new();
    let dial = Dial {
        expiry: 60,
        ..Dial::durable(Version::V5, "c")
    };
    let (peer, _) = world.connect(&dial);
    world.pass(secs(100));
    world.cut(peer);
    world.pass(secs(58));
    assert!(world.connect(&dial).1, "the interval starts when it leaves");
    world.pass(secs(2));
    world.crash(secs(50));
    assert_eq!(world.broker.core.sessions.len(), 1);
    world.pass(secs(61));
    assert_eq!(world.broker.core.sessions.len(), 0);
    world.pass(secs(2));
    world.crash(secs(1));
    assert_eq!(world.broker.core.sessions.len(), 0, "its rows are gone");
}

/// [MQTT-3.14.2-2]: DISCONNECT may change the expiry, but not bring a session into being.
#[test]
fn disconnect_changes_the_expiry() {
    let mut world = World::new();
    let durable = world.durable(Version::V5, "d");
    let clean = world.clean(Version::V5, "c");
    for (peer, expiry) in [(durable, 0), (clean, 5)] {
        let mut props = PropsBuf::new();
        props.push(Property::SessionExpiry(expiry));
        let (reason, props) = (OK, props.as_props());
        world.send(peer, &Packet::Disconnect(Disconnect { reason, props }));
    }
    assert_eq!(world.got(durable), [Got::Closed]);
    let said = Got::Disconnect(Reason::PROTOCOL_ERROR);
    assert_eq!(world.got(clean), [said, Got::Closed]);
    assert_eq!(world.broker.core.sessions.len(), 0);
}

/// A session whose expiry became 0 by a reconnect ends with the connection, queue and all, also
/// when that end is a crash.
#[test]
fn a_session_turned_clean_leaves_nothing_behind() {
    let mut world = World::new();
    let peer = world.durable(Version::V5, "c");
    world.listen(peer, "#", QoS::AtLeastOnce);
    world.cut(peer);
    let publisher = world.clean(Version::V311, "p");
    world.publish(publisher, "a", "1", qos1(1));
    world.pass(ms(100));
    let clean = Dial {
        expiry: 0,
        ..Dial::durable(Version::V5, "c")
    };
    let peer = world.open(Version::V5);
    world.send_connect(
        peer,
        &Dial {
            clean: false,
            ..clean
        },
    );
    world.pass(ms(50));
    assert_eq!(world.next(peer), Some(Got::ConnAck(true, OK)));
    world.crash(secs(1));
    world.pass(secs(5));
    assert_eq!(world.broker.core.sessions.len(), 0);
    assert_eq!(world.rows(), []);
    assert!(world.broker.core.ledger.store().is_idle());
}
