//! A listener with a Maximum QoS below 2.

use super::*;
use crate::config::Listener;

/// A broker whose clients may publish at this QoS at most.
fn limited(max_qos: QoS) -> World {
    let mut settings = settings();
    settings.security.allow_anonymous = Some(true);
    let listener = Listener {
        max_qos,
        ..Listener::on(1)
    };
    World::with_listeners(settings, vec![listener])
}

/// The Maximum QoS of a CONNACK.
fn announced(world: &mut World, c: ConnId) -> Option<u8> {
    let mut most = None;
    world.each_heard(c, |packet| match packet {
        Packet::ConnAck(p) => most = Some(p.props.maximum_qos()),
        other => panic!("{other:?}"),
    });
    most.expect("a CONNACK")
}

/// 5.0 [MQTT-3.2.2-9], [MQTT-3.2.2-10]: a Maximum QoS below 2 is in the CONNACK, what goes beyond
/// it ends the connection, and SUBSCRIBE may ask for any QoS all the same.
#[test]
fn the_maximum_qos_is_told_and_held() {
    for (most, told) in [
        (QoS::AtMostOnce, Some(0)),
        (QoS::AtLeastOnce, Some(1)),
        (QoS::ExactlyOnce, None),
    ] {
        let mut world = limited(most);
        for qos in 0..3u8 {
            let c = world.tcp();
            world.say(c, &connect(Version::V5, 2, b"", &field(b"c")));
            world.pass(ms(50));
            assert_eq!(announced(&mut world, c), told);
            world.say(
                c,
                &subscribe(Version::V5, 1, &[("a", 0), ("b", 1), ("c", 2)]),
            );
            let granted = [0, 1, 2].map(|asked| (most as u8).min(asked));
            assert_eq!(world.heard(c), suback(Version::V5, 1, &granted));
            let id = (qos > 0).then_some(1);
            world.say(c, &publish(Version::V5, qos << 1, "t", id, b"x"));
            assert_eq!(world.is_over(c), qos > most as u8, "{qos} of {most:?}");
            if qos > most as u8 {
                assert_eq!(world.heard(c), b"\xe0\x01\x9b");
            }
        }
    }
}

/// 5.0 [MQTT-3.2.2-12]: a will beyond it is refused.
#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    for most in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for qos in 0..3u8 {
            let mut world = limited(most);
            let c = world.tcp();
            let payload = b"\0\x01c\0\0\x01w\0\x04gone";
            world.say(c, &connect(Version::V5, 6 | qos << 3, b"", payload));
            world.pass(ms(50));
            let refused = qos > most as u8;
            assert_eq!(world.is_over(c), refused, "{qos} of {most:?}");
            if refused {
                assert_eq!(world.heard(c)[..4], [0x20, 3, 0, 0x9b]);
            }
        }
    }
}
