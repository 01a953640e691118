//! The reference: what the specification says that each client must, may and must not receive.
//!
//! The simulation tells the model what the broker was told, in the same order, and the model
//! says what follows. Where the broker may choose when (a timer has slots of a second, a crash
//! brings back one of several states of the disk), the model is shown what it chose ([`Facts`]),
//! checks that it might, and goes on from there.
//!
//! A shared subscription would be one more [`Must`]: owed to one of a group, settled for all of
//! them by the first to whom it comes.

mod crash;
mod retained;
mod session;
mod terms;
#[cfg(test)]
mod tests;
mod topics;
mod unsure;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::time::Duration;

pub use crash::{Facts, Kept};
pub use session::{Arrival, Options};
pub use terms::{Hello, Publication, Violation, Walk, Will};

use session::{Must, Owed, Received, Session, Stage};
use unsure::Unsure;

use crate::mqtt::QoS;
use crate::time::Time;

/// A timer may be so late: its slot is a second, and one that finds its connection unread looks
/// again a second later.
pub const LAG: Duration = Duration::from_millis(2000);

/// What became of a PUBLISH.
#[derive(Clone, Copy, Debug)]
pub struct Routed {
    pub order: u64,
    /// Someone is subscribed, if only the publisher that does not want its own.
    pub matched: bool,
    /// The version of the retained message, if it was one.
    pub retained: Option<u32>,
}

/// How the broker is set up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// `upgrade_outgoing_qos`.
    pub upgrade: bool,
    /// `queue_qos0_messages`.
    pub queue_qos0: bool,
    /// Queues have bounds, or the disk makes trouble: what nobody waits for may be dropped.
    pub lossy: bool,
    /// A full queue drops its oldest.
    pub drops: bool,
}

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    rules: Rules,
    /// By the number of the client.
    sessions: BTreeMap<usize, Session>,
    /// Sessions that ended, as long as a crash may bring them back.
    ended: Vec<(usize, Session)>,
    retained: BTreeMap<Rc<str>, Unsure<Option<Rc<Publication>>>>,
    /// The routings that were acknowledged.
    acknowledged: HashSet<u64>,
    order: u64,
    /// Clients whose last packets were not seen: the broker closed the connection in the turn
    /// that goes on.
    blurred: BTreeSet<usize>,
    /// What is published goes to its receivers in pieces.
    pub spreads: bool,
    /// What the broker is still to bring new subscribers of what is retained, by the number of the client.
    pub walks: BTreeMap<usize, Vec<Walk>>,
    /// Deliveries seen.
    pub delivered: u64,
    /// Wills published.
    pub wills: u64,
    /// Sessions that have expired.
    pub expired: u64,
}

impl Model {
    pub fn new(rules: Rules) -> Model {
        Model {
            rules,
            ..Model::default()
        }
    }

    /// The session of a client.
    pub fn session(&mut self, client: usize) -> Option<&mut Session> {
        self.sessions.get_mut(&client)
    }

    /// The retained message of a topic, and what it was before.
    pub fn retained(&self, topic: &str) -> Option<&Unsure<Option<Rc<Publication>>>> {
        self.retained.get(topic)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A CONNECT was accepted; `number` is the broker's for the session it got. Answers Session
    /// Present.
    pub fn connect(&mut self, client: usize, number: u64, hello: &Hello, now: Time) -> bool {
        self.take_over(client, hello.clean, now);
        let known = self.sessions.get(&client).filter(|_| hello.clean);
        let discards = known.is_some_and(Session::is_durable);
        if hello.clean {
            self.end(client);
        }
        // A crash has the broker use a number again that is not on disk: who had it does not come back.
        self.ended
            .retain(|(c, session)| *c != client || session.number != number);
        let present = self.sessions.contains_key(&client);
        let fresh = || Session::new(number, hello);
        let session = self.sessions.entry(client).or_insert_with(fresh);
        session.part();
        session.discards |= discards;
        session.since.set(None);
        session.expiry.set(hello.expiry);
        session.will.set(hello.will.clone());
        present
    }

    /// The connection that has the client id ends [MQTT-3.1.4-3], and with it a delayed will
    /// that is no longer wanted [MQTT-3.1.3-9].
    fn take_over(&mut self, client: usize, clean: bool, now: Time) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let delayed = session.will.get().as_ref().is_some_and(|w| w.delay > 0);
        if delayed && !clean && *session.expiry.get() > 0 {
            session.will.set(None);
        }
        if session.is_online() {
            self.close(client, true, now);
        }
        if clean {
            self.publish_will(client, now);
        }
    }

    /// CONNACK has left: a session that is to last is on disk, and one that was discarded is not.
    pub fn connected(&mut self, client: usize) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.confirmed = true;
        if session.is_durable() || session.discards {
            let number = session.number;
            let later = |s: &Session| s.number > number;
            self.ended.retain(|(c, s)| *c != client || later(s));
        }
    }

    /// A connection ended; `with_will` unless the client said that it would.
    pub fn close(&mut self, client: usize, with_will: bool, now: Time) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        session.part();
        session.since.set(Some(now));
        if !with_will {
            session.will.set(None);
        }
        let ends = *session.expiry.get() == 0;
        let delay = session.will.get().as_ref().map_or(0, |w| w.delay);
        if delay == 0 || ends {
            self.publish_will(client, now);
        }
        if ends {
            self.end(client);
        }
    }

    /// The broker closes a connection in this turn: what it wrote to it last is not seen.
    pub fn blur(&mut self, client: usize) {
        self.blurred.insert(client);
    }

    /// All that happened in this turn is told.
    pub fn turned(&mut self) {
        self.blurred.clear();
    }

    fn end(&mut self, client: usize) {
        if let Some(session) = self.sessions.remove(&client) {
            self.ended.push((client, session));
        }
    }

    fn publish_will(&mut self, client: usize, now: Time) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        if let Some(will) = session.will.get().clone() {
            session.will.set(None);
            self.wills += 1;
            self.route(&will.publication(now), Some(client), false);
        }
    }

    /// Time has passed; `facts` says what the broker did of what it might do.
    pub fn time(&mut self, facts: &BTreeMap<usize, Facts>, now: Time) -> Result<(), Violation> {
        for client in self.sessions.keys().copied().collect::<Vec<_>>() {
            let fact = facts.get(&client);
            self.time_of(client, fact, now)?;
        }
        Ok(())
    }

    fn time_of(&mut self, c: usize, fact: Option<&Facts>, now: Time) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(&c) else {
            return Ok(());
        };
        let fact = fact.filter(|fact| fact.number == session.number);
        if fact.is_some_and(|fact| fact.saved) {
            session.settle();
        }
        let Some(since) = *session.since.get() else {
            return fact.map(drop).ok_or(Violation::SessionLost);
        };
        let end = Session::end(Some(since), *session.expiry.get());
        let over = |lag: Duration| end.is_some_and(|end| end + lag <= now);
        if let Some(will) = session.will.get() {
            let due = since + Duration::from_secs(will.delay.into());
            let waits = fact.is_some_and(|fact| fact.will.is_some());
            if waits && due + LAG <= now {
                return Err(Violation::WillLate);
            }
            if !waits && due > now && !over(Duration::ZERO) {
                return Err(Violation::WillEarly);
            }
            if !waits {
                self.publish_will(c, now);
            }
        }
        match fact {
            None if over(Duration::ZERO) => {
                self.expired += 1;
                self.end(c);
                Ok(())
            }
            None => Err(Violation::SessionLost),
            Some(_) if over(LAG) => Err(Violation::SessionLeft),
            Some(_) => Ok(()),
        }
    }

    /// A PUBLISH was taken. `id`: its packet id at QoS 2. `None` if it was taken before
    /// [MQTT-4.3.3-10].
    pub fn publish(&mut self, p: &Rc<Publication>, id: Option<u16>) -> Option<Routed> {
        if let Some(id) = id {
            let session = self.sessions.get(&p.publisher)?;
            if session.received.contains_key(&id) {
                return None;
            }
        }
        let routed = self.route(p, Some(p.publisher), true);
        self.know(p, id, routed.order);
        Some(routed)
    }

    /// At QoS 2 the broker knows a message by its packet id from now on.
    pub fn know(&mut self, p: &Publication, id: Option<u16>, order: u64) {
        if let (Some(id), Some(session)) = (id, self.sessions.get_mut(&p.publisher)) {
            let certain = false;
            session.releasing.remove(&id);
            session.received.insert(id, Received { order, certain });
        }
    }

    /// A PUBLISH met full queues: those `without_room` may have had a copy, the others have it.
    /// Returns what the former are owed once there is room.
    pub fn offer(
        &mut self,
        p: &Rc<Publication>,
        without_room: impl Fn(usize) -> bool,
    ) -> (Routed, Vec<Unplaced>) {
        let routed = self.route(p, Some(p.publisher), true);
        let mut unplaced = Vec::new();
        for (client, session) in &mut self.sessions {
            let number = session.number;
            let owed = session.owed.get_mut(&routed.order);
            if let Some(owed) = owed.filter(|_| without_room(*client)) {
                (owed.must, owed.offered) = (Must::Not, true);
                unplaced.push(Unplaced {
                    client: *client,
                    session: number,
                    owed: owed.clone(),
                });
            }
        }
        (routed, unplaced)
    }

    /// There is room for a message in one more queue. Returns the routing that it comes by.
    pub fn place(&mut self, unplaced: &Unplaced) -> Option<u64> {
        self.order += 1;
        let (order, rules, mut owed) = (self.order, self.rules, unplaced.owed.clone());
        let blurred = self.blurred.contains(&unplaced.client);
        let session = self.sessions.get_mut(&unplaced.client)?;
        if session.number != unplaced.session {
            return None;
        }
        // What was offered before and had no room does not come; a copy may be on its way.
        session.owed.retain(|_, other| {
            let is_sure = !other.offered || other.stage != Stage::Waiting;
            is_sure || other.publication.payload != owed.publication.payload
        });
        (owed.order, owed.forgot, owed.offered) = (order, blurred, false);
        owed.must = match due(session, &owed, rules, true)? {
            _ if blurred => Must::Not,
            must => must,
        };
        session.owed.insert(order, owed);
        Some(order)
    }

    /// The routing `order` is promised too.
    pub fn promised(&mut self, order: u64) {
        self.acknowledged.insert(order);
    }

    /// The broker answers a PUBLISH: what it says outlives a crash.
    pub fn acknowledged(&mut self, client: usize, id: u16, topic: &str, routed: Routed) {
        self.acknowledged.insert(routed.order);
        if let (Some(version), Some(value)) = (routed.retained, self.retained.get_mut(topic)) {
            value.settle(version);
        }
        let session = self.sessions.get_mut(&client);
        if let Some(received) = session.and_then(|s| s.received.get_mut(&id)) {
            received.certain = true;
        }
    }

    /// The client answers PUBACK.
    pub fn puback(&mut self, client: usize, id: u16) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.puback(id);
        }
    }

    /// The client answers PUBREC.
    pub fn pubrec(&mut self, client: usize, id: u16) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.pubrec(id);
        }
    }

    /// PUBREL was sent to the broker.
    pub fn released(&mut self, client: usize, id: u16) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.received.remove(&id);
            session.releasing.insert(id);
        }
    }

    /// PUBCOMP has left: the packet id is free, also after a crash.
    pub fn completed(&mut self, client: usize, id: u16) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.releasing.remove(&id);
        }
    }

    /// Owes a message to all who are subscribed, each once, at the highest QoS of the matching
    /// subscriptions and with all their identifiers [MQTT-3.3.4-2].
    fn route(&mut self, p: &Rc<Publication>, from: Option<usize>, awaited: bool) -> Routed {
        self.order += 1;
        let (order, rules) = (self.order, self.rules);
        let mut matched = false;
        for (client, session) in &mut self.sessions {
            let own = from == Some(*client);
            let mut options: Vec<Options> = session.matching(&p.topic).copied().collect();
            matched |= !options.is_empty();
            options.retain(|options| !options.no_local || !own);
            let Some(mut owed) = owe(p, order, &options, rules.upgrade) else {
                continue;
            };
            let blurred = self.blurred.contains(client);
            (owed.forgot, owed.spreads) = (blurred, self.spreads);
            owed.must = match due(session, &owed, rules, awaited) {
                Some(_) if blurred => Must::Not,
                Some(must) => must,
                None if self.spreads => Must::Not,
                None => continue,
            };
            session.owed.insert(order, owed);
        }
        if p.retain {
            self.replace_awaited(p, order);
        }
        let retained = p.retain.then(|| self.retain(p));
        Routed {
            order,
            matched,
            retained,
        }
    }

    /// A PUBLISH was sent to a client.
    pub fn seen(&mut self, client: usize, arrival: &Arrival, now: Time) -> Result<(), Violation> {
        let session = self.sessions.get_mut(&client);
        session.ok_or(Violation::NotOwed)?.seen(arrival, now)?;
        self.delivered += 1;
        Ok(())
    }

    /// The first message that must have come to `client` and has not.
    pub fn missing(&self, client: usize, now: Time) -> Option<&Owed> {
        self.sessions.get(&client)?.missing(now)
    }
}

/// What a session is owed once its queue has room.
#[derive(Clone, Debug)]
pub struct Unplaced {
    pub client: usize,
    /// The broker's number for the session.
    pub session: u64,
    owed: Owed,
}

/// What one session is owed of a message, if `options` match it.
fn owe(p: &Rc<Publication>, order: u64, options: &[Options], upgrade: bool) -> Option<Owed> {
    let most = options.iter().map(|o| o.qos).max()?;
    let mut sub_ids: Vec<u32> = options.iter().filter_map(|o| o.id).collect();
    sub_ids.sort_unstable();
    Some(Owed {
        publication: Rc::clone(p),
        order,
        qos: if upgrade { most } else { most.min(p.qos) },
        retain: p.retain && options.iter().any(|o| o.retain_as_published),
        sub_ids,
        must: Must::Not,
        stage: Stage::Waiting,
        forgot: false,
        offered: false,
        spreads: false,
        brought_by: None,
    })
}

/// Whether a message must come to a session, and until when; `None` if it must not. `awaited`:
/// somebody waits for its acknowledgement.
fn due(session: &Session, owed: &Owed, rules: Rules, awaited: bool) -> Option<Must> {
    let durable = session.is_durable();
    let large = owed.publication.payload.len() > session.max_packet;
    let must = match owed.qos {
        QoS::AtMostOnce if !session.is_online() => {
            return (durable && rules.queue_qos0).then_some(Must::Not);
        }
        QoS::AtMostOnce if durable && rules.queue_qos0 => Must::Not,
        QoS::AtMostOnce if rules.lossy => Must::Not,
        QoS::AtMostOnce => Must::Connection,
        _ if durable && rules.drops => Must::Not,
        _ if durable && (awaited || !rules.lossy) => Must::Session,
        _ if rules.lossy => Must::Not,
        _ => Must::Connection,
    };
    Some(if large { Must::Not } else { must })
}
