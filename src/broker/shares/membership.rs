//! Who belongs to which group.

use crate::broker::core::Core;
use crate::broker::routing::Place;
use crate::broker::sessions::{Session, Share};
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::lane::Lane;
use crate::route::SubOptions;

/// Makes a session a member of the group `name`, a whole `$share/NAME/FILTER`, or changes its
/// options. `options` get the lane that its messages belong to; one that is set is kept.
pub(crate) fn join(core: &mut Core, key: SessionKey, name: &str, options: &mut SubOptions) {
    let Some(session) = core.sessions.known(key) else {
        return;
    };
    let known = core.router.groups.find(name);
    let member = session.shares().iter().find(|s| Some(s.group) == known);
    let is_new = member.is_none();
    let number = match (member, options.lane) {
        (Some(share), _) => share.number,
        (None, Lane::Share(number)) => number,
        (None, Lane::Client | Lane::Bridge(_) | Lane::Dead) => {
            let Some(number) = session.free_shares().next() else {
                return impossible!("a share was granted, and there is no number for it");
            };
            number
        }
    };
    options.lane = Lane::Share(number);
    let is_connected = session.conn.is_some();
    let group = core.router.join(name, key, *options, is_connected);
    if let (true, Some(session)) = (is_new, core.sessions.get_mut(key)) {
        session.add_share(Share { group, number });
        core.router.leftovers.offer_again(group);
    }
}

/// Ends a session's part in the group `name`. True if there are other members; else the group is
/// gone, and what is left in it, but for what their owners get themselves.
pub(super) fn quit(core: &mut Core, key: SessionKey, name: &str, group: GroupKey) -> bool {
    if let Some(session) = core.sessions.get_mut(key) {
        session.retain_shares(|share| share.group != group);
    }
    let lives = core.router.quit(name, group, key);
    if !lives {
        for place in core.router.leftovers.end(group) {
            let owner = core.sessions.get_mut(place.session);
            if let Some(session) = owner.filter(|s| s.is_ended()) {
                session.retain_shares(|share| share.number != place.share);
                core.sessions.mark_spent(place.session);
            }
        }
    }
    lives
}

/// A session has a connection: what waits for it is its own again.
pub(crate) fn come_online(core: &mut Core, key: SessionKey) {
    for share in shares(core, key) {
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
