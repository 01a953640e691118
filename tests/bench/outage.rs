//! The measurements: an uplink that is up, down and draining; retained values.

use std::io::{Error, Result};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::Kind;
use crate::site::{Sample, Site, Traffic};
use crate::upstream::Upstream;

/// Between a change and the measurement: what the change itself costs is over.
const SETTLE: Duration = Duration::from_secs(3);
/// How long a bridge may take to connect, and a backlog to drain.
const PATIENCE: Duration = Duration::from_secs(60);
/// The packaged profile, seen from the crate's root.
const PROFILE: &str = "packaging/openwrt/footbridge.conf";

/// A broker and how it is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Subject {
    /// footbridge's defaults.
    Default,
    /// footbridge with the packaged router profile.
    Router,
    /// Mosquitto that saves its queues every second.
    Mosquitto,
}

impl Subject {
    pub(crate) const ALL: [Subject; 3] = [Subject::Default, Subject::Router, Subject::Mosquitto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Default => "footbridge",
            Subject::Router => "footbridge, router profile",
            Subject::Mosquitto => "Mosquitto, autosave 1 s",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Subject::Default | Subject::Router => Kind::Footbridge,
            Subject::Mosquitto => Kind::Mosquitto,
        }
    }

    /// The lines of its configuration that matter here.
    fn config(self) -> Result<String> {
        match self {
            Subject::Default => Ok("persistence true\nmax_queued_bytes 0\n".to_owned()),
            Subject::Router => router_profile(),
            Subject::Mosquitto => Ok("persistence true\nautosave_interval 1\n\
                 autosave_on_changes false\nmax_queued_messages 0\n"
                .to_owned()),
        }
    }
}

/// The packaged profile without what [`Server`](crate::server::Server) sets itself, and without
/// its bound: nobody else has one either.
fn router_profile() -> Result<String> {
    const OURS: [&str; 4] = [
        "listener",
        "persistence_location",
        "log_dest",
        "allow_anonymous",
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROFILE);
    let text = std::fs::read_to_string(file)?;
    let kept = text.lines().filter(|line| {
        let directive = line.split_whitespace().next().unwrap_or("#");
        !directive.starts_with('#') && !OURS.contains(&directive)
    });
    let kept: Vec<&str> = kept.chain(["max_queued_bytes 0\n"]).collect();
    Ok(kept.join("\n"))
}

/// What one broker wrote in one state.
pub(crate) struct Cell {
    pub(crate) subject: Subject,
    pub(crate) state: &'static str,
    pub(crate) traffic: Traffic,
    pub(crate) seconds: f64,
    /// Messages published or, with a draining uplink, passed on until the backlog was gone.
    pub(crate) messages: u64,
    /// Messages published and messages acknowledged meanwhile.
    pub(crate) paced: (u64, u64),
    /// The backlog, if there was one, has come to an end.
    pub(crate) drained: bool,
    pub(crate) message_bytes: usize,
    pub(crate) written: u64,
    pub(crate) cancelled: u64,
    pub(crate) syncs: Option<u64>,
    /// Written and synced as the broker's own `$SYS` has it.
    pub(crate) sys: [Option<u64>; 2],
}

impl Cell {
    fn between(
        subject: Subject,
        state: &'static str,
        site: &Site,
        traffic: Traffic,
        from: &Sample,
        to: &Sample,
    ) -> Cell {
        let both = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        let (sent, acked) = (to.sent - from.sent, to.acked - from.acked);
        Cell {
            subject,
            state,
            traffic,
            seconds: (to.at - from.at).as_secs_f64(),
            messages: sent,
            paced: (sent, acked),
            drained: true,
            message_bytes: site.message_bytes(),
            written: to.written - from.written,
            cancelled: to.cancelled - from.cancelled,
            syncs: both(from.syncs, to.syncs),
            sys: [0, 1].map(|i| both(from.sys[i], to.sys[i])),
        }
    }

    /// Bytes written for each message.
    pub(crate) fn bytes_per_message(&self) -> f64 {
        self.written as f64 / self.messages.max(1) as f64
    }

    /// Bytes written for each byte of topic and payload.
    pub(crate) fn amplification(&self) -> f64 {
        self.bytes_per_message() / self.message_bytes as f64
    }

    /// Whether the devices had their acknowledgements within two seconds or so.
    pub(crate) fn kept_pace(&self) -> bool {
        let (sent, acked) = self.paced;
        self.traffic.qos == 0 || acked + 2 * self.traffic.rate + sent / 50 >= sent
    }

    /// fsync, fdatasync and the like a second; as the broker says, where nobody has counted.
    pub(crate) fn syncs_per_second(&self) -> Option<f64> {
        let syncs = self.syncs.or(self.sys[1])?;
        Some(syncs as f64 / self.seconds)
    }
}

/// What the bridge carries, and how far it is to the upstream.
#[derive(Clone, Copy)]
pub(crate) struct Uplink {
    pub(crate) qos: u8,
    /// The round trip.
    pub(crate) delay: Duration,
}

/// Twenty devices and an uplink that is up for `time`, then down for as long, then back.
pub(crate) fn outage(
    subject: Subject,
    rate: u64,
    uplink: Uplink,
    time: Duration,
) -> Result<Vec<Cell>> {
    let qos = uplink.qos;
    let traffic = Traffic {
        rate,
        qos,
        retain: false,
        topics: 20,
    };
    let mut upstream = Upstream::start(uplink.delay)?;
    let config = format!(
        "{}\nconnection up\naddress 127.0.0.1:{}\ntopic site/# out {qos}\ncleansession false\n\
         restart_timeout 1\n",
        subject.config()?,
        upstream.port
    );
    let mut site = Site::start(subject.kind(), &config, traffic)?;
    wait(&mut site, "the bridge connects", |_| {
        upstream.is_connected()
    })?;

    let mut cells = Vec::new();
    for state in ["up", "down"] {
        if state == "down" {
            upstream.cut()?;
        }
        site.publish_for(SETTLE)?;
        let from = site.sample()?;
        site.publish_for(time)?;
        let to = site.sample()?;
        cells.push(Cell::between(subject, state, &site, traffic, &from, &to));
    }

    upstream.mend()?;
    wait(&mut site, "the bridge connects again", |_| {
        upstream.is_connected()
    })?;
    let (from, arrived) = (site.sample()?, upstream.arrived());
    upstream.release();
    // What has been on its way for a second is not backlog any more.
    let waited = wait(&mut site, "the end of the backlog", |site| {
        upstream.arrived() + rate + 2 >= site.sent
    });
    let drained = upstream.arrived() - arrived;
    // The rows of what was delivered are deleted some time after.
    site.publish_for(SETTLE)?;
    let to = site.sample()?;
    let mut cell = Cell::between(subject, "draining", &site, traffic, &from, &to);
    cell.messages = drained;
    cell.drained = waited.is_ok();
    cells.push(cell);
    Ok(cells)
}

/// A hundred retained values, each set anew every second.
pub(crate) fn retained(subject: Subject, qos: u8, time: Duration) -> Result<Vec<Cell>> {
    let traffic = Traffic {
        rate: 100,
        qos,
        retain: true,
        topics: 100,
    };
    let mut site = Site::start(subject.kind(), &subject.config()?, traffic)?;
    site.publish_for(SETTLE)?;
    let from = site.sample()?;
    site.publish_for(time)?;
    let to = site.sample()?;
    let cell = Cell::between(subject, "retained", &site, traffic, &from, &to);
    Ok(vec![cell])
}

/// Publishes until `done`, or fails when that takes too long.
fn wait(site: &mut Site, what: &str, mut done: impl FnMut(&Site) -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    site.publish_until(|site| done(site) || Instant::now() > deadline)?;
    if done(site) {
        Ok(())
    } else {
        Err(Error::other(format!("waited for too long: {what}")))
    }
}
