//! What the operator does to bridges while they run. Nothing of it outlives the process.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::{Bridges, RunningBridge, Source};
use crate::bridge::{Order, Phase, Rest, Status};
use crate::broker::UplinkWindow;
use crate::config::{self, Kind, StartType};
use crate::json::Value;
use crate::mqtt::Version;
use crate::time::Time;

/// What the operator can see of a bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::run) struct BridgeView {
    /// The name after `connection`.
    pub name: String,
    pub start_type: StartType,
    pub source: Source,
    pub state: BridgeState,
    /// The address in use, or the next to be tried.
    pub address: Option<String>,
    /// Why the last connection or attempt ended, unless the bridge is up.
    pub last_error: Option<String>,
    /// How many messages the upstream is owed.
    pub messages: u64,
    /// Their bytes, of topic, properties and payload.
    pub bytes: u64,
    /// How much may be under way, while it is up.
    pub window: Option<UplinkWindow>,
}

/// What a bridge is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::run) enum BridgeState {
    /// It does not connect by itself, for this reason.
    Resting(Rest),
    /// Its next attempt comes after so long.
    Waiting(Duration),
    /// It connects.
    Connecting,
    /// It waits for the CONNACK.
    Handshake,
    /// It has been connected for so long, and speaks this version.
    Up(Duration, Version),
}

impl BridgeState {
    fn of(phase: Phase, now: Time) -> BridgeState {
        match phase {
            Phase::Resting(rest) => BridgeState::Resting(rest),
            Phase::Waiting { until } => BridgeState::Waiting(until.since(now)),
            Phase::Connecting => BridgeState::Connecting,
            Phase::Handshake => BridgeState::Handshake,
            Phase::Up { since, version } => BridgeState::Up(now.since(since), version),
        }
    }
}

/// Whether a command has changed anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::run) enum Done {
    /// It has.
    Now,
    /// All was so before.
    Already,
}

/// A bridge that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::run) struct Removed {
    /// So many messages stay in its queue until the next start, in case it comes back.
    pub messages: u64,
}

/// Why a command can't be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::run) enum Error {
    /// There is no bridge of this name.
    Unknown(String),
    /// The new bridge and the others can't be side by side, for each of these reasons; never empty.
    Clashes(String, Vec<Kind>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unknown(name) => write!(f, "there is no bridge {name}"),
            Error::Clashes(name, reasons) => {
                write!(f, "connection {name}")?;
                let mut reasons = reasons.iter();
                reasons.try_for_each(|reason| write!(f, ": {reason}"))
            }
        }
    }
}

impl std::error::Error for Error {}

impl Bridges {
    /// All bridges, those of the configuration in its order first.
    pub(in crate::run) fn list(&self) -> Vec<BridgeView> {
        let now = self.hub.borrow_mut().now();
        let hub = self.hub.borrow();
        let view = |running: &RunningBridge| {
            let spec = &running.spec;
            let (messages, bytes) = hub.broker.bridge_backlog(running.id);
            let status = hub.uplink_status(running.id);
            let phase = status.as_ref().map(|status| status.phase);
            let state = BridgeState::of(phase.unwrap_or(Phase::Waiting { until: now }), now);
            let is_up = matches!(state, BridgeState::Up(..));
            let error = status.as_ref().and_then(|status| status.last_error);
            let address = match &status {
                Some(Status { address, .. }) => *address,
                None => spec.addresses.first(),
            };
            BridgeView {
                name: spec.name.clone(),
                start_type: spec.start.kind,
                source: running.source,
                state,
                address: address.map(ToString::to_string),
                last_error: error.filter(|_| !is_up).map(str::to_owned),
                messages,
                bytes,
                window: hub.broker.uplink_window(running.id),
            }
        };
        self.running.iter().map(view).collect()
    }

    /// What is told of the bridge at this place of the list; `None` beyond its end.
    pub(in crate::run) fn overview(&self, at: usize) -> Option<Value> {
        let bridge = self.running.get(at)?.id;
        self.hub.borrow_mut().bridge_overview(bridge)
    }

    /// Has a bridge connect, whatever its `start_type`; one that waits for its next attempt tries at once.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub(in crate::run) fn start(&mut self, name: &str) -> Result<Done, Error> {
        let at = self.find(name)?;
        let is_under_way = |running: &RunningBridge| {
            let hub = self.hub.borrow();
            let status = hub.uplink_status(running.id);
            status.is_some_and(|status| {
                !matches!(status.phase, Phase::Resting(_) | Phase::Waiting { .. })
            })
        };
        let running = self.running.get(at);
        if running.is_none_or(is_under_way) {
            return Ok(Done::Already);
        }
        log::info!("Bridge {name}: started by command.");
        self.order(at, Order::Start);
        Ok(Done::Now)
    }

    /// Ends the connection of a bridge, with DISCONNECT, and keeps it from connecting again until it
    /// is started, or the broker is. Its queue fills meanwhile.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub(in crate::run) fn stop(&mut self, name: &str) -> Result<Done, Error> {
        let at = self.find(name)?;
        let running = self.running.get(at);
        if running.is_none_or(|running| running.order == Some(Order::Stop)) {
            return Ok(Done::Already);
        }
        log::info!("Bridge {name}: stopped by command.");
        self.order(at, Order::Stop);
        Ok(Done::Now)
    }

    /// Adds a bridge, which lasts until the process ends. SIGHUP leaves it alone, unless the
    /// configuration has one that can't be beside it. Whether it is a bridge to this broker itself is for
    /// the caller to find out.
    ///
    /// # Errors
    /// [`Error::Clashes`].
    pub(in crate::run) fn add(&mut self, spec: config::Bridge) -> Result<(), Error> {
        let others = self.running.iter().map(|running| &*running.spec);
        let clashes = spec.clashes(others);
        if !clashes.is_empty() {
            return Err(Error::Clashes(spec.name, clashes));
        }
        log::info!("Bridge {}: added by command.", spec.name);
        self.launch(spec, Source::Command);
        Ok(())
    }

    /// Removes a bridge, wherever it comes from. What waits for it stays until the next start of the broker.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub(in crate::run) fn remove(&mut self, name: &str) -> Result<Removed, Error> {
        let at = self.find(name)?;
        let running = self.running.remove(at);
        let (messages, _) = self.hub.borrow().broker.bridge_backlog(running.id);
        log::info!("Bridge {name}: removed by command.");
        self.take_out(running);
        Ok(Removed { messages })
    }

    /// Where a bridge that runs comes from.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub(in crate::run) fn source(&self, name: &str) -> Result<Source, Error> {
        let running = self.running.get(self.find(name)?);
        let source = running.map(|running| running.source);
        source.ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    fn order(&mut self, at: usize, order: Order) {
        if let Some(running) = self.running.get(at) {
            let spec = Rc::clone(&running.spec);
            self.renew(at, spec, Some(order));
        }
    }

    fn find(&self, name: &str) -> Result<usize, Error> {
        let mut running = self.running.iter();
        let at = running.position(|running| running.spec.name == name);
        at.ok_or_else(|| Error::Unknown(name.to_owned()))
    }
}
