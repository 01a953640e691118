use super::*;
use std::rc::Rc;

use crate::message::{Message, Parts};

use crate::bridge::{Inward, Limits};
use crate::mqtt::{Delivery, Disconnect, Publish};

const STATE: &str = "$SYS/broker/connection/box.up/state";

#[test]
fn mqtt_5_by_default_with_a_session_that_lasts() {
    let mut s = Script::new(spec(&["# both 1 local/ remote/"]));
    let (after, action) = s.wait();
    assert_eq!(action, "connect up.example:1883");
    assert!(
        after <= secs(1),
        "first attempt within a second of the start"
    );
    s.link.connected(s.now, &mut s.out).unwrap();
    assert_eq!(
        s.sent(),
        [format!(
            "CONNECT 5 box.up keep 60 will {STATE} 0 q1 retain SessionExpiry(604800) ReceiveMaximum(20)"
        )]
    );
    let (step, sent) = s.accept(false, &[]);
    let Step::Up(limits) = step else {
        panic!("{step:?}")
    };
    assert_eq!(
        (limits.version, limits.session_present),
        (Version::V5, false)
    );
    assert_eq!(
        (limits.receive_maximum, limits.max_qos),
        (u16::MAX, QoS::ExactlyOnce)
    );
    assert!(limits.retain_available && limits.max_packet.is_none());
    assert_eq!(sent, ["SUBSCRIBE 1 remote/# q1 nl rap"]);
    s.suback(1, Reason::GRANTED_QOS_1).unwrap();
    assert_eq!(s.sent(), [format!("PUBLISH 2 {STATE} 1 q1 retain")]);
    assert_eq!(s.puback(2, Reason::SUCCESS), Ok(Step::None));
    assert_eq!(
        s.puback(2, Reason::SUCCESS),
        Ok(Step::Forward),
        "the session's from now on"
    );
    assert!(!s.link.wire().watches_echo(), "no-local is enough");
}

#[test]
fn what_the_section_says_is_in_the_connect() {
    let mut spec = spec(&[]);
    spec.version = Some(Version::V5);
    spec.clean_session = true;
    spec.remote_username = Some("u".into());
    spec.remote_password = Some("p".into());
    spec.notification_topic = Some("boxes/1".into());
    spec.session_expiry = Some(7200);
    spec.receive_maximum = Some(5);
    spec.max_packet_size = Some(1000);
    spec.max_topic_alias = Some(9);
    assert_eq!(
        Script::new(spec.clone()).dial(),
        "CONNECT 5 box.up keep 60 clean user u will boxes/1 0 q1 retain TopicAliasMaximum(9) \
         SessionExpiry(7200) ReceiveMaximum(5) MaximumPacketSize(1000)"
    );
    spec.notifications_local_only = true;
    spec.version = Some(Version::V31);
    spec.try_private = false;
    assert_eq!(
        Script::new(spec).dial(),
        "CONNECT 3 box.up keep 60 clean user u"
    );
}

/// A version that is said does not say that what comes from upstream may be lost.
#[test]
fn a_session_that_is_to_last_is_asked_for() {
    let mut explicit = spec(&[]);
    explicit.version = Some(Version::V5);
    assert!(
        Script::new(explicit.clone())
            .dial()
            .contains("SessionExpiry(604800)")
    );
    let mut none = explicit;
    none.session_expiry = Some(0);
    assert!(Script::new(none).dial().contains("SessionExpiry(0)"));
    let mut clean = spec(&[]);
    clean.clean_session = true;
    assert!(!Script::new(clean).dial().contains("SessionExpiry"));
}

#[test]
fn requests_go_out_in_the_order_of_the_lines() {
    let mut s = Script::new(spec(&["a out 0", "b in 2", "c both 0", "d out 1 - r/"]));
    s.dial();
    let (_, sent) = s.accept(false, &[]);
    assert_eq!(sent, ["SUBSCRIBE 1 b q2 nl rap", "SUBSCRIBE 2 c q0 nl rap"]);
}

/// Retained messages that were here before are not sent again after a mere reconnect.
#[test]
fn retained_messages_are_asked_for_again_only_with_a_new_session() {
    let mut s = Script::new(spec(&["a in"]));
    for (session_present, expected) in [(true, ""), (true, " if-new"), (false, "")] {
        s.dial();
        let (_, sent) = s.accept(session_present, &[]);
        assert_eq!(
            sent[0][sent[0].find(" a ").unwrap()..],
            format!(" a q0 nl rap{expected}")
        );
        s.close();
    }
}

/// [MQTT-3.3.4-9], [MQTT-3.2.2-11], [MQTT-3.2.2-14], [MQTT-3.2.2-17], [MQTT-3.1.2-21]
#[test]
fn limits_of_the_connack_are_honoured() {
    let mut s = Script::new(spec(&["a in 2", "b/# in 2"]));
    s.dial();
    let (step, sent) = s.accept(
        true,
        &[
            Property::ReceiveMaximum(10),
            Property::MaximumQoS(1),
            Property::RetainAvailable(0),
            Property::MaximumPacketSize(4096),
            Property::TopicAliasMaximum(7),
            Property::ServerKeepAlive(20),
            Property::WildcardSubscriptionAvailable(0),
            Property::SessionExpiry(3600),
        ],
    );
    let Step::Up(limits) = step else {
        panic!("{step:?}")
    };
    assert!(limits.session_present && !limits.retain_available);
    assert_eq!(
        (limits.max_qos, limits.max_packet),
        (QoS::AtLeastOnce, Some(4096))
    );
    assert_eq!((limits.topic_alias_max, limits.keep_alive), (7, secs(20)));
    assert_eq!(limits.session_expiry, Some(secs(3600)));
    assert_eq!(sent, ["SUBSCRIBE 1 a q1 nl rap"]);
    assert_eq!(s.link.status().refused.len(), 1, "b/# has a wildcard");

    // The notification has a place in the window until it is acknowledged.
    assert_eq!(limits.receive_maximum, 9);
    s.suback(1, Reason::GRANTED_QOS_1).unwrap();
    assert_eq!(s.sent(), [format!("PUBLISH 2 {STATE} 1 q1")]);
    assert_eq!(s.puback(2, Reason::SUCCESS), Ok(Step::Window(10)));
    assert_eq!(s.wait(), (secs(20), "idle".into()));
    assert_eq!(s.sent(), ["PINGREQ"]);
}

#[test]
fn a_receive_maximum_of_one_is_the_sessions() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    let (step, sent) = s.accept(false, &[Property::ReceiveMaximum(1)]);
    assert!(matches!(
        step,
        Step::Up(Limits {
            receive_maximum: 1,
            ..
        })
    ));
    assert_eq!(sent, [format!("PUBLISH 0 {STATE} 1 q0 retain")]);
}

#[test]
fn a_refused_or_lowered_subscription_leaves_the_link_up() {
    let mut s = Script::new(spec(&["a in 2", "b in 1", "c in 1"]));
    s.dial();
    s.accept(false, &[]);
    assert_eq!(s.suback(1, Reason::GRANTED_QOS_1), Ok(Step::None));
    assert_eq!(s.suback(2, Reason::NOT_AUTHORIZED), Ok(Step::None));
    assert_eq!(s.suback(3, Reason::GRANTED_QOS_1), Ok(Step::None));
    assert_eq!(
        s.suback(3, Reason::UNSPECIFIED),
        Ok(Step::None),
        "an unknown id"
    );
    let status = s.link.status();
    assert_eq!(status.lowered, [("a".into(), QoS::AtLeastOnce)]);
    assert_eq!(status.refused, [("b".into(), Reason::NOT_AUTHORIZED)]);
    assert_eq!(
        status.to_string(),
        "bridge up: up with MQTT 5 at up.example:1883; topic b refused: not authorized (0x87); \
         topic a at QoS 1 only"
    );
}

#[test]
fn the_sessions_packets_are_forwarded() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    let ack = Ack::new(PacketId::new(9).unwrap(), Reason::SUCCESS);
    publish(&mut s);
    let packets = [
        Packet::PubAck(ack),
        Packet::PubRec(ack),
        Packet::PubRel(ack),
        Packet::PubComp(ack),
    ];
    for packet in packets {
        assert_eq!(s.receive(packet), Ok(Step::Forward));
    }
}

/// 3.1.1 [MQTT-3.14.4-1] [MQTT-3.14.4-2]: nothing follows a DISCONNECT on its connection.
#[test]
fn goodbye_is_the_last_word() {
    for spec in [spec(&["a out 1"]), v311(spec(&["a out 1"]))] {
        let mut s = Script::new(spec);
        s.dial();
        s.accept(false, &[]);
        s.link.goodbye(s.now, &mut s.out);
        let state = "PUBLISH 0 $SYS/broker/connection/box.up/state 0 q0 retain";
        assert_eq!(s.sent(), [state, "DISCONNECT"]);
        let late = s.receive(Packet::PingReq);
        assert_eq!(late, Err(Error::Unexpected("PINGREQ")));
        assert_eq!(s.sent(), [""; 0]);
    }
}

/// As Mosquitto's bridge, though no server should ask.
#[test]
fn a_pingreq_is_answered() {
    let mut s = Script::new(spec(&[]));
    s.dial();
    s.accept(false, &[]);
    assert_eq!(s.receive(Packet::PingReq), Ok(Step::None));
    assert_eq!(s.sent(), ["PINGRESP"]);
}

/// [MQTT-4.13.1-1]: before CONNACK nothing else may come, and DISCONNECT is the end. What only a client
/// sends, or only a handshake has, is passed over once the link is up: to leave would help nobody.
#[test]
fn packets_that_have_no_place_end_the_handshake() {
    let connack = ConnAck {
        session_present: false,
        reason: Reason::SUCCESS,
        props: Props::EMPTY,
    };
    let mut s = Script::new(spec(&[]));
    s.dial();
    assert_eq!(
        s.receive(Packet::PingResp),
        Err(Error::Unexpected("PINGRESP"))
    );
    s.dial();
    s.accept(false, &[]);
    let packet = Packet::ConnAck(connack);
    assert_eq!(s.receive(packet), Ok(Step::OutOfPlace));
    assert_eq!(s.receive(Packet::PingResp), Ok(Step::None), "it goes on");
    let reason = Reason::SESSION_TAKEN_OVER;
    let error = s.receive(Packet::Disconnect(Disconnect {
        reason,
        props: Props::EMPTY,
    }));
    assert!(error.unwrap_err().to_string().contains("remote_clientid"));
}

/// A version 3 upstream has no say: the memory of our publishes is on where they could return.
#[test]
fn echoes_are_watched_for_without_no_local_and_bridge_bit() {
    let up = |topics: &[&str], private: bool| {
        let mut spec = v311(spec(topics));
        spec.try_private = private;
        let mut s = Script::new(spec);
        s.dial();
        s.accept(false, &[]);
        s.link.wire().watches_echo()
    };
    assert!(up(&["# both 0"], false));
    assert!(!up(&["# both 0"], true));
    assert!(!up(&["a in", "b out"], false));
}

/// A shared subscription has no No Local: what it returns is recognised, in MQTT 5 too, and the upstream
/// is not to blame.
#[test]
fn echoes_are_watched_for_by_a_shared_subscription() {
    let mut s = Script::new(spec(&["$share/g/cmd/# in", "cmd/# out"]));
    s.dial();
    s.accept(false, &[]);
    assert!(s.link.wire().watches_echo());
    let came = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: "cmd/x",
        props: Props::EMPTY,
        payload: b"1",
    };
    assert_eq!(s.receive(Packet::Publish(came)), Ok(Step::Forward));
    assert!(s.link.take_given_up().is_none());
}

/// rumqttd 0.20 takes no notice of No Local. That is clear once three messages in a row have come back.
#[test]
fn an_upstream_that_ignores_no_local_is_found_out() {
    let mut s = Script::new(spec(&["# both 0"]));
    s.dial();
    s.accept(false, &[]);
    let message = |payload: &[u8], now| {
        let parts = Parts {
            topic: "a",
            props: &[],
            payload,
        };
        Message::new(parts, now, Rc::default()).unwrap()
    };
    let mut topic = String::new();
    for n in 0..5u8 {
        let wire = s.link.wire();
        assert!(wire.outward(None, &message(&[n], s.now), &mut topic, s.now));
        let came = wire.inward(("a", &[n]), false, &mut topic, s.now);
        assert_eq!(came == Inward::Taken, n < 2, "{n}");
    }
    let publish = Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: "a",
        props: Props::EMPTY,
        payload: b"",
    };
    s.receive(Packet::Publish(publish)).unwrap();
    assert!(s.link.status().to_string().contains("without No Local"));
    s.close();
    s.dial();
    s.accept(false, &[]);
    assert!(s.link.wire().watches_echo(), "remembered");

    // Another client that publishes the same later, or while others are not back, is no proof.
    let mut s = Script::new(spec(&["# both 0"]));
    s.dial();
    s.accept(false, &[]);
    for n in 0..200u8 {
        let wire = s.link.wire();
        assert!(wire.outward(None, &message(&[n], s.now), &mut topic, s.now));
        if n == 0 {
            s.pass(secs(5));
        }
        let came = s
            .link
            .wire()
            .inward(("a", &[n / 2 * 2]), false, &mut topic, s.now);
        assert_eq!(came, Inward::Taken, "{n}");
        s.link
            .wire()
            .outward(None, &message(&[n, n], s.now), &mut topic, s.now);
    }
    assert!(!s.link.wire().watches_echo());
}

#[test]
fn an_echo_is_recognised_across_a_short_cut() {
    let mut spec = v311(spec(&["# both 0"]));
    spec.try_private = false;
    let mut s = Script::new(spec);
    s.dial();
    s.accept(false, &[]);
    let parts = Parts {
        topic: "a",
        props: &[],
        payload: b"1",
    };
    let message = Message::new(parts, s.now, Rc::default()).unwrap();
    let mut topic = String::new();
    assert!(s.link.wire().outward(None, &message, &mut topic, s.now));
    s.close();
    s.dial();
    s.accept(true, &[]);
    let mut inward = |topic_there| {
        let wire = s.link.wire();
        wire.inward((topic_there, b"1"), false, &mut topic, s.now)
    };
    assert_eq!(inward("a"), Inward::Echo);
    assert_eq!(inward("a"), Inward::Taken, "only once");
}

/// An acknowledgement that never comes: the upstream may answer pings for ever.
#[test]
fn a_publish_that_is_never_acknowledged_ends_the_connection() {
    let mut s = Script::new(v311(spec(&["a out 1"])));
    s.dial();
    s.accept(false, &[]);
    let sent = s.now;
    s.link.unacknowledged(Some(sent));
    let keep_alive = s.link.limits().unwrap().keep_alive;
    assert!(s.link.next_timeout() <= sent + keep_alive);
    let mut out = Vec::new();
    assert_eq!(s.link.drive(sent + keep_alive, &mut out), Action::Close);
    assert!(s.link.status().to_string().contains("no acknowledgement"));
}
