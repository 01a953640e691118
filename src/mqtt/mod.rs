//! The MQTT codec: 3.1, 3.1.1 and 5.0, every packet both ways.
//!
//! One codec with a [`Version`] argument. Decoding borrows from the read buffer and allocates
//! only for lists; encoding appends to a byte vector. No I/O, no clock, no broker state: what
//! needs the state of a connection (topic aliases, packet ids in use) is the session's to check.
//!
//! "3.1.1" in a clause reference means MQTT 3.1.1 (OASIS, 2014), "5.0" MQTT 5.0 (OASIS, 2019).

mod ack;
mod connect;
mod error;
mod frame;
mod packet;
mod property;
mod props;
mod publish;
mod reason;
mod subscribe;
#[cfg(test)]
mod tests;
mod topic;
mod wire;

pub use connect::{ConnAck, Connect, Will};
pub use error::{Error, Fault};
pub use frame::{MAX_REMAINING_LENGTH, announced_size, decode, encode, encode_head};
pub use packet::{Ack, Auth, Delivery, Disconnect, Packet, PacketId, PacketType, QoS, Version};
pub use property::Property;
pub use props::{Props, PropsBuf, PublishProps};
pub use publish::Publish;
pub use reason::Reason;
pub use subscribe::{RetainHandling, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe};
pub use topic::{MAX_LEVELS, TopicFilter, TopicName, filter_matches, share};
