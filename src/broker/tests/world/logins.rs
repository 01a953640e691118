//! Logins, and what stands for TLS.

use super::*;

impl World {
    /// TLS has shown this certificate, of which `by` is the user name.
    pub fn show_certificate(&mut self, peer: Peer, by: CertificateUsername, subject: &str) {
        let conn = self.lines[peer.0].conn.unwrap();
        self.broker.show_certificate(conn, by, subject);
    }

    /// Looks at one login and tells the broker; false if there was none.
    pub fn answer_login(&mut self) -> bool {
        let Some(question) = self.questions.pop_front() else {
            return false;
        };
        self.broker.login_answer(question.answer(), self.now);
        true
    }

    /// The login that is to be looked at next.
    pub fn take_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// How many logins are to be looked at.
    pub fn questions(&self) -> usize {
        self.questions.len()
    }
}
