//! TLS of listeners and bridges: files, certificates, what is judged by which clock, one connection
//! without its socket, and a sentence for everything that goes wrong. rustls does what is hard; names and
//! dates of certificates are read here only to be shown.

mod certificate;
mod client;
mod clock;
mod der;
mod error;
mod explain;
mod files;
mod server;
mod session;
mod suites;
#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use client::ClientSide;
pub use clock::Clock;
pub use error::Error;
pub use explain::{Failure, describe};
pub use server::ServerSide;
pub use session::Session;
