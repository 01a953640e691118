//! Conversations with the real binary, byte by byte: every `.flow` file in the folders here, with
//! each protocol version it names and each of its cases.
//!
//! A script begins with a comment that says what it shows, and of which clause. Then:
//!
//! ```text
//! versions 3.1 3.1.1 5        the protocol versions to run it with
//! config max_inflight_messages 1      a line for the broker's configuration
//! file NAME LINE              a line of a file that the configuration names as <folder>/NAME
//! alone                       with a broker of its own
//! slow                        with its last version only, unless FOOTBRIDGE_SLOW is set
//! case TITLE | VALUE | VALUE  one run of the script, <1> and <2> being the values
//!
//! a> CONNECT ~a clean=0       client a sends; ~ is a prefix that no other conversation uses
//! a< CONNACK present=0        it receives exactly this
//! a> c0 00                    raw bytes, see notation.rs; symbolic packets, see packet.rs
//! a<* PUBLISH ~/x 1           one of several lines that may come in any order
//! a< closed                   the broker closes the connection
//! a< refused 0x81             the same, in MQTT 5 after DISCONNECT with that reason
//! a< nothing                  nothing is under way to it: PINGREQ is answered next
//! a< closed after 1.5s..3s    that long after the last line that sent something
//! a> close                    closes the connection; `finish` closes the sending half
//! wait 1s
//! kill                        SIGKILL and a new start; `restart` asks it to end with SIGTERM
//! repeat 3 … end              repeats lines, <i> counting from 1; `repeat 5..9`; <j> in the inner
//! a<i>> PUBACK <i*10+j>       sums of counters, in names too
//! @5 …                        a line only for MQTT 5; @3 for 3.1 and 3.1.1, @3.1.1+ for 3.1.1 and 5, @3.1, @3.1.1
//! @footbridge …               a line that other brokers need not follow; @other
//! ```
//!
//! A client connects with its first line. A comment stands on its own line or after two spaces.
//!
//! `FOOTBRIDGE_FLOWS=text` runs the scripts with that text in their path.
//! `FOOTBRIDGE_FLOWS_BROKER=/usr/sbin/mosquitto` runs them with another program that reads the same
//! configuration, `FOOTBRIDGE_FLOWS_TARGET=host:port` with a broker that runs already, leaving out
//! what needs a configuration.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers of tests are known to fit"
)]

mod broker;
mod decode;
mod notation;
mod packet;
mod pattern;
mod peer;
mod play;
mod property;
mod script;

use std::collections::HashMap;
use std::env;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broker::Broker;
use play::{Conversation, Server};
use script::Script;

/// Conversations held at a time. Most of the time they wait.
const THREADS: usize = 16;

/// The brokers that scripts share, by their configuration.
struct Brokers {
    program: String,
    /// One that runs already; nothing else is used then.
    target: Option<SocketAddr>,
    shared: Mutex<HashMap<Vec<String>, Broker>>,
}

impl Brokers {
    fn from_environment() -> Brokers {
        let target = env::var("FOOTBRIDGE_FLOWS_TARGET").ok().map(|target| {
            let mut found = target.to_socket_addrs().expect("an address");
            found.next().expect("an address")
        });
        let program = env::var("FOOTBRIDGE_FLOWS_BROKER");
        Brokers {
            program: program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_footbridge").to_owned()),
            target,
            shared: Mutex::default(),
        }
    }

    fn is_footbridge(&self) -> bool {
        self.target.is_none() && self.program.ends_with("footbridge")
    }

    /// A broker for a script; `None` if there is none to run it with.
    fn serve(&self, script: &Script) -> Result<Option<Server>, String> {
        let own = script.alone || script.ends_broker();
        if let Some(addr) = self.target {
            let runs = !own && script.config.is_empty();
            return Ok(runs.then_some(Server::Shared(addr)));
        }
        if own {
            return Broker::start(&self.program, &script.config).map(|b| Some(Server::Own(b)));
        }
        let mut shared = self.shared.lock().expect("no panic");
        if let Some(broker) = shared.get(&script.config) {
            return Ok(Some(Server::Shared(broker.addr)));
        }
        let broker = Broker::start(&self.program, &script.config)?;
        let addr = broker.addr;
        shared.insert(script.config.clone(), broker);
        Ok(Some(Server::Shared(addr)))
    }
}

/// Reads the scripts below a folder, in the order of their names.
fn scripts(folder: &Path) -> Vec<Result<Script, String>> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|end| end == "flow") {
            let text = fs::read_to_string(&path).expect("a text file");
            let below = path.strip_prefix(env!("CARGO_MANIFEST_DIR"));
            found.push(Script::parse(below.unwrap_or(&path), &text));
        }
    }
    found
}

/// A prefix for the client ids and topics of one conversation, always four letters long: what
/// another run has left in a broker does not matter.
fn prefix(number: usize, run: usize) -> String {
    const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = number + run * 7919;
    let mut text = String::new();
    for _ in 0..4 {
        text.push(char::from(LETTERS[rest % LETTERS.len()]));
        rest /= LETTERS.len();
    }
    text
}

/// What became of all conversations.
#[derive(Default)]
struct Outcome {
    held: usize,
    left_out: usize,
    failures: Vec<String>,
}

/// Holds the conversations of `scripts`, several at a time.
fn hold_all(scripts: &[Script], brokers: &Brokers) -> Outcome {
    let footbridge = brokers.is_footbridge();
    let run = SystemTime::now().duration_since(UNIX_EPOCH);
    let run = run.map_or(0, |time| time.as_secs() as usize);
    let in_full = env::var_os("FOOTBRIDGE_SLOW").is_some_and(|value| value == "1");
    let mut all = Vec::new();
    for script in scripts {
        let skipped = if script.slow && !in_full {
            script.versions.len().saturating_sub(1)
        } else {
            0
        };
        for version in script.versions.iter().skip(skipped) {
            let holds = |case: &&script::Case| case.when.holds(*version, footbridge);
            for case in script.cases.iter().filter(holds) {
                all.push(Conversation {
                    script,
                    version: *version,
                    case,
                    prefix: prefix(all.len(), run),
                    footbridge,
                });
            }
        }
    }
    let next = AtomicUsize::new(0);
    let outcome = Mutex::new(Outcome::default());
    let slow = env::var_os("FOOTBRIDGE_FLOWS_TIMES").is_some();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(conversation) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let result = match brokers.serve(conversation.script) {
                        Ok(Some(server)) => conversation.hold(server).map(|()| true),
                        Ok(None) => Ok(false),
                        Err(e) => Err(format!("{}: {e}", conversation.script.path.display())),
                    };
                    if slow {
                        let path = conversation.script.path.display();
                        println!("{:>6} ms {path}", begun.elapsed().as_millis());
                    }
                    let mut outcome = outcome.lock().expect("no panic");
                    match result {
                        Ok(true) => outcome.held += 1,
                        Ok(false) => outcome.left_out += 1,
                        Err(e) => outcome.failures.push(e),
                    }
                }
            });
        }
    });
    outcome.into_inner().expect("no panic")
}

#[test]
fn every_conversation_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flows");
    let parsed: Result<Vec<Script>, String> = scripts(&folder).into_iter().collect();
    let mut scripts = parsed.unwrap_or_else(|e| panic!("{e}"));
    let filter = env::var("FOOTBRIDGE_FLOWS").unwrap_or_default();
    scripts.retain(|script| script.path.to_string_lossy().contains(&filter));
    let brokers = Brokers::from_environment();
    let mut outcome = hold_all(&scripts, &brokers);
    for broker in brokers.shared.lock().expect("no panic").values_mut() {
        outcome.failures.extend(broker.stop().err());
    }
    outcome.failures.sort();
    let (held, left_out) = (outcome.held, outcome.left_out);
    println!(
        "{} scripts, {held} conversations held, {left_out} left out, {} failed",
        scripts.len(),
        outcome.failures.len()
    );
    assert!(
        outcome.failures.is_empty(),
        "\n{}\n",
        outcome.failures.join("\n")
    );
    assert!(held > 0, "no conversations");
}

/// The control: a script that expects what is not so fails, and says where and what came.
#[test]
fn a_wrong_expectation_is_reported() {
    let text = "# Wrong.\nversions 3.1.1\na> CONNECT ~a\na< CONNACK\na> PINGREQ\na< ";
    let brokers = Brokers::from_environment();
    for (wrong, report) in [
        (
            "PUBACK 1",
            "x.flow:6 (MQTT 3.1.1): \n    expected  PUBACK 1\n              40 02 00 01\n    got       PINGRESP\n              d0 00",
        ),
        (
            "closed",
            "x.flow:6 (MQTT 3.1.1): \n    expected  the end of the connection\n    got       PINGRESP\n              d0 00",
        ),
        (
            "PINGRESP after 5s..6s",
            "x.flow:6 (MQTT 3.1.1): came after ",
        ),
        ("d0 01", "x.flow:6 (MQTT 3.1.1): \n    expected  d0 01"),
    ] {
        let script = Script::parse(Path::new("x.flow"), &format!("{text}{wrong}"));
        let outcome = hold_all(&[script.expect("a script")], &brokers);
        let failures = outcome.failures.join("\n");
        assert!(failures.starts_with(report), "{wrong}: {failures}");
    }
}
