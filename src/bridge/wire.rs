//! The topic map as the broker applies it, message by message, on its way to and from the uplink.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::map::fingerprint;
use super::{Echo, Map};
use crate::message::Message;
use crate::time::Time;

/// What stands between the session of a bridge and its uplink.
#[derive(Debug)]
pub struct Wire {
    map: Rc<Map>,
    /// The RETAIN flag may go out: `bridge_outgoing_retain`, and the upstream allows it.
    retain: Cell<bool>,
    /// A number that stands for the upstream's address.
    upstream: Cell<u64>,
    /// The memory of our own publishes, where the upstream may send them back.
    echo: RefCell<Option<Echo>>,
}

impl Wire {
    /// A wire through `map`.
    pub fn new(map: Rc<Map>) -> Wire {
        Wire {
            map,
            retain: Cell::new(true),
            upstream: Cell::new(0),
            echo: RefCell::new(None),
        }
    }

    /// A wire through `map` to an upstream that takes no RETAIN flag.
    #[cfg(test)]
    pub fn without_retain(map: Rc<Map>) -> Wire {
        let wire = Wire::new(map);
        wire.set(false, false);
        wire
    }

    /// True while our own publishes are remembered.
    #[cfg(test)]
    pub(super) fn watches_echo(&self) -> bool {
        self.echo.borrow().is_some()
    }

    /// The link is up. `retain`: the RETAIN flag may go out. `echoes`: what we publish may come
    /// back; what was sent before a short cut may come back after it, so a memory is kept.
    pub(super) fn set(&self, retain: bool, echoes: bool) {
        self.retain.set(retain);
        let mut echo = self.echo.borrow_mut();
        if echoes {
            echo.get_or_insert_default();
        } else {
            *echo = None;
        }
    }

    /// The upstream is the one at this address.
    pub fn set_address(&self, address: Option<&(String, u16)>) {
        let upstream = address.map(|(host, port)| {
            let port = port.to_string();
            fingerprint([host.as_bytes(), port.as_bytes()].into_iter())
        });
        self.upstream.set(upstream.unwrap_or_default());
    }

    /// A number that stands for the upstream's address.
    pub fn upstream(&self) -> u64 {
        self.upstream.get()
    }

    /// The topic map.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Writes the remote topic of an outgoing message to `topic`, by the line that was decided when
    /// it was queued, which has the place `line` by now. False if it is not to be sent.
    pub fn outward(
        &self,
        line: Option<usize>,
        message: &Message,
        topic: &mut String,
        now: Time,
    ) -> bool {
        if self.map.outward(line, message.topic(), topic).is_none() {
            return false;
        }
        if let Some(echo) = self.echo.borrow_mut().as_mut() {
            echo.sent(topic, message.payload(), now);
        }
        true
    }

    /// Writes the local topic of an incoming message to `topic`. False if it is not to be taken in
    /// (no line maps it, or it is an echo of our own).
    pub fn inward(&self, remote: &str, payload: &[u8], topic: &mut String, now: Time) -> bool {
        let ours = self
            .echo
            .borrow_mut()
            .as_mut()
            .is_some_and(|echo| echo.is_ours(remote, payload, now));
        !ours && self.map.inward(remote, topic).is_some()
    }

    /// The RETAIN flag to send for a message that has `retain`.
    pub fn retain(&self, retain: bool) -> bool {
        retain && self.retain.get()
    }
}
