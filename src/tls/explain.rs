//! Why a handshake failed, and what to do about it.

use std::fmt;
use std::time::Duration;

use rustls::CertificateError as Bad;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, PeerIncompatible};

use super::certificate::Certificate;
use super::client::{SmallKey, UnknownCa};
use super::der::{Elements, tag};
use crate::time::calendar::DateTime;

/// Why a TLS connection ended. Prints as one line: cause, then cure.
#[derive(Debug)]
pub struct Failure {
    error: rustls::Error,
    /// What the upstream is called; empty for a client.
    name: Box<str>,
}

impl Failure {
    /// rustls takes no more of what came.
    pub(super) fn of_buffers(error: std::io::Error) -> Failure {
        Failure::of(rustls::Error::General(error.to_string()), "")
    }

    pub(super) fn of(error: rustls::Error, name: &str) -> Failure {
        Failure {
            error,
            name: name.into(),
        }
    }

    /// True if another time of day would have led to another end: a certificate has expired or is not
    /// valid yet, or a revocation list has ended.
    #[must_use]
    pub fn is_about_time(&self) -> bool {
        matches!(
            &self.error,
            rustls::Error::InvalidCertificate(
                Bad::Expired
                    | Bad::ExpiredContext { .. }
                    | Bad::NotValidYet
                    | Bad::NotValidYetContext { .. }
                    | Bad::ExpiredRevocationList
                    | Bad::ExpiredRevocationListContext { .. }
            )
        )
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_client = self.name.is_empty();
        f.write_str("TLS: ")?;
        match &self.error {
            rustls::Error::InvalidCertificate(bad) if is_client => {
                write!(f, "the client's certificate {}", client_certificate(bad))
            }
            rustls::Error::InvalidCertificate(bad) => certificate(bad, &self.name, f),
            rustls::Error::AlertReceived(alert) if is_client => match alert {
                AlertDescription::UnknownCA | AlertDescription::BadCertificate => f.write_str(
                    "the client does not trust the certificate of this listener: give the client the CA \
                     that has signed certfile",
                ),
                other => write!(f, "the client ended the handshake: {other:?}"),
            },
            rustls::Error::AlertReceived(alert) => f.write_str(alert_of_upstream(*alert)),
            rustls::Error::InvalidMessage(_) if is_client => f.write_str(
                "what came is no TLS: a client without TLS, or another program, on a listener with \
                 certfile",
            ),
            rustls::Error::InvalidMessage(_) => f.write_str(
                "what came is no TLS: is this port one with TLS? MQTT over TLS has 8883, as a rule",
            ),
            rustls::Error::NoCertificatesPresented => f.write_str(
                "the client shows no certificate, and require_certificate asks for one",
            ),
            rustls::Error::PeerIncompatible(why) => f.write_str(incompatible(why)),
            other => write!(f, "{other}"),
        }
    }
}

fn incompatible(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls12NotOffered
        // rustls looks for what TLS 1.1 has not before it looks at the version.
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::Tls13RequiredForQuic => {
            "the peer has no TLS version that is used here: 1.2 and 1.3, or what tls_version and \
             bridge_tls_version leave of them"
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "the peer has no cipher suite, curve or signature that is used here: ECDHE with AES-GCM or \
             ChaCha20 and SHA-256 or SHA-384"
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the peer lacks the extended master secret: its TLS library is too old"
        }
        _ => "the peer has nothing in common with what is used here",
    }
}

fn alert_of_upstream(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::HandshakeFailure => {
            "the upstream has ended the handshake (handshake_failure): it has no cipher suite in common \
             with us (RSA key exchange, CBC and SHA-1 are not used), or it requires a client certificate \
             (bridge_certfile, bridge_keyfile)"
        }
        AlertDescription::ProtocolVersion => {
            "the upstream has no TLS 1.2 or 1.3, or what bridge_tls_version leaves of them"
        }
        AlertDescription::CertificateRequired => {
            "the upstream requires a client certificate: set bridge_certfile and bridge_keyfile"
        }
        AlertDescription::UnknownCA | AlertDescription::BadCertificate => {
            "the upstream does not trust the bridge's certificate: is bridge_certfile, with what leads to \
             its CA, one that it knows?"
        }
        AlertDescription::CertificateExpired => {
            "the upstream says that the bridge's certificate has expired: renew bridge_certfile"
        }
        AlertDescription::CertificateRevoked => {
            "the upstream says that the bridge's certificate is revoked"
        }
        AlertDescription::AccessDenied => "the upstream denies access to the bridge's certificate",
        AlertDescription::UnrecognisedName => {
            "the upstream does not know the name it was called by: `address` has to be the name it is \
             known by"
        }
        AlertDescription::NoApplicationProtocol => {
            "the upstream does not take the protocol that bridge_alpn names, or wants one named there"
        }
        _ => "the upstream has ended the handshake",
    }
}

/// What is wrong with the certificate of a client, behind "the client's certificate".
fn client_certificate(bad: &Bad) -> &'static str {
    match bad {
        Bad::UnknownIssuer => "is from none of the CAs in cafile and capath",
        Bad::Expired | Bad::ExpiredContext { .. } => "has expired",
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "is not valid yet: is the clock right here?"
        }
        Bad::Revoked => "is revoked (crlfile)",
        Bad::UnknownRevocationStatus => {
            "cannot be judged: crlfile has no list of the CA that has signed it; add that"
        }
        Bad::ExpiredRevocationList | Bad::ExpiredRevocationListContext { .. } => {
            "cannot be judged: the list of its CA in crlfile has ended (nextUpdate); get a new one, SIGHUP \
             takes it"
        }
        Bad::BadSignature => "has a signature that is wrong, or of a key below 2048 bits",
        Bad::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "is of version 1, and damaged"
        }
        Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "is that of a CA (CA:TRUE): it needs one of its own, signed by that"
        }
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            "is not for clients: its extendedKeyUsage lacks clientAuth"
        }
        _ => "cannot be used",
    }
}

/// What is wrong with the certificate of the upstream `name`.
fn certificate(bad: &Bad, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match bad {
        Bad::ExpiredContext { time, not_after } => write!(
            f,
            "the upstream's certificate has expired on {}: its operator has to renew it (or is the clock \
             wrong here? It is judged as of {})",
            date(*not_after),
            date(*time)
        ),
        Bad::NotValidYetContext { time, not_before } => write!(
            f,
            "the upstream's certificate is not valid yet, but from {} on: is the clock wrong here? It is \
             judged as of {}",
            date(*not_before),
            date(*time)
        ),
        Bad::NotValidForName => {
            write!(f, "the upstream's certificate is not for {name}")
        }
        Bad::NotValidForNameContext { presented, .. } if presented.is_empty() => write!(
            f,
            "the upstream's certificate has no subjectAltName, and the common name does not count (RFC \
             9525): it has to be made anew with one for {name}; bridge_insecure true skips the name"
        ),
        Bad::NotValidForNameContext { presented, .. } => write!(
            f,
            "the upstream's certificate is not for {name}, but for {}: put that into `address`, or \
             bridge_insecure true skips the name",
            plain(presented)
        ),
        Bad::BadSignature => f.write_str(
            "a signature in the upstream's certificates is wrong: they are damaged, or something stands \
             between here and the upstream",
        ),
        Bad::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id,
            ..
        } => write!(
            f,
            "the upstream's certificate is signed by an algorithm that is not taken: {}; have it signed \
             with SHA-256",
            algorithm(signature_algorithm_id)
        ),
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => f.write_str(
            "the upstream's certificate is not for servers: its extendedKeyUsage lacks serverAuth",
        ),
        Bad::Revoked => f.write_str("the upstream's certificate is revoked"),
        Bad::Other(other) if other.0.is::<UnknownCa>() => {
            let issuer = other.0.downcast_ref::<UnknownCa>().map(|ca| &*ca.issuer);
            write!(
                f,
                "the upstream's certificate is from {}, a CA that is none of those that the bridge trusts: \
                 put its certificate into bridge_cafile, where one with CA:FALSE counts for itself alone",
                issuer.unwrap_or_default()
            )
        }
        Bad::Other(other) => {
            let text = other.to_string();
            if let Some(SmallKey { subject, bits }) = other.0.downcast_ref() {
                write!(
                    f,
                    "{subject} has an RSA key below 2048 bits, which is not taken (OpenSSL may): it has \
                     {bits}; the upstream needs certificates with larger keys"
                )
            } else if text.contains("CaUsedAsEndEntity") {
                f.write_str(
                    "the upstream shows a CA certificate as its own (CA:TRUE): it needs one of its own, \
                     signed by that",
                )
            } else if text.contains("EndEntityUsedAsCa") {
                f.write_str(
                    "the upstream's certificate is signed by one that is no CA's (CA:FALSE) and counts for \
                     itself alone",
                )
            } else if text.contains("UnsupportedCertVersion") {
                f.write_str(
                    "the upstream's certificate is of version 1, without extensions, and so without names: it \
                     has to be made anew as version 3, with a subjectAltName; bridge_insecure true takes it \
                     without a look at names",
                )
            } else {
                write!(f, "the upstream's certificate cannot be used: {text}")
            }
        }
        other => write!(f, "the upstream's certificate cannot be used: {other}"),
    }
}

/// What a signature's algorithm is called that rustls does not take.
fn algorithm(id: &[u8]) -> &'static str {
    // What is inside the AlgorithmIdentifier begins with the object identifier.
    match Elements::new(id).inside(tag::OID) {
        // sha1WithRSAEncryption, ecdsa-with-SHA1.
        Some(
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1],
        ) => "SHA-1",
        // ecdsa-with-SHA512.
        Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]) => {
            "a P-256 key with SHA-512 (OpenSSL takes it)"
        }
        _ => "neither RSA nor ECDSA on P-256 and P-384 nor Ed25519 with SHA-256 or SHA-384",
    }
}

/// A moment for people.
fn date(at: UnixTime) -> String {
    DateTime::new(Duration::from_secs(at.as_secs())).iso8601()
}

/// Names without what webpki writes around them, as in `DnsName("a")`.
fn plain(presented: &[String]) -> String {
    let names = presented.iter().map(|name| {
        let inside = name.split_once('(').map_or(&**name, |(_, inside)| inside);
        inside.trim_end_matches(')').trim_matches('"')
    });
    names.collect::<Vec<_>>().join(", ")
}

/// A line about one's own certificate for the log, as of `now` since 1970: subject, names, until when.
#[must_use]
pub fn describe(certificate: &Certificate) -> String {
    let names = match &*certificate.names.join(", ") {
        "" => "no names".to_owned(),
        names => names.to_owned(),
    };
    format!(
        "{} for {names}, until {}",
        certificate.subject,
        DateTime::new(certificate.not_after).iso8601()
    )
}
