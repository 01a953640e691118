//! The simulated devices and the collector that counts what arrives upstream.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tally::{DeviceId, Row, Sent, Tally};
use crate::cli::client::{Client, Error, Event, Outgoing, Session, Target};
use crate::mqtt::{Connect, Property, Props, PropsBuf, QoS, Reason, Subscription, Version};

/// Between a device's messages.
const INTERVAL: Duration = Duration::from_millis(40);
/// Between its attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
/// For an answer to a CONNECT.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What stands below `site/` before the topics that the bridge keeps at QoS 0.
pub(super) const KEPT: &str = "kept/";
/// Bytes of a payload.
const PAYLOAD: usize = 200;

/// What the threads of the demo share.
#[derive(Debug, Default)]
pub(super) struct SharedState {
    /// Devices make no more messages.
    pub(super) stop: AtomicBool,
    /// Devices and collector give up.
    pub(super) abort: AtomicBool,
    /// The collector is to leave.
    pub(super) leave: AtomicBool,
    /// Messages of QoS 1 and 2 that the edge broker acknowledged.
    pub(super) acknowledged: AtomicUsize,
    /// Messages of QoS 1 and 2 that arrived upstream, each counted once.
    pub(super) arrived: AtomicUsize,
}

/// Where a client connects to.
pub(super) fn target(host: &str, port: u16) -> Target {
    Target {
        host: host.to_owned(),
        port,
        bind: None,
        timeout: TIMEOUT,
        trace: false,
    }
}

/// The CONNECT of `client_id`. In 5.0 a kept session ends an hour after the connection.
pub(super) fn connect_packet<'a>(
    client_id: &'a str,
    version: Version,
    clean_start: bool,
    props: &'a mut PropsBuf,
) -> Connect<'a> {
    if version == Version::V5 && !clean_start {
        props.clear();
        props.push(Property::SessionExpiry(3600));
    }
    Connect {
        version,
        bridge: false,
        clean_start,
        keep_alive: 10,
        client_id,
        will: None,
        username: None,
        password: None,
        props: props.as_props(),
    }
}

/// A device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) row: Row,
    pub(super) edge: Target,
    pub(super) shared: Arc<SharedState>,
}

impl Device {
    /// Publishes numbered messages until it is told to stop, and then until the last is
    /// acknowledged. Comes back with its session when the connection breaks.
    pub(super) fn run(self) -> Sent {
        let mut sent = Sent {
            device: self.id,
            row: self.row,
            numbers: BTreeSet::new(),
        };
        let version = match self.id % 2 {
            0 => Version::V311,
            _ => Version::V5,
        };
        let client_id = format!("device-{}", self.id);
        let mut props = PropsBuf::new();
        let connect_packet = connect_packet(&client_id, version, false, &mut props);
        let mut session = Session::default();
        let mut next = 1;
        while !self.shared.abort.load(Ordering::Relaxed) {
            let done = match Client::connect(&self.edge, &connect_packet, &mut session) {
                Ok(client) => self.publish(client, &mut next, &mut sent.numbers),
                Err(error) => Err(error),
            };
            match done {
                Ok(()) => break,
                Err(_) => std::thread::sleep(RETRY),
            }
        }
        sent
    }

    fn publish(
        &self,
        mut client: Client<'_>,
        next: &mut u64,
        numbers: &mut BTreeSet<u64>,
    ) -> Result<(), Error> {
        let mut due = Instant::now();
        while !self.shared.abort.load(Ordering::Relaxed) {
            let stop = self.shared.stop.load(Ordering::Relaxed);
            if stop && client.in_flight() == 0 {
                return client.disconnect(Reason::SUCCESS, Props::EMPTY);
            }
            if !stop && Instant::now() >= due && client.has_room() {
                let number = *next;
                *next += 1;
                client.publish(self.message(number))?;
                if !self.row.is_owed() {
                    numbers.insert(number);
                }
                due += INTERVAL;
            }
            let wake = due.max(Instant::now() + Duration::from_millis(1));
            if let Some(Event::Published(message, reason)) = client.next(wake)?
                && !reason.is_error()
                && let Some((_, number)) = parse(&message.payload)
                && numbers.insert(number)
            {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn message(&self, number: u64) -> Arc<Outgoing> {
        let mut payload = format!("{} {number} ", self.id).into_bytes();
        payload.resize(PAYLOAD.max(payload.len()), b'.');
        let kept = if self.row == Row::Kept { KEPT } else { "" };
        Arc::new(Outgoing {
            topic: format!("site/{kept}device-{}/reading", self.id),
            payload,
            qos: self.row.qos(),
            ..Outgoing::default()
        })
    }
}

/// Device and number in a payload.
fn parse(payload: &[u8]) -> Option<(DeviceId, u64)> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Counts what arrives at the upstream broker.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) client_id: String,
    pub(super) filter: String,
    pub(super) upstream: Target,
    pub(super) shared: Arc<SharedState>,
    pub(super) tally: Arc<Mutex<Tally>>,
}

impl Collector {
    /// Subscribes; then `ready` is called, then messages are counted until all is over. Returns
    /// the error if the first connection fails.
    pub(super) fn run(self, ready: impl FnOnce()) -> Result<(), Error> {
        let mut ready = Some(ready);
        let mut props = PropsBuf::new();
        let mut connect_packet = connect_packet(&self.client_id, Version::V5, false, &mut props);
        // Mosquitto 2.0.11 may deliver out of order once a subscriber's window is full.
        let mut wide = PropsBuf::new();
        wide.extend_raw(connect_packet.props.as_bytes());
        wide.push(Property::ReceiveMaximum(u16::MAX));
        connect_packet.props = wide.as_props();
        let mut session = Session::default();
        loop {
            let result = Client::connect(&self.upstream, &connect_packet, &mut session)
                .and_then(|client| self.collect(client, &mut ready));
            match result {
                Err(error) if ready.is_some() => return Err(error),
                Err(_) if !self.over() => std::thread::sleep(RETRY),
                _ => return Ok(()),
            }
        }
    }

    fn over(&self) -> bool {
        self.shared.abort.load(Ordering::Relaxed) || self.shared.leave.load(Ordering::Relaxed)
    }

    fn collect(
        &self,
        mut client: Client<'_>,
        ready: &mut Option<impl FnOnce()>,
    ) -> Result<(), Error> {
        let all = Subscription::new(&self.filter, QoS::ExactlyOnce);
        client.subscribe(vec![all], Props::EMPTY)?;
        while !self.over() {
            match client.next(Instant::now() + RETRY)? {
                Some(Event::Subscribed(_, reasons)) => {
                    if reasons.iter().any(|reason| reason.is_error()) {
                        return Err(Error::Refused(Version::V5, Reason::NOT_AUTHORIZED));
                    }
                    if let Some(ready) = ready.take() {
                        ready();
                    }
                }
                Some(Event::Message(message)) => self.count(&message.payload),
                _ => {}
            }
        }
        client.disconnect(Reason::SUCCESS, Props::EMPTY)
    }

    fn count(&self, payload: &[u8]) {
        if let Some((device, number)) = parse(payload) {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            let new = tally.arrive(device, number);
            if new && Row::of(device).is_owed() {
                self.shared.arrived.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
