//! A broker with a paced load of twenty devices, and what it has written so far.

use std::io::Result;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::server::{Kind, Server};
use crate::wire;

/// Bytes of a payload: its number, and filling.
const PAYLOAD: usize = crate::upstream::PAYLOAD;
/// Clients that publish, each to topics of its own.
const DEVICES: usize = 20;
/// What a broker says of itself, if it does.
const SYS_TOPICS: [&str; 2] = ["$SYS/broker/store/written/total", "$SYS/broker/store/syncs"];
/// What footbridge is told, to have these fresh.
const SYS_INTERVAL: &str = "sys_interval 1\n";

/// What the devices publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traffic {
    /// Messages a second, all devices together.
    pub(crate) rate: u64,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// Topics in turn.
    pub(crate) topics: usize,
}

/// A broker under load.
pub(crate) struct Site {
    pub(crate) server: Server,
    load: Load,
    traffic: Traffic,
    topics: Vec<String>,
    start: Instant,
    /// Messages published.
    pub(crate) sent: u64,
    /// The last values of [`SYS_TOPICS`].
    sys: [Option<u64>; 2],
}

/// All counts at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) written: u64,
    pub(crate) cancelled: u64,
    pub(crate) syncs: Option<u64>,
    /// What the broker says of itself: bytes written, syncs.
    pub(crate) sys: [Option<u64>; 2],
}

impl Site {
    /// Starts the broker and connects the devices.
    pub(crate) fn start(kind: Kind, config: &str, traffic: Traffic) -> Result<Self> {
        let sys_interval = if kind == Kind::Footbridge {
            SYS_INTERVAL
        } else {
            ""
        };
        let server = Server::start_traced(kind, &format!("{sys_interval}{config}"))?;
        let mut load = Load::new()?;
        for i in 0..DEVICES {
            load.connect(server.port, &format!("device-{i:02}"), true)?;
        }
        if kind == Kind::Footbridge {
            for topic in SYS_TOPICS {
                let watcher = load.connect(server.port, topic, true)?;
                load.subscribe(watcher, topic, 0)?;
            }
        }
        // No device publishes to another's topic.
        let topic = |i| format!("site/device-{:02}/value-{}", i % DEVICES, i / DEVICES);
        Ok(Site {
            server,
            load,
            traffic,
            topics: (0..traffic.topics).map(topic).collect(),
            start: Instant::now(),
            sent: 0,
            sys: [None; 2],
        })
    }

    /// Bytes of topic and payload of a message.
    pub(crate) fn message_bytes(&self) -> usize {
        PAYLOAD + self.topics[0].len()
    }

    /// Publishes at the rate until `done`.
    pub(crate) fn publish_until(&mut self, mut done: impl FnMut(&Site) -> bool) -> Result<()> {
        while !done(self) {
            let due = (self.start.elapsed().as_secs_f64() * self.traffic.rate as f64) as u64;
            if self.sent < due {
                self.publish(due)?;
            }
            let sys = &mut self.sys;
            self.load.turn(Some(1), |client, payload| {
                let number = std::str::from_utf8(payload).ok();
                if let Some(value) = client.checked_sub(DEVICES).and_then(|i| sys.get_mut(i)) {
                    *value = number.and_then(|number| number.parse().ok());
                }
            })?;
            if self.traffic.rate < 500 {
                std::thread::sleep(Duration::from_millis(4));
            }
        }
        Ok(())
    }

    /// Publishes at the rate for so long.
    pub(crate) fn publish_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        self.publish_until(|_| Instant::now() >= end)
    }

    /// Publishes up to message number `due`. The devices don't wait for acknowledgements: a broker
    /// that answers a second late is offered as many messages as one that answers at once.
    fn publish(&mut self, due: u64) -> Result<()> {
        let mut payload = [b'x'; PAYLOAD];
        let retain = [0, wire::RETAIN][usize::from(self.traffic.retain)];
        let flags = (self.traffic.qos << 1) | retain;
        for number in self.sent..due {
            let topic = number as usize % self.topics.len();
            payload[..8].copy_from_slice(&number.to_le_bytes());
            let device = &mut self.load.clients[topic % DEVICES];
            device.publish_with(flags, &self.topics[topic], &payload);
        }
        self.sent = due;
        (0..DEVICES).try_for_each(|device| self.load.flush(device))
    }

    /// The counts now.
    pub(crate) fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            at: Instant::now(),
            sent: self.sent,
            acked: self.load.clients[..DEVICES].iter().map(|c| c.acked).sum(),
            written: self.server.written()?,
            cancelled: self.server.cancelled()?,
            syncs: self.server.syncs(),
            sys: self.sys,
        })
    }
}
