//! The states of a link.

use std::time::Duration;

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
    Connecting {
        deadline: Time,
    },
    /// CONNECT is out.
    Handshake {
        since: Time,
        deadline: Time,
    },
    Up(Box<Up>),
}

impl State {
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
    /// Since when the packet that the upstream sends has been coming.
    pub packet_since: Option<Time>,
    /// Until when a large packet has held up all that comes behind it.
    pub held_up: Time,
    /// When the notification was acknowledged.
    pub notified: Option<Time>,
    /// The upstream has acknowledged a message.
    pub was_useful: bool,
    /// The upstream has sent one that was not retained.
    pub brought: bool,
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
            read_until: None,
            ping_due: None,
            pinged: None,
            answered: None,
            unacked: None,
            packet_since: None,
            held_up: Time::ZERO,
            notified: None,
            was_useful: false,
            brought: false,
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
        let since = self.unacked.filter(|_| self.ping_due.is_none())?;
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
        }
    }

    /// How long a PINGRESP may take.
    pub(super) fn grace(&self) -> Duration {
        (self.limits.keep_alive / 2).clamp(Duration::from_secs(5), Duration::from_secs(30))
    }

    /// A PINGREQ is due when nothing was sent for the keep-alive, which the upstream watches
    /// [MQTT-3.1.2-20], or nothing received, so that a dead upstream is noticed.
    pub(super) fn ping_timeout(&self) -> Time {
        let quiet = self.last_sent.min(self.last_received);
        self.ping_due.unwrap_or(quiet + self.limits.keep_alive)
    }

    /// An acknowledgement may take as long as the keep-alive; an upstream that owes one for
    /// longer has lost it, and sends it only on a new connection.
    pub(super) fn ack_timeout(&self) -> Option<Time> {
        let since = self.unacked?.max(self.held_up);
        Some(since + self.limits.keep_alive)
    }

    /// When either is due.
    pub(super) fn next_timeout(&self) -> Time {
        let look = self.careful.as_ref().map(|careful| careful.look);
        let others = [self.ack_timeout(), self.doubt_at(), look];
        let others = others.into_iter().flatten();
        others.fold(self.ping_timeout(), Time::min)
    }
}
