//! The bridges of the configuration: the sessions that are their local ends.

pub(crate) mod attach;
mod blame;
mod former;
mod pacing;
mod renamed;
mod uplinks;

pub(crate) use former::is_own;

use crate::keys::SessionKey;

/// A bridge: its index among the `connection` sections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BridgeId(usize);

/// The local ends of the bridges that the configuration has.
#[derive(Debug, Default)]
pub(crate) struct Bridges {
    /// `None` for one that was removed.
    ends: Vec<Option<SessionKey>>,
    /// The configuration has been read: these are all.
    are_known: bool,
}

impl Bridges {
    /// The session of a bridge.
    pub(crate) fn get(&self, bridge: BridgeId) -> Option<SessionKey> {
        self.ends.get(bridge.0).copied().flatten()
    }

    /// All bridges, with their sessions.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (BridgeId, SessionKey)> {
        let ends = self.ends.iter().enumerate();
        ends.filter_map(|(at, end)| Some((BridgeId(at), (*end)?)))
    }

    /// The sessions of all bridges.
    pub(crate) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.ends.iter().copied().flatten()
    }

    /// True once they are those of the configuration; before, the store may know of others.
    pub(crate) fn are_known(&self) -> bool {
        self.are_known
    }

    /// These are those of the configuration.
    pub(crate) fn mark_known(&mut self) {
        self.are_known = true;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys().count()
    }

    /// True if it is the session of a bridge that the configuration has.
    pub(crate) fn has(&self, key: SessionKey) -> bool {
        self.keys().any(|known| known == key)
    }

    /// The bridge whose session was `old`, or one whose number is free, or a new one, has the
    /// session `key` from now on.
    pub(crate) fn set(&mut self, old: Option<SessionKey>, key: SessionKey) -> BridgeId {
        self.are_known = true;
        let known = old.and_then(|old| self.ends.iter().position(|at| *at == Some(old)));
        let place = known.or_else(|| self.ends.iter().position(Option::is_none));
        let at = place.unwrap_or_else(|| {
            self.ends.push(None);
            self.ends.len() - 1
        });
        if let Some(end) = self.ends.get_mut(at) {
            *end = Some(key);
        }
        BridgeId(at)
    }

    /// The configuration no longer has this bridge. Returns its session.
    pub(crate) fn remove(&mut self, bridge: BridgeId) -> Option<SessionKey> {
        self.ends.get_mut(bridge.0)?.take()
    }
}
