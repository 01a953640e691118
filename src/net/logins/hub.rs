//! The hub's part in logins.

use std::path::Path;

use crate::auth::{Auth, Revocation};
use crate::broker::Answer;
use crate::net::hub::Hub;

impl Hub {
    /// A login was looked at. The system asks for the client after its keep-alive, which holds now.
    pub fn login_answer(&mut self, answer: Answer) {
        let (now, conn) = (self.now(), answer.conn());
        self.broker.login_answer(answer, now);
        self.ask_after(conn);
    }

    /// The program behind the `auth_socket` of this path takes back what it granted.
    pub fn revoke(&mut self, path: &Path, revocation: &Revocation) {
        let now = self.now();
        self.broker.revoke(path, revocation, now);
    }

    /// SIGHUP: from now on these rules hold.
    pub fn set_auth(&mut self, auth: Auth) {
        let now = self.now();
        self.logins.attend(auth.sockets());
        self.broker.set_auth(auth, now);
    }
}
