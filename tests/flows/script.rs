//! The language of the scripts, see main.rs, and their parser.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::packet::Version;

/// A script.
pub(crate) struct Script {
    pub(crate) path: PathBuf,
    pub(crate) versions: Vec<Version>,
    /// Lines for the broker's configuration, and `file NAME LINE` for files beside it.
    pub(crate) config: Vec<String>,
    /// It needs a broker that no other script uses.
    pub(crate) alone: bool,
    /// Held with its last version only, unless all is to be run.
    pub(crate) slow: bool,
    /// The conversations; without any in the file there is one without a title.
    pub(crate) cases: Vec<Case>,
    pub(crate) steps: Vec<Step>,
}

/// One run of a script.
#[derive(Clone, Default)]
pub(crate) struct Case {
    pub(crate) when: When,
    pub(crate) title: String,
    /// What `<1>`, `<2>`… stand for.
    pub(crate) values: Vec<String>,
}

/// A line that does something.
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) when: When,
    pub(crate) verb: Verb,
}

/// What a line does.
pub(crate) enum Verb {
    Send {
        peer: String,
        what: String,
    },
    Expect(Expect),
    Wait(Duration),
    Kill,
    Restart,
    Repeat {
        from: u32,
        to: u32,
        steps: Vec<Step>,
    },
}

/// What a client expects.
pub(crate) struct Expect {
    pub(crate) peer: String,
    pub(crate) what: String,
    /// In any order with its neighbours.
    pub(crate) any_order: bool,
    /// How long after the last line that sent something.
    pub(crate) after: Option<(Duration, Duration)>,
}

/// When a line holds: the words after its `@`s.
#[derive(Clone, Default)]
pub(crate) struct When(Vec<String>);

impl When {
    /// Whether it holds for this version, and for footbridge or another broker.
    pub(crate) fn holds(&self, version: Version, footbridge: bool) -> bool {
        self.0.iter().all(|word| match word.as_str() {
            "3" => version < Version::V5,
            "3.1.1+" => version > Version::V31,
            "footbridge" => footbridge,
            "other" => !footbridge,
            word => Version::parse(word) == Some(version),
        })
    }
}

impl Script {
    /// Reads a script.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Script, String> {
        let mut script = Script {
            path: path.to_owned(),
            versions: Vec::new(),
            config: Vec::new(),
            alone: false,
            slow: false,
            cases: Vec::new(),
            steps: Vec::new(),
        };
        // The steps of the blocks that are open, the outermost first.
        let mut open: Vec<(usize, u32, u32, Vec<Step>)> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("{}:{}: {what}", path.display(), at + 1);
            let (when, line) = conditions(without_comment(line)).map_err(|e| wrong(&e))?;
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            let verb = match first {
                "" => continue,
                "versions" | "config" | "file" | "alone" | "slow" | "case" => {
                    script.header(first, rest, when).map_err(|e| wrong(&e))?;
                    continue;
                }
                "repeat" => {
                    let (from, to) = range(rest).ok_or_else(|| wrong("repeat N or repeat N..M"))?;
                    open.push((at + 1, from, to, Vec::new()));
                    continue;
                }
                "end" => {
                    let block = open.pop().ok_or_else(|| wrong("nothing to end"))?;
                    let (_, from, to, steps) = block;
                    Verb::Repeat { from, to, steps }
                }
                _ => verb(first, rest.trim()).map_err(|e| wrong(&e))?,
            };
            let line = at + 1;
            open.last_mut()
                .map_or(&mut script.steps, |(_, _, _, steps)| steps)
                .push(Step { line, when, verb });
        }
        if let Some((line, ..)) = open.pop() {
            return Err(format!("{}:{line}: repeat without end", path.display()));
        }
        if script.versions.is_empty() || !text.starts_with('#') {
            return Err(format!("{}: no versions or no comment", path.display()));
        }
        if script.cases.is_empty() {
            script.cases.push(Case::default());
        }
        Ok(script)
    }

    fn header(&mut self, word: &str, rest: &str, when: When) -> Result<(), String> {
        match word {
            "versions" => {
                for name in rest.split_whitespace() {
                    let version = Version::parse(name).ok_or(format!("no version {name}"))?;
                    self.versions.push(version);
                }
            }
            "config" => self.config.push(rest.trim().to_owned()),
            "file" => self.config.push(format!("file {}", rest.trim())),
            "alone" => self.alone = true,
            "slow" => self.slow = true,
            _ => {
                let mut values = rest.split('|').map(|value| value.trim().to_owned());
                let title = values.next().unwrap_or_default();
                let values = values.collect();
                self.cases.push(Case {
                    when,
                    title,
                    values,
                });
            }
        }
        Ok(())
    }

    /// Whether it ends the broker.
    pub(crate) fn ends_broker(&self) -> bool {
        let ends = |step: &Step| matches!(step.verb, Verb::Kill | Verb::Restart);
        self.steps.iter().any(ends)
    }
}

/// The line up to a `#` that begins it, or that follows two spaces.
fn without_comment(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') {
        return "";
    }
    line.split("  # ").next().unwrap_or_default().trim_end()
}

/// Splits the `@` words off a line.
fn conditions(mut line: &str) -> Result<(When, &str), String> {
    let mut when = When::default();
    while let Some(rest) = line.strip_prefix('@') {
        let (word, rest) = rest.split_once(' ').ok_or("nothing after the @")?;
        let known = ["3", "3.1.1+", "footbridge", "other"].contains(&word)
            || Version::parse(word).is_some();
        if !known {
            return Err(format!("no condition @{word}"));
        }
        when.0.push(word.to_owned());
        line = rest.trim_start();
    }
    Ok((when, line))
}

fn verb(first: &str, rest: &str) -> Result<Verb, String> {
    match first {
        "wait" => return Ok(Verb::Wait(duration(rest).ok_or("wait 2s or 200ms")?)),
        "kill" => return Ok(Verb::Kill),
        "restart" => return Ok(Verb::Restart),
        _ => {}
    }
    let what = rest.to_owned();
    let name = |arrow| first.strip_suffix(arrow).map(str::to_owned);
    if let Some(peer) = name(">") {
        return Ok(Verb::Send { peer, what });
    }
    let (peer, any_order) = match (name("<*"), name("<")) {
        (Some(peer), _) => (peer, true),
        (None, Some(peer)) => (peer, false),
        (None, None) => return Err(format!("no verb {first}")),
    };
    let (what, after) = match what.rsplit_once(" after ") {
        Some((what, times)) => {
            let times = times.split_once("..");
            let times = times.and_then(|(a, b)| Some((duration(a)?, duration(b)?)));
            (what.to_owned(), Some(times.ok_or("after 1s..2s")?))
        }
        None => (what, None),
    };
    Ok(Verb::Expect(Expect {
        peer,
        what,
        any_order,
        after,
    }))
}

fn range(word: &str) -> Option<(u32, u32)> {
    match word.split_once("..") {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => Some((1, word.parse().ok()?)),
    }
}

fn duration(word: &str) -> Option<Duration> {
    match word.strip_suffix("ms") {
        Some(ms) => Some(Duration::from_millis(ms.parse().ok()?)),
        None => Duration::try_from_secs_f64(word.strip_suffix('s')?.parse().ok()?).ok(),
    }
}

#[test]
fn mistakes_have_a_line() {
    let error = |text: &str| Script::parse(Path::new("x"), text).err();
    for (text, wanted) in [
        ("# c\nversions 4", "x:2: no version 4"),
        ("# c\nversions 5\nfoo", "x:3: no verb foo"),
        ("# c\nversions 5\nrepeat 2", "x:3: repeat without end"),
        ("# c\nversions 5\nend", "x:3: nothing to end"),
        ("# c\nversions 5\n@4 a> 00", "x:3: no condition @4"),
        ("# c\nversions 5\nwait long", "x:3: wait 2s or 200ms"),
        ("# c", "x: no versions or no comment"),
        ("versions 5", "x: no versions or no comment"),
    ] {
        assert_eq!(error(text).as_deref(), Some(wanted));
    }
}
