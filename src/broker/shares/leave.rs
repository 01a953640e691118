//! What a member leaves behind when it goes.

use super::give::{Given, give};
use super::membership::{leave_to_others, quit, shares};
use crate::broker::core::Core;
use crate::broker::queues::drops::{drop_message, drop_offline};
use crate::broker::routing::Place;
use crate::broker::sending::pump::taken_over;
use crate::broker::sessions::{DropReason, Role, Session, Share};
use crate::impossible;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::route::Among;
use crate::time::Time;

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

/// A session that ends with its connection leaves its groups; what it did not deliver goes to others
/// at once, since it lives nowhere else. What waited for an upstream is lost, and counted.
fn leave_ram(core: &mut Core, key: SessionKey, now: Time) {
    let left_groups = leave_groups(core, key);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let (ledger, owner) = (&mut core.ledger, session.id);
    let left = session.outbound.take_left(|id| {
        ledger.ack(id, owner, now);
    });
    for entry in left {
        core.work.add(1);
        let lane = entry.owed.lane;
        if lane.line().is_some() {
            drop_offline(core, key, lane, (&entry.message, entry.owed.qos), now);
            continue;
        }
        let mut groups = left_groups.iter();
        let group = groups.find(|(share, lives)| *lives && share.lane() == lane);
        let from = entry.id.map(|id| (id, owner));
        let given = group.map(|(share, _)| {
            let anybody = (share.group, Among::All);
            give(core, anybody, &entry.message, from, now)
        });
        if given != Some(Given::Taken) {
            let lost = (1, entry.message.size().into());
            drop_message(core, key, lane, DropReason::SessionEnded, lost, now);
            taken_over(core, key, entry.id, now);
        }
    }
}

/// Ends all memberships of a session. Returns them, and which of the groups go on.
fn leave_groups(core: &mut Core, key: SessionKey) -> Vec<(Share, bool)> {
    let Some(session) = core.sessions.known_mut(key) else {
        return Vec::new();
    };
    session.set_shares(Vec::new());
    let subscriptions = session.subscriptions.iter();
    let names: Vec<_> = subscriptions
        .filter_map(|s| match s.options.lane {
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
    left
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
    let (ledger, owner) = (&mut core.ledger, session.id);
    let is_kept = |lane| kept.iter().any(|share| share.lane() == lane);
    session.outbound.reduce_to(is_kept, |id| {
        ledger.ack(id, owner, now);
    });
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
    let over = over.filter(|s| !is_kept(s.options.lane));
    let over: Vec<Box<str>> = over.map(|s| s.filter.clone()).collect();
    forget_identity(core, key);
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    session.subscriptions.extract(|s| !is_kept(s.options.lane));
    session.inbound.clear();
    session.will = None;
    session.role = Role::Ended;
    session.set_shares(kept.clone());
    core.sessions.unsave_identity(key);
    core.sessions.unsave_state(key);
    core.sessions.unsave_ids(key);
    for filter in over {
        core.sessions.unsave_filter(key, &filter);
    }
    core.ledger.promise(now);
    for share in kept {
        leave_to_others(core, key, share);
    }
}

/// Nobody knows a session by its client id any more, and nothing is routed to it.
pub(crate) fn forget_identity(core: &mut Core, key: SessionKey) {
    core.sessions.forget_client_id(key);
    core.router.walks.forget(key);
    let session = core.sessions.get_mut(key).filter(|s| !s.is_ended());
    let filters = session.map(|s| s.subscriptions.extract(|s| !s.options.lane.is_share()));
    core.router.forget(key, filters.unwrap_or_default());
}

/// Takes filters of sessions that have ended out of the tree, for about `most` units of work.
pub(crate) fn clear_out(core: &mut Core, most: usize) {
    let end = core.work.done() + most as u64;
    while core.work.done() < end
        && let Some(levels) = core.router.clear_one()
    {
        core.work.add(levels.div_ceil(2));
    }
}

/// A client leaves one group: what was sent to it is its own to the end [MQTT-3.10.4-3], the rest is
/// for the others.
pub(crate) fn leave_group(core: &mut Core, key: SessionKey, name: &str, lane: Lane, now: Time) {
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
    if !quit(core, key, name, share.group) {
        return;
    }
    let mut at = 0;
    while let Some(session) = core.sessions.get(key)
        && let Some((found, entry)) = session.outbound.next_unsent(lane, at)
    {
        let from = entry.id.map(|id| (id, session.id));
        let anybody = (share.group, Among::All);
        if give(core, anybody, &entry.message, from, now) != Given::Taken {
            at = found + 1;
        } else if let Some(session) = core.sessions.get_mut(key) {
            session.outbound.take_unsent(found);
            at = found;
        }
    }
    leave_to_others(core, key, share);
}

/// After a start: what lies with absent members is there for others.
pub(crate) fn restore_leftovers(core: &mut Core, key: SessionKey) {
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    if session.is_ended() {
        let groups = &core.router.groups;
        let shares = session.subscriptions.iter().filter_map(|s| {
            let Lane::Share(number) = s.options.lane else {
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
