//! Why a request is not served, and what it gets.

use crate::mqtt::foreign;

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net::web) struct Refusal {
    /// Code and phrase.
    pub status: &'static str,
    /// Header fields that go with it, each with its line end.
    pub fields: &'static str,
    /// For the one who wonders.
    pub why: &'static str,
}

impl Refusal {
    pub(in crate::net::web) const fn new(status: &'static str, why: &'static str) -> Refusal {
        Refusal {
            status,
            fields: "",
            why,
        }
    }

    /// The whole response.
    pub(in crate::net::web) fn response(&self, body: bool) -> String {
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

pub(super) const fn bad(why: &'static str) -> Refusal {
    Refusal::new("400 Bad Request", why)
}

pub(in crate::net::web) const TOO_LONG: Refusal = Refusal::new(
    "431 Request Header Fields Too Large",
    "the head of a request has at most 8 KB and 64 fields",
);

pub(in crate::net::web) const TOO_MANY: Refusal = Refusal {
    status: "503 Service Unavailable",
    fields: "Retry-After: 1\r\n",
    why: "too many have asked and do not read",
};

/// No client of HTTP begins with these bytes.
pub(in crate::net::web) fn no_http(bytes: &[u8]) -> Refusal {
    bad(match (bytes, foreign(bytes)) {
        ([0x16, 3, ..], _) => "a TLS ClientHello, where HTTP and WebSocket are spoken without TLS",
        ([0x10, ..], _) => "a plain CONNECT, where HTTP and WebSocket are spoken",
        (_, Some(_)) => {
            "the PROXY protocol of a load balancer, where HTTP and WebSocket are spoken"
        }
        _ => "this port speaks HTTP and WebSocket",
    })
}

pub(super) const WRONG_VERSION: Refusal = Refusal {
    status: "426 Upgrade Required",
    fields: "Sec-WebSocket-Version: 13\r\n",
    why: "only version 13 of WebSocket is spoken here",
};

pub(super) const WRONG_METHOD: Refusal = Refusal {
    status: "405 Method Not Allowed",
    fields: "Allow: GET, HEAD\r\n",
    why: "there is only GET and HEAD here",
};

pub(super) const NO_GZIP: Refusal = Refusal {
    status: "406 Not Acceptable",
    fields: "Vary: Accept-Encoding\r\n",
    why: "the page comes by gzip only, which Accept-Encoding does not name",
};

pub(super) const NO_SUCH_PATH: Refusal =
    Refusal::new("404 Not Found", "here are only /, /metrics and /health");
