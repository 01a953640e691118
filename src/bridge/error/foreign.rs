//! What answers where no MQTT listener is: other protocols, by the first bytes that they send.

use std::fmt;

/// A server that speaks no MQTT. The text says what it speaks and what to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// HTTP, also HTTP/2.
    Http,
    /// TLS: an alert or a handshake where plain MQTT was sent.
    Tls,
    /// SSH.
    Ssh,
    /// SMTP, FTP, POP3 or IMAP: a line of greeting.
    Mail,
    /// AMQP, whose port RabbitMQ has beside that of MQTT.
    Amqp,
    /// The protocol of NATS, which has a port beside that of MQTT.
    Nats,
    /// Telnet.
    Telnet,
    /// None of these; nothing that MQTT has either.
    Unknown,
}

/// What the first bytes of an answer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::bridge) enum Sniffed {
    /// Another protocol's.
    Foreign(Foreign),
    /// Perhaps another protocol's: more of them will tell.
    Partial,
    /// No known protocol's; they may be a packet.
    Other,
}

/// How the answers of other protocols begin; case does not matter. None begins like a CONNACK.
const BEGINNINGS: &[(&[u8], Foreign)] = &[
    (b"HTTP/", Foreign::Http),
    // Python's server, and old ones, leave the head out where the request was none.
    (b"<!DOCTYPE", Foreign::Http),
    (b"<html", Foreign::Http),
    // The record types alert and handshake, and the major version (RFC 8446 §5.1).
    (&[0x15, 3], Foreign::Tls),
    (&[0x16, 3], Foreign::Tls),
    (b"SSH-", Foreign::Ssh),
    (b"+OK", Foreign::Mail),
    (b"* OK", Foreign::Mail),
    (b"AMQP", Foreign::Amqp),
    (b"INFO {", Foreign::Nats),
    (b"-ERR 'Unknown Protocol", Foreign::Nats),
    // IAC DO and IAC WILL (RFC 854).
    (&[0xff, 0xfd], Foreign::Telnet),
    (&[0xff, 0xfb], Foreign::Telnet),
];

/// Says what answers with `bytes` as the first that it sends.
pub(in crate::bridge) fn sniff(bytes: &[u8]) -> Sniffed {
    let known = BEGINNINGS
        .iter()
        .map(|(beginning, foreign)| begins(bytes, beginning, *foreign));
    known
        .chain([reply_code(bytes), http2(bytes)])
        .find(|sniffed| *sniffed != Sniffed::Other)
        .unwrap_or(Sniffed::Other)
}

fn begins(bytes: &[u8], beginning: &[u8], foreign: Foreign) -> Sniffed {
    let len = bytes.len().min(beginning.len());
    match (bytes.get(..len), beginning.get(..len)) {
        (Some(bytes), Some(beginning)) if !bytes.eq_ignore_ascii_case(beginning) => Sniffed::Other,
        _ if len == beginning.len() => Sniffed::Foreign(foreign),
        _ => Sniffed::Partial,
    }
}

/// A reply of SMTP or FTP: three digits, of which the first is 2 to 5, and a blank or a hyphen
/// (RFC 5321 §4.2).
fn reply_code(bytes: &[u8]) -> Sniffed {
    let digits = bytes.iter().take(3).enumerate().all(|(at, byte)| match at {
        0 => (b'2'..=b'5').contains(byte),
        _ => byte.is_ascii_digit(),
    });
    match bytes.get(3) {
        _ if !digits => Sniffed::Other,
        Some(b' ' | b'-') => Sniffed::Foreign(Foreign::Mail),
        Some(_) => Sniffed::Other,
        None => Sniffed::Partial,
    }
}

/// The SETTINGS that a server of HTTP/2 begins with: three bytes of length, type 4, flags and four
/// bytes for stream 0 (RFC 9113 §4.1, §3.4).
fn http2(bytes: &[u8]) -> Sniffed {
    let fits = bytes.iter().take(9).enumerate().all(|(at, byte)| match at {
        1 | 2 => true,
        3 => *byte == 4,
        _ => *byte == 0,
    });
    match bytes.len() {
        _ if !fits => Sniffed::Other,
        0..9 => Sniffed::Partial,
        _ => Sniffed::Foreign(Foreign::Http),
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (speaks, cure) = match self {
            Foreign::Http => (
                "HTTP",
                "check the port in address; MQTT is commonly at 1883",
            ),
            Foreign::Tls => (
                "TLS",
                "for that the bridge needs bridge_cafile or bridge_tls_use_os_certs true (or wss:// for \
                 ws://); or address needs a port without it, commonly 1883",
            ),
            Foreign::Ssh => ("SSH", "check the port in address; MQTT is commonly at 1883"),
            Foreign::Mail => (
                "SMTP, FTP or the like",
                "check address; MQTT is commonly at port 1883",
            ),
            Foreign::Amqp => (
                "AMQP",
                "check the port in address; RabbitMQ has MQTT at 1883, with its MQTT plugin",
            ),
            Foreign::Nats => (
                "the protocol of NATS",
                "check the port in address; the mqtt section of the NATS server says the right one",
            ),
            Foreign::Telnet => (
                "Telnet",
                "check the port in address; MQTT is commonly at 1883",
            ),
            Foreign::Unknown => (
                "another protocol",
                "check address; MQTT is commonly at port 1883",
            ),
        };
        write!(f, "not MQTT: this port speaks {speaks}: {cure}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What servers of these protocols send to a client of MQTT, from the first byte on.
    const ANSWERS: &[(&[u8], Foreign)] = &[
        (
            b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\n",
            Foreign::Http,
        ),
        (
            b"HTTP/1.0 400 Bad request\r\nCache-Control: no-cache\r\n",
            Foreign::Http,
        ),
        (b"<!DOCTYPE HTML>\n<html lang=\"en\">", Foreign::Http),
        (b"<!doctype html><title>400", Foreign::Http),
        (b"<html>\r\n<head><title>400 Bad Request", Foreign::Http),
        // SETTINGS of nginx, and an empty one.
        (
            &[
                0, 0, 18, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 128, 0, 4, 0, 1, 0, 0,
            ],
            Foreign::Http,
        ),
        (&[0, 0, 0, 4, 0, 0, 0, 0, 0], Foreign::Http),
        // Alerts protocol_version, unexpected_message, and a ServerHello.
        (&[0x15, 3, 1, 0, 2, 2, 70], Foreign::Tls),
        (&[0x15, 3, 3, 0, 2, 2, 10], Foreign::Tls),
        (&[0x16, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3], Foreign::Tls),
        (b"SSH-2.0-dropbear_2022.83\r\n", Foreign::Ssh),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", Foreign::Ssh),
        (b"220 mail.example ESMTP Postfix\r\n", Foreign::Mail),
        (b"220 (vsFTPd 3.0.3)\r\n", Foreign::Mail),
        (b"220-Welcome\r\n220 \r\n", Foreign::Mail),
        (b"421 Too many connections\r\n", Foreign::Mail),
        (b"+OK POP3 ready\r\n", Foreign::Mail),
        (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", Foreign::Mail),
        (b"AMQP\x00\x00\x09\x01", Foreign::Amqp),
        (
            b"INFO {\"server_id\":\"NB\",\"version\":\"2.9.10\"",
            Foreign::Nats,
        ),
        (&[0xff, 0xfd, 1, 0xff, 0xfd, 31], Foreign::Telnet),
        (&[0xff, 0xfb, 1], Foreign::Telnet),
    ];

    #[test]
    fn other_protocols_are_known_by_their_first_bytes() {
        for (answer, foreign) in ANSWERS {
            let text = String::from_utf8_lossy(answer);
            assert_eq!(sniff(answer), Sniffed::Foreign(*foreign), "{text}");
            // Nor is a piece of it, however small, taken for anything else.
            for len in 1..answer.len() {
                let piece = sniff(&answer[..len]);
                let fits = [Sniffed::Partial, Sniffed::Foreign(*foreign)];
                assert!(fits.contains(&piece), "{len} bytes of {text}: {piece:?}");
            }
        }
    }

    #[test]
    fn packets_are_not_taken_for_another_protocol() {
        for packet in [
            &b"\x20\x02\x00\x00"[..],
            b"\x20\x02\x00\x01",
            b"\x20\x03\x00\x00\x00",
            b"\x20\x02\x01\x00",
            b"\xe0\x02\x8b\x00",
            b"\xf0\x02\x18\x00",
            b"\x30\x05\x00\x01aOK",
            b"\xd0\x00",
        ] {
            for len in 1..=packet.len() {
                assert_eq!(sniff(&packet[..len]), Sniffed::Other, "{packet:?}");
            }
        }
        assert_eq!(sniff(b"4999 "), Sniffed::Other);
        assert_eq!(sniff(b"\x00\x00\x01\x05"), Sniffed::Other);
    }

    #[test]
    fn the_text_says_what_it_is_and_what_to_look_at() {
        for (_, foreign) in ANSWERS {
            let text = foreign.to_string();
            assert!(text.starts_with("not MQTT: this port speaks "), "{text}");
            assert!(text.contains("address"), "{text}");
        }
    }
}
