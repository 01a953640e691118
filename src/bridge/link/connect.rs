//! The bridge's CONNECT.

mod probe;

use crate::bridge::Announced;
use crate::bridge::upstream::ladder::Offer;
use crate::config;
use crate::mqtt::{self, Connect, Packet, Property, Props, PropsBuf, QoS, Version, Will, encode};

/// How long an upstream is asked to keep our session where the configuration does not say: a week
/// of outage. Without it an MQTT 5 session ends with its connection, and what comes for us
/// meanwhile is lost. In seconds.
pub(super) const SESSION_EXPIRY: u32 = 7 * 24 * 3600;

/// `bridge_receive_maximum` where the configuration is silent, as Mosquitto announces.
const RECEIVE_MAXIMUM: u16 = 20;

/// Appends the CONNECT, with `password` if it is not the configuration that says it. `state_topic` is
/// where the will goes, if there is to be one.
pub(super) fn write(
    spec: &config::Bridge,
    password: Option<&[u8]>,
    offer: Offer,
    state_topic: Option<&str>,
    out: &mut Vec<u8>,
) -> Result<(), mqtt::Error> {
    let dialect = offer.dialect;
    let spare_id = spare_client_id(spec).filter(|_| !offer.own_client_id);
    let props = properties(spec, dialect.version);
    let connect = Connect {
        version: dialect.version,
        bridge: dialect.bridge,
        clean_start: spec.clean_session,
        keep_alive: u16::try_from(spec.keepalive.as_secs()).unwrap_or(u16::MAX),
        client_id: spare_id.as_deref().unwrap_or(&spec.remote_clientid),
        will: state_topic.map(|topic| Will {
            topic,
            payload: b"0",
            qos: QoS::AtLeastOnce,
            retain: true,
            props: Props::EMPTY,
        }),
        username: spec.remote_username.as_deref(),
        password: password.or(spec.remote_password.as_deref().map(str::as_bytes)),
        props: props.as_props(),
    };
    encode(&Packet::Connect(Box::new(connect)), dialect.version, out)
}

/// The client id for an upstream that refuses HOSTNAME.NAME, in letters, digits and `-`: NATS takes no
/// dot in one, and rumqttd is harmed by some. `None` if that is the same, or the operator chose the
/// client id, by which upstream may know this box.
pub(super) fn spare_client_id(spec: &config::Bridge) -> Option<String> {
    if !spec.has_default_clientid {
        return None;
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let id: String = spec.remote_clientid.chars().map(plain).collect();
    (id != spec.remote_clientid).then_some(id)
}

/// The session expiry interval to ask for, in seconds: [`SESSION_EXPIRY`] for a session that is to
/// last, unless `bridge_session_expiry_interval` says otherwise. Mosquitto asks for none where the
/// version is said, and loses the commands that come while the link is down.
pub(super) fn session_expiry(spec: &config::Bridge) -> Option<u32> {
    let ours = (!spec.clean_session).then_some(SESSION_EXPIRY);
    spec.session_expiry.or(ours)
}

/// What the CONNECT tells the upstream that we take.
pub(super) fn announced(spec: &config::Bridge, version: Version) -> Announced {
    if version != Version::V5 {
        return Announced::default();
    }
    Announced {
        max_packet: spec.max_packet_size,
        topic_alias_max: spec.max_topic_alias.unwrap_or(0),
    }
}

fn properties(spec: &config::Bridge, version: Version) -> PropsBuf {
    let mut props = PropsBuf::new();
    if version != Version::V5 {
        return props;
    }
    let wanted = [
        spec.max_topic_alias.map(Property::TopicAliasMaximum),
        session_expiry(spec).map(Property::SessionExpiry),
        Some(Property::ReceiveMaximum(
            spec.receive_maximum.unwrap_or(RECEIVE_MAXIMUM),
        )),
        spec.max_packet_size.map(Property::MaximumPacketSize),
    ];
    for property in wanted.into_iter().flatten() {
        props.push(property);
    }
    props
}
