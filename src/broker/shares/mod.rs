//! Shared subscriptions: joining and leaving groups, and what becomes of the messages of a member
//! that goes.
//!
//! A session numbers its shared subscriptions, and each is a lane of its queue: so what a member
//! leaves behind is found without a look at the rest. In the store a message that came by a share is
//! a row of its own for this one receiver, because it may change hands.
//!
//! A session that goes away leaves its unacknowledged QoS 1 messages and those that were never sent
//! to the others of the group; where a QoS 2 handshake may have begun, the message stays
//! [MQTT-4.8.2-4]. Its queue stays where it is, on disk, and whenever a connected member could be
//! sent something, the next message changes hands. So a backlog is neither read at once nor written
//! anew long before it can be delivered, and a member that comes back in time finds the rest. A
//! session that ends while it has such messages stays without a name until they are gone
//! ([`Role::Ended`](super::sessions::Role::Ended)).

mod give;
pub(crate) mod hand_out;
pub(crate) mod leave;
pub(crate) mod membership;
