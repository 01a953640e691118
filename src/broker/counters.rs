//! What the broker has counted since its start.

use super::sessions::DropReason;

/// Figures for `$SYS`, the log and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// CONNECTs accepted.
    pub connects: u64,
    /// CONNECTs refused.
    pub refused: u64,
    /// Connections closed for the others, before they had sent a CONNECT: some bound was reached.
    pub turned_away: u64,
    /// CONNECTs refused without a look at their password, after too many that failed.
    pub locked_out: u64,
    /// Sessions that have expired.
    pub expired: u64,
    /// Packets to peers that are no PUBLISH.
    pub(crate) others_sent: u64,
    /// Connections ended because their client id connected again.
    pub takeovers: u64,
    /// PUBLISH packets from peers.
    pub publish_received: u64,
    /// Their payload bytes.
    pub publish_bytes_received: u64,
    /// PUBLISH packets to peers.
    pub publish_sent: u64,
    /// Their payload bytes.
    pub publish_bytes_sent: u64,
    /// PUBLISH packets that the access control list forbade.
    pub denied: u64,
    /// Messages that had gone round over several bridges and were cut.
    pub looped: u64,
    /// QoS 1 and 2 messages refused because a durable queue was full.
    pub refused_full: u64,
    /// Sessions, subscriptions and retained values refused because little memory is left.
    pub refused_for_memory: u64,
    /// Messages not retained because their client has as many as it may.
    pub refused_retained: u64,
    /// Connections closed because next to none is.
    pub closed_for_memory: u64,
    /// Messages dropped, by the number of the reason.
    dropped: [u64; DropReason::ALL.len()],
    /// Commits done.
    pub commits: u64,
}

impl Counters {
    /// Counts messages that were dropped.
    pub(crate) fn count_dropped(&mut self, reason: DropReason, messages: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += messages;
        }
    }

    /// Packets to peers, of every type.
    pub fn packets_sent(&self) -> u64 {
        self.publish_sent + self.others_sent
    }

    /// Messages dropped for one reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// All messages dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// What the broker holds at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// Sessions, connected or not.
    pub clients: u64,
    /// Sessions with a connection; a bridge is one while its uplink is up.
    pub connected: u64,
    /// Clients whose login is under way.
    pub logging_in: u64,
    /// Subscriptions, shared ones included.
    pub subscriptions: u64,
    /// Shared subscriptions, counted once a member.
    pub shared_subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Messages queued or in flight, counted once a receiver.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// QoS 1 and 2 messages that were sent and are not acknowledged.
    pub inflight: u64,
    /// Bytes of packets that peers have not taken yet.
    pub bytes_waiting: u64,
    /// Messages that reached all who were owed them before they had to be written.
    pub never_written: u64,
    /// How long a message waits for its receivers before it is written, in milliseconds.
    pub commit_interval: u64,
    /// `flash_budget`, in bytes a day; 0 is none.
    pub flash_budget: u64,
}
