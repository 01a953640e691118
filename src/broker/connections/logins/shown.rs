//! The certificates that clients have shown, until it is known whether they may come in.

use std::collections::HashMap;

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

impl Certificates {
    /// The client shows a certificate with this subject; `by` says what of it is its user name.
    pub(in crate::broker::connections) fn show(
        &mut self,
        c: ConnId,
        by: CertificateUsername,
        subject: &str,
    ) {
        let shown = Shown {
            by,
            subject: subject.into(),
            _held: Charge::new(subject.len() + size_of::<(ConnId, Shown)>()),
        };
        self.0.insert(c, shown);
    }

    /// What the client has shown.
    pub(in crate::broker::connections) fn get(&self, c: ConnId) -> Option<&Shown> {
        self.0.get(&c)
    }

    /// What the client has shown is of no use any more.
    pub(in crate::broker::connections) fn forget(&mut self, c: ConnId) {
        if self.0.remove(&c).is_some() && self.0.is_empty() {
            self.0 = HashMap::new();
        }
    }
}
