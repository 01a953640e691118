//! The side of a client: the request for a WebSocket (RFC 6455 §4.1), that for a way through a proxy
//! (RFC 9110 §9.3.6), and what the answers mean.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::Status;

use super::http::{self, FIELDS, Fields, MAX_HEAD};
use crate::config::{Proxy, UpstreamAddress, WebAddress};

/// The most that is shown of what a server says, in characters.
const SHOWN: usize = 120;

/// What an answer says, in a sentence with its cure.
#[derive(Debug)]
pub(in crate::net) enum Refusal {
    /// It is no HTTP: the first bytes.
    NotHttp([u8; 2]),
    /// It begins as HTTP, and is none.
    Malformed,
    /// Its head does not end.
    Endless,
    /// A server agrees to something that was not asked for.
    Wrong(&'static str),
    /// A server does not agree to the WebSocket of this path.
    Server(Box<Said>, String),
    /// A proxy does not let through to this host and port.
    Proxy(Box<Said>, String),
}

/// What of an answer is shown.
#[derive(Debug)]
pub(in crate::net) struct Said {
    status: u16,
    /// What stands behind the number.
    phrase: String,
    /// Where it says to go instead.
    location: Option<String>,
    /// It comes with a page for people.
    is_page: bool,
    /// A login went with the request.
    had_login: bool,
}

/// What has come of an answer, once its head is whole.
#[derive(Debug)]
pub(in crate::net) struct Answered {
    pub(in crate::net) head: Vec<u8>,
    /// What came behind it.
    pub(in crate::net) rest: Vec<u8>,
}

/// The head of an answer, as it comes.
#[derive(Debug, Default)]
pub(in crate::net) struct Head(Vec<u8>);

impl Head {
    /// Takes in what came; `None` until the head is whole.
    ///
    /// # Errors
    /// It is none.
    pub(in crate::net) fn take(&mut self, bytes: &[u8]) -> Result<Option<Answered>, Refusal> {
        const BEGINNING: &[u8] = b"HTTP/";
        let from = self.0.len();
        self.0.extend_from_slice(bytes);
        let begun = self.0.len().min(BEGINNING.len());
        if self.0.get(..begun) != BEGINNING.get(..begun) {
            let mut first = [0; 2];
            first
                .iter_mut()
                .zip(&self.0)
                .for_each(|(to, byte)| *to = *byte);
            return Err(Refusal::NotHttp(first));
        }
        match http::head_len(&self.0, from) {
            Some(len) if len <= MAX_HEAD => {
                let rest = self.0.split_off(len);
                let head = std::mem::take(&mut self.0);
                Ok(Some(Answered { head, rest }))
            }
            None if self.0.len() <= MAX_HEAD => Ok(None),
            _ => Err(Refusal::Endless),
        }
    }
}

/// A request for a WebSocket.
#[derive(Debug)]
pub(in crate::net) struct Upgrade {
    /// What to send.
    pub(in crate::net) request: Vec<u8>,
    accept: String,
    path: String,
}

impl Upgrade {
    /// That for MQTT at `address`, whose URL has `web`; `nonce` is random.
    pub(in crate::net) fn new(
        address: &UpstreamAddress,
        web: &WebAddress,
        nonce: [u8; 16],
    ) -> Upgrade {
        let key = STANDARD.encode(nonce);
        let (host, path) = (address.http_host(), &web.path);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        Upgrade {
            request: request.into_bytes(),
            accept: http::accept(&key),
            // The query may hold a token.
            path: path.split('?').next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether the server agrees, by the head of its answer (RFC 6455 §4.1).
    ///
    /// # Errors
    /// It does not.
    pub(in crate::net) fn check(&self, head: &[u8]) -> Result<(), Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let (status, said, fields) = parse(head, &mut fields, false)?;
        if status != 101 {
            return Err(Refusal::Server(Box::new(said), self.path.clone()));
        }
        let has = |name, token: &str| fields.list(name).any(|t| t.eq_ignore_ascii_case(token));
        if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
            return Err(Refusal::Wrong("to another protocol"));
        }
        if fields.only("Sec-WebSocket-Accept") != Some(&self.accept) {
            // A cache, or what answers everything alike.
            return Err(Refusal::Wrong("without our key in its answer"));
        }
        if fields.list("Sec-WebSocket-Extensions").next().is_some() {
            return Err(Refusal::Wrong("with an extension"));
        }
        // One that says nothing is taken by its deeds.
        match fields.list("Sec-WebSocket-Protocol").next() {
            None | Some("mqtt") => Ok(()),
            Some(_) => Err(Refusal::Wrong("to a protocol that is not mqtt")),
        }
    }
}

/// A request for a way through a proxy. It has a login in it, so it does not print.
pub(in crate::net) struct Tunnel {
    /// What to send.
    pub(in crate::net) request: Vec<u8>,
    /// Whom it leads to.
    authority: String,
    has_login: bool,
}

impl Tunnel {
    /// That to the host and port of `address`.
    pub(in crate::net) fn new(proxy: &Proxy, address: &UpstreamAddress) -> Tunnel {
        let authority = address.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(login) = &proxy.login {
            // RFC 7617 §2.
            request += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login));
        }
        request += "\r\n";
        Tunnel {
            request: request.into_bytes(),
            authority,
            has_login: proxy.login.is_some(),
        }
    }

    /// Whether the way is open, by the head of the proxy's answer.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::net) fn check(&self, head: &[u8]) -> Result<(), Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        match parse(head, &mut fields, self.has_login)? {
            (200..300, ..) => Ok(()),
            (_, said, _) => Err(Refusal::Proxy(Box::new(said), self.authority.clone())),
        }
    }
}

/// Status, what of it is shown, and the fields of a head.
fn parse<'a>(
    head: &'a [u8],
    fields: &'a mut [httparse::Header<'a>],
    had_login: bool,
) -> Result<(u16, Said, Fields<'a>), Refusal> {
    let mut response = httparse::Response::new(fields);
    let (Ok(Status::Complete(_)), Some(status)) = (response.parse(head), response.code) else {
        return Err(Refusal::Malformed);
    };
    let phrase = shown(response.reason.unwrap_or_default());
    let fields = Fields(response.headers);
    let kind = fields.only("Content-Type").unwrap_or_default();
    let said = Said {
        status,
        phrase,
        // The query of a redirection may be ours, with its token.
        location: fields
            .only("Location")
            .map(|to| shown(to.split('?').next().unwrap_or_default())),
        is_page: kind.starts_with("text/html"),
        had_login,
    };
    Ok((status, said, fields))
}

/// As much of what a server says as belongs in a log.
fn shown(text: &str) -> String {
    let printable = text.chars().filter(|c| matches!(c, ' '..='~'));
    printable.take(SHOWN).collect()
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotHttp([0x15 | 0x16, 3]) => f.write_str(
                "what answers is TLS, not HTTP: wss:// in place of ws:// speaks it to an upstream; a \
                 proxy needs a port without TLS",
            ),
            Refusal::NotHttp(_) => f.write_str(
                "what answers is not HTTP: is this the port for WebSocket, and does it need wss:// (TLS)?",
            ),
            Refusal::Malformed => f.write_str("the answer is no valid HTTP/1.1: check the port"),
            Refusal::Endless => write!(f, "the head of the answer is longer than {MAX_HEAD} bytes"),
            Refusal::Wrong(how) => write!(
                f,
                "the answer agrees to a WebSocket {how}: is something between here and the upstream \
                 that does not pass WebSocket on?"
            ),
            Refusal::Server(said, path) => {
                write!(f, "no WebSocket at {path}: {said}: {}", cure_of_server(said))
            }
            Refusal::Proxy(said, to) => {
                write!(f, "the proxy opens no way to {to}: {said}: {}", cure_of_proxy(said))
            }
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.phrase.is_empty() {
            write!(f, " {}", self.phrase)?;
        }
        match &self.location {
            Some(location) => write!(f, ", go to {location}"),
            None => Ok(()),
        }
    }
}

fn cure_of_server(said: &Said) -> &'static str {
    match said.status {
        200..300 if said.is_page => {
            "a page for people answers; is it the login page of this network, or does `address` lack the \
             path for MQTT, such as /mqtt?"
        }
        200..300 => "`address` needs the path for MQTT, such as /mqtt or /ws",
        300..400 if said.location.is_some() => {
            "put that into `address`, unless it is the login page of this network"
        }
        401 => "the server wants a login of HTTP, which a bridge does not have",
        403 => "the server lets nobody in there: check the path, and what its query has to prove",
        404 => "`address` needs the path for MQTT, such as /mqtt or /ws",
        407 => "there is a proxy between, which wants a login: see bridge_proxy",
        400 | 405 | 426 | 501 => {
            "the server does not take it for a WebSocket: check port and path; a reverse proxy has to pass \
             Upgrade and Connection on"
        }
        429 => "the server has too much to do with us",
        502..=504 => "a reverse proxy answers, but not the broker behind it",
        _ => "check `address`",
    }
}

fn cure_of_proxy(said: &Said) -> &'static str {
    match said.status {
        401 | 407 if said.had_login => {
            "it does not take the user name and password in bridge_proxy (by Basic authentication)"
        }
        401 | 407 => "it wants a login: bridge_proxy http://USER:PASSWORD@HOST:PORT",
        403 => "its rules forbid it; many let only port 443 through: is there a wss:// address?",
        400 | 404 | 405 | 501 => "is it a proxy, and one that knows CONNECT?",
        429 => "it has too much to do with us",
        502..=504 => "it cannot reach the upstream: check `address`, whose name the proxy looks up",
        _ => "check bridge_proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nonce of the example of RFC 6455 §1.3.
    const NONCE: [u8; 16] = *b"the sample nonce";
    const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
        Sec-WebSocket-Protocol: mqtt\r\n\r\n";

    fn address(url: &str) -> (UpstreamAddress, WebAddress) {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let web = WebAddress {
            tls: scheme == "wss",
            path: format!("/{path}"),
        };
        let address = UpstreamAddress {
            web: Some(web.clone()),
            ..(host.to_owned(), if web.tls { 443 } else { 80 }).into()
        };
        (address, web)
    }

    fn upgrade(url: &str) -> Upgrade {
        let (address, web) = address(url);
        Upgrade::new(&address, &web, NONCE)
    }

    fn refused(head: &str) -> String {
        let upgrade = upgrade("wss://a/x?sig=secret");
        upgrade.check(head.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn our_own_listener_would_agree_and_its_answer_is_taken() {
        let upgrade = upgrade("wss://up.example/mqtt?a=b");
        let request = String::from_utf8(upgrade.request.clone()).unwrap();
        assert!(request.starts_with("GET /mqtt?a=b HTTP/1.1\r\nHost: up.example\r\n"));
        assert!(request.contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        let rules = http::Rules {
            upgrades: true,
            ..Default::default()
        };
        let http::Answer::Upgrade(answer) = http::answer(request.as_bytes(), &rules) else {
            panic!("refused: {request}");
        };
        upgrade.check(answer.as_bytes()).unwrap();
        upgrade.check(AGREED.as_bytes()).unwrap();
    }

    #[test]
    fn an_answer_that_agrees_to_something_else_is_refused() {
        for (from, to) in [
            ("WebSocket", "h2c"),
            ("keep-alive, upgrade", "keep-alive"),
            ("s3pP", "s3pQ"),
            ("Sec-WebSocket-Accept", "X"),
            ("Protocol: mqtt", "Protocol: chat"),
            ("Protocol: mqtt", "Extensions: permessage-deflate"),
        ] {
            let said = refused(&AGREED.replace(from, to));
            assert!(said.contains("agrees to a WebSocket"), "{to}: {said}");
        }
        let silent = AGREED.replace("Sec-WebSocket-Protocol: mqtt\r\n", "");
        upgrade("wss://a/x").check(silent.as_bytes()).unwrap();
    }

    #[test]
    fn each_refusal_of_a_server_has_its_cure() {
        for (line, says) in [
            ("401 Unauthorized", "wants a login"),
            ("403 Forbidden", "lets nobody in"),
            ("404 Not Found", "such as /mqtt"),
            (
                "301 Moved\r\nLocation: wss://b/y?sig=secret",
                "go to wss://b/y: put that",
            ),
            (
                "302 Found\r\nLocation: http://portal/",
                "login page of this network",
            ),
            (
                "200 OK\r\nContent-Type: text/html; charset=utf-8",
                "a page for people",
            ),
            ("200 OK", "needs the path"),
            ("400 Bad Request", "pass Upgrade and Connection on"),
            ("426 Upgrade Required", "pass Upgrade"),
            ("502 Bad Gateway", "not the broker behind it"),
            ("599 Odd\t!", "599 Odd!: check `address`"),
        ] {
            let said = refused(&format!("HTTP/1.1 {line}\r\n\r\n"));
            assert!(said.starts_with("no WebSocket at /x: "), "{said}");
            assert!(said.contains(says) && said.contains(&line[..3]), "{said}");
            assert!(!said.contains("secret") && !said.contains(char::is_control));
        }
        for head in ["HTTP/9 x\r\n\r\n", "HTTP/1.1 404 \u{1b}[1m\r\n\r\n"] {
            assert!(refused(head).contains("no valid HTTP/1.1"));
        }
    }

    #[test]
    fn a_proxy_is_asked_and_answers() {
        let (target, _) = address("wss://up.example/mqtt");
        let mut proxy = Proxy {
            host: "p".to_owned(),
            port: 1,
            login: None,
        };
        let tunnel = Tunnel::new(&proxy, &target);
        let plain = b"CONNECT up.example:443 HTTP/1.1\r\nHost: up.example:443\r\n\r\n";
        assert_eq!(tunnel.request, plain);
        tunnel
            .check(b"HTTP/1.0 200 Connection established\r\n\r\n")
            .unwrap();
        proxy.login = Some("Aladdin:open sesame".to_owned());
        let with_login = Tunnel::new(&proxy, &target);
        let request = String::from_utf8(with_login.request.clone()).unwrap();
        // The example of RFC 7617 §2.
        let field = "\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n";
        assert!(request.ends_with(field), "{request}");
        for (status, tunnel, says) in [
            (407, &tunnel, "it wants a login"),
            (407, &with_login, "does not take the user name"),
            (403, &tunnel, "only port 443"),
            (502, &tunnel, "cannot reach the upstream"),
            (504, &tunnel, "cannot reach the upstream"),
            (405, &tunnel, "knows CONNECT"),
            (500, &tunnel, "check bridge_proxy"),
        ] {
            let head = format!("HTTP/1.1 {status} No\r\n\r\n");
            let said = tunnel.check(head.as_bytes()).unwrap_err().to_string();
            let begins = format!("the proxy opens no way to up.example:443: {status} No: ");
            assert!(said.starts_with(&begins) && said.contains(says), "{said}");
            assert!(!said.contains("sesame"));
        }
    }

    #[test]
    fn a_head_comes_in_any_pieces_and_has_a_bound() {
        let wire = format!("{AGREED}\u{1}more").into_bytes();
        for step in 1..wire.len() {
            let mut head = Head::default();
            let mut pieces = wire.chunks(step);
            let found = pieces.find_map(|p| head.take(p).unwrap());
            let Answered { head, mut rest } = found.unwrap();
            pieces.for_each(|piece| rest.extend_from_slice(piece));
            assert_eq!((&*head, &*rest), (AGREED.as_bytes(), &b"\x01more"[..]));
        }
        let mut head = Head::default();
        assert!(head.take(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
        let endless = (0..20).find_map(|_| head.take(&[b'a'; 1000]).err());
        assert!(endless.unwrap().to_string().contains("longer than"));
        for (bytes, says) in [
            (&b"\x15\x03\x01"[..], "is TLS"),
            (b"\x20\x02", "not HTTP"),
            (b"H", ""),
            (b"HT\xff", "not HTTP"),
        ] {
            let said = Head::default().take(bytes).err().map(|e| e.to_string());
            assert!(said.unwrap_or_default().contains(says), "{bytes:?}");
        }
    }

    proptest::proptest! {
        /// Whatever comes is taken for something.
        #[test]
        fn noise_is_survived(bytes in proptest::collection::vec(0..=255_u8, 0..300)) {
            for begin in [&b""[..], b"HTTP/1.1 101 x\r\n"] {
                let wire = [begin, &bytes, b"\r\n\r\n"].concat();
                if let Ok(Some(Answered { head, .. })) = Head::default().take(&wire) {
                    let checked = upgrade("ws://a/").check(&head);
                    proptest::prop_assert!(checked.is_err());
                }
            }
        }
    }
}
