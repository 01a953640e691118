//! The topic map as the broker applies it, message by message, on its way to and from the uplink.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::{Echo, Map};
use crate::message::Message;
use crate::mqtt::{PacketId, QoS};
use crate::time::Time;

/// What an upstream returns of what we publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Returns {
    /// Nothing.
    Nothing,
    /// Nothing, if it does as it was asked to.
    Perhaps,
    /// All that one of our filters matches.
    Ours,
}

/// What becomes of a message that comes from upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inward {
    /// It is taken in.
    Taken,
    /// It is one of our own that has come back.
    Echo,
    /// No `topic` line takes it in.
    NotMapped,
}

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
    /// One message goes out at a time.
    is_careful: Cell<bool>,
    /// None goes out for now.
    is_shut: Cell<bool>,
    /// Something was sent at QoS 0, and no ping behind it was answered.
    is_qos0_open: Cell<bool>,
    /// A ping was sent behind that.
    is_pinged: Cell<bool>,
    /// The largest message that was sent on this connection at QoS 1 or 2 and not acknowledged, with its
    /// size. On a careful connection there is no other.
    under_way: Cell<Option<(PacketId, usize)>>,
    /// The size of the message that has got its topic upstream last: topic and payload, in bytes.
    named_size: Cell<usize>,
    /// That of the last message that was sent.
    last_size: Cell<usize>,
    /// The topic upstream of the last message that was sent, on a careful connection.
    last_topic: RefCell<Option<Box<str>>>,
    /// The topics upstream on which the upstream closes the connection; few.
    forbidden: RefCell<Vec<Box<str>>>,
    /// The largest message on which it does not close the connection.
    largest: Cell<usize>,
}

impl Wire {
    /// A wire through `map`.
    pub fn new(map: Rc<Map>) -> Wire {
        Wire {
            map,
            retain: Cell::new(true),
            upstream: Cell::new(0),
            echo: RefCell::new(None),
            is_careful: Cell::new(false),
            is_shut: Cell::new(false),
            is_qos0_open: Cell::new(false),
            is_pinged: Cell::new(false),
            under_way: Cell::new(None),
            named_size: Cell::new(0),
            last_size: Cell::new(0),
            last_topic: RefCell::new(None),
            forbidden: RefCell::new(Vec::new()),
            largest: Cell::new(usize::MAX),
        }
    }

    /// A connection begins. On a careful one no message goes out before [`Wire::open`], and then one at
    /// a time.
    pub(super) fn begin(&self, is_careful: bool) {
        self.is_careful.set(is_careful);
        self.is_shut.set(is_careful);
        self.is_qos0_open.set(false);
        self.under_way.set(None);
        self.last_topic.replace(None);
    }

    /// A careful connection goes on as others do.
    pub(super) fn end_careful(&self) {
        self.is_careful.set(false);
        self.is_shut.set(false);
        self.last_topic.replace(None);
    }

    /// No message goes out any more on this connection.
    pub(super) fn shut(&self) {
        self.is_shut.set(true);
    }

    /// The first message may go out.
    pub(super) fn open(&self) {
        self.is_shut.set(false);
    }

    /// A ping goes out.
    pub(super) fn pinged(&self) {
        self.is_pinged.set(self.is_qos0_open.get());
    }

    /// A ping was answered: true if something that was sent at QoS 0 before it has arrived by that.
    pub(super) fn arrived(&self) -> bool {
        let has_arrived = self.is_pinged.replace(false);
        if has_arrived {
            self.is_qos0_open.set(false);
        }
        has_arrived
    }

    /// A message was acknowledged to the end. Its size, if it is the largest that was under way: others
    /// prove less, and those that an earlier connection sent prove nothing about what this one did.
    pub(super) fn acknowledged(&self, id: PacketId) -> Option<usize> {
        let (_, size) = self.under_way.get().filter(|(sent, _)| *sent == id)?;
        self.under_way.set(None);
        Some(size)
    }

    /// True if something was sent at QoS 0 that may not have arrived.
    pub(super) fn is_qos0_open(&self) -> bool {
        self.is_qos0_open.get()
    }

    /// True if the next message waits for that.
    pub(super) fn awaits_arrival(&self) -> bool {
        self.is_careful.get() && self.is_qos0_open.get()
    }

    /// The topic upstream of the last message that was sent, on a careful connection.
    pub(super) fn last_topic(&self) -> Option<Box<str>> {
        self.last_topic.borrow().clone()
    }

    /// The size of the last message that was sent: topic upstream and payload, in bytes.
    pub(super) fn last_size(&self) -> usize {
        self.last_size.get()
    }

    /// What goes to these topics upstream goes there no more, nor what is larger than that.
    pub(super) fn forbid(&self, topics: Vec<Box<str>>, largest: Option<usize>) {
        self.forbidden.replace(topics);
        self.largest.set(largest.unwrap_or(usize::MAX));
    }

    /// True while a message may go out.
    pub fn takes_message(&self) -> bool {
        let waits = self.is_careful.get() && self.under_way.get().is_some();
        !self.is_shut.get() && !waits && !self.awaits_arrival()
    }

    /// True if the upstream closes the connection on the message that has got this topic by
    /// [`outward`](Wire::outward): on what goes there, or on what is so large.
    pub fn is_forbidden(&self, topic: &str) -> bool {
        if self.named_size.get() > self.largest.get() {
            return true;
        }
        let forbidden = self.forbidden.borrow();
        !forbidden.is_empty() && forbidden.iter().any(|known| **known == *topic)
    }

    /// A message goes out to this topic upstream, with this packet id unless it is at QoS 0.
    pub fn sent(&self, topic: &str, qos: QoS, id: PacketId) {
        let size = self.named_size.get();
        self.last_size.set(size);
        if qos == QoS::AtMostOnce {
            self.is_qos0_open.set(true);
            self.is_pinged.set(false);
        } else if self
            .under_way
            .get()
            .is_none_or(|(_, largest)| size > largest)
        {
            self.under_way.set(Some((id, size)));
        }
        if self.is_careful.get() {
            self.last_topic.replace(Some(topic.into()));
        }
    }

    /// A wire through `map` to an upstream that takes no RETAIN flag.
    #[cfg(test)]
    pub fn without_retain(map: Rc<Map>) -> Wire {
        let wire = Wire::new(map);
        wire.set(false, Returns::Nothing);
        wire
    }

    /// True if our own publishes are recognised when they come back.
    pub(super) fn watches_echo(&self) -> bool {
        self.echo.borrow().as_ref().is_some_and(Echo::is_sure)
    }

    /// The link is up. `retain`: the RETAIN flag may go out. What was sent before a short cut may come
    /// back after it, so a memory is kept.
    pub(super) fn set(&self, retain: bool, returns: Returns) {
        self.retain.set(retain);
        let mut echo = self.echo.borrow_mut();
        match returns {
            Returns::Nothing => *echo = None,
            Returns::Perhaps => *echo = Some(Echo::in_doubt()),
            Returns::Ours if echo.as_ref().is_some_and(Echo::is_sure) => {}
            Returns::Ours => *echo = Some(Echo::new()),
        }
    }

    /// The number of the upstream.
    pub fn set_upstream(&self, upstream: u64) {
        self.upstream.set(upstream);
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
        self.named_size.set(topic.len() + message.payload().len());
        if let Some(echo) = self.echo.borrow_mut().as_mut() {
            echo.sent(topic, message.payload(), now);
        }
        self.echo.borrow_mut().take_if(|echo| echo.is_trusted());
        true
    }

    /// Writes the local topic of an incoming message to `topic`, if it is to be taken in. What has the
    /// marks of the loop guard is not looked for among our own: it has come over other brokers, or the
    /// guard knows it.
    pub fn inward(
        &self,
        (remote, payload): (&str, &[u8]),
        is_marked: bool,
        topic: &mut String,
        now: Time,
    ) -> Inward {
        let mut echo = self.echo.borrow_mut();
        let echo = echo.as_mut().filter(|_| !is_marked);
        let ours = echo.is_some_and(|echo| echo.is_ours(remote, payload, now));
        if ours {
            Inward::Echo
        } else if self.map.inward(remote, topic).is_some() {
            Inward::Taken
        } else {
            Inward::NotMapped
        }
    }

    /// The RETAIN flag to send for a message that has `retain`.
    pub fn retain(&self, retain: bool) -> bool {
        retain && self.retain.get()
    }
}
