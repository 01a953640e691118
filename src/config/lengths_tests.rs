//! Every string of a file that goes into a packet: 65,535 bytes load, one more is an error with its
//! line, and so is a character that no packet may have.

use super::{Config, Env, Error, Kind};

const MAX: usize = 65_535;

/// The only mistake of a file, if it has one.
fn error(text: &str) -> Option<Error> {
    let env = Env {
        hostname: "gw".to_owned(),
        ..Env::default()
    };
    let errors = Config::parse(text, "x.conf", &env).err()?.0;
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next()
}

/// A bridge that nothing is wrong with, and more lines for it. With a topic for its state that
/// does not have the client id in it, so that this may be as long as a packet allows.
fn bridge(lines: &str) -> String {
    format!(
        "connection b\naddress u\ntopic #\nnotification_topic s\nlocal_clientid l\n\
         remote_username u\n{lines}\n"
    )
}

#[test]
fn values_are_as_long_as_a_packet_can_hold() {
    for directive in [
        "local_clientid",
        "remote_clientid",
        "clientid",
        "local_username",
        "remote_username",
        "username",
        "remote_password",
        "password",
        "notification_topic",
    ] {
        let line = |len| bridge(&format!("{directive} {}", "x".repeat(len)));
        assert_eq!(error(&line(MAX)), None, "{directive}");
        let error = error(&line(MAX + 1)).unwrap();
        assert_eq!((error.line, &*error.directive), (Some(7), directive));
        assert!(matches!(error.kind, Kind::BadValue(..)), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
    for directive in ["clientid_prefixes", "mount_point"] {
        let line = |len| format!("{directive} {}/\n", "x".repeat(len - 1));
        assert_eq!(error(&line(MAX)), None, "{directive}");
        let error = error(&line(MAX + 1)).unwrap();
        assert_eq!((error.line, &*error.directive), (Some(1), directive));
    }
}

#[test]
fn no_string_has_a_character_that_packets_refuse() {
    for directive in [
        "local_clientid",
        "remote_clientid",
        "clientid",
        "local_username",
        "remote_username",
        "username",
        "notification_topic",
        "clientid_prefixes",
        "auto_id_prefix",
        "listener_auto_id_prefix",
        "mount_point",
    ] {
        let error = error(&bridge(&format!("{directive} a\u{1}b"))).unwrap();
        assert_eq!(error.directive, directive);
        assert!(!error.to_string().contains('\u{1}'), "{error}");
    }
    assert_eq!(error(&bridge("remote_password a\u{1}b")), None);
}

/// The prefixes of a `topic` line count with the pattern.
#[test]
fn topics_of_bridges_are_topics_with_their_prefixes() {
    for (local, remote) in [(MAX - 1, 10), (10, MAX - 1)] {
        let (local, remote) = ("l".repeat(local - 1), "r".repeat(remote - 1));
        let line = |pattern| bridge(&format!("topic {pattern} both 1 {local}/ {remote}/"));
        assert_eq!(error(&line("a")), None);
        let error = error(&line("aa")).unwrap();
        assert!(matches!(error.kind, Kind::Topic(_)), "{error}");
        assert!(error.to_string().len() < 500, "{error}");
    }
}

/// Client ids that a file does not give are put together from its names.
#[test]
fn ids_made_of_names_are_checked() {
    let named = |len, more: &str| {
        let name = "n".repeat(len);
        let text = format!("connection {name}\naddress u\ntopic #\nnotifications false\n{more}\n");
        error(&text).map(|error| error.kind)
    };
    // local.gw.NAME
    assert_eq!(named(MAX - 9, ""), None);
    assert_eq!(named(MAX - 8, ""), Some(Kind::ClientId("local_clientid")));
    assert_eq!(named(MAX - 3, "local_clientid l"), None);
    assert_eq!(
        named(MAX - 2, "local_clientid l"),
        Some(Kind::ClientId("remote_clientid"))
    );
    let both = "local_clientid l\nremote_clientid r";
    assert_eq!(named(MAX, both), None);
    let line = format!("connection {}", "n".repeat(MAX + 1));
    assert!(matches!(error(&line).unwrap().kind, Kind::BadValue(..)));
}

/// `$SYS/broker/connection/REMOTE-CLIENTID/state` is published and is the topic of the will.
#[test]
fn the_topic_of_the_state_is_one() {
    let with = |id: &str, more: &str| {
        let text = format!("connection b\naddress u\ntopic #\nremote_clientid {id}\n{more}\n");
        error(&text).map(|error| error.kind)
    };
    let around = "$SYS/broker/connection//state".len();
    assert_eq!(with(&"x".repeat(MAX - around), ""), None);
    let long = "x".repeat(MAX - around + 1);
    assert_eq!(with(&long, ""), Some(Kind::StateTopic));
    assert_eq!(with("a/b", ""), None);
    for id in [&*long, "a+b", "#"] {
        assert_eq!(with(id, ""), Some(Kind::StateTopic), "{id}");
        assert_eq!(with(id, "notifications false"), None, "{id}");
        assert_eq!(with(id, "notification_topic s"), None, "{id}");
    }
}

#[test]
fn formats_of_the_time_are_short() {
    let format = |len| error(&format!("log_timestamp_format {}\n", "x".repeat(len)));
    assert_eq!(format(256), None);
    assert!(matches!(format(257).unwrap().kind, Kind::BadValue(..)));
}

/// What is wrong is told in lines that a terminal can show, however long what it is about.
#[test]
fn errors_are_short() {
    let long = "x".repeat(MAX + 1);
    for line in [
        format!("topic # out 1 {long}+ r/"),
        format!("topic # out 1 l/ r/ low ttl=1d {long}"),
        format!("topic # out 1 l/ r/ low ttl=1d {long}=1"),
        format!(
            "topic # in 1 l/ r/ low ttl=1d max_queued_bytes={}1",
            "0".repeat(MAX)
        ),
        format!("topic # out 1 l/ r/ {long}"),
        format!("topic # {long}"),
        format!("local_username ${{env:{long}}}"),
        format!("local_username ${{{long}}}"),
        format!("address {long}:x"),
        format!("{long} 1"),
        format!("keepalive_interval {long}"),
    ] {
        let error = error(&bridge(&line)).unwrap().to_string();
        assert!(error.len() < 500, "{} bytes", error.len());
    }
    let twice = format!(
        "{}connection c\naddress u\ntopic #\n",
        bridge("remote_clientid r")
    );
    for line in ["local_clientid", "remote_clientid"] {
        let long = "x".repeat(MAX);
        let text = twice.replace(
            &format!("{line} {}\n", &line[..1]),
            &format!("{line} {long}\n"),
        );
        let more = match line {
            "local_clientid" => "",
            _ => "notifications false\nlocal_clientid m\n",
        };
        let error = error(&format!("{text}{line} {long}\n{more}"))
            .unwrap()
            .to_string();
        assert!(
            error.contains("also that of") || error.contains("same address"),
            "{error}"
        );
        assert!(error.len() < 500, "{} bytes", error.len());
    }
}

#[test]
fn a_bridge_has_topics_that_can_be_told_apart() {
    let lines = |count| "topic a\n".repeat(count);
    // One is in the bridge already.
    assert_eq!(error(&bridge(&lines(32_766))), None);
    let error = error(&bridge(&lines(32_767))).unwrap();
    assert_eq!((error.line, &*error.directive), (Some(7 + 32_766), "topic"));
    assert_eq!(error.kind, Kind::TooManyTopics);
}
