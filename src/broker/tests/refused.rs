//! What an upstream refuses is not lost: it waits in its lane, or lies among the dead letters.

use std::rc::Rc;

use super::overflow::{add, line};
use super::*;
use crate::bridge::{Limits, Map, Wire};
use crate::broker::{BridgeId, BridgeQueue, DropReason};
use crate::config::{BridgeTopic, Overflow};
use crate::mqtt::{Ack, Packet, Property};

pub(super) const QUOTA: Reason = Reason::QUOTA_EXCEEDED;

/// The two lines of most tests.
pub(super) fn lines() -> [BridgeTopic; 2] {
    ["a/#", "b/#"].map(line)
}

pub(super) fn up(
    world: &mut World,
    bridge: BridgeId,
    lines: &[BridgeTopic],
    limits: Limits,
) -> Peer {
    let wire = Rc::new(Wire::new(Rc::new(Map::new(lines))));
    let conn = world.broker.bridge_up(bridge, &limits, wire, world.now);
    let peer = world.adopt(conn.unwrap(), limits.version);
    world.broker.bridge_start(world.conn(peer), world.now);
    world.turn();
    peer
}

pub(super) fn limits(window: u16, session_present: bool) -> Limits {
    Limits {
        receive_maximum: window,
        session_present,
        ..Limits::unnamed(Version::V5, secs(60))
    }
}

/// A world with a bridge that is up, and a device.
pub(super) fn connected(window: u16) -> (World, BridgeId, Peer, Peer) {
    let mut world = World::new();
    let bridge = add(&mut world, &lines());
    let upstream = up(&mut world, bridge, &lines(), limits(window, false));
    let device = world.clean(Version::V311, "d");
    (world, bridge, upstream, device)
}

impl World {
    /// Publishes numbers on a topic, all acknowledged.
    pub(super) fn send_all(
        &mut self,
        device: Peer,
        topic: &str,
        qos: QoS,
        numbers: std::ops::Range<u16>,
    ) {
        for n in numbers.clone() {
            let delivery = Delivery::new(qos, pid(n), false);
            self.publish(device, topic, &n.to_string(), delivery);
        }
        self.pass(ms(100));
        let wanted = |n| match qos {
            QoS::ExactlyOnce => Got::PubRec(n, OK),
            _ => Got::PubAck(n, OK),
        };
        assert_eq!(self.got(device), numbers.map(wanted).collect::<Vec<_>>());
    }

    /// The answer to a PUBLISH.
    pub(super) fn answer_with(&mut self, upstream: Peer, message: &Arrived, reason: Reason) {
        let ack = Ack::new(message.delivery.id().unwrap(), reason);
        let packet = match message.delivery.qos() {
            QoS::ExactlyOnce => Packet::PubRec(ack),
            _ => Packet::PubAck(ack),
        };
        self.send(upstream, &packet);
    }

    /// Takes what comes in `time`, answered as `answer` says; what was accepted.
    pub(super) fn serve(
        &mut self,
        upstream: Peer,
        time: Duration,
        mut answer: impl FnMut(&Arrived) -> Reason,
    ) -> Vec<String> {
        let (end, mut came) = (self.now + time, Vec::new());
        while self.now < end {
            self.pass(ms(50));
            for got in self.got(upstream) {
                match got {
                    Got::Publish(message) => {
                        let reason = answer(&message);
                        self.answer_with(upstream, &message, reason);
                        if reason == OK {
                            came.push(message.payload);
                        }
                    }
                    Got::PubRel(id, _) => self.pubcomp(upstream, id),
                    other => panic!("{other:?}"),
                }
            }
        }
        came
    }

    pub(super) fn queue(&self) -> BridgeQueue<'_> {
        self.broker.bridge_queues(self.now).next().unwrap()
    }

    pub(super) fn dead(&self) -> u64 {
        self.queue().dead.messages
    }

    /// All is through, and nothing is left on disk.
    pub(super) fn is_drained(&mut self, bridge: BridgeId) {
        self.pass(secs(5));
        assert_eq!(self.broker.bridge_backlog(bridge), (0, 0));
        assert_eq!(self.rows(), []);
    }
}

pub(super) fn numbers(range: std::ops::Range<u16>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

pub(super) fn sorted(came: Vec<String>) -> Vec<u32> {
    let numbers = came.iter().map(|n| n.parse().unwrap());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// A full upstream: nothing is lost, nothing comes twice, and the other lane does not wait. Before the
/// pause ends nothing is tried, then one message at a time until one is accepted.
#[test]
fn a_refused_lane_waits_and_the_other_goes_on() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut world, bridge, upstream, device) = connected(5);
        world.send_all(device, "a/x", qos, 1..301);
        let refused = world.messages(upstream);
        assert_eq!(refused.len(), 5);
        for message in &refused {
            world.answer_with(upstream, message, QUOTA);
        }
        world.send_all(device, "b/x", qos, 301..401);
        assert_eq!(world.queue().paused, 1);
        assert_eq!(world.queue().lines[0].paused.unwrap().reason, QUOTA);
        assert_eq!(world.queue().put_back, 5);
        // The other lane, and of the paused one nothing but a try now and then.
        let mut tries = Vec::new();
        let came = world.serve(upstream, secs(100), |message| {
            if message.topic == "a/x" {
                tries.push(message.payload.clone());
                return QUOTA;
            }
            OK
        });
        assert_eq!(came, numbers(301..401));
        assert!((3..=50).contains(&tries.len()), "{}", tries.len());
        assert!(tries.iter().all(|n| n == "1"), "{tries:?}");
        assert_eq!(world.broker.bridge_backlog(bridge).0, 300);
        // It takes three at a time, and says no to the rest.
        let mut room = 3;
        let came = world.serve(upstream, secs(900), |_| {
            room -= 1;
            if room < 0 {
                room = 3;
                return QUOTA;
            }
            OK
        });
        assert_eq!(sorted(came), (1..301).collect::<Vec<_>>(), "{qos:?}");
        assert_eq!(world.queue().paused, 0);
        assert_eq!(world.broker.counters().dropped(), 0);
        world.cut(device);
        world.is_drained(bridge);
    }
}

/// One lane's refused messages keep their order when the upstream takes them later.
#[test]
fn refused_messages_keep_their_order() {
    let (mut world, bridge, upstream, device) = connected(20);
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..101);
    for message in world.messages(upstream) {
        world.answer_with(upstream, &message, QUOTA);
    }
    let came = world.serve(upstream, secs(30), |_| OK);
    assert_eq!(came, numbers(1..101));
    world.is_drained(bridge);
}

/// A restart in the midst of a pause: what the upstream took does not come again, though the rows stay
/// for somebody who is away; all else comes. However much waits, the state stays small.
#[test]
fn a_pause_survives_a_crash() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (clean_end, present) in [(false, true), (true, true), (true, false)] {
            let mut world = World::new();
            let away = overflow::absent(&mut world);
            let bridge = add(&mut world, &lines());
            let upstream = up(&mut world, bridge, &lines(), limits(5, false));
            let device = world.clean(Version::V311, "d");
            let mut taken = Vec::new();
            for n in 0..100 {
                world.send_all(device, "a/x", qos, 1 + 2 * n..2 + 2 * n);
                world.send_all(device, "b/x", qos, 2 + 2 * n..3 + 2 * n);
                if qos == QoS::ExactlyOnce {
                    for id in [1 + 2 * n, 2 + 2 * n] {
                        world.pubrel(device, id);
                        world.pass(ms(50));
                        assert_eq!(world.got(device), [Got::PubComp(id, OK)]);
                    }
                }
                taken.extend(world.serve(upstream, ms(100), |message| {
                    let is_early = message.payload == "1" || message.payload == "3";
                    if message.topic == "b/x" || is_early {
                        OK
                    } else {
                        QUOTA
                    }
                }));
            }
            let refused = taken.iter().filter(|n| n.parse::<u16>().unwrap() % 2 == 1);
            assert_eq!(refused.count(), 2);
            assert_eq!(taken.len(), 102);
            world.pass(secs(5));
            let state = world.state("local.b");
            assert_eq!(state.lanes.len(), 1);
            assert!(state.sent.len() <= 10, "{state:?}");
            if clean_end {
                world.cut(upstream);
                world.pass(secs(5));
            }
            world.crash(secs(60));
            let bridge = add(&mut world, &lines());
            assert_eq!(world.broker.bridge_backlog(bridge).0, 98);
            let upstream = up(&mut world, bridge, &lines(), limits(5, present));
            let came = world.serve(upstream, secs(100), |_| OK);
            taken.extend(came);
            assert_eq!(sorted(taken), (1..201).collect::<Vec<_>>(), "{qos:?}");
            world.pass(secs(5));
            assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
            // And once more: what has caught up has the common cursor again.
            world.crash(secs(60));
            let bridge = add(&mut world, &lines());
            assert_eq!(world.broker.bridge_backlog(bridge), (0, 0));
            let (reader, _) = world.connect(&away);
            let came = world.serve(reader, secs(20), |_| OK);
            assert_eq!(sorted(came), (1..201).collect::<Vec<_>>());
            world.is_drained(bridge);
        }
    }
}

/// The link is cut while a lane is paused and others are under way.
#[test]
fn a_new_connection_tries_at_once() {
    for present in [false, true] {
        let (mut world, bridge, upstream, device) = connected(10);
        world.send_all(device, "a/x", QoS::ExactlyOnce, 1..51);
        let under_way = world.messages(upstream);
        for message in &under_way[..5] {
            world.answer_with(upstream, message, QUOTA);
        }
        world.answer_with(upstream, &under_way[7], OK);
        world.pass(ms(100));
        world.cut(upstream);
        let upstream = up(&mut world, bridge, &lines(), limits(10, present));
        let mut came = world.serve(upstream, secs(20), |_| OK);
        // Whoever has lost the session may get what it had.
        if present {
            came.push("8".to_owned());
        }
        assert_eq!(sorted(came), (1..51).collect::<Vec<_>>(), "{present}");
        world.cut(device);
        world.is_drained(bridge);
    }
}

/// Every reason that may say "not now" does, also those that have no place in PUBACK and PUBREC.
#[test]
fn each_reason_that_is_not_final_is_back_pressure() {
    for code in [0x80, 0x83, 0x87, 0x89, 0x91, 0x93, 0x96, 0x97] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (mut world, _, upstream, device) = connected(5);
            world.send_all(device, "a/x", qos, 1..4);
            for message in world.messages(upstream) {
                world.answer_with(upstream, &message, Reason(code));
            }
            assert_eq!(world.queue().paused, 1, "{code:#x}");
            assert_eq!(world.serve(upstream, secs(10), |_| OK), numbers(1..4));
        }
    }
}

/// The bound of the bridge makes room where the oldest are: in the lane that is paused, not in those
/// that go on.
#[test]
fn a_paused_lane_makes_room_for_others() {
    let mut world = overflow::with(0, 20, Overflow::Oldest);
    let bridge = add(&mut world, &lines());
    let upstream = up(&mut world, bridge, &lines(), limits(2, false));
    let device = world.clean(Version::V311, "d");
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..21);
    for message in world.messages(upstream) {
        world.answer_with(upstream, &message, QUOTA);
    }
    world.send_all(device, "b/x", QoS::AtLeastOnce, 21..31);
    let mut came = world.serve(upstream, ms(900), |message| {
        if message.topic == "a/x" { QUOTA } else { OK }
    });
    assert_eq!(came, numbers(21..31), "none of these was dropped");
    came = world.serve(upstream, secs(30), |_| OK);
    assert_eq!(came, numbers(11..21));
    world.is_drained(bridge);
}

/// Only an upstream is asked again: what a client refuses is done with [MQTT-4.3.3-4].
#[test]
fn a_client_that_refuses_gets_nothing_again() {
    let mut world = World::new();
    let reader = world.durable(Version::V5, "r");
    world.listen(reader, "#", QoS::ExactlyOnce);
    let device = world.clean(Version::V311, "d");
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        world.send_all(device, "a", qos, 1..2);
        let mut tries = 0;
        world.serve(reader, secs(100), |_| {
            tries += 1;
            QUOTA
        });
        assert_eq!(tries, 1);
    }
    let dropped = world.broker.counters().dropped_for(DropReason::Refused);
    assert_eq!(dropped, 2);
}

/// Packet ids come round while a lane is paused: none that is in use is given again.
#[test]
fn packet_ids_come_round_during_a_pause() {
    let (mut world, bridge, upstream, device) = connected(10);
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..11);
    for message in world.messages(upstream) {
        world.answer_with(upstream, &message, QUOTA);
    }
    // One of the other lane stays under way, and a whole turn of ids goes by.
    world.publish(device, "b/x", "stuck", qos1(1));
    let stuck = world.message(upstream).delivery.id().unwrap();
    let mut others = 0;
    for _ in 0..66_000 {
        world.publish(device, "b/y", "y", qos1(2));
        for message in world.messages(upstream) {
            let id = message.delivery.id().unwrap();
            assert_ne!(id, stuck);
            let is_a = message.topic == "a/x";
            others += u32::from(!is_a);
            world.answer_with(upstream, &message, if is_a { QUOTA } else { OK });
        }
        world.got(device);
    }
    assert!(others < 66_000, "it waits for the id");
    world.send(upstream, &Packet::PubAck(Ack::new(stuck, OK)));
    world.serve(upstream, secs(100), |_| OK);
    world.cut(device);
    world.is_drained(bridge);
}

/// Mosquitto drops what a client of MQTT 3.1.1 sends beyond 20 QoS 2 messages; QoS 1 is not bound by
/// that, nor MQTT 5, and a directive may say otherwise.
#[test]
fn few_qos_2_at_once_before_mqtt_5() {
    for (version, qos, own, expected) in [
        (Version::V311, QoS::ExactlyOnce, None, 20),
        (Version::V31, QoS::ExactlyOnce, None, 20),
        (Version::V311, QoS::AtLeastOnce, None, 100),
        (Version::V5, QoS::ExactlyOnce, None, 100),
        (Version::V311, QoS::ExactlyOnce, Some(50), 50),
    ] {
        let mut settings = settings();
        settings.max_inflight_messages = Some(100);
        let mut world = World::with(settings);
        let bridge = add(&mut world, &lines());
        let unnamed = Limits::unnamed(version, secs(60));
        let limits = Limits {
            max_qos2: own.unwrap_or(unnamed.max_qos2),
            ..unnamed
        };
        let upstream = up(&mut world, bridge, &lines(), limits);
        let device = world.clean(Version::V311, "d");
        world.send_all(device, "a/x", qos, 1..201);
        let first = world.messages(upstream);
        assert_eq!(first.len(), expected, "{version:?} {qos:?}");
        // PUBREC alone makes no room: what counts is that PUBREL has left.
        for message in &first {
            world.answer_with(upstream, message, OK);
        }
        let (mut open, mut most) = (first.len(), first.len());
        let mut came = first.len();
        for _ in 0..400 {
            world.pass(ms(20));
            for got in world.got(upstream) {
                match got {
                    Got::Publish(message) => {
                        open += 1;
                        most = most.max(open);
                        came += 1;
                        world.answer_with(upstream, &message, OK);
                        open -= usize::from(qos == QoS::AtLeastOnce);
                    }
                    Got::PubRel(id, _) => {
                        open -= 1;
                        world.pubcomp(upstream, id);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(came, 200);
        if qos == QoS::ExactlyOnce {
            assert_eq!(most, expected);
        }
    }
}

/// Some brokers answer QoS 2 with PUBACK; one that does so after PUBREC has the message only once.
#[test]
fn a_puback_after_pubrec_ends_the_handshake() {
    for reason in [OK, QUOTA] {
        let (mut world, bridge, upstream, device) = connected(5);
        world.send_all(device, "a/x", QoS::ExactlyOnce, 1..3);
        let came = world.messages(upstream);
        for message in &came {
            world.answer_with(upstream, message, OK);
        }
        world.pass(secs(1));
        assert_eq!(world.got(upstream).len(), 2, "PUBREL");
        for message in &came {
            let id = message.delivery.id().unwrap();
            world.send(upstream, &Packet::PubAck(Ack::new(id, reason)));
        }
        world.cut(device);
        world.is_drained(bridge);
        assert!(world.state("local.b").releasing.is_empty());
        assert_eq!(world.broker.counters().dropped(), 0);
    }
}

/// What is refused is to be sent as new, and may expire again: at once, not when its lane goes on.
#[test]
fn what_is_refused_may_expire() {
    for durable in [true, false] {
        let (mut world, bridge, upstream, _) = if durable {
            connected(5)
        } else {
            refused_in_ram::connected(5)
        };
        let device = world.clean(Version::V5, "e");
        let props = [Property::MessageExpiry(5)];
        world.publish_with(device, "a/x", "1", qos1(1), false, &props);
        world.publish(device, "a/x", "2", qos1(2));
        let came = world.messages(upstream);
        assert_eq!(came.len(), 2);
        // Its answer takes longer than it lives.
        world.pass(secs(6));
        for message in &came {
            world.answer_with(upstream, message, QUOTA);
        }
        world.pass(ms(200));
        assert_eq!(world.queue().paused, 1);
        assert_eq!(world.broker.bridge_backlog(bridge).0, 1, "{durable}");
        let expired = world.broker.counters().dropped_for(DropReason::Expired);
        assert_eq!(expired, 1);
        assert_eq!(world.serve(upstream, secs(5), |_| OK), ["2"]);
    }
}
