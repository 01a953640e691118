//! HTTP heads: the upgrade to WebSocket (RFC 6455 §4.2), requests for files, and the answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{Header, Request, Status};
use sha1::{Digest, Sha1};

use crate::mqtt::foreign;

/// The longest head, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;

/// The most header fields.
pub(super) const FIELDS: usize = 64;

/// What a Sec-WebSocket-Key is hashed with (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The subprotocol of MQTT [MQTT-6.0.0-3], [MQTT-6.0.0-4], and what 3.1's clients say that know no
/// other; the first that is offered is chosen.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// What a listener answers requests by.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// `protocol websockets`: it upgrades.
    pub upgrades: bool,
    /// `http_dir`: it serves files.
    pub files: bool,
    /// `websockets_origin`; empty for any.
    pub origins: Vec<String>,
}

/// What becomes of a request.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It becomes a WebSocket once this head is written.
    Upgrade(String),
    /// It wants the file of this path.
    File {
        /// The path, as it was asked for: percent-encoded, without the query.
        path: String,
        /// GET, not HEAD.
        body: bool,
    },
    /// It gets nothing but this.
    Refusal(Refusal),
}

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// Code and phrase.
    pub status: &'static str,
    /// Header fields that go with it, each with its line end.
    pub fields: &'static str,
    /// For the one who wonders.
    pub why: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: &'static str, why: &'static str) -> Refusal {
        Refusal {
            status,
            fields: "",
            why,
        }
    }

    /// The whole response.
    pub(super) fn response(&self, body: bool) -> String {
        let Refusal {
            status,
            fields,
            why,
        } = self;
        let length = why.len() + 1;
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Type: text/plain\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        if body { format!("{head}{why}\n") } else { head }
    }
}

const fn bad(why: &'static str) -> Refusal {
    Refusal::new("400 Bad Request", why)
}

pub(super) const TOO_LONG: Refusal = Refusal::new(
    "431 Request Header Fields Too Large",
    "the head of a request has at most 8 KB and 64 fields",
);

/// No client of HTTP begins with these bytes.
pub(super) fn no_http(bytes: &[u8]) -> Refusal {
    bad(match (bytes, foreign(bytes)) {
        ([0x16, 3, ..], _) => "a TLS ClientHello, where HTTP and WebSocket are spoken without TLS",
        ([0x10, ..], _) => "a plain CONNECT, where HTTP and WebSocket are spoken",
        (_, Some(_)) => {
            "the PROXY protocol of a load balancer, where HTTP and WebSocket are spoken"
        }
        _ => "this port speaks HTTP and WebSocket",
    })
}

const WRONG_VERSION: Refusal = Refusal {
    status: "426 Upgrade Required",
    fields: "Sec-WebSocket-Version: 13\r\n",
    why: "only version 13 of WebSocket is spoken here",
};

const WRONG_METHOD: Refusal = Refusal {
    status: "405 Method Not Allowed",
    fields: "Allow: GET, HEAD\r\n",
    why: "files can only be read",
};

/// The length of the head that `bytes` begin with, once it is whole; all before `from` was looked
/// at before.
pub(super) fn head_len(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    let mut line_ends = (from..bytes.len()).filter(|&at| bytes.get(at) == Some(&b'\n'));
    line_ends.find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Answers the request with this whole head.
pub(super) fn answer(head: &[u8], rules: &Rules) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Answer::Refusal(TOO_LONG),
        _ => return Answer::Refusal(bad("not a request of HTTP/1.1")),
    }
    let fields = Fields(request.headers);
    let method = request.method.unwrap_or_default();
    let path = request.path.unwrap_or_default();
    if rules.upgrades && fields.list("Upgrade").next().is_some() {
        let is_new_get = method == "GET" && request.version == Some(1);
        return match upgrade(&fields, is_new_get, &rules.origins) {
            Ok(response) => Answer::Upgrade(response),
            Err(refusal) => Answer::Refusal(refusal),
        };
    }
    match method {
        _ if !rules.files => Answer::Refusal(bad("MQTT over WebSocket only: no Upgrade was asked")),
        "GET" | "HEAD" => Answer::File {
            path: path.split(['?', '#']).next().unwrap_or_default().to_owned(),
            body: method == "GET",
        },
        _ => Answer::Refusal(WRONG_METHOD),
    }
}

/// Checks a client's opening handshake (RFC 6455 §4.2.1) and answers it.
fn upgrade(fields: &Fields<'_>, is_new_get: bool, origins: &[String]) -> Result<String, Refusal> {
    let has = |name, token: &str| fields.list(name).any(|t| t.eq_ignore_ascii_case(token));
    if !is_new_get {
        return Err(bad("an upgrade needs GET and HTTP/1.1"));
    }
    if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
        return Err(bad(
            "an upgrade needs Upgrade: websocket and Connection: Upgrade",
        ));
    }
    if fields.only("Host").is_none() {
        return Err(bad("an upgrade needs one Host"));
    }
    match fields.only("Sec-WebSocket-Version") {
        Some("13") => {}
        Some(_) => return Err(WRONG_VERSION),
        None => return Err(bad("an upgrade needs one Sec-WebSocket-Version")),
    }
    let key = fields.only("Sec-WebSocket-Key").unwrap_or_default();
    if !is_nonce(key) {
        return Err(bad(
            "an upgrade needs one Sec-WebSocket-Key of 16 bytes in base64",
        ));
    }
    if let (Some(origin), false) = (fields.all("Origin").next(), origins.is_empty())
        && !origins.iter().any(|allowed| allowed == origin)
    {
        return Err(Refusal::new(
            "403 Forbidden",
            "websockets_origin does not name this Origin",
        ));
    }
    let is_offered = |name: &&str| fields.list("Sec-WebSocket-Protocol").any(|o| o == *name);
    let Some(subprotocol) = SUBPROTOCOLS.into_iter().find(is_offered) else {
        return Err(bad("Sec-WebSocket-Protocol must offer mqtt or mqttv3.1"));
    };
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
        accept(key)
    ))
}

/// True for 16 bytes in base64.
fn is_nonce(key: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.strip_suffix("==")
        .is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_digit))
}

/// Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
pub(super) fn accept(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID);
    STANDARD.encode(hash.finalize())
}

/// The header fields of a request or an answer.
pub(super) struct Fields<'a>(pub(super) &'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of a field, each time it was given; what is not UTF-8 counts as empty.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |f| f.name.eq_ignore_ascii_case(name));
        named.map(|field| std::str::from_utf8(field.value).unwrap_or_default().trim())
    }

    /// The value of a field that was given once.
    pub(super) fn only(&self, name: &str) -> Option<&'a str> {
        let mut all = self.all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// The members of a field that is a list (RFC 9110 §5.6.1).
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let members = self.all(name).flat_map(|value| value.split(','));
        members.map(str::trim).filter(|member| !member.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn websockets() -> Rules {
        Rules {
            upgrades: true,
            ..Rules::default()
        }
    }

    /// The handshake of RFC 6455 §1.2 for MQTT, with one line replaced or left out.
    fn handshake(instead: &[(&str, &str)]) -> Vec<u8> {
        let mut head = "GET /mqtt HTTP/1.1\n".to_owned();
        let lines = [
            ("Host", "server.example.com"),
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", "http://example.com"),
            ("Sec-WebSocket-Protocol", "chat, mqtt"),
            ("Sec-WebSocket-Version", "13"),
        ];
        for (name, value) in lines {
            let other = instead.iter().find(|(n, _)| *n == name);
            match other.map_or(value, |(_, v)| v) {
                "" => {}
                value => head += &format!("{name}: {value}\n"),
            }
        }
        head += "\n";
        head.replace('\n', "\r\n").into_bytes()
    }

    fn status(head: &[u8], rules: &Rules) -> &'static str {
        match answer(head, rules) {
            Answer::Refusal(refusal) => &refusal.status[..3],
            Answer::Upgrade(_) => "101",
            Answer::File { .. } => "200",
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let Answer::Upgrade(response) = answer(&handshake(&[]), &websockets()) else {
            panic!("refused");
        };
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        // [MQTT-6.0.0-4]
        assert!(response.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
        assert!(!response.contains("Extensions"));
    }

    /// [MQTT-6.0.0-4].
    #[test]
    fn mqtt_is_chosen_where_it_is_offered() {
        for (offered, chosen) in [
            ("mqttv3.1", "mqttv3.1"),
            ("mqttv3.1,mqtt", "mqtt"),
            ("x, mqtt ,mqttv3.1", "mqtt"),
        ] {
            let head = handshake(&[("Sec-WebSocket-Protocol", offered)]);
            let Answer::Upgrade(response) = answer(&head, &websockets()) else {
                panic!("{offered} refused");
            };
            assert!(
                response.contains(&format!("Protocol: {chosen}\r\n")),
                "{response}"
            );
        }
    }

    #[test]
    fn a_handshake_that_is_not_as_the_rfc_has_it_is_refused() {
        for (name, value, wanted) in [
            ("Host", "", "400"),
            ("Upgrade", "h2c", "400"),
            ("Upgrade", "", "400"),
            ("Connection", "keep-alive", "400"),
            ("Connection", "", "400"),
            ("Sec-WebSocket-Key", "", "400"),
            ("Sec-WebSocket-Key", "c2hvcnQ=", "400"),
            ("Sec-WebSocket-Key", "not base64 at all!!!!!!!", "400"),
            ("Sec-WebSocket-Version", "", "400"),
            ("Sec-WebSocket-Version", "8", "426"),
            ("Sec-WebSocket-Protocol", "", "400"),
            ("Sec-WebSocket-Protocol", "MQTT, chat", "400"),
            ("Upgrade", "WebSocket", "101"),
            ("Connection", "upgrade", "101"),
            ("Origin", "", "101"),
        ] {
            let head = handshake(&[(name, value)]);
            assert_eq!(status(&head, &websockets()), wanted, "{name}: {value}");
        }
        let head = String::from_utf8(handshake(&[])).unwrap();
        for (from, to) in [("GET", "POST"), ("HTTP/1.1", "HTTP/1.0"), ("GET ", "GET")] {
            let head = head.replacen(from, to, 1);
            assert_eq!(status(head.as_bytes(), &websockets()), "400", "{to}");
        }
    }

    #[test]
    fn other_origins_than_those_named_are_refused() {
        let rules = Rules {
            origins: vec!["http://a.example".into(), "http://b.example:8080".into()],
            ..websockets()
        };
        for (origin, wanted) in [
            ("http://b.example:8080", "101"),
            ("http://b.example", "403"),
            // A program that is no browser sends none, and could send any.
            ("", "101"),
        ] {
            assert_eq!(
                status(&handshake(&[("Origin", origin)]), &rules),
                wanted,
                "{origin}"
            );
        }
    }

    #[test]
    fn files_are_for_get_and_head() {
        let files = Rules {
            files: true,
            ..Rules::default()
        };
        let get = |line: &str| {
            answer(
                format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
                &files,
            )
        };
        let file = |path: &str, body| Answer::File {
            path: path.into(),
            body,
        };
        assert_eq!(get("GET /a/b.html?c=d"), file("/a/b.html", true));
        assert_eq!(get("HEAD /"), file("/", false));
        assert_eq!(get("POST /"), Answer::Refusal(WRONG_METHOD));
        // Without protocol websockets an upgrade is not on offer (RFC 9110 §7.8).
        assert_eq!(status(&handshake(&[]), &files), "200");
    }

    #[test]
    fn too_many_fields_are_refused() {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        assert_eq!(status(head.as_bytes(), &websockets()), "431");
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_reads_end() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nmore";
        for cut in 0..head.len() - 4 {
            assert_eq!(head_len(&head[..cut], 0), None);
            assert_eq!(head_len(head, cut), Some(head.len() - 4), "{cut}");
        }
        assert_eq!(head_len(b"GET / HTTP/1.0\n\n", 0), Some(16));
    }
}
