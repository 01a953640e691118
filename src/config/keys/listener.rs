//! Listeners.

use super::general::id_prefix;
use super::key::Section::Listener as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, later, set_listener};
use super::limits::count;
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Kind, Listener};
use crate::mqtt::{QoS, TopicName, Version};

const LISTENER: &str = "PORT [ADDRESS]";

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "listener",
        LISTENER,
        Means("loopback, port 1883, only"),
        "Listens on a port, of one address or of all; may be given more than once.",
        "`listener 0 PATH` listens on a Unix socket; who may connect follows from the rights of its \
         folder and the umask. The listener directives below it are for this listener. Without \
         any `listener`, `port`, `bind_address` or `certfile` the broker listens on the loopback addresses only. \
         An address or a folder that is not there, a name that does not resolve and a port that \
         another program has are tried again until they can be had, at most 10 seconds apart, and \
         the rest is served meanwhile; if all ports are taken, the broker does not start.",
        |draft, v| {
            let listener = listener(v)?;
            draft.open_listener(listener);
            Ok(())
        },
    ),
    implemented(
        S,
        "port",
        "PORT",
        Means("1883 where bind_address is given"),
        "Starts the default listener on this port, beside every `listener`.",
        "",
        |draft, v| {
            draft.default_listener.port = v.number(1..=u16::MAX)?;
            draft.default_given = Some(draft.place.clone());
            Ok(())
        },
    ),
    implemented(
        S,
        "bind_address",
        "ADDRESS",
        Means("every address"),
        "The address or host name of the default listener.",
        "",
        |draft, v| {
            draft.default_listener.bind = Some(v.word("an address or a host name")?.to_owned());
            draft.default_given = Some(draft.place.clone());
            Ok(())
        },
    ),
    implemented(
        S,
        "max_connections",
        "COUNT",
        Is("-1"),
        "How many clients may be connected to the listener; -1 is no limit.",
        "One more is closed as soon as it is accepted.",
        set_listener!(max_connections, v => count(v)?),
    ),
    implemented(
        S,
        "accept_protocol_versions",
        "3|4|5[,...]",
        Means("all"),
        "The MQTT versions that the listener takes: 3 for 3.1, 4 for 3.1.1, 5 for 5.0.",
        "Several are given with commas between them. A client of another is told that its \
         version is not supported.",
        set_listener!(versions, v => versions(v)?),
    ),
    implemented(
        S,
        "listener_allow_anonymous",
        "true|false",
        Means("as allow_anonymous says"),
        "allow_anonymous for this listener alone.",
        "Read again on SIGHUP.",
        set_listener!(allow_anonymous, v => Some(v.flag()?)),
    ),
    implemented(
        S,
        "listener_auto_id_prefix",
        "TEXT",
        Means("as auto_id_prefix says"),
        "auto_id_prefix for this listener alone.",
        "Read again on SIGHUP.",
        set_listener!(auto_id_prefix, v => Some(id_prefix(v)?)),
    ),
    implemented(
        S,
        "max_qos",
        "0|1|2",
        Is("2"),
        "The highest QoS that clients of the listener may publish with.",
        "MQTT 5 clients are told. A client that publishes with a higher one is disconnected, and \
         one whose will has a higher one is refused. Subscriptions are granted no higher one \
         either.",
        set_listener!(max_qos, v => qos(v)?),
    ),
    implemented(
        S,
        "maximum_qos",
        "0|1|2",
        Is("2"),
        "The old name of max_qos.",
        "",
        set_listener!(max_qos, v => qos(v)?),
    ),
    implemented(
        S,
        "max_topic_alias",
        "COUNT",
        Is("10"),
        "How many topic aliases a client may use; 0 is none.",
        "MQTT 5 clients are told. Up to 65535; each alias in use takes the memory of its topic.",
        set_listener!(max_topic_alias, v => v.number(0..=u16::MAX)?),
    ),
    implemented(
        S,
        "max_topic_alias_broker",
        "COUNT",
        Is("10"),
        "How many topic aliases the broker uses towards a client at most; 0 is none.",
        "Never more than the client allows, nor more than 256.",
        set_listener!(max_topic_alias_broker, v => v.number(0..=u16::MAX)?),
    ),
    implemented(
        S,
        "mount_point",
        "PREFIX",
        Means("none"),
        "What is put before every topic of the listener's clients, and taken off again.",
        "Before the topics they publish to, wills included, and the filters they subscribe to, \
         behind the group of a shared subscription. They see nothing but what begins with it. It \
         is put before the topic as it is, so it should end with /. In acl_file and for other \
         listeners the topics have their prefix.",
        mount_point,
    ),
    implemented(
        S,
        "use_username_as_clientid",
        "true|false",
        Is("false"),
        "Whether a client's user name takes the place of its client id.",
        "A client without a user name is refused as not authorized. The bridge of another broker may \
         tell its state only below $SYS/broker/connection/ and that name.",
        set_listener!(use_username_as_clientid, v => v.flag()?),
    ),
    accepted(
        S,
        "websockets_headers_size",
        "BYTES",
        "the head of a request may have 8 KB",
    ),
    later(
        S,
        "enable_proxy_protocol",
        "1|2",
        &[],
        "Takes the PROXY protocol of a load balancer.",
        "remove it there and here",
    ),
    later(
        S,
        "proxy_protocol_v2_require_tls",
        "true|false",
        &["false"],
        "Takes only what came to the load balancer by TLS.",
        "remove it",
    ),
];

/// `listener PORT [ADDRESS]`.
fn listener(value: Value<'_>) -> Result<Listener, Kind> {
    let mut words = value.words();
    let port = words
        .next()
        .ok_or_else(|| Kind::NoValue(LISTENER.to_owned()))?;
    let bind = words.next();
    if let Some(extra) = words.next() {
        return Err(Kind::bad(extra, format!("only {LISTENER}")));
    }
    if let (Ok(0), Some(path)) = (port.parse::<u16>(), bind) {
        let mut listener = Listener::on(0);
        listener.net.path = Some(path.into());
        return Ok(listener);
    }
    Ok(Listener {
        bind: bind.map(str::to_owned),
        ..Listener::on(Value(port).number(1..=u16::MAX)?)
    })
}

/// `max_qos`.
fn qos(value: Value<'_>) -> Result<QoS, Kind> {
    match value.number(0..=2u8)? {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        _ => Ok(QoS::ExactlyOnce),
    }
}

/// `accept_protocol_versions`, in order.
fn versions(value: Value<'_>) -> Result<Vec<Version>, Kind> {
    let wants = "3, 4 and 5, with commas between them";
    let version = |word| match word {
        "3" => Ok(Version::V31),
        "4" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        other => Err(Kind::bad(other, wants)),
    };
    let numbers = value.words().flat_map(|word| word.split(','));
    let numbers = numbers.filter(|word| !word.is_empty());
    let versions: Vec<Version> = numbers.map(version).collect::<Result<_, _>>()?;
    if versions.is_empty() {
        Err(Kind::NoValue(wants.to_owned()))
    } else {
        Ok(versions)
    }
}

/// `mount_point`.
fn mount_point(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let prefix = value.text()?;
    if TopicName::new(prefix).is_err() {
        return Err(Kind::bad(
            prefix,
            "the beginning of a topic, without + and #",
        ));
    }
    if prefix.starts_with("$SYS") || prefix.starts_with("$share") {
        return Err(Kind::bad(
            prefix,
            "not a prefix that the broker keeps to itself",
        ));
    }
    if !prefix.ends_with('/') {
        draft.note(
            "mount_point",
            "does not end with /, so a client's `#` and `+` at the beginning find nothing",
        );
    }
    draft.listener().mount_point = prefix.to_owned();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Env;

    #[test]
    fn versions_come_with_commas() {
        use Version::{V5, V31, V311};
        for (text, wanted) in [
            ("5", &[V5][..]),
            ("3, 4", &[V31, V311]),
            ("3,4,5 # all", &[V31, V311, V5]),
        ] {
            assert_eq!(versions(Value(text)).as_deref(), Ok(wanted), "{text}");
        }
        for bad in ["", ",", "6", "3.1", "3;4"] {
            assert!(versions(Value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_mounted_where_only_the_broker_publishes() {
        let env = Env::default();
        let mut draft = Draft::new(&env);
        assert!(mount_point(&mut draft, Value("site/")).is_ok());
        for bad in ["$SYS/", "$share/g/", "a/#/", ""] {
            assert!(mount_point(&mut draft, Value(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn port_and_address() {
        assert_eq!(listener(Value("1883")), Ok(Listener::on(1883)));
        let bound = listener(Value("8883  ::1 # v6")).unwrap();
        assert_eq!((bound.port, bound.bind.as_deref()), (8883, Some("::1")));
        let unix = listener(Value("0 /run/mqtt.sock")).unwrap();
        assert_eq!(unix.net.path.as_deref(), Some(Path::new("/run/mqtt.sock")));
        for bad in ["", "0", "65536", "mqtt", "1883 a b"] {
            assert!(listener(Value(bad)).is_err(), "{bad}");
        }
    }
}
