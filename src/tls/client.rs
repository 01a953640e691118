//! TLS to an upstream.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

use super::certificate::{self, Certificate};
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
        let roots = Arc::new(cas.roots()?);
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let inner = inner.build().map_err(|why| refused(why.to_string()))?;
        let builder =
            ClientConfig::builder_with_details(Arc::clone(&provider), self.clock.shared());
        let builder = builder
            .with_protocol_versions(suites::versions(tls.version))
            .map_err(|why| refused(why.to_string()))?;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                inner,
                roots,
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

/// Who has signed the last certificate of a chain.
fn issuer(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Option<String> {
    let last = intermediates.last().unwrap_or(end_entity);
    Some(Certificate::read(last)?.issuer)
}

/// Judges the certificate of an upstream as rustls does; the name may be any where `bridge_insecure` says
/// so, but it comes from a CA that is trusted all the same.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
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
                match SmallKey::find(chain, &self.roots) {
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
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
        // One of version 1 has no name to be looked at.
        if let Some(old) = Version1::read(end_entity).filter(|_| self.takes_any_name) {
            old.verify(&self.roots.roots, self.supported, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        // The name is looked at last, when all else is good.
        let judged = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match judged {
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) if self.takes_any_name => Ok(ServerCertVerified::assertion()),
            Err(rustls::Error::InvalidCertificate(UnknownIssuer)) => {
                let issuer = issuer(end_entity, intermediates).unwrap_or_default();
                let unknown = OtherError(Arc::new(UnknownCa { issuer }));
                Err(rustls::CertificateError::Other(unknown).into())
            }
            judged => {
                let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).collect();
                self.named(judged, &chain)
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
        self.inner.supported_verify_schemes()
    }
}
