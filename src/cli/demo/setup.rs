//! What the demo is made of: brokers, uplink, devices, collector.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::DemoError;
use super::broker::BrokerProcess;
use super::device::{Collector, Device, KEPT, SharedState, connect_packet, target};
use super::link::CuttableLink;
use super::report::{Figures, Screen};
use super::tally::{DEVICES, Row, Sent, Tally, Totals};
use crate::cli::client::{Client, Event, Outgoing, Session, Target};
use crate::cli::process;
use crate::mqtt::{Props, PropsBuf, QoS, Reason, Subscription, Version};

/// Between looks at the figures.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// For a command to come down.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// Nothing new for that long: what is missing is taken for lost.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// What comes late or twice comes within that time after the last message.
const SETTLE_TIME: Duration = Duration::from_millis(700);

/// Everything that runs in the demo.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) edge: BrokerProcess,
    pub(super) link: CuttableLink,
    pub(super) screen: Screen,
    upstream: Target,
    /// The upstream broker, if it is ours.
    _own_upstream: Option<BrokerProcess>,
    /// Of all topics and client ids at the upstream broker.
    prefix: String,
    shared: Arc<SharedState>,
    tally: Arc<Mutex<Tally>>,
    devices: Vec<JoinHandle<Sent>>,
    collector: Option<JoinHandle<()>>,
    interrupt: UnixStream,
}

impl Setup {
    /// Starts all; the devices begin to publish.
    pub(super) fn set(folder: &Path, upstream: Option<(String, u16)>) -> Result<Setup, DemoError> {
        let interrupt = process::asked_to_end()
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(DemoError::system("signals"))?;
        let screen = Screen::new();
        let prefix = format!("footbridge-demo-{}", std::process::id());
        let (own_upstream, host, port) = match upstream {
            Some((host, port)) => (None, host, port),
            None => {
                let broker = BrokerProcess::start(folder, "upstream", "")?;
                let port = broker.port();
                (Some(broker), "127.0.0.1".to_owned(), port)
            }
        };
        let shared = Arc::new(SharedState::default());
        let tally = Arc::new(Mutex::new(Tally::default()));
        let collector = Collector {
            client_id: format!("{prefix}-collector"),
            filter: format!("{prefix}/site/#"),
            upstream: target(&host, port),
            shared: Arc::clone(&shared),
            tally: Arc::clone(&tally),
        };
        let collector = start_collector(collector)?;
        let link = CuttableLink::to(host.clone(), port)
            .map_err(DemoError::system("no port for the link"))?;
        let bridge = format!(
            "connection uplink\naddress 127.0.0.1:{}\nremote_clientid {prefix}-bridge\n\
             cleansession false\nnotifications false\nrestart_timeout 1\nkeepalive_interval 10\n\
             topic {KEPT}# out 1 site/ {prefix}/site/ qos0=keep\n\
             topic # out 2 site/ {prefix}/site/\ntopic # in 1 cmd/ {prefix}/cmd/\n",
            link.port()
        );
        let edge = BrokerProcess::start(folder, "edge", &bridge)?;
        let devices = (0..DEVICES).map(|id| {
            let device = Device {
                id,
                row: Row::of(id),
                edge: target("127.0.0.1", edge.port()),
                shared: Arc::clone(&shared),
            };
            std::thread::spawn(|| device.run())
        });
        Ok(Setup {
            devices: devices.collect(),
            edge,
            link,
            screen,
            upstream: target(&host, port),
            _own_upstream: own_upstream,
            prefix,
            shared,
            tally,
            collector: Some(collector),
            interrupt,
        })
    }

    /// The figures of this moment.
    pub(super) fn figures(&self) -> Figures {
        let arrived = self.shared.arrived.load(Ordering::Relaxed) as u64;
        let sent = self.shared.acknowledged.load(Ordering::Relaxed) as u64;
        Figures {
            sent,
            queued: sent.saturating_sub(arrived),
            on_disk: self.edge.store_bytes(),
            arrived,
        }
    }

    /// Shows the figures until so much time has passed since the start.
    pub(super) fn watch(&mut self, until: Duration) -> Result<(), DemoError> {
        while self.screen.elapsed() < until {
            self.tick()?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<Figures, DemoError> {
        let figures = self.figures();
        self.screen.show(&figures);
        if matches!(self.interrupt.read(&mut [0]), Ok(1..)) {
            return Err(DemoError::Interrupted);
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(figures)
    }

    /// The devices stop; waits until all they sent has arrived, or nothing moves any more.
    pub(super) fn drain(&mut self) -> Result<Vec<Sent>, DemoError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut last = (0, 0);
        let mut moved = Instant::now();
        loop {
            let figures = self.tick()?;
            let published = self.devices.iter().all(JoinHandle::is_finished);
            if published && figures.queued == 0 {
                break;
            }
            if last != (figures.sent, figures.arrived) {
                last = (figures.sent, figures.arrived);
                moved = Instant::now();
            } else if moved.elapsed() > GIVE_UP_AFTER {
                self.shared.abort.store(true, Ordering::Relaxed);
                break;
            }
        }
        // A thread that panicked has no account to give: its messages count as none.
        let devices = self.devices.drain(..);
        Ok(devices.filter_map(|device| device.join().ok()).collect())
    }

    /// Sends a command from upstream to a device at the edge, and says how long it took.
    pub(super) fn command(&self) -> Result<Duration, DemoError> {
        let mut sessions = [Session::default(), Session::default()];
        let [at_edge, at_upstream] = &mut sessions;
        let name = format!("{}-operator", self.prefix);
        let mut props = [PropsBuf::new(), PropsBuf::new()];
        let [lamp_props, operator_props] = &mut props;
        let edge = target("127.0.0.1", self.edge.port());
        let failed = DemoError::client("the command");

        let lamp = connect_packet("lamp", Version::V5, true, lamp_props);
        let mut lamp = Client::connect(&edge, &lamp, at_edge).map_err(&failed)?;
        let all = Subscription::new("cmd/#", QoS::AtLeastOnce);
        lamp.subscribe(vec![all], Props::EMPTY).map_err(&failed)?;
        await_event(&mut lamp, |event| matches!(event, Event::Subscribed(..)))?;

        let operator = connect_packet(&name, Version::V311, true, operator_props);
        let mut operator =
            Client::connect(&self.upstream, &operator, at_upstream).map_err(&failed)?;
        let start = Instant::now();
        let command = Outgoing {
            topic: format!("{}/cmd/lamp", self.prefix),
            payload: b"on".to_vec(),
            qos: QoS::AtLeastOnce,
            ..Outgoing::default()
        };
        operator.publish(Arc::new(command)).map_err(&failed)?;
        await_event(&mut operator, |event| matches!(event, Event::Published(..)))?;
        await_event(
            &mut lamp,
            |event| matches!(event, Event::Message(m) if m.topic == "cmd/lamp" && m.payload == b"on"),
        )?;
        Ok(start.elapsed())
    }

    /// Waits for what comes late; then the collector leaves and its account is made up.
    pub(super) fn settle(&mut self, sent: &[Sent]) -> Result<[Totals; Row::COUNT], DemoError> {
        let until = self.screen.elapsed() + SETTLE_TIME;
        self.watch(until)?;
        self.shared.leave.store(true, Ordering::Relaxed);
        if let Some(collector) = self.collector.take() {
            // What it counted until then is in the tally, whatever became of it.
            let _ = collector.join();
        }
        self.edge.kill();
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(tally.totals(sent))
    }

    /// Removes the sessions that the demo had at the upstream broker.
    pub(super) fn tidy_up(&self) {
        for name in ["collector", "bridge"] {
            let client_id = format!("{}-{name}", self.prefix);
            let mut props = PropsBuf::new();
            let connect_packet = connect_packet(&client_id, Version::V311, true, &mut props);
            let mut session = Session::default();
            // A session left behind does no harm to speak of.
            let _ = Client::connect(&self.upstream, &connect_packet, &mut session)
                .and_then(|client| client.disconnect(Reason::SUCCESS, Props::EMPTY));
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.shared.abort.store(true, Ordering::Relaxed);
    }
}

/// Starts the collector, and waits until it is subscribed.
fn start_collector(collector: Collector) -> Result<JoinHandle<()>, DemoError> {
    let (report, reports) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let ready = report.clone();
        let result = collector.run(move || drop(ready.send(Ok(()))));
        // Without a receiver the first report was heard already.
        let _ = report.send(result);
    });
    match reports.recv_timeout(COMMAND_WITHIN) {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(DemoError::Client("the upstream broker", error)),
        Err(_) => Err(DemoError::Silence("the upstream broker")),
    }
}

fn await_event(client: &mut Client<'_>, is_it: impl Fn(&Event) -> bool) -> Result<(), DemoError> {
    let deadline = Instant::now() + COMMAND_WITHIN;
    loop {
        match client
            .next(deadline)
            .map_err(DemoError::client("the command"))?
        {
            Some(event) if is_it(&event) => return Ok(()),
            Some(_) => {}
            None => return Err(DemoError::Silence("the command")),
        }
    }
}

/// Removes the folder of the demo.
pub(super) fn remove(folder: &Path) {
    // The system empties its place for temporary files some day.
    let _ = fs::remove_dir_all(folder);
}
