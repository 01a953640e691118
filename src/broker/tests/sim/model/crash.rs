//! After a crash: what the broker brought back must be what the promises allow.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::session::{Must, Options, Session};
use super::{Model, Publication, Violation, Walk, Will};
use crate::mqtt::QoS;
use crate::time::Time;

/// What the broker knows of a session.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its number.
    pub number: u64,
    pub expiry: u32,
    /// Since when it has been without a connection.
    pub since: Option<Time>,
    /// The payload of the will that waits.
    pub will: Option<Vec<u8>>,
    pub subscriptions: BTreeMap<String, Options>,
    /// The filters of those that had not got all that was retained for them, and get it once more.
    pub awaiting: Vec<String>,
    /// QoS 2 packet ids of its client.
    pub received: Vec<u16>,
    /// All this is on disk.
    pub saved: bool,
}

/// A retained message the broker has: its number and when it expires.
pub type Kept = (String, Option<Time>);

/// A will that may have been published while the broker started.
type Published = (usize, Will, bool);

impl Model {
    /// The broker was killed and started again, and has these sessions and retained messages.
    pub fn crash(
        &mut self,
        facts: &BTreeMap<usize, Facts>,
        retained: &BTreeMap<String, Kept>,
        now: Time,
    ) -> Result<(), Violation> {
        let live = std::mem::take(&mut self.sessions);
        let ended = std::mem::take(&mut self.ended);
        let all = live.into_iter().map(|s| (s, true));
        let (mut wills, mut lost) = (Vec::new(), Vec::new());
        for ((client, mut session), live) in all.chain(ended.into_iter().map(|s| (s, false))) {
            let fact = facts.get(&client).filter(|f| f.number == session.number);
            wills.extend(session.wills_after_crash(client, fact, live)?);
            let Some(fact) = fact else {
                if live && session.must_survive(now) {
                    return Err(Violation::SessionLost);
                }
                self.ended.push((client, session));
                continue;
            };
            if self.sessions.contains_key(&client) {
                continue;
            }
            if !live {
                // Nothing was owed to it any more.
                let owed = session.owed.values_mut();
                owed.for_each(|owed| owed.must = Must::Not);
            }
            self.restore_ids(&mut session, fact, &mut lost)?;
            session.restore(fact)?;
            self.sessions.insert(client, session);
        }
        lost.sort_unstable();
        if facts.len() != self.sessions.len() {
            return Err(Violation::SessionLeft);
        }
        for session in self.sessions.values_mut() {
            let is_lost = |order: &u64| lost.binary_search(order).is_ok();
            session.owed.retain(|order, _| !is_lost(order));
            session.done.retain(|owed| !is_lost(&owed.order));
            session.restore_owed(|order| self.acknowledged.contains(&order));
        }
        self.begin_walks(facts)?;
        let topics = wills.iter().map(|(_, will, _)| &will.publication);
        let topics: Vec<_> = topics
            .filter(|p| p.retain)
            .map(|p| Rc::clone(&p.topic))
            .collect();
        for (client, walks) in self.walks.clone() {
            for walk in walks {
                self.may_bring_replaced(client, (&walk.filter, walk.options), &topics, now);
            }
        }
        for (client, will, certain) in wills {
            self.route(&will.publication(now), Some(client), false);
            let order = self.order;
            let receivers = self.sessions.values_mut();
            for owed in receivers.filter_map(|s| s.owed.get_mut(&order)) {
                owed.must = if certain { owed.must } else { Must::Not };
            }
        }
        self.restore_retained(retained, now)?;
        for (client, walks) in self.walks.clone() {
            for walk in walks {
                self.may_bring_retained(client, &walk.filter, walk.options, now);
            }
        }
        Ok(())
    }

    /// Subscriptions that had not brought all that is retained begin anew.
    fn begin_walks(&mut self, facts: &BTreeMap<usize, Facts>) -> Result<(), Violation> {
        self.walks.clear();
        for (client, fact) in facts {
            for filter in &fact.awaiting {
                let options = fact.subscriptions.get(filter);
                let walk = Walk {
                    filter: filter.as_str().into(),
                    options: *options.ok_or(Violation::WrongSubscriptionRestored)?,
                    passed: None,
                };
                self.walks.entry(*client).or_default().push(walk);
            }
        }
        Ok(())
    }

    /// The packet ids of a publisher: one whose PUBREC has left is known, one whose PUBCOMP has
    /// left is not. A message is on disk if and only if its id is: else it is `lost`, and comes
    /// only if it is published again.
    fn restore_ids(
        &mut self,
        session: &mut Session,
        fact: &Facts,
        lost: &mut Vec<u64>,
    ) -> Result<(), Violation> {
        let received = std::mem::take(&mut session.received);
        for id in &fact.received {
            if !received.contains_key(id) && !session.releasing.contains(id) {
                return Err(Violation::WrongIdRestored);
            }
        }
        for (id, mut known) in received {
            if fact.received.contains(&id) {
                self.acknowledged.insert(known.order);
                known.certain = true;
                session.received.insert(id, known);
            } else if known.certain {
                return Err(Violation::WrongIdRestored);
            } else {
                lost.push(known.order);
            }
        }
        // Released, and the broker does not know: it will hear PUBREL again.
        for id in &fact.received {
            let order = 0;
            let certain = true;
            let known = super::Received { order, certain };
            session.received.entry(*id).or_insert(known);
        }
        session.releasing.retain(|id| fact.received.contains(id));
        Ok(())
    }

    fn restore_retained(
        &mut self,
        retained: &BTreeMap<String, Kept>,
        now: Time,
    ) -> Result<(), Violation> {
        for topic in retained.keys() {
            if !self.retained.contains_key(topic.as_str()) {
                return Err(Violation::WrongRetainedRestored(topic.as_str().into()));
            }
        }
        for (topic, value) in &mut self.retained {
            let kept = retained.get(&**topic);
            if !value.prefer(|possible| is_kept(possible.as_deref(), kept, now)) {
                return Err(Violation::WrongRetainedRestored(Rc::clone(topic)));
            }
            value.settle_all();
        }
        Ok(())
    }
}

/// Whether the broker has this retained message, or none because it has expired.
pub(super) fn is_kept(ours: Option<&Publication>, kept: Option<&Kept>, now: Time) -> bool {
    match (ours, kept) {
        (Some(p), Some(kept)) => p.number() == kept.0 && p.expires == kept.1,
        (Some(p), None) => p.expires.is_some_and(|end| end <= now),
        (None, kept) => kept.is_none(),
    }
}

impl Session {
    /// True if a crash may not end it: it was promised, and its time has not come.
    fn must_survive(&self, now: Time) -> bool {
        let lives = |(since, expiry): (Option<Time>, u32)| {
            let since = since.or(Some(now));
            expiry > 0 && Session::end(since, expiry).is_none_or(|end| end > now)
        };
        let expiries = || self.expiry.possible().copied();
        let mut states = self
            .since
            .possible()
            .flat_map(|since| expiries().map(|expiry| (*since, expiry)));
        self.confirmed && states.all(lives)
    }

    /// The wills that may have been published while the broker started, and whether they must.
    fn wills_after_crash(
        &mut self,
        client: usize,
        fact: Option<&Facts>,
        live: bool,
    ) -> Result<Vec<Published>, Violation> {
        let possible: Vec<Option<Will>> = self.will.possible().cloned().collect();
        let certain = live && possible.len() == 1;
        let waits = fact.and_then(|fact| fact.will.as_ref());
        if let Some(payload) = waits {
            let same = |will: &Will| will.publication.payload == *payload;
            let found = possible.into_iter().flatten().find(same);
            let will = found.ok_or(Violation::WrongWillRestored)?;
            self.will.set(Some(will));
            self.will.settle_all();
            return Ok(Vec::new());
        }
        // Until the next commit it may be published once more.
        self.will.set(None);
        let wills = possible.into_iter().flatten();
        Ok(wills.map(|will| (client, will, certain)).collect())
    }

    /// Takes over what the broker brought back.
    fn restore(&mut self, fact: &Facts) -> Result<(), Violation> {
        if !self.expiry.restore(fact.expiry) {
            return Err(Violation::WrongExpiryRestored);
        }
        self.since.set(fact.since);
        self.since.settle_all();
        self.confirmed = true;
        for filter in fact.subscriptions.keys() {
            if !self.subscriptions.contains_key(filter) {
                return Err(Violation::WrongSubscriptionRestored);
            }
        }
        for (filter, options) in &mut self.subscriptions {
            if !options.restore(fact.subscriptions.get(filter).copied()) {
                return Err(Violation::WrongSubscriptionRestored);
            }
        }
        Ok(())
    }

    /// What must still come, and what may come again: messages that were not acknowledged to
    /// their publisher may be lost, and acknowledgements of the client may be.
    fn restore_owed(&mut self, acknowledged: impl Fn(u64) -> bool) {
        self.part();
        let done = std::mem::take(&mut self.done);
        self.owed.extend(done.into_iter().map(|mut owed| {
            owed.must = Must::Not;
            (owed.order, owed)
        }));
        for owed in self.owed.values_mut() {
            owed.forgot = true;
            if owed.qos == QoS::AtMostOnce || !acknowledged(owed.order) {
                owed.must = Must::Not;
            }
        }
    }
}
