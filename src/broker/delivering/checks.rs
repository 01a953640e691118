//! What is asked of every message, whoever publishes it.

use crate::mqtt::filter_matches;

/// Nobody but the broker publishes under `$SYS`, except that other brokers' bridges tell their state
/// there; and `$share` begins filters, not topics.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic.starts_with("$share")
        || topic.starts_with("$SYS") && !filter_matches("$SYS/broker/connection/+/state", topic)
}

/// False for a payload that is said to be UTF-8 and is not (5.0 §3.3.2.3.2). Like one without the
/// right to publish, it is refused at QoS 1 and 2, and dropped at QoS 0. A bridge passes on what the
/// upstream has accepted: to refuse it would only lose it.
pub(crate) fn is_in_format(is_text: bool, payload: &[u8]) -> bool {
    !is_text || std::str::from_utf8(payload).is_ok()
}
