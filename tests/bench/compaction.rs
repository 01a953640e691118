//! A store that once held much goes back to small: how long that takes, and how long a device waits
//! for an acknowledgement meanwhile.

use std::io::{Error, Result};
use std::time::{Duration, Instant};

use crate::load::{Load, Stillness};
use crate::server::{Kind, Server};
use crate::upstream::Upstream;
use crate::wire;

/// Bytes of a payload of the backlog.
const PAYLOAD: usize = 1_000;
/// Who fills the store, and how many messages each has under way.
const FILLERS: usize = 20;
const WINDOW: u64 = 500;
/// How often the device that is watched publishes.
const BEAT: Duration = Duration::from_millis(100);
/// After this time without messages all that the last ones owe the disk is there.
const QUIET: Duration = Duration::from_secs(2);
/// How long to wait for a compaction to begin.
const IDLE: Duration = Duration::from_secs(10);
/// A file of this size is small again.
const SMALL: u64 = 16 << 20;
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with a backlog, and a device whose acknowledgements are timed.
struct Patient {
    server: Server,
    load: Load,
    device: usize,
    /// When the device published what is not acknowledged yet.
    waits: Option<Instant>,
    next: Instant,
    /// The longest acknowledgement so far.
    longest: Duration,
    /// Acknowledgements so far.
    acked: u64,
}

/// Fills the store of a bridge with `bytes` of payload, lets it drain, and prints what happens.
pub(crate) fn run(bytes: u64) -> Result<()> {
    let mut upstream = Upstream::start(Duration::ZERO)?;
    upstream.cut()?;
    let config = format!(
        "persistence true\nmax_queued_bytes 0\nconnection up\naddress 127.0.0.1:{}\n\
         topic site/# out 1\nrestart_timeout 1\n",
        upstream.port
    );
    let mut patient = Patient::start(&config)?;
    let messages = bytes / PAYLOAD as u64;

    let start = Instant::now();
    patient.fill(messages)?;
    patient.report("full", start)?;

    // Most of it drains, and the uplink fails again.
    patient.drain(&mut upstream, messages / 5 * 4)?;
    upstream.cut()?;
    // Should only a store that nobody uses be compacted: the device comes back when that begins.
    patient.pause()?;
    let half = patient.server.store_blocks()? / 2;
    patient.until_below(half, true)?;

    patient.drain(&mut upstream, messages)?;
    let small = patient.until_below(SMALL, true)? || patient.until_below(SMALL, false)?;
    if small {
        Ok(())
    } else {
        Err(Error::other("the store stays large"))
    }
}

impl Patient {
    fn start(config: &str) -> Result<Self> {
        let server = Server::start(Kind::Footbridge, config)?;
        let mut load = Load::new()?;
        for i in 0..FILLERS {
            load.connect(server.port, &format!("filler-{i:02}"), true)?;
        }
        let device = load.connect(server.port, "device", true)?;
        Ok(Patient {
            server,
            load,
            device,
            waits: None,
            next: Instant::now(),
            longest: Duration::ZERO,
            acked: 0,
        })
    }

    /// Publishes so many messages for the uplink, as fast as they are acknowledged.
    fn fill(&mut self, messages: u64) -> Result<()> {
        let mut payload = [b'x'; PAYLOAD];
        let mut still = Stillness::new("the store fills");
        let mut number = 0u64;
        loop {
            for filler in 0..FILLERS {
                let client = &mut self.load.clients[filler];
                while number < messages && client.sent - client.acked < WINDOW {
                    let at = PAYLOAD - crate::upstream::PAYLOAD;
                    payload[at..at + 8].copy_from_slice(&number.to_le_bytes());
                    client.publish("site/backlog", 1, &payload);
                    number += 1;
                }
                self.load.flush(filler)?;
            }
            let acked: u64 = self.load.clients[..FILLERS].iter().map(|c| c.acked).sum();
            if acked == messages {
                return Ok(());
            }
            still.check(self.load.turn(Some(100), |_, _| {})? > 0)?;
        }
    }

    /// Lets the upstream take the messages below number `to`, while the device needs commits.
    fn drain(&mut self, upstream: &mut Upstream, to: u64) -> Result<()> {
        let start = Instant::now();
        upstream.mend()?;
        upstream.release();
        let mut still = Stillness::new("the backlog drains");
        let mut before = 0;
        self.watch(true, |_| {
            let arrived = upstream.arrived();
            still.check(arrived > before)?;
            before = arrived;
            Ok(arrived >= to)
        })?;
        self.report("drained", start)
    }

    /// Does nothing until the broker writes by itself.
    fn pause(&mut self) -> Result<()> {
        std::thread::sleep(QUIET);
        let (start, written) = (Instant::now(), self.server.written()?);
        while self.server.written()? == written && start.elapsed() < IDLE {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.report("paused", start)
    }

    /// Waits for the file to become this small, with or without commits; false if it does not.
    fn until_below(&mut self, bytes: u64, durable: bool) -> Result<bool> {
        let start = Instant::now();
        let end = start + PATIENCE;
        self.watch(durable, |patient| {
            Ok(patient.server.store_blocks()? <= bytes || Instant::now() > end)
        })?;
        let small = self.server.store_blocks()? <= bytes;
        let what = match (small, durable) {
            (true, true) => "compacted, in use",
            (true, false) => "compacted, unused",
            (false, true) => "not compacted, in use",
            (false, false) => "not compacted, unused",
        };
        self.report(what, start)?;
        Ok(small)
    }

    /// Lets the device publish until `done`: what must be on disk or, if not `durable`, what the
    /// uplink takes.
    fn watch(
        &mut self,
        durable: bool,
        mut done: impl FnMut(&Patient) -> Result<bool>,
    ) -> Result<()> {
        while !done(self)? || self.waits.is_some() {
            let now = Instant::now();
            if self.waits.is_none() && now >= self.next {
                let client = &mut self.load.clients[self.device];
                if durable {
                    client.publish_with(2 | wire::RETAIN, "device/state", b"alive");
                } else {
                    client.publish("site/device", 1, b"alive");
                }
                self.load.flush(self.device)?;
                (self.waits, self.next) = (Some(now), now + BEAT);
            }
            self.load.turn(Some(10), |_, _| {})?;
            let acked = self.load.clients[self.device].acked;
            if acked > self.acked {
                self.acked = acked;
                let took = self.waits.take().map_or(Duration::ZERO, |at| at.elapsed());
                self.longest = self.longest.max(took);
            }
        }
        Ok(())
    }

    /// Prints where things stand, and begins to look for the longest acknowledgement anew.
    fn report(&mut self, what: &str, since: Instant) -> Result<()> {
        println!(
            "{what:<22} after {:5.1} s, file {:6.1} MB, {:6.1} MB of it on disk, memory {:4.1} MB, \
             written {:6.1} MB, longest acknowledgement {} ms",
            since.elapsed().as_secs_f64(),
            self.server.store_bytes()? as f64 / 1e6,
            self.server.store_blocks()? as f64 / 1e6,
            self.server.rss()? as f64 / 1e6,
            self.server.written()? as f64 / 1e6,
            self.longest.as_millis()
        );
        self.longest = Duration::ZERO;
        Ok(())
    }
}
