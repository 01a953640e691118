//! A client of the file as a session of the store: how long it lasts, what it is subscribed to, and which
//! packet ids its messages have.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bridges::{self, BridgeEnd};
use super::gather::{Known, Place, Wanted};
use super::moment::Moment;
use super::native::Order;
use super::records::Lasts;
use super::report::{Left, Report};
use crate::config::Config;
use crate::lane::{Lane, ShareNo};
use crate::message::{MessageId, SessionId};
use crate::mqtt::{PacketId, QoS, RetainHandling, TopicFilter, Version, share};
use crate::store::{SessionRecord, StateRecord, SubscriptionRecord};
use crate::time::Time;

/// Packet ids before they come round.
const TURN: u64 = 65_535;

/// How far the handshake about a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// It was never sent.
    Waits,
    /// It was sent; PUBACK or PUBREC is due.
    Sent(PacketId),
    /// PUBREC came; PUBCOMP is due.
    Releasing(PacketId),
    /// The client has published it, and has the PUBREC; its PUBREL is due, and with that it is to be
    /// routed.
    Received(PacketId),
    /// The client has published it, and has no answer.
    Unanswered,
    /// It has been dealt with.
    Done,
}

impl Progress {
    /// How far that of a place in a queue is. The numbers are those of the states in Mosquitto's file.
    pub(super) fn of(place: &Place) -> Progress {
        let id = PacketId::new(place.packet_id);
        match (place.incoming, place.state, id) {
            // Waiting for PUBREL, or PUBREC is to be sent.
            (true, 7 | 10, Some(id)) if place.qos == 2 => Progress::Received(id),
            // PUBCOMP is to be sent again.
            (true, 8, _) => Progress::Done,
            (true, ..) => Progress::Unanswered,
            // To be sent, or waiting for PUBACK or PUBREC.
            (false, 2..=5, Some(id)) if place.qos > 0 => Progress::Sent(id),
            // PUBREL is to be sent, or waiting for PUBCOMP.
            (false, 6 | 9, Some(id)) if place.qos == 2 => Progress::Releasing(id),
            (false, ..) => Progress::Waits,
        }
    }
}

/// A session that is brought over.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The bridge that it belongs to.
    pub(super) bridge: Option<BridgeEnd>,
    pub(super) record: SessionRecord,
    pub(super) state: StateRecord,
    /// The packet ids of messages under way.
    taken: BTreeSet<PacketId>,
    /// The place of the next message in the sequence.
    next_seq: u64,
}

/// What becomes of a client of the file.
#[derive(Debug)]
pub(super) enum Fate {
    /// It is brought over.
    Comes(Box<Session>),
    /// It is left, and this is said of each of its messages.
    Stays(Left),
}

impl Fate {
    /// Decides about a client. `is_known` says whether the file has a client of an id.
    pub(super) fn decide(
        (config, moment): (&Config, &Moment),
        (client, order): (&Known, Order),
        id: SessionId,
        is_known: impl Fn(&str) -> bool,
        report: &mut Report,
    ) -> Fate {
        let bridge = match bridges::find(config, client, is_known) {
            Ok(bridge) => bridge,
            Err(left) => return Fate::Stays(left),
        };
        let lifetime = match bridge {
            Some(_) => Ok((u32::MAX, moment.now)),
            None => lifetime(client.lasts, order, config, moment),
        };
        let (expiry, since) = match lifetime {
            Ok(lifetime) => lifetime,
            Err(left) => {
                report.leave(left, 1);
                return Fate::Stays(Left::OfSessions);
            }
        };
        let record = SessionRecord {
            client_id: client.id.clone(),
            username: client.username.clone(),
            listener: listener(config, client.port),
            version: match expiry {
                u32::MAX => Version::V311,
                _ => Version::V5,
            },
            expiry,
            disconnected_at: Some(since),
            subscriptions: Vec::new(),
            will: None,
            bridge: bridge.is_some(),
            subscribed_upstream: Vec::new(),
            given_up: (0, Vec::new()),
            lines: Vec::new(),
            ended: false,
        };
        let next_seq = 2 * TURN + u64::from(client.last_packet_id) % TURN;
        let mut session = Session {
            id,
            record,
            state: StateRecord {
                next_seq,
                ..StateRecord::default()
            },
            taken: BTreeSet::new(),
            next_seq,
            bridge,
        };
        session.set_rest(client, report);
        Fate::Comes(Box::new(session))
    }
}

impl Session {
    /// What is another thing with a bridge: it is subscribed to what the configuration says.
    fn set_rest(&mut self, client: &Known, report: &mut Report) {
        if let Some(bridge) = &self.bridge {
            self.record.client_id.clone_from(&bridge.client_id);
            self.record.username.clone_from(&bridge.username);
            self.record.listener = None;
            self.record.version = Version::V5;
            self.record.lines = bridge.lines();
            report.bridges += 1;
            return;
        }
        let mut shares = ShareNo::all();
        for wanted in &client.subscriptions {
            match subscription(wanted, &mut shares) {
                Some(record) => {
                    self.record.subscriptions.push(record);
                    report.subscriptions += 1;
                }
                None => report.leave(Left::BadFilters, 1),
            }
        }
        report.sessions += 1;
    }

    /// Takes the packet id of a message under way; false if another has it, which MQTT does not allow.
    pub(super) fn take_id(&mut self, id: PacketId) -> bool {
        self.taken.insert(id)
    }

    /// The message is under way, under a packet id that was taken.
    pub(super) fn note(&mut self, progress: Progress, id: MessageId) {
        match progress {
            Progress::Sent(_) => self.state.sent.push(id),
            Progress::Releasing(packet_id) => self.state.releasing.push((packet_id, id)),
            Progress::Received(packet_id) => self.state.received.push(packet_id),
            Progress::Waits | Progress::Unanswered | Progress::Done => {}
        }
    }

    /// The place in the sequence of a message: packet ids follow from it.
    pub(super) fn seq(&mut self, progress: Progress, qos: QoS) -> u64 {
        match progress {
            Progress::Sent(id) | Progress::Releasing(id) => {
                // The latest before the first of those that were never sent.
                let offset = u64::from(id.get()) - 1;
                let latest = 2 * TURN + offset;
                if latest < self.state.next_seq {
                    latest
                } else {
                    TURN + offset
                }
            }
            _ if qos == QoS::AtMostOnce => 0,
            _ => {
                let seq = self.next_seq;
                self.next_seq += 1;
                seq
            }
        }
    }
}

/// The name of the listener with a port, if rules depend on that.
pub(super) fn listener(config: &Config, port: Option<u16>) -> Option<Box<str>> {
    let port = port.filter(|port| *port != 0 && config.general.per_listener_settings)?;
    let mut named = config.named_listeners();
    let (name, _) = named.find(|(_, listener)| listener.port == port)?;
    Some(name.into())
}

/// The session expiry interval in seconds, and since when the client is absent.
///
/// # Errors
/// The session has ended.
fn lifetime(
    lasts: Lasts,
    order: Order,
    config: &Config,
    moment: &Moment,
) -> Result<(u32, Time), Left> {
    let (end, interval) = match lasts {
        Lasts::Since(since) => {
            let since = match since.value(order) {
                0 => moment.now,
                since => moment.at(since).min(moment.now),
            };
            return Ok((u32::MAX, since));
        }
        Lasts::Until { interval: 0, .. } => return Err(Left::EndedSessions),
        Lasts::Until { end, interval } => (end.value(order), interval),
    };
    if end == 0 {
        return Ok((interval, moment.now));
    }
    if moment.has_passed(end) {
        return Err(Left::ExpiredSessions);
    }
    // One that never expires ends by what the configuration says.
    let span = match interval {
        u32::MAX => config.general.persistent_client_expiration,
        interval => Some(Duration::from_secs(interval.into())),
    };
    let since = span.map_or(moment.now, |span| moment.at(end) - span);
    Ok((interval, since.min(moment.now)))
}

/// A subscription of a client; `None` if its filter is none, or there is no number for its share.
fn subscription(
    wanted: &Wanted,
    shares: &mut impl Iterator<Item = ShareNo>,
) -> Option<SubscriptionRecord> {
    TopicFilter::new(&wanted.filter).ok()?;
    let lane = match share(&wanted.filter) {
        Some(_) => Lane::Share(shares.next()?),
        None => Lane::Client,
    };
    let options = wanted.options;
    Some(SubscriptionRecord {
        filter: wanted.filter.clone(),
        qos: QoS::from_bits(options & 0x03)?,
        no_local: options & 0x04 != 0,
        retain_as_published: options & 0x08 != 0,
        retain_handling: match options >> 4 & 0x03 {
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DontSend,
            _ => RetainHandling::Send,
        },
        sub_id: Some(wanted.identifier).filter(|id| *id != 0),
        lane,
        awaits_retained: false,
    })
}
