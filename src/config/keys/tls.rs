//! TLS of listeners.

use super::key::Section::{General, Listener};
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, later, refused};
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{CertificateUsername, Kind, TlsVersion};

pub(super) const NO_PSK: &str = "footbridge has no pre-shared-key TLS";
pub(super) const USE_CERTIFICATES: &str = "use certificates";
pub(super) const SUITES: &str = "the cipher suites of TLS 1.2 are those that are safe today";
const NO_ENGINE: &str = "footbridge does not use OpenSSL, so it has no engines";
const USE_FILES: &str = "keep the key in a file";

/// A [`super::key::Parse`] that sets one field of the TLS of a listener.
macro_rules! tls {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.listener().tls.$field = $parsed;
            Ok(())
        }
    };
}

pub(super) const KEYS: &[Key] = &[
    implemented(
        Listener,
        "certfile",
        "FILE",
        Means("the listener has no TLS"),
        "The certificate of the listener, in PEM: from then on it speaks TLS only.",
        "Above any `listener` it starts the default listener, port 1883 unless `port` says otherwise. Behind it may stand the certificates that lead to its CA; what lacks of them is taken from cafile \
         and capath. \
         Read again on SIGHUP, for connections that come after that. TLS 1.2 and 1.3 are spoken, with \
         ECDHE, AES-GCM and ChaCha20. A client that comes again goes on with its session: a round trip \
         less.",
        |draft, v| {
            draft.start_default();
            draft.listener().tls.certfile = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        Listener,
        "keyfile",
        "FILE",
        Means("none"),
        "The private key of certfile, in PEM: PKCS #8, PKCS #1 or SEC 1.",
        "RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519. One that needs a pass phrase is \
         refused, because nobody is there to give it. Read again on SIGHUP.",
        |draft, v| {
            draft.start_default();
            draft.listener().tls.keyfile = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        Listener,
        "cafile",
        "FILE",
        Means("none"),
        "The CAs whose client certificates are taken, in PEM.",
        "Clients show certificates with require_certificate only; what lacks of the chain of certfile is taken \
         from here in any case. A certificate that is no CA's counts for itself, if it has signed \
         itself, and signs for nobody else. Read again on SIGHUP.",
        tls!(cafile, v => Some(v.path()?)),
    ),
    implemented(
        Listener,
        "capath",
        "DIRECTORY",
        Means("none"),
        "A folder with such CAs: all files in it that have certificates.",
        "They need no hashes for names. What cannot be read there is passed over. Read again on SIGHUP.",
        tls!(capath, v => Some(v.path()?)),
    ),
    implemented(
        Listener,
        "crlfile",
        "FILE",
        Means("none"),
        "The client certificates that are revoked, as lists in PEM.",
        "Only with require_certificate. As with OpenSSL, there has to be a list of the CA that has signed the \
         client's certificate, and one whose nextUpdate is over lets nobody of that CA in (unless \
         disable_client_cert_date_checks is set): the log warns before. Of several lists of one CA the \
         newest counts. Read again on SIGHUP; who is connected stays.",
        tls!(crlfile, v => Some(v.path()?)),
    ),
    implemented(
        Listener,
        "require_certificate",
        "true|false",
        Is("false"),
        "Whether clients need a certificate of one of the CAs in cafile and capath.",
        "A client without one gets no further than the handshake.",
        tls!(require_certificate, v => v.flag()?),
    ),
    implemented(
        Listener,
        "use_identity_as_username",
        "true|false",
        Is("false"),
        "Takes the common name of the client's certificate for its user name.",
        "With require_certificate. What the CONNECT says of user and password does not count, and no \
         password is asked for. A certificate without a common name is refused.",
        |draft, v| username(draft, v.flag()?, CertificateUsername::CommonName),
    ),
    implemented(
        Listener,
        "use_subject_as_username",
        "true|false",
        Is("false"),
        "Takes the whole subject of the client's certificate for its user name.",
        "As use_identity_as_username; written as `openssl x509 -subject -nameopt RFC2253` prints it, and so \
         Mosquitto: CN=meter-7,OU=Hall 3,O=Site, and CN=J\\C3\\B6rg where there is more than ASCII.",
        |draft, v| username(draft, v.flag()?, CertificateUsername::Subject),
    ),
    implemented(
        Listener,
        "tls_version",
        "tlsv1.2|tlsv1.3",
        Is("tlsv1.2"),
        "The oldest TLS version that clients may speak.",
        "",
        tls!(version, v => version(v)?),
    ),
    implemented(
        Listener,
        "ciphers_tls1.3",
        "SUITE[:SUITE...]",
        Means("all three"),
        "The cipher suites of TLS 1.3, the best first.",
        "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 and TLS_CHACHA20_POLY1305_SHA256.",
        tls!(suites, v => Some(v.word("cipher suites with colons between them")?.to_owned())),
    ),
    implemented(
        Listener,
        "disable_client_cert_date_checks",
        "true|false",
        Is("false"),
        "Takes client certificates that have expired or are not valid yet.",
        "For sites whose clocks can't be trusted; a stolen key stays good for ever.",
        tls!(disable_client_cert_date_checks, v => v.flag()?),
    ),
    accepted(Listener, "ciphers", "LIST", SUITES),
    accepted(
        Listener,
        "dhparamfile",
        "FILE",
        "key exchange is by elliptic curves",
    ),
    refused(Listener, "psk_hint", "TEXT", &[], NO_PSK, USE_CERTIFICATES),
    refused(Listener, "tls_engine", "ENGINE", &[], NO_ENGINE, USE_FILES),
    refused(
        Listener,
        "tls_engine_kpass_sha1",
        "HASH",
        &[],
        NO_ENGINE,
        USE_FILES,
    ),
    refused(
        Listener,
        "tls_keyform",
        "pem|engine",
        &["pem"],
        NO_ENGINE,
        USE_FILES,
    ),
    later(
        General,
        "tls_keylog",
        "FILE",
        &[],
        "Writes down session keys.",
        "remove it",
    ),
];

fn username(draft: &mut Draft<'_>, is_on: bool, what: CertificateUsername) -> Result<(), Kind> {
    let username = &mut draft.listener().tls.username;
    if is_on {
        *username = what;
    } else if *username == what {
        *username = CertificateUsername::None;
    }
    Ok(())
}

/// A TLS version; the older ones, which Mosquitto once had, are named.
pub(super) fn version(value: Value<'_>) -> Result<TlsVersion, Kind> {
    let wants = "tlsv1.2 or tlsv1.3";
    match value.word(wants)? {
        "tlsv1.2" => Ok(TlsVersion::V12),
        "tlsv1.3" => Ok(TlsVersion::V13),
        other => Err(Kind::bad(other, wants)),
    }
}
