//! Who belongs to which group.

use crate::broker::core::Core;
use crate::broker::routing::Place;
use crate::broker::sessions::{Session, Share};
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::lane::{Lane, ShareNo};
use crate::route::SubOptions;

/// Makes a session a member of the group `name`, a whole `$share/NAME/FILTER`, or changes its
/// options. `options` get the lane that its messages belong to; one that is set is kept.
pub(crate) fn join(core: &mut Core, key: SessionKey, name: &str, options: &mut SubOptions) {
    let Some(session) = core.sessions.known(key) else {
        return;
    };
    let is_connected = session.conn.is_some();
    let member = share_of(core, key, name);
    let is_new = member.is_none();
    let number = match (member, options.lane) {
        (Some(number), _) => number,
        (None, Lane::Share(number)) => number,
        (None, Lane::Client | Lane::Bridge(_) | Lane::Dead) => {
            let Some(number) = free_shares(core, key).next() else {
                return impossible!("a share was granted, and there is no number for it");
            };
            number
        }
    };
    options.lane = Lane::Share(number);
    let group = core.router.join(name, key, *options, is_connected);
    if let (true, Some(session)) = (is_new, core.sessions.get_mut(key)) {
        session.add_share(Share { group, number });
        core.router.leftovers.vacate(Place {
            session: key,
            share: number,
        });
        core.router.leftovers.offer_again(group);
    }
}

/// The numbers for new shared subscriptions of a session; none of those whose messages others are still
/// to get, or are still to come.
pub(crate) fn free_shares(core: &Core, session: SessionKey) -> impl Iterator<Item = ShareNo> {
    let numbers = core.sessions.known(session).map(Session::free_shares);
    let numbers = numbers.into_iter().flatten();
    let to_come = core.lanes_to_come(session);
    numbers.filter(move |share| {
        let share = *share;
        !to_come.contains(&Lane::Share(share))
            && !core.router.leaving.uses(Place { session, share })
    })
}

/// The number of a session's share in the group `name`.
fn share_of(core: &Core, key: SessionKey, name: &str) -> Option<ShareNo> {
    let groups = &core.router.groups;
    match groups.options(groups.find(name)?, key)?.lane {
        Lane::Share(number) => Some(number),
        Lane::Client | Lane::Bridge(_) | Lane::Dead => None,
    }
}

/// Ends a session's part in the group `name`. True if there are other members; else the group is
/// gone, and what is left in it, but for what their owners get themselves.
pub(super) fn quit(core: &mut Core, key: SessionKey, name: &str, group: GroupKey) -> bool {
    if let (Some(number), Some(session)) = (share_of(core, key, name), core.sessions.get_mut(key)) {
        session.remove_share(number);
    }
    let lives = core.router.quit(name, group, key);
    if !lives {
        for place in core.router.leftovers.end(group) {
            let owner = core.sessions.get_mut(place.session);
            if let Some(session) = owner.filter(|s| s.is_ended()) {
                session.remove_share(place.share);
                core.sessions.mark_spent(place.session);
            }
        }
    }
    lives
}

/// A session has a connection: what waits for it is its own again.
pub(crate) fn come_online(core: &mut Core, key: SessionKey) {
    let shares = shares(core, key);
    core.work.add(shares.len());
    for share in shares {
        let place = Place {
            session: key,
            share: share.number,
        };
        core.router.groups.set_connected(share.group, key, true);
        core.router.leftovers.remove(share.group, place);
        core.router.leftovers.offer_again(share.group);
    }
}

/// The shares of a session.
pub(super) fn shares(core: &Core, key: SessionKey) -> Vec<Share> {
    let session = core.sessions.get(key);
    session.map_or(Vec::new(), |session| session.shares().to_vec())
}

/// What waits for a session and came by a share is for the other members of its group.
pub(super) fn leave_to_others(core: &mut Core, key: SessionKey, share: Share) {
    let has_some = |s: &Session| s.outbound.has_waiting(share.lane());
    if core.sessions.get(key).is_some_and(has_some) {
        let place = Place {
            session: key,
            share: share.number,
        };
        core.router.leftovers.add(share.group, place);
    }
}
