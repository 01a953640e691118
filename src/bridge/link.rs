//! The client's side of a bridge: when to connect where, the handshake, keep-alive.
//!
//! Neither sockets nor a clock are in here. `net` asks [`Link::drive`] what to do, reports what
//! happened, and writes what the link appends to `out`; everything that is not the link's own
//! business goes on to the session.

mod answer;
mod backoff;
mod connect;
mod goodbye;
mod notify;
mod requests;
mod state;
mod step;
mod subscribed;

use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

pub use backoff::Backoff;
use connect::session_expiry;
use notify::Notifications;
use requests::{Context, Requests};
use state::{State, Up};
pub use step::{Action, Step};

use super::dialect::Ladder;
use super::error::Awaited;
use super::status::{Backlog, Phase, Reporter, Status};
use super::{Error, Limits, Map, Said, Wire};
use crate::config;
use crate::mqtt::{ConnAck, Packet, PacketId, Reason, RetainHandling, Version, encode};
use crate::time::Time;

/// How long a connection to one address may take, with name resolution and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the CONNACK may take: mobile networks are slow to wake up.
pub const CONNACK_TIMEOUT: Duration = Duration::from_secs(20);
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
    ladder: Ladder,
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
        Link {
            wire: Rc::new(Wire::new(map.clone())),
            map,
            state: State::Waiting {
                until: now + jitter,
            },
            ladder: Ladder::new(&spec),
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
        self.ladder.current().version
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
        match &mut self.state {
            State::Waiting { until } if *until <= now => self.start(now),
            State::Connecting { deadline } if *deadline <= now => {
                self.lost(&Error::ConnectTimeout, now);
                Action::Close
            }
            State::Handshake { deadline } if *deadline <= now => {
                self.lost(&Error::ConnAckTimeout, now);
                Action::Close
            }
            State::Up(up) if up.ack_timeout().is_some_and(|due| due <= now) => {
                self.lost(&Error::AckTimeout(Awaited::Any), now);
                Action::Close
            }
            State::Up(up) if up.ping_timeout() <= now => {
                if up.ping_due.is_none() && encode(&Packet::PingReq, up.limits.version, out).is_ok()
                {
                    up.last_sent = now;
                    up.ping_due = Some(now + up.grace());
                    up.pinged = Some(now);
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
            State::Connecting { deadline } | State::Handshake { deadline } => return *deadline,
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
        let Some((host, port)) = self.spec.addresses.get(self.address) else {
            // A section without address is refused when it is read.
            self.state = State::Waiting {
                until: now + CONNECT_TIMEOUT,
            };
            return Action::Idle;
        };
        self.reporter.connecting(host, *port);
        let deadline = now + CONNECT_TIMEOUT;
        self.state = State::Connecting { deadline };
        Action::Connect {
            host,
            port: *port,
            deadline,
        }
    }

    /// The connection stands: appends the CONNECT to `out`.
    ///
    /// # Errors
    /// [`Error::GivenUp`] after the deadline, [`Error::Encode`] if a directive holds too long a
    /// value. Close the connection.
    pub fn connected(&mut self, now: Time, out: &mut Vec<u8>) -> Result<(), Error> {
        if !matches!(self.state, State::Connecting { .. }) {
            return Err(Error::GivenUp);
        }
        self.requests.reset();
        let topic = self.notifications.upstream();
        connect::write(&self.spec, self.ladder.current(), topic, out).map_err(|error| {
            let error = Error::from(error);
            self.lost(&error, now);
            error
        })?;
        self.state = State::Handshake {
            deadline: now + CONNACK_TIMEOUT,
        };
        Ok(())
    }

    /// Connecting failed, or the connection ended or carried bytes that are no packet; `why`
    /// says so for the log. Does nothing when the link knows already.
    pub fn failed(&mut self, why: &str, now: Time) {
        self.lost(&Error::Io(why.to_owned()), now);
    }

    /// Bytes were written to the connection: the keep-alive starts over.
    pub fn sent(&mut self, now: Time) {
        if let State::Up(up) = &mut self.state {
            up.last_sent = now;
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
                self.received(packet)
            }
            (_, packet) => Err(Error::Unexpected(packet.name())),
        };
        if let Err(error) = &step {
            self.lost(error, now);
        }
        step
    }

    /// The CONNACK accepts.
    fn accepted(
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
        let dialect = self.ladder.current();
        let limits = Limits::new(
            connack,
            dialect.version,
            self.spec.keepalive,
            connect::announced(&self.spec, dialect.version),
        )
        .with_max_packet(self.spec.max_packet_size)
        .with_max_qos2(self.spec.max_inflight_qos2);
        self.ladder.accepted();
        if !connack.session_present {
            self.requests.session_is_new();
        }
        let asked = session_expiry(&self.spec);
        self.reporter.up(self.address, dialect, &limits, asked, now);
        self.request(&limits, ids, out)?;

        let echoes = limits.version < Version::V5 && !dialect.bridge && self.map.may_echo();
        let retain = self.spec.outgoing_retain && limits.retain_available;
        self.wire.set(retain, echoes);
        let address = self.spec.addresses.get(self.address);
        self.wire.set_address(address);
        self.been_up = true;
        self.state = State::Up(Up {
            since: now,
            limits,
            last_sent: now,
            last_received: now,
            notifying: self.notifications.upstream().is_some(),
            ping_due: None,
            pinged: None,
            unacked: None,
        });
        let mut session = limits;
        if self.requests.awaits_notification() && limits.receive_maximum < u16::MAX {
            session.receive_maximum -= 1;
        }
        Ok(Step::Up(session))
    }

    /// Sends the notification and the subscriptions.
    fn request(
        &mut self,
        limits: &Limits,
        ids: &mut dyn FnMut() -> PacketId,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        // With the session gone upstream, or ours new, all retained messages are wanted; after a
        // mere reconnect they have been here already (before MQTT 5 there is no choice).
        let retain_handling = if self.been_up && limits.session_present {
            RetainHandling::SendIfNew
        } else {
            RetainHandling::Send
        };
        let mut cx = Context {
            name: &self.spec.name,
            map: &self.map,
            limits,
            unsubscribe: self.spec.attempt_unsubscribe,
            retain_handling,
            ids,
            out,
        };
        if let Some(topic) = self.notifications.upstream() {
            self.requests.notify(topic, &mut cx)?;
        }
        self.requests.subscribe(&mut cx)?;
        Ok(())
    }

    /// A packet while the link is up.
    fn received(&mut self, packet: &Packet<'_>) -> Result<Step, Error> {
        match packet {
            Packet::Publish(_) | Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_) => {
                Ok(Step::Forward)
            }
            Packet::PubAck(ack) => match self.requests.puback(ack) {
                Some(reason) => Ok(self.notified(reason)),
                None => Ok(Step::Forward),
            },
            Packet::SubAck(ack) => {
                self.requests.suback(ack, &self.spec.name);
                Ok(Step::None)
            }
            Packet::UnsubAck(ack) => {
                self.requests.unsuback(ack, &self.spec.name);
                Ok(Step::None)
            }
            Packet::PingResp => {
                self.requests.pingresp();
                let answered = self.state.ping_answered();
                Ok(answered.map_or(Step::None, Step::Answered))
            }
            Packet::Disconnect(packet) => {
                Err(Error::Disconnected(packet.reason, Said::new(&packet.props)))
            }
            _ => Err(Error::Unexpected(packet.name())),
        }
    }

    /// The notification was acknowledged: its place in the window is free.
    fn notified(&mut self, reason: Reason) -> Step {
        if reason.is_error() {
            self.notifications.refused();
            self.reporter.local_notifications(&reason.to_string());
        }
        let State::Up(up) = &mut self.state else {
            return Step::None;
        };
        up.notifying = false;
        match up.limits.receive_maximum {
            u16::MAX => Step::None,
            window => Step::Window(window),
        }
    }

    /// The attempt or the connection is over: decides what comes next, and when.
    fn lost(&mut self, error: &Error, now: Time) {
        let address = self.address;
        let waiting = State::Waiting { until: now };
        let (fresh, held) = match std::mem::replace(&mut self.state, waiting) {
            State::Waiting { until } => {
                self.state = State::Waiting { until };
                return;
            }
            State::Handshake { .. } if error.refuses_version() => {
                let refused = self.ladder.current();
                if self.ladder.refused() {
                    let next = self.ladder.current();
                    self.reporter.fallback(refused, next, error);
                    return;
                }
                (self.next_address(), None)
            }
            State::Handshake { .. } if self.notifications.blame_will(error) => {
                self.reporter.local_notifications(&error.to_string());
                (self.next_address(), None)
            }
            State::Connecting { .. } | State::Handshake { .. } => (self.next_address(), None),
            State::Up(up) => {
                let held = now.since(up.since);
                let version = up.limits.version;
                if self.notifications.blame(up.notifying, held, version, error) {
                    self.reporter
                        .local_notifications("upstream closed the connection after the first");
                }
                if self.spec.round_robin {
                    self.next_address();
                } else {
                    self.address = 0;
                }
                (true, Some(held))
            }
        };
        self.ladder.restart();
        let wait = if fresh {
            self.backoff.next(held, &mut self.rng)
        } else {
            Duration::ZERO
        };
        self.state = State::Waiting { until: now + wait };
        let address = self.spec.addresses.get(address);
        self.reporter.down(address, error, wait, now);
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
        }
    }
}
