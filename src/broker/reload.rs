//! What changes while the broker runs: settings, and bridges that go.

use super::{BridgeId, Broker};
use crate::config::General;
use crate::time::Time;

/// Stands for the session of a bridge that was removed.
pub(super) const NOBODY: usize = usize::MAX;

impl Broker {
    /// Other settings from now on. What was agreed on with a client when it connected stays until
    /// it connects again; bounds of queues hold at once. What concerns the store does not change.
    pub fn set_general(&mut self, general: &General, now: Time) {
        self.settings = general.clone();
        let sessions: Vec<usize> = self.sessions.iter().map(|(index, _)| index).collect();
        for index in sessions {
            self.heed_policy(index);
            self.trim(index, now);
        }
        // Maybe there is room now.
        self.shared.estates.look_at_all();
        self.retry_parked(now);
        self.settle(now);
    }

    /// The configuration no longer has this bridge, whose uplink has ended. It takes nothing in any
    /// more. Messages that wait for it stay: the line may be missing by mistake, and a bridge that
    /// comes back with its client id finds them. The next start drops them
    /// ([`Broker::drop_orphan_bridges`]).
    pub fn remove_bridge(&mut self, bridge: BridgeId, now: Time) {
        let Some(place) = self.bridges.get_mut(bridge.0) else {
            return;
        };
        let index = std::mem::replace(place, NOBODY);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let id = session.client_id();
        let left = session.outbound.len();
        if left == 0 || !session.is_durable() {
            log::info!("Bridge {id} was removed; nothing waited for it.");
            return self.end_session(index, now);
        }
        log::warn!(
            "Bridge {id} was removed: {left} queued messages stay, in case it comes back. The \
             next start drops them."
        );
        for subscribed in std::mem::take(&mut session.subscriptions) {
            self.trie.remove(&subscribed.filter, index as u32);
        }
        self.unsave_identity(index);
        self.store.promise(now);
        self.settle(now);
    }
}
