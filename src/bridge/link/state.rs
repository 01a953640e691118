//! The states of a link.

mod output;

use std::time::Duration;

use output::Flow;
pub use output::Output;

use crate::bridge::rest::Rest;
use crate::bridge::status::Phase;
use crate::bridge::upstream::isolation::Loss;
use crate::bridge::{Error, Limits};
use crate::mqtt::{Packet, Version, encode};
use crate::time::Time;

/// How often a careful connection is looked after.
const TICK: Duration = Duration::from_millis(200);

/// Where a link stands.
#[derive(Debug)]
pub(super) enum State {
    Waiting {
        until: Time,
    },
    /// Does not connect by itself.
    Resting {
        rest: Rest,
        /// When to look whether it is to.
        look: Time,
    },
    Connecting {
        since: Time,
        deadline: Time,
    },
    /// CONNECT is out.
    Handshake {
        /// How long it took until then.
        connecting: Duration,
        since: Time,
        deadline: Time,
    },
    Up(Box<Up>),
}

impl State {
    /// What the operator is told of it.
    pub(super) fn phase(&self) -> Phase {
        match self {
            State::Waiting { until } => Phase::Waiting { until: *until },
            State::Resting { rest, .. } => Phase::Resting(*rest),
            State::Connecting { .. } => Phase::Connecting,
            State::Handshake { .. } => Phase::Handshake,
            State::Up(up) => Phase::Up {
                since: up.since,
                version: up.limits.version,
            },
        }
    }

    /// PINGRESP has come. When the PINGREQ was sent that it answers.
    pub(super) fn ping_answered(&mut self) -> Option<Time> {
        let State::Up(up) = self else {
            return None;
        };
        up.ping_due = None;
        let pinged = up.pinged.take();
        up.answered = pinged.or(up.answered);
        pinged
    }
}

/// How a connection that was up has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub error: Error,
    /// The index of its address.
    pub address: usize,
    pub loss: Loss,
    /// The version that was spoken.
    pub version: Version,
    /// When.
    pub at: Time,
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub since: Time,
    pub limits: Limits,
    pub last_sent: Time,
    pub last_received: Time,
    /// When a message, or what belongs to one, was last on its way.
    pub moved: Time,
    /// All that the upstream has sent until then was taken in; where nobody says so, it always was.
    pub read_until: Option<Time>,
    /// When the answer to a PINGREQ is due.
    pub ping_due: Option<Time>,
    /// When the PINGREQ was sent that is not answered yet.
    pub pinged: Option<Time>,
    /// When the last PINGREQ was sent that was answered.
    pub answered: Option<Time>,
    /// Since when the oldest publish or request has not been acknowledged.
    pub unacked: Option<Time>,
    /// How far the upstream has taken what was said; `None` where nobody tells.
    pub flow: Option<Flow>,
    /// Since when the packet that the upstream sends has been coming.
    pub packet_since: Option<Time>,
    /// Until when a large packet has held up all that comes behind it.
    pub held_up: Time,
    /// When the notification was acknowledged.
    pub notified: Option<Time>,
    /// How many messages the upstream has acknowledged.
    pub acknowledged: usize,
    /// The upstream has sent one that was not retained.
    pub brought: bool,
    /// Another address could take over: silence is noticed within the keep-alive, and not some time after.
    pub has_standby: bool,
    /// One thing goes out at a time.
    pub careful: Option<Careful>,
}

/// How far a careful connection is.
#[derive(Debug)]
pub(super) struct Careful {
    /// When to look next.
    pub look: Time,
    /// Since when all requests have been answered.
    pub ready: Option<Time>,
    /// Since when messages may go out.
    pub open: Option<Time>,
}

impl Up {
    /// The CONNACK has just come.
    pub(super) fn new(limits: Limits, careful: bool, now: Time) -> Up {
        Up {
            since: now,
            limits,
            last_sent: now,
            last_received: now,
            moved: now,
            read_until: None,
            ping_due: None,
            pinged: None,
            answered: None,
            unacked: None,
            flow: None,
            packet_since: None,
            held_up: Time::ZERO,
            notified: None,
            acknowledged: 0,
            brought: false,
            has_standby: false,
            careful: careful.then_some(Careful {
                look: now,
                ready: None,
                open: None,
            }),
        }
    }

    /// Appends a PINGREQ to `out`. False if that can't be.
    pub(super) fn ping(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        if encode(&Packet::PingReq, self.limits.version, out).is_err() {
            return false;
        }
        self.last_sent = now;
        self.ping_due = Some(now + self.grace());
        self.pinged = Some(now);
        true
    }

    /// True if what was due at `due` has not come, though it is past that and all was taken in that had
    /// come by then.
    pub(super) fn has_missed(&self, due: Time, now: Time) -> bool {
        due <= self.read_until.map_or(now, |at| at.min(now))
    }

    /// All requests have their answers.
    pub(super) fn are_answered(&mut self, now: Time) {
        if let Some(careful) = &mut self.careful {
            careful.ready.get_or_insert(now);
        }
    }

    /// True if an acknowledgement is so late that a PINGREQ is to tell whether the upstream lives.
    pub(super) fn doubts_life(&self, now: Time) -> bool {
        self.doubt_at().is_some_and(|at| at <= now)
    }

    fn doubt_at(&self) -> Option<Time> {
        let since = self.owed_since().filter(|_| self.ping_due.is_none())?;
        let is_answered = self.answered.is_some_and(|at| at >= since);
        (!is_answered).then(|| since + self.limits.keep_alive / 2)
    }

    /// A careful connection was looked after.
    pub(super) fn looked(&mut self, now: Time) {
        if let Some(careful) = &mut self.careful {
            careful.look = now + TICK;
        }
    }

    /// Bytes have come; `is_whole`: a packet of them is complete. A large packet on a slow line shows
    /// as well as many small ones that the upstream is there. What it owes comes behind that packet,
    /// and the time for it starts anew: else the link would be given up for this packet each time that
    /// it is sent.
    pub(super) fn heard(&mut self, is_whole: bool, now: Time) {
        self.last_received = now;
        self.ping_due = self.ping_due.map(|_| now + self.grace());
        let since = *self.packet_since.get_or_insert(now);
        if now.since(since) >= self.limits.keep_alive / 2 {
            self.held_up = now;
        }
        if is_whole {
            self.packet_since = None;
        } else {
            self.moved = now;
        }
    }

    /// How long a PINGRESP may take.
    pub(super) fn grace(&self) -> Duration {
        let (share, longest) = if self.has_standby { (4, 15) } else { (2, 30) };
        (self.limits.keep_alive / share).clamp(Duration::from_secs(5), Duration::from_secs(longest))
    }

    /// A PINGREQ is due when nothing was sent for the keep-alive, which the upstream watches
    /// [MQTT-3.1.2-20], or nothing received, so that a dead upstream is noticed.
    pub(super) fn ping_timeout(&self) -> Time {
        let keep_alive = self.limits.keep_alive;
        let silence = if self.has_standby {
            // Not more often than that, however short the keep-alive is.
            let half = keep_alive / 2;
            keep_alive.saturating_sub(self.grace()).max(half)
        } else {
            keep_alive
        };
        match (self.ping_due, &self.flow) {
            (None, _) => (self.last_sent + keep_alive).min(self.last_received + silence),
            (Some(due), None) => due,
            (Some(due), Some(flow)) => flow.pong_due(due, self.grace(), keep_alive),
        }
    }

    /// Takes in where the output of the connection stands. `asks`: requests of the link's own have no
    /// answer.
    pub(super) fn follow(&mut self, output: Output, asks: bool, now: Time) {
        let message = output.oldest.filter(|_| !asks);
        let question = self.unacked.map(|since| (since, message));
        let is_pinged = self.ping_due.is_some();
        let flow = self.flow.get_or_insert_with(|| Flow::new(output, now));
        flow.look(output, question, is_pinged, now);
    }

    /// Since when the upstream could have answered the oldest publish or request, but for what held
    /// it up on its way to us.
    fn owed_since(&self) -> Option<Time> {
        let could_answer = self.flow.as_ref().map_or(Time::ZERO, Flow::could_answer);
        Some(self.unacked?.max(could_answer))
    }

    /// An acknowledgement may take as long as the keep-alive from when the upstream has taken what it
    /// answers; an upstream that owes one for longer has lost it, and sends it only on a new
    /// connection. One that takes nothing for so long is dead.
    pub(super) fn ack_timeout(&self) -> Option<Time> {
        let since = self.owed_since()?.max(self.held_up);
        Some(since + self.limits.keep_alive)
    }

    /// When either is due.
    pub(super) fn next_timeout(&self) -> Time {
        let look = self.careful.as_ref().map(|careful| careful.look);
        let flow = self.flow.as_ref();
        let flow = flow.map(|flow| flow.look_at(self.limits.keep_alive));
        let others = [self.ack_timeout(), self.doubt_at(), look, flow];
        let others = others.into_iter().flatten();
        others.fold(self.ping_timeout(), Time::min)
    }
}
