//! What the directives about TLS say.

use std::borrow::Cow;
use std::path::PathBuf;

use super::UpstreamAddress;

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    V12,
    /// 1.3.
    V13,
}

/// TLS of a listener; without a certificate there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    /// `certfile`.
    pub certfile: Option<PathBuf>,
    /// `keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `cafile`: the CAs of client certificates.
    pub cafile: Option<PathBuf>,
    /// `capath`: a folder of them.
    pub capath: Option<PathBuf>,
    /// `crlfile`.
    pub crlfile: Option<PathBuf>,
    /// `require_certificate`. Default false.
    pub require_certificate: bool,
    /// `use_identity_as_username` and `use_subject_as_username`.
    pub username: CertificateUsername,
    /// `tls_version`. Default 1.2.
    pub version: TlsVersion,
    /// `ciphers_tls1.3`, with colons between them; `None` is all.
    pub suites: Option<String>,
    /// `disable_client_cert_date_checks`. Default false.
    pub disable_client_cert_date_checks: bool,
}

impl ListenerTls {
    /// True if the listener speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certfile.is_some()
    }
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateUsername {
    /// Nothing: the CONNECT says who it is.
    #[default]
    None,
    /// `use_identity_as_username`: the common name of its subject.
    CommonName,
    /// `use_subject_as_username`: the whole subject.
    Subject,
}

/// TLS of a bridge; without a CA there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeTls {
    /// `bridge_cafile`: the CAs of the upstream.
    pub cafile: Option<PathBuf>,
    /// `bridge_capath`: a folder of them.
    pub capath: Option<PathBuf>,
    /// `bridge_tls_use_os_certs`: those of the system. Default false.
    pub use_os_certs: bool,
    /// `bridge_certfile`.
    pub certfile: Option<PathBuf>,
    /// `bridge_keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `bridge_insecure`: the name in the upstream's certificate may be any. Default false.
    pub insecure: bool,
    /// `bridge_alpn`.
    pub alpn: Option<String>,
    /// `bridge_tls_version`. Default 1.2.
    pub version: TlsVersion,
    /// `bridge_ciphers_tls1.3`, with colons between them; `None` is all.
    pub suites: Option<String>,
}

impl BridgeTls {
    /// True if the bridge speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cafile.is_some() || self.capath.is_some() || self.use_os_certs
    }

    /// TLS to the upstream at `address`; `None` without. The scheme of a URL says whether there is any:
    /// `wss://` trusts the CAs of the system where none is named.
    #[must_use]
    pub fn to(&self, address: &UpstreamAddress) -> Option<Cow<'_, BridgeTls>> {
        match &address.web {
            None => self.is_on().then_some(Cow::Borrowed(self)),
            Some(web) if !web.tls => None,
            Some(_) if self.is_on() => Some(Cow::Borrowed(self)),
            Some(_) => {
                let mut tls = self.clone();
                tls.use_os_certs = true;
                Some(Cow::Owned(tls))
            }
        }
    }
}
