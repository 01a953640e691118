//! Making a broker, from nothing or from what the store held.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use super::bridges::Bridges;
use super::connections::{Connections, Logins, RefusalLog};
use super::core::{Core, Scratch, Watches};
use super::counters::Counters;
use super::delivering::retain::expire_retained;
use super::ending::expire::check_session;
use super::ending::session::watch_session;
use super::ledger::Ledger;
use super::memory::Memory;
use super::pieces::{Portions, Round};
use super::queues::age::note_expiry;
use super::queues::bounds::{note_policy, trim};
use super::routing::{FanOuts, Router};
use super::sessions::{Drops, PendingWill, Role, Session, Sessions, Subscribed};
use super::settings::Settings;
use super::shares::leave::restore_leftovers;
use super::shares::membership::join;
use super::talkers::Talkers;
use super::timers::Timers;
use super::work::Work;
use crate::auth::Auth;
use crate::bridge::{LocalEnd, LoopGuard, Numbering, Rate, RetainedSync, Volume};
use crate::config::{Config, Durability};
use crate::keys::SessionKey;
use crate::message::{Message, Origin, Parts};
use crate::route::SubOptions;
use crate::session::{Inbound, Outbound};
use crate::store::{Loaded, LoadedSession, SessionRecord, Store, SubscriptionRecord};
use crate::time::Time;

/// So long a session stays that was to be kept for longer before `persistent_client_expiration` was
/// made shorter, or half as long as that says if it is less.
const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The parts of a broker that goes on where the store stopped.
pub(crate) fn restore(config: &Config, auth: Auth, loaded: Loaded, now: Time) -> Core {
    let settings = Settings::new(config, auth);
    let (promise, interval) = settings.promise();
    let budget = settings.budget();
    let Loaded {
        mut sessions,
        retained,
        refs,
        orphans,
        next_message,
        next_session,
        ..
    } = loaded;
    let mut store = Store::new(promise, interval, next_message, refs);
    store.discard(orphans, now);
    let mut core = Core {
        settings,
        connections: Connections::default(),
        sessions: Sessions::new(next_session),
        bridges: Bridges::default(),
        router: Router::new(next_message),
        ledger: Ledger::new(store, budget),
        timers: Timers::default(),
        memory: Memory::default(),
        counters: Counters::default(),
        work: Work::default(),
        round: Round::default(),
        portions: Portions::default(),
        fan_outs: FanOuts::default(),
        refusals: RefusalLog::default(),
        logins: Logins::default(),
        watches: Watches::default(),
        talkers: Talkers::new(now),
        scratch: Scratch::default(),
        loops: LoopGuard::default(),
        own: Rc::new(Origin::default()),
        is_shutting_down: false,
    };
    for message in retained {
        core.router.restore_retained(message);
    }
    let spared = sessions
        .iter_mut()
        .filter_map(|session| spare(&mut session.record, &core.settings, now))
        .count();
    if spared > 0 {
        log::warn!(
            "{spared} sessions of absent clients are, or soon are, older than persistent_client_expiration \
             allows: each has 7 days, or half of that time if it is less, and is then forgotten."
        );
    }
    let sessions = sessions.into_iter();
    let restored: Vec<SessionKey> = sessions
        .map(|session| restore_session(&mut core, session, now))
        .collect();
    for key in &restored {
        restore_leftovers(&mut core, *key);
    }
    expire_retained(&mut core, usize::MAX, now);
    // Wills after all sessions: they may be owed to any of them.
    for key in restored {
        wake_session(&mut core, key, now);
    }
    core
}

/// Lets a session that `persistent_client_expiration` would end at once, or soon, go on for a while,
/// so that nobody loses a queue to an update. That happens once: the row written next has the shorter
/// time. `None`: it goes by its own time.
fn spare(record: &mut SessionRecord, settings: &Settings, now: Time) -> Option<()> {
    let since = record.disconnected_at.filter(|_| !record.bridge)?;
    let expiry = settings.cap_expiry(record.expiry);
    if record.ended || expiry == record.expiry {
        return None;
    }
    let span = |secs: u32| Duration::from_secs(secs.into());
    let grace = GRACE.min(span(expiry) / 2);
    // What the client asked for itself ends it all the same.
    let own = (record.expiry != u32::MAX).then(|| since + span(record.expiry));
    let end = own.map_or(now + grace, |own| own.min(now + grace));
    let moved = end - span(expiry);
    if moved <= since || own.is_some_and(|own| own <= now) {
        return None;
    }
    if let Some(will) = &mut record.will {
        let due = since + span(will.delay);
        will.delay = u32::try_from(due.since(moved).as_secs()).unwrap_or(will.delay);
    }
    record.disconnected_at = Some(moved);
    Some(())
}

fn restore_session(core: &mut Core, loaded: LoadedSession, now: Time) -> SessionKey {
    let LoadedSession {
        id,
        record,
        state,
        filters_apart,
        id_pages,
        queue,
        releasing,
    } = loaded;
    let origin = Rc::new(Origin::new(
        &record.client_id,
        record.username.as_deref(),
        record.listener.as_deref(),
    ));
    let expiry = if record.bridge {
        record.expiry
    } else {
        core.settings.cap_expiry(record.expiry)
    };
    let mut session = Session::stored(id, Rc::clone(&origin), expiry, record.version);
    // When the connection of a bridge ended is not written.
    let since = record.disconnected_at.filter(|_| !record.bridge);
    session.since = since.unwrap_or(now);
    session.will = restore_will(&record, &origin, now);
    restore_subscriptions(&mut session, &record, filters_apart);
    // Also where the session is about to end: what it was owed is given back then.
    session.inbound = Inbound::restore(&state.received, &id_pages);
    session.outbound = Outbound::restore(id, &state, queue, &releasing);
    let is_power = core.settings.general.durability == Durability::Power;
    if !is_power {
        // The rows may be older than what the peer has seen. An id that only we think is taken would
        // swallow a new message, and so would one that only the peer thinks is: rather twice than
        // never.
        session.inbound.clear();
        session.outbound.skip_ids();
    }
    session.set_drops(Drops::restore(&state.drops));
    session.set_by_topic(state.by_topic);
    session.set_role(match (record.ended, record.bridge) {
        (true, _) => Role::Ended,
        (false, false) => Role::Client,
        (false, true) => {
            let rate = Rate::restore(state.rate);
            // A kill may have cost values that the upstream has: then it gets all again.
            let is_sure = is_power || state.retained.is_some_and(|record| record.is_final());
            let retained = RetainedSync::restore(state.retained.filter(|_| is_sure));
            let numbering = Numbering::restore(record.lines.clone());
            let mut end = LocalEnd::restored(&record.client_id, numbering, rate, retained);
            end.subscribed = record.subscribed_upstream.clone();
            end.given_up = record.given_up.clone();
            end.volume = Volume::restore(state.volume);
            Role::Bridge(Box::new(end))
        }
    });
    let key = core.sessions.add(session);
    if !id_pages.is_empty() {
        // Also the state row: after a rescue it may be of a time when it held the ids.
        core.sessions.unsave_state(key);
        core.sessions.unsave_ids(key);
    }
    if !record.ended {
        let session = core.sessions.get(key);
        let subscriptions: Option<Vec<_>> =
            session.map(|s| s.subscriptions.iter().cloned().collect());
        for subscribed in subscriptions.into_iter().flatten() {
            restore_route(core, key, subscribed);
        }
    }
    key
}

/// After a rescue the identity row may be of a time when it held the filters: rows of their own, which
/// come after, are newer.
fn restore_subscriptions(session: &mut Session, record: &SessionRecord, filters_apart: bool) {
    let subscriptions = record.subscriptions.iter().map(restore_subscription);
    session.subscriptions = subscriptions.collect();
    if filters_apart {
        session.set_filters_apart();
    }
}

fn restore_route(core: &mut Core, key: SessionKey, subscribed: Subscribed) {
    let mut options = subscribed.options();
    let Subscribed {
        filter,
        awaits_retained,
        ..
    } = subscribed;
    if options.lane.is_share() {
        join(core, key, &filter, &mut options);
    } else {
        core.router.subscribe(&filter, key, options);
        if awaits_retained {
            core.router.walks.begin(key, &filter, options);
        }
    }
}

/// Starts the timers of a restored session; what ended while the broker was down ends now.
fn wake_session(core: &mut Core, key: SessionKey, now: Time) {
    note_expiry(core, key);
    let Some(session) = core.sessions.get(key).filter(|s| !s.is_ended()) else {
        return;
    };
    if !session.is_bridge() {
        note_policy(core, key);
        trim(core, key, usize::MAX, now);
    }
    core.sessions.unsave_identity(key);
    core.ledger.lazy(now);
    watch_session(core, key, now);
    check_session(core, key, now);
}

fn restore_will(
    record: &SessionRecord,
    origin: &Rc<Origin>,
    now: Time,
) -> Option<Box<PendingWill>> {
    let will = record.will.as_ref()?;
    let parts = Parts {
        topic: &will.topic,
        props: &will.props,
        payload: &will.payload,
    };
    let message = Message::new(parts, now, Rc::clone(origin));
    let mut message = message
        .inspect_err(|error| {
            log::error!("A stored will of {} is lost: {error}", origin.client_id());
        })
        .ok()?;
    message.qos = will.qos;
    message.retain = will.retain;
    Some(Box::new(PendingWill {
        message: Rc::new(message),
        delay: will.delay,
        expiry: will.expiry,
    }))
}

fn restore_subscription(record: &SubscriptionRecord) -> Subscribed {
    let options = SubOptions {
        qos: record.qos,
        no_local: record.no_local,
        retain_as_published: record.retain_as_published,
        sub_id: record.sub_id.and_then(NonZeroU32::new),
        lane: record.lane,
    };
    let mut subscribed = Subscribed::new(&record.filter, options, record.retain_handling);
    subscribed.awaits_retained = record.awaits_retained;
    subscribed
}
