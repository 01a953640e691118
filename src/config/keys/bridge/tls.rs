//! TLS of bridges.

use crate::config::keys::key::Section::Bridge;
use crate::config::keys::key::Unset::{Is, Means};
use crate::config::keys::key::{Key, accepted, implemented, refused};
use crate::config::keys::tls::{NO_PSK, SUITES, USE_CERTIFICATES, version};

/// A [`Parse`](crate::config::keys::key::Parse) that sets one field of the TLS of a bridge.
macro_rules! tls {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.bridge()?.bridge.tls.$field = $parsed;
            Ok(())
        }
    };
}

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        Bridge,
        "bridge_cafile",
        "FILE",
        Means("none"),
        "The CAs that the upstream's certificate may come from, in PEM; the bridge speaks TLS then.",
        "The file is read at each connect, as all files of the bridge's TLS. The certificate has to be for \
         the name in `address`; its subjectAltName counts, not its common name. At the \
         next connect the session goes on: fewer bytes, and with TLS 1.2 a round trip less.",
        tls!(cafile, v => Some(v.path()?)),
    ),
    implemented(
        Bridge,
        "bridge_capath",
        "DIRECTORY",
        Means("none"),
        "A folder with such CAs: all files in it that have certificates.",
        "They need no hashes for names.",
        tls!(capath, v => Some(v.path()?)),
    ),
    implemented(
        Bridge,
        "bridge_tls_use_os_certs",
        "true|false",
        Is("false"),
        "Trusts the CAs of the system; the bridge speaks TLS then.",
        "Those of /etc/ssl/certs/ca-certificates.crt, /etc/ssl/cert.pem or \
         /etc/pki/tls/certs/ca-bundle.crt: packages ca-certificates (Debian) and ca-bundle (OpenWrt).",
        tls!(use_os_certs, v => v.flag()?),
    ),
    implemented(
        Bridge,
        "bridge_certfile",
        "FILE",
        Means("none"),
        "The bridge's own certificate, in PEM, for upstreams that ask for one.",
        "Behind it may stand what leads to its CA.",
        tls!(certfile, v => Some(v.path()?)),
    ),
    implemented(
        Bridge,
        "bridge_keyfile",
        "FILE",
        Means("none"),
        "The private key of bridge_certfile, in PEM.",
        "As keyfile of a listener.",
        tls!(keyfile, v => Some(v.path()?)),
    ),
    implemented(
        Bridge,
        "bridge_insecure",
        "true|false",
        Is("false"),
        "Takes any name in the upstream's certificate.",
        "It has to come from one of the CAs all the same, and to be valid.",
        tls!(insecure, v => v.flag()?),
    ),
    implemented(
        Bridge,
        "bridge_alpn",
        "NAME",
        Means("none"),
        "The protocol named in the handshake, such as mqtt or x-amzn-mqtt-ca.",
        "For upstreams that have several behind one port.",
        tls!(alpn, v => Some(v.word("a protocol")?.to_owned())),
    ),
    implemented(
        Bridge,
        "bridge_tls_version",
        "tlsv1.2|tlsv1.3",
        Is("tlsv1.2"),
        "The oldest TLS version that is spoken to the upstream.",
        "",
        tls!(version, v => version(v)?),
    ),
    implemented(
        Bridge,
        "bridge_ciphers_tls1.3",
        "SUITE[:SUITE...]",
        Means("all three"),
        "The cipher suites of TLS 1.3 that are offered, the best first.",
        "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and TLS_CHACHA20_POLY1305_SHA256.",
        tls!(suites, v => Some(v.word("cipher suites with colons between them")?.to_owned())),
    ),
    accepted(Bridge, "bridge_ciphers", "LIST", SUITES),
    refused(
        Bridge,
        "bridge_identity",
        "NAME",
        &[],
        NO_PSK,
        USE_CERTIFICATES,
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
];
