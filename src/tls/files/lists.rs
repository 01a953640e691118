//! Revocation lists (RFC 5280, section 5), as far as they are read here: whose one is, which of several of
//! one CA is the newest, until when it counts, and which certificates of version 1 it names.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::{self, PemObject};

use super::read;
use crate::time::calendar::DateTime;
use crate::tls::certificate;
use crate::tls::der::{Elements, tag};
use crate::tls::error::Error;

/// A list.
#[derive(Debug)]
pub(in crate::tls) struct List<'a> {
    /// The name of its CA, without tag and length.
    pub(in crate::tls) issuer: &'a [u8],
    /// When it was made, since 1970.
    made: Duration,
    /// When the next one was to be made, since 1970: this one counts until then. `None`: for ever.
    pub(in crate::tls) ends: Option<Duration>,
    revoked: Elements<'a>,
    /// What is signed.
    pub(in crate::tls) signed: &'a [u8],
    /// By which algorithm, without tag and length.
    pub(in crate::tls) algorithm: &'a [u8],
    pub(in crate::tls) signature: &'a [u8],
}

impl<'a> List<'a> {
    /// Reads a list in DER. `None` if it is none.
    pub(in crate::tls) fn read(der: &'a [u8]) -> Option<List<'a>> {
        let mut parts = Elements::new(der).enter(tag::SEQUENCE)?;
        let signed = parts.whole(tag::SEQUENCE)?;
        let algorithm = parts.inside(tag::SEQUENCE)?;
        let (_, signature) = parts.inside(tag::BIT_STRING)?.split_first()?;
        let mut fields = Elements::new(signed).enter(tag::SEQUENCE)?;
        // Version, if it is not 1, and algorithm.
        fields.inside(tag::INTEGER);
        fields.inside(tag::SEQUENCE)?;
        let issuer = fields.inside(tag::SEQUENCE)?;
        let made = certificate::time(&mut fields)?;
        let mut rest = fields;
        let ends = certificate::time(&mut rest);
        if ends.is_some() {
            fields = rest;
        }
        Some(List {
            issuer,
            made,
            ends,
            revoked: fields.enter(tag::SEQUENCE).unwrap_or(Elements::new(&[])),
            signed,
            algorithm,
            signature,
        })
    }

    /// Whether it names the certificate with this serial number.
    pub(in crate::tls) fn revokes(&self, serial: &[u8]) -> bool {
        let mut entries = self.revoked;
        entries.any(|(_, entry)| Elements::new(entry).inside(tag::INTEGER) == Some(serial))
    }

    /// What there is to warn of at `now`, since 1970: it counts no more, or three quarters of its time are
    /// over and nobody has put the next one in its place.
    fn warning(&self, now: Duration) -> Option<String> {
        let (ends, made) = (self.ends?, self.made);
        let ca = certificate::name(self.issuer)?;
        let date = DateTime::new(ends).iso8601();
        if ends < now {
            return Some(format!(
                "the list of {ca} in crlfile has ended on {date}: until there is a new one, no client of that \
                 CA is let in; SIGHUP takes it."
            ));
        }
        let is_late = (ends - now) * 4 < ends.saturating_sub(made);
        is_late.then(|| {
            format!(
                "the list of {ca} in crlfile ends on {date}, and then no client of that CA is let in: put a \
                 new one there; SIGHUP takes it."
            )
        })
    }
}

/// The revocation lists of a PEM file, the newest first, because the first one of a CA counts; at least one.
pub(in crate::tls) fn crls(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let not_one = |why: String| Error::NotACrl(path.to_owned(), why);
    let bytes = read(path)?;
    let all: Result<Vec<_>, pem::Error> =
        CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let mut all = all.map_err(|why| not_one(why.to_string()))?;
    if all.is_empty() {
        return Err(not_one("there is none".to_owned()));
    }
    if let Some(n) = all.iter().position(|der| List::read(der).is_none()) {
        return Err(not_one(format!("list {} is damaged", n + 1)));
    }
    all.sort_by_key(|der| std::cmp::Reverse(List::read(der).map(|list| list.made)));
    Ok(all)
}

/// That of the CA `issuer`, out of what [`crls`] has read.
pub(in crate::tls) fn of<'a>(
    issuer: &[u8],
    lists: &'a [CertificateRevocationListDer<'_>],
) -> Option<List<'a>> {
    let mut lists = lists.iter().filter_map(|der| List::read(der));
    lists.find(|list| list.issuer == issuer)
}

/// What there is to warn of at `now`, since 1970, about the lists that count of those that [`crls`] has read.
pub(in crate::tls) fn warnings(
    lists: &[CertificateRevocationListDer<'_>],
    now: Duration,
) -> Vec<String> {
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut lines = Vec::new();
    for list in lists.iter().filter_map(|der| List::read(der)) {
        if !seen.contains(&list.issuer) {
            seen.push(list.issuer);
            lines.extend(list.warning(now));
        }
    }
    lines
}
