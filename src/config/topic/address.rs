//! How `address` and `bridge_proxy` are written.

use core::net::Ipv6Addr;

use super::is_number;
use super::upstream::{HTTP_PORT, HTTPS_PORT, Proxy, UpstreamAddress, WebAddress};
use crate::config::Kind;
use crate::config::defaults::PORT;

const ADDRESS: &str = "HOST[:PORT], with an IPv6 address in brackets, or ws://HOST[:PORT][/PATH] or \
                       wss://HOST[:PORT][/PATH]";

impl UpstreamAddress {
    /// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`, Mosquitto's `IPV6:PORT`, or a URL.
    pub(in crate::config) fn parse(word: &str) -> Result<UpstreamAddress, Kind> {
        // Neither a login nor a token.
        let shown = word
            .split('?')
            .next()
            .and_then(|word| word.rsplit('@').next());
        let shown = shown.unwrap_or_default();
        let bad = || Kind::bad(shown, ADDRESS);
        let Some((scheme, rest)) = word.split_once("://") else {
            let (host, port) = host_and_port(word, PORT).map_err(|_| bad())?;
            has_interface(&host)?;
            return Ok((host, port).into());
        };
        let (tls, port) = match &*scheme.to_ascii_lowercase() {
            "ws" => (false, HTTP_PORT),
            "wss" => (true, HTTPS_PORT),
            "mqtt" | "tcp" => return Err(Kind::bad(shown, "HOST[:PORT] instead")),
            "mqtts" | "ssl" | "tls" => {
                let instead = "HOST[:PORT], and bridge_cafile or bridge_tls_use_os_certs for TLS";
                return Err(Kind::bad(shown, instead));
            }
            _ => return Err(bad()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or_else(bad)?;
        // Who logs in says so in CONNECT; a fragment is not for the server.
        let is_clean = path.bytes().all(|byte| byte.is_ascii_graphic());
        if authority.contains('@') || path.contains('#') || !is_clean {
            return Err(bad());
        }
        // RFC 6874: a % in a URL.
        let authority = authority.replacen("%25", "%", 1);
        let (host, port) = host_and_port(&authority, port).map_err(|_| bad())?;
        has_interface(&host)?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(UpstreamAddress {
            host,
            port,
            web: Some(WebAddress {
                tls,
                path: format!("{slash}{path}"),
            }),
        })
    }
}

impl Proxy {
    /// How it is written.
    pub(in crate::config) const FORM: &'static str = "http://[USER:PASSWORD@]HOST:PORT";

    /// `http://[USER:PASSWORD@]HOST:PORT`; user name and password may be percent-encoded. No error has the
    /// password.
    pub(in crate::config) fn parse(word: &str) -> Result<Proxy, Kind> {
        let (login, place) = match word.rsplit_once('@') {
            Some((before, place)) => (before.split_once("://").map(|(_, login)| login), place),
            None => (
                None,
                word.split_once("://").map_or(word, |(_, place)| place),
            ),
        };
        let bad = || Kind::bad(place, Proxy::FORM);
        let scheme = word.split_once("://").map(|(scheme, _)| scheme);
        if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) {
            return Err(bad());
        }
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = host_and_port(place, 0).map_err(|_| bad())?;
        let login = match login {
            Some(login) => {
                let (user, password) = login.split_once(':').ok_or_else(bad)?;
                let [user, password] = [user, password].map(percent_decoded);
                let (user, password) = user.zip(password).ok_or_else(bad)?;
                // RFC 7617 §2: the first colon ends the user name.
                if user.contains(':') {
                    return Err(bad());
                }
                Some(format!("{user}:{password}"))
            }
            None => None,
        };
        // A port has to be given: proxies have many.
        (port != 0)
            .then_some(Proxy { host, port, login })
            .ok_or_else(bad)
    }
}

/// An address that every link has takes the interface to its own.
fn has_interface(host: &str) -> Result<(), Kind> {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) if ip.is_unicast_link_local() => {
            let wants = "an address of a link with its interface, as in [fe80::1%eth0]";
            Err(Kind::bad(host, wants))
        }
        _ => Ok(()),
    }
}

/// Whether `host` may be one: what has a colon or an interface is an IPv6 address.
fn is_host(host: &str) -> bool {
    let (ip, zone) = host
        .split_once('%')
        .map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let is_zone = |zone: &str| {
        let mut bytes = zone.bytes();
        !zone.is_empty() && bytes.all(|byte| byte.is_ascii_graphic() && !b"/%[]:".contains(&byte))
    };
    let is_v6 = ip.parse::<Ipv6Addr>().is_ok();
    zone.is_none_or(|zone| is_v6 && is_zone(zone)) && (is_v6 || !ip.contains(':'))
}

/// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`, or Mosquitto's `IPV6:PORT`; without a port it is `default`.
fn host_and_port(word: &str, default: u16) -> Result<(String, u16), Kind> {
    let bad = || Kind::bad(word, "HOST[:PORT], with an IPv6 address in brackets");
    let (host, port) = match word.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(bad()),
            }
        }
        None => match word.rsplit_once(':') {
            // `::1` is an address without a port, not port 1 of the host `:`.
            Some((host, _)) if host.contains(':') && host.parse::<Ipv6Addr>().is_err() => {
                return Err(bad());
            }
            Some((host, port)) => (host, Some(port)),
            None => (word, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&p| p != 0).ok_or_else(bad)?,
        None => default,
    };
    match host {
        "" => Err(bad()),
        number if is_number(number) => Err(bad()),
        host if !is_host(host) => Err(bad()),
        host => Ok((host.to_owned(), port)),
    }
}

/// What `text` stands for (RFC 3986 §2.1), if it is UTF-8 without control characters.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                is_hex.then(|| u8::from_str_radix(digits, 16).ok())??
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(out).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (word, host, port) in [
            ("broker.example", "broker.example", 1883),
            ("10.0.0.1:1884", "10.0.0.1", 1884),
            ("[2001:db8::1]", "2001:db8::1", 1883),
            ("[2001:db8::1]:8883", "2001:db8::1", 8883),
            ("2001:db8::1:8883", "2001:db8::1", 8883),
            ("[fe80::1%eth0]:8883", "fe80::1%eth0", 8883),
            ("[fe80::1%2]", "fe80::1%2", 1883),
        ] {
            let found = host_and_port(word, 1883);
            assert_eq!(found, Ok((host.to_owned(), port)), "{word}");
        }
        for bad in [
            "",
            ":1883",
            "a:0",
            "a:99999",
            "a:",
            "[::1",
            "[::1]x",
            "[]:1",
            "::1",
            "a:1:2",
            "1883",
            "1883:1",
            "[a:b]",
            "[fe80::1%]",
            "[fe80::1%a/b]",
            "a%eth0",
            "10.0.0.1%eth0",
        ] {
            assert!(host_and_port(bad, 1883).is_err(), "{bad}");
        }
    }

    /// `fe80::1` alone is an address of every link. The interface is no part of the name that HTTP and TLS
    /// have.
    #[test]
    fn addresses_of_a_link() {
        for bad in [
            "[fe80::1]",
            "[fe80::1]:1883",
            "fe80::1:1883",
            "ws://[fe80::1]/",
        ] {
            let said = UpstreamAddress::parse(bad).unwrap_err().to_string();
            assert!(said.contains("[fe80::1%eth0]"), "{bad}: {said}");
        }
        for word in ["ws://[fe80::1%25eth0]/", "ws://[fe80::1%eth0]/"] {
            let found = UpstreamAddress::parse(word).unwrap();
            assert_eq!((&*found.host, found.name()), ("fe80::1%eth0", "fe80::1"));
            assert_eq!(found.http_host(), "[fe80::1]");
        }
    }

    #[test]
    fn urls_of_websocket() {
        for (word, host, port, tls, path, shown, http_host) in [
            ("ws://a", "a", 80, false, "/", "ws://a:80/", "a"),
            (
                "wss://a/mqtt",
                "a",
                443,
                true,
                "/mqtt",
                "wss://a:443/mqtt",
                "a",
            ),
            (
                "WSS://a:8443",
                "a",
                8443,
                true,
                "/",
                "wss://a:8443/",
                "a:8443",
            ),
            ("wss://a:80/x", "a", 80, true, "/x", "wss://a:80/x", "a:80"),
            (
                "ws://[fe::1]:80/",
                "fe::1",
                80,
                false,
                "/",
                "ws://[fe::1]:80/",
                "[fe::1]",
            ),
            (
                "wss://h.example/$iothub/websocket?sig=secret",
                "h.example",
                443,
                true,
                "/$iothub/websocket?sig=secret",
                "wss://h.example:443/$iothub/websocket",
                "h.example",
            ),
            ("wss://a?x=y", "a", 443, true, "/?x=y", "wss://a:443/", "a"),
        ] {
            let found = UpstreamAddress::parse(word).unwrap();
            assert_eq!((&*found.host, found.port), (host, port), "{word}");
            let web = found.web.as_ref().unwrap();
            assert_eq!((web.tls, &*web.path), (tls, path), "{word}");
            assert_eq!(
                (found.to_string(), found.http_host()),
                (shown.into(), http_host.into())
            );
        }
        let plain = UpstreamAddress::parse("a:1").unwrap();
        assert_eq!((plain.to_string(), plain.web), ("a:1".into(), None));
        for bad in [
            "wss://",
            "wss:///x",
            "wss://a:0",
            "wss://a:x",
            "wss://u:p@a",
            "wss://a/#x",
            "wss://a/\u{e9}",
            "http://a",
            "mqtt://a",
            "mqtts://a",
            "://a",
        ] {
            assert!(UpstreamAddress::parse(bad).is_err(), "{bad}");
        }
        let said = UpstreamAddress::parse("wss://a:0/x?token=secret").unwrap_err();
        assert!(!said.to_string().contains("secret"), "{said}");
        let said = UpstreamAddress::parse("mqtts://u:secret@a").unwrap_err();
        assert!(!said.to_string().contains("secret"), "{said}");
    }

    #[test]
    fn proxies() {
        for (word, host, port, login) in [
            ("http://p.example:3128", "p.example", 3128, None),
            ("HTTP://10.0.0.1:8080/", "10.0.0.1", 8080, None),
            ("http://[fe::1]:1", "fe::1", 1, None),
            ("http://u:p@p:1", "p", 1, Some("u:p")),
            ("http://u:@p:1", "p", 1, Some("u:")),
            ("http://a%40b:p%3A%25@p:1", "p", 1, Some("a@b:p:%")),
            ("http://u:p@q@p:1", "p", 1, Some("u:p@q")),
        ] {
            let found = Proxy::parse(word).unwrap();
            assert_eq!((&*found.host, found.port), (host, port), "{word}");
            assert_eq!(found.login.as_deref(), login, "{word}");
            assert!(!format!("{found} {found:?}").contains('@'));
        }
        for bad in [
            "p:1",
            "https://p:1",
            "socks5://p:1",
            "http://p",
            "http://:1",
            "http://p:1/x",
            "http://secret@p:1",
            "http://u:secret%zz@p:1",
            "http://u:secret%0a@p:1",
            "http://u%3a:secret@p:1",
            "https://u:secret@p:1",
            "secret:secret@p",
        ] {
            let said = Proxy::parse(bad).unwrap_err().to_string();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
