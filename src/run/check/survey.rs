//! `footbridge check`: beyond what would stop a start, what a configuration would do.

use super::report::{Finding, Severity, Survey};
use super::{Looked, bridges, look, reach, readable_by_all, room};
use crate::config::{Config, Places, Position};
use crate::run::options::Options;
use crate::run::tls;

/// Looks at the configuration and all that it names. As [`super::check`], it starts nothing and may be run
/// by anybody beside a running broker.
pub fn survey(options: &Options) -> Survey {
    let Looked {
        examined,
        auth,
        found,
        findings,
    } = look(options);
    let (config, places) = (&examined.config, &examined.places);
    let mut report = Survey::default();
    for error in &findings.errors {
        let said = said(Severity::Serious, error, config, places);
        report.findings.push(said);
    }
    for warning in &findings.warnings {
        let said = said(Severity::Warning, warning, config, places);
        report.findings.push(said);
    }
    for secret in readable_by_all(options.config.as_deref(), config) {
        report.findings.push(Finding {
            severity: Severity::Serious,
            place: places.any(secret.directive).cloned(),
            what: secret.line,
            cure: None,
        });
    }
    reach::add(&mut report, config, places, auth.as_ref(), &found);
    bridges::add(&mut report, config, places, &found);
    room::add(&mut report, config, places);
    for ending in tls::expiring(config) {
        let severity = if ending.is_invalid {
            Severity::Serious
        } else {
            Severity::Warning
        };
        let line = ending.line.trim_end_matches('.');
        report.findings.push(said(severity, line, config, places));
    }
    report.findings.sort_by_key(|found| found.severity);
    report
}

/// A line that was made for the log, with the place that it is about.
fn said(severity: Severity, line: &str, config: &Config, places: &Places) -> Finding {
    let (place, what) = places.split(line);
    Finding {
        severity,
        place: place.or_else(|| place_of(what, config, places)),
        what: what.to_owned(),
        cure: None,
    }
}

/// The line of the section, or of the directive, that a text begins with.
fn place_of(text: &str, config: &Config, places: &Places) -> Option<Position> {
    let (subject, rest) = text.split_once(": ")?;
    let directive = rest.split([' ', ':']).next().unwrap_or_default();
    let place = if let Some(name) = subject.strip_prefix("connection ") {
        let index = config.bridges.iter().position(|b| b.name == name)?;
        places.bridge(index, directive)
    } else if let Some(name) = subject.strip_prefix("listener ") {
        let index = config.listeners.iter().position(|l| l.name() == name)?;
        places.listener(index, directive)
    } else {
        places.any(subject)
    };
    place.cloned()
}
