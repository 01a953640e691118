//! What is counted of an uplink: messages that the upstream has taken and brought, and bytes of the socket.

use super::bridge::{add, limits, prefix};
use super::*;
use crate::bridge::Moved;
use crate::broker::{BridgeId, UplinkActivity};
use crate::config::General;
use crate::time::Time;

const HOUR: Duration = Duration::from_secs(3600);

fn up(world: &mut World, bridge: BridgeId) -> Peer {
    let conn = world
        .broker
        .bridge_up(bridge, &limits(false), prefix(), world.now);
    let peer = world.adopt(conn.unwrap(), Version::V5);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.turn();
    peer
}

fn activity(world: &World) -> UplinkActivity {
    let queue = world.broker.bridge_queues(world.now).next().unwrap();
    queue.activity
}

fn moved(messages: u64, bytes: u64) -> Moved {
    Moved { messages, bytes }
}

/// At QoS 1 and 2 a message counts once it is acknowledged, and then once.
#[test]
fn what_the_upstream_takes_and_brings_is_counted() {
    let mut world = World::new();
    let bridge = add(&mut world);
    let uplink = up(&mut world, bridge);
    let device = world.clean(Version::V311, "device");
    world.publish(device, "a", "123", Delivery::AtMostOnce);
    assert_eq!(activity(&world).sent, moved(1, 3));
    world.publish(device, "a", "12345", qos1(1));
    let ids = |world: &mut World| {
        let messages = world.messages(uplink).into_iter();
        let ids = messages.filter_map(|message| message.delivery.id());
        ids.map(|id| id.get()).collect::<Vec<_>>()
    };
    let [id] = ids(&mut world)[..] else { panic!() };
    assert_eq!(activity(&world).sent, moved(1, 3), "not acknowledged yet");
    world.puback(uplink, id);
    assert_eq!(activity(&world).sent, moved(2, 8));
    world.publish(device, "a", "1234567", qos2(2));
    world.pass(ms(100));
    let [id] = ids(&mut world)[..] else { panic!() };
    world.pubrec(uplink, id);
    world.pass(ms(100));
    world.pubrec(uplink, id);
    world.pubcomp(uplink, id);
    assert_eq!(activity(&world).sent, moved(3, 15));
    world.publish(uplink, "up/x", "12", qos1(9));
    assert_eq!(activity(&world).received, moved(1, 2));
    assert_eq!(activity(&world).rates.out, 0.6, "in five seconds at least");
}

/// The queue of an uplink that is away fills, and says for how long it has room.
#[test]
fn a_queue_tells_when_it_is_full() {
    let mut world = World::with(General {
        max_queued_messages: 1000,
        ..settings()
    });
    add(&mut world);
    let device = world.clean(Version::V311, "device");
    assert_eq!(activity(&world).fills_in, None);
    for n in 1..=100 {
        world.publish(device, "a", "123", qos1(n));
        world.pass(secs(1));
    }
    let room = activity(&world).fills_in.unwrap();
    assert!((secs(880)..secs(920)).contains(&room), "{room:?}");
    assert_eq!(activity(&world).drains_in, None);
}

/// The volume of day and month outlives a stop, and a crash but for the last hour at most; nothing is
/// written for it more often.
#[test]
fn volumes_are_kept() {
    let mut world = World::new();
    let bridge = add(&mut world);
    world.pass(secs(5));
    let day = Duration::from_secs(86_400);
    let midnight = Time::from_secs(world.now.as_secs() / 86_400 * 86_400) + day;
    world.pass(midnight.since(world.now));
    let volume = |world: &World| (activity(world).today, activity(world).this_month);
    let batches = world.batches;
    for _ in 0..10 * 60 {
        world.broker.bridge_moved(bridge, 100, world.now);
        world.pass(secs(60));
    }
    assert_eq!(volume(&world), (60_000, 60_000));
    assert!(
        (9..=11).contains(&(world.batches - batches)),
        "{}",
        world.batches
    );
    world.crash(secs(1));
    add(&mut world);
    let (today, month) = volume(&world);
    assert!(
        (54_000..=60_000).contains(&today) && month == today,
        "{today}"
    );
    let bridge = add(&mut world);
    world.broker.bridge_moved(bridge, 10_000_000, world.now);
    world.pass(HOUR / 5);
    world.broker.bridge_moved(bridge, 0, world.now);
    world.pass(secs(5));
    world.crash(secs(1));
    add(&mut world);
    assert_eq!(
        volume(&world).0,
        today + 10_000_000,
        "much is written sooner"
    );
    world.pass(day);
    assert_eq!(volume(&world), (0, today + 10_000_000));
}
