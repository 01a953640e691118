//! What reaches the flash: `cargo bench --bench flash [-- OPTIONS]`.
//!
//! Bytes written for each message and syncs a second, with the uplink up, down and draining, and
//! for retained values that change every second: footbridge, footbridge with the packaged router
//! profile, and Debian's Mosquitto with autosave, under the same load. Prints the README's table.
//!
//! - **Bytes written** are `write_bytes` of `/proc/PID/io`: whole pages of 4 KiB, once for each time
//!   that a sync made them clean again; the filesystem's own journal and tables come on top. Not
//!   counted on tmpfs.
//! - **Syncs** are counted by strace.
#![forbid(unsafe_code)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers of tests are known to fit"
)]

mod compaction;
#[allow(dead_code, reason = "`compare` uses more of it")]
mod link;
#[allow(dead_code, reason = "`compare` uses more of it")]
mod load;
mod outage;
#[allow(dead_code, reason = "`compare` uses more of it")]
mod server;
mod site;
mod table;
#[allow(dead_code, reason = "`compare` uses more of it")]
mod upstream;
#[allow(dead_code, reason = "`compare` uses more of it")]
mod wire;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use outage::{Cell, Subject, Uplink};

const USAGE: &str = "\
usage: cargo bench --bench flash -- [--quick] [--rate N]… [--qos N] [--delay MS]
       [--only BROKER]… [--json FILE]
  --quick       short measurements: to try things, not to publish them
  --rate N      this rate only, messages a second (default: 1, 100, 1000 and 10000, and retained
                values, which --rate 0 selects)
  --qos N       QoS of what the bridge carries (default 1)
  --delay MS    the upstream answers so much later (default 0)
  --only BROKER footbridge, router or mosquitto only
  --json FILE   write the numbers to FILE as well
  --compaction  instead: fill a store with 1 GB (--quick: 100 MB), drain it, and wait until the
                file is small again, while a device's acknowledgements are timed
FOOTBRIDGE_BIN and MOSQUITTO_BIN name other binaries, BENCH_FOLDER another folder for the stores:
it must be on a disk.";

/// The rates, each with how long it is measured, in seconds, in full and quickly. The slow ones
/// take long to come to something, and the fast ones fill the disk.
const RATES: [(u64, u64, u64); 4] = [(1, 60, 15), (100, 60, 12), (1_000, 30, 10), (10_000, 15, 6)];
/// The same for retained values.
const RETAINED: (u64, u64) = (60, 12);

struct Options {
    quick: bool,
    compaction: bool,
    rates: Vec<u64>,
    uplink: Uplink,
    subjects: Vec<Subject>,
    json: Option<String>,
}

/// What one thread measures.
#[derive(Clone, Copy)]
struct Job {
    subject: Subject,
    what: What,
    time: Duration,
}

#[derive(Clone, Copy)]
enum What {
    Outage { rate: u64, uplink: Uplink },
    Retained { qos: u8 },
}

impl Job {
    fn run(self) -> io::Result<Vec<Cell>> {
        match self.what {
            What::Outage { rate, uplink } => outage::outage(self.subject, rate, uplink, self.time),
            What::Retained { qos } => outage::retained(self.subject, qos, self.time),
        }
    }
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let filesystem = server::filesystem();
    if filesystem == "tmpfs" {
        eprintln!("{} is RAM: set BENCH_FOLDER", server::stores().display());
        return ExitCode::from(2);
    }
    if options.compaction {
        let bytes = if options.quick { 100 } else { 1_000 } * 1_000_000;
        return match compaction::run(bytes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e}");
                ExitCode::FAILURE
            }
        };
    }
    let mut cells = Vec::new();
    let mut failed = 0;
    for batch in batches(&options) {
        failed += run(&batch, &mut cells);
    }
    println!("{}", table::markdown(&cells, &options.subjects));
    println!(
        "On {filesystem}; {}.",
        if cells.iter().any(|cell| cell.syncs.is_some()) {
            "syncs counted by strace"
        } else {
            "without strace: syncs as the brokers say themselves, if they do"
        }
    );
    if let Some(file) = &options.json
        && let Err(e) = std::fs::write(file, table::json(&cells))
    {
        eprintln!("{file}: {e}");
        failed += 1;
    }
    println!("{} cells, {failed} failed runs", cells.len());
    ExitCode::from(u8::from(failed > 0))
}

/// Measures all jobs of a batch at once; returns how many failed.
fn run(batch: &[Job], cells: &mut Vec<Cell>) -> u32 {
    let mut failed = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = batch
            .iter()
            .map(|job| (job, scope.spawn(|| job.run())))
            .collect();
        for (job, thread) in threads {
            let done = thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match done {
                Ok(done) => {
                    done.iter()
                        .for_each(|cell| eprintln!("{}", table::detail(cell)));
                    cells.extend(done);
                }
                Err(e) => {
                    eprintln!("{}: {e}", job.subject.name());
                    failed += 1;
                }
            }
        }
    });
    failed
}

/// What runs at the same time: at low rates nobody disturbs anybody.
fn batches(options: &Options) -> Vec<Vec<Job>> {
    let seconds = |full, quick| Duration::from_secs(if options.quick { quick } else { full });
    let of_all = |what: What, time: Duration| {
        let job = move |subject: &Subject| Job {
            subject: *subject,
            what,
            time,
        };
        options.subjects.iter().map(job).collect::<Vec<Job>>()
    };
    let mut together = Vec::new();
    let mut batches = Vec::new();
    for (rate, full, quick) in RATES {
        if !options.rates.contains(&rate) {
            continue;
        }
        let uplink = options.uplink;
        let jobs = of_all(What::Outage { rate, uplink }, seconds(full, quick));
        match rate {
            ..=100 => together.extend(jobs),
            101..=1_000 => batches.push(jobs),
            _ => batches.extend(jobs.into_iter().map(|job| vec![job])),
        }
    }
    if options.rates.contains(&0) {
        for qos in [0, 1] {
            together.extend(of_all(
                What::Retained { qos },
                seconds(RETAINED.0, RETAINED.1),
            ));
        }
    }
    batches.insert(0, together);
    batches
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        quick: false,
        compaction: false,
        rates: Vec::new(),
        uplink: Uplink {
            qos: 1,
            delay: Duration::ZERO,
        },
        subjects: Vec::new(),
        json: None,
    };
    let known = |rate: &u64| *rate == 0 || RATES.iter().any(|(known, ..)| known == rate);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok());
        match arg.as_str() {
            "--bench" => {} // cargo's own
            "--quick" => options.quick = true,
            "--compaction" => options.compaction = true,
            "--rate" => options.rates.push(number().filter(known).ok_or(USAGE)?),
            "--qos" => {
                let qos = number().filter(|qos| (1..=2).contains(qos));
                options.uplink.qos = qos.ok_or(USAGE)? as u8;
            }
            "--delay" => options.uplink.delay = Duration::from_millis(number().ok_or(USAGE)?),
            "--only" => options.subjects.push(match args.next().as_deref() {
                Some("footbridge") => Subject::Default,
                Some("router") => Subject::Router,
                Some("mosquitto") => Subject::Mosquitto,
                _ => return Err(USAGE.to_owned()),
            }),
            "--json" => options.json = Some(args.next().ok_or(USAGE)?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.rates.is_empty() {
        options.rates = [0]
            .into_iter()
            .chain(RATES.map(|(rate, ..)| rate))
            .collect();
    }
    if options.subjects.is_empty() {
        options.subjects = Subject::ALL.to_vec();
    }
    Ok(options)
}
