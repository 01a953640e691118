//! Subscriptions and retained messages.

use std::rc::Rc;

use super::session::{Must, Options, Owed};
use super::{Model, Publication, due, owe};
use super::{Unsure, topics};
use crate::mqtt::{Reason, RetainHandling};
use crate::time::Time;

impl Model {
    /// Adds or replaces a subscription [MQTT-3.8.4-3], and owes the retained messages that
    /// belong to it [MQTT-3.3.1-9]. Answers the version to settle when SUBACK has left.
    pub fn subscribe(
        &mut self,
        client: usize,
        filter: &str,
        options: Options,
        handling: RetainHandling,
        now: Time,
    ) -> u32 {
        let Some(session) = self.sessions.get_mut(&client) else {
            return 0;
        };
        let slot = session.subscriptions.entry(filter.to_owned());
        let slot = slot.or_insert_with(|| Unsure::new(None));
        let new = slot.get().is_none();
        let version = slot.set(Some(options));
        let wanted = match handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DontSend => false,
        };
        if wanted {
            self.drop_awaited(client, filter);
            self.owe_retained(client, filter, options, now);
        }
        version
    }

    /// A subscription is replaced or ends while it still brings what is retained: the one in its place brings
    /// that anew [MQTT-3.8.4-4], and without one nothing need be added any more [MQTT-3.10.4-2].
    fn drop_awaited(&mut self, client: usize, filter: &str) {
        let retained = &self.retained;
        let is_kept = |p: &Rc<Publication>| {
            let value = retained
                .get(&p.topic)
                .and_then(|value| value.get().as_ref());
            value.is_some_and(|value| Rc::ptr_eq(value, p))
        };
        if let Some(session) = self.sessions.get_mut(&client) {
            session.need_not_bring(filter, is_kept);
        }
    }

    /// What is retained for a subscription may come once more.
    pub(super) fn may_bring_retained(
        &mut self,
        client: usize,
        filter: &str,
        options: Options,
        now: Time,
    ) {
        let before = self.order;
        self.owe_retained(client, filter, options, now);
        self.need_not(client, before);
    }

    /// The same for what may have been retained on `topics` before the last value.
    pub(super) fn may_bring_replaced(
        &mut self,
        client: usize,
        (filter, options): (&str, Options),
        topics: &[Rc<str>],
        now: Time,
    ) {
        let before = self.order;
        let values = topics.iter().filter_map(|topic| self.retained.get(topic));
        let all = values.flat_map(|value| value.possible().flatten().cloned());
        let all: Vec<_> = all.filter(|p| topics::matches(filter, &p.topic)).collect();
        for p in all {
            self.bring(client, (filter, options), &p, now);
        }
        self.need_not(client, before);
    }

    /// What `client` is owed since the routing `before` may come or not.
    fn need_not(&mut self, client: usize, before: u64) {
        if let Some(session) = self.sessions.get_mut(&client) {
            let new = session.owed.range_mut(before + 1..);
            new.for_each(|(_, owed)| owed.must = Must::Not);
        }
    }

    fn owe_retained(&mut self, client: usize, filter: &str, options: Options, now: Time) {
        let values = self
            .retained
            .values()
            .filter_map(|value| value.get().clone());
        let values: Vec<_> = values
            .filter(|p| topics::matches(filter, &p.topic))
            .collect();
        for p in values {
            self.bring(client, (filter, options), &p, now);
        }
    }

    /// A subscription brings a retained message, unless that has expired or is the client's own.
    fn bring(
        &mut self,
        client: usize,
        (filter, options): (&str, Options),
        p: &Rc<Publication>,
        now: Time,
    ) {
        let Some(session) = self.sessions.get_mut(&client) else {
            return;
        };
        let is_own = options.no_local && p.publisher == client;
        if is_own || p.expires.is_some_and(|end| end <= now) {
            return;
        }
        self.order += 1;
        if let Some(mut owed) = owe(p, self.order, &[options], self.rules.upgrade) {
            owed.retain = true;
            owed.brought_by = Some(filter.into());
            owed.must = due(session, &owed, self.rules, false).unwrap_or(Must::Not);
            session.owed.insert(self.order, owed);
        }
    }

    /// A message that was routed as `order` replaces what its topic retained. To sessions that it does not reach
    /// now, a subscription that has not come to the topic yet may bring it later, instead of what it replaces:
    /// who is away gets nothing of QoS 0, and what has no room is dropped.
    pub(super) fn replace_awaited(&mut self, p: &Rc<Publication>, order: u64) {
        let (rules, before) = (self.rules, self.order);
        for (client, walks) in self.walks.clone() {
            let Some(session) = self.sessions.get_mut(&client) else {
                continue;
            };
            let live = session.owed.get(&order);
            let misses = live.is_none_or(Owed::is_stray);
            let may_miss = misses || rules.lossy && live.is_some_and(|o| o.must == Must::Not);
            for walk in walks.iter().filter(|walk| walk.comes_to(&p.topic)) {
                if let (true, Some(session)) = (misses, self.sessions.get_mut(&client)) {
                    session.need_not_bring(&walk.filter, |other| other.topic == p.topic);
                }
                if may_miss && !p.payload.is_empty() {
                    self.bring(client, (&walk.filter, walk.options), p, Time::ZERO);
                }
            }
            self.need_not(client, before);
        }
    }

    /// Removes a subscription. Answers what UNSUBACK must say, and the version to settle then.
    pub fn unsubscribe(&mut self, client: usize, filter: &str) -> (Reason, u32) {
        self.drop_awaited(client, filter);
        let session = self.sessions.get_mut(&client);
        let slot = session.and_then(|s| s.subscriptions.get_mut(filter));
        let Some(slot) = slot else {
            return (Reason::NO_SUBSCRIPTION_EXISTED, 0);
        };
        let reason = match slot.get() {
            Some(_) => Reason::SUCCESS,
            None => Reason::NO_SUBSCRIPTION_EXISTED,
        };
        (reason, slot.set(None))
    }

    /// SUBACK or UNSUBACK has left: what it answers outlives a crash.
    pub fn settle_subscription(&mut self, client: usize, filter: &str, version: u32) {
        let session = self.sessions.get_mut(&client);
        if let Some(slot) = session.and_then(|s| s.subscriptions.get_mut(filter)) {
            slot.settle(version);
        }
    }

    /// Keeps the retained message of a topic [MQTT-3.3.1-5]; one without payload clears it
    /// [MQTT-3.3.1-6].
    pub(super) fn retain(&mut self, p: &Rc<Publication>) -> u32 {
        let slot = self.retained.entry(Rc::clone(&p.topic));
        let slot = slot.or_insert_with(|| Unsure::new(None));
        slot.set((!p.payload.is_empty()).then(|| Rc::clone(p)))
    }
}
