//! Listeners.

use super::Section::Listener as S;
use super::Unset::{Is, Means};
use super::{Key, accepted, implemented, later};
use crate::config::value::Value;
use crate::config::{Kind, Listener};

const LISTENER: &str = "PORT [ADDRESS]";

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "listener",
        LISTENER,
        Means("loopback, port 1883, only"),
        "Listens on a port, of one address or of all; may be given more than once.",
        "`listener 0 PATH` listens on a Unix socket; who may connect follows from the rights of its \
         folder and the umask. \
         The listener directives below it are for this listener. Without any `listener`, `port` \
         or `bind_address` the broker listens on the loopback addresses only.",
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
            draft.default_listener.port = Some(v.number(1..=u16::MAX)?);
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
            Ok(())
        },
    ),
    implemented(
        S,
        "max_connections",
        "COUNT",
        Is("-1"),
        "How many clients may be connected to the listener; -1 is no limit.",
        "",
        |draft, v| {
            let count = u32::try_from(v.number(-1..=i64::from(u32::MAX))?).ok();
            match draft.listener() {
                Some(listener) => listener.max_connections = count,
                None => draft.default_listener.max_connections = count,
            }
            Ok(())
        },
    ),
    accepted(
        S,
        "websockets_headers_size",
        "BYTES",
        "the head of a request may have 8 KB",
    ),
    later(
        S,
        "accept_protocol_versions",
        "VERSIONS",
        &["3,4,5", "3, 4, 5"],
        "The MQTT versions that the listener takes.",
        "remove it: 3.1, 3.1.1 and 5.0 are taken",
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
    later(
        S,
        "listener_allow_anonymous",
        "true|false",
        &[],
        "allow_anonymous for one listener.",
        "give allow_anonymous once, for all",
    ),
    later(
        S,
        "listener_auto_id_prefix",
        "TEXT",
        &[],
        "auto_id_prefix for one listener.",
        "give auto_id_prefix once, for all",
    ),
    later(
        S,
        "max_qos",
        "0|1|2",
        &["2"],
        "The highest QoS of the listener.",
        "remove it: every QoS is served",
    ),
    later(
        S,
        "max_topic_alias",
        "COUNT",
        &["10"],
        "How many topic aliases a client may use.",
        "remove it: it is 10",
    ),
    later(
        S,
        "max_topic_alias_broker",
        "COUNT",
        &["10"],
        "How many topic aliases the broker may use.",
        "remove it",
    ),
    later(
        S,
        "mount_point",
        "PREFIX",
        &[],
        "Puts a prefix before every topic of the listener's clients.",
        "remove it, and keep clients apart with acl_file patterns",
    ),
    later(
        S,
        "use_username_as_clientid",
        "true|false",
        &["false"],
        "Takes the user name for the client id.",
        "remove it, and use %u in acl_file patterns",
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
