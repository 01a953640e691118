//! What else than MQTT comes to a broker's port, by its first bytes: for the log.

/// What HTTP requests begin with; the last is HTTP/2 (RFC 9113 §3.4).
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/2",
];

/// Version 2 of the PROXY protocol.
const PROXY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the first bytes of a connection are, where that is known and not MQTT.
pub fn foreign(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        // Handshake record (RFC 8446 §5.1), ClientHello (§4).
        [0x16, 3, 0..=4, _, _, 1, ..] => Some("a TLS ClientHello"),
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => {
            let is_upgrade = has(bytes, b"upgrade: websocket");
            Some(if is_upgrade {
                "a request for a WebSocket"
            } else {
                "an HTTP request"
            })
        }
        _ if bytes.starts_with(b"SSH-") => Some("SSH"),
        _ if bytes.starts_with(b"PROXY ") || bytes.starts_with(PROXY) => {
            Some("the PROXY protocol of a load balancer")
        }
        _ => None,
    }
}

/// Whether `bytes` hold `text`, which is in small letters, in small or capital ones.
fn has(bytes: &[u8], text: &[u8]) -> bool {
    let mut places = bytes.windows(text.len());
    places.any(|place| place.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Version, decode};

    /// Each is named, and refused by the codec as soon as it has come.
    #[test]
    fn other_protocols_are_named() {
        for (bytes, name) in [
            (
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                "TLS ClientHello",
            ),
            (b"GET / HTTP/1.1\r\nHost: box\r\n\r\n", "HTTP request"),
            (
                b"GET /mqtt HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n",
                "WebSocket",
            ),
            (b"POST /x HTTP/1.0\r\n\r\n", "HTTP request"),
            (b"OPTIONS * HTTP/1.1\r\n\r\n", "HTTP request"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP request"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "PROXY"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", "PROXY"),
        ] {
            assert!(foreign(bytes).unwrap().contains(name), "{name}");
            assert!(decode(bytes, Version::V311, 1 << 20).is_err(), "{name}");
        }
    }

    #[test]
    fn mqtt_is_not() {
        let connect = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
        for bytes in [
            &connect[..],
            b"",
            b"\x16",
            b"G",
            b"\xc0\0",
            b"\x16\x03\x01\0\0\x02",
        ] {
            assert_eq!(foreign(bytes), None);
        }
    }
}
