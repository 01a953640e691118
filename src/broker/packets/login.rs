//! Logins that are looked at off this thread: the questions, and what the answers bring about.

use super::admit::{Granted, log_in};
use super::connect::on_login;
use crate::auth::{Allowed, Check, Denied, Said, Verdict};
use crate::broker::connections::Kind;
use crate::broker::core::Core;
use crate::impossible;
use crate::keys::ConnId;
use crate::mqtt::{Connect, Packet, Version, decode};
use crate::time::Time;
use zeroize::Zeroizing;

/// A login that is to be looked at, by a thread that has the time. Each must be answered: only so many are
/// out at a time.
#[derive(Debug)]
pub struct Question {
    conn: ConnId,
    /// The number of the rules under which it is asked.
    rules: u32,
    check: Check,
}

/// What a [`Question`] has come to.
#[derive(Debug)]
pub struct Answer {
    conn: ConnId,
    rules: u32,
    kind: Kind,
    result: Result<Option<Allowed>, Denied>,
}

impl Question {
    /// What is asked.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// Looks at a password; that takes milliseconds.
    pub fn answer(&self) -> Answer {
        self.with(self.check.run())
    }

    /// The program behind `auth_socket` has said this.
    pub fn answered(&self, said: Said) -> Answer {
        self.with(self.check.decide(said))
    }

    /// Nobody can look at it.
    pub fn unanswered(&self) -> Answer {
        self.with(Err(self.check.unanswered()))
    }

    fn with(&self, result: Result<Option<Allowed>, Denied>) -> Answer {
        Answer {
            conn: self.conn,
            rules: self.rules,
            kind: Kind::of(&self.check),
            result,
        }
    }
}

impl Answer {
    /// Whose login it is about.
    pub fn conn(&self) -> ConnId {
        self.conn
    }
}

/// The next question, if one may be asked. What needs none any more, because of other rules or of what
/// failed meanwhile, is done with.
pub(crate) fn next_question(core: &mut Core, now: Time) -> Option<Question> {
    loop {
        let (conn, bytes) = core.connections.next_login()?;
        let bytes = Zeroizing::new(bytes.to_vec());
        core.work.add(1);
        let Some(connect) = read(&bytes) else {
            core.connections.take_login(conn);
            continue;
        };
        match log_in(core, conn, &connect, now) {
            Ok(Verdict::Asks(check)) => {
                // Under other rules than it came under it may be another's to look at.
                let kind = Kind::of(&check);
                if let Some(rules) = core
                    .connections
                    .ask_about_login(conn, (&kind, check.held()))
                {
                    return Some(Question { conn, rules, check });
                }
            }
            Ok(Verdict::Admitted(grant)) => {
                core.connections.take_login(conn);
                on_login(core, conn, &connect, Ok(grant.into()), now);
            }
            Err(refused) => {
                core.connections.take_login(conn);
                on_login(core, conn, &connect, Err(refused), now);
            }
        }
    }
}

/// A question is answered.
pub(crate) fn on_answer(core: &mut Core, answer: Answer, now: Time) {
    let Answer {
        conn, rules, kind, ..
    } = answer;
    let Some(bytes) = core.connections.login_answered(conn, &kind, rules) else {
        return;
    };
    core.work.add(1);
    if let Some(connect) = read(&bytes) {
        let granted = |allowed: Option<_>| allowed.map_or(Granted::ByFiles, Granted::JustNow);
        let result = answer.result.map(granted).map_err(Into::into);
        on_login(core, conn, &connect, result, now);
    }
}

/// The CONNECT that waited.
fn read(bytes: &[u8]) -> Option<Connect<'_>> {
    match decode(bytes, Version::V5, usize::MAX) {
        Ok(Some((Packet::Connect(connect), _))) => Some(*connect),
        other => {
            impossible!("a CONNECT that waited is {other:?}");
            None
        }
    }
}
