//! PUBLISH packets that wait for room.

use super::{Connection, Connections, Parked};
use crate::broker::routing::Retention;
use crate::keys::ConnId;

impl Connections {
    /// Lets a PUBLISH wait for room.
    pub(crate) fn park(&mut self, c: ConnId, parked: Parked) {
        if self.table.get_mut(c).is_some_and(|conn| conn.park(parked)) {
            self.parked.push(c);
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

    /// The connections with a parked PUBLISH, to be tried again.
    pub(crate) fn take_parked(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.parked)
    }

    /// True if a PUBLISH waits for room.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}
