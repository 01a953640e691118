//! What the upstream of a bridge answers: a message that it refuses goes back to its lane, which is
//! paused, or is set aside; one that it accepts lets the lane go on.

use super::account::note_sent;
use super::pump::pump;
use crate::bridge::{Loudness, PausedLane, Verdict};
use crate::broker::core::Core;
use crate::broker::queues::age::note_expiry;
use crate::broker::queues::drops::drop_message;
use crate::broker::sessions::{DropReason, Session};
use crate::keys::SessionKey;
use crate::mqtt::Ack;
use crate::session::Done;
use crate::time::Time;

/// The upstream has refused the message under way that `ack` names.
pub(crate) fn refuse(core: &mut Core, key: SessionKey, ack: &Ack<'_>, done: Done, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let Some(end) = session.bridge_mut() else {
        return crate::impossible!("an upstream that is not a bridge's refuses a message");
    };
    let Some(seq) = done.seq else {
        return crate::impossible!("a message is under way without a place in the sequence");
    };
    let verdict = end
        .refusals
        .refused(done.lane, (seq, done.id), ack.reason, now);
    let next = end.refusals.next();
    match (verdict, done.id) {
        (Verdict::Never, None) => return give_up(core, key, ack, done, now),
        (Verdict::Never, Some(_)) => session.outbound.condemn_sent(ack.id, ack.reason),
        (Verdict::Again, _) => session.outbound.take_back(ack.id),
        (Verdict::Waits | Verdict::Paused(..), _) => {
            session.outbound.take_back(ack.id);
            session.outbound.pause(done.lane);
        }
    }
    if let Verdict::Paused(paused, loudness) = verdict {
        tell_pause(session, &paused, loudness, now);
    }
    core.watches.look_at_refusals(next);
    // It is as one that was never sent.
    note_expiry(core, key);
    pump(core, key, now);
}

/// A message that lives in RAM can't be set aside.
fn give_up(core: &mut Core, key: SessionKey, ack: &Ack<'_>, done: Done, now: Time) {
    if let Some(session) = core.sessions.known_mut(key) {
        session.outbound.abandon(ack.id);
    }
    let lost = (1, done.size.into());
    drop_message(core, key, done.lane, DropReason::Refused, lost, now);
    pump(core, key, now);
}

/// The upstream has accepted a message.
pub(crate) fn accept(core: &mut Core, key: SessionKey, done: Done, now: Time) {
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    // A PUBREC that comes again is no news.
    if done.sent.is_some() {
        note_sent(session, done.payload as usize, now);
    }
    let Some(end) = session.bridge_mut().filter(|end| !end.refusals.is_empty()) else {
        return;
    };
    let goes_on = done
        .seq
        .and_then(|seq| end.refusals.accepted(done.lane, seq));
    session.outbound.widen(done.lane);
    if let Some(loudness) = goes_on {
        let name = session.name_of(done.lane);
        log::log!(
            level(loudness),
            "{name}: the upstream takes messages again."
        );
    }
}

/// Lets the lanes of a bridge go on whose pause is over; all of them if the connection is new.
pub(crate) fn probe(core: &mut Core, key: SessionKey, is_new: bool, now: Time) {
    let Some(session) = core.sessions.get_mut(key) else {
        return;
    };
    if let (outbound, Some(end)) = session.outbound_and_end() {
        let refusals = &mut end.refusals;
        refusals.keep_suspects(|known| outbound.is_owed(known.lane, known.seq, known.id));
    }
    while let Some(end) = session.bridge_mut()
        && let Some((lane, limit)) = end.refusals.take_due(is_new, now)
    {
        session.outbound.probe(lane, limit);
    }
}

/// Does what is due about what upstreams refuse.
pub(crate) fn look_at_refusals(core: &mut Core, now: Time) {
    if core.watches.refusals_due.is_none_or(|due| due > now) {
        return;
    }
    core.watches.refusals_due = None;
    for key in core.bridges.keys().collect::<Vec<_>>() {
        probe(core, key, false, now);
        pump(core, key, now);
        let session = core.sessions.get_mut(key);
        let Some(end) = session.and_then(Session::bridge_mut) else {
            continue;
        };
        if let Some(count) = end.refusals.take_untold(now) {
            log::warn!("Bridge {}: {count} more dead letters.", end.name);
        }
        let next = end.refusals.next();
        core.watches.look_at_refusals(next);
    }
}

fn tell_pause(session: &Session, paused: &PausedLane, loudness: Loudness, now: Time) {
    let PausedLane { lane, reason, .. } = *paused;
    let (name, wait) = (session.name_of(lane), paused.until.since(now));
    log::log!(
        level(loudness),
        "{name}: the upstream refuses messages for now: {reason}. They wait; next try in {:.1} s.",
        wait.as_secs_f32()
    );
}

fn level(loudness: Loudness) -> log::Level {
    match loudness {
        Loudness::News => log::Level::Warn,
        Loudness::Repeat => log::Level::Debug,
    }
}
