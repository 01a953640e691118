//! Making a broker, from nothing or from what the store held.

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use slab::Slab;

use super::drops::Drops;
use super::expire::Wheel;
use super::listeners::Listener;
use super::retain::Unwritten;
use super::session::{PendingWill, Session, Subscribed};
use super::shared::Shared;
use super::uplink::{Rate, Uplink};
use super::{Broker, Counters, Disk};
use crate::auth::Auth;
use crate::config::{Config, Durability, General};
use crate::message::{Message, Origin, Parts};
use crate::mqtt::PropsBuf;
use crate::route::{Retained, SubOptions, Trie, is_share};
use crate::session::{Inbound, Outbound};
use crate::store::{
    Budget, Loaded, LoadedSession, Promise, SessionRecord, Store, SubscriptionRecord,
};
use crate::time::Time;

impl Broker {
    /// A broker that goes on where the store stopped.
    pub fn new(config: &Config, auth: Auth, loaded: Loaded, now: Time) -> Broker {
        let settings = config.general.clone();
        let (promise, interval) = promise(&settings);
        let budget = settings.flash_budget.map(|budget| Budget {
            bytes_a_day: budget.bytes_a_day,
            shortest: interval,
            // What may be lost is not the budget's to stretch.
            longest: match promise {
                Promise::Committed => budget.longest,
                Promise::AtOnce => interval,
            },
        });
        let Loaded {
            sessions,
            retained,
            refs,
            orphans,
            next_message,
            next_session,
            ..
        } = loaded;
        let mut store = Store::new(promise, interval, next_message, refs);
        store.discard(orphans, now);
        let mut broker = Broker {
            settings,
            listeners: Listener::all(config),
            auth,
            conns: Slab::new(),
            serial: 0,
            sessions: Slab::new(),
            by_client_id: HashMap::new(),
            next_session: next_session.0,
            trie: Trie::new(),
            shared: Shared {
                restored_below: next_message,
                ..Shared::default()
            },
            retained: Retained::new(),
            store,
            disk: Disk::default(),
            budget,
            wheel: Wheel::default(),
            counters: Counters::default(),
            unanswerable: Vec::new(),
            dirty: Vec::new(),
            resumed: Vec::new(),
            paused: Vec::new(),
            parked: Vec::new(),
            reads: Vec::new(),
            stalled: Vec::new(),
            unsaved: Vec::new(),
            gone: Vec::new(),
            unwritten: Unwritten::default(),
            write_all: false,
            bridges: Vec::new(),
            dropping: Vec::new(),
            drops_due: None,
            purge_due: None,
            own: Rc::new(Origin::default()),
            spare_buffers: Vec::new(),
            spare_batch: None,
            receivers: Vec::new(),
            routing: 0,
            props: PropsBuf::new(),
            topic: String::new(),
            partial_bytes: 0,
            stored_bytes: 0,
            memory_full: Cell::new(false),
            shutting_down: false,
        };
        for message in retained {
            broker.retained.set(Rc::new(message));
        }
        broker.expire_retained(now);
        let restored: Vec<usize> = sessions
            .into_iter()
            .map(|session| broker.restore_session(session, now))
            .collect();
        for index in &restored {
            broker.restore_estates(*index, now);
        }
        // Wills after all sessions: they may be owed to any of them.
        for index in restored {
            broker.wake_session(index, now);
        }
        broker.settle(now);
        broker
    }

    fn restore_session(&mut self, loaded: LoadedSession, now: Time) -> usize {
        let LoadedSession {
            id,
            record,
            state,
            queue,
            releasing,
        } = loaded;
        let origin = Rc::new(Origin {
            client_id: record.client_id.as_ref().into(),
            username: record.username.as_deref().map(Into::into),
            listener: record.listener.as_deref().map(Into::into),
        });
        let expiry = match record.bridge {
            true => record.expiry,
            false => self.cap_expiry(record.expiry),
        };
        let mut session = Session::new(id, Rc::clone(&origin), expiry, record.version);
        session.since = record.disconnected_at.unwrap_or(now);
        session.bridge = record.bridge;
        session.ended = record.ended;
        session.on_disk = true;
        session.will = restore_will(&record, &origin, now);
        session.subscriptions = record
            .subscriptions
            .iter()
            .map(restore_subscription)
            .collect();
        session
            .subscriptions
            .sort_by(|a, b| a.filter.cmp(&b.filter));
        // Also where the session is about to end: what it was owed is given back then.
        session.inbound = Inbound::restore(state.received.clone());
        session.outbound = Outbound::restore(&state, queue, &releasing);
        if matches!(self.settings.durability, Durability::Lazy(_)) {
            // The rows may be older than what the peer has seen. An id that only we think is
            // taken would swallow a new message, and so would one that only the peer thinks is:
            // rather twice than never.
            session.inbound = Inbound::default();
            session.outbound.skip_ids();
        }
        session.drops = Drops::restore(&state.drops);
        session.by_topic = state.by_topic;
        if record.bridge {
            let rate = Rate::restore(state.rate);
            session.uplink = Some(Box::new(Uplink::new(&record.client_id, &[], rate)));
        }
        let index = self.sessions.insert(session);
        if record.ended {
            return index;
        }
        self.by_client_id
            .insert(Rc::clone(&origin.client_id), index);
        for subscription in &record.subscriptions {
            self.restore_route(index, subscription);
        }
        index
    }

    fn restore_route(&mut self, index: usize, record: &SubscriptionRecord) {
        let mut options = restore_subscription(record).options;
        if is_share(options.mapping) {
            self.join(index, &record.filter, &mut options);
        } else {
            self.trie.add(&record.filter, index as u32, options);
        }
    }

    /// Starts the timers of a restored session; what ended while the broker was down ends now.
    fn wake_session(&mut self, index: usize, now: Time) {
        let Some(session) = self.sessions.get(index).filter(|s| !s.ended) else {
            return;
        };
        let id = session.id;
        if !session.bridge {
            self.heed_policy(index);
            self.trim(index, now);
        }
        self.unsave_identity(index);
        self.store.lazy(now);
        self.watch_session(index, now);
        self.check_session(index, id, now);
    }
}

/// When promises hold, and how long a message waits before it is written.
fn promise(settings: &General) -> (Promise, Duration) {
    /// In RAM nobody waits for it.
    const RAM: Duration = Duration::from_secs(1);
    match (settings.persistence, settings.durability) {
        (false, _) => (Promise::AtOnce, RAM),
        (true, Durability::Lazy(window)) => (Promise::AtOnce, window),
        (true, Durability::Power) => (Promise::Committed, settings.commit_interval),
    }
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
        .inspect_err(|error| log::error!("A stored will of {} is lost: {error}", origin.client_id))
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
    Subscribed {
        filter: record.filter.clone(),
        options: SubOptions {
            qos: record.qos,
            no_local: record.no_local,
            retain_as_published: record.retain_as_published,
            sub_id: record.sub_id.and_then(NonZeroU32::new),
            mapping: record.line,
        },
        retain_handling: record.retain_handling,
    }
}
