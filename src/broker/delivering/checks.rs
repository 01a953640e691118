//! What is asked of every message, whoever publishes it.

use crate::broker::routing::Router;
use crate::broker::sessions::Session;

/// Nobody but the broker publishes under `$SYS`, except that the bridge of another broker, which is a
/// client here, tells its own state there; and `$share` begins filters, not topics. `client`: who
/// publishes; `None` for the upstream of a bridge, which passes on what others have told it.
pub(crate) fn is_reserved(router: &Router, topic: &str, client: Option<&Session>) -> bool {
    let Some(rest) = topic.strip_prefix("$S") else {
        return topic.starts_with("$share");
    };
    let state = rest.strip_prefix("YS/broker/connection/");
    let state = state.and_then(|state| state.strip_suffix("/state"));
    let is_own = state.is_some_and(|name| match client {
        Some(client) => name == client.client_id(),
        None => !name.contains('/'),
    });
    rest.starts_with("YS") && (!is_own || is_ours(router, topic))
}

/// Whether the broker itself has told something there: the state of a bridge of its own, whose name a
/// client could take for its client id.
fn is_ours(router: &Router, topic: &str) -> bool {
    let told = router.retained_at(topic);
    told.is_some_and(|value| value.origin().client_id().is_empty())
}

/// False for a payload that is said to be UTF-8 and is not (5.0 §3.3.2.3.2). Like one without the
/// right to publish, it is refused at QoS 1 and 2, and dropped at QoS 0. A bridge passes on what the
/// upstream has accepted: to refuse it would only lose it.
pub(crate) fn is_in_format(is_text: bool, payload: &[u8]) -> bool {
    !is_text || std::str::from_utf8(payload).is_ok()
}
