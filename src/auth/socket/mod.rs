//! `auth_socket`: the questions to another program, its answers, and what is kept of them.
//!
//! Rights come with the login: a small box can't ask for each PUBLISH. Who was let in so has a
//! [`Grant`] for as long as its session lasts; a restart forgets it. A session that is away then gets
//! everything it subscribes to into its queue, since what may leave the queue is for its next login to
//! say; nothing is lost by that, and nothing told.

mod answers;
mod question;
mod reply;

use core::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::CertificateUsername;

pub use answers::Grant;
pub(super) use answers::{Answers, Standing};
pub(super) use question::Key;
pub use question::{Allowed, SocketCheck};
pub use reply::{Reply, ReplyError, Revocation, Said};

/// `auth_socket` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSocket {
    /// Where the program listens.
    pub path: Arc<Path>,
    /// `auth_socket_timeout`.
    pub timeout: Duration,
    /// `auth_socket_cache`.
    pub cache: Duration,
}

/// What a client says of itself when it logs in, and what is known of it.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// The client id that it gets.
    pub client_id: &'a str,
    /// The user name of its CONNECT.
    pub username: Option<&'a str>,
    /// The password of its CONNECT.
    pub password: Option<&'a [u8]>,
    /// Where it is; `None` for a Unix socket.
    pub address: Option<IpAddr>,
    /// The subject of its certificate, if it has shown one that was verified.
    pub certificate: Option<&'a str>,
    /// What of that certificate `username` is; it is of the CONNECT if that is nothing.
    pub by: CertificateUsername,
}
