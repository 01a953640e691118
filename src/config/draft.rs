//! A configuration while it is being read.

use std::path::PathBuf;

use super::defaults::{PORT, STORE_FILE};
use super::error::shortened;
use super::factory::is_factory_name;
use super::{Bridge, Config, Env, Error, General, Kind, Listener, Protocol, Security};
use crate::mqtt::{TopicName, Version, check_string};

/// Where a line stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    pub file: String,
    pub line: usize,
}

/// What has been read so far. The rows of the table of directives write into it.
pub(super) struct Draft<'e> {
    pub env: &'e Env,
    /// The line that is being read.
    pub place: Position,
    pub general: General,
    /// `persistence_location` and `persistence_file`, joined at the end.
    pub store_dir: Option<PathBuf>,
    pub store_file: Option<PathBuf>,
    /// A first `log_dest` or `log_type` replaces the default, later ones add.
    pub log_dest_given: bool,
    pub log_type_given: bool,
    /// `port`, `bind_address` and what stands before any `listener`.
    pub default_listener: Listener,
    /// `port` or `bind_address` was given: the default listener listens.
    pub default_given: bool,
    /// What `per_listener_settings` is about was given.
    pub security_given: bool,
    pub listeners: Vec<Listener>,
    pub bridges: Vec<BridgeDraft>,
    /// The `listener` and the `connection` of this file that lines belong to.
    pub open: Open,
    /// A directory that `include_dir` just named.
    pub include: Option<PathBuf>,
    pub notes: Vec<String>,
    pub errors: Vec<Error>,
}

/// The sections that are open, as indices.
#[derive(Clone, Copy, Default)]
pub(super) struct Open {
    pub listener: Option<usize>,
    pub bridge: Option<usize>,
}

/// A bridge whose defaults depend on lines still to come.
pub(super) struct BridgeDraft {
    pub place: Position,
    pub bridge: Bridge,
    pub remote_clientid: Option<String>,
    pub local_clientid: Option<String>,
    pub local_clean_session: Option<bool>,
}

impl<'e> Draft<'e> {
    pub(super) fn new(env: &'e Env) -> Draft<'e> {
        Draft {
            env,
            place: Position::default(),
            general: General::default(),
            store_dir: None,
            store_file: None,
            log_dest_given: false,
            log_type_given: false,
            default_listener: Listener::on(PORT),
            default_given: false,
            security_given: false,
            listeners: Vec::new(),
            bridges: Vec::new(),
            open: Open::default(),
            include: None,
            notes: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The bridge that a line belongs to.
    pub(super) fn bridge(&mut self) -> Result<&mut BridgeDraft, Kind> {
        let open = self.open.bridge.ok_or(Kind::NoConnection)?;
        self.bridges.get_mut(open).ok_or(Kind::NoConnection)
    }

    /// The listener that a line belongs to: the default listener above any `listener`.
    pub(super) fn listener(&mut self) -> &mut Listener {
        let open = self.open.listener;
        let listener = open.and_then(|open| self.listeners.get_mut(open));
        listener.unwrap_or(&mut self.default_listener)
    }

    /// The rules that a line belongs to: those of its listener with `per_listener_settings`.
    pub(super) fn security(&mut self) -> &mut Security {
        self.security_given = true;
        if self.general.per_listener_settings {
            &mut self.listener().security
        } else {
            &mut self.general.security
        }
    }

    /// `connection NAME`.
    pub(super) fn open_bridge(&mut self, name: &str) -> Result<(), Kind> {
        if self.bridges.iter().any(|b| b.bridge.name == name) {
            return Err(Kind::DuplicateConnection);
        }
        self.open.bridge = Some(self.bridges.len());
        self.bridges.push(BridgeDraft {
            place: self.place.clone(),
            bridge: Bridge::named(name, self.env),
            remote_clientid: None,
            local_clientid: None,
            local_clean_session: None,
        });
        Ok(())
    }

    /// `listener PORT [ADDRESS]`.
    pub(super) fn open_listener(&mut self, listener: Listener) {
        self.open.listener = Some(self.listeners.len());
        self.listeners.push(listener);
    }

    /// A line for the log: what happens instead of what `directive` asks.
    pub(super) fn note(&mut self, directive: &str, instead: &str) {
        let Position { file, line } = &self.place;
        self.notes
            .push(format!("{file}:{line}: {directive}: {instead}"));
    }

    /// Writes down what is wrong with the line being read.
    pub(super) fn fail(&mut self, directive: &str, kind: Kind) {
        let place = self.place.clone();
        self.fail_at(place, directive, kind);
    }

    fn fail_at(&mut self, place: Position, directive: &str, kind: Kind) {
        self.errors.push(Error {
            file: place.file,
            line: (place.line > 0).then_some(place.line),
            directive: shortened(directive),
            kind,
        });
    }

    /// The finished configuration; what is wrong with it as a whole joins `errors`, unless a line
    /// is wrong: that may be all there is to it.
    pub(super) fn finish(&mut self) -> Config {
        let sound = self.errors.is_empty();
        self.finish_listeners();
        if self.store_dir.is_some() || self.store_file.is_some() {
            let file = self.store_file.take().unwrap_or_else(|| STORE_FILE.into());
            self.general.store = self.store_dir.take().unwrap_or_default().join(file);
        }
        let mut bridges: Vec<Bridge> = Vec::with_capacity(self.bridges.len());
        for draft in std::mem::take(&mut self.bridges) {
            let place = draft.place.clone();
            let has_default_id = draft.remote_clientid.is_none();
            let bridge = draft.finish();
            let problems = wrong_alone(&bridge)
                .into_iter()
                .chain(wrong_among(&bridge, &bridges));
            for kind in problems.filter(|_| sound) {
                self.fail_at(place.clone(), &format!("connection {}", bridge.name), kind);
            }
            if has_default_id && is_factory_name(&self.env.hostname) {
                self.notes.push(format!(
                    "connection {}: the client id towards the upstream is {}, from a host name that \
                     other boxes may have, too, and two with one client id disconnect each other. \
                     Give the box a name of its own, or set `remote_clientid ${{hostname}}-${{mac}}`",
                    bridge.name, bridge.remote_clientid
                ));
            }
            if forgets(&bridge) {
                self.notes.push(format!(
                    "connection {}: bridge_session_expiry_interval 0 lets an upstream of MQTT 5 \
                     forget the session at every disconnect: what is published there for the \
                     topics that come in is lost while the bridge is away, and what was under way \
                     arrives twice. Leave the interval out, or set it to as long as the bridge may \
                     be away",
                    bridge.name
                ));
            }
            if bridge.local_clean_session && bridge.topics.iter().any(|topic| topic.keeps_qos0) {
                self.notes.push(format!(
                    "connection {}: qos0=keep keeps nothing while the uplink is down, as nothing is \
                     queued with local_cleansession true, which is what cleansession says. Set \
                     local_cleansession false",
                    bridge.name
                ));
            }
            bridges.push(bridge);
        }
        Config {
            general: self.general.clone(),
            listeners: std::mem::take(&mut self.listeners),
            local: self.default_listener.clone(),
            bridges,
        }
    }

    /// `port` and `bind_address` start the default listener; the rest alone doesn't.
    fn finish_listeners(&mut self) {
        let silent = self.default_listener == Listener::on(PORT);
        if self.default_given {
            self.listeners.insert(0, self.default_listener.clone());
        } else if !silent && !self.listeners.is_empty() {
            self.notes.push(
                "what stands above the first `listener` and belongs to one is for the default \
                 listener, which only `port` or `bind_address` starts: it has no effect"
                    .to_owned(),
            );
        }
        for listener in &self.listeners {
            let wrong = match (listener.web.protocol, &listener.web.http_dir) {
                (Protocol::Http, None) => "protocol http without http_dir serves nothing",
                (Protocol::Mqtt, Some(_)) => "http_dir needs `protocol websockets` or `http`",
                _ => continue,
            };
            self.notes
                .push(format!("listener {}: {wrong}", listener.name()));
        }
    }
}

impl BridgeDraft {
    fn finish(self) -> Bridge {
        let mut bridge = self.bridge;
        if let Some(id) = self.remote_clientid {
            bridge.local_clientid = format!("local.{id}");
            bridge.remote_clientid = id;
            bridge.has_default_clientid = false;
        }
        if let Some(id) = self.local_clientid {
            bridge.local_clientid = id;
        }
        bridge.local_clean_session = self.local_clean_session.unwrap_or(bridge.clean_session);
        bridge
    }
}

/// True if the upstream is asked to keep no session, though one is wanted.
fn forgets(bridge: &Bridge) -> bool {
    let may_be_v5 = bridge.version.is_none_or(|version| version == Version::V5);
    may_be_v5 && !bridge.clean_session && bridge.session_expiry == Some(0)
}

fn wrong_alone(bridge: &Bridge) -> Vec<Kind> {
    let mut wrong = Vec::new();
    if bridge.addresses.is_empty() {
        wrong.push(Kind::NoAddress);
    }
    if bridge.topics.is_empty() {
        wrong.push(Kind::NoTopic);
    }
    for (id, directive) in [
        (&bridge.remote_clientid, "remote_clientid"),
        (&bridge.local_clientid, "local_clientid"),
    ] {
        if check_string(id).is_err() {
            wrong.push(Kind::ClientId(directive));
        }
    }
    if bridge.notifications && TopicName::new(&bridge.state_topic()).is_err() {
        wrong.push(Kind::StateTopic);
    }
    if bridge.remote_password.is_some() && bridge.remote_username.is_none() {
        wrong.push(Kind::NoUsername);
    }
    wrong
}

fn wrong_among(bridge: &Bridge, others: &[Bridge]) -> Vec<Kind> {
    let mut wrong = Vec::new();
    for other in others {
        if other.local_clientid == bridge.local_clientid {
            let id = shortened(&bridge.local_clientid);
            wrong.push(Kind::DuplicateLocalId(id, shortened(&other.name)));
        }
        let same_address = bridge.addresses.iter().any(|a| other.addresses.contains(a));
        if same_address && other.remote_clientid == bridge.remote_clientid {
            let id = shortened(&bridge.remote_clientid);
            wrong.push(Kind::DuplicateRemoteId(id, shortened(&other.name)));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The notes about a bridge with these lines, in a configuration that holds.
    fn notes(lines: &str) -> Vec<String> {
        let text = format!("connection b\naddress u\n{lines}");
        let env = Env {
            hostname: "gw".to_owned(),
            ..Env::default()
        };
        let loaded = Config::parse(&text, "x", &env);
        loaded.unwrap_or_else(|e| panic!("{text}\n{e}")).notes
    }

    /// Only who says 0 wants none; what is lost then is said.
    #[test]
    fn a_session_that_does_not_last_is_told() {
        for silent in [
            "topic #",
            "topic #\nbridge_protocol_version mqttv50",
            "topic #\nbridge_session_expiry_interval 60",
            "topic #\nbridge_session_expiry_interval 0\ncleansession true",
            "topic #\nbridge_session_expiry_interval 0\nbridge_protocol_version mqttv311",
        ] {
            assert_eq!(notes(silent), [""; 0], "{silent}");
        }
        for version in ["", "bridge_protocol_version mqttv50"] {
            let notes = notes(&format!(
                "topic #\nbridge_session_expiry_interval 0\n{version}"
            ));
            assert!(
                notes[0].contains("is lost while the bridge is away"),
                "{notes:?}"
            );
        }
    }

    /// Only where the client id comes from the host name, and the host name from the factory.
    #[test]
    fn a_client_id_that_others_may_have_is_told() {
        let notes = |hostname: &str, lines: &str| {
            let env = Env {
                hostname: hostname.to_owned(),
                mac: Some("00:11:22:aa:bb:cc".to_owned()),
                ..Env::default()
            };
            let text = format!("connection cloud\naddress u\ntopic #\n{lines}");
            Config::parse(&text, "x", &env).unwrap().notes
        };
        let told = notes("OpenWrt", "");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("connection cloud: ")
                && told[0].contains(" is OpenWrt.cloud,")
                && told[0].contains("`remote_clientid ${hostname}-${mac}`"),
            "{told:?}"
        );
        assert_eq!(notes("gw7", ""), [""; 0]);
        for lines in [
            "remote_clientid ${hostname}-${mac}",
            "remote_clientid OpenWrt.cloud",
            "clientid x",
        ] {
            assert_eq!(notes("OpenWrt", lines), [""; 0], "{lines}");
        }
        assert_eq!(notes("OpenWrt", "local_clientid x").len(), 1);
    }

    #[test]
    fn what_is_kept_nowhere_is_told() {
        assert_eq!(notes("topic # out 1 qos0=keep"), [""; 0]);
        for clean in ["cleansession true", "local_cleansession true"] {
            let notes = notes(&format!("topic # out 1 qos0=keep\n{clean}"));
            assert!(notes[0].contains("qos0=keep keeps nothing"), "{notes:?}");
        }
        let lasting = "topic # out 1 qos0=keep\ncleansession true\nlocal_cleansession false";
        assert_eq!(notes(lasting), [""; 0]);
    }
}
