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
mod drive;
mod faults;
mod loss;
mod notify;
mod requests;
mod start;
mod state;
mod step;

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

pub use backoff::Backoff;
pub use faults::{Faults, Remedy, Unusable};
use notify::Notifications;
use requests::Requests;
pub use state::Output;
use state::{Ended, State};
pub use step::{Action, Step};

use super::status::{Backlog, Reporter, Status};
use super::upstream::addresses::Addresses;
use super::upstream::isolation::Isolation;
use super::upstream::ladder::Ladder;
use super::upstream::primary::Primary;
use super::upstream::verdicts::{Feature, Verdicts, upstream_number};
use super::{Error, Limits, Map, Refusal, Said, Wire};
use crate::config;
use crate::mqtt::{Packet, PacketId, Reason, Version, encode};
use crate::time::Time;

/// How long a connection to one address may take, with name resolution and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first attempt comes at most this many milliseconds after the start.
const START_JITTER_MILLIS: u64 = 1000;
/// How long each half of an attempt may take, up to CONNECT and up to CONNACK, while other addresses
/// wait to be tried; longer at an address that has needed longer.
const HURRIED: Duration = Duration::from_secs(5);

/// The link of one `connection` section.
///
/// Several addresses are tried in rounds, without a wait in between; `restart_timeout` comes after the
/// last. A round begins with the first address, the primary, with `round_robin` with the one after the
/// last. When a connection is lost that has held, a round begins at once: at the address that was lost,
/// unless that is silent or `round_robin` set, and then the others. Where one after the other holds for a
/// short time only, `restart_timeout` comes before that round as well.
#[derive(Debug)]
pub struct Link {
    spec: Rc<config::Bridge>,
    map: Rc<Map>,
    wire: Rc<Wire>,
    state: State,
    /// Since when it has been in a state of that name.
    since: Time,
    /// When the upstream last answered or acknowledged something, or sent a message.
    progress: Option<Time>,
    /// What to offer to the upstream at each address.
    ladders: Vec<Ladder>,
    verdicts: Verdicts,
    isolation: Isolation,
    /// What was found out about the other addresses.
    parked: Vec<Isolation>,
    /// What was found is to be forgotten once the handshake is over.
    is_forgetful: bool,
    /// The index of the address of the last connection that was up.
    last_address: usize,
    /// How the last connection that was up has ended, until [`Link::judge`] asks.
    ended: Option<Ended>,
    backoff: Backoff,
    rng: Rng,
    addresses: Addresses,
    primary: Primary,
    notifications: Notifications,
    requests: Requests,
    been_up: bool,
    reporter: Reporter,
}

impl Link {
    /// A link that connects for the first time within a second of `now`, unless its `start_type` has it
    /// rest. `seed` is for jitter.
    pub fn new(spec: Rc<config::Bridge>, seed: u64, now: Time) -> Link {
        let mut rng = Rng::with_seed(seed);
        let jitter = Duration::from_millis(rng.u64(0..START_JITTER_MILLIS));
        let map = Rc::new(Map::new(&spec.topics));
        let spare_id = connect::spare_client_id(&spec).is_some();
        let addresses = spec.addresses.iter();
        let ladders = addresses.map(|at| Ladder::new(&spec, upstream_number(Some(at)), spare_id));
        let mut link = Link {
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
            since: now,
            progress: None,
            backoff: Backoff::new(spec.restart),
            primary: Primary::new(spec.restart),
            rng,
            parked: spec
                .addresses
                .iter()
                .map(|_| Isolation::default())
                .collect(),
            addresses: Addresses::new(spec.addresses.len(), spec.round_robin),
            notifications: Notifications::new(&spec),
            requests: Requests::default(),
            been_up: false,
            reporter: Reporter::new(&spec, now),
            spec,
        };
        link.rest_at_first(now);
        link
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
        self.ladders.get(self.addresses.current())
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

    /// Tells what the session owes the upstream by now, for the log. To be told before
    /// [`drive`](Link::drive) and before the CONNACK.
    pub fn owes(&mut self, backlog: Backlog) {
        self.reporter.owe(backlog);
    }

    /// How long something may take that has so long where there is only one address.
    fn hurried(&self, time: Duration) -> Duration {
        if self.addresses.is_hurried() {
            let needed = self.ladder().map_or(Duration::ZERO, Ladder::needed);
            time.min(HURRIED.max(needed.saturating_mul(2)))
        } else {
            time
        }
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
        let (Some(offer), State::Connecting { since, .. }) = (offer, &self.state) else {
            return Err(Error::GivenUp);
        };
        let connecting = now.since(*since);
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
        let handshake = State::Handshake {
            connecting,
            since: now,
            deadline: now + self.hurried(patience.unwrap_or_default()),
        };
        self.enter(handshake, now);
        Ok(())
    }

    /// From now on the link is in this state; returns the one before.
    fn enter(&mut self, state: State, now: Time) -> State {
        let old = std::mem::replace(&mut self.state, state);
        if old.phase().word() != self.state.phase().word() {
            self.since = now;
        }
        old
    }

    /// Connecting failed, or the connection ended or carried bytes that are no packet. Does nothing
    /// when the link knows already.
    pub fn failed(&mut self, why: &Error, now: Time) {
        self.lost(why, now);
    }

    /// Bytes were written to the connection: the keep-alive starts over.
    pub fn sent(&mut self, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.wrote(now);
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

    /// Tells where the output of the connection stands, after [`unacknowledged`](Link::unacknowledged).
    /// Where nobody tells, all is taken at once.
    pub fn output(&mut self, output: Output, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.follow(output, self.requests.are_pending(), now);
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
        self.note_traffic(packet, now);
        self.progress = Some(now);
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

    /// Takes over what an earlier link of this bridge knows of the sessions that its upstreams keep: an
    /// older one at another address is not taken for that of the last connection. They go by client id.
    pub fn take_over(&mut self, old: &Link) {
        if old.spec.remote_clientid != self.spec.remote_clientid {
            return;
        }
        let place = |ladder: &Ladder| {
            let mut known = old.ladders.iter();
            known.position(|known| known.upstream() == ladder.upstream())
        };
        let known: Vec<Option<usize>> = self.ladders.iter().map(place).collect();
        self.addresses.take_over(&old.addresses, &known);
        self.progress = old.progress;
    }

    /// The filters that our session upstream is subscribed to, as far as is known, from
    /// [`take_subscribed`](Link::take_subscribed) of an earlier link. Those that the configuration
    /// no longer has are unsubscribed once the link is up, if the upstream still has the session.
    #[must_use]
    pub fn with_subscribed(mut self, filters: Vec<Box<str>>) -> Link {
        self.requests.restore_subscribed(filters);
        self
    }

    /// The filters that our session upstream is subscribed to, if that has changed since the last
    /// call: to be asked for after each [`packet`](Link::packet), and kept.
    pub fn take_subscribed(&mut self) -> Option<Vec<Box<str>>> {
        self.requests.take_subscribed()
    }

    /// What the link is at, for `$SYS`, the status page and logs.
    pub fn status(&self) -> Status<'_> {
        Status {
            name: &self.spec.name,
            phase: self.state.phase(),
            since: self.since,
            down_since: self.reporter.down_since(),
            progress: self.progress,
            address: self.spec.addresses.get(self.addresses.current()),
            last_error: self.reporter.last_error(),
            refused: self.requests.refused(),
            lowered: self.requests.lowered(),
            given_up: self.verdicts.list().collect(),
        }
    }
}
