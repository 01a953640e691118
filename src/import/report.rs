//! What was brought over and what was left, and how that is told.

use std::collections::BTreeMap;
use std::fmt;

/// What is left, and why.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Left {
    /// The message had expired.
    ExpiredMessages,
    /// The session had expired.
    ExpiredSessions,
    /// The session was that of a connection.
    EndedSessions,
    /// The message belongs to a session that is left.
    OfSessions,
    /// There is no message of this number.
    NoMessage,
    /// There is no client of this name.
    NoClient,
    /// The client id or user name is none, or there twice.
    BadClients,
    /// The topic, QoS or properties of a message are none.
    BadMessages,
    /// The topic filter is none.
    BadFilters,
    /// The publisher has no answer yet.
    Unanswered,
    /// It is retained below `$SYS`.
    Sys,
    /// The kind of the record is not known.
    Unknown,
    /// No bridge of the configuration has this client id here.
    NoBridge(Box<str>),
    /// The bridge of this client id here lasts only as long as its connection.
    NotDurable(Box<str>),
    /// No `topic` line of the bridge with this client id here carries the message.
    NoLine(Box<str>),
}

/// What was brought over and what was left.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// The format of the file, from 3 to 6.
    pub format: u32,
    /// Sessions of clients.
    pub sessions: u64,
    /// Queues of bridges.
    pub bridges: u64,
    /// Subscriptions of clients.
    pub subscriptions: u64,
    /// Messages in queues, each counted for each queue; those that were sent are among them, and those
    /// whose release was not answered.
    pub queued: u64,
    /// Of these, messages that were sent, and not acknowledged.
    pub sent: u64,
    /// Of these, messages of QoS 2 that the receiver has, but for the end of the handshake.
    pub releasing: u64,
    /// Messages of QoS 2 that publishers have not released yet.
    pub received: u64,
    /// Retained messages.
    pub retained: u64,
    left: BTreeMap<Left, u64>,
}

impl Report {
    /// That of a file of this format, of which nothing was brought yet.
    pub(super) fn of_format(format: u32) -> Report {
        Report {
            format,
            ..Report::default()
        }
    }

    /// Something is left.
    pub(super) fn leave(&mut self, what: Left, count: u64) {
        if count > 0 {
            *self.left.entry(what).or_default() += count;
        }
    }

    /// A line for each kind of thing that was left, and why.
    pub fn left(&self) -> Vec<String> {
        let lines = self.left.iter().map(|(what, count)| what.line(*count));
        lines.collect()
    }
}

/// A number and what it counts.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn messages(count: u64) -> String {
    counted(count, "message", "messages")
}

impl fmt::Display for Report {
    /// A line for each kind of thing that was brought.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", counted(self.sessions, "session", "sessions"))?;
        if self.bridges > 0 {
            let bridges = counted(self.bridges, "queue of a bridge", "queues of bridges");
            writeln!(f, "  {bridges}")?;
        }
        let filters = counted(self.subscriptions, "subscription", "subscriptions");
        writeln!(f, "  {filters}")?;
        let queued = counted(self.queued, "queued message", "queued messages");
        write!(f, "  {queued}")?;
        if self.sent + self.releasing > 0 {
            let under_way = self.sent + self.releasing;
            write!(f, ", {under_way} of them sent and not fully acknowledged")?;
        }
        writeln!(f)?;
        if self.received > 0 {
            let received = messages(self.received);
            writeln!(
                f,
                "  {received} of QoS 2 that publishers are about to release"
            )?;
        }
        let retained = counted(self.retained, "retained message", "retained messages");
        writeln!(f, "  {retained}")
    }
}

impl Left {
    fn line(&self, count: u64) -> String {
        let sessions = |count| counted(count, "session", "sessions");
        match self {
            Left::ExpiredMessages => format!("{}: expired", messages(count)),
            Left::ExpiredSessions => format!("{}: expired", sessions(count)),
            Left::EndedSessions => {
                format!("{}: ended with the connection", sessions(count))
            }
            Left::OfSessions => format!("{} of sessions that are left", messages(count)),
            Left::NoMessage => format!(
                "{}: not in the file, as Mosquitto keeps none that had expired, and none of $SYS",
                messages(count)
            ),
            Left::NoClient => format!(
                "{} or subscriptions of clients that are not in the file",
                messages(count)
            ),
            Left::BadClients => format!(
                "{}: the client id or user name is empty, there twice or not UTF-8",
                counted(count, "client", "clients")
            ),
            Left::BadMessages => format!(
                "{}: the topic, QoS or properties are not what MQTT allows",
                messages(count)
            ),
            Left::BadFilters => format!(
                "{}: the topic filter is not what MQTT allows",
                counted(count, "subscription", "subscriptions")
            ),
            Left::Unanswered => format!(
                "{} of QoS 2 that Mosquitto had not answered: the publishers send them again",
                messages(count)
            ),
            Left::Sys => format!(
                "{}: below $SYS, where footbridge has its own",
                counted(count, "retained message", "retained messages")
            ),
            Left::Unknown => format!(
                "{} of a kind that is not known",
                counted(count, "record", "records")
            ),
            Left::NoBridge(id) => format!(
                "{} for the bridge {id}: no connection of the configuration has this local_clientid. \
                 To bring them, add it, move the new store away and import again",
                messages(count)
            ),
            Left::NotDurable(id) => format!(
                "{} for the bridge {id}: local_cleansession of its connection is true, so it keeps none",
                messages(count)
            ),
            Left::NoLine(id) => format!(
                "{} for the bridge {id}: no topic line of its connection carries them",
                messages(count)
            ),
        }
    }
}
