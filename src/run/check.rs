//! `--test-config`: everything that would stop a start, and what it would say, found in one run and
//! without starting anything.
//!
//! The check may be run by anybody, while the broker runs: no port is bound, no file written, and
//! nobody's rights are needed. What only the user that runs it may not do is no mistake.

mod bridges;
mod findings;
mod folders;
mod mounts;
mod reach;
mod report;
mod room;
mod secrets;
mod survey;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::process::geteuid;

use super::control;
use super::loops::{self, Known};
use super::options::{self, Options};
use super::tls;
use super::user;
use crate::auth::{self, Auth};
use crate::config::{Bridge, Config, Examined, Reading};
use crate::net::{self, Found};

pub use findings::Findings;
pub use report::{Finding, Reach, Severity, Survey};
pub use survey::survey;

pub(super) use folders::left_by_mosquitto;
pub(super) use mounts::folder_in_ram;
pub(super) use secrets::readable_by_all;

/// How long name servers have for all names together.
const NAMES_WITHIN: Duration = Duration::from_secs(5);

/// Checks the configuration and all that it names.
pub fn check(options: &Options) -> Findings {
    let mut looked = look(options);
    let open = readable_by_all(options.config.as_deref(), &looked.examined.config);
    let lines = open.into_iter().map(|secret| secret.line);
    looked.findings.warnings.extend(lines);
    looked.findings
}

/// What a check has looked at.
struct Looked {
    examined: Examined,
    /// The rules of logins, if they can be read.
    auth: Option<Auth>,
    /// What name servers say.
    found: BTreeMap<String, Found>,
    findings: Findings,
}

fn look(options: &Options) -> Looked {
    let examined = options::examine(options, Reading::Once);
    let mut findings = Findings {
        errors: examined.errors.iter().map(ToString::to_string).collect(),
        warnings: examined.notes.clone(),
    };
    let config = &examined.config;
    let auth = read_rules(config, &mut findings);
    if let Err(e) = user::check(config.general.user.as_deref()) {
        findings.errors.push(format!("user: {e}"));
    }
    findings.errors.extend(tls::check(config));
    folders::check(config, &mut findings);
    findings.errors.extend(control::check(config).err());
    let ports = options.ports.iter().enumerate();
    let twice = ports.filter(|(n, port)| options.ports.iter().take(*n).any(|p| p == *port));
    if config.listeners.is_empty() {
        let said = twice.map(|(_, port)| format!("-p {port}: given twice"));
        findings.errors.extend(said);
    }
    let found = check_hosts(options, config, &mut findings);
    Looked {
        examined,
        auth,
        found,
        findings,
    }
}

/// Reads the files of users and rules.
fn read_rules(config: &Config, findings: &mut Findings) -> Option<Auth> {
    match Auth::for_config(config) {
        Ok((auth, skipped)) => {
            findings.warnings.extend(skipped);
            return Some(auth);
        }
        Err(wrong) => wrong.0.iter().for_each(|error| match error {
            auth::Error::Unreadable(_, e) if is_right_of_others(e) => {
                findings
                    .warnings
                    .push(format!("{error}. It was not checked"));
            }
            error => findings.errors.push(error.to_string()),
        }),
    }
    None
}

/// True where who runs the check lacks a right that the broker may have.
fn is_right_of_others(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && !geteuid().is_root()
}

/// Listeners, and the addresses of bridges; what their names resolve to.
fn check_hosts(
    options: &Options,
    config: &Config,
    findings: &mut Findings,
) -> BTreeMap<String, Found> {
    let bound = config.listeners.iter().filter_map(|l| l.bind.as_deref());
    let upstreams = config.bridges.iter().flat_map(looked_up);
    let found = net::look_up(bound.chain(upstreams), NAMES_WITHIN);
    match net::try_out(&config.listeners, &found) {
        Ok(trial) => {
            findings.error_each(&trial.wrong);
            let waits =
                |error| format!("{error}. The broker starts all the same, and waits for it");
            findings.warnings.extend(trial.absent.iter().map(waits));
        }
        Err(e) => findings.errors.push(format!("trying the listeners: {e}")),
    }
    for bridge in &config.bridges {
        let directive = match bridge.proxy {
            Some(_) => "bridge_proxy",
            None => "address",
        };
        for host in looked_up(bridge) {
            if let Some(Err(e)) = found.get(host) {
                findings.warnings.push(format!(
                    "connection {}: {directive} {host} does not resolve: {e}. The bridge tries it again \
                     and again",
                    bridge.name
                ));
            }
        }
    }
    let looped = loops::find(config, &options.ports, &Asked(&found));
    findings.errors.extend(looped);
    found
}

/// The hosts that a bridge looks up: those of its addresses, or its proxy.
fn looked_up(bridge: &Bridge) -> impl Iterator<Item = &str> {
    let proxy = bridge.proxy.as_ref().map(|proxy| &*proxy.host);
    let addresses = bridge.addresses.iter().map(|address| &*address.host);
    let direct = proxy.is_none().then_some(addresses);
    proxy.into_iter().chain(direct.into_iter().flatten())
}

/// What name servers and the system say.
struct Asked<'a>(&'a BTreeMap<String, Found>);

impl Known for Asked<'_> {
    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let found = self.0.get(host).and_then(|found| found.as_ref().ok());
        let addresses = found.into_iter().flatten();
        addresses.map(|address| address.ip()).collect()
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        net::is_here(ip)
    }
}
