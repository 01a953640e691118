//! The MQTT codec: 3.1, 3.1.1 and 5.0, every packet both ways.
//!
//! One codec with a [`Version`] argument. Decoding borrows from the read buffer and allocates
//! only for lists; encoding appends to a byte vector. No I/O, no clock, no broker state: what
//! needs the state of a connection (topic aliases, packet ids in use) is the session's to check.
//!
//! "3.1.1" in a clause reference means MQTT 3.1.1 (OASIS, 2014), "5.0" MQTT 5.0 (OASIS, 2019).

mod connect;
mod error;
mod frame;
mod packet;
mod props;
mod publish;
mod reason;
mod subscribe;
mod topic;
mod wire;

pub use connect::{ConnAck, Connect, Will};
pub use error::Error;
pub use frame::{decode, encode, MAX_REMAINING_LENGTH};
pub use packet::{Ack, Auth, Delivery, Disconnect, Packet, PacketId, QoS, Version};
pub use props::{Property, Props, PropsBuf};
pub use publish::Publish;
pub use reason::Reason;
pub use subscribe::{RetainHandling, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe};
pub use topic::{filter_matches, TopicFilter, TopicName};
