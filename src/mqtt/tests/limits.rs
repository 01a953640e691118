//! Sizes: what is too large to read or to write.

use super::*;

fn publish<'a>(topic: &'a str, payload: &'a [u8]) -> Packet<'a> {
    let (delivery, props) = (Delivery::AtMostOnce, Props::EMPTY);
    Packet::Publish(Publish {
        delivery,
        retain: false,
        topic,
        props,
        payload,
    })
}

#[test]
fn a_packet_may_be_as_large_as_the_limit_and_no_larger() {
    let bytes = encoded(&publish("t", &[0; 200]), Version::V311);
    assert!(decode(&bytes, Version::V311, bytes.len()).is_ok_and(|packet| packet.is_some()));
    let error = Error::PacketTooLarge {
        size: bytes.len(),
        max: bytes.len() - 1,
    };
    // The fixed header is three bytes long: two of them ask for the third.
    assert_eq!(
        decode(&bytes[..2], Version::V311, bytes.len() - 1),
        Ok(None)
    );
    assert_eq!(
        decode(&bytes[..3], Version::V311, bytes.len() - 1),
        Err(error)
    );
    assert_eq!(error.reason(), Reason::PACKET_TOO_LARGE);
}

#[test]
fn remaining_lengths_of_each_size_round_trip() {
    // 5.0 table 1-1.
    for remaining in [3, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
        let payload = vec![7; remaining - 3];
        let packet = publish("t", &payload);
        let bytes = encoded(&packet, Version::V311);
        let header = bytes.len() - remaining;
        assert!((2..=5).contains(&header));
        let limit = bytes.len();
        assert_eq!(
            decode(&bytes, Version::V311, limit),
            Ok(Some((packet, limit)))
        );
        assert_eq!(decode(&bytes[..limit - 1], Version::V311, limit), Ok(None));
    }
}

#[test]
fn a_long_packet_other_than_publish_gets_its_whole_remaining_length() {
    for filters in [1, 42, 43, 5_462, 700_000] {
        let filters = vec!["a"; filters];
        let packet = Packet::Unsubscribe(Unsubscribe {
            id: id(1),
            props: Props::EMPTY,
            filters,
        });
        let mut bytes = vec![1, 2, 3];
        encode(&packet, Version::V311, &mut bytes).unwrap();
        let limit = bytes.len() - 3;
        assert_eq!(
            decode(&bytes[3..], Version::V311, limit),
            Ok(Some((packet, limit)))
        );
    }
}

#[test]
fn what_cannot_be_encoded_leaves_the_output_as_it_was() {
    let long = "x".repeat(65_536);
    let subscribe = Packet::Subscribe(Subscribe {
        id: id(1),
        props: Props::EMPTY,
        filters: vec![
            Subscription::new("a", QoS::AtMostOnce),
            Subscription::new(&long, QoS::AtMostOnce),
        ],
    });
    let mut out = vec![1, 2, 3];
    for (packet, kind) in [
        (publish(&long, b""), PacketType::Publish),
        (subscribe, PacketType::Subscribe),
    ] {
        let result = encode(&packet, Version::V5, &mut out);
        assert_eq!(result, Err(Error::Body(kind, Fault::FieldTooLong)));
        assert_eq!(out, [1, 2, 3]);
    }
    let auth = Packet::Auth(Auth {
        reason: Reason::SUCCESS,
        props: Props::EMPTY,
    });
    assert_eq!(
        encode(&auth, Version::V311, &mut out),
        Err(Error::PacketType(15))
    );
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn a_password_without_user_name_is_not_written_before_5_0() {
    // 3.1.1 [MQTT-3.1.2-22], 5.0 §3.1.2.9.
    let mut connect = Connect {
        version: Version::V311,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: "",
        will: None,
        username: None,
        password: Some(b"token"),
        props: Props::EMPTY,
    };
    let mut out = Vec::new();
    let packet = Packet::Connect(Box::new(connect));
    let error = Error::Body(PacketType::Connect, Fault::PasswordWithoutUserName);
    assert_eq!(encode(&packet, Version::V311, &mut out), Err(error));
    connect.version = Version::V5;
    assert_eq!(
        encode(&Packet::Connect(Box::new(connect)), Version::V5, &mut out),
        Ok(())
    );
}

#[test]
fn a_payload_beyond_the_largest_remaining_length_is_refused() {
    let payload = vec![0; MAX_REMAINING_LENGTH - 2];
    let mut out = Vec::new();
    let result = encode(&publish("t", &payload), Version::V311, &mut out);
    assert!(matches!(
        result,
        Err(Error::PacketTooLarge {
            size: 268_435_461,
            ..
        })
    ));
    assert!(out.is_empty());
}

#[test]
fn errors_name_the_packet_and_the_fault() {
    let error = decode(b"\x36", Version::V5, MAX_PACKET).unwrap_err();
    assert_eq!(error.to_string(), "PUBLISH: QoS 3");
    let error = decode(b"\x83", Version::V5, MAX_PACKET).unwrap_err();
    assert_eq!(error.to_string(), "SUBSCRIBE with fixed header flags 0x3");
    let error = Error::Body(PacketType::Connect, Fault::PropertyRepeated(0x11));
    assert_eq!(error.to_string(), "CONNECT: property repeated (0x11)");
    let error = Error::UnsupportedVersion(6);
    assert_eq!(
        error.to_string(),
        "CONNECT with unsupported protocol level 6"
    );
    assert_eq!(error.reason(), Reason::UNSUPPORTED_PROTOCOL_VERSION);
}

#[test]
fn malformed_packets_and_protocol_errors_are_told_apart() {
    // 5.0 §4.13.1 and the clause of each.
    for (fault, reason) in [
        (Fault::Truncated, Reason::MALFORMED_PACKET),
        (Fault::QoS, Reason::MALFORMED_PACKET),
        (Fault::ConnectFlags(1), Reason::MALFORMED_PACKET),
        (Fault::SubscriptionOptions(0x40), Reason::MALFORMED_PACKET),
        (Fault::Property(0), Reason::MALFORMED_PACKET),
        (Fault::PropertyRepeated(1), Reason::PROTOCOL_ERROR),
        (Fault::PropertyValue(1), Reason::PROTOCOL_ERROR),
        (Fault::NoFilter, Reason::PROTOCOL_ERROR),
        (Fault::NoLocalShared, Reason::PROTOCOL_ERROR),
        (Fault::TopicEmpty, Reason::PROTOCOL_ERROR),
        (Fault::PropertyValue(0x23), Reason::TOPIC_ALIAS_INVALID),
    ] {
        assert_eq!(
            Error::Body(PacketType::Publish, fault).reason(),
            reason,
            "{fault}"
        );
    }
}

/// Where the specification does not say which it is, as in Mosquitto.
#[test]
fn what_the_specification_leaves_open_is_mosquittos() {
    use PacketType::{Publish, Subscribe, Unsubscribe};
    for (kind, reason) in [
        (Publish, Reason::PROTOCOL_ERROR),
        (Subscribe, Reason::MALFORMED_PACKET),
        (Unsubscribe, Reason::MALFORMED_PACKET),
    ] {
        for fault in [Fault::PacketIdZero, Fault::TopicEmpty] {
            assert_eq!(Error::Body(kind, fault).reason(), reason, "{kind}: {fault}");
        }
    }
    assert_eq!(Error::PacketType(0).reason(), Reason::PROTOCOL_ERROR);
}

/// [MQTT-1.5.5-1]: 5.0 has the remaining length in its shortest form, CONNECT's too.
#[test]
fn an_overlong_remaining_length_is_malformed_in_5_0() {
    for (version, taken) in [(4, true), (5, false)] {
        let mut bytes = vec![
            0x10, 0x80, 0x00, 0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 0,
        ];
        bytes.extend(vec![0; usize::from(version == 5)]);
        bytes.extend([0, 1, b'c']);
        bytes[1] |= bytes.len() as u8 - 3;
        let decoded = decode(&bytes, Version::V311, 100);
        if taken {
            assert!(matches!(decoded, Ok(Some((Packet::Connect(_), 16)))));
        } else {
            assert_eq!(decoded, Err(Error::RemainingLength));
        }
    }
}
