//! What listeners speak, and where in the network they listen.

use super::Section::Listener as S;
use super::Unset::{Is, Means};
use super::{Key, implemented};
use crate::config::{Family, Kind, Protocol};

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "protocol",
        "mqtt|websockets|http",
        Is("mqtt"),
        "What the listener speaks: MQTT, MQTT over WebSocket, or HTTP for files only.",
        "With `websockets`, the subprotocols are mqtt and mqttv3.1, and the path of the request is \
         any. With http_dir it serves files, too. `http` serves files and nothing else.",
        |draft, v| {
            let wants = "mqtt, websockets or http";
            draft.web().protocol = match v.word(wants)? {
                "mqtt" => Protocol::Mqtt,
                "websockets" => Protocol::WebSockets,
                "http" => Protocol::Http,
                "http_api" => {
                    return Err(Kind::Refused(
                        "footbridge has no API over HTTP",
                        "`protocol http` serves the files of http_dir, $SYS has the figures",
                    ));
                }
                other => return Err(Kind::bad(other, wants)),
            };
            Ok(())
        },
    ),
    implemented(
        S,
        "http_dir",
        "DIRECTORY",
        Means("no files"),
        "The folder whose files a listener with `protocol websockets` or `http` serves.",
        "For a web page and its scripts: GET and HEAD of what lies below it, index.html where the \
         path ends in a slash. Links that lead out of it are not followed.",
        |draft, v| {
            draft.web().http_dir = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        S,
        "websockets_origin",
        "ORIGIN",
        Means("any"),
        "The web pages that may connect; may be given more than once.",
        "As the browser sends it in Origin, such as http://example.com:8080. Only browsers keep to \
         it: it is no protection from other programs.",
        |draft, v| {
            let origin = v.word("an origin such as http://example.com:8080")?;
            draft.web().origins.push(origin.to_owned());
            Ok(())
        },
    ),
    implemented(
        S,
        "socket_domain",
        "ipv4|ipv6",
        Means("both"),
        "Listens by IPv4 or by IPv6 only.",
        "Also of the addresses that a host name has.",
        |draft, v| {
            let wants = "ipv4 or ipv6; for a Unix socket, `listener 0 PATH`";
            draft.net().family = Some(match v.word(wants)? {
                "ipv4" => Family::V4,
                "ipv6" => Family::V6,
                other => return Err(Kind::bad(other, wants)),
            });
            Ok(())
        },
    ),
    implemented(
        S,
        "ipv6",
        "true|false",
        Is("true"),
        "RSMB's word for socket_domain: false listens by IPv4 only.",
        "",
        |draft, v| {
            draft.net().family = match v.flag()? {
                true => None,
                false => Some(Family::V4),
            };
            Ok(())
        },
    ),
    implemented(
        S,
        "bind_interface",
        "DEVICE",
        Means("every interface"),
        "Takes only connections that come in by this network interface, such as br-lan.",
        "Whatever its addresses are or become. Programs on the same machine come in by lo. Needs \
         Linux 5.7, or CAP_NET_RAW.",
        |draft, v| {
            draft.net().interface = Some(v.word("the name of an interface")?.to_owned());
            Ok(())
        },
    ),
];
