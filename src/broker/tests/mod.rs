//! Conversations with a broker on virtual time, each named after what the specification or the
//! design promises, and a seeded simulation of many clients.

mod world;

mod account;
mod acks;
mod asked;
mod auth_socket;
mod bounds;
mod bridge;
mod bridge_ids;
mod changed;
mod clauses;
mod connect;
mod dead;
mod directives;
mod disk;
mod doors;
mod endings;
mod expiry;
mod extremes;
mod flash;
mod isolated;
mod lanes;
mod limits;
mod listeners;
mod local_first;
mod logins;
mod low;
mod memory;
mod offline;
mod operator;
mod overflow;
mod pieces;
mod queue;
mod refused;
mod refused_in_ram;
mod releases;
mod relief;
mod reload;
mod replies;
mod resend;
mod retained;
mod session;
mod shared;
mod sim;
mod spread;
mod state;
mod subscribe;
mod subscribed;
mod uplink_figures;
mod upstream;
mod upstream_faults;
mod walks;
mod will;

use std::time::Duration;

use world::{Arrived, Dial, Got, Peer, World, pid, settings};

use crate::mqtt::{Delivery, QoS, Reason, Subscription, Version};

/// Both versions that clients speak.
const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// The success of an acknowledgement.
const OK: Reason = Reason::SUCCESS;

/// No messages.
const NONE: [&str; 0] = [];

/// Milliseconds.
const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Seconds.
const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// QoS 1 under `id`.
fn qos1(id: u16) -> Delivery {
    Delivery::AtLeastOnce(pid(id), false)
}

/// QoS 2 under `id`.
fn qos2(id: u16) -> Delivery {
    Delivery::ExactlyOnce(pid(id), false)
}

impl World {
    /// A client with a session that ends with its connection.
    fn clean(&mut self, version: Version, id: &str) -> Peer {
        self.connect(&Dial::clean(version, id)).0
    }

    /// A client with a session that outlives its connection.
    fn durable(&mut self, version: Version, id: &str) -> Peer {
        self.connect(&Dial::durable(version, id)).0
    }

    /// Subscribes and takes in the SUBACK.
    fn listen(&mut self, peer: Peer, filter: &str, qos: QoS) {
        self.subscribe(peer, 1000, &[Subscription::new(filter, qos)]);
        self.pass(ms(300));
        let suback = Got::SubAck(1000, vec![Reason(qos as u8)]);
        assert_eq!(self.next(peer), Some(suback));
    }

    /// The PUBLISH packets that came; anything else is a failure.
    fn messages(&mut self, peer: Peer) -> Vec<Arrived> {
        let message = |got| match got {
            Got::Publish(arrived) => arrived,
            other => panic!("not a PUBLISH: {other:?}"),
        };
        self.got(peer).into_iter().map(message).collect()
    }

    /// The one PUBLISH that came.
    fn message(&mut self, peer: Peer) -> Arrived {
        let mut messages = self.messages(peer);
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }

    /// The payloads of the messages that came.
    fn payloads(&mut self, peer: Peer) -> Vec<String> {
        let messages = self.messages(peer);
        messages.into_iter().map(|m| m.payload).collect()
    }
}
