//! Bringing an upstream up to date with what is retained: once its queue is empty, the value of
//! each topic that it may not have is sent beside the queue, straight from what is retained, so that
//! an older value that was queued never comes after it.

use std::rc::Rc;
use std::time::Duration;

use super::account::note_sent;
use super::transmit::{Transmitted, transmit};
use crate::bridge::{LocalEnd, Refusal};
use crate::broker::bridges::is_own;
use crate::broker::core::Core;
use crate::broker::queues::drops::{drop_entry, is_synced};
use crate::broker::routing::Receiver;
use crate::broker::sessions::{DropReason, Session, who};
use crate::keys::SessionKey;
use crate::message::Message;
use crate::mqtt::{QoS, Reason};
use crate::owed::Owed;
use crate::route::Value;
use crate::session::{Done, Entry};
use crate::time::Time;

/// How many topics one look passes over, at most: devices wait meanwhile.
const LOOK: usize = 500;

/// How often to look for cleared topics of which all upstreams were told, at most.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// What a look at the topics has found, and the last one it came to.
enum Found {
    /// This is to be sent.
    Due(Box<[u8]>, Rc<Message>, Owed),
    /// Nothing so far.
    Nothing(Box<[u8]>),
    /// There are no more.
    End,
}

/// Sends an upstream, whose queue has nothing to send, the next retained message that it is to get.
/// True if something was sent or is to be tried again.
pub(super) fn send_next(core: &mut Core, key: SessionKey, now: Time) -> bool {
    while begin(core, key, now) {
        let (looked, found) = find(core, key, now);
        core.work.add(looked);
        match found {
            Some(Found::Due(topic, message, owed)) => {
                send(core, key, &topic, message, owed, now);
                return true;
            }
            Some(Found::Nothing(topic)) => {
                reached(core, key, Some(&topic));
                core.watches.look_again(now);
                return false;
            }
            Some(Found::End) => reached(core, key, None),
            None => return false,
        }
    }
    false
}

/// Sees to it that a pass is under way, if there is to be one, and ends one that is over. False if
/// nothing can be sent now.
fn begin(core: &mut Core, key: SessionKey, now: Time) -> bool {
    let Some(session) = core.sessions.get_mut(key) else {
        return false;
    };
    let is_active = session.bridge().is_some_and(|end| end.retained.is_active());
    if !is_active || !session.outbound.is_drained() {
        return false;
    }
    let (outbound, Some(end)) = session.outbound_and_end() else {
        return false;
    };
    let first = outbound.first_unacknowledged();
    if let Some(outcome) = end.retained.look(first, now) {
        if outcome.topics > 0 {
            let (name, topics) = (&end.name, outcome.topics);
            let plural = if topics == 1 { "" } else { "s" };
            log::info!("Bridge {name}: {topics} retained topic{plural} brought up to date.");
        }
        if outcome.is_over && outbound.is_durable() {
            core.sessions.unsave_state(key);
            if outcome.was_needed {
                core.ledger.lazy(now);
            }
        }
        return begin(core, key, now);
    }
    if let Some(at) = end.retained.begin(outbound.oldest_in_ram(), now) {
        core.watches.look_again(at);
        return false;
    }
    let is_free = !outbound.is_window_full();
    let conn = session.conn.and_then(|c| core.connections.get(c));
    is_free && conn.is_some_and(|conn| conn.takes_message())
}

/// Looks for the next message to send, and tells how many topics it has looked at. `None` if there is no
/// pass, or it has been everywhere.
fn find(core: &Core, key: SessionKey, now: Time) -> (usize, Option<Found>) {
    let session = core.sessions.get(key);
    let end = session.and_then(|session| Some((session, session.bridge()?)));
    let pass = end.and_then(|(session, end)| Some((session, end, end.retained.next_after()?)));
    let Some((session, end, after)) = pass else {
        return (0, None);
    };
    let mut looked = 0;
    for value in core.router.kept_after(after) {
        looked += 1;
        if let Some((message, owed)) = due(core, (key, session, end), &value, now) {
            return (looked, Some(Found::Due(value.key(), message, owed)));
        }
        if looked == LOOK {
            return (looked, Some(Found::Nothing(value.key())));
        }
    }
    (looked, Some(Found::End))
}

/// The message, and how it is to be sent, if the upstream is to get it.
fn due(
    core: &Core,
    (key, session, end): (SessionKey, &Session, &LocalEnd),
    value: &Value<'_>,
    now: Time,
) -> Option<(Rc<Message>, Owed)> {
    let (retained, arrival) = (&end.retained, value.arrival());
    let is_wanted = retained.is_wanted(value.topic());
    if !is_wanted && !retained.is_due(arrival, true) && !retained.is_due(arrival, false) {
        return None;
    }
    if value.expired(now) || is_own(session, value.origin()) {
        return None;
    }
    let (_, line_qos) = end.lane(value.topic_bytes(), QoS::ExactlyOnce)?;
    let message = value.message()?;
    let mut owed = Receiver::of_bridge((key, session), &message, &core.settings)?.owed;
    let is_queued = is_queued(session, &owed);
    if !(is_wanted || retained.is_due(arrival, is_queued)) || !may_still_publish(core, &message) {
        return None;
    }
    // At QoS 1 where the line allows, also if it was published at QoS 0, so that its arrival is
    // known. Not at QoS 2: twice is no harm here, and nothing on disk holds the packet id.
    owed.qos = line_qos.min(QoS::AtLeastOnce);
    owed.retain = true;
    Some((message, owed))
}

/// With `check_retain_source`, a retained message whose publisher has lost the right to publish it
/// is not sent. The broker's own and those of bridges need no right.
pub(crate) fn may_still_publish(core: &Core, message: &Message) -> bool {
    let client_id = message.origin.client_id();
    let is_bridge = |key| core.bridges.has(key);
    !core.settings.general.check_retain_source
        || client_id.is_empty()
        || core.sessions.find(client_id).is_some_and(is_bridge)
        || core
            .settings
            .auth
            .may_have_published(&who(&message.origin), message.topic())
}

fn send(
    core: &mut Core,
    key: SessionKey,
    topic: &[u8],
    message: Rc<Message>,
    mut owed: Owed,
    now: Time,
) {
    let Core {
        sessions,
        connections,
        settings,
        counters,
        scratch,
        loops,
        ..
    } = &mut *core;
    let Some(session) = sessions.known_mut(key) else {
        return;
    };
    let Some(mut writer) = session.conn.and_then(|c| connections.writer(c)) else {
        return;
    };
    owed.qos = owed.qos.min(writer.connection().max_qos());
    let is_acked = owed.qos != QoS::AtMostOnce;
    if is_acked {
        owed.seq = session.outbound.free_seq();
    }
    let entry = Entry::new(message, None, owed);
    let with = (&*settings, counters, scratch, loops);
    let outcome = transmit(&mut writer, session, (&entry, None), with, now);
    let is_sent = outcome == Transmitted::Sent;
    if is_sent && is_acked {
        session.outbound.fly_aside(&entry, now);
    }
    if is_sent && !is_acked {
        note_sent(session, entry.message.payload().len(), now);
    }
    if let Some(end) = session.bridge_mut().filter(|_| is_sent) {
        end.retained
            .sent(entry.message.topic(), entry.owed.qos, now);
    }
    reached(core, key, Some(topic));
    if outcome == Transmitted::TooLarge {
        drop_entry(core, key, &entry, DropReason::TooLarge, now);
    }
}

/// The pass has come to this topic, or has been everywhere.
fn reached(core: &mut Core, key: SessionKey, topic: Option<&[u8]>) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let next = session.outbound.seq();
    if let Some(end) = session.bridge_mut() {
        end.retained.reached(topic, next);
    }
}

/// An upstream has answered a message, and so has what was sent before.
pub(crate) fn note_answer(core: &mut Core, key: SessionKey, done: &Done) {
    let session = core.sessions.get_mut(key);
    let end = session.and_then(Session::bridge_mut);
    if let (Some(end), Some(sent)) = (end, done.sent) {
        end.retained.answered(sent);
    }
}

/// An upstream has answered a retained message that was sent to bring it up to date. True if it is to
/// be sent again soon: then it is not lost.
pub(crate) fn note_brought(
    core: &mut Core,
    key: SessionKey,
    message: &Message,
    reason: Reason,
    now: Time,
) -> bool {
    let session = core.sessions.get_mut(key);
    let Some(end) = session.and_then(Session::bridge_mut) else {
        return false;
    };
    if !reason.is_error() {
        end.retained.taken();
        return false;
    }
    let is_final = matches!(Refusal::of(reason), Refusal::Never | Refusal::Perhaps);
    let topic = message.topic();
    if let Some(pause) = end.retained.refuse(topic, is_final, now) {
        log::warn!(
            "Bridge {}: the upstream refuses what is retained on {topic}, and maybe more, for now: \
             {reason}; next try in {} s.",
            end.name,
            pause.as_secs()
        );
        core.watches.look_again(now + pause);
    }
    !is_final
}

/// Forgets the cleared topics of which all upstreams that they concern have been told.
pub(crate) fn prune_cleared(core: &mut Core, now: Time) {
    let Core {
        router,
        sessions,
        bridges,
        settings,
        watches,
        ..
    } = core;
    if !router.has_cleared() || !bridges.are_known() || watches.prune_at > now {
        return;
    }
    watches.prune_at = now + PRUNE_EVERY;
    let sessions = bridges
        .keys()
        .filter_map(|key| Some((key, sessions.get(key)?)));
    let told: Vec<_> = sessions
        .map(|(key, session)| ((key, session), told_until(session)))
        .collect();
    let last = told.iter().map(|(_, until)| until[0].max(until[1])).max();
    let last = last.unwrap_or(Time::from_millis(u64::MAX));
    router.prune_cleared(last, |message| {
        told.iter().all(|((key, session), until)| {
            let is_told = |until: &Time| message.arrival <= *until;
            until.iter().all(is_told)
                || !is_synced(session, message)
                || Receiver::of_bridge((*key, session), message, settings)
                    .is_none_or(|to| is_told(&until[usize::from(is_queued(session, &to.owed))]))
        })
    });
}

/// Whether what is owed goes by a durable queue.
fn is_queued(session: &Session, owed: &Owed) -> bool {
    session.is_durable() && owed.qos != QoS::AtMostOnce
}

/// Up to when the upstream of a bridge has been told of everything that arrived, if it does not go by
/// the durable queue, and if it does.
fn told_until(session: &Session) -> [Time; 2] {
    let queue = &session.outbound;
    let Some(end) = session.bridge().filter(|_| !queue.is_behind()) else {
        return [Time::ZERO; 2];
    };
    [false, true].map(|is_queued| end.retained.settled(queue.oldest_in_ram(), is_queued))
}
