//! PUBLISH from a peer.

pub(crate) mod pieces;
mod round;

use std::rc::Rc;
use std::time::Duration;

use super::answer::{accept, acknowledge, waiting};
use super::parked::{behind, no_room, waits_already};
use crate::bridge::{Inward, LinkKind, Wire, has_marks};
use crate::broker::connections::{Connection, Reply};
use crate::broker::core::Core;
use crate::broker::delivering::checks::{is_in_format, is_reserved};
use crate::broker::delivering::spread::{self, route};
use crate::broker::ending::close::close;
use crate::broker::queues::drops::drop_message;
use crate::broker::routing::Remaining;
use crate::broker::sending::pump::pump;
use crate::broker::sending::replies::reply_once;
use crate::broker::sessions::{DropReason, Session};
use crate::broker::settings::Settings;
use crate::impossible;
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::message::{Message, Parts};
use crate::mqtt::{
    Delivery, KEPT_PROPS_BYTES, PacketId, Publish, PublishProps, QoS, Reason, TopicName,
};
use crate::session::Receipt;
use crate::time::Time;
use round::look;

/// What to do with a PUBLISH.
pub(super) enum Verdict<'a> {
    /// Route it; its topic.
    Take(Rc<Message>, &'a str),
    /// This QoS 2 message was routed before: only acknowledge it again.
    Again(PacketId),
    /// It waits for room already.
    Wait,
    /// Acknowledge it with this reason and drop it.
    Drop(Reason),
    /// Acknowledge it, drop it, and count so many bytes as dropped for this reason: an upstream that
    /// is refused a message delivers it again.
    Lose(DropReason, u64),
    /// Close the connection with this reason.
    Close(Reason),
}

/// Handles a PUBLISH. It becomes a message, the message goes to its receivers, and its publisher gets
/// its acknowledgement.
pub(crate) fn on_publish(core: &mut Core, c: ConnId, publish: &Publish<'_>, now: Time) {
    core.counters.publish_received += 1;
    core.counters.publish_bytes_received += publish.payload.len() as u64;
    let (mut room, mut local) = (std::mem::take(&mut core.scratch.topic), String::new());
    core.scratch.forwarded.clear();
    core.scratch.forwarded.shrink_to(KEPT_PROPS_BYTES);
    let props = publish.props.read_publish(&mut core.scratch.forwarded);
    match publisher(core, c, publish, &props, &mut room) {
        Ok(publisher) => {
            if publisher.wire.is_some() {
                note_received(core, publisher.key, publish.payload.len(), now);
            }
            let verdict = match had_before(core, (c, publisher.key), publish.delivery) {
                Some(verdict) => verdict,
                // Only an upstream comes here: it uses an alias that it has not set.
                None if publisher.topic.is_empty() => {
                    Verdict::Lose(DropReason::Malformed, size(publish))
                }
                None => make_message(core, &publisher, publish, &props, &mut local, now),
            };
            act(core, (c, publisher.key), verdict, publish.delivery, now);
        }
        Err(reason) => close(core, c, reason, now),
    }
    core.scratch.topic = room;
}

/// The upstream of a bridge has sent a message with so many bytes of payload.
fn note_received(core: &mut Core, key: SessionKey, payload: usize, now: Time) {
    let session = core.sessions.get_mut(key);
    if let Some(end) = session.and_then(Session::bridge_mut) {
        end.activity.count_received(payload, now);
    }
}

/// What counts of a PUBLISH that is dropped, in bytes.
fn size(publish: &Publish<'_>) -> u64 {
    (publish.topic.len() + publish.payload.len()) as u64
}

/// What to do with a PUBLISH that has been here before.
pub(super) fn had_before<'a>(
    core: &Core,
    (c, key): (ConnId, SessionKey),
    delivery: Delivery,
) -> Option<Verdict<'a>> {
    match delivery {
        Delivery::ExactlyOnce(id, _) if is_known(core, key, id) => Some(Verdict::Again(id)),
        delivery if waits_already(core, c, delivery) => Some(Verdict::Wait),
        _ => None,
    }
}

/// Who publishes, and on which topic.
struct Publisher<'a> {
    key: SessionKey,
    /// As the peer means it: below the mount point of a client, not mapped yet for a bridge. Empty if
    /// the PUBLISH of an upstream has none.
    topic: &'a str,
    /// The topic map of a bridge.
    wire: Option<Rc<Wire>>,
    /// Whether it is another broker.
    link: LinkKind,
}

/// Checks a PUBLISH against what the peer was told, and finds its topic. An error ends the
/// connection. `room`: where it is put together.
fn publisher<'a>(
    core: &mut Core,
    c: ConnId,
    publish: &Publish<'a>,
    props: &PublishProps,
    room: &'a mut String,
) -> Result<Publisher<'a>, Reason> {
    let conn = core.connections.get_mut(c);
    let Some((conn, key)) = conn.and_then(|conn| conn.session().map(|key| (conn, key))) else {
        impossible!("a connection that is open has no session");
        return Err(Reason::UNSPECIFIED);
    };
    check_limits(conn, &core.settings, publish, props)?;
    let named = name_topic(conn, &core.settings, publish, props, room);
    let (wire, link) = (conn.wire().cloned(), conn.link());
    let topic = match named {
        // An alias beyond what it was told: the name that stands beside it does.
        Err(_) if wire.is_some() => publish.topic,
        named => named?,
    };
    Ok(Publisher {
        key,
        topic,
        wire,
        link,
    })
}

/// Checks a PUBLISH against what the peer was told.
fn check_limits(
    conn: &mut Connection,
    settings: &Settings,
    publish: &Publish<'_>,
    props: &PublishProps,
) -> Result<(), Reason> {
    if publish.delivery.id().is_some() && !conn.count_unacked() {
        return Err(Reason::RECEIVE_MAXIMUM_EXCEEDED);
    }
    let Some(listener) = conn.listener() else {
        return Ok(());
    };
    // A client never sends one [MQTT-3.3.4-6].
    if props.has_subscription_id {
        return Err(Reason::PROTOCOL_ERROR);
    }
    if publish.delivery.qos() > settings.max_qos(listener) {
        return Err(Reason::QOS_NOT_SUPPORTED);
    }
    if publish.retain && !settings.general.retain_available {
        return Err(Reason::RETAIN_NOT_SUPPORTED);
    }
    Ok(())
}

/// Finds the topic a PUBLISH is for, by name or by alias, below the mount point of the client. An
/// alias stands for the whole topic. `room` takes a topic that does not stand in the packet as it is.
fn name_topic<'a>(
    conn: &mut Connection,
    settings: &Settings,
    publish: &Publish<'a>,
    props: &PublishProps,
    room: &'a mut String,
) -> Result<&'a str, Reason> {
    room.clear();
    let listener = conn.listener();
    let mount = listener.and_then(|at| settings.listener(at)?.mount_point());
    if let Some(mount) = mount.filter(|_| !publish.topic.is_empty()) {
        room.push_str(mount);
        room.push_str(publish.topic);
        TopicName::new(room).map_err(|_| Reason::TOPIC_NAME_INVALID)?;
    }
    if let Some(alias) = props.topic_alias {
        let max = listener.map_or(0, |at| settings.max_topic_alias(at));
        let named = if room.is_empty() {
            publish.topic
        } else {
            room.as_str()
        };
        if let Some(known) = conn.resolve_alias(named, alias, max)? {
            room.push_str(known);
        }
    }
    Ok(if room.is_empty() { publish.topic } else { room })
}

/// True if a QoS 2 message was received before, whatever it says now.
fn is_known(core: &Core, key: SessionKey, id: PacketId) -> bool {
    let session = core.sessions.get(key);
    session.is_some_and(|session| session.inbound.look(id) == Receipt::Known)
}

/// Answers a message that was received before: after the commit that holds its id.
fn acknowledge_again(core: &mut Core, (c, key): (ConnId, SessionKey), id: PacketId, now: Time) {
    let ack = Reply::PubRec(id, Reason::SUCCESS);
    if let Some(conn) = core.connections.get_mut(c) {
        conn.uncount_unacked();
    }
    let is_durable = core.sessions.get(key).is_some_and(|s| s.is_durable());
    let is_saved = !is_durable || core.is_saved(key);
    reply_once(core, c, ack, is_saved, now);
}

/// Makes the remote topic of a message from upstream the local one, unless it is not to be taken in.
fn map_inward<'a>(
    wire: &Wire,
    (publish, remote): (&Publish<'_>, &str),
    is_marked: bool,
    local: &mut String,
    now: Time,
) -> Option<Verdict<'a>> {
    match wire.inward((remote, publish.payload), is_marked, local, now) {
        // The topic that its line makes of it may have too many levels.
        Inward::Taken if TopicName::new(local).is_ok() => None,
        Inward::Taken | Inward::NotMapped => {
            Some(Verdict::Lose(DropReason::NotMapped, size(publish)))
        }
        Inward::Echo => Some(Verdict::Drop(Reason::SUCCESS)),
    }
}

/// Checks a PUBLISH against the rules and makes it a message. `local`: room for the topic that a
/// bridge maps it to.
fn make_message<'a>(
    core: &mut Core,
    publisher: &Publisher<'a>,
    publish: &Publish<'_>,
    props: &PublishProps,
    local: &'a mut String,
    now: Time,
) -> Verdict<'a> {
    let (key, mut topic) = (publisher.key, publisher.topic);
    if let Some(wire) = &publisher.wire {
        let is_marked = has_marks(&core.scratch.forwarded);
        if let Some(verdict) = map_inward(wire, (publish, topic), is_marked, local, now) {
            return verdict;
        }
        topic = local;
    }
    let (sessions, settings) = (&core.sessions, &core.settings);
    let Some(session) = sessions.get(key) else {
        impossible!("a connection has a session that is gone");
        return Verdict::Drop(Reason::SUCCESS);
    };
    if let Some(max) = settings.general.message_size_limit
        && publish.payload.len() > max as usize
    {
        let lost = (1, publish.payload.len() as u64);
        drop_message(core, key, Lane::Client, DropReason::TooLarge, lost, now);
        // As mosquitto.conf(5) has it; the 0x95 that Mosquitto sends is not for PUBACK and PUBREC
        // [MQTT-3.4.2-1].
        return Verdict::Drop(Reason::IMPLEMENTATION_SPECIFIC);
    }
    // As in Mosquitto, a bridge is the operator's own and needs no right, but $SYS is the broker's.
    let is_bridge = publisher.wire.is_some();
    let auth = &settings.auth;
    let is_allowed = is_bridge || auth.allows_all() || auth.may_publish(&session.who(), topic);
    let client = (!is_bridge).then_some(session);
    if is_reserved(&core.router, topic, client) || !is_allowed {
        log::debug!("Denied PUBLISH from {} to {topic}", session.client_id());
        core.counters.denied += 1;
        return Verdict::Drop(Reason::NOT_AUTHORIZED);
    }
    if !is_bridge && !is_in_format(props.is_text, publish.payload) {
        log::debug!("{}: payload is not UTF-8: {topic}", session.client_id());
        return Verdict::Drop(Reason::PAYLOAD_FORMAT_INVALID);
    }
    let origin = Rc::clone(session.origin());
    if look(core, (key, publisher.link), (topic, publish.payload), now).is_cut() {
        return Verdict::Drop(Reason::SUCCESS);
    }
    let parts = Parts {
        topic,
        props: &core.scratch.forwarded,
        payload: publish.payload,
    };
    let Ok(mut message) = Message::new(parts, now, origin) else {
        return Verdict::Close(Reason::TOPIC_NAME_INVALID);
    };
    message.qos = publish.delivery.qos();
    // Only the upstream of a bridge comes here with RETAIN where it is not available.
    message.retain = publish.retain && core.settings.general.retain_available;
    let expiry = props.expiry.map(|secs| Duration::from_secs(secs.into()));
    message.expiry = expiry.map(|expiry| now + expiry);
    Verdict::Take(Rc::new(message), topic)
}

/// Does what was decided about a PUBLISH.
pub(super) fn act(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    verdict: Verdict<'_>,
    delivery: Delivery,
    now: Time,
) {
    match verdict {
        Verdict::Close(reason) => close(core, c, reason, now),
        Verdict::Again(id) => acknowledge_again(core, (c, key), id, now),
        Verdict::Drop(reason) if reason.is_error() => acknowledge(core, c, delivery, reason),
        Verdict::Drop(_) => accept(core, (c, key), delivery, (true, None), now),
        Verdict::Lose(reason, bytes) => {
            drop_message(core, key, Lane::Client, reason, (1, bytes), now);
            accept(core, (c, key), delivery, (true, None), now);
        }
        Verdict::Take(message, topic) => {
            let bytes = topic.len() + message.payload().len();
            let publisher = message.origin.client_id();
            core.talkers.note(publisher, topic, bytes, now);
            let remaining = take(core, (c, key), (&message, topic), delivery, now);
            if !remaining.is_empty() {
                no_room(core, c, (message, delivery), remaining, now);
            }
        }
        Verdict::Wait => {
            if let Some(conn) = core.connections.get_mut(c) {
                conn.uncount_unacked();
            }
        }
    }
}

/// Routes an accepted message and sees to its acknowledgement. Returns what has no room: then the
/// message is not acknowledged.
fn take(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    message: (&Rc<Message>, &str),
    delivery: Delivery,
    now: Time,
) -> Remaining {
    let is_exact = delivery.qos() == QoS::ExactlyOnce;
    // A publisher that is its own subscriber expects PUBREC before the message: of Mosquitto it gets
    // that only after PUBREL.
    if is_exact {
        core.connections.hold_messages(c);
    }
    let publisher = spread::Publisher {
        c,
        delivery,
        waits: waiting(core, (c, key), delivery).is_some(),
        behind: &behind(core, c),
    };
    let Some(routed) = route(core, message, Some(key), Some(&publisher), now) else {
        // The rest follows the last piece.
        return Remaining::default();
    };
    if routed.remaining.is_empty() {
        let answer = (routed.matched, routed.ticket);
        accept(core, (c, key), delivery, answer, now);
    }
    release(core, (c, key), delivery, now);
    routed.remaining
}

/// What is to be answered to a PUBLISH has its place: messages may go to its publisher again.
fn release(core: &mut Core, (c, key): (ConnId, SessionKey), delivery: Delivery, now: Time) {
    if delivery.qos() == QoS::ExactlyOnce {
        core.connections.release_messages(c);
        pump(core, key, now);
    }
    if delivery != Delivery::AtMostOnce && core.ledger.slows_publishers() {
        core.connections.pause(c);
    }
}
