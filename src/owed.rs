//! A message owed to a session.

use crate::lane::Lane;
use crate::message::SessionId;
use crate::mqtt::QoS;

/// To whom a message is owed, in which lane, and how it goes out. Decided when the message is
/// routed; the store's row has it, and it stays with the message to the last acknowledgement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owed {
    /// Who is owed it.
    pub session: SessionId,
    /// The lane of the session's queue that it belongs to.
    pub lane: Lane,
    /// Its place in the session's outbound sequence, from which its packet id derives; 0 at QoS 0.
    pub seq: u64,
    /// The QoS to send it at.
    pub qos: QoS,
    /// The RETAIN flag to send.
    pub retain: bool,
    /// The subscription identifiers to send (5.0 §3.3.2.3.8).
    pub sub_ids: Box<[u32]>,
}
