//! What a certificate says of itself: for the log, for user names, for sentences about what is wrong.
//! Nothing is decided by it but for certificates of version 1, and whose owner may sign others'.

mod name;

use core::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::der::{Elements, tag};
use crate::config::CertificateUsername;
use name::{attributes, text};

pub(super) use name::name;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
/// serverAuth.
const SERVER: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
/// rsaEncryption.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// The tags of names in a SubjectAltName (RFC 5280, section 4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of the subject, the first where there are several, as Mosquitto has it; `None`: it has none, or an
    /// empty one.
    pub common_name: Option<String>,
    /// The subject as OpenSSL prints it with XN_FLAG_RFC2253, and so Mosquitto's `use_subject_as_username`.
    pub subject: String,
    /// The subject of the CA that has signed it, written like the subject.
    pub issuer: String,
    /// The DNS names and addresses that it is for; the common name does not count.
    pub names: Vec<String>,
    /// The first moment at which it holds, since 1970.
    pub not_before: Duration,
    /// The last one.
    pub not_after: Duration,
    /// The version: 1 to 3.
    pub version: u8,
    /// How many bits its key has, if that is one of RSA.
    pub rsa_bits: Option<usize>,
    /// The bytes of the subject and of the issuer, to find who has signed whom.
    raw_names: (Box<[u8]>, Box<[u8]>),
}

impl Certificate {
    /// Reads a certificate in DER. `None` if it is none.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let mut certificate = Elements::new(der).enter(tag::SEQUENCE)?;
        let mut fields = certificate.enter(tag::SEQUENCE)?;
        // [0] EXPLICIT Version DEFAULT v1
        let version = match fields.enter(0xa0) {
            Some(mut version) => version.inside(tag::INTEGER)?.last()?.saturating_add(1),
            None => 1,
        };
        fields.inside(tag::INTEGER)?;
        fields.inside(tag::SEQUENCE)?;
        let issuer = fields.inside(tag::SEQUENCE)?;
        let mut validity = fields.enter(tag::SEQUENCE)?;
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = fields.inside(tag::SEQUENCE)?;
        let rsa_bits = rsa_bits(fields.inside(tag::SEQUENCE)?);
        Some(Certificate {
            common_name: common_name(subject),
            subject: name(subject)?,
            issuer: name(issuer)?,
            names: alternative_names(fields).unwrap_or_default(),
            not_before,
            not_after,
            version,
            rsa_bits,
            raw_names: (subject.into(), issuer.into()),
        })
    }

    /// The bytes of the issuer, without tag and length.
    pub(super) fn raw_issuer(&self) -> &[u8] {
        &self.raw_names.1
    }

    /// What of it is the user name of the client that shows it.
    pub fn username(&self, by: CertificateUsername) -> Option<&str> {
        let name = match by {
            CertificateUsername::None => None,
            CertificateUsername::CommonName => self.common_name.as_deref(),
            CertificateUsername::Subject => Some(&*self.subject),
        };
        name.filter(|name| !name.is_empty())
    }

    /// True if `other` may have signed it: it has the name of who did.
    pub fn may_be_signed_by(&self, other: &Certificate) -> bool {
        self.raw_names.1 == other.raw_names.0
    }

    /// True if its subject has signed it itself.
    pub fn is_self_signed(&self) -> bool {
        self.raw_names.0 == self.raw_names.1
    }
}

/// Whether the owner of a certificate may sign those of others, as OpenSSL judges that: one of version 3
/// says so, one of version 1 is a CA's if it has signed itself.
pub(super) fn may_sign(der: &[u8]) -> bool {
    let Some(certificate) = Certificate::read(der) else {
        return false;
    };
    if certificate.version < 3 {
        return certificate.is_self_signed();
    }
    // [RFC 5280, section 4.2.1.3]: keyCertSign is the sixth bit; a byte for unused bits stands before.
    let usage = extension(der, KEY_USAGE).and_then(|mut usage| usage.inside(tag::BIT_STRING));
    let signs = usage.map(|bits| bits.get(1).is_some_and(|first| first & 0x04 != 0));
    let is_ca = extension(der, BASIC_CONSTRAINTS).map(|mut constraints| {
        let inside = constraints.enter(tag::SEQUENCE);
        let flag = inside.and_then(|mut inside| inside.inside(tag::BOOLEAN));
        flag.is_some_and(|flag| flag != [0])
    });
    is_ca.or(signs).unwrap_or(false) && signs.unwrap_or(true)
}

/// Whether the owner of a certificate may be a TLS server: it does not say, or says so (RFC 5280, section
/// 4.2.1.12).
pub(super) fn may_serve(der: &[u8]) -> bool {
    let Some(mut usage) = extension(der, EXTENDED_KEY_USAGE) else {
        return true;
    };
    let mut usages = usage.enter(tag::SEQUENCE).into_iter().flatten();
    usages.any(|(_, usage)| usage == SERVER)
}

/// What an extension has as its value.
fn extension<'a>(der: &'a [u8], kind: &[u8]) -> Option<Elements<'a>> {
    let mut certificate = Elements::new(der).enter(tag::SEQUENCE)?;
    let mut fields = certificate.enter(tag::SEQUENCE)?;
    let extensions = fields.find(|(tag, _)| *tag == 0xa3)?.1;
    let mut extensions = Elements::new(extensions).enter(tag::SEQUENCE)?;
    extensions.find_map(|(_, extension)| {
        let mut fields = Elements::new(extension);
        let is_it = fields.inside(tag::OID)? == kind;
        let value = fields.filter(|(tag, _)| *tag == tag::OCTET_STRING).last()?;
        is_it.then_some(Elements::new(value.1))
    })
}

/// How many bits the RSA key of a SubjectPublicKeyInfo has (RFC 3279, section 2.3.1); `None`: it is another
/// key.
pub(super) fn rsa_bits(public_key: &[u8]) -> Option<usize> {
    let mut fields = Elements::new(public_key);
    let kind = fields.enter(tag::SEQUENCE)?.inside(tag::OID)?;
    // The first byte says how many bits of the last are none.
    let key = fields.inside(tag::BIT_STRING)?.get(1..)?;
    let modulus = Elements::new(key)
        .enter(tag::SEQUENCE)?
        .inside(tag::INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    let bits = (modulus.len() - zeros) * 8 - first.leading_zeros() as usize;
    (kind == RSA).then_some(bits)
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut all = attributes(subject).flatten();
    let first = all.find(|attribute| attribute.kind == COMMON_NAME)?;
    let text = text(first.tag, first.value);
    // A zero byte in a name is a trick: what compares C strings sees only what stands before it.
    (!text.is_empty() && !text.contains('\0')).then_some(text)
}

/// The DNS names and addresses of the SubjectAltName.
fn alternative_names(mut after_key: Elements<'_>) -> Option<Vec<String>> {
    // [3] EXPLICIT Extensions, behind two unique identifiers that nobody uses.
    let extensions = after_key.find(|(tag, _)| *tag == 0xa3)?.1;
    let mut extensions = Elements::new(extensions).enter(tag::SEQUENCE)?;
    let names = extensions.find_map(|(_, extension)| {
        let mut fields = Elements::new(extension);
        let is_it = fields.inside(tag::OID)? == SUBJECT_ALT_NAME;
        // The last field; `critical` may stand before it.
        let value = fields.filter(|(tag, _)| *tag == tag::OCTET_STRING).last()?;
        is_it.then_some(value.1)
    })?;
    let names = Elements::new(names).enter(tag::SEQUENCE)?;
    let shown = names.filter_map(|(tag, name)| match tag {
        DNS_NAME => Some(text(tag, name)),
        IP_ADDRESS => match name.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(name).ok()?).to_string()),
            _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(name).ok()?).to_string()),
        },
        _ => None,
    });
    Some(shown.collect())
}

/// A Time (RFC 5280, section 4.1.2.5) since 1970; what is before that is 1970.
pub(super) fn time(fields: &mut Elements<'_>) -> Option<Duration> {
    let (tag, text) = fields.next()?;
    let (year, rest) = match tag {
        tag::UTC_TIME => {
            let (digits, rest) = text.split_at_checked(2)?;
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (digits, rest) = text.split_at_checked(4)?;
            (number(digits)?, rest)
        }
        _ => return None,
    };
    let mut parts = rest.strip_suffix(b"Z")?.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, month, day);
    let secs = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(Duration::from_secs(u64::try_from(secs).unwrap_or(0)))
}

fn number(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Days of the proleptic Gregorian calendar, counted from March so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}
