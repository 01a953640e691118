//! Reading a file into a [`Config`].

mod env;
mod sources;

use std::io::ErrorKind;
use std::path::Path;

pub use env::Env;
pub use sources::Reading;
pub(crate) use sources::text;

use super::draft::{Draft, Open, Places, Position};
use super::keys::{self, Class, Section};
use super::value::Value;
use super::{Config, Error, Errors, Kind};
use sources::config_files;

/// A configuration and what the log must say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// One line for each directive that is accepted without doing what it does elsewhere: what
    /// happens instead.
    pub notes: Vec<String>,
}

/// All that can be said about a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Examined {
    /// What could be read of it.
    pub config: Config,
    /// As [`LoadedConfig::notes`].
    pub notes: Vec<String>,
    /// Everything wrong with it.
    pub errors: Vec<Error>,
    /// Where its lines stand.
    pub places: Places,
}

impl Config {
    /// Reads the file at `path` and what its `include_dir` lines name, as far as that goes.
    pub fn examine(path: &Path, env: &Env, reading: Reading) -> Examined {
        let mut draft = Draft::new(env);
        read_file(&mut draft, path, Depth::Main, reading);
        examined(draft)
    }

    /// Reads the file at `path` and what its `include_dir` lines name.
    ///
    /// # Errors
    /// Everything wrong in all the files, not only the first thing.
    pub fn load(path: &Path, env: &Env) -> Result<LoadedConfig, Errors> {
        Config::examine(path, env, Reading::Once).sound()
    }

    /// Reads `text`; errors name it `file`.
    ///
    /// # Errors
    /// Everything wrong, not only the first thing.
    pub fn parse(text: &str, file: &str, env: &Env) -> Result<LoadedConfig, Errors> {
        let mut draft = Draft::new(env);
        read_text(&mut draft, text, file, Depth::Main);
        examined(draft).sound()
    }
}

/// What is read: only the main file may include.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Main,
    Included,
    /// A `connection` section alone.
    Section,
}

fn examined(mut draft: Draft<'_>) -> Examined {
    // Before the default listener has a place among the others.
    draft.finish_plugins();
    Examined {
        config: draft.finish(),
        notes: draft.notes,
        errors: draft.errors,
        places: draft.places,
    }
}

impl Examined {
    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// Everything that is.
    pub fn sound(self) -> Result<LoadedConfig, Errors> {
        if self.errors.is_empty() {
            Ok(LoadedConfig {
                config: self.config,
                notes: self.notes,
            })
        } else {
            Err(Errors(self.errors))
        }
    }
}

fn read_file(draft: &mut Draft<'_>, path: &Path, depth: Depth, reading: Reading) {
    let file = path.display().to_string();
    let bytes = match reading.bytes(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            draft.place = Position { file, line: 0 };
            let is_main = depth == Depth::Main;
            return draft.fail(
                "",
                match error.kind() {
                    ErrorKind::InvalidInput if is_main => Kind::ReadOnce,
                    _ => Kind::Unreadable(error.to_string()),
                },
            );
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => read_text(draft, text, &file, depth),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
            draft.place = Position { file, line };
            draft.fail("", Kind::NotUtf8);
        }
    }
}

/// Reads the lines of one file. As in Mosquitto, sections end with their file.
pub(super) fn read_text(draft: &mut Draft<'_>, text: &str, file: &str, depth: Depth) {
    draft.open = Open::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        draft.place = Position {
            file: file.to_owned(),
            line: n + 1,
        };
        let (directive, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let result = read_line(draft, directive, value.trim(), depth);
        if let Err(kind) = result {
            draft.fail(directive, kind);
        }
        if let Some(dir) = draft.include.take() {
            include(draft, &dir, depth);
        }
    }
}

fn read_line(
    draft: &mut Draft<'_>,
    directive: &str,
    value: &str,
    depth: Depth,
) -> Result<(), Kind> {
    let Some(key) = keys::find(directive) else {
        return Err(Kind::Unknown(keys::nearest(directive)));
    };
    if key.section == Section::Bridge {
        if key.name != "connection" {
            draft.bridge()?;
        }
    } else if depth == Depth::Section {
        return Err(Kind::NotOfBridge);
    }
    let plain = value.split_once(" #");
    let plain = plain.map_or(value, |(value, _)| value.trim_end());
    let mut accepted = key.accepted_values.iter();
    if accepted.any(|known| known.eq_ignore_ascii_case(plain)) {
        return Ok(());
    }
    match key.class {
        Class::Implemented(parse) => {
            let value = draft.env.expand(value)?;
            parse(draft, Value(&value))?;
            draft.note_place(key.name, key.section == Section::Bridge);
            Ok(())
        }
        Class::Accepted => {
            draft.note(directive, key.help);
            Ok(())
        }
        Class::Refused(cure) => Err(Kind::Refused(key.help, cure)),
        Class::Later(cure) => Err(Kind::Later(cure)),
    }
}

/// Reads every `*.conf` of `dir`, then goes on where the including file was.
fn include(draft: &mut Draft<'_>, dir: &Path, depth: Depth) {
    if depth == Depth::Included {
        return draft.fail("include_dir", Kind::NestedInclude);
    }
    let files = match config_files(dir) {
        Ok(files) => files,
        Err(error) => {
            let why = format!("{}: {error}", dir.display());
            return draft.fail("include_dir", Kind::Unreadable(why));
        }
    };
    let place = draft.place.clone();
    let open = draft.open;
    for file in files {
        read_file(draft, &file, Depth::Included, Reading::Again);
    }
    draft.place = place;
    draft.open = open;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::Unset;
    use crate::config::{Listener, LogType, LogTypes, Security};
    use crate::mqtt::{QoS, Version};

    fn env() -> Env {
        Env {
            hostname: "gw".to_owned(),
            ..Env::default()
        }
    }

    fn config(text: &str) -> Config {
        Config::parse(text, "x.conf", &env()).unwrap().config
    }

    fn kinds(text: &str) -> Vec<Kind> {
        let errors = Config::parse(text, "x.conf", &env()).unwrap_err();
        errors.0.into_iter().map(|error| error.kind).collect()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(config(""), Config::default());
        assert_eq!(config("\u{feff}# a\n   # b\n \t\n"), Config::default());
    }

    /// What the documents give as defaults is what parsing yields.
    #[test]
    fn documented_defaults_are_the_defaults() {
        for key in keys::all() {
            let (Class::Implemented(_), Unset::Is(value)) = (key.class, key.unset) else {
                continue;
            };
            let base = match key.section {
                Section::General => "",
                Section::Listener => "listener 1884\n",
                Section::Bridge => "connection b\naddress u\ntopic #\n",
            };
            let with = format!("{base}{} {value}\n", key.name);
            assert_eq!(config(&with), config(base), "{}", key.name);
        }
    }

    /// A bridge directive above every `connection` is an error for every one of them.
    #[test]
    fn bridge_directives_need_a_connection() {
        let keys = keys::all().filter(|k| k.section == Section::Bridge && k.name != "connection");
        for key in keys {
            assert_eq!(
                kinds(&format!("{} x", key.name)),
                [Kind::NoConnection],
                "{}",
                key.name
            );
        }
    }

    /// No value makes reading panic, and none goes through where one is needed.
    #[test]
    fn every_implemented_directive_refuses_no_value() {
        for key in keys::all().filter(|key| matches!(key.class, Class::Implemented(_))) {
            let text = format!("connection b\naddress u\ntopic #\n{}", key.name);
            let kinds = kinds(&text);
            assert!(
                matches!(kinds[..], [Kind::NoValue(_)]),
                "{}: {kinds:?}",
                key.name
            );
        }
    }

    #[test]
    fn blanks_tabs_and_long_lines() {
        let long = "x".repeat(100_000);
        let text = format!("  allow_anonymous\ttrue  \nauto_id_prefix   a b \nacl_file {long}");
        let general = config(&text).general;
        assert_eq!(general.security.allow_anonymous, Some(true));
        assert_eq!(general.security.auto_id_prefix, "a b");
        assert_eq!(general.security.acl_file, Some(long.into()));
    }

    #[test]
    fn the_last_of_repeated_directives_wins() {
        let text = "max_keepalive 60\nmax_keepalive 90\npassword_file a\npassword_file b";
        let general = config(text).general;
        assert_eq!(general.max_keepalive, 90);
        assert_eq!(general.security.password_file, Some("b".into()));
    }

    #[test]
    fn topics_addresses_and_log_destinations_add_up() {
        let text = "connection b\naddress u v:1\naddresses w\ntopic a\ntopic b\n\
                    log_dest stdout\nlog_dest file /x y\nlog_type error\nlog_type warning";
        let config = config(text);
        let bridge = &config.bridges[0];
        assert_eq!(bridge.addresses.len(), 3);
        assert_eq!(bridge.topics.len(), 2);
        let log = &config.general.log;
        assert!(log.stdout && !log.stderr);
        assert_eq!(log.file, Some("/x y".into()));
        let types = LogTypes::NONE.with(LogType::Error).with(LogType::Warning);
        assert_eq!(log.types, types);
    }

    #[test]
    fn port_and_bind_address_start_the_default_listener() {
        let text = "max_connections 3\nlistener 1884 ::1\nmax_connections 4\nport 1885";
        let listeners = config(text).listeners;
        assert_eq!(
            (listeners[0].port, listeners[0].max_connections),
            (1885, Some(3))
        );
        assert_eq!(
            (listeners[1].port, listeners[1].max_connections),
            (1884, Some(4))
        );
        let listeners = config("bind_address 127.0.0.1").listeners;
        assert_eq!(
            (listeners[0].port, listeners[0].bind.as_deref()),
            (1883, Some("127.0.0.1"))
        );
    }

    /// Above any `listener`, without `port` or `bind_address`: for loopback where there is no
    /// other listener, else said to be in vain.
    #[test]
    fn what_belongs_to_no_listener_is_said_to() {
        let loaded = Config::parse("max_connections 3", "x", &env()).unwrap();
        assert!(loaded.config.listeners.is_empty() && loaded.notes.is_empty());
        assert_eq!(loaded.config.local.max_connections, Some(3));
        let loaded = Config::parse("max_connections 3\nlistener 1", "x", &env()).unwrap();
        assert_eq!(loaded.notes.len(), 1);
        let text = "port 1\nmax_connections 3\nlistener 2";
        assert!(Config::parse(text, "x", &env()).unwrap().notes.is_empty());
    }

    /// What each listener has of its own with `per_listener_settings`, by port; the default
    /// listener has what stands above the first `listener`.
    #[test]
    fn per_listener_settings_share_out_what_is_below() {
        let text = "per_listener_settings true\nport 1\nallow_anonymous true\n\
                    listener 2\npassword_file p\nacl_file a\nauto_id_prefix x-\n\
                    allow_zero_length_clientid false\n\
                    listener 3\nallow_anonymous false";
        let config = config(text);
        assert_eq!(config.general.security, Security::default());
        let own = |port| {
            let mut listeners = config.listeners.iter();
            &listeners.find(|l| l.port == port).unwrap().security
        };
        assert_eq!(own(1).allow_anonymous, Some(true));
        assert_eq!(own(2).allow_anonymous, None);
        assert_eq!(own(2).password_file, Some("p".into()));
        assert_eq!(own(2).acl_file, Some("a".into()));
        assert_eq!(own(2).auto_id_prefix, "x-");
        assert!(!own(2).allow_zero_length_clientid);
        let third = Security {
            allow_anonymous: Some(false),
            ..Security::default()
        };
        assert_eq!(own(3), &third);
    }

    /// Lines above it were taken for all listeners, as in Mosquitto.
    #[test]
    fn per_listener_settings_come_first() {
        let text = "acl_file a\nper_listener_settings true";
        assert_eq!(kinds(text), [Kind::TooLate]);
        config("acl_file a\nper_listener_settings false");
    }

    /// Each belongs to its own listener, whatever `per_listener_settings`.
    #[test]
    fn listeners_have_settings_of_their_own() {
        let text = "listener 1\nmount_point a/\nmax_qos 1\nmax_topic_alias 0\n\
                    max_topic_alias_broker 3\nuse_username_as_clientid true\n\
                    accept_protocol_versions 5\nlistener_allow_anonymous true\n\
                    listener_auto_id_prefix x-\nmax_connections 0\nlistener 2";
        let config = config(text);
        let one = Listener {
            mount_point: "a/".to_owned(),
            max_qos: QoS::AtLeastOnce,
            max_topic_alias: 0,
            max_topic_alias_broker: 3,
            use_username_as_clientid: true,
            versions: vec![Version::V5],
            allow_anonymous: Some(true),
            auto_id_prefix: Some("x-".to_owned()),
            ..Listener::on(1)
        };
        assert_eq!(config.listeners, [one, Listener::on(2)]);
        for bad in ["a/#", "+"] {
            let text = format!("listener 1\nmount_point {bad}");
            assert!(matches!(kinds(&text)[..], [Kind::BadValue(..)]), "{bad}");
        }
        let loaded = Config::parse("listener 1\nmount_point a", "x", &env()).unwrap();
        assert_eq!(loaded.notes.len(), 1, "nothing would match `#`");
    }

    #[test]
    fn values_that_ask_for_what_is_done_anyway_load() {
        let text = "per_listener_settings false # as ever\nlistener 1\nprotocol mqtt\n\
                    require_certificate false\nconnection b\naddress u\ntopic #\n\
                    start_type automatic\nbridge_insecure false";
        assert!(Config::parse(text, "x", &env()).unwrap().notes.is_empty());
    }

    #[test]
    fn a_low_keepalive_is_raised_with_a_note() {
        let text = "connection a\naddress u\ntopic #\nkeepalive_interval 3";
        let loaded = Config::parse(text, "x.conf", &env()).unwrap();
        assert_eq!(loaded.config.bridges[0].keepalive.as_secs(), 5);
        assert_eq!(
            loaded.notes,
            ["x.conf:4: keepalive_interval: too low, 5 seconds instead"]
        );
    }

    #[test]
    fn included_files_come_in_order_and_end_their_sections() {
        let dir = tempfile::tempdir().unwrap();
        let conf_d = dir.path().join("d");
        std::fs::create_dir(&conf_d).unwrap();
        for (n, name) in ["b", "A", "01", "a", "B", "00"].iter().enumerate() {
            let text = format!("listener 1{n}\nauto_id_prefix {name}");
            std::fs::write(conf_d.join(format!("{name}.conf")), text).unwrap();
        }
        let files = config_files(&conf_d).unwrap();
        let names: Vec<_> = files
            .iter()
            .filter_map(|f| f.file_stem()?.to_str())
            .collect();
        assert_eq!(names, ["00", "01", "A", "a", "B", "b"]);
        let main = format!(
            "listener 2\ninclude_dir {}\nmax_connections 7",
            conf_d.display()
        );
        let config = config(&main);
        assert_eq!(config.general.security.auto_id_prefix, "b");
        let most = config.listeners.iter().map(|l| l.max_connections);
        assert_eq!(
            most.collect::<Vec<_>>(),
            [Some(7), None, None, None, None, None, None]
        );
    }

    #[test]
    fn errors_of_included_files_name_their_own_place() {
        let dir = tempfile::tempdir().unwrap();
        let (main, conf_d) = (dir.path().join("m.conf"), dir.path().join("d"));
        std::fs::create_dir(&conf_d).unwrap();
        std::fs::write(conf_d.join("1.conf"), "connection x\n").unwrap();
        std::fs::write(conf_d.join("2.conf"), "\ntopic #\ninclude_dir .\n").unwrap();
        std::fs::write(conf_d.join("3.conf"), b"a\nb \xff\n").unwrap();
        let include = format!(
            "include_dir {}\ninclude_dir /nonexistent\n",
            conf_d.display()
        );
        std::fs::write(&main, include).unwrap();
        let errors = Config::load(&main, &env()).unwrap_err().0;
        let places: Vec<_> = errors
            .iter()
            .map(|e| (e.file.rsplit('/').next().unwrap_or(""), e.line, &e.kind))
            .collect();
        assert!(
            matches!(
                places[..],
                [
                    ("2.conf", Some(2), Kind::NoConnection),
                    ("2.conf", Some(3), Kind::NestedInclude),
                    ("3.conf", Some(2), Kind::NotUtf8),
                    ("m.conf", Some(2), Kind::Unreadable(_)),
                    ("1.conf", Some(1), Kind::NoAddress),
                    ("1.conf", Some(1), Kind::NoTopic),
                ]
            ),
            "{places:?}"
        );
    }
}
