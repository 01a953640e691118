//! HTTP heads: the upgrade to WebSocket (RFC 6455 §4.2), requests for files, and the answers.

mod fields;
mod refusal;
mod upgrade;

use httparse::{Request, Status};

pub(super) use fields::Fields;
use refusal::{NO_GZIP, NO_SUCH_PATH, WRONG_METHOD, bad};
pub(super) use refusal::{Refusal, TOO_LONG, TOO_MANY, no_http};
pub(super) use upgrade::accept;

/// The longest head, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;

/// The most header fields.
pub(super) const FIELDS: usize = 64;

/// What a listener answers requests by.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// `protocol websockets`, or the status page: it upgrades.
    pub upgrades: bool,
    /// `http_dir`: it serves files.
    pub files: bool,
    /// It serves the status page, /metrics and /health.
    pub page: bool,
    /// The pages that may connect, beside its own status page; `None` for any.
    pub origins: Option<Vec<String>>,
}

/// What is made of figures for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Figures {
    /// /metrics: for Prometheus.
    Metrics,
    /// /health: whether all works.
    Health,
}

/// What becomes of a request.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// It becomes a WebSocket once this head is written.
    Upgrade(String),
    /// It wants the status page.
    Page {
        /// GET, not HEAD.
        body: bool,
    },
    /// It wants these figures.
    Figures {
        what: Figures,
        /// GET, not HEAD.
        body: bool,
    },
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
        return match upgrade::agree(&fields, is_new_get, (rules.page, rules.origins.as_deref())) {
            Ok(response) => Answer::Upgrade(response),
            Err(refusal) => Answer::Refusal(refusal),
        };
    }
    if !rules.files && !rules.page {
        return Answer::Refusal(bad("MQTT over WebSocket only: no Upgrade was asked"));
    }
    let body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Answer::Refusal(WRONG_METHOD),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path {
        "/" if rules.page && !takes_gzip(&fields) => Answer::Refusal(NO_GZIP),
        "/" if rules.page => Answer::Page { body },
        "/metrics" if rules.page => Answer::Figures {
            what: Figures::Metrics,
            body,
        },
        "/health" if rules.page => Answer::Figures {
            what: Figures::Health,
            body,
        },
        path if rules.files => Answer::File {
            path: path.to_owned(),
            body,
        },
        _ => Answer::Refusal(NO_SUCH_PATH),
    }
}

/// Whether an answer may come by gzip: who says nothing takes everything (RFC 9110 §12.5.3).
fn takes_gzip(fields: &Fields<'_>) -> bool {
    let mut codings = fields.list("Accept-Encoding").peekable();
    if codings.peek().is_none() {
        return true;
    }
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let is_none = weight.trim().strip_prefix("q=0").is_some_and(|rest| {
            let mut digits = rest.bytes();
            digits.all(|digit| matches!(digit, b'.' | b'0'))
        });
        ["gzip", "x-gzip", "*"].contains(&name.trim()) && !is_none
    })
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
            Answer::Page { .. } | Answer::Figures { .. } | Answer::File { .. } => "200",
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
            origins: Some(vec![
                "http://a.example".into(),
                "http://b.example:8080".into(),
            ]),
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
    fn the_status_page_may_connect_to_where_it_came_from() {
        let mut rules = Rules {
            page: true,
            origins: Some(Vec::new()),
            ..websockets()
        };
        let origin = |origin, rules: &Rules| status(&handshake(&[("Origin", origin)]), rules);
        assert_eq!(origin("http://server.example.com", &rules), "101");
        assert_eq!(origin("https://Server.example.com", &rules), "101");
        assert_eq!(origin("http://server.example.com:81", &rules), "403");
        assert_eq!(origin("http://evil.example", &rules), "403");
        assert_eq!(origin("null", &rules), "403");
        rules.page = false;
        assert_eq!(origin("http://server.example.com", &rules), "403");
    }

    #[test]
    fn the_paths_of_the_status_page() {
        let mut rules = Rules {
            page: true,
            ..websockets()
        };
        let ask = |line: &str, field: &str, rules: &Rules| {
            let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{field}\r\n");
            answer(head.as_bytes(), rules)
        };
        let (metrics, health) = (Figures::Metrics, Figures::Health);
        let figures = |what, body| Answer::Figures { what, body };
        assert_eq!(ask("GET /?a", "", &rules), Answer::Page { body: true });
        assert_eq!(ask("HEAD /", "", &rules), Answer::Page { body: false });
        assert_eq!(ask("GET /metrics", "", &rules), figures(metrics, true));
        assert_eq!(ask("HEAD /health?x", "", &rules), figures(health, false));
        assert_eq!(
            ask("POST /metrics", "", &rules),
            Answer::Refusal(WRONG_METHOD)
        );
        assert_eq!(ask("GET /x", "", &rules), Answer::Refusal(NO_SUCH_PATH));
        for (codings, wanted) in [
            ("gzip, deflate", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("*", true),
            ("", true),
            ("identity", false),
            ("gzip;q=0.0, br", false),
            ("gzip;q=0.05", true),
        ] {
            let answer = ask("GET /", &format!("Accept-Encoding: {codings}\r\n"), &rules);
            let is_page = answer == Answer::Page { body: true };
            assert!(
                is_page == wanted && (is_page || answer == Answer::Refusal(NO_GZIP)),
                "{codings}"
            );
        }
        // Files are beside it.
        rules.files = true;
        assert_eq!(ask("GET /", "", &rules), Answer::Page { body: true });
        let path = "/x".to_owned();
        assert_eq!(ask("GET /x", "", &rules), Answer::File { path, body: true });
        rules.page = false;
        let path = "/metrics".to_owned();
        assert_eq!(
            ask("GET /metrics", "", &rules),
            Answer::File { path, body: true }
        );
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
