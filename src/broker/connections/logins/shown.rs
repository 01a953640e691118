//! The certificates that clients have shown, until it is known whether they may come in.

use std::collections::HashMap;

use crate::broker::connections::Connections;
use crate::config::CertificateUsername;
use crate::held::{CONNECTIONS, Charge};
use crate::keys::ConnId;

/// A certificate that a client has shown, and that was verified.
#[derive(Debug)]
pub(crate) struct Shown {
    /// What of it is the user name of the CONNECT.
    pub(crate) by: CertificateUsername,
    pub(crate) subject: Box<str>,
    _held: Charge<CONNECTIONS>,
}

/// The certificates of those who log in.
#[derive(Debug, Default)]
pub(in crate::broker::connections) struct Certificates(HashMap<ConnId, Shown>);

impl Connections {
    /// The client shows a certificate with this subject; `by` says what of it is its user name.
    pub(crate) fn show(&mut self, c: ConnId, by: CertificateUsername, subject: &str) {
        let shown = Shown {
            by,
            subject: subject.into(),
            _held: Charge::new(subject.len() + size_of::<(ConnId, Shown)>()),
        };
        self.certificates.0.insert(c, shown);
    }

    /// What the client has shown.
    pub(crate) fn shown(&self, c: ConnId) -> Option<&Shown> {
        self.certificates.0.get(&c)
    }

    /// What the client has shown is of no use any more.
    pub(in crate::broker) fn forget_shown(&mut self, c: ConnId) {
        if self.certificates.0.remove(&c).is_some() && self.certificates.0.is_empty() {
            self.certificates.0 = HashMap::new();
        }
    }
}
