//! Whether the broker does what it is for, for watchdogs and load balancers.

use std::time::Duration;

use super::Links;
use crate::broker::Broker;
use crate::json::Value;
use crate::time::Time;

/// A commit that takes longer is none any more: the disk hangs.
const LONGEST_COMMIT: Duration = Duration::from_secs(30);

/// What only the sockets know of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Listeners of the configuration that wait for their address or port.
    pub waiting: usize,
    /// Listeners that can accept nothing for now: descriptors or memory have run out.
    pub resting: usize,
    /// For how long the commit that is under way has been.
    pub committing: Duration,
}

impl Health {
    /// Whether all is well, and the same as JSON with the state of each bridge. That an uplink is down
    /// is no fault of the broker's: it does then what it is for.
    pub fn tell(&self, broker: &Broker, links: Links<'_, '_>, now: Time) -> (bool, String) {
        let disk = broker.disk();
        // Not why: that may name paths.
        let store = match () {
            () if disk.stalled.is_some() => "failing",
            () if disk.full => "full",
            () if self.committing > LONGEST_COMMIT => "hanging",
            () => "ok",
        };
        let listeners = match () {
            () if self.waiting > 0 => "waiting",
            () if self.resting > 0 => "resting",
            () => "ok",
        };
        let is_well = store == "ok" && listeners == "ok";
        let bridges = broker.bridges().filter_map(links).map(|status| {
            Value::object([
                ("name", status.name.into()),
                ("state", status.phase.word().into()),
            ])
        });
        let told = Value::object([
            ("status", if is_well { "ok" } else { "failing" }.into()),
            ("store", store.into()),
            ("listeners", listeners.into()),
            ("bridges", Value::List(bridges.collect())),
            ("time", now.as_secs().into()),
        ]);
        let mut text = String::new();
        told.write(&mut text);
        text.push('\n');
        (is_well, text)
    }
}
