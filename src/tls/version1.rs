//! Certificates of version 1, which have no extensions. webpki takes none, but they are what `openssl x509
//! -req` made up to OpenSSL 3.3 and what mosquitto-tls(7) tells to make, so devices in the field have them.
//! One counts here where a CA that is trusted has signed it itself: it can't be a CA, and it has no names
//! but its subject.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, PeerMisbehaved};
use webpki::RawPublicKeyEntity;

use super::certificate::Certificate;
use super::der::{Elements, tag};
use super::files::lists;

/// A certificate of version 1.
#[derive(Debug)]
pub(super) struct Version1<'a> {
    certificate: Certificate,
    serial: &'a [u8],
    /// What is signed.
    signed: &'a [u8],
    /// By which algorithm, without tag and length.
    algorithm: &'a [u8],
    signature: &'a [u8],
    key: SubjectPublicKeyInfoDer<'a>,
}

impl<'a> Version1<'a> {
    /// Reads a certificate in DER. `None` if it is none of version 1.
    pub(super) fn read(der: &'a [u8]) -> Option<Version1<'a>> {
        let certificate = Certificate::read(der).filter(|read| read.version == 1)?;
        let mut parts = Elements::new(der).enter(tag::SEQUENCE)?;
        let signed = parts.whole(tag::SEQUENCE)?;
        let algorithm = parts.inside(tag::SEQUENCE)?;
        let (unused_bits, signature) = parts.inside(tag::BIT_STRING)?.split_first()?;
        let mut fields = Elements::new(signed).enter(tag::SEQUENCE)?;
        let serial = fields.inside(tag::INTEGER)?;
        // RFC 5280, section 4.1.1.2: it stands there twice.
        let is_same = fields.inside(tag::SEQUENCE)? == algorithm;
        for _issuer_validity_subject in 0..3 {
            fields.inside(tag::SEQUENCE)?;
        }
        let key = SubjectPublicKeyInfoDer::from(fields.whole(tag::SEQUENCE)?);
        let is_whole = fields.next().is_none() && parts.next().is_none();
        (is_same && is_whole && *unused_bits == 0).then_some(Version1 {
            certificate,
            serial,
            signed,
            algorithm,
            signature,
            key,
        })
    }

    /// Whether one of `roots` has signed it, and it holds at `now`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn verify(
        &self,
        roots: &[TrustAnchor<'_>],
        supported: WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let issuer = self.certificate.raw_issuer();
        let named = roots.iter().filter(|root| root.subject.as_ref() == issuer);
        // What a CA may sign for is not looked at here, so one that is limited signs for nobody.
        let mut issuers = named
            .filter(|root| root.name_constraints.is_none())
            .peekable();
        issuers.peek().ok_or(CertificateError::UnknownIssuer)?;
        if !issuers.any(|root| self.is_signed_by(root, supported)) {
            return Err(CertificateError::BadSignature);
        }
        holds(&self.certificate, now)
    }

    fn is_signed_by(&self, root: &TrustAnchor<'_>, supported: WebPkiSupportedAlgorithms) -> bool {
        let what = (self.signed, self.algorithm, self.signature);
        has_signed(root, what, supported)
    }

    /// Whether the list of its CA, one of `roots`, says that it is not revoked. Where `now` is given, the
    /// list has to count then.
    ///
    /// # Errors
    /// It is revoked, or there is no list that says so or not.
    pub(super) fn check_revocation(
        &self,
        lists: &[CertificateRevocationListDer<'_>],
        roots: &[TrustAnchor<'_>],
        supported: WebPkiSupportedAlgorithms,
        now: Option<UnixTime>,
    ) -> Result<(), CertificateError> {
        let issuer = self.certificate.raw_issuer();
        let list = lists::of(issuer, lists).ok_or(CertificateError::UnknownRevocationStatus)?;
        let what = (list.signed, list.algorithm, list.signature);
        let mut cas = roots.iter().filter(|root| root.subject.as_ref() == issuer);
        if !cas.any(|root| has_signed(root, what, supported)) {
            return Err(CertificateError::UnknownRevocationStatus);
        }
        if let (Some(ends), Some(now)) = (list.ends, now)
            && ends.as_secs() < now.as_secs()
        {
            return Err(CertificateError::ExpiredRevocationList);
        }
        if list.revokes(self.serial) {
            return Err(CertificateError::Revoked);
        }
        Ok(())
    }

    /// Whether its holder has signed the handshake, in TLS 1.2.
    ///
    /// # Errors
    /// It has not, or by an algorithm that is not used.
    fn verify_tls12(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        supported: WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = RawPublicKeyEntity::try_from(&self.key);
        let key = key.map_err(|_| CertificateError::BadEncoding)?;
        let mut mapping = supported.mapping.iter();
        let (_, algorithms) = mapping
            .find(|(scheme, _)| *scheme == signed.scheme)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let mut algorithms = algorithms.iter();
        let is_signed = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        };
        if algorithms.any(is_signed) {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }

    /// As [`Version1::verify_tls12`], in TLS 1.3.
    ///
    /// # Errors
    /// The same.
    fn verify_tls13(
        &self,
        message: &[u8],
        signed: &DigitallySignedStruct,
        supported: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature_with_raw_key(message, &self.key, signed, supported)
    }
}

/// Whether a certificate holds at `now`.
///
/// # Errors
/// Not yet, or not any more.
pub(super) fn holds(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    if now.as_secs() < certificate.not_before.as_secs() {
        let not_before = UnixTime::since_unix_epoch(certificate.not_before);
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        });
    }
    if now.as_secs() > certificate.not_after.as_secs() {
        let not_after = UnixTime::since_unix_epoch(certificate.not_after);
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        });
    }
    Ok(())
}

/// Whether the holder of a certificate of any version has signed the handshake, in TLS 1.2.
///
/// # Errors
/// It has not, or by an algorithm that is not used.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    match Version1::read(certificate) {
        Some(old) => old.verify_tls12(message, signed, *supported),
        None => verify_tls12_signature(message, certificate, signed, supported),
    }
}

/// As [`verify_tls12`], in TLS 1.3.
///
/// # Errors
/// The same.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    supported: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    match Version1::read(certificate) {
        Some(old) => old.verify_tls13(message, signed, supported),
        None => verify_tls13_signature(message, certificate, signed, supported),
    }
}

/// Whether `root` has signed something: what, by which algorithm, and its signature.
fn has_signed(
    root: &TrustAnchor<'_>,
    (signed, algorithm, signature): (&[u8], &[u8], &[u8]),
    supported: WebPkiSupportedAlgorithms,
) -> bool {
    let key = SubjectPublicKeyInfoDer::from(wrapped(&root.subject_public_key_info));
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    let mut known = supported.all.iter();
    known.any(|known| {
        known.signature_alg_id().as_ref() == algorithm
            && key.verify_signature(*known, signed, signature).is_ok()
    })
}

/// `inside` as a SEQUENCE: anchors have keys without their tag and length.
fn wrapped(inside: &[u8]) -> Vec<u8> {
    let len = inside.len().to_be_bytes();
    let digits = len.iter().position(|b| *b != 0).unwrap_or(len.len() - 1);
    let digits = len.get(digits..).unwrap_or_default();
    let mut out = vec![tag::SEQUENCE];
    if inside.len() >= 0x80 {
        // At most eight digits.
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
    }
    out.extend_from_slice(digits);
    out.extend_from_slice(inside);
    out
}
