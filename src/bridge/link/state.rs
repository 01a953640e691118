//! The states of a link.

use std::time::Duration;

use crate::bridge::Limits;
use crate::time::Time;

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
        deadline: Time,
    },
    Up(Up),
}

impl State {
    /// PINGRESP has come. When the PINGREQ was sent that it answers.
    pub(super) fn ping_answered(&mut self) -> Option<Time> {
        let State::Up(up) = self else {
            return None;
        };
        up.ping_due = None;
        up.pinged.take()
    }
}

/// A link that is up.
#[derive(Debug)]
pub(super) struct Up {
    pub since: Time,
    pub limits: Limits,
    pub last_sent: Time,
    pub last_received: Time,
    /// The notification is out and not yet known to be allowed.
    pub notifying: bool,
    /// When the answer to a PINGREQ is due.
    pub ping_due: Option<Time>,
    /// When the PINGREQ was sent that is not answered yet.
    pub pinged: Option<Time>,
    /// Since when the oldest publish or request has not been acknowledged.
    pub unacked: Option<Time>,
    /// Since when the packet that the upstream sends has been coming.
    pub packet_since: Option<Time>,
    /// Until when a large packet has held up all that comes behind it.
    pub held_up: Time,
}

impl Up {
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
        let ping = self.ping_timeout();
        self.ack_timeout().map_or(ping, |ack| ack.min(ping))
    }
}
