//! What is wrong or odd with a configuration as a whole: sections that lack something, and sections
//! that are in each other's way.

mod web;

use core::net::IpAddr;

use super::error::shortened;
use super::factory::is_factory_name;
use super::{
    Bridge, BridgeTopic, CertificateUsername, Direction, Family, Kind, Listener, ListenerTls,
    StartType, UpstreamAddress,
};
use crate::mqtt::{self, TopicName, Version, check_string};

/// What is wrong with `bridge`, which stands below `others`, unless the lines of one of the
/// directives `mistaken` may be all that is.
pub(super) fn wrong_bridge(bridge: &Bridge, others: &[Bridge], mistaken: &[String]) -> Vec<Kind> {
    let mut wrong = wrong_alone(bridge);
    wrong.extend(wrong_among(bridge, others.iter()));
    let is_mistaken = |directive: &&str| mistaken.iter().any(|m| m == directive);
    wrong.retain(|kind| !causes(kind).iter().any(is_mistaken));
    wrong
}

/// The directives whose lines would mend it.
fn causes(kind: &Kind) -> &'static [&'static str] {
    match kind {
        Kind::NoAddress => &["address", "addresses"],
        Kind::NoTopic => &["topic"],
        Kind::NoUsername(_) => &["remote_username", "username"],
        Kind::StateTopic => &["remote_clientid", "clientid", "notification_topic"],
        Kind::ClientId(_) | Kind::DuplicateLocalId(..) | Kind::DuplicateRemoteId(..) => {
            &["remote_clientid", "clientid", "local_clientid"]
        }
        _ => &[],
    }
}

/// What the log is to say about `bridge`, on a box with this host name.
pub(super) fn odd_bridge(bridge: &Bridge, hostname: &str) -> Vec<String> {
    let mut odd = Vec::new();
    if bridge.has_default_clientid && is_factory_name(hostname) {
        odd.push(format!(
            "the client id towards the upstream is {}, from a host name that other boxes may have, \
             too, and two with one client id disconnect each other. Give the box a name of its own, \
             or set `remote_clientid ${{hostname}}-${{mac}}`",
            bridge.remote_clientid
        ));
    }
    if forgets(bridge) {
        odd.push(
            "bridge_session_expiry_interval 0 lets an upstream of MQTT 5 forget the session at \
             every disconnect: what is published there for the topics that come in is lost while \
             the bridge is away, and what was under way arrives twice. Leave the interval out, or \
             set it to as long as the bridge may be away"
                .to_owned(),
        );
    }
    if bridge.local_clean_session && bridge.topics.iter().any(|topic| topic.keeps_qos0) {
        odd.push(
            "qos0=keep keeps nothing while the uplink is down, as nothing is queued with \
             local_cleansession true, which is what cleansession says. Set local_cleansession \
             false"
                .to_owned(),
        );
    }
    if bridge.local_clean_session && bridge.start.kind == StartType::Lazy {
        odd.push(
            "start_type lazy never connects with local_cleansession true, which is what cleansession says: \
             nothing is queued that could reach the threshold. Set local_cleansession false"
                .to_owned(),
        );
    }
    let is_plain = |address: &UpstreamAddress| bridge.tls.to(address).is_none();
    if let Some(address) = bridge.addresses.iter().find(|address| is_plain(address))
        && bridge.tls.is_on()
    {
        odd.push(format!(
            "address {address} is without TLS, although the bridge has CAs: wss:// is with it"
        ));
    }
    let is_shared = |topic: &BridgeTopic| {
        let filter = topic.local_topics();
        topic.direction != Direction::In && mqtt::share(&filter).is_some()
    };
    if bridge.topics.iter().any(is_shared) {
        odd.push(
            "$share/ in a topic line means something upstream only: all that its filter matches goes out"
                .to_owned(),
        );
    }
    let said = odd.iter();
    said.map(|odd| format!("connection {}: {odd}", bridge.name))
        .collect()
}

/// What the log is to say about `listener`.
pub(super) fn odd_listener(listener: &Listener) -> Vec<String> {
    let odd = web::odd(listener).chain(odd_tls(&listener.tls));
    odd.map(|odd| format!("listener {}: {odd}", listener.name()))
        .collect()
}

/// What is odd about the directives of TLS: those that do nothing, and those that let nobody in.
fn odd_tls(tls: &ListenerTls) -> Option<&'static str> {
    let (on, required) = (tls.is_on(), tls.require_certificate);
    let names = tls.username != CertificateUsername::None;
    match () {
        () if names && !on => Some(
            "use_identity_as_username and use_subject_as_username take the user name from a client's \
             certificate, and without certfile there is none: nobody is let in",
        ),
        () if names && !required => Some(
            "use_identity_as_username and use_subject_as_username take the user name from a client's \
             certificate, and without require_certificate none is asked for: nobody is let in",
        ),
        () if required && !on => {
            Some("require_certificate without certfile: there is no TLS, so it has no effect")
        }
        () if tls.crlfile.is_some() && !required => {
            Some("crlfile without require_certificate has no effect")
        }
        () => None,
    }
}

/// Whether the system could not give both listeners what they ask for. Host names are not looked
/// up.
pub(super) fn collide(one: &Listener, other: &Listener) -> bool {
    if one.net.path.is_some() || other.net.path.is_some() {
        return one.net.path == other.net.path;
    }
    let apart = match (&one.net.interface, &other.net.interface) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    };
    if one.port != other.port || apart {
        return false;
    }
    let hosts = (one.bind.as_deref(), other.bind.as_deref());
    let is_same_name = match hosts {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    };
    is_same_name
        || [Family::V4, Family::V6].iter().any(|family| {
            match (address(one, *family), address(other, *family)) {
                (Some(one), Some(other)) => {
                    one == other || one.is_unspecified() || other.is_unspecified()
                }
                _ => false,
            }
        })
}

/// The address of this family that a listener takes, as far as it is known without a look-up.
fn address(listener: &Listener, family: Family) -> Option<IpAddr> {
    let any = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    if listener.net.family.is_some_and(|wanted| wanted != family) {
        return None;
    }
    match &listener.bind {
        Some(host) => host
            .parse()
            .ok()
            .filter(|ip: &IpAddr| ip.is_ipv4() == any.is_ipv4()),
        None => Some(any),
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
    let passwords = [
        ("remote_password", bridge.remote_password.is_some()),
        (
            "remote_password_file",
            bridge.remote_password_file.is_some(),
        ),
        (
            "remote_password_command",
            bridge.remote_password_command.is_some(),
        ),
    ];
    let mut passwords = passwords.iter().filter(|(_, is_set)| *is_set);
    if let Some((first, _)) = passwords.next() {
        if bridge.remote_username.is_none() {
            wrong.push(Kind::NoUsername(first));
        }
        if let Some((second, _)) = passwords.next() {
            wrong.push(Kind::TwoPasswords(first, second));
        }
    }
    wrong
}

impl Bridge {
    /// Why the bridge can't be beside `others`: a name or a client id that one of them has.
    pub fn clashes<'a>(&self, mut others: impl Iterator<Item = &'a Bridge> + Clone) -> Vec<Kind> {
        let mut clashes = wrong_among(self, others.clone());
        if others.any(|other| other.name == self.name) {
            clashes.push(Kind::DuplicateConnection);
        }
        clashes
    }
}

fn wrong_among<'a>(bridge: &Bridge, others: impl Iterator<Item = &'a Bridge>) -> Vec<Kind> {
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
    use crate::config::{Config, Env, Kind};

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

    #[test]
    fn what_goes_out_is_not_shared() {
        assert_eq!(notes("topic $share/g/a in 1"), [""; 0]);
        for line in ["topic $share/g/a out 1", "topic a both 1 $share/g/ -"] {
            let notes = notes(line);
            assert!(
                notes[0].contains("all that its filter matches goes out"),
                "{notes:?}"
            );
        }
    }

    #[test]
    fn what_is_kept_nowhere_is_told() {
        assert_eq!(notes("topic # out 1 qos0=keep"), [""; 0]);
        for clean in ["cleansession true", "local_cleansession true"] {
            let notes = notes(&format!("topic # out 1 qos0=keep\n{clean}"));
            assert!(notes[0].contains("qos0=keep keeps nothing"), "{notes:?}");
        }
        assert_eq!(
            notes("topic # out 1\nstart_type lazy\ncleansession true").len(),
            1
        );
        assert_eq!(notes("topic # out 1\nstart_type lazy"), [""; 0]);
        let lasting = "topic # out 1 qos0=keep\ncleansession true\nlocal_cleansession false";
        assert_eq!(notes(lasting), [""; 0]);
    }

    /// Before the first client is refused, or let in without what was asked for.
    #[test]
    fn what_of_tls_does_nothing_or_lets_nobody_in_is_told() {
        let notes = |text: &str| Config::parse(text, "x", &Env::default()).unwrap().notes;
        let tls = "certfile c\nkeyfile k\ncafile a\n";
        let whole =
            format!("{tls}require_certificate true\ncrlfile l\nuse_subject_as_username true");
        for above in ["", "listener 1\n"] {
            assert_eq!(notes(&format!("{above}{whole}")), [""; 0]);
            assert_eq!(notes(&format!("{above}{tls}")), [""; 0]);
            let without = "require_certificate true\nuse_identity_as_username true";
            for (lines, says) in [
                (without, "without certfile there is none: nobody"),
                ("require_certificate true", "there is no TLS"),
                (&*format!("{tls}crlfile l"), "crlfile without"),
                (
                    &*format!("{tls}use_identity_as_username true"),
                    "none is asked for: nobody",
                ),
            ] {
                let told = notes(&format!("{above}{lines}"));
                assert!(
                    told.len() == 1 && told[0].contains(says),
                    "{lines}: {told:?}"
                );
            }
        }
    }

    /// Mosquitto listens there with TLS: who asks for a certificate is not served without.
    #[test]
    fn a_certificate_above_any_listener_starts_the_default_one() {
        let config = |text: &str| Config::parse(text, "x", &Env::default()).unwrap().config;
        let tls = "certfile c\nkeyfile k\n";
        for (text, ports) in [
            (tls.to_owned(), &[1883][..]),
            (format!("{tls}port 8883"), &[8883]),
            (format!("{tls}listener 8884"), &[1883, 8884]),
            (format!("listener 8884\n{tls}"), &[8884]),
        ] {
            let config = config(&text);
            let found: Vec<u16> = config.listeners.iter().map(|l| l.port).collect();
            assert_eq!(found, ports, "{text}");
            assert!(config.listeners[0].tls.is_on());
        }
        assert_eq!(config("cafile c\nrequire_certificate true").listeners, []);
        let half = config("keyfile k").listeners;
        assert!(half[0].tls.keyfile.is_some() && !half[0].tls.is_on());
        let twice = errors(&format!("{tls}listener 1883"));
        assert!(
            twice[0].contains("has the same port and address"),
            "{twice:?}"
        );
    }

    fn kinds(text: &str) -> Vec<Kind> {
        let errors = Config::parse(text, "x", &Env::default()).unwrap_err();
        errors.0.into_iter().map(|error| error.kind).collect()
    }

    fn errors(text: &str) -> Vec<String> {
        let errors = Config::parse(text, "x", &Env::default()).unwrap_err();
        errors.0.iter().map(ToString::to_string).collect()
    }

    /// Everything at once, but nothing that may only follow from a line that is wrong.
    #[test]
    fn a_wrong_line_hides_only_what_follows_from_it() {
        let text = "connection a\nadress u\ntopic # out 7\nremote_password p\n\
                    connection b\naddress v\nconnection c\ntopic #\nlocal_clientid local.\n\
                    connection d\naddress u\ntopic # out 1\nlocal_clientid local.\nmax_qos 3";
        let errors = errors(text);
        for (wrong, line) in errors.iter().zip([
            "x:2: adress: unknown directive; did you mean `address`?",
            "x:3: topic: `7` is not valid",
            "x:14: max_qos",
            "x:1: connection a: the bridge has a remote_password without",
            "x:5: connection b: the bridge has no topic",
            "x:7: connection c: the bridge has no address",
            "x:10: connection d: local client id `local.` is also that of bridge `c`",
        ]) {
            assert!(wrong.starts_with(line), "{wrong}\n{line}");
        }
        assert_eq!(errors.len(), 7, "{errors:#?}");
    }

    #[test]
    fn one_listener_twice_is_a_mistake() {
        for twice in [
            "listener 1\nlistener 1",
            "listener 1\nlistener 1 127.0.0.1",
            "listener 1 lan.example\nlistener 1 LAN.example",
            "listener 1 ::1\nlistener 1 0::1",
            "listener 1 0.0.0.0\nlistener 1 10.0.0.1",
            "listener 1\nlistener 1\nbind_interface lo",
            "listener 0 /run/a\nlistener 0 /run/a",
            "port 1\nlistener 1 10.0.0.1",
            "listener 1\nsocket_domain ipv4\nlistener 1",
        ] {
            let errors = errors(twice);
            let says = "x:1 has the same port and address already";
            assert!(
                errors.len() == 1 && errors[0].contains(says),
                "{twice}: {errors:?}"
            );
        }
        for fine in [
            "listener 1\nlistener 2",
            "listener 1 10.0.0.1\nlistener 1 10.0.0.2",
            "listener 1 ::\nlistener 1 0.0.0.0",
            "listener 1\nsocket_domain ipv4\nlistener 1\nsocket_domain ipv6",
            "listener 1\nbind_interface a\nlistener 1\nbind_interface b",
            "listener 0 /run/a\nlistener 0 /run/b",
            "listener 1 ::1\nlistener 1\nsocket_domain ipv4",
        ] {
            assert!(Config::parse(fine, "x", &Env::default()).is_ok(), "{fine}");
        }
    }

    #[test]
    fn bridges_must_not_share_client_ids() {
        let text = "connection a\naddress u\ntopic #\nremote_clientid i\n\
                    connection b\naddress v u\ntopic #\nremote_clientid i\nlocal_clientid j";
        assert_eq!(
            kinds(text),
            [Kind::DuplicateRemoteId("i".into(), "a".into())]
        );
        let text = "connection a\naddress u\ntopic #\nlocal_clientid i\n\
                    connection b\naddress u\ntopic #\nlocal_clientid i";
        assert_eq!(
            kinds(text),
            [Kind::DuplicateLocalId("i".into(), "a".into())]
        );
    }

    #[test]
    fn an_address_without_tls_is_told_where_the_bridge_has_cas() {
        assert_eq!(notes("topic #\naddress ws://a/x"), [""; 0]);
        assert_eq!(
            notes("topic #\naddress wss://a/x\nbridge_cafile /f"),
            [""; 0]
        );
        let told = notes("topic #\naddress ws://a/x?y\nbridge_cafile /f");
        assert!(
            told.len() == 1 && told[0].contains("ws://a:80/x is without TLS"),
            "{told:?}"
        );
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
}
