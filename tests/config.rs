//! The configuration from outside: files as operators have them, and the documents that come from
//! the table of directives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use footbridge::config::{
    Bounds, Config, Direction, Env, LoadedConfig, LogType, Overflow, Restart, docs,
};
use footbridge::mqtt::{QoS, Version};

fn env() -> Env {
    Env {
        hostname: "gw".to_owned(),
        mac: Some("00:11:22:aa:bb:cc".to_owned()),
        vars: Default::default(),
    }
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(name: &str) -> LoadedConfig {
    Config::load(&root("tests/configs").join(name), &env()).unwrap()
}

/// The errors of a file, without the directory.
fn errors(name: &str) -> Vec<String> {
    let errors = Config::load(&root("tests/configs").join(name), &env()).unwrap_err();
    let lines = errors.to_string();
    let prefix = format!("{}/", root("tests/configs").display());
    lines
        .lines()
        .map(|line| line.replace(&prefix, ""))
        .collect()
}

/// The directives that notes are about.
fn noted(loaded: &LoadedConfig) -> Vec<&str> {
    let directive = |note| str::split(note, ": ").nth(1).unwrap_or(note);
    loaded.notes.iter().map(|note| directive(note)).collect()
}

#[test]
fn debians_packaged_file_with_its_conf_d() {
    let conf_d = root("tests/configs/debian/conf.d");
    let text = std::fs::read_to_string(root("tests/configs/debian/mosquitto.conf")).unwrap();
    let text = text.replace("/etc/mosquitto/conf.d", conf_d.to_str().unwrap());
    let loaded = Config::parse(&text, "mosquitto.conf", &env()).unwrap();
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let config = loaded.config;
    let general = &config.general;
    assert!(general.persistence);
    assert_eq!(general.store, Path::new("/var/lib/mosquitto/footbridge.db"));
    assert_eq!(
        general.pid_file.as_deref(),
        Some(Path::new("/run/mosquitto/mosquitto.pid"))
    );
    assert_eq!(general.security.allow_anonymous, Some(false));
    assert_eq!(
        general.security.password_file.as_deref(),
        Some(Path::new("/etc/mosquitto/passwd"))
    );
    assert_eq!(general.max_queued_messages, 5000);
    let log = Path::new("/var/log/mosquitto/mosquitto.log");
    assert_eq!(general.log.file.as_deref(), Some(log));
    assert!(!general.log.stderr);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(
        (config.listeners[0].port, &config.listeners[0].bind),
        (1883, &None)
    );
    let bridge = &config.bridges[0];
    assert_eq!(bridge.name, "uplink");
    assert_eq!(bridge.remote_password.as_deref(), Some("correct horse"));
    assert_eq!(bridge.remote_clientid, "gw.uplink");
    assert_eq!(bridge.local_clientid, "local.gw.uplink");
}

#[test]
fn bounds_and_policies_of_single_lines() {
    let loaded = load("overflow.conf");
    assert_eq!(loaded.notes, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.general.queue_overflow, Overflow::Oldest);
    let lines: Vec<_> = config.bridges[0]
        .topics
        .iter()
        .map(|t| (t.bounds.messages, t.bounds.bytes, t.overflow, t.ttl))
        .collect();
    let day = Duration::from_secs(86_400);
    assert_eq!(
        lines,
        [
            (0, 0, Some(Overflow::Refuse), None),
            (0, 32 << 20, None, Some(day)),
            (1000, 0, Some(Overflow::LatestPerTopic), None),
            (0, 1 << 20, Some(Overflow::Newest), None),
            (0, 0, None, None),
        ]
    );
    assert_eq!(config.bridges[0].topics[4].bounds, Bounds::default());
}

#[test]
fn the_file_that_openwrts_uci_generates() {
    let loaded = load("openwrt.conf");
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let config = loaded.config;
    let log = &config.general.log;
    assert!(log.syslog && !log.stderr);
    assert!(log.types.has(LogType::Notice) && !log.types.has(LogType::Information));
    assert_eq!(config.general.user.as_deref(), Some("mosquitto"));
    assert_eq!(config.listeners[0].bind.as_deref(), Some("192.168.1.1"));
    let bridge = &config.bridges[0];
    assert_eq!(bridge.addresses, [("203.0.113.7".to_owned(), 1883).into()]);
    assert_eq!(bridge.topics[0].remote, "site/gw/");
    assert_eq!(bridge.remote_clientid, "router-00:11:22:aa:bb:cc");
    assert_eq!(bridge.restart, Restart::Constant(Duration::from_secs(30)));
    assert_eq!(bridge.version, Some(Version::V311));
    assert!(!bridge.try_private);
}

#[test]
fn windows_line_ends_and_none_at_the_end() {
    let loaded = load("hivemq-crlf.conf");
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let bridge = &loaded.config.bridges[0];
    assert_eq!(bridge.version, Some(Version::V5));
    assert!(!bridge.notifications && !bridge.outgoing_retain);
    assert!(bridge.clean_session && bridge.local_clean_session);
    assert_eq!(bridge.topics[1].direction, Direction::In);
    assert_eq!(bridge.topics[1].remote, "plant-7/");
}

#[test]
fn a_cloud_bridge_through_a_local_proxy() {
    let loaded = load("azure.conf");
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let config = loaded.config;
    assert!(config.listeners.is_empty());
    assert_eq!(config.general.security.allow_anonymous, None);
    let password = config.bridges[0].remote_password.as_deref().unwrap();
    assert!(password.starts_with("SharedAccessSignature sr=") && password.ends_with("1735689600"));
}

#[test]
fn rsmbs_broker_cfg() {
    let loaded = load("rsmb.cfg");
    assert_eq!(
        noted(&loaded),
        [
            "retry_interval",
            "autosave_interval",
            "trace_level",
            "max_log_entries",
            "topic",
            "topic"
        ]
    );
    let config = loaded.config;
    assert_eq!(config.listeners[0].port, 1883);
    let bridge = &config.bridges[0];
    assert_eq!(bridge.addresses.len(), 2);
    assert_eq!(bridge.remote_clientid, "branch4");
    assert_eq!(bridge.remote_username.as_deref(), Some("branch"));
    assert_eq!(bridge.remote_password.as_deref(), Some("s3cret"));
    let topics: Vec<_> = bridge
        .topics
        .iter()
        .map(|t| (t.pattern.as_str(), t.qos, t.low))
        .collect();
    assert_eq!(
        topics,
        [
            ("alarms/#", QoS::ExactlyOnce, false),
            ("bulk/#", QoS::ExactlyOnce, true),
            ("orders/#", QoS::AtMostOnce, false),
            ("", QoS::AtLeastOnce, false),
        ]
    );
}

#[test]
fn a_bridge_to_a_cloud_has_its_tls() {
    let bridge = &load("aws.conf").config.bridges[0];
    let tls = &bridge.tls;
    assert!(tls.is_on() && !tls.insecure);
    let files = [&tls.cafile, &tls.certfile, &tls.keyfile];
    assert!(files.iter().all(|file| file.is_some()), "{tls:?}");
}

#[test]
fn every_mistake_of_a_file_is_reported() {
    assert_eq!(
        errors("mistakes.conf"),
        [
            "mistakes.conf:1: persistance: unknown directive; did you mean `persistence`?",
            "mistakes.conf:2: topic: belongs to a bridge; write it below the `connection` line it \
             is meant for",
            "mistakes.conf:3: allow_anonymous: `maybe` is not valid; give true or false",
            "mistakes.conf:4: listener: `99999` is not valid; give a number from 1 to 65535",
            "mistakes.conf:5: plugin: not supported: footbridge has no clients and roles that are \
             changed over MQTT; use password_file and acl_file, or auth_socket",
            "mistakes.conf:6: per_listener_settings: `perhaps` is not valid; give true or false",
            "mistakes.conf:8: address: no value; give HOST[:PORT]",
            "mistakes.conf:9: topic: the local prefix and the pattern make `a#`, which is no topic \
             filter; `+` and `#` must be a level of their own, `#` the last, so end a prefix with \
             `/`",
            "mistakes.conf:10: connection: a second bridge of this name; rename one",
            "mistakes.conf:13: topic: `5` is not valid; give the QoS as 0, 1 or 2",
            "mistakes.conf:15: password_file: `${nope}` is not known; use ${hostname}, ${mac} or \
             ${env:NAME}, or $${ for a plain ${",
            "mistakes.conf:11: connection b: the bridge has a remote_password without a \
             remote_username; add the user name",
        ]
    );
}

#[test]
fn what_is_missing_as_a_whole_is_told() {
    assert_eq!(
        errors("gaps.conf"),
        [
            "gaps.conf:1: connection a: the bridge has no address; add `address HOST[:PORT]`",
            "gaps.conf:1: connection a: the bridge has no topic; add a line such as `topic # out 1`",
            "gaps.conf:2: connection b: the bridge has no topic; add a line such as `topic # out 1`",
            "gaps.conf:2: connection b: the bridge has a remote_password without a \
             remote_username; add the user name",
        ]
    );
}

#[test]
fn a_file_that_is_not_there() {
    let errors = Config::load(Path::new("/nonexistent/x.conf"), &env()).unwrap_err();
    let line = errors.to_string();
    assert!(
        line.starts_with("/nonexistent/x.conf: cannot be read: "),
        "{line}"
    );
}

#[test]
fn the_sample_loads_and_changes_nothing() {
    let path = root("etc/footbridge.conf");
    let loaded = Config::load(&path, &env()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.notes.is_empty());
}

/// The packaged profile for routers loads without a note, also with all that it suggests.
#[test]
fn the_router_profile_loads() {
    let path = root("packaging/openwrt/footbridge.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let loaded = Config::parse(&text, "footbridge.conf", &env()).unwrap();
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let general = &loaded.config.general;
    assert_eq!(
        general.store,
        Path::new("/etc/footbridge/store/footbridge.db")
    );
    assert_eq!(general.commit_interval, Duration::from_secs(1));
    assert_eq!(general.flash_budget.unwrap().bytes_a_day, 200 << 20);
    assert_eq!(general.max_queued_bytes, 8 << 20);
    assert_eq!(general.max_packet_size, Some(64 << 10));
    assert_eq!(loaded.config.listeners[0].max_connections, Some(200));

    // A suggestion is a # and a directive without a blank in between.
    let suggested = text.replace("\n#", "\n").replace("\n ", "\n# ");
    let mut env = env();
    let password = ("UPLINK_PASSWORD".to_owned(), "secret".to_owned());
    env.vars.extend([password]);
    let loaded = Config::parse(&suggested, "footbridge.conf", &env).unwrap();
    assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
    let bridge = &loaded.config.bridges[0];
    assert_eq!(bridge.topics[0].remote, "site/gw/");
    assert_eq!(bridge.remote_password.as_deref(), Some("secret"));
    assert!(loaded.config.general.security.acl_file.is_some());
}

/// The checked-in documents are what the table of directives makes of them.
/// `FOOTBRIDGE_BLESS=1 cargo test --test config` writes them anew.
#[test]
fn documents_are_up_to_date() {
    let documents = [
        ("etc/footbridge.conf", docs::sample()),
        ("packaging/man/footbridge.conf.5", docs::man_page()),
    ];
    for (path, text) in documents {
        if std::env::var_os("FOOTBRIDGE_BLESS").is_some() {
            std::fs::write(root(path), &text).unwrap();
        }
        let found = std::fs::read_to_string(root(path)).unwrap_or_default();
        assert!(
            found == text,
            "{path} is out of date; run FOOTBRIDGE_BLESS=1 cargo test --test config"
        );
    }
}

/// What is to do as mosquitto.conf(5) says, once all of it is built.
const IMPLEMENTED: &str = "acl_file allow_anonymous allow_zero_length_clientid auth_socket \
    auth_socket_cache auth_socket_timeout auto_id_prefix \
    check_retain_source clientid_prefixes connection_messages control_socket control_socket_group \
    include_dir log_dest log_facility \
    log_timestamp log_timestamp_format log_type max_inflight_bytes max_inflight_messages \
    max_keepalive max_packet_size max_queued_bytes max_queued_messages memory_limit \
    global_plugin plugin plugin_load plugin_opt_acl_file plugin_opt_password_file plugin_use \
    message_size_limit password_file per_listener_settings persistence persistence_file \
    persistence_location persistent_client_expiration pid_file queue_qos0_messages \
    retain_available set_tcp_nodelay sys_interval upgrade_outgoing_qos user \
    listener port bind_address bind_interface socket_domain max_connections max_qos \
    max_topic_alias mount_point protocol http_dir use_username_as_clientid cafile capath certfile \
    keyfile crlfile ciphers_tls1.3 tls_version require_certificate use_identity_as_username \
    use_subject_as_username \
    connection address addresses topic bridge_attempt_unsubscribe bridge_bind_address \
    bridge_max_inflight_qos2 bridge_max_packet_size bridge_max_topic_alias bridge_outgoing_retain bridge_protocol_version \
    bridge_receive_maximum bridge_session_expiry_interval \
    bridge_tcp_keepalive bridge_tcp_user_timeout cleansession local_cleansession \
    keepalive_interval idle_timeout local_clientid local_username notifications \
    notifications_local_only notification_topic remote_clientid remote_username remote_password \
    clientid username password restart_timeout round_robin start_type threshold try_private \
    bridge_alpn bridge_cafile bridge_capath bridge_certfile bridge_keyfile bridge_insecure \
    bridge_tls_version bridge_tls_use_os_certs bridge_ciphers_tls1.3";
const ACCEPTED: &str = "autosave_interval autosave_on_changes allow_duplicate_messages \
    websockets_log_level websockets_headers_size retry_interval store_clean_interval ciphers \
    bridge_ciphers dhparamfile local_password";
const REFUSED: &str = "plugin_opt_x auth_plugin auth_opt_x psk_file psk_hint \
    bridge_identity bridge_psk tls_engine tls_keyform bridge_require_ocsp";

#[test]
fn every_directive_is_of_its_class() {
    for (names, class) in [
        (IMPLEMENTED, "implemented"),
        (ACCEPTED, "accepted"),
        (REFUSED, "refused"),
    ] {
        for name in names.split_whitespace() {
            assert_eq!(docs::class(name), Some(class), "{name}");
        }
    }
}

#[test]
fn help_fits_a_terminal() {
    let help = docs::help_text();
    assert!(help.contains("\n  acl_file FILE\n"), "{help}");
    for line in help.lines() {
        assert!(line.len() <= 80, "{line}");
    }
}
