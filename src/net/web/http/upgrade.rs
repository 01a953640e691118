//! The upgrade of a request to WebSocket (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use super::fields::Fields;
use super::refusal::{Refusal, WRONG_VERSION, bad};

/// What a Sec-WebSocket-Key is hashed with (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The subprotocol of MQTT [MQTT-6.0.0-3], [MQTT-6.0.0-4], and what 3.1's clients say that know no
/// other; the first that is offered is chosen.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Checks a client's opening handshake (RFC 6455 §4.2.1) and answers it.
pub(super) fn agree(
    fields: &Fields<'_>,
    is_new_get: bool,
    (is_page, origins): (bool, Option<&[String]>),
) -> Result<String, Refusal> {
    let has = |name, token: &str| fields.list(name).any(|t| t.eq_ignore_ascii_case(token));
    if !is_new_get {
        return Err(bad("an upgrade needs GET and HTTP/1.1"));
    }
    if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
        return Err(bad(
            "an upgrade needs Upgrade: websocket and Connection: Upgrade",
        ));
    }
    let Some(host) = fields.only("Host") else {
        return Err(bad("an upgrade needs one Host"));
    };
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
    // Only browsers say it, of the page that connects.
    if let (Some(origin), Some(allowed)) = (fields.all("Origin").next(), origins)
        && !allowed.iter().any(|allowed| allowed == origin)
        && !(is_page && is_of_host(origin, host))
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

/// Whether a page of this origin has come from the host and port that the request is for.
fn is_of_host(origin: &str, host: &str) -> bool {
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// True for 16 bytes in base64.
fn is_nonce(key: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    key.strip_suffix("==")
        .is_some_and(|digits| digits.len() == 22 && digits.bytes().all(is_digit))
}

/// Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
pub(in crate::net::web) fn accept(key: &str) -> String {
    let hash = Sha1::new().chain_update(key).chain_update(GUID);
    STANDARD.encode(hash.finalize())
}
