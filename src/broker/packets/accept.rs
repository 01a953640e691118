//! Whether a connection may come in at all, before it has said anything.

use std::fmt::Arguments;

use crate::broker::connections::Address;
use crate::broker::core::Core;
use crate::broker::ending::close::finish;
use crate::broker::ending::expire::await_connect;
use crate::keys::ConnId;
use crate::time::Time;

/// A network connection was accepted on `listener` (its index). `None` where a bound is reached:
/// close it at once.
pub(crate) fn accept(
    core: &mut Core,
    listener: usize,
    address: Address,
    now: Time,
) -> Option<ConnId> {
    let number = u16::try_from(listener).ok()?;
    let bound = bound_reached(core, number, &address)?;
    if core.is_shutting_down {
        return None;
    }
    if let Some(bound) = bound {
        let line = format_args!("Client connection from {address} denied: {bound} exceeded.");
        turn_away(core, (bound, &address), line, now);
        return None;
    }
    make_way(core, &address, now);
    let c = core.connections.add_client(number, address, now);
    await_connect(core, c, now);
    Some(c)
}

/// Counts and tells of a connection that was closed for the others.
fn turn_away(core: &mut Core, (why, address): (&str, &Address), line: Arguments<'_>, now: Time) {
    core.counters.turned_away += 1;
    if core.settings.general.connection_messages {
        core.refusals.log((why, address.ip()), line, now);
    }
}

/// The bound that a connection from `address` meets, if any; `None` for a listener that is not known.
fn bound_reached(core: &Core, listener: u16, address: &Address) -> Option<Option<&'static str>> {
    let (connections, general) = (&core.connections, &core.settings.general);
    let own = core.settings.listener(listener)?.max_connections();
    let all = general.global_max_connections.map(u64::from);
    let per_address = limit(general.doors.max_connections_per_address);
    let is_full = all.is_some_and(|limit| connections.open() >= limit)
        || own.is_some_and(|limit| connections.open_at(listener) >= limit);
    Some(if is_full {
        Some("max_connections")
    } else if per_address.is_some_and(|limit| connections.share(address).open >= limit) {
        Some("max_connections_per_address")
    } else {
        None
    })
}

/// A bound of the configuration, where 0 is none.
fn limit(bound: Option<u32>) -> Option<u32> {
    bound.filter(|bound| *bound > 0)
}

/// Lets a connection without a CONNECT go where one more from `address` would be too many: the oldest
/// of that address, or of the one that has most. A flood takes its own places then, and a slow CONNECT
/// from elsewhere has its time.
fn make_way(core: &mut Core, address: &Address, now: Time) {
    let doors = &core.settings.general.doors;
    let per_address = limit(doors.max_connecting_per_address);
    let all = limit(doors.max_connecting);
    let share = core.connections.share(address);
    if per_address.is_some_and(|limit| share.connecting >= limit) {
        let oldest = core.connections.oldest_connecting_of(address);
        let_go(core, oldest, "max_connecting_per_address is reached", now);
    } else if all.is_some_and(|limit| core.connections.connecting() >= limit) {
        let oldest = core.connections.oldest_connecting(Some(address));
        let_go(core, oldest, "max_connecting is reached", now);
    }
}

/// There is no descriptor for one more connection: one that has not sent a CONNECT goes, as above.
pub(crate) fn make_room(core: &mut Core, now: Time) {
    let oldest = core.connections.oldest_connecting(None);
    let_go(core, oldest, "there are no descriptors for others", now);
}

fn let_go(core: &mut Core, oldest: Option<ConnId>, why: &str, now: Time) {
    let Some(c) = oldest else { return };
    core.work.add(1);
    if let Some(conn) = core.connections.get(c) {
        let address = conn.address().clone();
        let line = format_args!("Closing {address}: it has sent no CONNECT, and {why}.");
        turn_away(core, (why, &address), line, now);
    }
    finish(core, c, now);
}
