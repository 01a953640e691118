//! The end of a connection that the operator wants ended.

use log::info;

use crate::bridge::link::Link;
use crate::bridge::link::state::State;
use crate::config::log_type::NOTICE;
use crate::mqtt::{Delivery, Disconnect, Error, Packet, Props, Publish, Reason, encode};
use crate::time::Time;

impl Link {
    /// Appends what an upstream is told when the connection ends on purpose: the state, which
    /// DISCONNECT keeps the will from telling [MQTT-3.14.4-3], and DISCONNECT. The link wants to
    /// connect again at once.
    pub fn goodbye(&mut self, now: Time, out: &mut Vec<u8>) {
        if self.take_leave(out) {
            info!(target: NOTICE, "Bridge {}: disconnected.", self.spec.name);
        }
        self.enter(State::Waiting { until: now }, now);
    }

    /// Appends what an upstream is told at the end. False if there is no connection.
    pub(super) fn take_leave(&self, out: &mut Vec<u8>) -> bool {
        let State::Up(up) = &self.state else {
            return false;
        };
        let version = up.limits.version;
        let told = match self.notifications.upstream() {
            Some(topic) => encode(&state(topic), version, out),
            None => Ok::<(), Error>(()),
        };
        let disconnect = Packet::Disconnect(Disconnect {
            reason: Reason::SUCCESS,
            props: Props::EMPTY,
        });
        if told
            .and_then(|()| encode(&disconnect, version, out))
            .is_err()
        {
            // Then the connection ends without a word, and the will says it.
            out.clear();
        }
        true
    }
}

/// The notification that the bridge is down.
fn state(topic: &str) -> Packet<'_> {
    Packet::Publish(Publish {
        topic,
        payload: b"0",
        delivery: Delivery::AtMostOnce,
        retain: true,
        props: Props::EMPTY,
    })
}
