//! Plays one conversation.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::broker::Broker;
use super::decode::show;
use super::notation::raw;
use super::packet::{NAMES, Version, encode};
use super::pattern::Pattern;
use super::peer::{Next, Peer};
use super::script::{Case, Expect, Script, Step, Verb};

/// How long an answer may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
const PINGREQ: &[u8] = b"\xc0\x00";
const PINGRESP: &[u8] = b"\xd0\x00";

/// The broker that a conversation is held with.
pub(crate) enum Server {
    /// One that others use, too.
    Shared(SocketAddr),
    /// One that may be killed.
    Own(Broker),
}

/// One conversation: a script with a version and a case.
pub(crate) struct Conversation<'a> {
    pub(crate) script: &'a Script,
    pub(crate) version: Version,
    pub(crate) case: &'a Case,
    /// What `~` stands for: nobody else uses these client ids and topics.
    pub(crate) prefix: String,
    /// The broker is footbridge.
    pub(crate) footbridge: bool,
}

impl Conversation<'_> {
    /// Holds it.
    ///
    /// # Errors
    /// What went wrong, with file and line.
    pub(crate) fn hold(&self, server: Server) -> Result<(), String> {
        let mut stage = Stage {
            conversation: self,
            server,
            peers: HashMap::new(),
            sent: Instant::now(),
            counters: Vec::new(),
        };
        let (path, version) = (self.script.path.display(), self.version.name());
        stage.play(&self.script.steps).map_err(|(line, what)| {
            let title = match self.case.title.as_str() {
                "" => String::new(),
                title => format!(", {title}"),
            };
            format!("{path}:{line} (MQTT {version}{title}): {what}")
        })?;
        match stage.server {
            Server::Own(mut broker) => broker.stop().map_err(|e| format!("{path}: {e}")),
            Server::Shared(_) => Ok(()),
        }
    }
}

/// The state of a conversation.
struct Stage<'a> {
    conversation: &'a Conversation<'a>,
    server: Server,
    peers: HashMap<String, Peer>,
    /// When something was sent last.
    sent: Instant,
    /// Of the repeats that are under way, the outermost first.
    counters: Vec<u32>,
}

impl Stage<'_> {
    fn play(&mut self, steps: &[Step]) -> Result<(), (usize, String)> {
        let Conversation {
            version,
            footbridge,
            ..
        } = *self.conversation;
        let holds = |step: &&Step| step.when.holds(version, footbridge);
        let mut steps = steps.iter().filter(holds).peekable();
        while let Some(step) = steps.next() {
            let mut together = Vec::new();
            if let Verb::Expect(expect) = &step.verb
                && expect.any_order
            {
                together.push(expect);
                while let Some(Step {
                    verb: Verb::Expect(other),
                    ..
                }) = steps.next_if(|next| is_neighbour(expect, next))
                {
                    together.push(other);
                }
                self.expect_all(&together).map_err(|e| (step.line, e))?;
            } else if let Verb::Repeat { from, to, steps } = &step.verb {
                for count in *from..=*to {
                    self.counters.push(count);
                    self.play(steps)?;
                    self.counters.pop();
                }
            } else {
                self.step(&step.verb).map_err(|e| (step.line, e))?;
            }
        }
        Ok(())
    }

    fn step(&mut self, verb: &Verb) -> Result<(), String> {
        match verb {
            Verb::Send { peer, what } => self.send(&self.expand(peer), &self.expand(what)),
            Verb::Expect(expect) => self.expect(expect),
            Verb::Wait(time) => {
                thread::sleep(*time);
                Ok(())
            }
            Verb::Kill | Verb::Restart => {
                self.peers.clear();
                match (&mut self.server, verb) {
                    (Server::Own(broker), Verb::Kill) => broker.kill(),
                    (Server::Own(broker), _) => broker.restart(),
                    (Server::Shared(_), _) => Err("this broker is not ours to end".to_owned()),
                }
            }
            Verb::Repeat { .. } => unreachable!("played above"),
        }
    }

    /// Replaces what stands for something else.
    fn expand(&self, line: &str) -> String {
        let mut line = line.replace('~', &self.conversation.prefix);
        if !line.contains('<') {
            return line;
        }
        for (at, value) in self.conversation.case.values.iter().enumerate() {
            let value = value.replace('~', &self.conversation.prefix);
            line = line.replace(&format!("<{}>", at + 1), &value);
        }
        let version = self.conversation.version;
        let (protocol, props) = match version {
            Version::V31 => ("\"MQIsdp\" 03", ""),
            Version::V311 => ("\"MQTT\" 04", ""),
            Version::V5 => ("\"MQTT\" 05", "[]"),
        };
        line = line.replace("<proto>", protocol).replace("<props>", props);
        self.count(&line)
    }

    /// Replaces `<i>`, `<i-1>`, `<i*100+j>`, `<i>` being the outermost repeat.
    fn count(&self, line: &str) -> String {
        let mut parts = line.split('<');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let found = part.split_once('>');
            let value = found.and_then(|(sum, rest)| Some((sum_of(sum, &self.counters)?, rest)));
            match value {
                Some((value, rest)) => out += &format!("{value}{rest}"),
                None => out += &format!("<{part}"),
            }
        }
        out
    }

    fn send(&mut self, name: &str, what: &str) -> Result<(), String> {
        match what {
            "close" => {
                self.peers.remove(name).ok_or("not connected")?;
                self.sent = Instant::now();
                return Ok(());
            }
            "finish" => {
                self.peers.get_mut(name).ok_or("not connected")?.finish();
                self.sent = Instant::now();
                return Ok(());
            }
            _ => {}
        }
        let (what, asked) = version_of(what);
        let addr = match &self.server {
            Server::Shared(addr) => *addr,
            Server::Own(broker) => broker.addr,
        };
        if !self.peers.contains_key(name) {
            let peer = Peer::connect(addr, self.conversation.version).map_err(|e| e.to_string())?;
            self.peers.insert(name.to_owned(), peer);
        }
        let peer = self.peers.get_mut(name).expect("just inserted");
        peer.version = asked.unwrap_or(peer.version);
        let pattern = pattern(&what, peer.version)?;
        let bytes = pattern.concrete().ok_or("wildcards can't be sent")?;
        self.sent = Instant::now();
        peer.send(&bytes).map_err(|e| e.to_string())
    }

    fn expect(&mut self, expect: &Expect) -> Result<(), String> {
        let (name, what) = (self.expand(&expect.peer), self.expand(&expect.what));
        if let Some(reason) = what.strip_prefix("refused ") {
            return self.expect_refusal(&name, reason);
        }
        let peer = self.peers.get_mut(&name).ok_or("not connected")?;
        let next = match what.as_str() {
            "nothing" => {
                peer.send(PINGREQ).map_err(|e| e.to_string())?;
                peer.next(PATIENCE)
            }
            _ => peer.next(PATIENCE),
        };
        let version = peer.version;
        let outcome = match (what.as_str(), next) {
            ("closed", Next::Closed(rest)) if rest.is_empty() => {
                self.peers.remove(&name);
                Ok(())
            }
            ("closed", next) => Err(complaint("the end of the connection", &next, version)),
            ("nothing", Next::Frame(frame)) if frame == PINGRESP => Ok(()),
            ("nothing", next) => Err(complaint("nothing but PINGRESP", &next, version)),
            (what, next) => {
                let pattern = pattern(what, version)?;
                match &next {
                    Next::Frame(frame) if pattern.matches(frame) => Ok(()),
                    _ => Err(complaint(&wanted(what, &pattern), &next, version)),
                }
            }
        };
        outcome?;
        let (elapsed, any) = (self.sent.elapsed(), (Duration::ZERO, Duration::MAX));
        let (least, most) = expect.after.unwrap_or(any);
        if (least..=most).contains(&elapsed) {
            Ok(())
        } else {
            Err(format!(
                "came after {elapsed:.1?}, not {least:?} to {most:?}"
            ))
        }
    }

    /// Expects the end of the connection, in MQTT 5 after a DISCONNECT with `reason`; of other
    /// brokers with any reason, or without.
    fn expect_refusal(&mut self, name: &str, reason: &str) -> Result<(), String> {
        let footbridge = self.conversation.footbridge;
        let peer = self.peers.get_mut(name).ok_or("not connected")?;
        let version = peer.version;
        let mut next = peer.next(PATIENCE);
        if version == Version::V5 {
            let line = format!("DISCONNECT reason={reason}");
            let pattern = pattern(&line, version)?;
            let said = match &next {
                Next::Frame(frame) if footbridge => pattern.matches(frame),
                Next::Frame(frame) => frame.first() == Some(&0xe0),
                _ => false,
            };
            if said {
                next = peer.next(PATIENCE);
            } else if footbridge {
                return Err(complaint(&wanted(&line, &pattern), &next, version));
            }
        }
        match next {
            Next::Closed(rest) if rest.is_empty() => {
                self.peers.remove(name);
                Ok(())
            }
            next => Err(complaint("the end of the connection", &next, version)),
        }
    }

    /// Expects packets whose order does not matter.
    fn expect_all(&mut self, all: &[&Expect]) -> Result<(), String> {
        let name = self.expand(&all[0].peer);
        let lines: Vec<String> = all.iter().map(|one| self.expand(&one.what)).collect();
        let peer = self.peers.get_mut(&name).ok_or("not connected")?;
        let mut left = Vec::new();
        for line in &lines {
            left.push((line, pattern(line, peer.version)?));
        }
        while !left.is_empty() {
            let next = peer.next(PATIENCE);
            let at = match &next {
                Next::Frame(frame) => left.iter().position(|(_, p)| p.matches(frame)),
                _ => None,
            };
            let Some(at) = at else {
                let lines: Vec<String> = left.iter().map(|(l, p)| wanted(l, p)).collect();
                let lines = lines.join("\n      or      ");
                return Err(complaint(&lines, &next, peer.version));
            };
            left.remove(at);
        }
        Ok(())
    }
}

/// A sum of products of numbers and the counters `i` and `j`.
fn sum_of(text: &str, counters: &[u32]) -> Option<i64> {
    let factor = |word: &str| match word {
        "i" => counters.first().copied().map(i64::from),
        "j" => counters.get(1).copied().map(i64::from),
        word => word.parse().ok(),
    };
    // A difference is a sum with a negative number.
    let text = text.replace('-', "+-1*");
    let product = |term: &str| term.split('*').map(factor).product::<Option<i64>>();
    text.split('+').map(product).sum()
}

#[test]
fn sums_count() {
    assert_eq!(sum_of("i*255+j", &[2, 7]), Some(517));
    assert_eq!(sum_of("i-1", &[2]), Some(1));
    assert_eq!(sum_of("x", &[2]), None);
    assert_eq!(sum_of("j", &[2]), None);
}

fn is_neighbour(first: &Expect, next: &Step) -> bool {
    matches!(&next.verb, Verb::Expect(other) if other.any_order && other.peer == first.peer)
}

/// Takes the `v=VERSION` off a CONNECT.
fn version_of(line: &str) -> (String, Option<Version>) {
    let words = line.split(' ');
    let version = words
        .filter_map(|word| word.strip_prefix("v="))
        .find_map(Version::parse);
    match version {
        Some(version) if line.starts_with("CONNECT ") => {
            let word = format!(" v={}", version.name());
            (line.replacen(&word, "", 1), Some(version))
        }
        _ => (line.to_owned(), None),
    }
}

/// Bytes as a script says them, one way or the other.
fn pattern(line: &str, version: Version) -> Result<Pattern, String> {
    let first = line.split(' ').next().unwrap_or_default();
    if NAMES.contains(&first) {
        encode(line, version)
    } else {
        raw(line)
    }
}

fn wanted(line: &str, pattern: &Pattern) -> String {
    format!("{line}\n              {pattern}")
}

fn complaint(wanted: &str, next: &Next, version: Version) -> String {
    let got = match next {
        Next::Frame(frame) => show(frame, version),
        Next::Closed(rest) if rest.is_empty() => "the end of the connection".to_owned(),
        Next::Closed(rest) => format!("the end within {}", show(rest, version)),
        Next::Nothing(rest) if rest.is_empty() => "nothing".to_owned(),
        Next::Nothing(rest) => format!("only the beginning {}", show(rest, version)),
    };
    format!("\n    expected  {wanted}\n    got       {got}")
}
