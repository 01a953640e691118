//! The TCP connection of a bridge.

use core::net::IpAddr;
use std::time::Duration;

use crate::config::Kind;
use crate::config::keys::key::Section::Bridge;
use crate::config::keys::key::Unset::Means;
use crate::config::keys::key::{Key, implemented};
use crate::config::keys::limits::doors::keepalive;
use crate::config::value::Value;

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        Bridge,
        "bridge_bind_address",
        "ADDRESS",
        Means("the routing table chooses"),
        "The local address that connections to the upstream come from: an IP address or a host name.",
        "It has to be an address of this machine; until it is one, as before DHCP, the bridge tries again. \
         Addresses of the upstream that are of the other family are passed over, and the log says so if \
         there are no others. With bridge_proxy it is for the connection to the proxy. It does not choose \
         the interface by itself: that takes a rule for the source address (ip rule).",
        |draft, v| {
            let host = local(v)?;
            draft.bridge()?.bridge.tcp.bind_address = Some(host);
            Ok(())
        },
    ),
    implemented(
        Bridge,
        "bridge_tcp_keepalive",
        "IDLE INTERVAL COUNTER",
        Means("by keepalive_interval"),
        "When the system asks whether an upstream that is silent is still there; 0 is never.",
        "The first time after IDLE seconds, then every INTERVAL seconds; after COUNTER questions without an \
         answer the connection has ended. Not set, the first question comes after about half of keepalive_interval \
         and the connection has ended shortly before it is over: so a firewall or a router for mobile links \
         that has forgotten the connection is noticed within one keepalive_interval, with nothing to \
         send. A question and its answer are about 100 bytes; with a long keepalive_interval and this, the \
         connection is watched over without the PINGREQs that some services bill. Mosquitto asks nothing \
         unless this is set.",
        |draft, v| {
            draft.bridge()?.bridge.tcp.keepalive = Some(keepalive(v)?);
            Ok(())
        },
    ),
    implemented(
        Bridge,
        "bridge_tcp_user_timeout",
        "MILLISECONDS",
        Means("left to the bridge"),
        "How long what was sent may stay without TCP's acknowledgement until the system ends the connection.",
        "Not set, the bridge itself ends a connection whose upstream takes nothing for keepalive_interval, and \
         the system waits for a quarter of an hour or longer; 0 is the same. The system's own count also ends \
         connections whose upstream takes all the time, but never has room for a whole segment. If it is set, \
         bridge_tcp_keepalive gives up after this time as well, whatever its COUNTER says: Linux has it so.",
        |draft, v| {
            draft.bridge()?.bridge.tcp.user_timeout = Some(millis(v)?);
            Ok(())
        },
    ),
];

/// A host name or an IP address, with or without brackets.
fn local(value: Value<'_>) -> Result<String, Kind> {
    let wants = "an IP address or a host name, without a port";
    let word = value.word(wants)?;
    let bare = word
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = bare.unwrap_or(word);
    let ip = host.split('%').next().unwrap_or_default();
    let is_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if ip.parse::<IpAddr>().is_ok() || bare.is_none() && host.chars().all(is_name) {
        return Ok(host.to_owned());
    }
    Err(Kind::bad(word, wants))
}

/// A number of milliseconds; the system takes what fits in `int`.
fn millis(value: Value<'_>) -> Result<Duration, Kind> {
    let millis = value.number(0..=u64::from(i32::MAX.unsigned_abs()))?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses() {
        for (word, host) in [
            ("192.0.2.1", "192.0.2.1"),
            ("[fd00::1]", "fd00::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("wan.box", "wan.box"),
        ] {
            assert_eq!(local(Value(word)), Ok(host.to_owned()));
        }
        for bad in ["", "192.0.2.1:80", "[fd00::1]:80", "[wan]", "a b", "a/b"] {
            assert!(local(Value(bad)).is_err(), "{bad}");
        }
    }
}
