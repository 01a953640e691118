//! Certificates, keys and revocation lists in files.

pub(super) mod lists;

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use xxhash_rust::xxh3::Xxh3;

use super::certificate::Certificate;
use super::error::Error;
use crate::config::{BridgeTls, ListenerTls};

/// Where systems keep the CAs that they trust, as one file: Debian, OpenWrt and Alpine, Fedora.
const SYSTEM_FILES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
/// A file beyond this is none with certificates or a key, in bytes: it would be read into memory.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What PEM files with encrypted keys have: PKCS #8, and the older form of OpenSSL.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    crate::files::read(path, MAX_BYTES).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => Error::NotPem(path.to_owned(), error.to_string()),
        _ => Error::Unreadable(path.to_owned(), error),
    })
}

/// The certificates of a PEM file, in their order; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = certificates_in(&read(path)?, path)?;
    if found.is_empty() {
        return Err(Error::NoCertificate(path.to_owned()));
    }
    Ok(found)
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn of_file(path: &Path) -> Result<Certificate, Error> {
        let all = certificates(path)?;
        let first = all.first().and_then(|der| Certificate::read(der));
        first.ok_or_else(|| Error::NoCertificate(path.to_owned()))
    }
}

fn certificates_in(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|why| Error::NotPem(path.to_owned(), why.to_string()))?;
    for (n, der) in all.iter().enumerate() {
        if Certificate::read(der).is_none() {
            let why = format!("certificate {} is none", n + 1);
            return Err(Error::NotPem(path.to_owned(), why));
        }
    }
    Ok(all)
}

/// The first private key of a PEM file.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = zeroize::Zeroizing::new(read(path)?);
    if ENCRYPTED.iter().any(|mark| contains(&bytes, mark)) {
        return Err(Error::EncryptedKey(path.to_owned()));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(Error::NoKey(path.to_owned())),
        Err(why) => Err(Error::NotPem(path.to_owned(), why.to_string())),
    }
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// A hash of directives and of what is in the files that they name.
pub(super) fn fingerprint(
    directives: &impl fmt::Debug,
    cas: Cas<'_>,
    pair: Option<(&Path, &Path)>,
    others: impl IntoIterator<Item = PathBuf>,
) -> Result<u64, Error> {
    let mut hash = Xxh3::new();
    hash.update(format!("{directives:?}").as_bytes());
    for path in cas.file.map(Path::to_owned).into_iter().chain(others) {
        hash.update(&read(&path)?);
    }
    for path in cas.folder.map(listed).transpose()?.unwrap_or_default() {
        // What can't be read there may be anything, such as the key of the CA: it stops nothing.
        match read(&path) {
            Ok(bytes) => hash.update(&bytes),
            Err(error) => hash.update(error.to_string().as_bytes()),
        }
    }
    if cas.system {
        hash.update(&read(system_file()?)?);
    }
    if let Some((certificate, key)) = pair {
        hash.update(&read(certificate)?);
        // One that can't be read is an error where there is none before it.
        match read(key).map(zeroize::Zeroizing::new) {
            Ok(bytes) => hash.update(&bytes),
            Err(error) => hash.update(error.to_string().as_bytes()),
        }
    }
    Ok(hash.digest())
}

/// The CAs of a file and of a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cas<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) folder: Option<&'a Path>,
    pub(super) system: bool,
}

impl Cas<'_> {
    /// Those of a listener.
    pub(super) fn of_listener(tls: &ListenerTls) -> Cas<'_> {
        Cas {
            file: tls.cafile.as_deref(),
            folder: tls.capath.as_deref(),
            system: false,
        }
    }

    /// Those of a bridge.
    pub(super) fn of_bridge(tls: &BridgeTls) -> Cas<'_> {
        Cas {
            file: tls.cafile.as_deref(),
            folder: tls.capath.as_deref(),
            system: tls.use_os_certs,
        }
    }

    /// All of their certificates. In a folder, every file that has any counts: OpenSSL's `c_rehash` is
    /// not needed.
    pub(super) fn certificates(self) -> Result<Vec<(PathBuf, CertificateDer<'static>)>, Error> {
        let mut all = Vec::new();
        let mut add = |path: &Path, found: Vec<CertificateDer<'static>>| {
            all.extend(found.into_iter().map(|der| (path.to_owned(), der)));
        };
        if let Some(file) = self.file {
            add(file, certificates(file)?);
        }
        if let Some(folder) = self.folder {
            let mut some = false;
            for path in listed(folder)? {
                // Whatever else lies in the folder is not looked at twice.
                if let Ok(found) = read(&path).and_then(|bytes| certificates_in(&bytes, &path)) {
                    some |= !found.is_empty();
                    add(&path, found);
                }
            }
            if !some {
                return Err(Error::NoCertificate(folder.to_owned()));
            }
        }
        if self.system {
            let file = system_file()?;
            add(file, certificates(file)?);
        }
        Ok(all)
    }

    /// Them as what chains may end at. One that cannot be used is an error where the operator has named it;
    /// among the system's there are always some.
    pub(super) fn roots(self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for (path, der) in self.certificates()? {
            let is_named = self.file == Some(&*path);
            match roots.add(der) {
                Err(why) if is_named => {
                    return Err(Error::UnusableCa(path, why.to_string()));
                }
                _ => {}
            }
        }
        if roots.is_empty() {
            let path = self.file.or(self.folder).unwrap_or(Path::new("the system"));
            return Err(Error::NoCertificate(path.to_owned()));
        }
        Ok(roots)
    }
}

/// Where the system keeps its CAs.
fn system_file() -> Result<&'static Path, Error> {
    let mut files = SYSTEM_FILES.iter().map(Path::new);
    files.find(|file| file.exists()).ok_or(Error::NoSystemCas)
}

/// The files of a folder, sorted.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::Unreadable(folder.to_owned(), error);
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort_unstable();
    // OpenSSL's links with hashes for names lead to files that stand beside them.
    files.dedup_by_key(|path| fs::canonicalize(&*path).unwrap_or_else(|_| path.clone()));
    Ok(files)
}

/// A certificate and those that lead to its CA, completed out of `cas` where the file has less, as
/// OpenSSL does. The CA itself is left out: who trusts it has it.
pub(super) fn complete(
    mut chain: Vec<CertificateDer<'static>>,
    cas: &[(PathBuf, CertificateDer<'static>)],
) -> Vec<CertificateDer<'static>> {
    let known: Vec<_> = cas
        .iter()
        .filter_map(|(_, der)| Some((der, Certificate::read(der)?)))
        .collect();
    // A chain is never longer than what there is to make it of.
    for _ in 0..known.len() {
        let last = chain.last().and_then(|der| Certificate::read(der));
        let Some(last) = last.filter(|last| !last.is_self_signed()) else {
            break;
        };
        let signer = known.iter().find(|(_, ca)| last.may_be_signed_by(ca));
        match signer {
            Some((der, ca)) if !ca.is_self_signed() && !chain.contains(der) => {
                chain.push((*der).clone());
            }
            _ => break,
        }
    }
    chain
}
