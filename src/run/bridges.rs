//! The bridges that run: one task each, what SIGHUP makes of them, and what the operator does to them
//! while they run.

pub(super) mod control;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use smol::{LocalExecutor, Task};

use crate::bridge::{Link, Order};
use crate::broker::{BridgeId, BridgeSession};
use crate::config;
use crate::net::{self, Shared};

/// The bridges of the configuration, and those that were added by a command.
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
    /// Where it comes from.
    source: Source,
    /// What the operator has said last since the start, if anything.
    order: Option<Order>,
    /// Ends the bridge when it is dropped.
    task: Option<Task<()>>,
}

/// Where a bridge comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// The configuration has it.
    File,
    /// It was added by a command.
    Command,
}

/// The configuration that waits for the connection to end.
type NextConfig = Rc<RefCell<Option<Rc<config::Bridge>>>>;

impl Bridges {
    /// Makes the local end of each bridge, whose queue fills from now on, and starts its uplink.
    pub(super) fn set_up(
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
            bridges.launch(spec.clone(), Source::File);
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

    /// Makes the bridges of the configuration those of `specs`. One that has not changed is left alone, and
    /// so is one that was added by a command, unless `specs` has one of its name or its client ids.
    pub(super) fn reload(&mut self, specs: &[config::Bridge]) {
        self.take_out_gone(specs);
        for new in specs {
            let mut running = self.running.iter();
            let known = running.position(|running| running.spec.name == new.name);
            match known {
                Some(at) => {
                    self.retry_given_up(at);
                    self.change(at, new);
                    if let Some(running) = self.running.get_mut(at) {
                        running.source = Source::File;
                    }
                }
                None => {
                    log::info!("Bridge {}: added.", new.name);
                    self.launch(new.clone(), Source::File);
                }
            }
        }
    }

    /// Ends the bridges that `specs` has no more, or can't be beside.
    fn take_out_gone(&mut self, specs: &[config::Bridge]) {
        let running = std::mem::take(&mut self.running);
        let stays = |at: usize, running_bridge: &RunningBridge| {
            let spec = &running_bridge.spec;
            // One that has the client id of another one can't take its own queue along.
            let is_free = |id: &str| {
                let mut all = running.iter().enumerate();
                !all.any(|(other, bridge)| other != at && bridge.spec.local_clientid == id)
            };
            let follows =
                |new: &config::Bridge| new.name == spec.name && is_free(&new.local_clientid);
            let clashes = |new: &config::Bridge| !new.clashes([&**spec].into_iter()).is_empty();
            match running_bridge.source {
                Source::Command => !specs.iter().any(|new| clashes(new) && !follows(new)),
                Source::File => specs.iter().any(follows),
            }
        };
        let stay: Vec<bool> = (0..)
            .zip(&running)
            .map(|(at, bridge)| stays(at, bridge))
            .collect();
        // All that go have gone before one of the others takes a client id.
        for (bridge, stays) in running.into_iter().zip(stay) {
            if stays {
                self.running.push(bridge);
            } else {
                self.take_out(bridge);
            }
        }
    }

    /// Ends the bridges because the broker stops: their upstreams are told, and none connects again.
    pub(super) fn end(self) {
        drop(self.running);
        self.hub.borrow_mut().leave_uplinks();
    }

    /// Makes the bridge, and keeps it going as its `start_type` wants.
    fn launch(&mut self, spec: config::Bridge, source: Source) {
        let running = self.spawn(None, Rc::new(spec), source, None);
        self.running.push(running);
    }

    /// Starts a bridge, in the place of `old` if it was there before.
    fn spawn(
        &self,
        old: Option<BridgeId>,
        spec: Rc<config::Bridge>,
        source: Source,
        order: Option<Order>,
    ) -> RunningBridge {
        let (id, index) = add_to_broker(&self.hub, old, &spec, order);
        let next = NextConfig::default();
        let task = run_bridge(self.hub.clone(), index, order, Rc::clone(&next));
        RunningBridge {
            spec,
            id,
            next,
            source,
            order,
            task: Some(self.executor.spawn(task)),
        }
    }

    /// Has the bridge at `at` begin anew, by `spec` and `order`. Its connection ends, if it has one; its
    /// queue stays.
    fn renew(&mut self, at: usize, spec: Rc<config::Bridge>, order: Option<Order>) {
        let Some(old) = self.running.get_mut(at) else {
            return crate::impossible!("a bridge that was just found is gone");
        };
        let (id, source) = (old.id, old.source);
        // Its task must not see the end of the connection.
        old.task = None;
        self.hub.borrow_mut().end_uplink(id, false);
        let new = self.spawn(Some(id), spec, source, order);
        if let Some(place) = self.running.get_mut(at) {
            *place = new;
        }
    }

    /// Ends the bridge. What waits for it stays until the next start.
    fn take_out(&mut self, running: RunningBridge) {
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
        let (name, spec, order) = (&new.name, Rc::new(new.clone()), running.order);
        let up = self.hub.borrow().is_up(running.id);
        let is_renamed = running.spec.local_clientid != spec.local_clientid;
        if up && !spec.reload_immediate && !is_renamed {
            log::info!("Bridge {name}: changed; takes effect at its next connection.");
            running.spec = Rc::clone(&spec);
            *running.next.borrow_mut() = Some(spec);
            return;
        }
        log::info!("Bridge {name}: changed.");
        self.renew(at, spec, order);
    }
}

/// Keeps a bridge going, by what the configuration says when it connects.
async fn run_bridge(hub: Shared, mut index: u32, order: Option<Order>, next: NextConfig) {
    loop {
        let is_over = || next.borrow().is_some();
        net::uplink(hub.clone(), index, is_over).await;
        let Some(spec) = next.take() else {
            return;
        };
        (_, index) = add_to_broker(&hub, None, &spec, order);
    }
}

/// Makes the broker's end of a bridge, or brings it up to date, and a link for it, whose number in the hub
/// comes with it. `old`: what it was, if its client id here may have
/// changed.
fn add_to_broker(
    hub: &Shared,
    old: Option<BridgeId>,
    spec: &Rc<config::Bridge>,
    order: Option<Order>,
) -> (BridgeId, u32) {
    let mut hub = hub.borrow_mut();
    let now = hub.now();
    let link = Link::new(Rc::clone(spec), fastrand::u64(..), now).with_order(order, now);
    let session = BridgeSession {
        name: &spec.name,
        client_id: &spec.local_clientid,
        username: spec.local_username.as_deref(),
        durable: !spec.local_clean_session,
        topics: &spec.topics,
        map: link.map(),
    };
    if let Some(old) = old {
        hub.broker.rename_bridge(old, &spec.local_clientid, now);
    }
    let id = hub.broker.add_bridge(&session, now);
    let subscribed = hub.broker.bridge_subscriptions(id);
    let given_up = hub.broker.bridge_given_up(id);
    let link = link.with_subscribed(subscribed).with_given_up(&given_up);
    (id, hub.add_link(link, id))
}
