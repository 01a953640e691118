//! The CONNACK accepts: what the session may do, and what is asked of the upstream.

use std::time::Duration;

use super::connect::{self, session_expiry};
use super::requests::{Context, Wanted};
use super::state::{State, Up};
use super::{Link, Step};
use crate::bridge::upstream::isolation::{Asked, Isolation};
use crate::bridge::upstream::verdicts::Feature;
use crate::bridge::wire::Returns;
use crate::bridge::{Error, Limits};
use crate::mqtt::{ConnAck, PacketId, QoS, RetainHandling, Version};
use crate::time::Time;

impl Link {
    /// The CONNACK accepts.
    pub(super) fn accepted(
        &mut self,
        connack: &ConnAck<'_>,
        ids: &mut dyn FnMut() -> PacketId,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        // A clean start has no session to go on with [MQTT-3.2.2-4].
        if connack.session_present && self.spec.clean_session {
            return Err(Error::SessionPresent);
        }
        let Some(ladder) = self.ladders.get_mut(self.address) else {
            return Err(Error::GivenUp);
        };
        let (offer, dialect) = (ladder.current(), ladder.current().dialect);
        let after = match self.state {
            State::Handshake { since, .. } => now.since(since),
            _ => Duration::ZERO,
        };
        let found = ladder.accepted(after, &mut self.verdicts);
        if std::mem::take(&mut self.is_forgetful) {
            self.verdicts.clear();
        } else {
            found.iter().for_each(|found| self.reporter.given_up(found));
        }
        let limits = Limits::new(
            connack,
            dialect.version,
            self.spec.keepalive,
            connect::announced(&self.spec, dialect.version),
        )
        .with_max_packet(self.spec.max_packet_size)
        .with_max_qos2(self.spec.max_inflight_qos2);
        if !connack.session_present {
            self.requests.session_is_new();
        }
        let asked = session_expiry(&self.spec);
        self.reporter.up(self.address, dialect, &limits, asked, now);
        if std::mem::replace(&mut self.last_address, self.address) != self.address {
            // It is another upstream.
            self.isolation = Isolation::default();
        }
        let notify = offer.notifications && self.notifications.upstream().is_some();
        self.begin_requests(&limits, notify);
        let careful = self.isolation.is_careful();
        self.state = State::Up(Box::new(Up::new(limits, careful, now)));
        self.request(ids, now, out)?;

        let may_return = self.map.may_echo() && !dialect.bridge;
        let is_asked = limits.version == Version::V5
            && !self.map.may_echo_by_share()
            && !self.verdicts.has(self.upstream(), &Feature::NoLocal);
        let returns = match (may_return, is_asked) {
            (false, _) => Returns::Nothing,
            (true, true) => Returns::Perhaps,
            (true, false) => Returns::Ours,
        };
        let retain = self.spec.outgoing_retain && limits.retain_available;
        self.wire.set(retain, returns);
        let upstream = self.upstream();
        self.wire.set_upstream(upstream);
        self.wire.begin(careful);
        self.forbid_topics();
        self.been_up = true;
        Ok(Step::Up(self.for_session(&limits)))
    }

    /// What the session may do on this connection: what the upstream allows, as far as it can do it.
    pub(super) fn for_session(&self, limits: &Limits) -> Limits {
        let upstream = self.upstream();
        let mut session = *limits;
        session.receive_maximum = self.window(limits);
        if self.requests.needs_place() && (2..u16::MAX).contains(&session.receive_maximum) {
            session.receive_maximum -= 1;
        }
        let is_careful = self.isolation.is_careful();
        if is_careful || self.verdicts.has(upstream, &Feature::Aliases) {
            session.topic_alias_max = 0;
        }
        session.topic_alias_max = session.topic_alias_max.min(self.spec.outgoing_topic_alias);
        if self.isolation.is_lowered() || self.verdicts.has(upstream, &Feature::Qos2) {
            session.max_qos = session.max_qos.min(QoS::AtLeastOnce);
        }
        session
    }

    /// How many messages may be unacknowledged.
    pub(super) fn window(&self, limits: &Limits) -> u16 {
        if self.isolation.is_careful() {
            return 1;
        }
        let given_up = self.verdicts.window(self.upstream());
        given_up.map_or(limits.receive_maximum, |size| {
            size.min(limits.receive_maximum)
        })
    }

    /// Lists what is to be asked of the upstream.
    fn begin_requests(&mut self, limits: &Limits, notify: bool) {
        let upstream = self.upstream();
        let does_without = |feature: &Feature| self.verdicts.has(upstream, feature);
        let is_suspect = |asked: &Asked| self.isolation.asks_last(&asked.feature());
        let is_given_up = |filter: &str| does_without(&Feature::Subscription(filter.into()));
        self.requests.begin(&Wanted {
            name: &self.spec.name,
            map: &self.map,
            limits,
            unsubscribe: self.spec.attempt_unsubscribe && !does_without(&Feature::Unsubscribe),
            notify: notify && !does_without(&Feature::Notifications),
            one_at_a_time: self.isolation.is_careful(),
            is_given_up: &is_given_up,
            is_suspect: &is_suspect,
        });
    }

    /// Asks what may be asked now.
    pub(super) fn request(
        &mut self,
        ids: &mut dyn FnMut() -> PacketId,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let State::Up(up) = &mut self.state else {
            return Ok(());
        };
        // With the session gone upstream, or ours new, all retained messages are wanted; after a
        // mere reconnect they have been here already (before MQTT 5 there is no choice).
        let retain_handling = if self.been_up && up.limits.session_present {
            RetainHandling::SendIfNew
        } else {
            RetainHandling::Send
        };
        let mut cx = Context {
            name: &self.spec.name,
            limits: &up.limits,
            state_topic: self.notifications.topic(),
            retain_handling,
            ids,
            out,
        };
        self.requests.advance(&mut cx)?;
        if self.requests.are_done() {
            up.are_answered(now);
        }
        Ok(())
    }
}
