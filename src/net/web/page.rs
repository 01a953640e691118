//! The status page: one HTML document within the program, with its style and its script.
//!
//! It holds no data: it shows `$SYS`, which it gets by MQTT over WebSocket from the listener that it came
//! from, with the login of who looks at it. `page/make` puts it together from its sources and compresses it;
//! the result is checked in, so that a build needs no tool for that (`tests/page.rs` compares).

use super::body::Body;

/// The document, by gzip.
const PAGE: &[u8] = include_bytes!("page/page.html.gz");

/// The most that it may take of the program, in bytes.
#[cfg(test)]
const MOST: usize = 25 * 1024;

/// The head of the answer, without its length. The policy lets the page run its own script and style, named
/// by their hashes, and connect to where it came from; nothing else, wherever a topic or a payload might
/// want to lead it.
const HEAD: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\n\
     Vary: Accept-Encoding\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n\
     Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; ",
    include_str!("page/hashes"),
    "; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'\r\n"
);

/// The head of the answer up to its length, and the document.
pub(super) fn get() -> (String, Body) {
    (HEAD.to_owned(), Body::of_program(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        assert!(PAGE.len() <= MOST, "{} bytes", PAGE.len());
        assert!(PAGE.starts_with(&[0x1f, 0x8b]), "no gzip");
    }

    #[test]
    fn its_head_is_one() {
        let head = format!("{HEAD}Content-Length: 0\r\n\r\n");
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        assert!(response.parse(head.as_bytes()).unwrap().is_complete());
        assert!(head.contains("script-src 'sha256-") && head.contains("style-src 'sha256-"));
    }
}
