//! footbridge beside Debian's Mosquitto: `cargo bench --bench compare [-- [--quick] [ROW…]]`.
//!
//! Both brokers run the same rows in one run, by turns (A B A B …), each time on a fresh broker
//! pinned to core 0 with the load generator pinned to core 1. The numbers are medians over the
//! rounds; the ratio is footbridge's number divided by Mosquitto's. `tls` stands for all rows of TLS,
//! `bridge` for all of bridges.
#![forbid(unsafe_code)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the numbers of tests are known to fit"
)]

mod bridge;
mod link;
#[allow(dead_code, reason = "`flash` uses more of it")]
mod load;
mod memory;
mod report;
mod rows;
#[allow(dead_code, reason = "`flash` uses more of it")]
mod server;
mod tls;
#[allow(dead_code, reason = "`flash` uses more of it")]
mod upstream;
#[allow(dead_code, reason = "`flash` uses more of it")]
mod wire;

use std::process::ExitCode;

use report::{Line, Metric};
use rows::{ROWS, Row, Setup};
use server::Kind;

const USAGE: &str = "\
usage: cargo bench --bench compare -- [--quick] [--rounds N] [--only BROKER] [--json FILE] [ROW…]
  --quick       one round of a tenth of the messages
  --rounds N    rounds for each row (default 3)
  --window N    messages under way in the QoS 0 rows; 1 shows the cost without batching
  --only BROKER footbridge or mosquitto alone
  --json FILE   write the numbers to FILE as well
FOOTBRIDGE_BIN and MOSQUITTO_BIN name other binaries. Rows (tls, bridge: all that begin so):";

struct Options {
    rounds: usize,
    divisor: u64,
    window: Option<u64>,
    kinds: Vec<Kind>,
    json: Option<String>,
    rows: Vec<&'static Row>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    raise_open_files();
    server::pin(1);
    println!("{}", report::head());
    let mut lines = Vec::new();
    let mut failed = 0;
    for row in &options.rows {
        let line = run(row, &options, &mut failed);
        print!("{}", line.table());
        lines.push(line);
    }
    if let Some(file) = &options.json
        && let Err(e) = std::fs::write(file, report::json(&lines))
    {
        eprintln!("{file}: {e}");
        failed += 1;
    }
    println!("{} rows, {failed} failed runs", lines.len());
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a row's rounds, the brokers by turns. A run that loses a message is a failed run.
fn run(row: &Row, options: &Options, failed: &mut u32) -> Line {
    let mut rounds: [Vec<Vec<Metric>>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for &kind in &options.kinds {
            let setup = Setup {
                kind,
                divisor: options.divisor,
                window: options.window,
            };
            match (row.run)(setup) {
                Ok(metrics) => rounds[usize::from(kind == Kind::Mosquitto)].push(metrics),
                Err(e) => {
                    *failed += 1;
                    eprintln!("{} on {}: {e}", row.name, kind.name());
                }
            }
        }
    }
    Line {
        row: row.name,
        footbridge: report::medians(&rounds[0]),
        mosquitto: report::medians(&rounds[1]),
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        rounds: 3,
        divisor: 1,
        window: None,
        kinds: vec![Kind::Footbridge, Kind::Mosquitto],
        json: None,
        rows: Vec::new(),
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {} // cargo's own
            "--quick" => (options.rounds, options.divisor) = (1, 10),
            "--rounds" => {
                let rounds = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                options.rounds = rounds.ok_or("--rounds takes a number above 0")?;
            }
            "--window" => {
                let window = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                options.window = Some(window.ok_or("--window takes a number above 0")?);
            }
            "--only" => options.kinds.retain({
                let only = args.next().unwrap_or_default();
                move |kind| kind.name() == only
            }),
            "--json" => options.json = Some(args.next().ok_or("--json takes a file")?),
            "tls" => options.rows.extend(tls::ROWS),
            "bridge" => options.rows.extend(bridge::ROWS),
            name => match all_rows().find(|row| row.name == name) {
                Some(row) => options.rows.push(row),
                None => return Err(usage()),
            },
        }
    }
    if options.kinds.is_empty() {
        return Err(usage());
    }
    if options.rows.is_empty() {
        options.rows = all_rows().collect();
    }
    Ok(options)
}

/// All rows, in the order in which they run.
fn all_rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(bridge::ROWS).chain(tls::ROWS)
}

fn usage() -> String {
    let mut text = USAGE.to_owned();
    for row in all_rows() {
        text += &format!("\n  {:<13} {}", row.name, row.about);
    }
    text
}

/// Raises the limit on open files as far as it goes; the brokers inherit it.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
