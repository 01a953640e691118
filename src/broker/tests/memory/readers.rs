//! Readers while little memory is left.

use super::*;

/// What `n` devices publish before a reader had the time to read, in one turn; without a turn's end.
fn burst(world: &mut World, devices: &[Peer], topic: &str, qos: QoS, n: u16) {
    for device in devices {
        let conn = world.conn(*device);
        for id in 1..=n {
            let publish = Publish {
                delivery: Delivery::new(qos, pid(id), false),
                retain: false,
                topic,
                props: Props::EMPTY,
                payload: &[b'x'; 100],
            };
            let packet = Packet::Publish(publish);
            world.broker.packet(conn, packet, world.now);
        }
    }
}

/// A burst reaches readers that read and acknowledge, although little memory is left; it comes in
/// faster than anybody could read.
#[test]
fn readers_that_keep_up_get_all_at_three_quarters() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut world = limited(LIMIT);
        let readers = [0, 1].map(|n| {
            let (reader, _) = far(&mut world, &Dial::clean(Version::V311, &format!("r{n}")));
            world.listen(reader, "t", qos);
            reader
        });
        let devices: Vec<Peer> = (0..40)
            .map(|n| far(&mut world, &Dial::clean(Version::V311, &format!("d{n}"))).0)
            .collect();
        let _load = fill(&world, 8);
        burst(&mut world, &devices, "t", qos, 20);
        assert_eq!(state(&mut world), Tightness::Tight);
        world.turn();
        for reader in readers {
            let mut count = 0;
            while let Some(got) = world.next(reader) {
                let Got::Publish(message) = got else {
                    panic!("not a PUBLISH: {got:?}");
                };
                count += 1;
                if let Some(id) = message.delivery.id() {
                    world.puback(reader, id.get());
                }
            }
            assert_eq!(count, 800, "{qos:?}");
        }
        assert_eq!(world.broker.counters().dropped(), 0);
    }
}

/// Who does not take what is written to it, or does not acknowledge it, gets no more than a small part of
/// what memory is left.
#[test]
fn readers_that_do_not_keep_up_get_little_at_three_quarters() {
    for (qos, is_blocked) in [
        (QoS::AtMostOnce, true),
        (QoS::AtLeastOnce, true),
        (QoS::AtLeastOnce, false),
    ] {
        let mut world = limited(LIMIT);
        let (reader, _) = far(&mut world, &Dial::clean(Version::V311, "r"));
        world.listen(reader, "t", qos);
        let (device, _) = far(&mut world, &Dial::clean(Version::V311, "d"));
        let _load = fill(&world, 8);
        if is_blocked {
            let conn = world.conn(reader);
            world.broker.outbox(conn).unwrap().is_blocked = true;
        } else {
            world.publish(device, "t", "never acknowledged", qos1(1));
            world.pass(secs(3));
        }
        let before = world.broker.memory();
        burst(&mut world, &[device], "t", qos, 1_000);
        let taken = world.broker.memory() - before;
        assert!(taken < 100_000, "{qos:?}, {is_blocked}: {taken}");
        let dropped = world.broker.counters().dropped();
        assert!(dropped > 500, "{qos:?}, {is_blocked}: {dropped}");
    }
}
