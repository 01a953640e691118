//! Which versions and cipher suites of TLS are used.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::{TLS12, TLS13};

use super::error::Error;
use crate::config::TlsVersion;

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEW: &[&SupportedProtocolVersion] = &[&TLS13];

/// From `oldest` on.
pub(super) fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match oldest {
        TlsVersion::V12 => BOTH,
        TlsVersion::V13 => NEW,
    }
}

/// What does the arithmetic; of the suites of TLS 1.3 only those of `tls13`, names with colons between
/// them, in their order.
pub(super) fn provider(tls13: Option<&str>) -> Result<Arc<CryptoProvider>, Error> {
    let mut provider = ring::default_provider();
    let Some(names) = tls13 else {
        return Ok(Arc::new(provider));
    };
    let mut chosen = Vec::new();
    for name in names.split(':').filter(|name| !name.is_empty()) {
        // rustls calls them as RFC 8446 does, but for the prefix.
        let wanted = name.replacen("TLS_", "TLS13_", 1);
        let mut known = provider.cipher_suites.iter();
        let suite = known.find(|suite| format!("{:?}", suite.suite()) == wanted);
        chosen.push(*suite.ok_or_else(|| Error::Suite(name.to_owned()))?);
    }
    let older = provider.cipher_suites.iter().copied();
    chosen.extend(older.filter(|suite| suite.tls13().is_none()));
    provider.cipher_suites = chosen;
    Ok(Arc::new(provider))
}
