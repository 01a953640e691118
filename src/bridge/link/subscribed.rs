//! What our session upstream is subscribed to: the bridge's end of the store keeps it from one
//! process to the next.

use super::Link;

impl Link {
    /// The filters that our session upstream is subscribed to, as far as is known, from
    /// [`take_subscribed`](Link::take_subscribed) of an earlier link. Those that the configuration
    /// no longer has are unsubscribed once the link is up, if the upstream still has the session.
    #[must_use]
    pub fn with_subscribed(mut self, filters: Vec<Box<str>>) -> Link {
        self.requests.restore_subscribed(filters);
        self
    }

    /// The filters that our session upstream is subscribed to, if that has changed since the last
    /// call: to be asked for after each [`packet`](Link::packet), and kept.
    pub fn take_subscribed(&mut self) -> Option<Vec<Box<str>>> {
        self.requests.take_subscribed()
    }
}
