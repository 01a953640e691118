//! What `footbridge check` tells: who can reach which listener, and findings by weight.

use crate::config::{Position, printable::printable};
use crate::json::Value;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The start fails, messages are lost, or somebody gets at what is not theirs.
    Serious,
    /// It works, but perhaps not as meant.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Serious => "serious",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// One thing found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The line that it is about, where there is one.
    pub place: Option<Position>,
    /// What happens.
    pub what: String,
    /// What to do, where `what` does not say it.
    pub cure: Option<String>,
}

/// Who can reach a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// What stands behind `listener`; empty for the one on loopback that is there without any.
    pub name: String,
    /// Where it begins.
    pub place: Option<Position>,
    /// From where it is reached, in words.
    pub from: String,
    /// Whether other machines can reach it.
    pub is_beyond: bool,
    /// What it speaks.
    pub protocol: &'static str,
    /// What of TLS it has, in words.
    pub tls: &'static str,
    /// Who may log in, in words.
    pub who: String,
}

/// All that a check tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// The listeners.
    pub listeners: Vec<Reach>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Survey {
    pub(super) fn add(
        &mut self,
        severity: Severity,
        place: Option<&Position>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            place: place.cloned(),
            what: what.into(),
            cure: Some(cure.into()),
        });
    }

    /// Whether anything is serious.
    pub fn is_serious(&self) -> bool {
        self.count(Severity::Serious) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        let found = self.findings.iter();
        found.filter(|found| found.severity == severity).count()
    }

    /// The report for people: a line for each listener, and two for each finding.
    pub fn to_text(&self) -> String {
        let mut out = String::from("Who can reach what:\n");
        for listener in &self.listeners {
            let Reach {
                name,
                from,
                protocol,
                tls,
                who,
                ..
            } = listener;
            let title = match name.as_str() {
                "" => "no listener set",
                name => name,
            };
            let line = format!("{title}: {from}; {protocol}, {tls}; {who}");
            out += &format!("  {}\n", printable(&line));
        }
        out += "\n";
        for found in &self.findings {
            let place = found.place.as_ref().map(|place| format!("{place}: "));
            let place = place.unwrap_or_default();
            let severity = found.severity.name();
            out += &format!(
                "{severity}: {}\n",
                printable(&format!("{place}{}", found.what))
            );
            if let Some(cure) = &found.cure {
                out += &format!("    to do: {}\n", printable(cure));
            }
        }
        let counts = [Severity::Serious, Severity::Warning, Severity::Note]
            .map(|severity| format!("{} {}", self.count(severity), severity.name()));
        out + &format!("Found: {}.\n", counts.join(", "))
    }

    /// The report as one JSON object.
    pub fn to_json(&self) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let place = |place: &Option<Position>| match place {
            Some(place) => [text(&place.file), Value::Number(place.line.to_string())],
            None => [Value::Null, Value::Null],
        };
        let listeners = self.listeners.iter().map(|listener| {
            let [file, line] = place(&listener.place);
            Value::object([
                ("listener", text(&listener.name)),
                ("file", file),
                ("line", line),
                ("from", text(&listener.from)),
                ("beyond_loopback", Value::Bool(listener.is_beyond)),
                ("protocol", text(listener.protocol)),
                ("tls", text(listener.tls)),
                ("who", text(&listener.who)),
            ])
        });
        let findings = self.findings.iter().map(|found| {
            let [file, line] = place(&found.place);
            Value::object([
                ("severity", text(found.severity.name())),
                ("file", file),
                ("line", line),
                ("what", text(&found.what)),
                ("cure", found.cure.as_deref().map_or(Value::Null, text)),
            ])
        });
        Value::object([
            ("serious", Value::Bool(self.is_serious())),
            ("listeners", Value::List(listeners.collect())),
            ("findings", Value::List(findings.collect())),
        ])
    }
}
