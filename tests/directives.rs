//! No directive is accepted and does nothing, in silence.
//!
//! The table of directives says what there is; [`SHOWN`] says of each that is implemented, of each
//! value that is a word of its own, and of each option of a `topic` line, which test shows that
//! setting it changes something, or that the log says that it does not. What the table knows but
//! does not implement must be noted or refused, with its line.

#[path = "directives/fields.rs"]
mod fields;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use footbridge::config::{Config, Env, LogType, docs};

/// Where a directive, or `DIRECTIVE VALUE`, is shown.
enum Shown {
    /// By a test of tests/outside: file and function. The function, or what it calls in its file,
    /// names the directive and the value.
    Outside(&'static str, &'static str),
    /// By a unit test in src, found by its name, that names the directive.
    Unit(&'static str),
    /// By a script of tests/flows that has it in its configuration.
    Flow(&'static str),
    /// It is what holds without it: the first text makes the same configuration as the second.
    Default(&'static str, &'static str),
    /// The log says that it has no effect, of this text.
    Noted(&'static str),
}
use Shown::{Default, Flow, Noted, Outside, Unit};

const SETTINGS: &str = "test_settings.py";
const DIRECTIVES: &str = "test_directives.py";
const PLUGINS: &str = "test_plugins.py";
const ADDRESSES: &str = "test_addresses.py";
const BRIDGE: &str = "test_bridge_directives.py";
const START_TYPE: &str = "test_start_type.py";
const TLS_BRIDGE: &str = "test_tls_bridge.py";
const TLS_LISTENER: &str = "test_tls_listener.py";
const TLS_IDENTITY: &str = "test_tls_identity.py";
const BARE_BRIDGE: &str = "connection b\naddress u\ntopic #\n";

#[rustfmt::skip]
const SHOWN: &[(&str, Shown)] = &[
    // General.
    ("acl_file", Outside("test_reload.py", "test_acl_file")),
    ("allow_anonymous", Outside("test_auth.py", "test_a_listener_alone_lets_nobody_in")),
    ("allow_zero_length_clientid", Outside(DIRECTIVES, "test_zero_length_client_ids")),
    ("auth_socket", Outside("test_auth_socket.py", "test_each_listener_has_its_own")),
    ("auth_socket_cache", Outside("test_auth_socket.py", "test_auth_socket_cache")),
    ("auth_socket_timeout", Outside("test_auth_socket.py", "test_auth_socket_timeout_and_others_meanwhile")),
    ("auto_id_prefix", Outside(SETTINGS, "test_prefixes_of_ids_that_are_handed_out")),
    ("check_retain_source", Outside("test_auth.py", "test_retained_messages_need_a_publisher_who_still_may")),
    ("control_socket", Outside("test_control.py", "test_control_socket")),
    ("control_socket none", Outside("test_control.py", "test_control_socket_none")),
    ("control_socket_group", Outside("test_control.py", "test_control_socket_group")),
    ("clientid_prefixes", Outside(DIRECTIVES, "test_clientid_prefixes")),
    ("include_dir", Outside(SETTINGS, "test_include_dir")),
    ("password_file", Outside("test_auth.py", "test_password_file")),
    ("plugin", Outside(PLUGINS, "test_plugin_and_global_plugin")),
    ("global_plugin", Outside(PLUGINS, "test_plugin_and_global_plugin")),
    ("plugin_load", Outside(PLUGINS, "test_plugin_load_and_plugin_use")),
    ("plugin_use", Outside(PLUGINS, "test_plugin_load_and_plugin_use")),
    ("plugin_opt_password_file", Outside(PLUGINS, "test_plugin_load_and_plugin_use")),
    ("plugin_opt_acl_file", Outside(PLUGINS, "test_plugin_load_and_plugin_use")),
    ("per_listener_settings", Outside(DIRECTIVES, "test_per_listener_settings")),
    ("persistent_client_expiration", Flow("connect/announce.flow")),
    ("persistent_client_expiration never", Unit("sessions_are_forgotten_after_weeks")),
    ("login_failures", Unit("login_failures_are_refused_for_a_while")),
    ("max_clientid_length", Unit("max_clientid_length_bounds_ids")),
    ("max_connecting", Unit("max_connecting_lets_the_oldest_go")),
    ("max_connecting_per_address", Unit("max_connecting_per_address_lets_its_own_oldest_go")),
    ("max_connections_per_address", Unit("max_connections_per_address_leaves_the_rest_to_others")),
    ("max_waiting_logins", Unit("max_waiting_logins_refuses_more")),
    ("max_waiting_logins_per_address", Unit("max_waiting_logins_refuses_more")),
    ("max_filters_per_packet", Unit("max_filters_per_packet_and_max_shared_subscriptions_refuse_the_rest")),
    ("max_shared_subscriptions", Unit("max_filters_per_packet_and_max_shared_subscriptions_refuse_the_rest")),
    ("tcp_keepalive", Outside(SETTINGS, "test_tcp_keepalive")),
    ("pid_file", Outside(SETTINGS, "test_pid_file")),
    ("retain_available", Flow("retain/not_available.flow")),
    ("sys_interval", Outside("test_sys.py", "test_it_is_not_stored")),
    ("upgrade_outgoing_qos", Outside(SETTINGS, "test_upgrade_outgoing_qos")),
    ("user", Outside("test_user.py", "test_every_thread_is_that_user")),
    ("global_max_clients", Outside(SETTINGS, "test_global_max_clients")),
    ("global_max_connections", Outside(SETTINGS, "test_global_max_connections")),
    ("max_dead_letter_bytes", Unit("dead_letters_have_a_bound")),
    ("max_dead_letters", Unit("dead_letters_have_a_bound")),
    ("max_inflight_bytes", Outside(SETTINGS, "test_what_may_be_in_flight")),
    ("max_inflight_messages", Outside(SETTINGS, "test_what_may_be_in_flight")),
    ("max_keepalive", Outside(DIRECTIVES, "test_max_keepalive")),
    ("max_packet_size", Flow("limits/max_packet_size.flow")),
    ("max_queued_bytes", Outside(SETTINGS, "test_a_full_queue")),
    ("max_queued_messages", Outside(SETTINGS, "test_a_full_queue")),
    ("max_retained_bytes", Unit("what_one_client_may_have_retained_is_bounded")),
    ("max_retained_messages", Unit("what_one_client_may_have_retained_is_bounded")),
    ("max_subscription_levels", Unit("the_levels_of_all_filters_are_bounded")),
    ("max_subscriptions", Unit("filters_are_bounded")),
    ("max_topic_levels", Unit("deep_filters_are_refused")),
    ("memory_limit", Outside(DIRECTIVES, "test_memory_limit")),
    ("message_size_limit", Outside(DIRECTIVES, "test_message_size_limit")),
    ("queue_overflow", Outside(SETTINGS, "test_a_full_queue")),
    ("queue_overflow refuse", Outside(SETTINGS, "test_a_full_queue")),
    ("queue_overflow oldest", Default("queue_overflow oldest", "")),
    ("queue_overflow newest", Outside(SETTINGS, "test_a_full_queue")),
    ("queue_overflow latest-per-topic", Outside(SETTINGS, "test_a_full_queue")),
    ("queue_qos0_messages", Outside(SETTINGS, "test_queue_qos0_messages")),
    ("set_tcp_nodelay", Outside(SETTINGS, "test_set_tcp_nodelay")),
    // The store.
    ("commit_interval", Outside(SETTINGS, "test_what_an_acknowledgement_waits_for")),
    ("durability", Outside(SETTINGS, "test_what_an_acknowledgement_waits_for")),
    ("durability power", Default("durability power", "")),
    ("durability lazy", Outside(SETTINGS, "test_what_an_acknowledgement_waits_for")),
    ("flash_budget", Unit("a_flash_budget_widens_the_commit_interval")),
    ("persistence", Outside(SETTINGS, "test_persistence")),
    ("retained_persistence", Outside(SETTINGS, "test_persistence")),
    ("persistence_file", Outside(SETTINGS, "test_persistence")),
    ("persistence_location", Outside(SETTINGS, "test_persistence")),
    // The log.
    ("connection_messages", Outside("test_log.py", "test_connection_messages")),
    ("log_dest", Outside(SETTINGS, "test_log_dest")),
    ("log_dest stderr", Default("log_dest stderr", "")),
    ("log_dest stdout", Outside(SETTINGS, "test_log_dest")),
    ("log_dest none", Outside(SETTINGS, "test_log_dest")),
    ("log_dest syslog", Outside("test_log.py", "test_syslog")),
    ("log_dest topic", Outside(SETTINGS, "test_log_dest")),
    ("log_dest file", Outside(SETTINGS, "test_log_dest")),
    ("log_facility", Outside("test_log.py", "test_syslog")),
    ("log_timestamp", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_timestamp_format", Outside("test_log.py", "test_the_time_as_wanted")),
    ("log_type", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type error", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type warning", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type notice", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type information", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type subscribe", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type unsubscribe", Outside("test_log.py", "test_each_type_by_itself")),
    ("log_type debug", Outside(SETTINGS, "test_log_type_debug")),
    ("log_type websockets", Noted("log_type websockets")),
    ("log_type all", Outside("test_log.py", "test_default_and_all")),
    ("log_type none", Outside("test_log.py", "test_each_type_by_itself")),
    // Listeners.
    ("listener", Outside(DIRECTIVES, "test_mount_point")),
    ("port", Outside(SETTINGS, "test_port_and_bind_address")),
    ("bind_address", Outside(SETTINGS, "test_port_and_bind_address")),
    ("max_connections", Outside(DIRECTIVES, "test_max_connections")),
    ("cafile", Outside(TLS_LISTENER, "test_client_certificates")),
    ("capath", Outside(TLS_LISTENER, "test_cas_in_a_folder")),
    ("certfile", Outside(TLS_LISTENER, "test_files_that_cannot_be_used_are_each_named")),
    ("ciphers_tls1.3", Outside(TLS_LISTENER, "test_the_suites_are_the_operators_choice")),
    ("crlfile", Outside(TLS_LISTENER, "test_revoked_certificates")),
    ("disable_client_cert_date_checks", Outside(TLS_LISTENER, "test_dates_of_client_certificates_may_not_count")),
    ("keyfile", Outside(TLS_LISTENER, "test_files_that_cannot_be_used_are_each_named")),
    ("require_certificate", Outside(TLS_LISTENER, "test_client_certificates")),
    ("tls_version", Outside(TLS_LISTENER, "test_the_oldest_version_is_the_operators_choice")),
    ("tls_version tlsv1.3", Outside(TLS_LISTENER, "test_the_oldest_version_is_the_operators_choice")),
    ("tls_version tlsv1.2", Default("listener 1883\ntls_version tlsv1.2", "listener 1883")),
    ("use_identity_as_username", Outside(TLS_IDENTITY, "test_the_common_name")),
    ("use_subject_as_username", Outside(TLS_IDENTITY, "test_the_subject")),
    ("accept_protocol_versions", Outside(SETTINGS, "test_accept_protocol_versions")),
    ("accept_protocol_versions 3", Outside(SETTINGS, "test_accept_protocol_versions")),
    ("accept_protocol_versions 4", Outside(SETTINGS, "test_accept_protocol_versions")),
    ("accept_protocol_versions 5", Outside(SETTINGS, "test_accept_protocol_versions")),
    ("listener_allow_anonymous", Outside(SETTINGS, "test_listener_allow_anonymous")),
    ("listener_auto_id_prefix", Outside(SETTINGS, "test_prefixes_of_ids_that_are_handed_out")),
    ("max_qos", Outside(SETTINGS, "test_max_qos")),
    ("max_qos 0", Outside(SETTINGS, "test_max_qos")),
    ("max_qos 1", Outside(SETTINGS, "test_max_qos")),
    ("max_qos 2", Default("listener 1\nmax_qos 2", "listener 1")),
    ("maximum_qos", Default("listener 1\nmaximum_qos 1", "listener 1\nmax_qos 1")),
    ("maximum_qos 0", Default("listener 1\nmaximum_qos 0", "listener 1\nmax_qos 0")),
    ("maximum_qos 1", Default("listener 1\nmaximum_qos 1", "listener 1\nmax_qos 1")),
    ("maximum_qos 2", Default("listener 1\nmaximum_qos 2", "listener 1\nmax_qos 2")),
    ("max_topic_alias", Outside(DIRECTIVES, "test_max_topic_alias")),
    ("max_topic_alias_broker", Outside(SETTINGS, "test_max_topic_alias_broker")),
    ("mount_point", Outside(DIRECTIVES, "test_mount_point")),
    ("use_username_as_clientid", Outside(DIRECTIVES, "test_use_username_as_clientid")),
    ("protocol", Outside(SETTINGS, "test_what_a_listener_speaks")),
    ("protocol mqtt", Default("listener 1\nprotocol mqtt", "listener 1")),
    ("protocol websockets", Outside(SETTINGS, "test_what_a_listener_speaks")),
    ("protocol http", Outside(SETTINGS, "test_what_a_listener_speaks")),
    ("http_dir", Outside(SETTINGS, "test_what_a_listener_speaks")),
    ("status_page", Outside("test_status_page.py", "test_status_page")),
    ("websockets_origin", Outside("test_websocket.py", "test_origins")),
    ("socket_domain", Outside(SETTINGS, "test_families_of_addresses")),
    ("socket_domain ipv4", Outside(SETTINGS, "test_families_of_addresses")),
    ("socket_domain ipv6", Outside(SETTINGS, "test_families_of_addresses")),
    ("ipv6", Outside(SETTINGS, "test_families_of_addresses")),
    ("bind_interface", Outside(SETTINGS, "test_bind_interface")),
    // Bridges.
    ("connection", Outside(BRIDGE, "test_what_the_connect_says")),
    ("address", Outside(ADDRESSES, "test_a_frozen_primary_at_the_start")),
    ("addresses", Outside(BRIDGE, "test_addresses")),
    ("topic", Outside(BRIDGE, "test_prefixes_of_a_topic")),
    ("topic out", Outside(BRIDGE, "test_direction_and_qos_of_a_topic")),
    ("topic in", Outside(BRIDGE, "test_direction_and_qos_of_a_topic")),
    ("topic both", Outside(BRIDGE, "test_direction_and_qos_of_a_topic")),
    ("topic high", Default("connection b\naddress u\ntopic # out 1 l/ r/ high", "connection b\naddress u\ntopic # out 1 l/ r/")),
    ("topic low", Outside(BRIDGE, "test_low_priority_of_a_topic")),
    ("topic max_queued_bytes=", Outside(BRIDGE, "test_options_of_a_topic")),
    ("topic max_queued_messages=", Outside(BRIDGE, "test_options_of_a_topic")),
    ("topic overflow=", Outside(BRIDGE, "test_options_of_a_topic")),
    ("topic qos0=", Outside(BRIDGE, "test_qos_0_while_the_upstream_is_away")),
    ("topic ttl=", Outside(BRIDGE, "test_options_of_a_topic")),
    ("bridge_alpn", Outside(TLS_BRIDGE, "test_the_name_and_the_protocol")),
    ("bridge_attempt_unsubscribe", Outside(BRIDGE, "test_bridge_attempt_unsubscribe")),
    ("bridge_cafile", Outside(TLS_BRIDGE, "test_files_are_read_at_each_connect")),
    ("bridge_capath", Outside(TLS_BRIDGE, "test_a_chain_of_cas")),
    ("bridge_certfile", Outside(TLS_BRIDGE, "test_files_are_read_at_each_connect")),
    ("bridge_ciphers_tls1.3", Outside(TLS_BRIDGE, "test_versions_and_suites_are_the_operators_choice")),
    ("bridge_insecure", Outside(TLS_BRIDGE, "test_insecure_skips_the_name_and_nothing_else")),
    ("bridge_keyfile", Outside(TLS_BRIDGE, "test_files_are_read_at_each_connect")),
    ("bridge_tls_use_os_certs", Outside(TLS_BRIDGE, "test_the_systems_cas")),
    ("bridge_tls_version", Outside(TLS_BRIDGE, "test_versions_and_suites_are_the_operators_choice")),
    ("bridge_tls_version tlsv1.3", Outside(TLS_BRIDGE, "test_versions_and_suites_are_the_operators_choice")),
    ("bridge_tls_version tlsv1.2", Default("connection b\naddress u\ntopic #\nbridge_tls_version tlsv1.2", BARE_BRIDGE)),
    ("bridge_max_inflight_qos2", Outside(BRIDGE, "test_bridge_max_inflight_qos2")),
    ("bridge_max_packet_size", Outside(BRIDGE, "test_bridge_max_packet_size")),
    ("bridge_max_topic_alias", Outside(BRIDGE, "test_what_the_connect_says")),
    ("bridge_outgoing_topic_alias", Outside(BRIDGE, "test_bridge_outgoing_topic_alias")),
    ("bridge_outgoing_retain", Outside(BRIDGE, "test_bridge_outgoing_retain")),
    ("bridge_protocol_version", Outside(BRIDGE, "test_what_the_connect_says")),
    ("bridge_protocol_version mqttv50", Outside(BRIDGE, "test_restart_timeout")),
    ("bridge_protocol_version mqttv311", Outside(BRIDGE, "test_what_the_connect_says")),
    ("bridge_protocol_version mqttv31", Outside(BRIDGE, "test_what_the_connect_says")),
    ("bridge_proxy", Outside("test_uplink_tls.py", "test_a_bridge_through_a_proxy")),
    ("bridge_receive_maximum", Outside(BRIDGE, "test_what_the_connect_says")),
    ("bridge_bind_address", Outside("test_way.py", "test_where_it_comes_from")),
    ("bridge_tcp_keepalive", Outside("test_way.py", "test_when_it_is_dead")),
    ("bridge_tcp_user_timeout", Outside("test_way.py", "test_when_it_is_dead")),
    ("bridge_session_expiry_interval", Outside(BRIDGE, "test_what_the_connect_says")),
    ("cleansession", Outside(BRIDGE, "test_cleansession")),
    ("local_cleansession", Outside(BRIDGE, "test_what_waits_while_the_upstream_is_away")),
    ("keepalive_interval", Outside(BRIDGE, "test_what_the_connect_says")),
    ("local_clientid", Outside(BRIDGE, "test_local_clientid")),
    ("local_username", Noted("connection b\naddress u\ntopic #\nlocal_username n")),
    ("notifications", Outside(BRIDGE, "test_notifications_that_stay_here")),
    ("notifications_local_only", Outside(BRIDGE, "test_notifications_that_stay_here")),
    ("notification_topic", Outside(BRIDGE, "test_what_the_connect_says")),
    ("remote_clientid", Outside(BRIDGE, "test_what_the_connect_says")),
    ("clientid", Outside(BRIDGE, "test_what_the_connect_says")),
    ("remote_username", Outside(BRIDGE, "test_what_the_connect_says")),
    ("username", Outside(BRIDGE, "test_what_the_connect_says")),
    ("remote_password_command", Outside("test_bridge_tokens.py", "test_a_password_is_made_at_each_connect")),
    ("remote_password_file", Outside("test_bridge_tokens.py", "test_a_password_is_read_at_each_connect")),
    ("remote_password", Outside(BRIDGE, "test_what_the_connect_says")),
    ("password", Outside(BRIDGE, "test_what_the_connect_says")),
    ("restart_timeout", Outside(BRIDGE, "test_restart_timeout")),
    ("bridge_reload_type", Outside("test_reload_bridges.py", "test_changed_at_once")),
    ("bridge_reload_type lazy", Default("connection b\naddress u\ntopic #\nbridge_reload_type lazy", BARE_BRIDGE)),
    ("bridge_reload_type immediate", Outside("test_reload_bridges.py", "test_changed_at_once")),
    ("start_type", Outside(START_TYPE, "test_manual")),
    ("start_type automatic", Default("connection b\naddress u\ntopic #\nstart_type automatic", BARE_BRIDGE)),
    ("start_type lazy", Outside(START_TYPE, "test_lazy")),
    ("start_type once", Outside(START_TYPE, "test_once")),
    ("start_type manual", Outside(START_TYPE, "test_manual")),
    ("threshold", Outside(START_TYPE, "test_lazy")),
    ("idle_timeout", Outside(START_TYPE, "test_lazy")),
    ("round_robin", Outside(ADDRESSES, "test_all_are_equal")),
    ("try_private", Outside(BRIDGE, "test_what_the_connect_says")),
];

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The configuration that a text makes, and its notes.
fn load(text: &str) -> (Config, Vec<String>) {
    let env = Env {
        hostname: "gw".to_owned(),
        ..Env::default()
    };
    let loaded = Config::parse(text, "x.conf", &env);
    let loaded = loaded.unwrap_or_else(|e| panic!("{text}\n{e}"));
    (loaded.config, loaded.notes)
}

/// Everything that has to be shown, as the table has it.
fn to_show() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for directive in docs::directives().filter(|d| d.class == "implemented") {
        all.insert(directive.name.to_owned());
        let brackets = |c| matches!(c, '[' | ']' | ',' | '.');
        let words = directive
            .syntax
            .split(' ')
            .map(|w| w.trim_matches(brackets));
        for word in words.filter(|word| word.contains('|') && *word != "true|false") {
            let values = word
                .split('|')
                .filter(|v| v.chars().any(|c| !c.is_uppercase()));
            all.extend(values.map(|value| format!("{} {value}", directive.name)));
        }
    }
    all.extend(
        docs::topic_options()
            .iter()
            .map(|name| format!("topic {name}=")),
    );
    let types = LogType::ALL.map(LogType::name);
    all.extend(
        types
            .iter()
            .chain(&["all", "none"])
            .map(|kind| format!("log_type {kind}")),
    );
    all
}

#[test]
fn every_directive_and_value_is_shown_to_do_something_or_noted() {
    let wanted = to_show();
    let listed: BTreeSet<String> = SHOWN.iter().map(|(what, _)| (*what).to_owned()).collect();
    assert_eq!(listed.len(), SHOWN.len(), "something is listed twice");
    let missing: Vec<_> = wanted.difference(&listed).collect();
    assert!(
        missing.is_empty(),
        "say in SHOWN where these are shown: {missing:?}"
    );
    let unknown: Vec<_> = listed.difference(&wanted).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

#[test]
fn what_is_listed_is_there() {
    let complaints: Vec<String> = SHOWN
        .iter()
        .filter_map(|(what, shown)| wrong(what, shown))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What is wrong with an entry.
fn wrong(what: &str, shown: &Shown) -> Option<String> {
    let text = match shown {
        Outside(file, test) => {
            let source = read(&root("tests/outside").join(file));
            match python_test(&source, test) {
                Some(text) => text,
                None => return Some(format!("{what}: no {test} in {file}")),
            }
        }
        Unit(test) => match unit_test(&root("src"), test) {
            Some(text) => text,
            None => return Some(format!("{what}: no unit test {test}")),
        },
        Flow(script) => {
            let text = read(&root("tests/flows").join(script));
            let lines = text.lines().filter(|line| line.starts_with("config "));
            lines.collect::<Vec<_>>().join("\n")
        }
        Default(with, without) => {
            let same = load(with) == load(without);
            return (!same || !says(with, what))
                .then(|| format!("{what}: is not what holds without"));
        }
        Noted(text) => {
            let directive = what.split(' ').next().unwrap_or_default();
            let line = text.lines().count();
            let begins = format!("x.conf:{line}: {directive}: ");
            let noted = |note: &String| note.starts_with(&begins) && note.contains("no effect");
            let noted = load(text).1.iter().any(noted) && says(text, what);
            return (!noted).then(|| format!("{what}: the log does not say that it has no effect"));
        }
    };
    (!says(&text, what)).then(|| format!("{what}: its test does not name it"))
}

/// Whether `text` has every word of `what` as a word of its own.
fn says(text: &str, what: &str) -> bool {
    let text = text.replace("\\n", "\n");
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    what.split(' ').all(|word| {
        text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(is_word)
                && (word.ends_with('=') || !text[at + word.len()..].starts_with(is_word))
        })
    })
}

/// A test with its decorators, and with the functions of its file that it uses, called or as
/// fixtures, and those that they use.
fn python_test(source: &str, test: &str) -> Option<String> {
    let mut functions: Vec<(&str, String)> = Vec::new();
    let mut decorators = String::new();
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("def ") {
            let name = rest.split('(').next().unwrap_or_default();
            functions.push((name, std::mem::take(&mut decorators) + line + "\n"));
        } else if line.starts_with('@') || (!decorators.is_empty() && !line.is_empty()) {
            decorators += line;
            decorators += "\n";
        } else if let Some((_, text)) = functions.last_mut() {
            *text += line;
            *text += "\n";
        }
    }
    let found = functions.iter().find(|(name, _)| *name == test)?;
    let mut used = vec![found];
    let mut looked_at = 0;
    while let Some((_, text)) = used.get(looked_at) {
        looked_at += 1;
        let helpers = functions.iter().filter(|function| {
            let (name, _) = function;
            !name.starts_with("test") && says(text, name) && !used.contains(function)
        });
        let helpers: Vec<_> = helpers.collect();
        used.extend(helpers);
    }
    Some(used.into_iter().map(|(_, text)| text.as_str()).collect())
}

/// The text of the unit test of this name, wherever it stands.
fn unit_test(folder: &Path, test: &str) -> Option<String> {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if let Some(found) = unit_test(&path, test) {
                return Some(found);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = read(&path);
            if let Some((_, after)) = text.split_once(&format!("#[test]\nfn {test}()")) {
                let end = after.find("\n}\n").unwrap_or(after.len());
                return Some(after[..end].to_owned());
            }
        }
    }
    None
}

/// What is known and not implemented is told with file and line: by a note, or as an error.
#[test]
fn what_is_not_implemented_is_told() {
    for directive in docs::directives().filter(|d| d.class != "implemented") {
        let name = directive.name.replace('*', "x");
        let text = format!("{}{name} something\n", directive.below);
        let begins = format!("x.conf:{}: {name}: ", text.lines().count());
        let told = match Config::parse(&text, "x.conf", &Env::default()) {
            Ok(loaded) => {
                assert_eq!(directive.class, "accepted", "{name}");
                loaded.notes.join("\n")
            }
            Err(errors) => errors.to_string(),
        };
        assert!(
            told.lines().any(|line| line.starts_with(&begins)),
            "{name}: {told}"
        );
    }
}

#[test]
fn tests_are_found_with_what_they_use() {
    let source = "def helper():\n    x = 1\n\n\n@mark(\n    \"max_qos 1\"\n)\ndef test_a(b):\n    \
                  helper()\n\n\ndef test_b():\n    pass\n";
    let text = python_test(source, "test_a").unwrap();
    assert!(says(&text, "max_qos 1") && says(&text, "x") && !says(&text, "pass"));
    assert!(!says(&text, "qos") && !says(&text, "max_qos 2"));
    assert_eq!(python_test(source, "test_c"), None);
    assert!(says("a\\nmax_qos 1", "max_qos"));
}
