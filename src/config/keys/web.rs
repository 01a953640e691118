//! What listeners speak, and where in the network they listen.

use super::key::Section::Listener as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, implemented};
use crate::config::{Family, Kind, Protocol};

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "protocol",
        "mqtt|websockets|http",
        Is("mqtt"),
        "What the listener speaks: MQTT, MQTT over WebSocket, or HTTP for the status page or files.",
        "With `websockets`, the subprotocols are mqtt and mqttv3.1, and the path of the request is \
         any. With http_dir it serves files, too, and with status_page the page. `http` serves the status \
         page, for which it takes MQTT over WebSocket as well; with http_dir it serves files and nothing \
         else, unless status_page says so.",
        |draft, v| {
            let wants = "mqtt, websockets or http";
            draft.listener().web.protocol = match v.word(wants)? {
                "mqtt" => Protocol::Mqtt,
                "websockets" => Protocol::WebSockets,
                "http" => Protocol::Http,
                "http_api" => {
                    return Err(Kind::Refused(
                        "footbridge has no API over HTTP",
                        "`protocol http` serves the status page and /metrics, $SYS has the figures",
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
            draft.listener().web.http_dir = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        S,
        "status_page",
        "true|false",
        Means("true with `protocol http` and no http_dir"),
        "Whether a listener with `protocol websockets` or `http` serves the status page.",
        "At / is the page, which shows $SYS by MQTT over WebSocket on this listener, with the rights of who \
         logs in: of nobody, where anonymous clients may connect. At /metrics are figures for \
         Prometheus, at /health whether the store and all listeners work (status 200, else 503) and the \
         state of each bridge: both are open to whoever reaches the listener, and name bridges, but no \
         client and no topic. certfile makes it https. footbridge's own.",
        |draft, v| {
            draft.listener().web.status_page_said = Some(v.flag()?);
            Ok(())
        },
    ),
    implemented(
        S,
        "websockets_origin",
        "ORIGIN",
        Means("any; with `protocol http`, the listener's own page"),
        "The web pages that may connect; may be given more than once.",
        "As the browser sends it in Origin, such as http://example.com:8080. The listener's own status page \
         always may. Only browsers keep to it: it is no protection from other programs.",
        |draft, v| {
            let origin = v.word("an origin such as http://example.com:8080")?;
            draft.listener().web.origins.push(origin.to_owned());
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
            draft.listener().net.family = Some(match v.word(wants)? {
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
            draft.listener().net.family = if v.flag()? { None } else { Some(Family::V4) };
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
            draft.listener().net.interface = Some(v.word("the name of an interface")?.to_owned());
            Ok(())
        },
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Env, Errors, Family, LoadedConfig, Protocol};

    fn parse(text: &str) -> Result<LoadedConfig, Errors> {
        let env = Env {
            hostname: "gw".to_owned(),
            mac: None,
            vars: Default::default(),
        };
        Config::parse(text, "x", &env)
    }

    #[test]
    fn each_listener_speaks_what_its_lines_say() {
        let text = "port 1883\nsocket_domain ipv4\nbind_interface br-lan\n\
                    listener 8080\nprotocol websockets\nhttp_dir /www\n\
                    websockets_origin http://a.example\nwebsockets_origin http://b.example\n\
                    listener 80\nprotocol http\nhttp_dir /srv/my pages\nipv6 false\n\
                    listener 0 /run/mqtt.sock\nprotocol mqtt";
        let loaded = parse(text).unwrap();
        assert!(loaded.notes.is_empty(), "{:?}", loaded.notes);
        let [plain, web, pages, unix] = &loaded.config.listeners[..] else {
            panic!("{:?}", loaded.config.listeners);
        };
        assert_eq!(plain.web.protocol, Protocol::Mqtt);
        assert_eq!(plain.net.family, Some(Family::V4));
        assert_eq!(plain.net.interface.as_deref(), Some("br-lan"));
        assert_eq!(web.web.protocol, Protocol::WebSockets);
        assert_eq!(web.web.http_dir.as_deref(), Some(Path::new("/www")));
        assert_eq!(web.web.origins, ["http://a.example", "http://b.example"]);
        assert_eq!(web.net.family, None);
        assert_eq!(pages.web.protocol, Protocol::Http);
        assert_eq!(
            pages.web.http_dir.as_deref(),
            Some(Path::new("/srv/my pages"))
        );
        assert_eq!(pages.net.family, Some(Family::V4));
        assert_eq!(unix.net.path.as_deref(), Some(Path::new("/run/mqtt.sock")));
    }

    #[test]
    fn what_is_not_spoken_is_refused_with_the_reason() {
        for (line, told) in [
            ("protocol http_api", "footbridge has no API over HTTP"),
            ("protocol quic", "give mqtt, websockets or http"),
            ("socket_domain unix", "listener 0 PATH"),
            ("websockets_origin", "no value"),
        ] {
            let errors = parse(&format!("listener 1\n{line}")).unwrap_err();
            assert!(errors.to_string().contains(told), "{errors}");
        }
    }

    #[test]
    fn the_status_page_is_what_http_is_for_unless_files_are() {
        for (lines, wanted) in [
            ("protocol http", true),
            ("protocol http\nhttp_dir /www", false),
            ("protocol http\nhttp_dir /www\nstatus_page true", true),
            ("protocol http\nhttp_dir /www\nstatus_page false", false),
            ("protocol websockets", false),
            ("protocol websockets\nstatus_page true", true),
            ("protocol mqtt", false),
        ] {
            let loaded = parse(&format!("listener 1\n{lines}")).unwrap();
            let web = &loaded.config.listeners[0].web;
            assert_eq!(web.status_page(), wanted, "{lines}");
            assert_eq!(loaded.notes, [""; 0], "{lines}");
        }
    }

    #[test]
    fn what_is_not_served_and_servers_of_nothing_are_noted() {
        for text in [
            "listener 1\nhttp_dir /www",
            "listener 1\nstatus_page true",
            "listener 1\nprotocol http\nstatus_page false",
            "listener 1\nprotocol http\nmount_point a/",
        ] {
            let notes = parse(text).unwrap().notes;
            assert!(
                matches!(&notes[..], [note] if note.starts_with("listener 1: ")),
                "{notes:?}"
            );
        }
    }
}
