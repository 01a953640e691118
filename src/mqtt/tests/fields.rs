//! Which bytes become which field, one packet of each type.

use super::*;

#[test]
fn connect_of_figure_3_6_has_each_field_in_its_place() {
    // 3.1.1 §3.1.2.
    let bytes = b"\x10\x25\0\x04MQTT\x04\xce\0\x3c\0\x02c1\0\x03w/t\0\x04gone\0\x04user\0\x04pass";
    let connect = Connect {
        version: Version::V311,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "c1",
        will: Some(Will {
            topic: "w/t",
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
            props: Props::EMPTY,
        }),
        username: Some("user"),
        password: Some(b"pass"),
        props: Props::EMPTY,
    };
    let packet = Packet::Connect(Box::new(connect));
    // Whatever version the connection was thought to have.
    for version in VERSIONS {
        assert_eq!(decoded(bytes, version), packet);
        assert_eq!(encoded(&packet, version), bytes);
    }
}

#[test]
fn connect_with_0x80_in_the_level_is_a_bridge() {
    for (bytes, version) in [
        (&b"\x10\x0e\0\x06MQIsdp\x83\0\0\0\0\0"[..], Version::V31),
        (b"\x10\x0c\0\x04MQTT\x84\0\0\0\0\0", Version::V311),
    ] {
        let Packet::Connect(connect) = decoded(bytes, Version::V311) else {
            panic!()
        };
        assert!(connect.bridge);
        assert_eq!(connect.version, version);
        assert!(!connect.clean_start);
    }
}

#[test]
fn publish_has_flags_topic_id_and_payload() {
    let packet = Packet::Publish(Publish {
        delivery: Delivery::ExactlyOnce(id(258), true),
        retain: true,
        topic: "a/b",
        props: Props::EMPTY,
        payload: b"hi",
    });
    for version in [Version::V31, Version::V311] {
        assert_eq!(decoded(b"\x3d\x09\0\x03a/b\x01\x02hi", version), packet);
        assert_eq!(encoded(&packet, version), b"\x3d\x09\0\x03a/b\x01\x02hi");
    }
    assert_eq!(
        encoded(&packet, Version::V5),
        b"\x3d\x0a\0\x03a/b\x01\x02\0hi"
    );
}

#[test]
fn publish_with_properties_keeps_them_apart_from_the_payload() {
    let bytes = b"\x30\x0b\0\x01t\x05\x02\0\0\0\x0ahi";
    let Packet::Publish(publish) = decoded(bytes, Version::V5) else {
        panic!()
    };
    assert_eq!(publish.props.message_expiry(), Some(10));
    assert_eq!(publish.payload, b"hi");
    assert_eq!(
        encoded(&Packet::Publish(publish), Version::V311),
        b"\x30\x05\0\x01thi"
    );
}

#[test]
fn an_acknowledgement_takes_the_shortest_form() {
    // 5.0 §3.4.2.1, §3.4.2.2.1.
    let mut props = PropsBuf::new();
    props.push(Property::ReasonString("no"));
    let refused = Ack::new(id(1), Reason::NOT_AUTHORIZED);
    for (ack, bytes) in [
        (Ack::new(id(1), Reason::SUCCESS), &b"\x40\x02\0\x01"[..]),
        (refused, b"\x40\x03\0\x01\x87"),
        (
            Ack {
                props: props.as_props(),
                ..refused
            },
            b"\x40\x09\0\x01\x87\x05\x1f\0\x02no",
        ),
    ] {
        assert_eq!(encoded(&Packet::PubAck(ack), Version::V5), bytes);
        assert_eq!(decoded(bytes, Version::V5), Packet::PubAck(ack));
        assert_eq!(
            encoded(&Packet::PubAck(ack), Version::V311),
            b"\x40\x02\0\x01"
        );
    }
    let ack = Ack::new(id(1), Reason::SUCCESS);
    assert_eq!(
        encoded(&Packet::PubRec(ack), Version::V311),
        b"\x50\x02\0\x01"
    );
    assert_eq!(
        encoded(&Packet::PubRel(ack), Version::V311),
        b"\x62\x02\0\x01"
    );
    assert_eq!(
        encoded(&Packet::PubComp(ack), Version::V311),
        b"\x70\x02\0\x01"
    );
}

/// 3.1.1 [MQTT-3.2.2-6]: what has no return code is not to be said with one.
#[test]
fn some_reasons_have_no_return_code() {
    for (reason, code) in [
        (Reason::SERVER_BUSY, Some(3)),
        (Reason::PACKET_TOO_LARGE, Some(5)),
        (Reason::RETAIN_NOT_SUPPORTED, None),
        (Reason::QOS_NOT_SUPPORTED, None),
    ] {
        let refusal = ConnAck {
            session_present: false,
            reason,
            props: Props::EMPTY,
        };
        assert_eq!(refusal.return_code(), code, "{reason}");
    }
}

#[test]
fn connack_reasons_map_to_the_return_codes_of_3_1_1_and_back() {
    // 3.1.1 table 3.1.
    let codes = [
        (Reason::SUCCESS, 0),
        (Reason::UNSUPPORTED_PROTOCOL_VERSION, 1),
        (Reason::CLIENT_IDENTIFIER_NOT_VALID, 2),
        (Reason::SERVER_UNAVAILABLE, 3),
        (Reason::BAD_USER_NAME_OR_PASSWORD, 4),
        (Reason::NOT_AUTHORIZED, 5),
    ];
    for (reason, code) in codes {
        let packet = Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            props: Props::EMPTY,
        });
        assert_eq!(encoded(&packet, Version::V311), [0x20, 2, 0, code]);
        assert_eq!(decoded(&[0x20, 2, 0, code], Version::V311), packet);
    }
    let busy = ConnAck {
        session_present: false,
        reason: Reason::BANNED,
        props: Props::EMPTY,
    };
    assert_eq!(
        encoded(&Packet::ConnAck(busy), Version::V31),
        [0x20, 2, 0, 3]
    );
    assert_eq!(
        encoded(&Packet::ConnAck(busy), Version::V5),
        [0x20, 3, 0, 0x8a, 0]
    );
}

#[test]
fn connack_of_3_1_has_no_session_present() {
    let reason = Reason::SUCCESS;
    let packet = Packet::ConnAck(ConnAck {
        session_present: true,
        reason,
        props: Props::EMPTY,
    });
    assert_eq!(encoded(&packet, Version::V31), [0x20, 2, 0, 0]);
    assert_eq!(encoded(&packet, Version::V311), [0x20, 2, 1, 0]);
}

#[test]
fn subscribe_options_are_read_bit_by_bit() {
    // 5.0 §3.8.3.1.
    let bytes = b"\x82\x0b\0\x0a\0\0\x01a\x2d\0\x01b\x12";
    let packet = Packet::Subscribe(Subscribe {
        id: id(10),
        props: Props::EMPTY,
        filters: vec![
            Subscription {
                filter: "a",
                qos: QoS::AtLeastOnce,
                no_local: true,
                retain_as_published: true,
                retain_handling: RetainHandling::DontSend,
            },
            Subscription {
                retain_handling: RetainHandling::SendIfNew,
                ..Subscription::new("b", QoS::ExactlyOnce)
            },
        ],
    });
    assert_eq!(decoded(bytes, Version::V5), packet);
    assert_eq!(encoded(&packet, Version::V5), bytes);
    assert_eq!(
        encoded(&packet, Version::V311),
        b"\x82\x0a\0\x0a\0\x01a\x01\0\x01b\x02"
    );
}

#[test]
fn suback_and_unsuback_before_5_0_lose_what_they_cannot_say() {
    let reasons = vec![Reason::GRANTED_QOS_2, Reason::NOT_AUTHORIZED];
    let suback = Packet::SubAck(SubAck {
        id: id(1),
        props: Props::EMPTY,
        reasons,
    });
    // [MQTT-3.9.3-2]
    assert_eq!(encoded(&suback, Version::V311), [0x90, 4, 0, 1, 2, 0x80]);
    assert_eq!(encoded(&suback, Version::V5), [0x90, 5, 0, 1, 0, 2, 0x87]);
    let reasons = vec![Reason::NO_SUBSCRIPTION_EXISTED];
    let unsuback = Packet::UnsubAck(UnsubAck {
        id: id(1),
        props: Props::EMPTY,
        reasons,
    });
    assert_eq!(encoded(&unsuback, Version::V311), [0xb0, 2, 0, 1]);
    assert_eq!(encoded(&unsuback, Version::V5), [0xb0, 4, 0, 1, 0, 0x11]);
}

#[test]
fn disconnect_and_auth_without_a_body_mean_success() {
    // 5.0 §3.14.2.1, §3.15.2.1.
    let reason = Reason::SUCCESS;
    let disconnect = Packet::Disconnect(Disconnect {
        reason,
        props: Props::EMPTY,
    });
    assert_eq!(decoded(&[0xe0, 0], Version::V5), disconnect);
    assert_eq!(encoded(&disconnect, Version::V5), [0xe0, 0]);
    let auth = Packet::Auth(Auth {
        reason,
        props: Props::EMPTY,
    });
    assert_eq!(decoded(&[0xf0, 0], Version::V5), auth);
    assert_eq!(encoded(&auth, Version::V5), [0xf0, 0]);
    let reason = Reason::SERVER_SHUTTING_DOWN;
    let closing = Packet::Disconnect(Disconnect {
        reason,
        props: Props::EMPTY,
    });
    assert_eq!(encoded(&closing, Version::V5), [0xe0, 1, 0x8b]);
    assert_eq!(encoded(&closing, Version::V311), [0xe0, 0]);
}
