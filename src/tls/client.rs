//! TLS to an upstream.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use sha2::{Digest, Sha256};

use super::certificate::{self, Certificate, may_serve, may_sign};
use super::clock::Clock;
use super::error::Error;
use super::files::{self, Cas};
use super::server::own_key;
use super::suites;
use super::version1::{self, Version1};
use crate::config::BridgeTls;

/// What the handshakes of a bridge go by. Its files are read for each of them; as long as they are the
/// same, the session with the upstream goes on.
#[derive(Debug)]
pub struct ClientSide {
    clock: Clock,
    /// What the last handshake went by, and a hash of all that it was made of: rustls resumes a session
    /// only by the very configuration that has begun it.
    last: Option<(u64, Arc<ClientConfig>)>,
}

impl ClientSide {
    /// One that knows no session yet.
    #[must_use]
    pub fn new(clock: Clock) -> ClientSide {
        ClientSide { clock, last: None }
    }

    /// What the next handshake goes by.
    ///
    /// # Errors
    /// Whatever keeps the files from being used, as a sentence with its cure.
    pub(super) fn config(&mut self, tls: &BridgeTls) -> Result<Arc<ClientConfig>, Error> {
        let pair = tls.certfile.as_deref().zip(tls.keyfile.as_deref());
        let hash = files::fingerprint(tls, Cas::of_bridge(tls), pair, [])?;
        if let Some((last, config)) = &self.last
            && *last == hash
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.read(tls)?);
        self.last = Some((hash, Arc::clone(&config)));
        Ok(config)
    }

    /// Reads the files of a bridge, as far as that says what is wrong with them.
    ///
    /// # Errors
    /// As the first connect would have them.
    pub fn check(tls: &BridgeTls) -> Result<(), Error> {
        let mut side = ClientSide::new(Clock::default());
        side.config(tls).map(drop)
    }

    fn read(&self, tls: &BridgeTls) -> Result<ClientConfig, Error> {
        let provider = suites::provider(tls.suites.as_deref())?;
        let cas = Cas::of_bridge(tls);
        let refused = |why: String| Error::Refused(why);
        let trusted = Trusted::read(cas, &provider)?;
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&provider), self.clock.shared());
        let builder = builder
            .with_protocol_versions(suites::versions(tls.version))
            .map_err(|why| refused(why.to_string()))?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                trusted,
                supported: provider.signature_verification_algorithms,
                takes_any_name: tls.insecure,
            }));
        let mut config = match (&tls.certfile, &tls.keyfile) {
            (Some(certificate), Some(key)) => {
                let own = own_key((certificate, key), cas, &provider)?;
                let own = rustls::sign::SingleCertAndKey::from(own);
                builder.with_client_cert_resolver(Arc::new(own))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = tls
            .alpn
            .iter()
            .map(|name| name.clone().into_bytes())
            .collect();
        config.resumption = Resumption::in_memory_sessions(1);
        Ok(config)
    }
}

/// The upstream's certificate is from a CA that is not trusted.
#[derive(Debug)]
pub(super) struct UnknownCa {
    /// The CA's subject.
    pub(super) issuer: String,
}

impl std::fmt::Display for UnknownCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unknown CA {}", self.issuer)
    }
}

impl std::error::Error for UnknownCa {}

/// A key in the upstream's chain, or that of its CA, is of RSA with less than 2048 bits. The signature is
/// right, as far as is known.
#[derive(Debug)]
pub(super) struct SmallKey {
    /// Whose it is.
    pub(super) subject: String,
    /// How many bits it has.
    pub(super) bits: usize,
}

impl std::fmt::Display for SmallKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key of {} with {} bits", self.subject, self.bits)
    }
}

impl std::error::Error for SmallKey {}

/// What webpki says of a CA's certificate that is shown as somebody's own.
pub(super) const CA_USED: &str = "CaUsedAsEndEntity";
/// The least bits of RSA keys that ring takes.
const RSA_BITS: usize = 2048;

impl SmallKey {
    /// The first in a chain, or that of the one of `roots` that has signed its end.
    fn find(chain: &[&CertificateDer<'_>], roots: &RootCertStore) -> Option<SmallKey> {
        let small = |bits: Option<usize>| bits.filter(|bits| *bits < RSA_BITS);
        let read: Vec<_> = chain
            .iter()
            .filter_map(|der| Certificate::read(der))
            .collect();
        let in_chain = read.iter().find_map(|certificate| {
            let subject = certificate.subject.clone();
            small(certificate.rsa_bits).map(|bits| SmallKey { subject, bits })
        });
        in_chain.or_else(|| {
            let last = read.last()?;
            let mut roots = roots.roots.iter();
            let root = roots.find(|root| &*root.subject == last.raw_issuer())?;
            let bits = small(certificate::rsa_bits(&root.subject_public_key_info))?;
            let subject = last.issuer.clone();
            Some(SmallKey { subject, bits })
        })
    }
}

/// Whether a certificate is refused for that it is a CA's.
fn is_ca(why: &CertificateError) -> bool {
    matches!(why, CertificateError::Other(other) if other.to_string().contains(CA_USED))
}

fn is_self_signed(der: &CertificateDer<'_>) -> bool {
    Certificate::read(der).is_some_and(|read| read.is_self_signed())
}

/// Who has signed the last certificate of a chain.
fn issuer(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<String> {
    let last = intermediates.last().unwrap_or(end_entity);
    Some(Certificate::read(last)?.issuer)
}

/// What bridge_cafile and the like have, as OpenSSL takes it.
#[derive(Debug)]
struct Trusted {
    /// Those of CAs, which sign others'. For rustls each root is such a one.
    roots: Arc<RootCertStore>,
    /// What judges by them; `None`: there is none.
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// SHA-256 of those that have signed themselves: an upstream may show each as its own, a CA's too.
    alone: Vec<[u8; 32]>,
}

impl Trusted {
    fn read(cas: Cas<'_>, provider: &Arc<CryptoProvider>) -> Result<Trusted, Error> {
        // Says what is wrong with any.
        cas.roots()?;
        let (mut roots, mut alone) = (RootCertStore::empty(), Vec::new());
        for (_, der) in cas.certificates()? {
            if is_self_signed(&der) {
                alone.push(Sha256::digest(&der).into());
            }
            if may_sign(&der) {
                let _ = roots.add(der);
            }
        }
        let (roots, mut inner) = (Arc::new(roots), None);
        if !roots.is_empty() {
            let builder = WebPkiServerVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(provider),
            );
            let built = builder.build();
            inner = Some(built.map_err(|why| Error::Refused(why.to_string()))?);
        }
        Ok(Trusted {
            roots,
            inner,
            alone,
        })
    }

    /// Whether it is one that counts for itself.
    fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        let hash: [u8; 32] = Sha256::digest(certificate).into();
        self.alone.contains(&hash)
    }

    /// Judges the certificate of an upstream and, last, its name.
    fn verify(
        &self,
        chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (end_entity, intermediates) = chain;
        if self.has(end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let read = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
            version1::holds(&read, now)?;
            if !may_serve(end_entity) {
                return Err(CertificateError::InvalidPurpose.into());
            }
            return verify_server_name(&parsed, server_name);
        }
        let inner = self.inner.as_ref();
        let inner = inner.ok_or(CertificateError::UnknownIssuer)?;
        let judged = inner.verify_server_cert(end_entity, intermediates, server_name, &[], now);
        judged.map(drop)
    }
}

/// Judges the certificate of an upstream as rustls does; the name may be any where `bridge_insecure` says
/// so, but it comes from a CA that is trusted all the same.
#[derive(Debug)]
struct Verifier {
    trusted: Trusted,
    supported: WebPkiSupportedAlgorithms,
    takes_any_name: bool,
}

impl Verifier {
    /// A signature that is refused for a small key says so.
    fn named<T>(
        &self,
        judged: Result<T, rustls::Error>,
        chain: &[&CertificateDer<'_>],
    ) -> Result<T, rustls::Error> {
        use rustls::CertificateError::{BadSignature, Other};
        judged.map_err(|error| match error {
            rustls::Error::InvalidCertificate(BadSignature) => {
                match SmallKey::find(chain, &self.trusted.roots) {
                    Some(small) => Other(OtherError(Arc::new(small))).into(),
                    None => error,
                }
            }
            error => error,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext, Other, UnknownIssuer};
        // One of version 1 has no name to be looked at.
        if let Some(old) = Version1::read(end_entity).filter(|_| self.takes_any_name) {
            old.verify(&self.trusted.roots.roots, self.supported, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        // The name is looked at last, when all else is good.
        let chain = (end_entity, intermediates);
        match self.trusted.verify(chain, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) if self.takes_any_name => Ok(ServerCertVerified::assertion()),
            Err(rustls::Error::InvalidCertificate(why))
                if why == UnknownIssuer || is_ca(&why) && is_self_signed(end_entity) =>
            {
                let issuer = issuer(end_entity, intermediates).unwrap_or_default();
                Err(Other(OtherError(Arc::new(UnknownCa { issuer }))).into())
            }
            Err(error) => {
                let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).collect();
                self.named(Err(error), &chain)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified = version1::verify_tls12(message, certificate, signature, &self.supported);
        self.named(verified, &[certificate])
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified = version1::verify_tls13(message, certificate, signature, &self.supported);
        self.named(verified, &[certificate])
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.supported.supported_schemes()
    }
}
