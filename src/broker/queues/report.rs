//! What the operator can see of queues: how deep, how old, what was dropped, and how long the
//! bound will last.

use std::time::Duration;

use crate::bridge::{GivenUp, LineBounds, LocalEnd, Moved, Pace, PausedLane, Rates};
use crate::broker::bridges::BridgeId;
use crate::broker::core::Core;
use crate::broker::sessions::{DropReason, Session};
use crate::config::{Bounds, Overflow};
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::store::{Amount, DropRecord};
use crate::time::Time;

/// The queue of a bridge.
#[derive(Clone, Debug)]
pub struct BridgeQueue<'a> {
    /// Which bridge it is.
    pub bridge: BridgeId,
    /// The name after `connection`.
    pub name: &'a str,
    /// What its upstream is owed.
    pub owed: Amount,
    /// The age of the oldest message, about.
    pub oldest: Option<Duration>,
    /// What was dropped, as one row.
    pub dropped: Option<DropRecord>,
    /// Messages that their publishers were refused since the start, because it is full.
    pub refused: u64,
    /// How often the upstream refused a message since the start.
    pub put_back: u64,
    /// How many lanes are paused, because the upstream refuses what they have.
    pub paused: u64,
    /// What the upstream will never take.
    pub dead: Amount,
    /// Its upstream is being brought up to date with what is retained.
    pub is_syncing: bool,
    /// Retained topics that were brought up to date since the start.
    pub synced: u64,
    /// What the bridge does without towards its upstreams, and why.
    pub given_up: Vec<GivenUp>,
    /// How much may be under way; `None` while the bridge is not connected.
    pub window: Option<UplinkWindow>,
    /// What the uplink has moved, and how the queue goes.
    pub activity: UplinkActivity,
    /// The lines that carry messages out.
    pub lines: Vec<LineQueue<'a>>,
}

/// How much may be under way to the upstream of a bridge at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UplinkWindow {
    /// QoS 1 and 2 messages.
    pub messages: u16,
    /// Bytes of their payloads; 0 is no bound.
    pub bytes: u64,
    /// The number of messages is what limits the link: more wait, and nothing queues on the way.
    pub is_limit: bool,
}

/// What the uplink of a bridge has moved, and how its queue goes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct UplinkActivity {
    /// What the upstream has acknowledged since the start, or was sent at QoS 0.
    pub sent: Moved,
    /// What came from the upstream since the start.
    pub received: Moved,
    /// Messages a second, over the last minute.
    pub rates: Rates,
    /// How long until nothing waits; `None` where the queue does not become shorter.
    pub drains_in: Option<Duration>,
    /// How long the queue has room; `None` where it does not fill, or has no bound.
    pub fills_in: Option<Duration>,
    /// Bytes that went over the socket today, both ways together.
    pub today: u64,
    /// The same in this month.
    pub this_month: u64,
}

/// What one `topic` line has queued.
#[derive(Clone, Debug)]
pub struct LineQueue<'a> {
    /// Its place in the configuration, from 1.
    pub number: u16,
    /// Local prefix and pattern.
    pub pattern: &'a str,
    /// What the upstream is owed by it.
    pub owed: Amount,
    /// What was dropped, as one row.
    pub dropped: Option<DropRecord>,
    /// It waits, because the upstream refuses what it has.
    pub paused: Option<PausedLane>,
}

/// What a client did not get.
#[derive(Clone, Copy, Debug)]
pub struct ClientDrops<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// What was dropped, as one row.
    pub dropped: Option<DropRecord>,
    /// Messages that their publishers were refused since the start, because its queue is full.
    pub refused: u64,
}

impl DropReason {
    /// The name in `$SYS` of the reason in a record.
    pub fn name_of(record: &DropRecord) -> &'static str {
        let reason = DropReason::ALL.get(usize::from(record.reason));
        reason.map_or("unknown", |reason| reason.name())
    }
}

/// The local ends of the bridges.
fn ends(core: &Core) -> impl Iterator<Item = (BridgeId, &Session, &LocalEnd)> {
    let bridges = core.bridges.iter();
    let sessions = bridges.filter_map(|(bridge, key)| Some((bridge, core.sessions.get(key)?)));
    sessions.filter_map(|(bridge, session)| Some((bridge, session, session.bridge()?)))
}

/// The queues of the bridges.
pub(crate) fn bridge_queues(core: &Core, now: Time) -> impl Iterator<Item = BridgeQueue<'_>> {
    ends(core).map(move |end| queue_of(core, end, now))
}

/// The queue of a bridge; `None` if there is no such bridge.
pub(crate) fn bridge_queue(core: &Core, bridge: BridgeId, now: Time) -> Option<BridgeQueue<'_>> {
    let end = ends(core).find(|(known, ..)| *known == bridge)?;
    Some(queue_of(core, end, now))
}

fn queue_of<'a>(
    core: &'a Core,
    (bridge, session, end): (BridgeId, &'a Session, &'a LocalEnd),
    now: Time,
) -> BridgeQueue<'a> {
    let queue = &session.outbound;
    let drops = session.drops();
    let lines = (1..).zip(end.lines());
    let lines = lines.map(|(place, (number, line))| LineQueue {
        number: place,
        pattern: &line.pattern,
        owed: queue.owed_by(Lane::Bridge(number)),
        dropped: drops.and_then(|drops| drops.sum(Some(Lane::Bridge(number)))),
        paused: end
            .refusals
            .paused()
            .find(|paused| paused.lane == Lane::Bridge(number)),
    });
    let given_up = end.given_up.1.iter().filter_map(GivenUp::of);
    BridgeQueue {
        bridge,
        name: &end.name,
        owed: queue.owed(),
        oldest: queue.oldest(None).map(|at| now.since(at)),
        dropped: drops.and_then(|drops| drops.sum(None)),
        refused: drops.map_or(0, |drops| drops.refused().messages),
        put_back: end.refusals.count,
        paused: end.refusals.paused().count() as u64,
        dead: queue.owed_by(Lane::Dead),
        is_syncing: end.retained.is_under_way(),
        synced: end.retained.topics(),
        given_up: given_up.filter(|known| known.until > now).collect(),
        window: window(session, end),
        activity: activity(core, session, end, now),
        lines: lines.collect(),
    }
}

fn activity(core: &Core, session: &Session, end: &LocalEnd, now: Time) -> UplinkActivity {
    let (activity, volume) = (&end.activity, &end.volume);
    let owed = session.outbound.owed();
    UplinkActivity {
        sent: activity.sent(),
        received: activity.received(),
        rates: activity.rates(now),
        drains_in: activity.drains_in(owed, now),
        fills_in: fills_in(core, session, end, now),
        today: volume.today(now),
        this_month: volume.this_month(now),
    }
}

/// How long the queue of a bridge has room. While the uplink is down, what comes in stays: then the mean of
/// the last hours counts as well, if that is more.
fn fills_in(core: &Core, session: &Session, end: &LocalEnd, now: Time) -> Option<Duration> {
    let bounds = core.settings.bounds();
    let owed = session.outbound.owed();
    let by_bytes = (bounds.bytes > 0).then(|| {
        let room = bounds.bytes.saturating_sub(owed.weight());
        let hourly = end
            .rate
            .hourly()
            .filter(|hourly| session.conn.is_none() && *hourly > 0);
        let by_mean = hourly.map(|hourly| {
            let seconds = u128::from(room) * 3600 / u128::from(hourly);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
        });
        [end.activity.fills_in(owed, room, now), by_mean]
    });
    let by_count = (bounds.messages > 0).then(|| {
        let room = bounds.messages.saturating_sub(owed.messages);
        end.activity.fills_with_in(owed, room, now)
    });
    let all = by_bytes.into_iter().flatten().chain(by_count);
    all.flatten().min()
}

/// How much may be under way to the upstream of a bridge; `None` if there is no such bridge, or it is not
/// connected.
pub(crate) fn bridge_window(core: &Core, bridge: BridgeId) -> Option<UplinkWindow> {
    let session = core.sessions.get(core.bridges.get(bridge)?)?;
    window(session, session.bridge()?)
}

fn window(session: &Session, end: &LocalEnd) -> Option<UplinkWindow> {
    session.conn?;
    let (messages, bytes) = session.outbound.window();
    Some(UplinkWindow {
        messages,
        bytes,
        is_limit: end.pace.as_ref().is_some_and(Pace::is_limited),
    })
}

/// The clients, bridges aside, on the way to which messages were dropped or refused.
pub(crate) fn client_drops(core: &Core) -> impl Iterator<Item = ClientDrops<'_>> {
    let clients = core.sessions.iter().map(|(_, session)| session);
    clients
        .filter(|s| !s.is_bridge() && !s.is_ended())
        .filter_map(|s| {
            let drops = s.drops()?;
            Some(ClientDrops {
                client_id: s.client_id(),
                dropped: drops.sum(None),
                refused: drops.refused().messages,
            })
        })
}

/// One sentence for the clients and one for each bridge, and for each of its lines with a bound of
/// its own: what the bound of the queue means.
pub(crate) fn describe_queues(core: &mut Core, now: Time) -> Vec<String> {
    for key in core.bridges.keys().collect::<Vec<_>>() {
        if let Some(end) = core.sessions.get_mut(key).and_then(Session::bridge_mut) {
            end.told = end.rate.hourly().is_some();
        }
    }
    let general = core.settings.bounds();
    let policy = core.settings.general.queue_overflow;
    let limit = limit(general, policy);
    let mut lines = vec![format!("Clients: each with a session queues {limit}.")];
    for (_, session, end) in ends(core) {
        lines.push(describe_bridge(core, session, end, now));
        let own = end.lines().map(|(_, line)| line);
        lines.extend(own.filter_map(|line| describe_line(end, line, general, policy)));
    }
    lines
}

/// What the bound of one line means, if it has one of its own.
fn describe_line(
    end: &LocalEnd,
    line: &LineBounds,
    general: Bounds,
    policy: Overflow,
) -> Option<String> {
    let (bounds, overflow) = (line.bounds, line.overflow);
    let is_own = bounds != Bounds::default();
    if !is_own && overflow.is_none() && line.ttl.is_none() && !line.keeps_qos0 {
        return None;
    }
    let what = if line.keeps_qos0 {
        "queues QoS 0 as well,"
    } else {
        "queues"
    };
    let ttl = line
        .ttl
        .map(|ttl| format!(", none older than {}", span(ttl)));
    let bounds = if is_own { bounds } else { general };
    let limit = limit(bounds, overflow.unwrap_or(policy));
    let (name, pattern) = (&end.name, &line.pattern);
    let ttl = ttl.unwrap_or_default();
    Some(format!(
        "Bridge {name}, topic {pattern}: {what} {limit}{ttl}."
    ))
}

fn describe_bridge(core: &Core, session: &Session, end: &LocalEnd, now: Time) -> String {
    let name = &end.name;
    if !session.is_durable() {
        return format!("Bridge {name}: queues nothing while its uplink is down (cleansession).");
    }
    let bounds = core.settings.bounds();
    let limit = limit(bounds, core.settings.general.queue_overflow);
    let lasts = match end.rate.hourly() {
        None => "how fast it fills is not known yet".to_owned(),
        Some(0) => "nothing has come in lately".to_owned(),
        Some(hourly) => {
            let rate = size(hourly.div_ceil(3600));
            match bounds.bytes {
                0 => format!("it fills at {rate}/s"),
                bytes => {
                    let seconds = u128::from(bytes) * 3600 / u128::from(hourly);
                    let lasts = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
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
    let dead = match queue.owed_by(Lane::Dead).messages {
        0 => String::new(),
        count => format!("; dead letters: {count}"),
    };
    format!("Bridge {name}: queues {limit}; {lasts}; {waits}{dead}.")
}

/// Tells once what the bound of a bridge means, when its rate has become known.
pub(super) fn tell_rate(core: &mut Core, key: SessionKey, now: Time) {
    let Some(end) = core.sessions.get_mut(key).and_then(Session::bridge_mut) else {
        return;
    };
    if end.told || end.rate.hourly().is_none() {
        return;
    }
    end.told = true;
    if let Some(session) = core.sessions.get(key)
        && let Some(end) = session.bridge()
    {
        log::info!("{}", describe_bridge(core, session, end, now));
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
pub(crate) fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

/// Bytes, as sizes in the configuration count them.
pub(crate) fn size(bytes: u64) -> String {
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
