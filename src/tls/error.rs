//! What keeps TLS from being used as the configuration asks for it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A file or a value that TLS can't be used with. Prints as one line: cause, then cure.
#[derive(Debug)]
pub enum Error {
    /// A file that can't be read.
    Unreadable(PathBuf, io::Error),
    /// There is no certificate in a file, or none in any file of a folder.
    NoCertificate(PathBuf),
    /// What stands between the lines of a PEM block is none, or the certificate in it is none.
    NotPem(PathBuf, String),
    /// A certificate without a key, or a key without a certificate.
    HalfAPair,
    /// There is no private key in a file.
    NoKey(PathBuf),
    /// The private key needs a pass phrase.
    EncryptedKey(PathBuf),
    /// A private key of a kind or size that is not used.
    UnusableKey(PathBuf, String),
    /// The private key is not that of the certificate.
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A CA certificate that is not used.
    UnusableCa(PathBuf, String),
    /// Certificates of clients are required, but there is no CA to judge them by.
    NoCa,
    /// A revocation list that is none.
    NotACrl(PathBuf, String),
    /// None of the system's folders has CA certificates.
    NoSystemCas,
    /// A cipher suite that is not known.
    Suite(String),
    /// Something that rustls refuses, in its words.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable(path, error) => write!(
                f,
                "{}: cannot be read: {error}; check the path and its rights",
                path.display()
            ),
            Error::NoCertificate(path) => write!(
                f,
                "{}: has no certificate: it has to be PEM, with -----BEGIN CERTIFICATE-----; \
                 `openssl x509 -inform der -in FILE` makes that of DER",
                path.display()
            ),
            Error::NotPem(path, why) => write!(
                f,
                "{}: is damaged ({why}): get it anew from who issued it",
                path.display()
            ),
            Error::HalfAPair => f.write_str(
                "certfile and keyfile belong together: the certificate and its private key",
            ),
            Error::NoKey(path) => write!(
                f,
                "{}: has no private key: it has to be PEM, with -----BEGIN PRIVATE KEY----- or the like",
                path.display()
            ),
            Error::EncryptedKey(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: its private key needs a pass phrase, and nobody is there to give it: \
                     `umask 077; openssl pkey -in {path} -out {path}.plain` decrypts it"
                )
            }
            Error::UnusableKey(path, why) => write!(
                f,
                "{}: its private key cannot be used ({why}): RSA of 2048 to 8192 bits, ECDSA on P-256 or \
                 P-384 and Ed25519 can",
                path.display()
            ),
            Error::Mismatch { certificate, key } => write!(
                f,
                "{}: is not the private key of {}: the public keys that `openssl x509 -noout -pubkey` and \
                 `openssl pkey -pubout` print differ",
                key.display(),
                certificate.display()
            ),
            Error::UnusableCa(path, why) => {
                write!(f, "{}: has a CA that cannot be used: {why}", path.display())
            }
            Error::NoCa => f.write_str(
                "require_certificate without cafile or capath: they say which CA's client certificates are \
                 taken",
            ),
            Error::NotACrl(path, why) => write!(
                f,
                "{}: is no revocation list in PEM ({why}); `openssl crl -inform der -in FILE` makes that of \
                 DER",
                path.display()
            ),
            Error::NoSystemCas => f.write_str(
                "the system has no CA certificates: install ca-certificates (Debian) or ca-bundle \
                 (OpenWrt), or use bridge_cafile",
            ),
            Error::Suite(name) => write!(
                f,
                "the cipher suite {name} is not known: there are TLS_AES_128_GCM_SHA256, \
                 TLS_AES_256_GCM_SHA384 and TLS_CHACHA20_POLY1305_SHA256"
            ),
            Error::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
