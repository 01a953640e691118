//! Who can reach which listener, and get in there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::report::{Reach, Severity, Survey};
use crate::auth::{Auth, Entry};
use crate::config::{Config, Family, Listener, Places, Protocol};
use crate::net::Found;

/// Describes each listener, and finds those that let in whom they should not, or nobody.
pub(super) fn add(
    report: &mut Survey,
    config: &Config,
    places: &Places,
    auth: Option<&Auth>,
    found: &BTreeMap<String, Found>,
) {
    for (index, (name, listener)) in config.named_listeners().enumerate() {
        let entry = auth.and_then(|auth| auth.entry(&name));
        let (from, is_beyond) = if name.is_empty() {
            ("loopback only, port 1883".to_owned(), false)
        } else {
            from(listener, found)
        };
        let reach = Reach {
            place: places.listener(index, "listener").cloned(),
            from,
            is_beyond,
            protocol: protocol(listener),
            tls: tls(listener),
            who: who(listener, entry),
            name,
        };
        judge(report, places, (index, listener), &reach, entry);
        report.listeners.push(reach);
    }
    if !report.listeners.iter().any(|listener| listener.is_beyond) {
        report.add(
            Severity::Note,
            None,
            "only programs on this box reach the broker: no listener has an address that devices reach",
            "`listener 1883` listens on every address, `listener 1883 ADDRESS` on one",
        );
    }
}

/// From where a listener is reached, and whether from other machines.
fn from(listener: &Listener, found: &BTreeMap<String, Found>) -> (String, bool) {
    if let Some(path) = &listener.net.path {
        return (format!("Unix socket {}", path.display()), false);
    }
    let port = listener.port;
    let interface = listener.net.interface.as_deref();
    let is_inside = interface == Some("lo")
        || listener
            .bind
            .as_deref()
            .is_some_and(|host| is_loopback(host, found));
    let at = match (&listener.bind, listener.net.family) {
        (Some(host), _) => host.clone(),
        (None, Some(Family::V4)) => "every IPv4 address".to_owned(),
        (None, Some(Family::V6)) => "every IPv6 address".to_owned(),
        (None, None) => "every address".to_owned(),
    };
    let by = interface.map(|name| format!(" of interface {name}"));
    let by = by.unwrap_or_default();
    let whence = if is_inside {
        "this box only"
    } else {
        "other machines"
    };
    (format!("{at}{by}, port {port}, from {whence}"), !is_inside)
}

/// Whether all that `host` stands for is loopback.
fn is_loopback(host: &str, found: &BTreeMap<String, Found>) -> bool {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return ip.is_loopback();
    }
    let is_localhost = host.eq_ignore_ascii_case("localhost");
    match found.get(host) {
        Some(Ok(addresses)) if !addresses.is_empty() => {
            addresses.iter().all(|address| address.ip().is_loopback())
        }
        _ => is_localhost,
    }
}

const fn protocol(listener: &Listener) -> &'static str {
    match listener.web.protocol {
        Protocol::Mqtt => "MQTT",
        Protocol::WebSockets => "MQTT over WebSocket",
        Protocol::Http => "HTTP",
    }
}

const fn tls(listener: &Listener) -> &'static str {
    match (&listener.tls.certfile, listener.tls.require_certificate) {
        (None, _) => "no TLS",
        (Some(_), false) => "TLS",
        (Some(_), true) => "TLS with client certificates",
    }
}

/// Who may log in, in words.
fn who(listener: &Listener, entry: Option<Entry>) -> String {
    if listener.web.protocol == Protocol::Http {
        return "whoever reaches it reads its files".to_owned();
    }
    let Some(entry) = entry else {
        return "who gets in is not known, as its files can't be read".to_owned();
    };
    let mut ways = Vec::new();
    let mut way = |is_there: bool, words: &str| {
        if is_there {
            ways.push(words.to_owned());
        }
    };
    way(entry.anonymous, "anyone, without a login");
    way(entry.passwords, "users of the password_file");
    way(
        entry.certificate,
        "owners of a client certificate, by its name",
    );
    way(entry.socket, "whom auth_socket lets in");
    let topics = if entry.has_rights {
        "topics by rules"
    } else {
        "all topics"
    };
    if ways.is_empty() {
        "nobody gets in".to_owned()
    } else {
        format!("{}; {topics}", ways.join(", "))
    }
}

/// What is wrong with that.
fn judge(
    report: &mut Survey,
    places: &Places,
    (index, listener): (usize, &Listener),
    reach: &Reach,
    entry: Option<Entry>,
) {
    if listener.web.protocol == Protocol::Http {
        return;
    }
    let Some(entry) = entry else {
        return;
    };
    let name = &reach.name;
    let has_tls = listener.tls.is_on();
    // A certificate that must be shown is a login of its own kind.
    let is_known = has_tls && listener.tls.require_certificate;
    if !(entry.anonymous || entry.passwords || entry.certificate || entry.socket) {
        report.add(
            Severity::Serious,
            places.listener(index, "listener"),
            format!(
                "listener {name}: nobody gets in: there is no password_file, and allow_anonymous is \
                 false, as it is unless it is set"
            ),
            "set password_file FILE, made by `footbridge passwd -c FILE USER`; or allow_anonymous true",
        );
    }
    if reach.is_beyond && entry.anonymous && !is_known {
        let (severity, may) = if !entry.has_rights {
            (
                Severity::Serious,
                "read and publish everything, commands for devices too",
            )
        } else {
            (
                Severity::Warning,
                "do what the rules leave to anonymous clients",
            )
        };
        report.add(
            severity,
            places.listener(index, "allow_anonymous"),
            format!("listener {name}: whoever reaches {} may {may}", reach.from),
            "set allow_anonymous false and a password_file, or give the listener the address of a \
             network that only devices are in",
        );
    }
    if reach.is_beyond && !has_tls && (entry.passwords || entry.socket) {
        report.add(
            Severity::Warning,
            places.listener(index, "listener"),
            format!(
                "listener {name}: passwords and messages cross the network as they are, for whoever \
                 listens in"
            ),
            "set certfile and keyfile, unless the network is one that only devices are in",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Reading};

    fn report(text: &str) -> Survey {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        let passwords = folder.path().join("p");
        std::fs::write(&passwords, "").unwrap();
        std::fs::write(
            &file,
            text.replace("PASSWORDS", passwords.to_str().unwrap()),
        )
        .unwrap();
        let examined = Config::examine(&file, &Env::default(), Reading::Once);
        assert_eq!(examined.errors, []);
        let (auth, _) = Auth::for_config(&examined.config).unwrap();
        let mut report = Survey::default();
        let found = BTreeMap::new();
        add(
            &mut report,
            &examined.config,
            &examined.places,
            Some(&auth),
            &found,
        );
        report
    }

    fn found(text: &str) -> Vec<(Severity, usize)> {
        let findings = report(text).findings.into_iter();
        findings
            .map(|f| (f.severity, f.place.map_or(0, |place| place.line)))
            .collect()
    }

    #[test]
    fn whom_a_listener_lets_in_beyond_loopback() {
        use Severity::{Note, Serious, Warning};
        for (text, wanted) in [
            ("", &[(Note, 0)][..]),
            (
                "listener 1883 127.0.0.1\nallow_anonymous true",
                &[(Note, 0)],
            ),
            (
                "listener 1883 localhost\nallow_anonymous true",
                &[(Note, 0)],
            ),
            (
                "listener 1883\nbind_interface lo\nallow_anonymous true",
                &[(Note, 0)],
            ),
            ("listener 0 /run/x\nallow_anonymous true", &[(Note, 0)]),
            ("allow_anonymous true\nlistener 1883", &[(Serious, 1)]),
            ("port 1883\nallow_anonymous true", &[(Serious, 2)]),
            (
                "allow_anonymous true\nlistener 1\nlistener 2 ::1",
                &[(Serious, 1)],
            ),
            ("\nlistener 1883", &[(Serious, 2)]),
            ("listener 1883\npassword_file PASSWORDS", &[(Warning, 1)]),
            (
                "listener 1883\npassword_file PASSWORDS\nlistener_allow_anonymous true",
                &[(Serious, 1), (Warning, 1)],
            ),
            (
                "listener 1883\npassword_file PASSWORDS\ncertfile c\nkeyfile k",
                &[],
            ),
            (
                "listener 1883\nallow_anonymous true\ncertfile c\nkeyfile k\ncafile a\n\
                 require_certificate true",
                &[],
            ),
        ] {
            assert_eq!(found(text), wanted, "{text}");
        }
    }

    #[test]
    fn each_listener_is_told_in_words() {
        let report = report(
            "allow_anonymous true\nlistener 1883\nsocket_domain ipv4\nlistener 8883 10.0.0.1\n\
             certfile c\nkeyfile k\nprotocol websockets",
        );
        let text = report.to_text();
        for line in [
            "1883: every IPv4 address, port 1883, from other machines; MQTT, no TLS; anyone, without a \
             login; all topics",
            "8883 10.0.0.1: 10.0.0.1, port 8883, from other machines; MQTT over WebSocket, TLS; anyone",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
