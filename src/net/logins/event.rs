//! What the threads that look at logins have to say.

use std::path::Path;
use std::sync::Arc;

use crate::auth::Revocation;
use crate::broker::Answer;

/// What a thread has found out about logins.
#[derive(Debug)]
pub enum LoginEvent {
    /// A question is answered.
    Answer(Answer),
    /// The program behind the `auth_socket` of this path takes back what it granted.
    Revoked(Arc<Path>, Revocation),
}

/// Takes what was found, on the thread that has it. It may wait until others have been taken.
pub(super) type Report = Arc<dyn Fn(LoginEvent) + Send + Sync>;
