//! TLS to an upstream.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::clock::Clock;
use super::error::Error;
use super::files::Cas;
use super::server::own_key;
use super::suites;
use crate::config::BridgeTls;

/// What the handshakes of a bridge go by. Its files are read for each of them; what lasts is the session
/// with the upstream.
#[derive(Debug)]
pub struct ClientSide {
    resumption: Resumption,
    clock: Clock,
}

impl ClientSide {
    /// One that knows no session yet.
    #[must_use]
    pub fn new(clock: Clock) -> ClientSide {
        ClientSide {
            resumption: Resumption::in_memory_sessions(1),
            clock,
        }
    }

    /// Reads the files of a bridge.
    ///
    /// # Errors
    /// Whatever keeps them from being used, as a sentence with its cure.
    pub(super) fn config(&self, tls: &BridgeTls) -> Result<Arc<ClientConfig>, Error> {
        let provider = suites::provider(tls.suites.as_deref())?;
        let cas = Cas {
            file: tls.cafile.as_deref(),
            folder: tls.capath.as_deref(),
            system: tls.use_os_certs,
        };
        let refused = |why: String| Error::Refused(why);
        let roots = Arc::new(cas.roots()?);
        let inner = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
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
        config.resumption = self.resumption.clone();
        Ok(Arc::new(config))
    }
}

/// Judges the certificate of an upstream as rustls does; the name may be any where `bridge_insecure` says
/// so, but it comes from a CA that is trusted all the same.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    takes_any_name: bool,
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
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
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
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
