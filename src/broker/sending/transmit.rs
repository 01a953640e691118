//! One message on its way into an outbox.

use std::rc::Rc;

use crate::bridge::{LinkKind, LoopGuard, Wire};
use crate::broker::connections::Writer;
use crate::broker::core::Scratch;
use crate::broker::counters::Counters;
use crate::broker::queues::age::is_too_old;
use crate::broker::sessions::{DropReason, Session};
use crate::broker::settings::Settings;
use crate::mqtt::PropsBuf;
use crate::session::Entry;
use crate::time::Time;

/// What became of a message on its way to the outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Transmitted {
    /// It is in the outbox.
    Sent,
    /// It is too large for the peer [MQTT-3.1.2-24].
    TooLarge,
    /// It is too old.
    TooOld,
    /// The client may not read it any more.
    Denied,
    /// The bridge does not map it, or it is not below the mount point.
    NotMapped,
    /// The upstream closes the connection on what goes to its topic.
    Forbidden,
}

impl Transmitted {
    /// Why a message that was not sent is counted as dropped.
    pub(crate) fn drop_reason(self) -> Option<DropReason> {
        match self {
            Transmitted::TooOld => Some(DropReason::Expired),
            Transmitted::TooLarge => Some(DropReason::TooLarge),
            Transmitted::Denied => Some(DropReason::Denied),
            Transmitted::Forbidden => Some(DropReason::Refused),
            Transmitted::NotMapped => Some(DropReason::NotMapped),
            Transmitted::Sent => None,
        }
    }
}

/// What of the broker it takes to send a message.
pub(crate) type With<'a> = (
    &'a Settings,
    &'a mut Counters,
    &'a mut Scratch,
    &'a mut LoopGuard,
);

/// Sends a message that has waited, unless it has grown too old or the rules, which may have
/// changed since it was queued, forbid it.
pub(super) fn transmit_queued(
    writer: &mut Writer<'_>,
    session: &Session,
    entry: &Entry,
    (settings, counters, scratch, loops): With<'_>,
    now: Time,
) -> Transmitted {
    let auth = &settings.auth;
    if is_too_old(session, entry, now) {
        Transmitted::TooOld
    } else if !auth.open()
        && !session.is_bridge()
        && !auth.may_read(&session.who(), entry.message.topic())
    {
        Transmitted::Denied
    } else {
        transmit(
            writer,
            session,
            (entry, None),
            (settings, counters, scratch, loops),
            now,
        )
    }
}

/// Appends a message to the outbox of one peer, on the topic that it has there. `topic`: the
/// message's, where that was read out of it already.
pub(crate) fn transmit(
    writer: &mut Writer<'_>,
    session: &Session,
    (entry, topic): (&Entry, Option<&str>),
    (settings, counters, scratch, loops): With<'_>,
    now: Time,
) -> Transmitted {
    let Scratch { outward, props, .. } = scratch;
    let (message, mut retain) = (&*entry.message, entry.owed.retain);
    let conn = writer.connection();
    let topic = match (conn.wire(), conn.listener()) {
        (Some(wire), _) => {
            retain = wire.retain(retain);
            let end = session.bridge();
            let line = end.and_then(|end| end.place(entry.owed.lane));
            wire.outward(line, message, outward, now)
                .then_some(outward.as_str())
        }
        (None, Some(listener)) => {
            settings.unmounted(listener, topic.unwrap_or_else(|| message.topic()))
        }
        (None, None) => None,
    };
    let Some(topic) = topic else {
        return Transmitted::NotMapped;
    };
    let is_forbidden = |wire: &Rc<Wire>| wire.is_forbidden(topic);
    if conn.wire().is_some_and(is_forbidden) {
        return Transmitted::Forbidden;
    }
    let is_sent = if writer.connection().link() > LinkKind::None {
        publish_to_link(writer, (entry, topic, retain), (props, loops), now)
    } else {
        writer.publish(entry, topic, retain, (props, None), now)
    };
    if !is_sent {
        return Transmitted::TooLarge;
    }
    if let Some(wire) = writer.connection().wire() {
        wire.sent(topic, entry.owed.qos, entry.packet_id());
    }
    counters.publish_sent += 1;
    counters.publish_bytes_sent += message.payload().len() as u64;
    Transmitted::Sent
}

/// Sends a message on a link between brokers, with a mark while messages go round. False if it is too large.
fn publish_to_link(
    writer: &mut Writer<'_>,
    (entry, topic, retain): (&Entry, &str, bool),
    (props, loops): (&mut PropsBuf, &mut LoopGuard),
    now: Time,
) -> bool {
    let message = &*entry.message;
    let content = (message.topic_bytes(), message.payload());
    let mark = loops
        .is_awake(now)
        .then(|| loops.mark(content, message.props()));
    let mut publish = |mark| writer.publish(entry, topic, retain, (&mut *props, mark), now);
    // The mark may be what makes it too large.
    let is_sent = publish(mark.as_deref()) || mark.is_some() && publish(None);
    if is_sent {
        loops.passes(message.origin.client_id(), content, message.props(), now);
    }
    is_sent
}
