//! One client's session: what it asked for, what it is owed, what it was sent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::unsure::Unsure;
use super::{Hello, Publication, Violation, Will};
use crate::mqtt::{QoS, Version};
use crate::time::Time;

/// What a subscription asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<u32>,
}

/// Until when a message must come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Must {
    /// It may come or not.
    Not,
    /// While the connection lasts.
    Connection,
    /// While the session lasts.
    Session,
}

/// How far a message is on its way to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Waiting,
    /// Sent with this packet id, on this connection of the session.
    Sent(u16, u32),
    /// Answered with PUBREC: the client knows it by this packet id.
    Taken(u16),
}

/// A message on its way to a client.
#[derive(Clone, Debug)]
pub struct Owed {
    pub publication: Rc<Publication>,
    /// Messages of one publisher, topic and QoS come in this order [MQTT-4.6.0-5].
    pub order: u64,
    pub qos: QoS,
    pub retain: bool,
    /// Sorted.
    pub sub_ids: Vec<u32>,
    pub must: Must,
    pub stage: Stage,
    /// A crash has made the broker forget how far it was.
    pub forgot: bool,
    /// There was no room for it; a copy may have gone out all the same.
    pub offered: bool,
    /// It goes to its receivers in pieces: one that comes back in between may get it, too.
    pub spreads: bool,
    /// It is retained, and a subscription to this filter brings it.
    pub brought_by: Option<Rc<str>>,
}

impl Owed {
    /// The one of two that was sent on the later connection.
    fn later<'a>(&'a self, other: &'a Owed) -> &'a Owed {
        let sent_on = |owed: &Owed| match owed.stage {
            Stage::Waiting => 0,
            Stage::Sent(_, connection) => connection,
            Stage::Taken(_) => u32::MAX,
        };
        if sent_on(other) > sent_on(self) {
            other
        } else {
            self
        }
    }

    /// True if it has reached some of its receivers, and whether this one is among them, which was away
    /// meanwhile, is not known.
    pub(super) fn is_stray(&self) -> bool {
        self.spreads && self.must == Must::Not
    }

    /// True if it must have come by now.
    fn is_late(&self, now: Time) -> bool {
        let expired = self.publication.expires.is_some_and(|end| end <= now);
        self.must != Must::Not && !expired
    }
}

/// A PUBLISH as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub id: Option<u16>,
    pub dup: bool,
    pub retain: bool,
    /// Sorted.
    pub sub_ids: Vec<u32>,
    /// The publisher's properties as they stand on the wire.
    pub props: Vec<u8>,
    pub expiry: Option<u32>,
}

/// A QoS 2 packet id of a publisher, between PUBLISH and PUBREL.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The routing that took it.
    pub order: u64,
    /// PUBREC has left: it is on disk.
    pub certain: bool,
}

/// What is in order among itself: publisher, topic and QoS.
type Line = (usize, Rc<str>, QoS);

/// A session as the specification has it.
#[derive(Debug)]
pub struct Session {
    /// The broker's number for it.
    pub number: u64,
    pub version: Version,
    /// It was made to outlive its connection.
    durable: bool,
    pub expiry: Unsure<u32>,
    /// Since when it has been without a connection.
    pub since: Unsure<Option<Time>>,
    /// It took the place of one that was made to.
    pub discards: bool,
    /// A CONNACK has promised it.
    pub confirmed: bool,
    pub max_packet: usize,
    pub will: Unsure<Option<Will>>,
    pub subscriptions: BTreeMap<String, Unsure<Option<Options>>>,
    pub owed: BTreeMap<u64, Owed>,
    /// Acknowledged, which a crash may undo.
    pub done: Vec<Owed>,
    /// Counts the connections.
    pub connection: u32,
    /// The last message of each line, of the session and of the connection.
    newest: HashMap<Line, u64>,
    latest: HashMap<Line, u64>,
    /// The messages in flight by packet id.
    pub flights: BTreeMap<u16, u64>,
    pub received: BTreeMap<u16, Received>,
    /// Packet ids that were released, as long as PUBCOMP has not left.
    pub releasing: BTreeSet<u16>,
}

impl Session {
    pub fn new(number: u64, hello: &Hello) -> Session {
        Session {
            number,
            version: hello.version,
            durable: hello.expiry > 0,
            expiry: Unsure::new(hello.expiry),
            since: Unsure::new(None),
            discards: false,
            confirmed: false,
            max_packet: hello.max_packet,
            will: Unsure::new(None),
            subscriptions: BTreeMap::new(),
            owed: BTreeMap::new(),
            done: Vec::new(),
            connection: 0,
            newest: HashMap::new(),
            latest: HashMap::new(),
            flights: BTreeMap::new(),
            received: BTreeMap::new(),
            releasing: BTreeSet::new(),
        }
    }

    pub fn is_online(&self) -> bool {
        self.since.get().is_none()
    }

    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// What the session is now is on disk.
    pub fn settle(&mut self) {
        self.expiry.settle_all();
        self.since.settle_all();
        self.will.settle_all();
        for subscription in self.subscriptions.values_mut() {
            subscription.settle_all();
        }
    }

    /// When a session without a connection ends.
    pub fn end(since: Option<Time>, expiry: u32) -> Option<Time> {
        let secs = u64::from(expiry);
        since
            .filter(|_| expiry != u32::MAX)
            .map(|at| at + std::time::Duration::from_secs(secs))
    }

    /// What belongs to a connection is forgotten.
    pub fn part(&mut self) {
        self.connection += 1;
        self.latest.clear();
        // What a new subscription is to get of retained messages may come on the next connection.
        self.owed.retain(|_, owed| {
            let may_come = owed.brought_by.is_some() || owed.spreads;
            owed.must != Must::Connection || may_come
        });
        let kept = self.owed.values_mut();
        let kept = kept.filter(|owed| owed.must == Must::Connection);
        kept.for_each(|owed| owed.must = Must::Not);
        let owed = &self.owed;
        let stage = |order: &u64| owed.get(order).map(|o| o.stage);
        self.flights
            .retain(|_, order| matches!(stage(order), Some(Stage::Taken(_))));
    }

    /// The options of all matching subscriptions.
    pub fn matching(&self, topic: &str) -> impl Iterator<Item = &Options> {
        let current = self
            .subscriptions
            .iter()
            .filter_map(|(f, o)| Some((f, o.get().as_ref()?)));
        current
            .filter(move |(filter, _)| super::topics::matches(filter, topic))
            .map(|(_, options)| options)
    }

    /// A PUBLISH was sent to the client: it must be owed, and as owed.
    pub fn seen(&mut self, arrival: &Arrival, now: Time) -> Result<(), Violation> {
        let order = self.find(arrival, now)?;
        let passed = self.before_spreading(order);
        self.has_brought(order);
        let Some(owed) = self.owed.get_mut(&order) else {
            return Err(Violation::NotOwed);
        };
        let known = is_known_by(owed, arrival);
        if !owed.offered {
            let (line, order) = (line(owed), passed.unwrap_or(order));
            let latest = self.latest.entry(line.clone()).or_default();
            *latest = passed.map_or(order, |passed| passed.max(*latest));
            let newest = self.newest.entry(line).or_default();
            *newest = order.max(*newest);
        }
        let forgot = std::mem::take(&mut owed.forgot);
        match (arrival.id, owed.stage) {
            // Until it is answered again.
            (Some(_), Stage::Taken(_)) => owed.forgot = forgot,
            (Some(id), _) => {
                owed.stage = Stage::Sent(id, self.connection);
                self.flights.insert(id, order);
            }
            // Queued on disk it may come again after a crash.
            (None, _) if owed.must == Must::Not => self.done.extend(self.owed.remove(&order)),
            (None, _) => drop(self.owed.remove(&order)),
        }
        if forgot && !known {
            self.mistake(order, arrival, now);
        }
        Ok(())
    }

    /// What is retained stands before a message that is on its way in pieces, if it is that very message or one
    /// that was published before [MQTT-4.6.0-6]: where it stands then.
    fn before_spreading(&self, order: u64) -> Option<u64> {
        let came = self.owed.get(&order)?;
        came.brought_by.as_ref()?;
        let number = came.publication.count()?;
        let is_to_come = |owed: &Owed| match owed.stage {
            Stage::Waiting => true,
            Stage::Sent(_, on) => on != self.connection,
            Stage::Taken(_) => false,
        };
        let mut before = self.owed.range(..order).map(|(_, owed)| owed);
        let next = before.find(|owed| {
            let spreads = owed.spreads && is_to_come(owed) && line(owed) == line(came);
            spreads && owed.publication.count().is_some_and(|n| number <= n)
        });
        next.map(|next| next.order.saturating_sub(1))
    }

    /// A subscription that was replaced may have queued what the one in its place brings anew: once is enough.
    fn has_brought(&mut self, order: u64) {
        let Some(came) = self.owed.get(&order).cloned() else {
            return;
        };
        if came.brought_by.is_none() || came.must != Must::Not || came.stage != Stage::Waiting {
            return;
        }
        let later = self.owed.range_mut(order + 1..).map(|(_, owed)| owed);
        let alike = later.filter(|owed| {
            let is_same = Rc::ptr_eq(&owed.publication, &came.publication);
            is_same && owed.brought_by == came.brought_by && owed.qos == came.qos
        });
        alike.for_each(|owed| owed.must = Must::Not);
    }

    /// What a subscription to `filter` was still to bring and `is_such` need not come.
    pub fn need_not_bring(&mut self, filter: &str, is_such: impl Fn(&Rc<Publication>) -> bool) {
        for owed in self.owed.values_mut() {
            let waits = owed.stage == Stage::Waiting && owed.brought_by.as_deref() == Some(filter);
            if waits && is_such(&owed.publication) {
                owed.must = Must::Not;
            }
        }
    }

    /// Which message a PUBLISH is: the one that has its packet id already, else the first.
    fn find(&self, arrival: &Arrival, now: Time) -> Result<u64, Violation> {
        let (mut why, mut found): (_, Option<&Owed>) = (Violation::NotOwed, None);
        let mut known: Option<&Owed> = None;
        for owed in self.owed.values().filter(|owed| is_of(owed, arrival)) {
            match self.fits(owed, arrival, now) {
                // Copies of several connections may have had the id: the last one has it.
                Ok(()) if is_known_by(owed, arrival) => {
                    known = Some(known.map_or(owed, |known| known.later(owed)));
                }
                // Its publisher may have sent again what had no room.
                Ok(()) if found.is_none_or(|found| found.offered || found.is_stray()) => {
                    found = Some(owed);
                }
                Ok(()) => {}
                Err(violation) => why = violation,
            }
        }
        known.or(found).map(|owed| owed.order).ok_or(why)
    }

    /// A message that a crash may have swallowed has come; or was it not that one, but the one
    /// that its publisher has sent again?
    fn mistake(&mut self, order: u64, arrival: &Arrival, now: Time) {
        let connection = self.connection;
        let later = self.owed.range_mut(order + 1..).map(|(_, owed)| owed);
        let alike = |owed: &&mut Owed| {
            // One that has come on this connection, or was taken, is not the one.
            let may_come = match owed.stage {
                Stage::Waiting => true,
                Stage::Sent(_, on) => on != connection,
                Stage::Taken(_) => false,
            };
            may_come && owed.qos == arrival.qos && owed.retain == arrival.retain
        };
        let mut alike = later.filter(alike).filter(|owed| is_of(owed, arrival));
        if let Some(owed) = alike.find(|owed| owed.is_late(now)) {
            (owed.must, owed.forgot) = (Must::Not, true);
        }
    }

    /// Whether a PUBLISH is the message `owed`, of which it has topic and payload.
    fn fits(&self, owed: &Owed, arrival: &Arrival, now: Time) -> Result<(), Violation> {
        let must = |holds: bool, violation| if holds { Ok(()) } else { Err(violation) };
        must(owed.qos == arrival.qos, Violation::WrongQoS)?;
        must(owed.retain == arrival.retain, Violation::WrongRetain)?;
        must(
            owed.sub_ids == arrival.sub_ids,
            Violation::WrongSubscriptionIds,
        )?;
        let props: &[u8] = match self.version {
            Version::V5 => &owed.publication.props,
            _ => &[],
        };
        must(props == arrival.props, Violation::WrongProperties)?;
        self.fits_stage(owed, arrival)?;
        self.fits_expiry(owed, arrival.expiry, now)?;
        let line = line(owed);
        let latest = self.latest.get(&line).copied().unwrap_or_default();
        let newest = self.newest.get(&line).copied().unwrap_or_default();
        let first = owed.stage == Stage::Waiting && !owed.forgot;
        // A copy goes when its receiver reads again.
        let in_order = owed.offered
            || owed.is_stray()
            || owed.order > latest && (!first || owed.order > newest);
        must(in_order, Violation::OutOfOrder)
    }

    /// Packet id and DUP: once a connection, and on the next with the same packet id and DUP
    /// [MQTT-4.4.0-1], [MQTT-3.3.1-1]. After a crash the broker may not know that it sent it.
    fn fits_stage(&self, owed: &Owed, arrival: &Arrival) -> Result<(), Violation> {
        let must = |holds: bool, violation| if holds { Ok(()) } else { Err(violation) };
        let holder = arrival.id.and_then(|id| self.flights.get(&id));
        let free = holder.is_none_or(|order| *order == owed.order);
        must(free, Violation::PacketIdInUse)?;
        match owed.stage {
            Stage::Waiting => must(!arrival.dup || owed.forgot, Violation::WrongDup),
            Stage::Sent(id, connection) => {
                must(connection != self.connection, Violation::Twice)?;
                must(arrival.dup || owed.forgot, Violation::WrongDup)?;
                must(
                    arrival.id == Some(id) || owed.forgot,
                    Violation::WrongPacketId,
                )
            }
            Stage::Taken(id) => must(owed.forgot && arrival.id == Some(id), Violation::Twice),
        }
    }

    /// Not after its time [MQTT-3.3.2-5], and with what is left of it [MQTT-3.3.2-6].
    fn fits_expiry(&self, owed: &Owed, told: Option<u32>, now: Time) -> Result<(), Violation> {
        let Some(end) = owed.publication.expires else {
            return match told {
                None => Ok(()),
                Some(_) => Err(Violation::WrongExpiry),
            };
        };
        if end <= now && owed.stage == Stage::Waiting && !owed.forgot {
            return Err(Violation::Expired);
        }
        let left = end.since(now).as_millis() as u64;
        let right = match (self.version, told) {
            (Version::V5, Some(secs)) => (u64::from(secs) * 1000).abs_diff(left) < 1000,
            (Version::V5, None) => false,
            (_, told) => told.is_none(),
        };
        if right {
            Ok(())
        } else {
            Err(Violation::WrongExpiry)
        }
    }

    /// The client answers PUBACK.
    pub fn puback(&mut self, id: u16) {
        let order = self.flights.remove(&id);
        self.done
            .extend(order.and_then(|order| self.owed.remove(&order)));
    }

    /// The client answers PUBREC: it will know the message by its packet id.
    pub fn pubrec(&mut self, id: u16) {
        let order = self.flights.get(&id);
        if let Some(owed) = order.and_then(|order| self.owed.get_mut(order)) {
            owed.stage = Stage::Taken(id);
            (owed.must, owed.forgot) = (Must::Not, false);
        }
    }

    /// The broker sends PUBREL: from here on the message must not come, whatever happens.
    pub fn pubrel(&mut self, id: u16) -> Result<(), Violation> {
        if let Some(order) = self.flights.remove(&id) {
            let owed = self.owed.remove(&order);
            match owed.map(|owed| owed.stage) {
                Some(Stage::Taken(_)) => {}
                _ => return Err(Violation::ReleasedUntaken),
            }
        }
        Ok(())
    }

    /// The first message that must have come by now and has not.
    pub fn missing(&self, now: Time) -> Option<&Owed> {
        self.owed.values().find(|owed| owed.is_late(now))
    }
}

/// Whether topic and payload are those of `owed`.
fn is_of(owed: &Owed, arrival: &Arrival) -> bool {
    let publication = &owed.publication;
    *publication.topic == arrival.topic && publication.payload == arrival.payload
}

/// Whether `owed` is the very message that is sent again: the packet id alone does not tell, as
/// the broker uses those again that a crash made it forget.
fn is_known_by(owed: &Owed, arrival: &Arrival) -> bool {
    match owed.stage {
        Stage::Sent(id, _) | Stage::Taken(id) => arrival.dup && arrival.id == Some(id),
        Stage::Waiting => false,
    }
}

fn line(owed: &Owed) -> Line {
    let publication = &owed.publication;
    (
        publication.publisher,
        Rc::clone(&publication.topic),
        owed.qos,
    )
}
