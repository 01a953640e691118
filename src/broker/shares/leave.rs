//! What a member leaves behind when it goes.

use std::collections::{BTreeMap, VecDeque};

use super::give::{Given, give};
use super::membership::{leave_to_others, quit, shares};
use crate::broker::core::Core;
use crate::broker::queues::drops::{drop_message, drop_offline};
use crate::broker::queues::report;
use crate::broker::routing::{LeftInRam, Place};
use crate::broker::sessions::{DropReason, Role, Session, Share, Subscribed};
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::lane::Lane;
use crate::mqtt::RetainHandling;
use crate::route::{Among, SubOptions};
use crate::session::Entry;
use crate::time::Time;

/// So many messages that are for nobody else cost a unit of work.
const PASSED: u32 = 8;
/// So many messages that are asked for their rows cost a unit of work.
const SCANNED: usize = 1_024;
/// So many messages of other groups are looked at for a unit of work.
const LOOKS: usize = 16;

/// The connection of a session is gone: its queue falls back to disk, and what came by shares is for
/// the others.
pub(crate) fn go_offline(core: &mut Core, key: SessionKey, now: Time) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if !session.is_durable() {
        return leave_ram(core, key, now);
    }
    session.outbound.disconnect();
    core.work.add(session.shares().len());
    for share in shares(core, key) {
        core.router.groups.set_connected(share.group, key, false);
        leave_to_others(core, key, share);
    }
}

/// A session that ends with its connection leaves its groups; what it did not deliver goes to others,
/// since it lives nowhere else ([`hand_over`]). What waited for an upstream is lost, and counted.
fn leave_ram(core: &mut Core, key: SessionKey, now: Time) {
    let left_groups = leave_groups(core, key);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let (ledger, owner) = (&mut core.ledger, session.id);
    let entries = session.outbound.take_left(|id| {
        ledger.ack(id, owner, now);
    });
    if entries.is_empty() {
        return;
    }
    let living = left_groups.into_iter().filter(|(_, lives)| *lives);
    let groups = living.map(|(share, _)| (share.lane(), share.group));
    let whose = (key, owner, session.name_of(Lane::Client));
    let groups = groups.collect();
    core.work.add(entries.len() / SCANNED);
    let (stored, entries) = part_stored(entries);
    let mut left = LeftInRam::new(whose, groups, entries);
    // The next commit has the end of the session: by then each row is to have another owner.
    for entry in stored {
        hand_over_one(core, &mut left, &entry, now);
    }
    core.router.left_in_ram.push_back(left);
}

/// Those that have rows, and the others. With rows are only those that the session has taken over from
/// another: mostly few, and never more than its queue may hold.
fn part_stored(entries: VecDeque<Entry>) -> (VecDeque<Entry>, VecDeque<Entry>) {
    let is_stored = |entry: &Entry| entry.id.is_some();
    if entries.iter().any(is_stored) {
        entries.into_iter().partition(is_stored)
    } else {
        (VecDeque::new(), entries)
    }
}

/// Gives what sessions in RAM have left to others, until `end` units of work are done.
fn hand_over(core: &mut Core, end: u64, now: Time) {
    while core.work.done() < end
        && let Some(mut left) = core.router.left_in_ram.pop_front()
    {
        while core.work.done() < end
            && let Some(entry) = left.entries.pop_front()
        {
            hand_over_one(core, &mut left, &entry, now);
        }
        if !left.entries.is_empty() {
            core.router.left_in_ram.push_front(left);
        } else if left.lost.0 > 0 {
            let reason = DropReason::SessionEnded;
            log::log!(
                reason.level(),
                "{}: {} ({}) dropped: {}.",
                left.name,
                report::messages(left.lost.0),
                report::size(left.lost.1),
                reason.words()
            );
        }
    }
}

fn hand_over_one(core: &mut Core, left: &mut LeftInRam, entry: &Entry, now: Time) {
    let lane = entry.owed.lane;
    if lane.line().is_some() {
        core.work.add(1);
        let dropped = (&*entry.message, entry.owed.qos);
        return drop_offline(core, left.session, lane, dropped, now);
    }
    if !lane.is_share() {
        // It is for nobody else. A few of them cost a unit together, but each must have some cost.
        left.passed = left.passed.wrapping_add(1);
        return core
            .work
            .add(usize::from(left.passed.is_multiple_of(PASSED)));
    }
    core.work.add(1);
    let from = entry.id.map(|id| (id, left.owner));
    let group = left.groups.get(&lane).copied();
    let given = group.map(|group| give(core, (group, Among::All), &entry.message, from, now));
    if given == Some(Given::Taken) {
        return;
    }
    core.counters.count_dropped(DropReason::SessionEnded, 1);
    left.lost = (
        left.lost.0 + 1,
        left.lost.1 + u64::from(entry.message.size()),
    );
    if let Some((id, owner)) = from {
        core.ledger.ack(id, owner, now);
    }
}

/// Ends all memberships of a session. Returns them, with those that it ended before and whose messages
/// were not all given to others yet, and which of the groups go on.
fn leave_groups(core: &mut Core, key: SessionKey) -> Vec<(Share, bool)> {
    let Some(session) = core.sessions.known_mut(key) else {
        return Vec::new();
    };
    session.set_shares(Vec::new());
    let subscriptions = session.subscriptions.iter();
    let names: Vec<_> = subscriptions
        .filter_map(|s| match s.options().lane {
            Lane::Share(number) => Some((s.filter.clone(), number)),
            Lane::Client | Lane::Bridge(_) | Lane::Dead => None,
        })
        .collect();
    let mut left = Vec::with_capacity(names.len());
    core.work.add(names.len());
    for (name, number) in names {
        let Some(group) = core.router.groups.find(&name) else {
            continue;
        };
        let place = Place {
            session: key,
            share: number,
        };
        core.router.leftovers.remove(group, place);
        let lives = quit(core, key, &name, group);
        left.push((Share { group, number }, lives));
    }
    let parts = take_parts(core, key);
    core.work.add(parts.len());
    for (place, group) in parts {
        let lives = core.router.groups.name(group).is_some();
        let number = place.share;
        left.push((Share { group, number }, lives));
    }
    left
}

/// Takes out what a session has left, of groups that it left before, and that is still for their
/// others.
fn take_parts(core: &mut Core, key: SessionKey) -> BTreeMap<Place, GroupKey> {
    let router = &mut core.router;
    let parts = router.leaving.take_of(key).into_iter();
    parts.chain(router.leftovers.take_of(key)).collect()
}

/// A session ends and leaves its groups. If it has messages for their other members, it stays until
/// they are gone, without a name, and this is true.
pub(crate) fn stays_for_others(core: &mut Core, key: SessionKey, now: Time) -> bool {
    if core.sessions.get(key).is_none_or(Session::is_ended) {
        return false;
    }
    let left_groups = leave_groups(core, key);
    let Some(session) = core.sessions.known_mut(key) else {
        return false;
    };
    let kept: Vec<Share> = left_groups
        .into_iter()
        .filter_map(|(share, lives)| lives.then_some(share))
        .collect();
    if !session.is_durable() || kept.is_empty() {
        return false;
    }
    let (len, bytes) = (session.outbound.len(), session.outbound.bytes());
    let is_kept = |lane| kept.iter().any(|share| share.lane() == lane);
    let gone = session.outbound.reduce_to(is_kept);
    core.ledger.disown(session.id, gone);
    let queue = &session.outbound;
    let (is_empty, lost) = (
        queue.is_empty(),
        (
            len.saturating_sub(queue.len()),
            bytes.saturating_sub(queue.bytes()),
        ),
    );
    if lost.0 > 0 {
        drop_message(core, key, Lane::Client, DropReason::SessionEnded, lost, now);
    }
    if !is_empty {
        end_but_for(core, key, kept, now);
    }
    !is_empty
}

/// Makes a session nothing but a place where messages lie for others.
fn end_but_for(core: &mut Core, key: SessionKey, mut kept: Vec<Share>, now: Time) {
    let Some(session) = core.sessions.known(key) else {
        return;
    };
    kept.retain(|share| session.outbound.has_waiting(share.lane()));
    let is_kept = |lane| kept.iter().any(|share| share.lane() == lane);
    let over = session.subscriptions.iter();
    let over = over.filter(|s| !is_kept(s.options().lane));
    let over: Vec<Box<str>> = over.map(|s| s.filter.clone()).collect();
    forget_identity(core, key);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    session
        .subscriptions
        .extract(|s| !is_kept(s.options().lane));
    session.inbound.clear();
    session.will = None;
    session.set_role(Role::Ended);
    session.set_shares(kept.clone());
    core.sessions.unsave_identity(key);
    core.sessions.unsave_state(key);
    core.sessions.unsave_ids(key);
    for filter in over {
        core.sessions.unsave_filter(key, &filter);
    }
    name_shares(core, key, &kept);
    core.ledger.promise(now);
    for share in kept {
        leave_to_others(core, key, share);
    }
}

/// The rows of a session that has ended say of each share which group it was in, so that it can still be
/// told after a start; of those that the session had left before, too.
fn name_shares(core: &mut Core, key: SessionKey, kept: &[Share]) {
    for share in kept {
        let Some(name) = core.router.groups.name(share.group).map(str::to_owned) else {
            continue;
        };
        let Some(session) = core.sessions.get_mut(key) else {
            return;
        };
        if !session.subscriptions.has(&name) {
            let options = SubOptions {
                lane: share.lane(),
                ..SubOptions::default()
            };
            let named = Subscribed::new(&name, options, RetainHandling::default());
            session.subscriptions.set(named);
            core.sessions.unsave_filter(key, &name);
        }
    }
}

/// Nobody knows a session by its client id any more, and nothing is routed to it.
fn forget_identity(core: &mut Core, key: SessionKey) {
    core.sessions.forget_client_id(key);
    core.router.walks.forget(key);
    let session = core.sessions.get_mut(key).filter(|s| !s.is_ended());
    let filters = session.map(|s| s.subscriptions.extract(|s| !s.options().lane.is_share()));
    let filters = filters.into_iter().flatten().collect();
    core.router.forget(key, filters);
}

/// Takes filters of sessions that have ended out of the tree, for about `most` units of work.
pub(crate) fn clear_out(core: &mut Core, most: usize) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end
        && let Some(levels) = core.router.clear_one()
    {
        // One that was looked at only, too.
        core.work
            .add(levels.div_ceil(2).max(1) + core.router.take_crowding());
    }
}

/// A client leaves one group: what was sent to it is its own to the end [MQTT-3.10.4-3], the rest is
/// for the others.
pub(crate) fn leave_group(core: &mut Core, key: SessionKey, name: &str, lane: Lane) {
    let session = core.sessions.get(key);
    let share = session.and_then(|s| {
        s.shares()
            .iter()
            .find(|share| share.lane() == lane)
            .copied()
    });
    let Some(share) = share else {
        impossible!("a client leaves a group in which it has no share");
        return;
    };
    if quit(core, key, name, share.group) {
        let place = Place {
            session: key,
            share: share.number,
        };
        core.router.leaving.add(place, share.group, 0);
    }
}

/// Gives what members in RAM have left to others, for about `most` units of work.
pub(crate) fn give_what_is_left(core: &mut Core, most: usize, now: Time) {
    let end = core.work.done().saturating_add(most as u64);
    hand_over(core, end, now);
    while core.work.done() < end
        && let Some((place, group, at)) = core.router.leaving.take()
    {
        let number = place.share;
        let (key, share) = (place.session, Share { group, number });
        match give_unsent(core, key, share, (at, end), now) {
            Some(at) => core.router.leaving.add(place, group, at),
            None if core.router.groups.name(group).is_some() => leave_to_others(core, key, share),
            // What the last member of a group leaves is its own.
            None => {}
        }
    }
}

/// Gives what a client has not been sent yet of a group that it has left to others, from place `at` of its
/// queue on, until `end` units of work are done. What nobody takes stays its own. Returns where to go
/// on; what was sent meanwhile moves the others to the front, and of them some may stay its own, too.
fn give_unsent(
    core: &mut Core,
    key: SessionKey,
    share: Share,
    (mut at, end): (usize, u64),
    now: Time,
) -> Option<usize> {
    while let Some(session) = core.sessions.get(key) {
        let Some((found, entry)) = session.outbound.next_unsent(share.lane(), at) else {
            let passed = session.outbound.ready().saturating_sub(at);
            core.work.add(1 + passed / LOOKS);
            return None;
        };
        if core.work.done() >= end {
            return Some(at);
        }
        core.work.add(1 + (found - at) / LOOKS);
        let from = entry.id.map(|id| (id, session.id));
        let anybody = (share.group, Among::All);
        if give(core, anybody, &entry.message, from, now) != Given::Taken {
            at = found + 1;
        } else if let Some(session) = core.sessions.get_mut(key) {
            session.outbound.take_unsent(found);
            at = found;
        }
    }
    None
}

/// After a start: what lies with absent members is there for others.
pub(crate) fn restore_leftovers(core: &mut Core, key: SessionKey) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if session.is_ended() {
        let groups = &core.router.groups;
        let shares = session.subscriptions.iter().filter_map(|s| {
            let Lane::Share(number) = s.options().lane else {
                return None;
            };
            let group = groups.find(&s.filter)?;
            Some(Share { group, number })
        });
        let shares = shares.collect();
        session.set_shares(shares);
    }
    for share in shares(core, key) {
        leave_to_others(core, key, share);
    }
    core.sessions.mark_spent(key);
}

/// True if a session that has ended has nothing left for anybody.
pub(crate) fn is_spent(session: &Session) -> bool {
    let waits = |share: &Share| session.outbound.has_waiting(share.lane());
    session.is_ended() && !session.shares().iter().any(waits)
}
