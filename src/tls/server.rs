//! TLS on a listener.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, Connection, DigitallySignedStruct, DistinguishedName, HandshakeKind,
    RootCertStore, ServerConfig, SignatureScheme,
};

use super::certificate::{Certificate, may_sign};
use super::clock::Clock;
use super::error::Error;
use super::files::{self, Cas, lists};
use super::suites;
use super::version1::{self, Version1};
use crate::config::{ListenerTls, Protocol};

/// Tickets that a client of TLS 1.3 gets with a handshake: one, because a device has one connection.
const TICKETS: usize = 1;
/// The ALPN names of MQTT, and of the HTTP that a WebSocket begins with (RFC 7301).
const MQTT: &[u8] = b"mqtt";
const HTTP: &[u8] = b"http/1.1";

/// What the handshakes of a listener go by, and what its certificate says.
#[derive(Clone, Debug)]
pub struct ServerSide {
    pub(super) configs: Arc<Configs>,
    /// The listener's own certificate.
    pub certificate: Certificate,
    /// It and its private key.
    key: CertifiedKey,
    /// `crlfile`.
    lists: Arc<[CertificateRevocationListDer<'static>]>,
    /// Of the directives and the files that it is made of.
    fingerprint: u64,
}

/// What handshakes go by.
#[derive(Debug)]
pub(super) struct Configs {
    /// Those of clients that name one of the protocols that are spoken here (ALPN).
    named: Arc<ServerConfig>,
    /// Those of all others: rustls would refuse who names only unknown ones, but devices that have an
    /// odd name for MQTT there must be let in.
    unnamed: Arc<ServerConfig>,
    /// What judges the certificates of clients, where they need one.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl Configs {
    /// What goes for a client that names these protocols.
    pub(super) fn for_client<'a>(
        &self,
        protocols: Option<impl Iterator<Item = &'a [u8]>>,
    ) -> &Arc<ServerConfig> {
        let known = &self.named.alpn_protocols;
        let mut named = protocols.into_iter().flatten();
        if named.any(|name| known.iter().any(|known| known == name)) {
            &self.named
        } else {
            &self.unnamed
        }
    }

    /// Judges the certificate of a client that has gone on with its session. rustls takes it out of the
    /// ticket, as what was good once, and makes a new ticket of it each time: without a second look it
    /// would never expire.
    ///
    /// # Errors
    /// It is good no more.
    pub(super) fn judge_again(&self, connection: &Connection) -> Result<(), rustls::Error> {
        let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let Some(verifier) = self.verifier.as_ref().filter(|_| is_resumed) else {
            return Ok(());
        };
        let shown = connection.peer_certificates().unwrap_or_default();
        let (first, others) = shown
            .split_first()
            .ok_or(rustls::Error::NoCertificatesPresented)?;
        let now = self.unnamed.time_provider.current_time();
        let now = now.ok_or(rustls::Error::FailedToGetCurrentTime)?;
        verifier.verify_client_cert(first, others, now).map(drop)
    }
}

impl ServerSide {
    /// Whether both are made of the same directives and files.
    #[must_use]
    pub fn is_same(&self, other: &ServerSide) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Reads the files of a listener. As long as they are those of `before`, that goes on, and with it
    /// the sessions of clients.
    ///
    /// # Errors
    /// Whatever keeps them from being used, as a sentence with its cure.
    pub fn new(
        tls: &ListenerTls,
        protocol: Protocol,
        clock: &Clock,
        before: Option<&ServerSide>,
    ) -> Result<ServerSide, Error> {
        let cas = Cas::of_listener(tls);
        let pair = tls.certfile.as_deref().zip(tls.keyfile.as_deref());
        let pair = pair.ok_or(Error::HalfAPair)?;
        let others = tls.crlfile.clone();
        let fingerprint = files::fingerprint(&(tls, protocol), cas, Some(pair), others)?;
        if let Some(before) = before.filter(|before| before.fingerprint == fingerprint) {
            return Ok(before.clone());
        }
        let provider = suites::provider(tls.suites.as_deref())?;
        let key = key_of_listener(pair, cas, &provider, before)?;
        let certificate = key
            .end_entity_cert()
            .ok()
            .and_then(|der| Certificate::read(der));
        let certificate = certificate.ok_or_else(|| Error::NoCertificate(pair.0.to_owned()))?;
        let lists: Arc<[_]> = match &tls.crlfile {
            Some(path) if tls.require_certificate => lists::crls(path)?.into(),
            _ => Arc::default(),
        };
        let verifier = if tls.require_certificate {
            Some(verifier(tls, (cas, &lists), &provider)?)
        } else {
            None
        };
        let mut unnamed = config(tls, verifier.clone(), key.clone(), &provider, clock)?;
        let mut named = unnamed.clone();
        named.alpn_protocols = match protocol {
            Protocol::Mqtt => vec![MQTT.to_vec()],
            Protocol::WebSockets | Protocol::Http => vec![HTTP.to_vec(), MQTT.to_vec()],
        };
        unnamed.alpn_protocols = Vec::new();
        Ok(ServerSide {
            configs: Arc::new(Configs {
                named: Arc::new(named),
                unnamed: Arc::new(unnamed),
                verifier,
            }),
            certificate,
            key,
            lists,
            fingerprint,
        })
    }

    /// A line for each list of `crlfile` that counts no more at `now`, since 1970, or soon.
    #[must_use]
    pub fn warn_of_lists(&self, now: Duration) -> Vec<String> {
        lists::warnings(&self.lists, now)
    }
}

/// What handshakes go by, without the names of protocols.
fn config(
    tls: &ListenerTls,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    key: CertifiedKey,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
) -> Result<ServerConfig, Error> {
    let refused = |why: rustls::Error| Error::Refused(why.to_string());
    let builder = ServerConfig::builder_with_details(Arc::clone(provider), clock.shared());
    let builder = builder
        .with_protocol_versions(suites::versions(tls.version))
        .map_err(refused)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    // What a session needs to go on later the client keeps, sealed: nothing here grows with clients.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().map_err(refused)?;
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

/// A certificate with what leads to its CA, and its key.
pub(super) fn own_key(
    (certificate, key): (&Path, &Path),
    cas: Cas<'_>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = files::complete(files::certificates(certificate)?, &cas.certificates()?);
    let der: PrivateKeyDer<'static> = files::key(key)?;
    let signer = provider.key_provider.load_private_key(der);
    let signer = signer.map_err(|why| Error::UnusableKey(key.to_owned(), why.to_string()))?;
    let own = CertifiedKey::new(chain, signer);
    match own.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(Error::Mismatch {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })
        }
        // What cannot be compared shows in a handshake.
        _ => Ok(own),
    }
}

/// As [`own_key`]. A key that cannot be read any more, as where only root may, is the one that was read
/// before, as long as the certificate is the same: new CAs and lists must not wait for a restart.
fn key_of_listener(
    pair: (&Path, &Path),
    cas: Cas<'_>,
    provider: &CryptoProvider,
    before: Option<&ServerSide>,
) -> Result<CertifiedKey, Error> {
    match own_key(pair, cas, provider) {
        Err(Error::Unreadable(path, why)) if path == pair.1 => {
            let chain = files::complete(files::certificates(pair.0)?, &cas.certificates()?);
            let known = before.filter(|before| before.key.cert.first() == chain.first());
            let known = known.ok_or(Error::Unreadable(path, why))?;
            Ok(CertifiedKey::new(chain, Arc::clone(&known.key.key)))
        }
        own => own,
    }
}

/// What judges the certificates of clients.
fn verifier(
    tls: &ListenerTls,
    (cas, lists): (Cas<'_>, &Arc<[CertificateRevocationListDer<'static>]>),
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    if cas.file.is_none() && cas.folder.is_none() {
        return Err(Error::NoCa);
    }
    let hints = cas.roots()?.subjects();
    // For rustls each root is a CA's; here those that are none count for themselves alone.
    let (mut roots, mut alone) = (RootCertStore::empty(), Vec::new());
    for (_, der) in cas.certificates()? {
        if may_sign(&der) {
            // What is wrong with it was said above.
            let _ = roots.add(der);
        } else if Certificate::read(&der).is_some_and(|read| read.is_self_signed()) {
            alone.push(der);
        }
    }
    let (roots, mut inner) = (Arc::new(roots), None);
    if !roots.is_empty() {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        // As OpenSSL with X509_V_FLAG_CRL_CHECK: the list of its CA has to say that the client's own
        // certificate is not revoked; without one that counts nobody gets in.
        let mut builder = builder
            .with_crls(lists.iter().cloned())
            .only_check_end_entity_revocation();
        if !tls.disable_client_cert_date_checks {
            builder = builder.enforce_revocation_expiration();
        }
        let built = builder.build();
        inner = Some(built.map_err(|why| Error::Refused(why.to_string()))?);
    }
    Ok(Arc::new(Verifier {
        inner,
        hints,
        roots,
        alone,
        lists: Arc::clone(lists),
        supported: provider.signature_verification_algorithms,
        any_date: tls.disable_client_cert_date_checks,
    }))
}

/// Judges certificates of clients as rustls does, and those of version 1 beside.
#[derive(Debug)]
struct Verifier {
    /// `None`: there is no CA.
    inner: Option<Arc<dyn ClientCertVerifier>>,
    /// Whose certificates are asked for.
    hints: Vec<DistinguishedName>,
    /// Those of CAs.
    roots: Arc<RootCertStore>,
    /// Those that have signed themselves, and nothing else.
    alone: Vec<CertificateDer<'static>>,
    /// `crlfile`.
    lists: Arc<[CertificateRevocationListDer<'static>]>,
    supported: WebPkiSupportedAlgorithms,
    /// Takes certificates also before and after they hold (`disable_client_cert_date_checks`).
    any_date: bool,
}

impl Verifier {
    /// The moment as of which a certificate is judged.
    fn moment(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
        let read = Certificate::read(certificate).filter(|_| self.any_date);
        read.map_or(now, |certificate| {
            let now = Duration::from_secs(now.as_secs());
            let within = now.min(certificate.not_after).max(certificate.not_before);
            UnixTime::since_unix_epoch(within)
        })
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let moment = self.moment(end_entity, now);
        if self.alone.iter().any(|known| known == end_entity) {
            // Of itself it has made no list.
            return if self.lists.is_empty() {
                let read = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
                version1::holds(&read, moment)?;
                Ok(ClientCertVerified::assertion())
            } else {
                Err(CertificateError::UnknownRevocationStatus.into())
            };
        }
        let Some(old) = Version1::read(end_entity) else {
            let inner = self.inner.as_ref();
            let inner = inner.ok_or(CertificateError::UnknownIssuer)?;
            return inner.verify_client_cert(end_entity, intermediates, moment);
        };
        let roots = &self.roots.roots;
        old.verify(roots, self.supported, moment)?;
        if !self.lists.is_empty() {
            let as_of = (!self.any_date).then_some(now);
            old.check_revocation(&self.lists, roots, self.supported, as_of)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version1::verify_tls12(message, certificate, signature, &self.supported)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version1::verify_tls13(message, certificate, signature, &self.supported)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.supported.supported_schemes()
    }
}
