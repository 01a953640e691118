//! Putting the parts together.

use std::rc::Rc;
use std::time::Duration;

use smol::{LocalExecutor, Task, channel};

use super::{Error, Options};
use crate::auth::Auth;
use crate::bridge::Link;
use crate::broker::{BridgeSession, Broker};
use crate::config::Config;
use crate::mqtt::QoS;
use crate::net::{self, Clock, Hub, Reactor, Shared};
use crate::status::Sys;
use crate::store::{Db, Event, Handle, Loaded, Location};

type Executor = Rc<LocalExecutor<'static>>;

/// Opens the store and makes the broker of what lies in it.
pub(super) fn hub(
    config: &Config,
    reactor: &Rc<Reactor>,
    executor: &Executor,
) -> Result<Shared, Error> {
    let general = &config.general;
    let (auth, warnings) = Auth::for_config(config).map_err(Error::Auth)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    let location = match general.persistence {
        true => Location::File(general.store.clone()),
        false => Location::Memory,
    };
    let (db, loaded) = Db::open(location).map_err(Error::Store)?;
    tell(config, &loaded);
    let (store, events) = spawn_store(db)?;
    let clock = Clock::start(loaded.floor);
    let now = clock.now();
    let broker = Broker::new(config, auth, loaded, now);
    let sys = Sys::new(Duration::from_secs(general.sys_interval.into()), now);
    let reactor = Rc::clone(reactor);
    let hub = Hub::new(reactor, broker, store, sys, clock, general.set_tcp_nodelay);
    let shared = hub.clone();
    let deliver = async move {
        while let Ok(event) = events.recv().await {
            shared.borrow_mut().store_event(event);
        }
    };
    executor.spawn(deliver).detach();
    Ok(hub)
}

/// Says what was found in the store.
fn tell(config: &Config, loaded: &Loaded) {
    if !config.general.persistence {
        log::warn!(
            "persistence is off: what is queued or retained is lost when the broker stops. \
             Add `persistence true` to keep it."
        );
        return;
    }
    if let Some(quarantined) = &loaded.quarantined {
        log::error!("{quarantined}");
    }
    if loaded.damaged > 0 {
        log::error!(
            "{} damaged rows of the store were left out.",
            loaded.damaged
        );
    }
    let queued: u64 = loaded
        .sessions
        .iter()
        .map(|s| s.queue.len() + s.low.len())
        .sum();
    log::info!(
        "{}: {} sessions, {queued} queued and {} retained messages.",
        config.general.store.display(),
        loaded.sessions.len(),
        loaded.retained.len(),
    );
}

/// The storage thread, and what it reports.
fn spawn_store(db: Db) -> Result<(Handle, channel::Receiver<Event>), Error> {
    // Never long: at most a commit and the bounded reads are under way.
    let (sender, events) = channel::unbounded();
    let report = move |event| {
        // Fails only when the loop has ended.
        let _ = sender.try_send(event);
    };
    let handle =
        Handle::spawn(db, report).map_err(|e| Error::System("starting the storage thread", e))?;
    Ok((handle, events))
}

/// Binds the listeners and accepts on each, in a task that ends when it is dropped.
pub(super) fn listeners(
    config: &Config,
    options: &Options,
    hub: &Shared,
    executor: &Executor,
) -> Result<Vec<Task<()>>, Error> {
    let reactor = Rc::clone(hub.borrow().reactor());
    let listeners =
        net::bind(&reactor, &config.listeners, &options.ports).map_err(Error::Listen)?;
    if config.listeners.is_empty() {
        log::info!(
            "No listener is configured: only programs on this machine can connect. \
             Add `listener 1883` to the configuration to let others in."
        );
    }
    let serve = |listener: net::Listener| {
        log::info!("Listening on {}.", listener.address());
        executor.spawn(net::serve(listener, hub.clone()))
    };
    Ok(listeners.into_iter().map(serve).collect())
}

/// Makes the local end of each bridge, whose queue fills from now on, and starts its uplink.
pub(super) fn bridges(config: &Config, hub: &Shared, executor: &Executor) {
    for spec in &config.bridges {
        let mut this = hub.borrow_mut();
        let now = this.now();
        let link = Link::new(Rc::new(spec.clone()), fastrand::u64(..), now);
        let filters: Vec<(String, QoS, u16)> = link
            .map()
            .local_filters()
            .map(|(filter, mapped)| (filter.to_owned(), mapped.qos, mapped.mapping))
            .collect();
        let session = BridgeSession {
            client_id: &spec.local_clientid,
            username: spec.local_username.as_deref(),
            durable: !spec.local_clean_session,
            filters: &filters,
        };
        let bridge = this.broker.add_bridge(&session, now);
        let wire = link.wire().clone();
        executor
            .spawn(net::uplink(hub.clone(), link, bridge, wire))
            .detach();
    }
    let mut this = hub.borrow_mut();
    let now = this.now();
    this.broker.drop_orphan_bridges(now);
}
