//! The client's side of a bridge: when to connect where, the handshake, keep-alive.
//!
//! Neither sockets nor a clock are in here. `net` asks [`Link::drive`] what to do, reports what
//! happened, and writes what the link appends to `out`; everything that is not the link's own
//! business goes on to the session.

mod accept;
mod answer;
mod backoff;
mod careful;
mod connect;
mod faults;
mod goodbye;
mod loss;
mod notify;
mod requests;
mod state;
mod step;
mod subscribed;

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

pub use backoff::Backoff;
pub use faults::{Faults, Remedy, Unusable};
use notify::Notifications;
use requests::Requests;
use state::{Ended, State};
pub use step::{Action, Step};

use super::status::{Backlog, Phase, Reporter, Status};
use super::upstream::isolation::Isolation;
use super::upstream::ladder::Ladder;
use super::upstream::verdicts::{Feature, Verdicts, upstream_number};
use super::{Error, Limits, Map, Refusal, Said, Wire};
use crate::config;
use crate::mqtt::{Packet, PacketId, Reason, Version, encode};
use crate::time::Time;

/// How long a connection to one address may take, with name resolution and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first attempt comes at most this many milliseconds after the start.
const START_JITTER_MILLIS: u64 = 1000;

/// The link of one `connection` section.
///
/// With several addresses, an attempt goes through them in order, each for [`CONNECT_TIMEOUT`]
/// at most, and waits `restart_timeout` after the last; each new attempt begins with the first
/// address, the primary. With `round_robin` an attempt is one address, and the next attempt is
/// the next address. Mosquitto also goes back to the primary while a secondary works; this does
/// not.
#[derive(Debug)]
pub struct Link {
    spec: Rc<config::Bridge>,
    map: Rc<Map>,
    wire: Rc<Wire>,
    state: State,
    /// What to offer to the upstream at each address.
    ladders: Vec<Ladder>,
    verdicts: Verdicts,
    isolation: Isolation,
    /// What was found is to be forgotten once the handshake is over.
    is_forgetful: bool,
    /// The index of the address of the last connection that was up.
    last_address: usize,
    /// How the last connection that was up has ended, until [`Link::judge`] asks.
    ended: Option<Ended>,
    backoff: Backoff,
    rng: Rng,
    /// The index of the address in use.
    address: usize,
    notifications: Notifications,
    requests: Requests,
    been_up: bool,
    reporter: Reporter,
}

impl Link {
    /// A link that connects for the first time within a second of `now`. `seed` is for jitter.
    pub fn new(spec: Rc<config::Bridge>, seed: u64, now: Time) -> Link {
        let mut rng = Rng::with_seed(seed);
        let jitter = Duration::from_millis(rng.u64(0..START_JITTER_MILLIS));
        let map = Rc::new(Map::new(&spec.topics));
        let spare_id = connect::spare_client_id(&spec).is_some();
        let addresses = spec.addresses.iter();
        let ladders = addresses.map(|at| Ladder::new(&spec, upstream_number(Some(at)), spare_id));
        Link {
            ladders: ladders.collect(),
            verdicts: Verdicts::new(&spec),
            isolation: Isolation::default(),
            is_forgetful: false,
            last_address: 0,
            ended: None,
            wire: Rc::new(Wire::new(map.clone())),
            map,
            state: State::Waiting {
                until: now + jitter,
            },
            backoff: Backoff::new(spec.restart),
            rng,
            address: 0,
            notifications: Notifications::new(&spec),
            requests: Requests::default(),
            been_up: false,
            reporter: Reporter::new(&spec, now),
            spec,
        }
    }

    /// The topic map.
    pub fn map(&self) -> &Rc<Map> {
        &self.map
    }

    /// The section the link comes from.
    pub fn spec(&self) -> &Rc<config::Bridge> {
        &self.spec
    }

    /// The version that the connection speaks, or the next one will speak: what to decode by.
    pub fn version(&self) -> Version {
        let ladder = self.ladder();
        ladder.map_or(Version::V311, |ladder| ladder.current().dialect.version)
    }

    /// What to offer at the address in use. A section without address is refused when it is read.
    fn ladder(&self) -> Option<&Ladder> {
        self.ladders.get(self.address)
    }

    /// The number of the upstream in use.
    fn upstream(&self) -> u64 {
        self.ladder().map_or(0, Ladder::upstream)
    }

    /// The topic on which the broker tells its own clients the state of the link, retained: "1"
    /// from [`Step::Up`] on, otherwise "0". `None` with `notifications false`. Upstream the link
    /// sees to it itself.
    pub fn state_topic(&self) -> Option<&str> {
        self.notifications.topic()
    }

    /// What the upstream allows, while the link is up.
    pub fn limits(&self) -> Option<&Limits> {
        match &self.state {
            State::Up(up) => Some(&up.limits),
            _ => None,
        }
    }

    /// The map as the broker applies it.
    pub fn wire(&self) -> &Rc<Wire> {
        &self.wire
    }

    /// Does what is due at `now`: call it again until it says [`Action::Idle`], after every
    /// other call, and at [`next_timeout`](Link::next_timeout). May append a PINGREQ to `out`.
    pub fn drive(&mut self, now: Time, out: &mut Vec<u8>) -> Action<'_> {
        self.reporter.tick(now);
        if self.verdicts.tick(now) {
            self.forbid_topics();
            if let State::Up(up) = &self.state
                && up.careful.is_none()
            {
                let limits = up.limits;
                return Action::Window(self.window(&limits));
            }
        }
        match &mut self.state {
            State::Waiting { until } if *until <= now => self.start(now),
            State::Connecting { deadline } if *deadline <= now => {
                self.lost(&Error::ConnectTimeout, now);
                Action::Close
            }
            State::Handshake { deadline, .. } if *deadline <= now => {
                self.lost(&Error::ConnAckTimeout, now);
                Action::Close
            }
            State::Up(up) if up.ack_timeout().is_some_and(|due| up.has_missed(due, now)) => {
                let awaited = self.requests.awaited();
                self.lost(&Error::AckTimeout(awaited), now);
                Action::Close
            }
            State::Up(up) if up.careful.is_some() => self.drive_careful(now, out),
            State::Up(up) if up.doubts_life(now) => {
                up.ping(now, out);
                Action::Idle
            }
            State::Up(up) if up.ping_timeout() <= now => {
                if up.ping_due.is_none() && up.ping(now, out)
                    || !up.has_missed(up.ping_timeout(), now)
                {
                    return Action::Idle;
                }
                self.lost(&Error::PingTimeout, now);
                Action::Close
            }
            _ => Action::Idle,
        }
    }

    /// When to call [`drive`](Link::drive) at the latest.
    pub fn next_timeout(&self) -> Time {
        let next = match &self.state {
            State::Waiting { until } => *until,
            // What the log is to be told waits for the end of the attempt.
            State::Connecting { deadline } | State::Handshake { deadline, .. } => return *deadline,
            State::Up(up) => up.next_timeout(),
        };
        self.reporter.next().map_or(next, |at| at.min(next))
    }

    /// Tells what the session owes the upstream by now, for the log. To be told before
    /// [`drive`](Link::drive) and before the CONNACK.
    pub fn owes(&mut self, backlog: Backlog) {
        self.reporter.owe(backlog);
    }

    fn start(&mut self, now: Time) -> Action<'_> {
        let Some(address) = self.spec.addresses.get(self.address) else {
            // A section without address is refused when it is read.
            self.state = State::Waiting {
                until: now + CONNECT_TIMEOUT,
            };
            return Action::Idle;
        };
        self.reporter.connecting(address);
        let deadline = now + CONNECT_TIMEOUT;
        self.state = State::Connecting { deadline };
        Action::Connect { address, deadline }
    }

    /// The connection stands: appends the CONNECT to `out`.
    ///
    /// # Errors
    /// [`Error::GivenUp`] after the deadline, [`Error::Encode`] if a directive holds too long a
    /// value. Close the connection.
    pub fn connected(&mut self, now: Time, out: &mut Vec<u8>) -> Result<(), Error> {
        self.connected_with(None, now, out)
    }

    /// As [`Link::connected`], with a password that the configuration does not have.
    ///
    /// # Errors
    /// As [`Link::connected`].
    pub fn connected_with(
        &mut self,
        password: Option<&[u8]>,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let offer = self.ladder().map(Ladder::current);
        let patience = self.ladder().map(Ladder::patience);
        let Some(offer) = offer.filter(|_| matches!(self.state, State::Connecting { .. })) else {
            return Err(Error::GivenUp);
        };
        self.requests.reset();
        let topic = self
            .notifications
            .upstream()
            .filter(|_| offer.notifications);
        connect::write(&self.spec, password, offer, topic, out).map_err(|error| {
            let error = Error::from(error);
            self.lost(&error, now);
            error
        })?;
        self.state = State::Handshake {
            since: now,
            deadline: now + patience.unwrap_or_default(),
        };
        Ok(())
    }

    /// Connecting failed, or the connection ended or carried bytes that are no packet. Does nothing
    /// when the link knows already.
    pub fn failed(&mut self, why: &Error, now: Time) {
        self.lost(why, now);
    }

    /// Bytes were written to the connection: the keep-alive starts over.
    pub fn sent(&mut self, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.last_sent = now;
        }
    }

    /// Bytes have come from the upstream. `is_whole`: a packet of them is complete.
    pub fn heard(&mut self, is_whole: bool, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.heard(is_whole, now);
        }
    }

    /// All that the upstream has sent until `at` was taken in: only by then it can have been silent. To be
    /// told before [`drive`](Link::drive).
    pub fn read_until(&mut self, at: Time) {
        if let State::Up(up) = &mut self.state {
            up.read_until = Some(at);
        }
    }

    /// Tells since when the session's oldest publish has not been acknowledged. To be told
    /// before [`drive`](Link::drive) and [`next_timeout`](Link::next_timeout).
    pub fn unacknowledged(&mut self, since: Option<Time>) {
        if let State::Up(up) = &mut self.state {
            let own = self.requests.are_pending().then_some(up.since);
            up.unacked = own.into_iter().chain(since).min();
        }
    }

    /// Handles a packet from upstream. `ids` gives free packet ids of the session, whose counter
    /// the link's own packets share.
    ///
    /// # Errors
    /// The link is lost: close the connection and, after an [`Step::Up`], detach the session.
    pub fn packet(
        &mut self,
        packet: &Packet<'_>,
        ids: &mut dyn FnMut() -> PacketId,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        let step = match (&mut self.state, packet) {
            (State::Handshake { .. }, Packet::ConnAck(ack)) if ack.reason == Reason::SUCCESS => {
                self.accepted(ack, ids, now, out)
            }
            (State::Handshake { .. }, Packet::ConnAck(ack)) => {
                Err(Error::Refused(ack.reason, Said::new(&ack.props)))
            }
            // Nothing that a server may send; but upstreams made to test Mosquitto's bridge do, and it
            // answers.
            (State::Up(up), Packet::PingReq) => {
                up.last_received = now;
                encode(&Packet::PingResp, up.limits.version, out)
                    .map(|()| Step::None)
                    .map_err(Error::from)
            }
            (State::Up(up), packet) => {
                up.last_received = now;
                up.ping_due = up.ping_due.map(|_| now + up.grace());
                self.received(packet, ids, now, out)
            }
            (_, packet) => Err(Error::Unexpected(packet.name())),
        };
        if let Err(error) = &step {
            self.lost(error, now);
        }
        step
    }

    /// A packet while the link is up.
    fn received(
        &mut self,
        packet: &Packet<'_>,
        ids: &mut dyn FnMut() -> PacketId,
        now: Time,
        out: &mut Vec<u8>,
    ) -> Result<Step, Error> {
        let mut step = Step::None;
        match packet {
            Packet::Publish(publish) => {
                let is_v5 =
                    matches!(&self.state, State::Up(up) if up.limits.version == Version::V5);
                if is_v5 && !self.map.may_echo_by_share() && self.wire.watches_echo() {
                    self.give_up(Feature::NoLocal, "returns what the bridge publishes");
                }
                if let State::Up(up) = &mut self.state {
                    up.brought |= !publish.retain;
                }
                return Ok(Step::Forward);
            }
            Packet::PubRel(_) => return Ok(Step::Forward),
            Packet::PubRec(ack) => {
                if ack.reason.is_error() {
                    self.acknowledged(ack.id, now);
                }
                return Ok(Step::Forward);
            }
            Packet::PubComp(ack) => {
                self.acknowledged(ack.id, now);
                return Ok(Step::Forward);
            }
            Packet::PubAck(ack) => match self.requests.puback(ack) {
                Some(reason) => step = self.notified(reason, now, out),
                None => {
                    self.acknowledged(ack.id, now);
                    return Ok(Step::Forward);
                }
            },
            Packet::SubAck(ack) => self.requests.suback(ack, &self.spec.name),
            Packet::UnsubAck(ack) => self.requests.unsuback(ack, &self.spec.name),
            Packet::PingResp => {
                self.requests.pingresp(&self.spec.name);
                if self.wire.arrived() {
                    let topic = self.wire.last_topic();
                    self.isolation
                        .arrived(topic.as_deref(), self.wire.last_size());
                }
                let answered = self.state.ping_answered();
                step = answered.map_or(Step::None, Step::Answered);
            }
            Packet::Disconnect(packet) => {
                return Err(Error::Disconnected(packet.reason, Said::new(&packet.props)));
            }
            _ => return Ok(Step::OutOfPlace),
        }
        for asked in self.requests.take_answered() {
            self.isolation.answered(&asked);
            self.requests.ask_last();
        }
        self.request(ids, now, out)?;
        Ok(step)
    }

    /// The notification was acknowledged: its place in the window is free.
    fn notified(&mut self, reason: Reason, now: Time, out: &mut Vec<u8>) -> Step {
        if reason.is_error() && Refusal::of(reason) != Refusal::NotNow {
            self.give_up(Feature::Notifications, &reason.to_string());
        }
        let State::Up(up) = &mut self.state else {
            return Step::None;
        };
        up.notified = Some(now);
        if self.notifications.wants_ping() && up.ping_due.is_none() {
            up.ping(now, out);
        }
        let limits = up.limits;
        match self.window(&limits) {
            1 | u16::MAX => Step::None,
            window => Step::Window(window),
        }
    }

    /// Goes on to the next address; true if that begins a new attempt.
    fn next_address(&mut self) -> bool {
        self.address = (self.address + 1) % self.spec.addresses.len().max(1);
        self.spec.round_robin || self.address == 0
    }

    /// What the link is at, for `$SYS`, the status page and logs.
    pub fn status(&self) -> Status<'_> {
        Status {
            name: &self.spec.name,
            phase: match &self.state {
                State::Waiting { until } => Phase::Waiting { until: *until },
                State::Connecting { .. } => Phase::Connecting,
                State::Handshake { .. } => Phase::Handshake,
                State::Up(up) => Phase::Up {
                    since: up.since,
                    version: up.limits.version,
                },
            },
            address: self.spec.addresses.get(self.address),
            last_error: self.reporter.last_error(),
            refused: self.requests.refused(),
            lowered: self.requests.lowered(),
            given_up: self.verdicts.list().collect(),
        }
    }
}
