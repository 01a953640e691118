//! What is special about the lines of a bridge.

use crate::config::{Config, Env, LoadedConfig, UpstreamAddress};

fn load(lines: &str) -> Result<LoadedConfig, String> {
    let text = format!("connection b\naddress u\ntopic #\n{lines}");
    let env = Env {
        hostname: "gw".to_owned(),
        ..Env::default()
    };
    Config::parse(&text, "x", &env).map_err(|e| e.to_string())
}

#[test]
fn a_number_behind_a_host_is_its_port() {
    let loaded = load("address up.example 8883 10.0.0.1:1 v  1884 # 7").unwrap();
    let found = &loaded.config.bridges[0].addresses[1..];
    let wanted = [("up.example", 8883), ("10.0.0.1", 1), ("v", 1884)];
    let wanted = wanted.map(|(host, port)| UpstreamAddress::from((host.to_owned(), port)));
    assert_eq!(found, wanted);
    assert_eq!(loaded.notes.len(), 2);
    assert!(loaded.notes[0].ends_with("write up.example:8883"));
    for bad in [
        "1883",
        "u:1883 1884",
        "u 0",
        "u 99999",
        "u 1 2",
        "7 u",
        "wss://u/ 443",
    ] {
        assert!(load(&format!("address {bad}")).is_err(), "{bad}");
    }
}

/// Mosquitto 2.0.11 subscribes to `#` at QoS 0 for the first, without a prefix.
#[test]
fn a_topic_that_brokers_read_differently_is_told() {
    for (line, local, remote) in [
        ("# both venus/", "`venus/`", "none"),
        ("# in \"\" up/", "none", "`up/`"),
    ] {
        let notes = load(&format!("topic {line}")).unwrap().notes;
        let says = format!("local prefix {local}, remote prefix {remote}, at up to QoS 2");
        assert!(notes[0].contains(&says), "{notes:?}");
        assert!(notes[0].contains("Mosquitto takes"), "{notes:?}");
    }
    assert_eq!(load("topic # both 0 venus/").unwrap().notes, [""; 0]);
}
