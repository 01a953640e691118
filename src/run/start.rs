//! Putting the parts together.

use std::rc::Rc;
use std::time::Duration;

use smol::{LocalExecutor, Task, channel};

use super::Error;
use super::check::{folder_in_ram, left_by_mosquitto};
use super::logger::{self, TopicLine};
use crate::auth::Auth;
use crate::broker::Broker;
use crate::config::{Config, Durability};
use crate::net::{self, Clock, Handshakes, Hub, LoginEvent, Logins, Reactor, Seen, Shared};
use crate::status::Sys;
use crate::store::{Db, Event, Handle, Loaded, Location};
use crate::time::Time;
use crate::tls;

type Executor = Rc<LocalExecutor<'static>>;

/// So much of what was found out about logins waits for the loop at most.
const LOGINS: usize = 64;

/// Opens the store and makes the broker of what lies in it. The channel tells when the store is
/// damaged.
pub(super) fn hub(
    config: &Config,
    auth: Auth,
    tls_clock: &tls::Clock,
    (reactor, executor): (&Rc<Reactor>, &Executor),
) -> Result<(Shared, channel::Receiver<()>), Error> {
    let general = &config.general;
    let location = if general.persistence {
        Location::File(general.store.clone())
    } else {
        Location::Memory
    };
    let (db, loaded) = Db::open(location).map_err(Error::Store)?;
    log_what_was_found(config, &loaded);
    tls_clock.raise(Duration::from_millis(loaded.known));
    let (store, events) = spawn_store(db)?;
    let clock = Clock::start(Seen {
        time: loaded.floor,
        wall: (loaded.wall > 0).then(|| Time::from_millis(loaded.wall)),
    });
    let now = clock.now();
    // What has no room waits on its thread: a program may revoke without end.
    let (report, reports) = channel::bounded(LOGINS);
    // Fails only when the loop has ended.
    let mut logins = Logins::new(move |found| drop(report.send_blocking(found)));
    logins.attend(auth.sockets());
    let broker = Broker::new(config, auth, loaded, now);
    if let Some((client, at)) = broker.first_to_expire() {
        log_first_to_expire(general.persistent_client_expiration, client, at.since(now));
    }
    let sys = Sys::new(Duration::from_secs(general.sys_interval.into()), now);
    let reactor = Rc::clone(reactor);
    // Fails only when the loop has ended, as that of the logins.
    let (step, steps) = channel::unbounded();
    let handshakes = Handshakes::new(move |stepped| drop(step.try_send(stepped)));
    let threads = (store, logins, handshakes);
    let hub = Hub::new(reactor, broker, threads, sys, clock, general);
    let shared = hub.clone();
    let shake = async move {
        while let Ok(stepped) = steps.recv().await {
            shared.borrow_mut().shaken(stepped);
        }
    };
    executor.spawn(shake).detach();
    let shared = hub.clone();
    let let_in = async move {
        while let Ok(found) = reports.recv().await {
            match found {
                LoginEvent::Answer(answer) => shared.borrow_mut().login_answer(answer),
                LoginEvent::Revoked(path, what) => shared.borrow_mut().revoke(&path, &what),
            }
            if !reports.is_empty() {
                net::let_others_go_first(&shared).await;
            }
        }
    };
    executor.spawn(let_in).detach();
    let shared = hub.clone();
    let (tell, damaged) = channel::bounded(1);
    let deliver = async move {
        while let Ok(event) = events.recv().await {
            let is_damage = matches!(event, Event::Damaged { .. });
            shared.borrow_mut().store_event(event);
            if is_damage {
                // It comes once, so there is room.
                let _ = tell.try_send(());
            }
            if !events.is_empty() {
                net::let_others_go_first(&shared).await;
            }
        }
    };
    executor.spawn(deliver).detach();
    Ok((hub, damaged))
}

/// Says what was found in the store.
fn log_what_was_found(config: &Config, loaded: &Loaded) {
    let general = &config.general;
    if !general.persistence {
        log::warn!(
            "persistence is off: what is queued or retained is lost when the broker stops. \
             Add `persistence true` to keep it."
        );
        return;
    }
    if let Some(ram) = folder_in_ram(&general.store) {
        log::warn!(
            "{} lies in RAM ({ram}): everything in it is lost with the power. Set \
             persistence_location to a folder on flash or disk.",
            general.store.display()
        );
    }
    let is_empty = loaded.sessions.is_empty() && loaded.retained.is_empty();
    if let Some(line) = left_by_mosquitto(general).filter(|_| is_empty) {
        log::warn!("{line}.");
    }
    match general.durability {
        Durability::Power => {}
        Durability::Lazy(window) => log::warn!(
            "durability lazy: a power cut or a crash loses what was acknowledged in the last {} \
             seconds.",
            window.as_secs_f32()
        ),
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
    let queued: u64 = loaded.sessions.iter().map(|s| s.queue.len()).sum();
    log::info!(
        "{}: {} sessions, {queued} queued and {} retained messages.",
        config.general.store.display(),
        loaded.sessions.len(),
        loaded.retained.len(),
    );
}

/// Says that sessions are forgotten, and which is the next.
fn log_first_to_expire(most: Option<Duration>, client: &str, left: Duration) {
    let policy = match most {
        Some(most) => format!(
            "Sessions of absent clients are forgotten after {} at most (persistent_client_expiration)",
            in_words(most)
        ),
        None => "Sessions of absent clients are forgotten when they expire".to_owned(),
    };
    log::info!(
        "{policy}; the first is that of {client}, in {} unless it connects.",
        in_words(left)
    );
}

/// A span in days where there are some, else in hours or seconds.
fn in_words(span: Duration) -> String {
    match span.as_secs() {
        secs @ ..7_200 => format!("{secs} seconds"),
        secs @ ..172_800 => format!("{} hours", secs / 3600),
        secs => format!("{} days", secs / 86_400),
    }
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

/// Accepts on each listener, in a task that ends when it is dropped: on those that are bound, and on
/// the others as they come.
pub(super) fn listeners(
    config: &Config,
    bound: net::Bound,
    hub: &Shared,
    executor: &Executor,
) -> Vec<Task<()>> {
    if config.listeners.is_empty() {
        log::info!(
            "No listener is configured: only programs on this machine can connect. \
             Add `listener 1883` to the configuration to let others in."
        );
    }
    for note in bound.notes {
        log::warn!("{note}");
    }
    let serve = {
        let (hub, executor) = (Rc::clone(hub), Rc::clone(executor));
        move |listener: net::Listener| {
            log::info!("Listening on {listener}.");
            executor.spawn(net::serve(listener, hub.clone()))
        }
    };
    let mut tasks: Vec<Task<()>> = bound.listeners.into_iter().map(&serve).collect();
    for waiting in bound.waiting {
        let (hub, serve) = (hub.clone(), serve.clone());
        tasks.push(executor.spawn(async move {
            let mut serving = Vec::new();
            net::listen_late(waiting, hub, |listener| serving.push(serve(listener))).await;
            for task in serving {
                task.await;
            }
        }));
    }
    tasks
}

/// `log_dest topic`: publishes the lines of the log.
pub(super) async fn publish_log(lines: channel::Receiver<TopicLine>, hub: Shared) {
    /// Lines in a row before others have their turn.
    const BURST: usize = 64;
    let mut left = BURST;
    while let Ok(TopicLine { topic, line }) = lines.recv().await {
        logger::without_publishing(|| hub.borrow_mut().publish_log(topic, &line));
        left -= 1;
        if lines.is_empty() {
            left = BURST;
        } else if left == 0 {
            left = BURST;
            net::let_others_go_first(&hub).await;
        }
    }
}
