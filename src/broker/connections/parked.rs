//! PUBLISH packets that wait for room, and packets whose filters are taken in pieces.

use super::retry::Retry;
use super::{Asked, Connection, Connections, Parked};
use crate::broker::routing::{Behind, Retention};
use crate::keys::ConnId;

impl Connections {
    /// Lets a PUBLISH wait for room.
    pub(crate) fn park(&mut self, c: ConnId, parked: Parked) {
        let conn = self.table.get_mut(c);
        let is_first = conn.is_some_and(|conn| conn.park(usize::MAX, parked));
        // The one that is being tried again stays on the list until it was.
        if is_first && self.retried() != Some(c) {
            self.parked.push_back(c);
        }
    }

    /// Another message is retained on this topic, or its message deleted: what waits to be retained
    /// there is of the past. Returns how many were looked at.
    pub(crate) fn forget_retention(&mut self, topic: &str) -> usize {
        let mut looked_at = 0;
        for c in &self.parked {
            let parked = self.table.get_mut(*c).map(Connection::parked_mut);
            for parked in parked.into_iter().flatten() {
                looked_at += 1;
                if parked.message.topic() == topic {
                    parked.remaining.retention = Retention::Done;
                }
            }
        }
        looked_at
    }

    /// The PUBLISH packets that wait for room.
    pub(crate) fn all_parked(&self) -> impl Iterator<Item = &Parked> {
        let connections = self.parked.iter().filter_map(|c| self.table.get(*c));
        connections.flat_map(Connection::parked)
    }

    /// All that wait for room are to be tried again, once those that are being tried have been.
    pub(crate) fn begin_retry(&mut self) {
        self.retry.left = self.parked.len();
    }

    /// The connection whose parked PUBLISHes are tried again; `None` if all were.
    pub(crate) fn retried(&self) -> Option<ConnId> {
        self.parked.front().copied().filter(|_| self.retry.left > 0)
    }

    /// Takes the next PUBLISH of [`retried`](Connections::retried) that is to be tried, and where those
    /// before it wait. `None`: the next connection is to follow.
    pub(crate) fn next_parked(&mut self) -> Option<(Parked, Vec<Behind>)> {
        let conn = self.retried().and_then(|c| self.table.get_mut(c));
        match conn.and_then(|conn| conn.unpark(self.retry.at)) {
            Some(parked) => Some((parked, std::mem::take(&mut self.retry.behind))),
            None => {
                self.pass_on();
                None
            }
        }
    }

    /// The PUBLISH that [`next_parked`](Connections::next_parked) gave was tried: `waits` if it waits on,
    /// and where those before it do.
    pub(crate) fn tried(&mut self, waits: Option<Parked>, mut behind: Vec<Behind>) {
        let conn = self.retried().and_then(|c| self.table.get_mut(c));
        if let (Some(parked), Some(conn)) = (waits, conn) {
            Behind::note(&mut behind, &parked.remaining);
            conn.park(self.retry.at, parked);
            self.retry.at += 1;
        }
        self.retry.behind = behind;
    }

    /// The next connection is to follow. One with PUBLISHes that wait on comes again with the next
    /// round.
    fn pass_on(&mut self) {
        let Some(c) = self.parked.pop_front() else {
            return;
        };
        self.retry = Retry {
            left: self.retry.left.saturating_sub(1),
            ..Retry::default()
        };
        if self.table.get(c).is_some_and(Connection::has_parked) {
            self.parked.push_back(c);
        }
        self.resume(c);
    }

    /// True if a PUBLISH waits for room.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}

impl Connections {
    /// The filters of a packet are taken in pieces; until all are, nothing more is read from `c`.
    pub(crate) fn ask(&mut self, c: ConnId, asked: Asked) {
        if let Some(conn) = self.table.get_mut(c) {
            conn.set_asked(Some(asked));
            self.asking.push_back(c);
        }
    }

    /// True if the filters of a packet are still to be taken.
    pub(crate) fn has_asked(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Takes the packet whose turn it is. One that is not done goes back with [`Connections::ask`].
    /// `None`: its connection is gone, and another's turn is next.
    pub(crate) fn take_asked(&mut self) -> Option<(ConnId, Asked)> {
        let c = self.asking.pop_front()?;
        Some((c, self.table.get_mut(c).and_then(Connection::take_asked)?))
    }
}
