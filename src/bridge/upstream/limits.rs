//! What an upstream allows, as its CONNACK says.

use std::time::Duration;

use crate::mqtt::{ConnAck, QoS, Version};

/// What the upstream allows on the connection that has just come up. Before MQTT 5 a CONNACK
/// says nothing about limits; then they are the protocol's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The protocol version spoken.
    pub version: Version,
    /// The upstream still has our session: unacknowledged messages may be sent again.
    pub session_present: bool,
    /// The most QoS 1 and 2 publishes that may be unacknowledged at once [MQTT-3.3.4-9].
    pub receive_maximum: u16,
    /// The most QoS 2 publishes that may be between PUBLISH and PUBCOMP. Before MQTT 5 no upstream
    /// says; Mosquitto completes the handshakes of what goes beyond its 20, and drops it.
    pub max_qos2: u16,
    /// The largest packet taken, in bytes [MQTT-3.2.2-15]; `None` is the protocol's limit.
    pub max_packet: Option<u32>,
    /// The highest topic alias [MQTT-3.2.2-17]; 0 for none.
    pub topic_alias_max: u16,
    /// The highest QoS of a publish [MQTT-3.2.2-11].
    pub max_qos: QoS,
    /// Publishes may carry the RETAIN flag [MQTT-3.2.2-14].
    pub retain_available: bool,
    /// Subscriptions may contain wildcards (5.0 §3.2.2.3.11).
    pub wildcards_available: bool,
    /// Subscriptions may be shared (5.0 §3.2.2.3.13).
    pub shared_available: bool,
    /// For how long the upstream keeps the session, if it says so: less than was asked for.
    pub session_expiry: Option<Duration>,
    /// The keep-alive in use: the upstream's own [MQTT-3.1.2-21] or ours.
    pub keep_alive: Duration,
    /// How long its CONNACK took: the delay of the link at most, with nothing else on its way.
    pub delay: Option<Duration>,
    /// What our CONNECT has told the upstream.
    pub announced: Announced,
}

/// What an upstream was told that we take: it must not go beyond. Its Receive Maximum is not in
/// here: Mosquitto 2.0 exceeds that when it resumes a session, and to cut it off would only bring
/// the same messages again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// Largest packet in bytes [MQTT-3.1.2-24]; `None` is our own limit.
    pub max_packet: Option<u32>,
    /// Highest topic alias [MQTT-3.1.2-26].
    pub topic_alias_max: u16,
}

impl Limits {
    /// These, and no packet larger than `own` bytes: `bridge_max_packet_size`.
    #[must_use]
    pub(in crate::bridge) fn with_max_packet(mut self, own: Option<u32>) -> Limits {
        self.max_packet = [self.max_packet, own].into_iter().flatten().min();
        self
    }

    /// These, and no more QoS 2 under way than `own`, if that is set: `bridge_max_inflight_qos2`,
    /// where 0 is no limit.
    #[must_use]
    pub(in crate::bridge) fn with_max_qos2(mut self, own: Option<u16>) -> Limits {
        match own {
            None => {}
            Some(0) => self.max_qos2 = u16::MAX,
            Some(own) => self.max_qos2 = own,
        }
        self
    }

    /// These, of an upstream whose CONNACK took so long.
    #[must_use]
    pub(in crate::bridge) fn with_delay(mut self, delay: Duration) -> Limits {
        self.delay = Some(delay);
        self
    }

    /// Those of an upstream that names none.
    pub fn unnamed(version: Version, keep_alive: Duration) -> Limits {
        Limits {
            version,
            session_present: false,
            receive_maximum: u16::MAX,
            max_qos2: if version < Version::V5 { 20 } else { u16::MAX },
            max_packet: None,
            topic_alias_max: 0,
            max_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcards_available: true,
            shared_available: true,
            session_expiry: None,
            keep_alive,
            delay: None,
            announced: Announced::default(),
        }
    }

    /// Reads a CONNACK that accepts. `keep_alive` and `announced` are what the CONNECT said.
    pub(in crate::bridge) fn new(
        connack: &ConnAck<'_>,
        version: Version,
        keep_alive: Duration,
        announced: Announced,
    ) -> Limits {
        let props = connack.props;
        let server_keep_alive = props.server_keep_alive().unwrap_or(0);
        let unnamed = Limits::unnamed(version, keep_alive);
        let max_qos = props.maximum_qos().and_then(QoS::from_bits);
        let expiry = props.session_expiry();
        Limits {
            session_present: connack.session_present,
            receive_maximum: props.receive_maximum().unwrap_or(unnamed.receive_maximum),
            max_packet: props.maximum_packet_size(),
            topic_alias_max: props.topic_alias_maximum().unwrap_or(0),
            max_qos: max_qos.unwrap_or(unnamed.max_qos),
            retain_available: props.retain_available() != Some(0),
            wildcards_available: props.wildcard_subscription_available() != Some(0),
            shared_available: props.shared_subscription_available() != Some(0),
            session_expiry: expiry.map(|secs| Duration::from_secs(secs.into())),
            announced,
            // A server that turns keep-alive off (0) still gets pings: they tell us that the
            // link is alive.
            keep_alive: match server_keep_alive {
                0 => keep_alive,
                secs => Duration::from_secs(secs.into()),
            },
            ..unnamed
        }
    }
}
