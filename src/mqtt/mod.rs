//! The MQTT codec: 3.1, 3.1.1 and 5.0, every packet both ways.
//!
//! One codec with a [`Version`] argument. Decoding borrows from the read buffer and allocates
//! only for lists; encoding appends to a byte vector. No I/O, no clock, no broker state: what
//! needs the state of a connection (topic aliases, packet ids in use) is the session's to check.
//!
//! "3.1.1" in a clause reference means MQTT 3.1.1 (OASIS, 2014), "5.0" MQTT 5.0 (OASIS, 2019).

mod error;
mod faulty;
mod foreign;
mod frame;
mod packets;
mod property;
mod props;
mod reason;
#[cfg(test)]
mod tests;
mod topic;
mod types;
mod wire;

pub use error::{Error, Fault};
pub use faulty::{FAULTY_HEAD, Faulty, FaultyAlias, read_faulty};
pub use foreign::foreign;
pub use frame::{MAX_REMAINING_LENGTH, announced_size, decode, encode, encode_head};
pub use packets::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, RetainHandling, SubAck, Subscribe,
    Subscription, UnsubAck, Unsubscribe, Will,
};
pub use property::Property;
pub use props::{KEPT_PROPS_BYTES, Props, PropsBuf, PublishProps};
pub use reason::Reason;
pub use topic::{MAX_LEVELS, TopicFilter, TopicName, filter_matches, filter_matches_bytes, share};
pub use types::{Delivery, PacketId, PacketType, QoS, Version};
pub use wire::check_string;
