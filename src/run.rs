//! The running broker: from arguments to a clean stop.
//!
//! Starts in this order: configuration, log, access rules, store, broker, listeners, bridges; for a
//! root that is to become another `user`, the listeners come before the first thread, the log's
//! (`prepare`). A failure up to there ends the process with one line; afterwards nothing does but a
//! signal.

mod bridges;
mod check;
pub mod control;
mod daemon;
mod error;
pub mod import;
mod logger;
mod loops;
mod memory;
mod options;
mod prepare;
mod reload;
mod start;
mod tls;
mod user;

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use smol::{LocalExecutor, Task, channel};

use crate::config::{Config, Reading};
use crate::impossible;
use crate::net::{self, Shared, Signals};
use bridges::Bridges;
use daemon::notify::Notify;
use daemon::{Report, Side};
use logger::{Logger, OpenLog};
use options::load;
use prepare::Prepared;
use reload::Reloadable;
use tls::Tls;

pub use check::{Finding, Findings, Reach, Severity, Survey, check, survey};
pub use error::Error;
pub use options::Options;
pub use tls::Error as TlsError;

/// How long a clean stop waits for output to leave and for the last commit.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The signals that are answered; the rest do what they always do. A limit on the size of files
/// (SIGXFSZ) is a full disk, not an end; SIGUSR2 is Mosquitto's for printing its subscriptions, and
/// would be an end, too.
const CAUGHT: [i32; 6] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ];

/// A broker that has run so long is not one that starts over again and again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Runs the broker until a signal stops it.
///
/// # Errors
/// Whatever keeps it from starting; a store that does not take the last commit.
pub fn run(options: &Options) -> Result<(), Error> {
    // What `-d` starts reads it once more.
    let reading = if options.daemon {
        Reading::Again
    } else {
        Reading::Once
    };
    let (config, notes) = load(options, reading)?;
    let mut report = Report::default();
    if options.daemon {
        let side = daemon::detach().map_err(|e| Error::System("going into the background", e))?;
        match side {
            Side::Parent(started) => return started.map_err(Error::Background),
            Side::Child(to_parent) => report = to_parent,
        }
    }
    let result = run_here(options, config, notes, &mut report);
    if let Err(e) = &result {
        report.failed(&e.to_string());
    }
    result
}

/// Runs the broker in this process.
fn run_here(
    options: &Options,
    config: Config,
    notes: Vec<String>,
    report: &mut Report,
) -> Result<(), Error> {
    let signals = Signals::new(&CAUGHT).map_err(|e| Error::System("waiting for signals", e))?;
    let log = &config.general.log;
    let opened = OpenLog::new(log).map_err(|e| Error::of_log(log, e))?;
    // Before any thread is started, the log's among them; what goes wrong is for the log.
    let prepared = prepare::user_to_become(&config).and_then(|user| match user {
        Some(user) => Prepared::as_root(options, &config, &user),
        None => Prepared::new(&config),
    });
    let refused = daemon::give_up_rights();
    let logger = opened
        .start()
        .map_err(|e| Error::System("starting the log", e))?;
    let logger = Rc::new(logger);
    log::info!("footbridge {} starting.", env!("CARGO_PKG_VERSION"));
    let notify = Notify::from_env().unwrap_or_else(|e| {
        log::warn!("The service manager is told nothing: {e}.");
        Notify::default()
    });
    let notify = Rc::new(notify);
    let secrets = check::readable_by_all(options.config.as_deref(), &config);
    for secret in secrets {
        log::warn!("{}.", secret.line);
    }
    for note in refused.into_iter().chain(notes) {
        log::warn!("{note}");
    }
    if !options.ports.is_empty() && !config.listeners.is_empty() {
        log::info!("-p is ignored: the configuration names its listeners.");
    }
    let pid_file = config.general.pid_file.clone();
    let result = prepared.and_then(|prepared| {
        let how = (signals, report, &notify);
        serve_until_stopped(options, config, prepared, &logger, how)
    });
    match &result {
        Ok(()) => log::info!("footbridge stopped."),
        // The caller says it on standard error, which a daemon does not have.
        Err(e) if options.daemon => e.to_string().lines().for_each(|line| log::error!("{line}")),
        Err(_) => {}
    }
    // Root writes it before the store is opened, which may be refused.
    if let (Err(_), Some(path)) = (&result, &pid_file) {
        daemon::remove_pid(path);
    }
    logger.finish();
    result
}

/// Why [`serve`] ended.
enum Ended {
    /// A signal said so.
    Stopped,
    /// The store is damaged: the next start sets the file aside and rescues what it can. The
    /// signals go on meanwhile. With what was in force.
    Damaged(Box<(Signals, Config, Tls)>),
}

/// Serves, and starts over if the store turns out to be damaged. To its clients that is a crash.
fn serve_until_stopped(
    options: &Options,
    mut config: Config,
    mut prepared: Prepared,
    logger: &Rc<Logger>,
    (mut signals, report, notify): (Signals, &mut Report, &Rc<Notify>),
) -> Result<(), Error> {
    daemon::raise_descriptor_limit();
    let mut pause = Duration::ZERO;
    let mut start = net::Start::Plain;
    loop {
        let started = Instant::now();
        let (rules, control) = (prepared.auth.clone(), prepared.control.clone());
        let (old, tls);
        (signals, old, tls) = match serve(
            options,
            &config,
            prepared,
            logger,
            (signals, start),
            (report, notify),
        )? {
            Ended::Stopped => return Ok(()),
            Ended::Damaged(what) => *what,
        };
        // Damage that comes back at once is a disk that ends, and nothing that haste would mend.
        pause = if started.elapsed() > STABLE_AFTER {
            Duration::ZERO
        } else {
            (2 * pause).clamp(Duration::from_secs(1), STABLE_AFTER)
        };
        log::warn!("Starting over.");
        notify.starting_over();
        std::thread::sleep(pause);
        config = match load(options, Reading::Again) {
            Ok((newer, _)) => newer,
            Err(_) => old.clone(),
        };
        prepared = Prepared {
            control,
            ..Prepared::again(&mut config, &old, rules, &tls)?
        };
        start = net::Start::Again;
    }
}

/// From the store to the last commit.
fn serve(
    options: &Options,
    config: &Config,
    prepared: Prepared,
    logger: &Rc<Logger>,
    (mut signals, how): (Signals, net::Start),
    (report, notify): (&mut Report, &Rc<Notify>),
) -> Result<Ended, Error> {
    for warning in &prepared.warnings {
        log::warn!("{warning}");
    }
    let executor = Rc::new(LocalExecutor::new());
    let reactor = prepared.reactor;
    signals
        .watch(&reactor)
        .map_err(|e| Error::System("waiting for signals", e))?;
    let clock = &prepared.tls.clock;
    let (hub, damaged) = start::hub(config, prepared.auth, clock, (&reactor, &executor))?;
    hub.borrow_mut()
        .set_tls(&prepared.tls.clock, prepared.tls.sides.clone());
    prepared.tls.tell(config);
    let listeners = match prepared.listeners {
        Some(bound) => bound,
        None => prepare::bind_listeners(&reactor, options, config, how)?,
    };
    let listeners = start::listeners(config, listeners, &hub, &executor);
    let running = Rc::new(RefCell::new(Reloadable {
        options: options.clone(),
        config: config.clone(),
        logger: Rc::clone(logger),
        tls: prepared.tls,
        bridges: Bridges::set_up(&config.bridges, &hub, &executor),
        hub: Rc::clone(&hub),
    }));
    if let Some(socket) = prepared.control {
        log::info!("Control socket at {}.", socket.path().display());
        let steered = Rc::downgrade(&running);
        let ask = move |asked: net::Asked<'_>| control::answer(&steered, asked);
        executor
            .spawn(net::control(socket, hub.clone(), ask))
            .detach();
    }
    executor
        .spawn(start::publish_log(logger.topic_lines(), hub.clone()))
        .detach();
    let (fed, shared) = (Rc::clone(notify), hub.clone());
    executor
        .spawn(async move { fed.feed_watchdog(&shared).await })
        .detach();
    executor.spawn(net::Turn::new(hub)).detach();
    log::info!("footbridge {} running.", env!("CARGO_PKG_VERSION"));
    report.running();
    notify.ready();
    // The awaited future is polled at every wake: the work is in tasks of the executor, and this
    // only looks whether they are over.
    let life = executor.spawn(until_signal(
        (signals, damaged),
        running,
        listeners,
        Rc::clone(notify),
    ));
    let result = reactor.block_on(executor.run(life));
    if let Some(path) = &config.general.pid_file {
        daemon::remove_pid(path);
    }
    result
}

/// How often certificates are looked at that end soon.
const DAY: Duration = Duration::from_secs(86_400);

/// What there is to do while connections are served.
enum Event {
    Signal(i32),
    /// The store is damaged.
    Damaged,
    /// A day without a signal is over.
    DayOver,
}

/// Answers signals until one says to stop, then stops.
async fn until_signal(
    (mut signals, damaged): (Signals, channel::Receiver<()>),
    running: Rc<RefCell<Reloadable>>,
    listeners: Vec<Task<()>>,
    notify: Rc<Notify>,
) -> Result<Ended, Error> {
    let damaged = async { damaged.recv().await.ok().map(|()| Event::Damaged) };
    let mut damaged = pin!(damaged);
    let hub = Rc::clone(&running.borrow().hub);
    loop {
        let day = async {
            net::sleep(&hub, DAY).await;
            Some(Event::DayOver)
        };
        let signal = async { Some(Event::Signal(signals.next().await)) };
        let event = future::or(signal, future::or(damaged.as_mut(), day)).await;
        let Some(event) = event else { break };
        match event {
            Event::Damaged => {
                let (config, tls) = {
                    let running = running.borrow();
                    (running.config.clone(), running.tls.clone())
                };
                return Ok(Ended::Damaged(Box::new((signals, config, tls))));
            }
            Event::DayOver => running.borrow().tell_expiring(),
            Event::Signal(SIGHUP) => {
                notify.reloading();
                running.borrow_mut().reload();
                notify.ready();
            }
            Event::Signal(SIGUSR1) => hub.borrow_mut().commit_now(),
            Event::Signal(SIGUSR2) => log::info!("SIGUSR2 means nothing to footbridge."),
            Event::Signal(SIGXFSZ) => {}
            Event::Signal(signal) => {
                log::info!("footbridge stopping ({}).", name(signal));
                notify.stopping();
                break;
            }
        }
    }
    // Dropping a task closes its socket: nobody can connect any more.
    drop(listeners);
    // From here on the control socket finds nothing to steer.
    match Rc::try_unwrap(running) {
        Ok(running) => running.into_inner().bridges.end(),
        Err(_) => impossible!("a command runs while the broker stops"),
    }
    stop(&hub).await.map(|()| Ended::Stopped)
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Says goodbye to every client and waits for the last commit.
async fn stop(hub: &Shared) -> Result<(), Error> {
    const LOOK_AGAIN: Duration = Duration::from_millis(10);
    hub.borrow_mut().shut_down();
    let end = Instant::now() + STOP_WITHIN;
    while !hub.borrow().is_quiet() && Instant::now() < end {
        net::sleep(hub, LOOK_AGAIN).await;
    }
    let store = hub.borrow_mut().close_store();
    match store {
        Some(handle) => handle.close().map_err(Error::Store),
        None => Ok(()),
    }
}
