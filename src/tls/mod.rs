//! TLS of listeners and bridges: files, certificates, what is judged by which clock, one connection
//! without its socket, and a sentence for everything that goes wrong. rustls does what is hard; names and
//! dates of certificates are read here to be shown, and those of version 1 to be judged (`version1`).

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod client;
mod clock;
#[cfg(feature = "tls")]
mod der;
#[cfg(feature = "tls")]
mod error;
#[cfg(feature = "tls")]
mod explain;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod server;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod suites;
#[cfg(all(test, feature = "tls"))]
pub(crate) mod tests;

#[cfg(feature = "tls")]
mod version1;

#[cfg(not(feature = "tls"))]
pub use absent::{Certificate, ClientSide, Error, Failure, ServerSide, Session, describe};
#[cfg(feature = "tls")]
pub use certificate::Certificate;
#[cfg(feature = "tls")]
pub use client::ClientSide;
pub use clock::Clock;
#[cfg(feature = "tls")]
pub use error::Error;
#[cfg(feature = "tls")]
pub use explain::{Failure, describe};
#[cfg(feature = "tls")]
pub use server::ServerSide;
#[cfg(feature = "tls")]
pub use session::Session;
