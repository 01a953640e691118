//! Lines of low priority: what goes by them waits while anything of the others does.

use super::changed::Site;
use super::overflow::line;
use super::refused::{QUOTA, limits, numbers, sorted};
use super::*;
use crate::config::{BridgeTopic, Overflow};

/// `a/#` is of low priority, `b/#` is not.
fn lines() -> [BridgeTopic; 2] {
    [low("a/#"), line("b/#")]
}

fn low(pattern: &str) -> BridgeTopic {
    BridgeTopic {
        low: true,
        ..line(pattern)
    }
}

fn then(first: std::ops::Range<u16>, rest: std::ops::Range<u16>) -> Vec<String> {
    [numbers(first), numbers(rest)].concat()
}

/// Of a backlog all that is not of low priority goes first, however much it is and whether it came from
/// disk; the order within a line stays.
#[test]
fn a_backlog_goes_by_priority() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for crashes in [false, true] {
            let mut site = Site::new(&lines());
            site.world.send_all(site.device, "a/x", qos, 1..301);
            site.world.send_all(site.device, "b/x", qos, 301..501);
            site.world.send_all(site.device, "a/y", qos, 501..601);
            site.configure(crashes, &lines());
            let upstream = site.up(&limits(5, false));
            let came = site.world.serve(upstream, secs(60), |_| OK);
            let expected = [then(301..501, 1..301), numbers(501..601)].concat();
            assert_eq!(came, expected, "{qos:?}, crashes: {crashes}");
            site.world.cut(site.device);
            site.world.is_drained(site.bridge);
        }
    }
}

/// What comes while a backlog of low priority drains goes out with the next room, whether it was read
/// from disk or lies in RAM.
#[test]
fn what_comes_overtakes_a_backlog() {
    for crashes in [false, true] {
        for count in [20, 400] {
            let mut site = Site::new(&lines());
            let device = site.device;
            site.world
                .send_all(device, "a/x", QoS::AtLeastOnce, 1..count);
            site.configure(crashes, &lines());
            let device = site.device;
            let upstream = site.up(&limits(5, false));
            let first = site.world.messages(upstream);
            assert_eq!(first.len(), 5);
            site.world
                .send_all(device, "b/x", QoS::AtLeastOnce, 501..504);
            for message in &first {
                site.world.answer_with(upstream, message, OK);
            }
            let came = site.world.serve(upstream, secs(60), |_| OK);
            assert_eq!(came, then(501..504, 6..count), "{crashes}, {count}");
            site.world.cut(device);
            site.world.is_drained(site.bridge);
        }
    }
}

/// Killed in the midst of it: what the upstream has does not come again, though the rows stay for
/// somebody who is away, and the state does not list what was overtaken.
#[test]
fn what_was_overtaken_survives_a_crash() {
    let mut site = Site::new(&lines());
    let away = overflow::absent(&mut site.world);
    site.world
        .send_all(site.device, "a/x", QoS::AtLeastOnce, 1..301);
    site.world
        .send_all(site.device, "b/x", QoS::AtLeastOnce, 301..401);
    let upstream = site.up(&limits(5, false));
    let mut taken = Vec::new();
    for _ in 0..30 {
        site.world.pass(ms(100));
        for message in site.world.messages(upstream) {
            site.world.answer_with(upstream, &message, OK);
            taken.push(message.payload);
        }
    }
    assert_eq!(taken.len(), 150);
    site.world.pass(secs(5));
    let state = site.world.state("local.b");
    assert!(state.sent.len() <= 10, "{state:?}");
    site.configure(true, &lines());
    let upstream = site.up(&limits(5, true));
    let came = site.world.serve(upstream, secs(60), |_| OK);
    taken.extend(came);
    assert_eq!(taken, then(301..401, 1..301));
    site.configure(true, &lines());
    assert_eq!(site.world.broker.bridge_backlog(site.bridge), (0, 0));
    let (reader, _) = site.world.connect(&away);
    let came = site.world.serve(reader, secs(20), |_| OK);
    assert_eq!(sorted(came), (1..401).collect::<Vec<_>>());
    site.world.is_drained(site.bridge);
}

/// A line that the upstream refuses holds nothing of low priority up, and has its priority again.
#[test]
fn a_paused_lane_lets_low_ones_go() {
    for pattern in ["a/x", "b/x"] {
        let mut site = Site::new(&lines());
        let upstream = site.up(&limits(5, false));
        site.world
            .send_all(site.device, pattern, QoS::AtLeastOnce, 1..31);
        for message in site.world.messages(upstream) {
            site.world.answer_with(upstream, &message, QUOTA);
        }
        let other = if pattern == "a/x" { "b/x" } else { "a/x" };
        site.world
            .send_all(site.device, other, QoS::AtLeastOnce, 31..61);
        let refuse = |message: &Arrived| if message.topic == pattern { QUOTA } else { OK };
        let came = site.world.serve(upstream, secs(5), refuse);
        assert_eq!(came, numbers(31..61), "{pattern}");
        let came = site.world.serve(upstream, secs(60), |_| OK);
        assert_eq!(came, numbers(1..31), "{pattern}");
        site.world.cut(site.device);
        site.world.is_drained(site.bridge);
    }
}

/// SIGHUP or a restart makes a line one of low priority, or another one, with a backlog.
#[test]
fn the_priority_of_a_line_changes() {
    for crashes in [false, true] {
        let [a, b] = ["a/#", "b/#"].map(line);
        let mut site = Site::new(&[a.clone(), b.clone()]);
        let send = |site: &mut Site, topic: &str, range| {
            site.world
                .send_all(site.device, topic, QoS::AtLeastOnce, range);
        };
        send(&mut site, "a/x", 1..11);
        send(&mut site, "b/x", 11..21);
        site.configure(crashes, &[low("a/#"), b.clone()]);
        let upstream = site.up(&limits(5, false));
        let mut came = Vec::new();
        for _ in 0..2 {
            for message in site.world.messages(upstream) {
                site.world.answer_with(upstream, &message, OK);
                came.push(message.payload);
            }
        }
        assert_eq!(came, numbers(11..21));
        site.world.pass(secs(3));
        site.world.cut(upstream);
        site.configure(crashes, &[a, low("b/#")]);
        send(&mut site, "b/x", 21..31);
        send(&mut site, "a/x", 31..41);
        let upstream = site.up(&limits(5, true));
        let came = site.world.serve(upstream, secs(20), |_| OK);
        let expected = [then(1..11, 31..41), numbers(21..31)].concat();
        assert_eq!(came, expected, "{crashes}");
        site.world.cut(site.device);
        site.world.is_drained(site.bridge);
    }
}

/// The bound of the bridge drops the oldest, which are those of low priority that were overtaken.
#[test]
fn the_oldest_are_dropped_of_all() {
    let mut world = overflow::with(0, 20, Overflow::Oldest);
    let bridge = overflow::add(&mut world, &lines());
    let upstream = refused::up(&mut world, bridge, &lines(), limits(2, false));
    let device = world.clean(Version::V311, "d");
    world.send_all(device, "a/x", QoS::AtLeastOnce, 1..21);
    world.send_all(device, "b/x", QoS::AtLeastOnce, 21..31);
    let came = world.serve(upstream, secs(30), |_| OK);
    let expected = [numbers(1..3), then(21..31, 13..21)].concat();
    assert_eq!(came, expected);
    world.is_drained(bridge);
}

/// A queue that lives in RAM has the same order, also of what was refused, and on the next connection.
#[test]
fn a_queue_in_ram_goes_by_priority() {
    for refused in ["a/x", "b/x"] {
        let (mut world, bridge, first, device) = refused_in_ram::connected_by(5, &lines());
        world.cut(first);
        let upstream = refused::up(&mut world, bridge, &lines(), limits(5, false));
        world.send_all(device, "a/x", QoS::AtLeastOnce, 1..201);
        world.send_all(device, "b/x", QoS::AtLeastOnce, 201..401);
        let came = world.serve(upstream, secs(20), |_| OK);
        let expected = [numbers(1..6), then(201..401, 6..201)].concat();
        assert_eq!(came, expected);
        world.send_all(device, "a/x", QoS::AtLeastOnce, 1..31);
        world.send_all(device, "b/x", QoS::AtLeastOnce, 31..61);
        let refuse = |message: &Arrived| if message.topic == refused { QUOTA } else { OK };
        let mut came = world.serve(upstream, ms(900), refuse);
        came.extend(world.serve(upstream, secs(60), |_| OK));
        let (a, b) = (numbers(1..31), numbers(31..61));
        let expected = if refused == "a/x" { [b, a] } else { [a, b] };
        assert_eq!(came, expected.concat(), "{refused}");
        world.is_drained(bridge);
    }
}

/// With a quick uplink nothing is stored.
#[test]
fn a_quick_uplink_stores_nothing() {
    let mut site = Site::new(&lines());
    let upstream = site.up(&limits(20, false));
    site.world.pass(secs(5));
    for n in 1..200 {
        let topic = if n % 2 == 0 { "a/x" } else { "b/x" };
        let device = site.device;
        site.world.publish(device, topic, "x", qos1(n));
        for message in site.world.messages(upstream) {
            site.world.answer_with(upstream, &message, OK);
        }
        site.world.got(device);
        site.world.pass(ms(20));
        assert_eq!(site.world.rows(), []);
    }
    site.world.is_drained(site.bridge);
}
