//! The CONNACK accepts: what the session may do, and what is asked of the upstream.

use std::time::Duration;

use super::connect::{self, session_expiry};
use super::requests::{Context, Wanted};
use super::state::{State, Up};
use super::{Link, Step};
use crate::bridge::upstream::isolation::Asked;
use crate::bridge::upstream::ladder::Ladder;
use crate::bridge::upstream::verdicts::{Feature, SeenSession, session_number};
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
        let Some(ladder) = self.ladders.get_mut(self.addresses.current()) else {
            return Err(Error::GivenUp);
        };
        let (offer, dialect) = (ladder.current(), ladder.current().dialect);
        let (connecting, after) = match self.state {
            State::Handshake {
                connecting, since, ..
            } => (connecting, now.since(since)),
            _ => (Duration::ZERO, Duration::ZERO),
        };
        ladder.has_needed(connecting.max(after));
        let found = ladder.accepted(after, &mut self.verdicts);
        if std::mem::take(&mut self.is_forgetful) {
            self.verdicts.clear();
        } else {
            found.iter().for_each(|found| self.reporter.given_up(found));
        }
        let mut limits = Limits::new(
            connack,
            dialect.version,
            self.spec.keepalive,
            connect::announced(&self.spec, dialect.version),
        )
        .with_max_packet(self.spec.max_packet_size)
        .with_max_qos2(self.spec.max_inflight_qos2)
        .with_delay(after);
        let (asked, address) = (session_expiry(&self.spec), self.addresses.current());
        limits.session_present = self.addresses.accepted(connack.session_present);
        self.keep_sessions();
        self.reporter.up(address, dialect, &limits, asked, now);
        if !limits.session_present {
            self.requests.session_is_new();
        }
        self.isolate(address);
        let stands_in = self.addresses.stands_in();
        self.primary.connected(stands_in, now, &mut self.rng);
        let notify = offer.notifications && self.notifications.upstream().is_some();
        self.begin_requests(&limits, notify);
        let careful = self.isolation.is_careful();
        let up = Up {
            has_standby: self.addresses.has_others(),
            ..Up::new(limits, careful, now)
        };
        self.enter(State::Up(Box::new(up)), now);
        self.progress = Some(now);
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
        let first = self.ladders.get(self.addresses.first_of_session());
        self.wire.set_upstream(first.map_or(0, Ladder::upstream));
        self.wire.begin(careful);
        self.forbid_topics();
        self.been_up = true;
        Ok(Step::Up(self.for_session(&limits)))
    }

    /// Has the store know whose session is whose, so that a restart takes no older one elsewhere for that
    /// of the last connection. A clean session ends with its connection.
    fn keep_sessions(&mut self) {
        if self.spec.clean_session {
            return;
        }
        let groups = self.addresses.groups().into_iter();
        let seen = groups.filter_map(|(at, group)| {
            let place = self.ladders.get(at).map(|ladder| self.place(ladder))?;
            Some(SeenSession { place, group })
        });
        let seen = seen.collect();
        self.verdicts.set_sessions(seen);
    }

    /// Goes on with what [`keep_sessions`](Link::keep_sessions) has kept before a restart.
    pub(super) fn restore_sessions(&mut self) {
        let seen = self.verdicts.sessions();
        let groups: Vec<u32> = seen.iter().map(|seen| seen.group).collect();
        let of = |ladder: &Ladder| {
            let place = self.place(ladder);
            seen.iter().position(|seen| seen.place == place)
        };
        let known: Vec<Option<usize>> = self.ladders.iter().map(of).collect();
        // Another client id has other sessions.
        if known.iter().any(Option::is_some) {
            self.addresses.restore(&groups, &known);
        }
    }

    /// Where our session at an address is, for the store.
    fn place(&self, ladder: &Ladder) -> u64 {
        session_number(ladder.upstream(), &self.spec.remote_clientid)
    }

    /// Goes on with what was found out about the upstream at this address.
    fn isolate(&mut self, address: usize) {
        let last = std::mem::replace(&mut self.last_address, address);
        let is_other = last != address;
        if let Some(known) = self.parked.get_mut(address).filter(|_| is_other) {
            let known = std::mem::take(known);
            let left = std::mem::replace(&mut self.isolation, known);
            if let Some(place) = self.parked.get_mut(last) {
                *place = left;
            }
        }
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
