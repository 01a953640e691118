//! What the upstreams of bridges have taken.

use crate::broker::sessions::Session;
use crate::time::Time;

/// If this is the session of a bridge, its upstream has taken a message with so many bytes of payload: it has
/// acknowledged it, or was sent it at QoS 0.
pub(crate) fn note_sent(session: &mut Session, payload: usize, now: Time) {
    let owed = session.outbound.owed();
    if let Some(end) = session.bridge_mut() {
        end.activity.note_owed(owed, now);
        end.activity.count_sent(payload, now);
    }
}
