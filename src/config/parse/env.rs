//! What `${hostname}`, `${mac}` and `${env:NAME}` stand for.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Kind;
use crate::config::error::shortened;

/// What a configuration takes from the machine; an argument, so that parsing is pure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// The host name: `${hostname}`, and the first half of a bridge's default client id.
    pub hostname: String,
    /// The hardware address of the first network interface that is up, as `00:11:22:aa:bb:cc`.
    pub mac: Option<String>,
    /// The environment variables.
    pub vars: BTreeMap<String, String>,
}

impl Env {
    /// This machine's: `uname`, `/sys/class/net` and the environment.
    pub fn system() -> Env {
        let uname = rustix::system::uname();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Env {
            hostname: uname.nodename().to_string_lossy().into_owned(),
            mac: first_mac(Path::new("/sys/class/net")),
            vars: std::env::vars_os().filter_map(text).collect(),
        }
    }

    /// `value` with every `${…}` replaced. `$${` stands for a plain `${`.
    ///
    /// # Errors
    /// [`Kind::Expansion`] for a name that is none of the three, an unset variable, a machine
    /// without a hardware address or a missing `}`.
    pub(super) fn expand(&self, value: &str) -> Result<String, Kind> {
        let mut out = String::with_capacity(value.len());
        let mut unread = value;
        while let Some((before, after)) = unread.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                unread = after;
                continue;
            }
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| Kind::Expansion("`${` without a `}`".to_owned()))?;
            out.push_str(before);
            out.push_str(self.lookup(name)?);
            unread = after;
        }
        out.push_str(unread);
        Ok(out)
    }

    fn lookup(&self, name: &str) -> Result<&str, Kind> {
        let missing = |why: String| Err(Kind::Expansion(why));
        match name {
            "hostname" => Ok(&self.hostname),
            "mac" => match &self.mac {
                Some(mac) => Ok(mac),
                None => missing("no network interface has a hardware address".to_owned()),
            },
            _ => match name.strip_prefix("env:") {
                Some(var) => match self.vars.get(var) {
                    Some(value) => Ok(value),
                    None => missing(format!("the environment has no `{}`", shortened(var))),
                },
                None => missing(format!("`${{{}}}` is not known", shortened(name))),
            },
        }
    }
}

/// The hardware address of the first interface, by name, that is up and isn't loopback; else of
/// the first that has one.
fn first_mac(net: &Path) -> Option<String> {
    let mut interfaces: Vec<_> = std::fs::read_dir(net)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    interfaces.sort();
    let read = |path: &Path, file: &str| {
        let text = std::fs::read_to_string(path.join(file)).ok()?;
        Some(text.trim().to_owned())
    };
    let mut fallback = None;
    for interface in &interfaces {
        let mac = match read(interface, "address") {
            Some(mac) if mac.bytes().any(|b| b != b'0' && b != b':') => mac,
            _ => continue,
        };
        if read(interface, "operstate").as_deref() == Some("up") {
            return Some(mac);
        }
        fallback = fallback.or(Some(mac));
    }
    fallback
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> Env {
        Env {
            hostname: "gw7".to_owned(),
            mac: Some("00:11:22:aa:bb:cc".to_owned()),
            vars: BTreeMap::from([("SITE".to_owned(), "north".to_owned())]),
        }
    }

    #[test]
    fn the_three_names_expand() {
        let text = "${hostname}-${mac}-${env:SITE}${hostname}";
        assert_eq!(
            env().expand(text),
            Ok("gw7-00:11:22:aa:bb:cc-northgw7".to_owned())
        );
        assert_eq!(env().expand("a$b {c} $"), Ok("a$b {c} $".to_owned()));
        assert_eq!(env().expand("x$${mac}"), Ok("x${mac}".to_owned()));
    }

    #[test]
    fn what_cannot_expand_is_an_error() {
        for text in ["${hostnam}", "${env:NOPE}", "${mac", "${}"] {
            assert!(
                matches!(env().expand(text), Err(Kind::Expansion(_))),
                "{text}"
            );
        }
        let without = Env { mac: None, ..env() };
        assert!(without.expand("${mac}").is_err());
    }

    #[test]
    fn the_first_interface_that_is_up_names_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        for (name, mac, state) in [
            ("eth0", "00:00:00:00:00:01", "down"),
            ("lo", "00:00:00:00:00:00", "unknown"),
            ("wan", "00:00:00:00:00:02", "up"),
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("address"), format!("{mac}\n")).unwrap();
            std::fs::write(path.join("operstate"), format!("{state}\n")).unwrap();
        }
        assert_eq!(first_mac(dir.path()).as_deref(), Some("00:00:00:00:00:02"));
        std::fs::remove_dir_all(dir.path().join("wan")).unwrap();
        assert_eq!(first_mac(dir.path()).as_deref(), Some("00:00:00:00:00:01"));
    }
}
