//! What a bridge would do that its operator may not want.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::report::{Severity, Survey};
use crate::config::{Bridge, Config, Direction, Places};
use crate::mqtt::QoS;
use crate::net::Found;

/// Finds what each bridge shows to others, and what it loses.
pub(super) fn add(
    report: &mut Survey,
    config: &Config,
    places: &Places,
    found: &BTreeMap<String, Found>,
) {
    for (index, bridge) in config.bridges.iter().enumerate() {
        in_clear(report, places, (index, bridge), found);
        unsure(report, places, (index, bridge));
        if !config.general.queue_qos0_messages {
            lost(report, places, (index, bridge));
        }
    }
}

/// What goes to other machines without TLS.
fn in_clear(
    report: &mut Survey,
    places: &Places,
    (index, bridge): (usize, &Bridge),
    found: &BTreeMap<String, Found>,
) {
    let mut addresses = bridge.addresses.iter();
    let is_clear = |host: &str| !is_here(host, found);
    let Some(address) =
        addresses.find(|address| bridge.tls.to(address).is_none() && is_clear(&address.host))
    else {
        return;
    };
    let has_password = bridge.remote_password.is_some()
        || bridge.remote_password_file.is_some()
        || bridge.remote_password_command.is_some();
    let what = if has_password {
        "its password and all that it carries"
    } else {
        "all that it carries"
    };
    report.add(
        Severity::Warning,
        places.bridge(index, "address"),
        format!(
            "connection {}: {what} goes to {address} without TLS: whoever is on the way can read and change \
             it, and nobody checks who answers",
            bridge.name
        ),
        "set bridge_cafile FILE or bridge_tls_use_os_certs true, and the upstream's port for TLS, often \
         8883; inside a VPN it may stay",
    );
}

/// Whether all that `host` stands for is this machine's loopback.
fn is_here(host: &str, found: &BTreeMap<String, Found>) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    match found.get(host) {
        Some(Ok(addresses)) => addresses.iter().all(|address| address.ip().is_loopback()),
        _ => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether it knows whom it talks to.
fn unsure(report: &mut Survey, places: &Places, (index, bridge): (usize, &Bridge)) {
    if bridge.tls.insecure && bridge.tls.is_on() {
        report.add(
            Severity::Warning,
            places.bridge(index, "bridge_insecure"),
            format!(
                "connection {}: bridge_insecure takes any name: whoever has a certificate of the same CA \
                 can pose as the upstream",
                bridge.name
            ),
            "remove bridge_insecure, and give in address the name that the upstream's certificate has",
        );
    }
}

/// Lines whose messages an outage loses.
fn lost(report: &mut Survey, places: &Places, (index, bridge): (usize, &Bridge)) {
    let at_most_once = |topic: &&(usize, &crate::config::BridgeTopic)| {
        topic.1.qos == QoS::AtMostOnce && topic.1.direction != Direction::In
    };
    let topics: Vec<_> = bridge.topics.iter().enumerate().collect();
    let lines: Vec<_> = topics.iter().filter(at_most_once).collect();
    let Some((first, topic)) = lines.first() else {
        return;
    };
    let more = match lines.len() {
        1 => String::new(),
        n => format!(", and {} more topic lines", n - 1),
    };
    report.add(
        Severity::Note,
        places.topic(index, *first),
        format!(
            "connection {}: topic {}{more}: goes up at QoS 0, so what is published while the uplink is \
             down is lost",
            bridge.name,
            topic.local_topics()
        ),
        "give the line QoS 1, and qos0=keep where devices publish at QoS 0",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Reading};

    #[test]
    fn what_others_see_and_what_is_lost_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        let found = |text: &str| {
            std::fs::write(&file, format!("connection b\n{text}")).unwrap();
            let examined = Config::examine(&file, &Env::default(), Reading::Once);
            assert_eq!(examined.errors, []);
            let mut report = Survey::default();
            add(
                &mut report,
                &examined.config,
                &examined.places,
                &BTreeMap::new(),
            );
            let findings = report.findings.into_iter();
            findings
                .map(|f| (f.severity, f.place.map_or(0, |place| place.line)))
                .collect::<Vec<_>>()
        };
        use Severity::{Note, Warning};
        assert_eq!(found("address 127.0.0.1:2\ntopic # out 1"), []);
        assert_eq!(found("address localhost:2\ntopic # in 0"), []);
        assert_eq!(found("topic # out 1\naddress u"), [(Warning, 3)]);
        assert_eq!(found("address u:8883\ntopic # out 1\nbridge_cafile f"), []);
        assert_eq!(found("address wss://u\ntopic # out 1"), []);
        assert_eq!(found("address ws://u\ntopic # out 1"), [(Warning, 2)]);
        assert_eq!(
            found("address u:8883\ntopic a out 1\nbridge_cafile f\nbridge_insecure true\ntopic b"),
            [(Warning, 5), (Note, 6)]
        );
    }
}
