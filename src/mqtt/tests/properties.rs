//! Property sections.

use super::property::{Place, check};
use super::*;

/// One property of each identifier, in the order of the identifiers.
pub(super) const EACH: [Property<'static>; 27] = [
    Property::PayloadFormat(1),
    Property::MessageExpiry(2),
    Property::ContentType("content"),
    Property::ResponseTopic("re/sponse"),
    Property::CorrelationData(b"\0\xff"),
    Property::SubscriptionId(268_435_455),
    Property::SessionExpiry(u32::MAX),
    Property::AssignedClientId("assigned"),
    Property::ServerKeepAlive(3),
    Property::AuthMethod("method"),
    Property::AuthData(b"data"),
    Property::RequestProblemInfo(0),
    Property::WillDelay(4),
    Property::RequestResponseInfo(1),
    Property::ResponseInfo("info"),
    Property::ServerReference("server"),
    Property::ReasonString("reason"),
    Property::ReceiveMaximum(5),
    Property::TopicAliasMaximum(0),
    Property::TopicAlias(6),
    Property::MaximumQoS(1),
    Property::RetainAvailable(0),
    Property::User("name", "välue"),
    Property::MaximumPacketSize(7),
    Property::WildcardSubscriptionAvailable(1),
    Property::SubscriptionIdAvailable(0),
    Property::SharedSubscriptionAvailable(1),
];

fn section(properties: &[Property<'_>]) -> PropsBuf {
    let mut buf = PropsBuf::new();
    for &property in properties {
        assert!(buf.push(property));
    }
    buf
}

#[test]
fn each_property_reads_back_as_it_was_written() {
    let buf = section(&EACH);
    assert_eq!(buf.as_props().iter().collect::<Vec<_>>(), EACH);
    assert!(format!("{buf:?}").starts_with("[PayloadFormat(1), MessageExpiry(2), "));
}

#[test]
fn each_packet_carries_the_properties_of_table_2_4_only() {
    use PacketType::*;
    // 5.0 table 2-4; None is the will.
    let message = vec![Some(Publish), None];
    let acks = [
        ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth,
    ]
    .map(Some);
    let both = vec![Some(Connect), Some(ConnAck)];
    let connack = vec![Some(ConnAck)];
    let mut everywhere = acks.to_vec();
    everywhere.extend([
        Some(Connect),
        Some(Publish),
        Some(Subscribe),
        Some(Unsubscribe),
        None,
    ]);
    let places = [
        message.clone(),
        message.clone(),
        message.clone(),
        message.clone(),
        message.clone(),
        vec![Some(Publish), Some(Subscribe)],
        vec![Some(Connect), Some(ConnAck), Some(Disconnect)],
        connack.clone(),
        connack.clone(),
        vec![Some(Connect), Some(ConnAck), Some(Auth)],
        vec![Some(Connect), Some(ConnAck), Some(Auth)],
        vec![Some(Connect)],
        vec![None],
        vec![Some(Connect)],
        connack.clone(),
        vec![Some(ConnAck), Some(Disconnect)],
        acks.to_vec(),
        both.clone(),
        both.clone(),
        vec![Some(Publish)],
        connack.clone(),
        connack.clone(),
        everywhere,
        both,
        connack.clone(),
        connack.clone(),
        connack,
    ];
    let kinds = (1..=15).filter_map(|bits| PacketType::from_bits(bits, Version::V5));
    for kind in kinds.map(Some).chain([None]) {
        let place = kind.map_or(Place::Will, Place::Packet);
        for (property, places) in EACH.iter().zip(&places) {
            let alone = check(section(&[*property]).as_props().as_bytes(), place);
            let misplaced = matches!(alone, Err(Fault::Property(_)));
            assert_eq!(
                misplaced,
                !places.contains(&kind),
                "{property:?} in {kind:?}"
            );
        }
    }
}

#[test]
fn only_user_properties_and_subscription_identifiers_of_publish_may_repeat() {
    // 5.0 §3.3.2.3.7, §3.3.2.3.8.
    let publish = Place::Packet(PacketType::Publish);
    let twice = |property| section(&[property, property]);
    for property in EACH
        .into_iter()
        .filter(|property| check(section(&[*property]).as_props().as_bytes(), publish).is_ok())
    {
        let result = check(twice(property).as_props().as_bytes(), publish);
        match property {
            Property::User(..) | Property::SubscriptionId(_) => assert_eq!(result, Ok(())),
            _ => assert!(matches!(result, Err(Fault::PropertyRepeated(_)))),
        }
    }
    let subscribe = Place::Packet(PacketType::Subscribe);
    let ids = twice(Property::SubscriptionId(1));
    let error = Err(Fault::PropertyRepeated(0x0b));
    assert_eq!(check(ids.as_props().as_bytes(), subscribe), error);
    let users = twice(Property::User("a", "b"));
    assert_eq!(check(users.as_props().as_bytes(), subscribe), Ok(()));
}

#[test]
fn getters_find_their_property_and_none_other() {
    let buf = section(&EACH);
    let props = buf.as_props();
    assert_eq!(props.message_expiry(), Some(2));
    assert_eq!(props.content_type(), Some("content"));
    assert_eq!(props.response_topic(), Some("re/sponse"));
    assert_eq!(props.session_expiry(), Some(u32::MAX));
    assert_eq!(props.assigned_client_id(), Some("assigned"));
    assert_eq!(props.server_keep_alive(), Some(3));
    assert_eq!(props.auth_method(), Some("method"));
    assert_eq!(props.auth_data(), Some(&b"data"[..]));
    assert_eq!(props.request_problem_info(), Some(0));
    assert_eq!(props.request_response_info(), Some(1));
    assert_eq!(props.will_delay(), Some(4));
    assert_eq!(props.server_reference(), Some("server"));
    assert_eq!(props.reason_string(), Some("reason"));
    assert_eq!(props.receive_maximum(), Some(5));
    assert_eq!(props.topic_alias_maximum(), Some(0));
    assert_eq!(props.topic_alias(), Some(6));
    assert_eq!(props.maximum_qos(), Some(1));
    assert_eq!(props.retain_available(), Some(0));
    assert_eq!(props.maximum_packet_size(), Some(7));
    assert_eq!(props.wildcard_subscription_available(), Some(1));
    assert_eq!(props.subscription_id_available(), Some(0));
    assert_eq!(props.shared_subscription_available(), Some(1));
    assert_eq!(props.subscription_ids().collect::<Vec<_>>(), [268_435_455]);
    assert_eq!(Props::EMPTY.message_expiry(), None);
    assert_eq!(Props::EMPTY.subscription_ids().count(), 0);
    assert!(Props::EMPTY.is_empty() && !props.is_empty());
}

#[test]
fn what_a_receiver_gets_is_forwarded_byte_for_byte_in_order() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20].
    let buf = section(&[
        Property::User("b", "1"),
        Property::MessageExpiry(1),
        Property::CorrelationData(b"c"),
        Property::TopicAlias(1),
        Property::ResponseTopic("r"),
        Property::SubscriptionId(1),
        Property::User("a", "2"),
        Property::WillDelay(1),
        Property::ContentType("t"),
        Property::PayloadFormat(0),
    ]);
    let expected = section(&[
        Property::User("b", "1"),
        Property::CorrelationData(b"c"),
        Property::ResponseTopic("r"),
        Property::User("a", "2"),
        Property::ContentType("t"),
        Property::PayloadFormat(0),
    ]);
    let mut out = Vec::new();
    buf.as_props().read_publish(&mut out);
    assert_eq!(Props::from_checked(&out), expected.as_props());
    let mut copy = PropsBuf::new();
    copy.extend_raw(&out);
    assert_eq!(copy, expected);
    copy.clear();
    assert!(copy.as_props().is_empty());
}

#[test]
fn a_damaged_section_stops_the_iteration() {
    let buf = section(&[Property::User("a", "b"), Property::ContentType("c")]);
    let bytes = buf.as_props().as_bytes();
    for len in 0..bytes.len() {
        let damaged = Props::from_checked(&bytes[..len]);
        assert!(damaged.iter().count() < 2);
        damaged.read_publish(&mut Vec::new());
    }
    let garbage = Props::from_checked(b"\xff\xff\xff");
    assert_eq!(garbage.iter().count(), 0);
}

#[test]
fn a_property_that_cannot_be_encoded_is_left_out() {
    let long = "x".repeat(65_536);
    let mut buf = section(&[Property::PayloadFormat(0)]);
    assert!(!buf.push(Property::User("name", &long)));
    assert!(!buf.push(Property::SubscriptionId(268_435_456)));
    assert!(buf.push(Property::ReasonString(&long[1..])));
    assert_eq!(buf.as_props().iter().count(), 2);
}
