//! The links of a hub, by bridge.

use super::state::{Uplink, status};
use crate::bridge::{Link, Status};
use crate::broker::{BridgeId, ConnId};
use crate::impossible;
use crate::net::hub::{Hub, is_queued};
use crate::net::progress::End;
use crate::time::Time;

impl Hub {
    /// Takes in a link, in the place of an earlier one of its bridge, which has no connection any more.
    /// `bridge` is the broker's end of it. Returns its number, for its task.
    pub fn add_link(&mut self, link: Link, bridge: BridgeId) -> u32 {
        let mut uplink = Uplink::new(link, bridge);
        // A configuration has a handful of bridges.
        let Some(index) = self.index_of(uplink.bridge) else {
            self.uplinks.push(uplink);
            return number(self.uplinks.len() - 1);
        };
        if let Some(place) = self.uplinks.get_mut(index as usize) {
            uplink.link.take_over(&place.link);
            let new = uplink.link.state_topic().map(str::to_owned);
            let old = std::mem::replace(place, uplink);
            place.helpers = old.helpers;
            place.meter = old.meter;
            if let Some(topic) = old.link.state_topic()
                && new.as_deref() != Some(topic)
            {
                self.forget_state(topic);
            }
        }
        index
    }

    /// Nobody is to find the state of a bridge under this topic any more.
    fn forget_state(&mut self, topic: &str) {
        let now = self.now();
        self.broker.publish_own(topic, b"", true, now);
    }

    /// SIGHUP: what a bridge does without is tried again, from its next connection on.
    pub fn retry_given_up(&mut self, bridge: BridgeId) {
        let now = self.now();
        let index = self.index_of(bridge);
        let Some(uplink) = index.and_then(|index| self.uplink(index)) else {
            return;
        };
        uplink.link.forget_given_up();
        if let Some(none) = uplink.link.take_given_up() {
            self.broker.bridge_gives_up(bridge, none, now);
        }
    }

    fn index_of(&self, bridge: BridgeId) -> Option<u32> {
        let at = self.uplinks.iter().position(|u| u.bridge == bridge)?;
        Some(number(at))
    }

    /// What the link of a bridge is at; `None` if there is no such bridge.
    pub fn uplink_status(&self, bridge: BridgeId) -> Option<Status<'_>> {
        status(&self.uplinks, bridge)
    }

    /// True while the bridge has a connection.
    pub fn is_up(&self, bridge: BridgeId) -> bool {
        let index = self.index_of(bridge);
        index.is_some_and(|index| self.uplink_conn(index).is_some())
    }

    /// Ends the connection of a bridge, if it has one, with DISCONNECT. The task that watched over
    /// it is gone. `for_good`: nothing is left of the bridge, not even its state.
    pub fn end_uplink(&mut self, bridge: BridgeId, for_good: bool) {
        let Some(index) = self.index_of(bridge) else {
            return;
        };
        if let Some(id) = self.say_goodbye(index) {
            self.leave(id, &[]);
            self.detach(id, &End::Asked);
            self.announce(index, false);
        }
        let topic = self.uplink(index).and_then(|u| u.link.state_topic());
        if let Some(topic) = topic.filter(|_| for_good).map(str::to_owned) {
            self.forget_state(&topic);
        }
    }

    /// Writes the last of a connection; a WebSocket says so, too.
    pub(super) fn leave(&mut self, id: ConnId, last: &[u8]) {
        self.say(id, last);
        self.end(id);
        let now = self.now();
        self.flush_one(id, now);
    }

    /// The broker stops, and the tasks of the bridges are gone: every connection gets a DISCONNECT
    /// behind what it is still to be sent, for [`Hub::shut_down`] to write.
    pub fn leave_uplinks(&mut self) {
        let up = |index: &u32| self.uplink_conn(*index).is_some();
        let up: Vec<u32> = (0..number(self.uplinks.len())).filter(up).collect();
        // Also for an upstream that a topic line tells of it, which hears nothing after DISCONNECT.
        for index in &up {
            self.announce(*index, false);
        }
        for index in up {
            self.say_goodbye(index);
        }
    }

    /// Takes leave of an upstream. Its connection, if there is one.
    fn say_goodbye(&mut self, index: u32) -> Option<ConnId> {
        let id = self.uplink_conn(index)?;
        let now = self.now();
        let mut out = Vec::new();
        self.uplink(index)?.link.goodbye(now, &mut out);
        self.say(id, &out);
        Some(id)
    }

    /// Has the broker count the bytes that went over the sockets of uplinks.
    pub(in crate::net) fn count_volumes(&mut self, now: Time) {
        let Hub {
            uplinks,
            conns,
            broker,
            ..
        } = self;
        for uplink in uplinks {
            if let Some(id) = uplink.conn()
                && let Some(conn) = conns.get_mut(id.slot()).and_then(Option::as_mut)
                && conn.is(id)
            {
                uplink.moved(conn.take_moved());
            }
            let bytes = uplink.meter.take();
            if bytes > 0 {
                broker.bridge_moved(uplink.bridge, bytes, now);
            }
        }
    }

    /// Tells the links until when all was taken in that their upstreams have sent.
    pub(in crate::net) fn tell_what_was_read(&mut self) {
        for uplink in &mut self.uplinks {
            let waits = uplink.conn().is_some_and(|id| is_queued(&self.conns, id));
            if !waits {
                uplink.link.read_until(self.heard);
            }
        }
    }

    pub(in crate::net) fn uplink(&mut self, index: u32) -> Option<&mut Uplink> {
        self.uplinks.get_mut(index as usize)
    }

    pub(super) fn uplink_conn(&self, index: u32) -> Option<ConnId> {
        self.uplinks.get(index as usize)?.conn()
    }
}

/// The number of the link at this place: a configuration has a handful of bridges.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or_else(|_| {
        impossible!("four billion bridges");
        u32::MAX
    })
}
