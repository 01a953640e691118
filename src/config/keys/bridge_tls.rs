//! TLS of bridges: a later version's, so every row here is an error. Going on without the encryption that
//! a file asks for would be a lie.

use super::key::Section::Bridge;
use super::key::{Key, accepted, later, refused};
use super::tls::{NO_PSK, SUITES, USE_CERTIFICATES};

const BRIDGE: &str =
    "this bridge would be unencrypted: point `address` at a local TLS proxy such as stunnel";

pub(super) const KEYS: &[Key] = &[
    later(
        Bridge,
        "bridge_alpn",
        "NAME",
        &[],
        "The protocol named in the handshake.",
        BRIDGE,
    ),
    later(
        Bridge,
        "bridge_cafile",
        "FILE",
        &[],
        "The CAs of the upstream.",
        BRIDGE,
    ),
    later(
        Bridge,
        "bridge_capath",
        "DIRECTORY",
        &[],
        "The CAs of the upstream.",
        BRIDGE,
    ),
    later(
        Bridge,
        "bridge_certfile",
        "FILE",
        &[],
        "The bridge's certificate.",
        BRIDGE,
    ),
    accepted(Bridge, "bridge_ciphers", "LIST", SUITES),
    later(
        Bridge,
        "bridge_ciphers_tls1.3",
        "LIST",
        &[],
        "The cipher suites of TLS 1.3.",
        BRIDGE,
    ),
    refused(
        Bridge,
        "bridge_identity",
        "NAME",
        &[],
        NO_PSK,
        USE_CERTIFICATES,
    ),
    later(
        Bridge,
        "bridge_insecure",
        "true|false",
        &["false"],
        "Takes any host name in the upstream's certificate.",
        BRIDGE,
    ),
    later(
        Bridge,
        "bridge_keyfile",
        "FILE",
        &[],
        "The key of bridge_certfile.",
        BRIDGE,
    ),
    refused(Bridge, "bridge_psk", "KEY", &[], NO_PSK, USE_CERTIFICATES),
    refused(
        Bridge,
        "bridge_require_ocsp",
        "true|false",
        &["false"],
        "footbridge does not ask OCSP responders",
        "remove it",
    ),
    later(
        Bridge,
        "bridge_tls_use_os_certs",
        "true|false",
        &["false"],
        "Trusts the CAs of the system.",
        BRIDGE,
    ),
    later(
        Bridge,
        "bridge_tls_version",
        "VERSION",
        &[],
        "The oldest TLS version.",
        BRIDGE,
    ),
];
