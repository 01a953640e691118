//! The bridges that run: one task each, and what SIGHUP makes of them.

use std::cell::RefCell;
use std::rc::Rc;

use smol::{LocalExecutor, Task};

use crate::bridge::Link;
use crate::broker::{BridgeId, BridgeSession};
use crate::config;
use crate::net::{self, Shared};

/// The bridges of the configuration.
pub(super) struct Bridges {
    hub: Shared,
    executor: Rc<LocalExecutor<'static>>,
    running: Vec<RunningBridge>,
}

/// One bridge.
struct RunningBridge {
    /// What the configuration says, though a connection that is up may come from an older one.
    spec: Rc<config::Bridge>,
    id: BridgeId,
    /// What the next connection is to be made by, if that is something new.
    next: NextConfig,
    /// Ends the bridge when it is dropped.
    _task: Task<()>,
}

/// The configuration that waits for the connection to end.
type NextConfig = Rc<RefCell<Option<Rc<config::Bridge>>>>;

impl Bridges {
    /// Makes the local end of each bridge, whose queue fills from now on, and starts its uplink.
    pub(super) fn start(
        specs: &[config::Bridge],
        hub: &Shared,
        executor: &Rc<LocalExecutor<'static>>,
    ) -> Bridges {
        let mut bridges = Bridges {
            hub: Rc::clone(hub),
            executor: Rc::clone(executor),
            running: Vec::new(),
        };
        for spec in specs {
            bridges.add(Rc::new(spec.clone()));
        }
        let mut hub = hub.borrow_mut();
        let now = hub.now();
        hub.broker.drop_orphan_bridges(now);
        for line in hub.broker.describe_queues(now) {
            log::info!("{line}");
        }
        drop(hub);
        bridges
    }

    /// Makes the bridges those of `specs`. One that has not changed is left alone.
    pub(super) fn reload(&mut self, specs: &[config::Bridge]) {
        let stays = |running: &RunningBridge| {
            let spec = &running.spec;
            specs
                .iter()
                .any(|new| new.name == spec.name && new.local_clientid == spec.local_clientid)
        };
        let (stay, go) = self.running.drain(..).partition(stays);
        self.running = stay;
        for running in go {
            self.remove(running);
        }
        for new in specs {
            let mut running = self.running.iter();
            let known = running.position(|running| running.spec.name == new.name);
            match known {
                Some(at) => {
                    self.retry_given_up(at);
                    self.change(at, new);
                }
                None => {
                    log::info!("Bridge {}: added.", new.name);
                    self.add(Rc::new(new.clone()));
                }
            }
        }
    }

    /// Ends the bridges because the broker stops: their upstreams are told, and none connects again.
    pub(super) fn stop(self) {
        drop(self.running);
        self.hub.borrow_mut().leave_uplinks();
    }

    fn add(&mut self, spec: Rc<config::Bridge>) {
        let (id, link) = add_to_broker(&self.hub, &spec);
        let next = NextConfig::default();
        let task = run_bridge(self.hub.clone(), id, link, Rc::clone(&next));
        self.running.push(RunningBridge {
            spec,
            id,
            next,
            _task: self.executor.spawn(task),
        });
    }

    /// Ends the bridge. What waits for it stays until the next start.
    fn remove(&mut self, running: RunningBridge) {
        let id = running.id;
        drop(running);
        let mut hub = self.hub.borrow_mut();
        hub.end_uplink(id, true);
        let now = hub.now();
        hub.broker.remove_bridge(id, now);
    }

    /// What upstreams could not do is tried again: the operator asks for it.
    fn retry_given_up(&self, at: usize) {
        if let Some(running) = self.running.get(at) {
            self.hub.borrow_mut().retry_given_up(running.id);
        }
    }

    /// The bridge at `at` is `new` from its next connection on, which comes at once unless there
    /// is one that may stay. Does nothing where `new` is what it is already.
    fn change(&mut self, at: usize, new: &config::Bridge) {
        let Some(running) = self.running.get_mut(at) else {
            return crate::impossible!("a bridge that was just found is gone");
        };
        if *running.spec == *new {
            return;
        }
        let (name, spec) = (&new.name, Rc::new(new.clone()));
        let up = self.hub.borrow().is_up(running.id);
        if up && !spec.reload_immediate {
            log::info!("Bridge {name}: changed; takes effect at its next connection.");
            running.spec = Rc::clone(&spec);
            *running.next.borrow_mut() = Some(spec);
            return;
        }
        log::info!("Bridge {name}: changed.");
        let old = self.running.remove(at);
        let id = old.id;
        drop(old);
        self.hub.borrow_mut().end_uplink(id, false);
        self.add(spec);
    }
}

/// Keeps a bridge going, by what the configuration says when it connects.
async fn run_bridge(hub: Shared, mut id: BridgeId, mut link: Link, next: NextConfig) {
    loop {
        let is_over = || next.borrow().is_some();
        net::uplink(hub.clone(), link, id, is_over).await;
        let Some(spec) = next.take() else {
            return;
        };
        (id, link) = add_to_broker(&hub, &spec);
    }
}

/// Makes the broker's end of a bridge, or brings it up to date, and a link for it.
fn add_to_broker(hub: &Shared, spec: &Rc<config::Bridge>) -> (BridgeId, Link) {
    let mut hub = hub.borrow_mut();
    let now = hub.now();
    let link = Link::new(Rc::clone(spec), fastrand::u64(..), now);
    let session = BridgeSession {
        name: &spec.name,
        client_id: &spec.local_clientid,
        username: spec.local_username.as_deref(),
        durable: !spec.local_clean_session,
        topics: &spec.topics,
        map: link.map(),
    };
    let id = hub.broker.add_bridge(&session, now);
    let subscribed = hub.broker.bridge_subscriptions(id);
    let given_up = hub.broker.bridge_given_up(id);
    let link = link.with_subscribed(subscribed).with_given_up(&given_up);
    (id, link)
}
