//! What each address may take, and each client before it is let in.

use std::time::Duration;

use super::super::key::Section::General as S;
use super::super::key::Unset::{Is, Means};
use super::super::key::{Key, implemented};
use super::count;
use crate::config::value::Value;
use crate::config::{Kind, LoginFailures, TcpKeepalive};

/// The most shared subscriptions of a client: the numbers of their lanes.
const MOST_SHARES: u16 = 1_000;

/// Every server takes client ids of so many bytes [MQTT-3.1.3-5].
const SHORTEST_ID: u16 = 23;

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        S,
        "login_failures",
        "COUNT SECONDS",
        Is("10 60"),
        "How many logins may fail before more are refused for a while; 0 is no limit.",
        "Counted are those with a wrong password or an unknown user name that come from one address \
         under one user name, each within SECONDS of the last. One more is refused without a look \
         at its password, and told the same, until SECONDS have passed; then they \
         are counted anew. Each time that too many fail again the refusal lasts twice as long, up to 16 \
         times SECONDS; after an hour without one it begins as before. A login that succeeds clears \
         them, and who has logged in from there under that name within the hour, or is connected, is never refused. Of an \
         address from which nobody has, ten times as many count under any names. SIGHUP clears all. The \
         log says who is refused. What counts as one address: see max_connections_per_address. footbridge's own.",
        |draft, v| {
            draft.general.doors.login_failures = failures(v)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "max_clientid_length",
        "BYTES",
        Is("1024"),
        "The longest client id, from 23 to 65535 bytes.",
        "A client with a longer one is refused: identifier rejected, 0x85 in MQTT 5; \
         one that has a session already gets in. footbridge's own; Mosquitto takes what the protocol allows, 65535.",
        |draft, v| {
            draft.general.doors.max_clientid_length = v.number(SHORTEST_ID..=u16::MAX)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "max_connecting",
        "COUNT",
        Means("256, or a quarter of what descriptors allow if that is less"),
        "How many connections may be open without having sent a CONNECT; -1 is no limit.",
        "With one more, one of them is closed: the oldest of the address that has most, so that a flood \
         takes its own places. The log says so. Each has 10 seconds. What counts as one address: see \
         max_connections_per_address; all Unix sockets are one. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_connecting = Some(count(v)?.unwrap_or(0));
            Ok(())
        },
    ),
    implemented(
        S,
        "max_connecting_per_address",
        "COUNT",
        Means("128, or an eighth of what descriptors allow if that is less"),
        "The same for one address: its own oldest goes.",
        "What counts as one address: see max_connections_per_address. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_connecting_per_address = Some(count(v)?.unwrap_or(0));
            Ok(())
        },
    ),
    implemented(
        S,
        "max_connections_per_address",
        "COUNT",
        Means("three quarters of what descriptors allow"),
        "How many connections one address may have, with and without a CONNECT; -1 is no limit.",
        "One more is closed as soon as it is accepted, and the log says so. One address is one of IPv4, \
         or a /64 of IPv6; of a site's own network (unique local addresses, fc00::/7, and link-local ones) \
         each counts. All clients behind a NAT or a proxy \
         have one. Unix sockets have none. What descriptors allow is the hard limit of open files \
         (ulimit -Hn), less those that are kept back for bridges, the store and the log: 16 and \
         4 a bridge, but a quarter of all at most. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_connections_per_address = Some(count(v)?.unwrap_or(0));
            Ok(())
        },
    ),
    implemented(
        S,
        "max_filters_per_packet",
        "COUNT",
        Is("0"),
        "How many filters of one SUBSCRIBE are granted; 0 is no limit.",
        "The others are refused in the SUBACK: 0x97, quota exceeded, in MQTT 5, 0x80 before, which \
         many client libraries do not look at. max_subscriptions holds in any case. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_filters_per_packet = v.number(0..=u16::MAX)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "max_shared_subscriptions",
        "COUNT",
        Is("100"),
        "How many shared subscriptions a client may have, at most 1000.",
        "One more is refused as above. Those that a session has stay. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_shared_subscriptions = v.number(0..=MOST_SHARES)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "tcp_keepalive",
        "SECONDS SECONDS COUNT",
        Is("300 60 5"),
        "When the system asks whether a client that is silent is still there; 0 is never.",
        "The first time after so many seconds, or the client's MQTT keep-alive if that is longer, then again after so many, and after so many questions \
         without an answer the connection is closed. What was sent and is not acknowledged by the \
         client's system has as long (TCP_USER_TIMEOUT). So a client without a keep-alive whose power \
         is cut does not hold a descriptor for ever. Connections that are open at SIGHUP stay \
         as they are. footbridge's own; for bridges Mosquitto has bridge_tcp_keepalive.",
        |draft, v| {
            draft.general.tcp_keepalive = keepalive(v)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "max_waiting_logins",
        "COUNT",
        Is("1000"),
        "How many logins may wait until they are looked at; -1 is no limit.",
        "Passwords are checked beside the broker's other work, one after the other: what makes a hash \
         slow delays logins and nothing else. So is auth_socket asked, about 64 at a time. Addresses take turns, and of four logins three are of \
         addresses from which somebody has logged in within the hour, if there are such. One that \
         is too many is refused: server unavailable, 0x89 (server busy) in MQTT 5; one of such an \
         address takes the place of another that is not. Together they take 4 MB at most. A login \
         that is not looked at within a minute is refused. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_waiting_logins = count(v)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "max_waiting_logins_per_address",
        "COUNT",
        Is("500"),
        "The same for one address.",
        "What counts as one address: see max_connections_per_address. footbridge's own.",
        |draft, v| {
            draft.general.doors.max_waiting_logins_per_address = count(v)?;
            Ok(())
        },
    ),
];

/// The numbers of a value; `wants` of them, or only a 0.
fn numbers<const N: usize>(value: Value<'_>, wants: &str) -> Result<Option<[u32; N]>, Kind> {
    let words = value.words().map(|word| Value(word).number(0..=86_400u32));
    let numbers = words.collect::<Result<Vec<u32>, Kind>>()?;
    match <[u32; N]>::try_from(numbers.as_slice()) {
        Ok(numbers) if numbers.iter().all(|n| *n > 0) => Ok(Some(numbers)),
        _ if numbers == [0] => Ok(None),
        _ if numbers.is_empty() => Err(Kind::NoValue(wants.to_owned())),
        _ => Err(Kind::bad(value.0, wants)),
    }
}

/// `login_failures`.
fn failures(value: Value<'_>) -> Result<Option<LoginFailures>, Kind> {
    let numbers = numbers(value, "COUNT SECONDS, each at least 1, or 0")?;
    Ok(numbers.map(|[most, within]| LoginFailures {
        most,
        within: Duration::from_secs(within.into()),
    }))
}

/// `tcp_keepalive` and `bridge_tcp_keepalive`. The system takes no more than 32767 seconds, and 127 questions.
pub(in crate::config::keys) fn keepalive(value: Value<'_>) -> Result<Option<TcpKeepalive>, Kind> {
    const LONGEST: u32 = TcpKeepalive::LONGEST;
    let wants = "SECONDS SECONDS COUNT, from 1 to 32767, 32767 and 127, or 0";
    match numbers(value, wants)? {
        Some([idle, interval, probes]) => {
            if idle.max(interval) > LONGEST || probes > 127 {
                return Err(Kind::bad(value.0, wants));
            }
            Ok(Some(TcpKeepalive {
                idle: Duration::from_secs(idle.into()),
                interval: Duration::from_secs(interval.into()),
                probes,
            }))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_or_none() {
        let secs = Duration::from_secs;
        let failures_of = |text| failures(Value(text));
        let wanted = LoginFailures {
            most: 3,
            within: secs(30),
        };
        assert_eq!(failures_of("3 30"), Ok(Some(wanted)));
        assert_eq!(failures_of("0"), Ok(None));
        let wanted = TcpKeepalive {
            idle: secs(60),
            interval: secs(7),
            probes: 3,
        };
        assert_eq!(keepalive(Value("60 7 3")), Ok(Some(wanted)));
        assert_eq!(keepalive(Value("0")), Ok(None));
        for bad in ["", "3", "3 0", "0 3", "3 x", "1 2 3", "-1"] {
            assert!(failures_of(bad).is_err(), "{bad}");
        }
        for bad in ["60", "60 7", "60 7 0", "32768 1 1", "1 1 128", "0 0 0"] {
            assert!(keepalive(Value(bad)).is_err(), "{bad}");
        }
    }
}
