//! What the operator can see of queues: how deep, how old, what was dropped, and how long the
//! bound will last.

use std::time::Duration;

use super::drops::DropReason;
use super::session::Session;
use super::uplink::Uplink;
use super::{BridgeId, Broker};
use crate::config::{Bounds, Overflow};
use crate::store::{Amount, DropRecord};
use crate::time::Time;

/// The queue of a bridge.
#[derive(Clone, Debug)]
pub struct BridgeQueue<'a> {
    /// The name after `connection`.
    pub name: &'a str,
    /// What its upstream is owed.
    pub owed: Amount,
    /// The age of the oldest message, about.
    pub oldest: Option<Duration>,
    /// What was dropped, as one row.
    pub dropped: Option<DropRecord>,
    /// The lines that carry messages out.
    pub lines: Vec<LineQueue<'a>>,
}

/// What one `topic` line has queued.
#[derive(Clone, Debug)]
pub struct LineQueue<'a> {
    /// Its number, from 1.
    pub number: u16,
    /// Local prefix and pattern.
    pub pattern: &'a str,
    /// What the upstream is owed by it.
    pub owed: Amount,
    /// What was dropped, as one row.
    pub dropped: Option<DropRecord>,
}

/// What was dropped on the way to a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientDrops<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// All of it as one row.
    pub dropped: DropRecord,
}

impl DropReason {
    /// The name in `$SYS` of the reason in a record.
    pub fn name_of(record: &DropRecord) -> &'static str {
        let reason = DropReason::ALL.get(usize::from(record.reason));
        reason.map_or("unknown", |reason| reason.name())
    }
}

impl Broker {
    /// Messages and bytes a bridge still owes its upstream.
    pub fn bridge_backlog(&self, bridge: BridgeId) -> (u64, u64) {
        let session = self
            .bridges
            .get(bridge.0)
            .and_then(|s| self.sessions.get(*s));
        session.map_or((0, 0), |s| (s.outbound.len(), s.outbound.bytes()))
    }

    fn uplinks(&self) -> impl Iterator<Item = (&Session, &Uplink)> {
        let sessions = self.bridges.iter().filter_map(|s| self.sessions.get(*s));
        sessions.filter_map(|session| Some((session, session.uplink.as_deref()?)))
    }

    /// The queues of the bridges.
    pub fn bridge_queues(&self, now: Time) -> impl Iterator<Item = BridgeQueue<'_>> {
        self.uplinks().map(move |(session, uplink)| {
            let queue = &session.outbound;
            let drops = session.drops.as_deref();
            let lines = uplink.lines().map(|(number, line)| LineQueue {
                number,
                pattern: &line.pattern,
                owed: queue.owed_by(number),
                dropped: drops.and_then(|drops| drops.sum(Some(number))),
            });
            BridgeQueue {
                name: &uplink.name,
                owed: Amount {
                    messages: queue.len(),
                    bytes: queue.bytes(),
                },
                oldest: queue.oldest(None).map(|at| now.since(at)),
                dropped: drops.and_then(|drops| drops.sum(None)),
                lines: lines.collect(),
            }
        })
    }

    /// The clients, bridges aside, on the way to which messages were dropped.
    pub fn client_drops(&self) -> impl Iterator<Item = ClientDrops<'_>> {
        let clients = self.sessions.iter().map(|(_, session)| session);
        clients
            .filter(|s| s.uplink.is_none() && !s.ended)
            .filter_map(|s| {
                Some(ClientDrops {
                    client_id: s.client_id(),
                    dropped: s.drops.as_deref()?.sum(None)?,
                })
            })
    }

    /// One sentence for the clients and one for each bridge, and for each of its lines with a
    /// bound of its own: what the bound of the queue means.
    pub fn describe_queues(&mut self, now: Time) -> impl Iterator<Item = String> + use<> {
        for index in self.bridges.clone() {
            let session = self.sessions.get_mut(index);
            if let Some(uplink) = session.and_then(|s| s.uplink.as_mut()) {
                uplink.told = uplink.rate.hourly().is_some();
            }
        }
        let (general, policy) = (self.general_bounds(), self.settings.queue_overflow);
        let clients = format!(
            "Clients: each with a session queues {}.",
            limit(general, policy)
        );
        let bridges = self.uplinks().flat_map(|(session, uplink)| {
            let own = uplink.lines().filter_map(|(_, line)| {
                let (bounds, overflow) = (line.bounds, line.overflow);
                let ttl = line
                    .ttl
                    .map(|ttl| format!(", none older than {}", span(ttl)));
                let tells = bounds != Bounds::default() || overflow.is_some() || ttl.is_some();
                tells.then(|| {
                    let bounds = match bounds == Bounds::default() {
                        true => general,
                        false => bounds,
                    };
                    let limit = limit(bounds, overflow.unwrap_or(policy));
                    let ttl = ttl.unwrap_or_default();
                    let (name, pattern) = (&uplink.name, &line.pattern);
                    format!("Bridge {name}, topic {pattern}: queues {limit}{ttl}.")
                })
            });
            let whole = self.describe_bridge(session, uplink, now);
            std::iter::once(whole).chain(own.collect::<Vec<_>>())
        });
        let all: Vec<String> = std::iter::once(clients).chain(bridges).collect();
        all.into_iter()
    }

    pub(super) fn general_bounds(&self) -> Bounds {
        Bounds {
            messages: self.settings.max_queued_messages,
            bytes: self.settings.max_queued_bytes,
        }
    }

    fn describe_bridge(&self, session: &Session, uplink: &Uplink, now: Time) -> String {
        let bounds = self.general_bounds();
        let limit = limit(bounds, self.settings.queue_overflow);
        let lasts = match uplink.rate.hourly() {
            None => "how fast it fills is not known yet".to_owned(),
            Some(0) => "nothing has come in lately".to_owned(),
            Some(hourly) => {
                let rate = size(hourly.div_ceil(3600));
                match bounds.bytes {
                    0 => format!("it fills at {rate}/s"),
                    bytes => {
                        let seconds = u128::from(bytes) * 3600 / u128::from(hourly);
                        let lasts = Duration::from_secs(seconds.min(u64::MAX.into()) as u64);
                        format!("about {} at the last known rate of {rate}/s", span(lasts))
                    }
                }
            }
        };
        let queue = &session.outbound;
        let waits = match queue.oldest(None) {
            Some(at) if !queue.is_empty() => format!(
                "{} ({}) {}, the oldest {} old",
                messages(queue.len()),
                size(queue.bytes()),
                if queue.len() == 1 { "waits" } else { "wait" },
                span(now.since(at))
            ),
            _ => "nothing waits".to_owned(),
        };
        let name = &uplink.name;
        if session.is_durable() {
            format!("Bridge {name}: queues {limit}; {lasts}; {waits}.")
        } else {
            format!("Bridge {name}: queues nothing while its uplink is down (cleansession).")
        }
    }

    /// Tells once what the bound of a bridge means, when its rate has become known.
    pub(super) fn tell_rate(&mut self, index: usize, now: Time) {
        let session = self.sessions.get_mut(index);
        let Some(uplink) = session.and_then(|s| s.uplink.as_mut()) else {
            return;
        };
        if uplink.told || uplink.rate.hourly().is_none() {
            return;
        }
        uplink.told = true;
        if let Some(session) = self.sessions.get(index)
            && let Some(uplink) = &session.uplink
        {
            log::info!("{}", self.describe_bridge(session, uplink, now));
        }
    }
}

/// A bound and its policy in words.
fn limit(bounds: Bounds, policy: Overflow) -> String {
    let upto = match (bounds.messages, bounds.bytes) {
        (0, 0) => return "without a bound".to_owned(),
        (count, 0) => messages(count),
        (0, bytes) => size(bytes),
        (count, bytes) => format!("{} or {}", messages(count), size(bytes)),
    };
    let then = match policy {
        Overflow::Refuse => "refuses",
        Overflow::Oldest => "drops the oldest",
        Overflow::Newest => "drops the newest",
        Overflow::LatestPerTopic => "keeps the latest of each topic",
    };
    format!("up to {upto}, then {then}")
}

/// A number of messages.
pub(super) fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

/// Bytes, as sizes in the configuration count them.
pub(super) fn size(bytes: u64) -> String {
    let units = [("GB", 30), ("MB", 20), ("kB", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes >> shift > 0);
    match unit {
        None => format!("{bytes} B"),
        Some((name, shift)) => {
            let tenths = (u128::from(bytes) * 10) >> shift;
            match tenths % 10 {
                0 => format!("{} {name}", tenths / 10),
                _ if tenths >= 1000 => format!("{} {name}", tenths / 10),
                rest => format!("{}.{rest} {name}", tenths / 10),
            }
        }
    }
}

/// A duration in its largest unit.
fn span(time: Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        172_800..315_360_000 => format!("{} days", secs / 86_400),
        _ => "more than ten years".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_words() {
        let sizes = [0, 1023, 8397, 256 << 20, 10 << 30].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "8.2 kB", "256 MB", "10 GB"]);
        let spans = [5, 150, 32_400, 900_000].map(|s| span(Duration::from_secs(s)));
        assert_eq!(spans, ["5 s", "2 min", "9 h", "10 days"]);
    }
}
