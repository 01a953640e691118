//! Logins whose password is checked off this thread: the questions, and what the answers bring about.

use super::admit::log_in;
use super::connect::on_login;
use crate::auth::{Check, Denied};
use crate::broker::core::Core;
use crate::impossible;
use crate::keys::ConnId;
use crate::mqtt::{Connect, Packet, Version, decode};
use crate::time::Time;

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
    result: Result<(), Denied>,
}

impl Question {
    /// Looks at the login; that takes milliseconds.
    pub fn answer(&self) -> Answer {
        self.with(self.check.run())
    }

    /// Nobody can look at it.
    pub fn unanswered(&self) -> Answer {
        self.with(Err(Denied::Unavailable))
    }

    fn with(&self, result: Result<(), Denied>) -> Answer {
        Answer {
            conn: self.conn,
            rules: self.rules,
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
        let bytes = bytes.to_vec();
        core.work.add(1);
        let Some(connect) = read(&bytes) else {
            core.connections.take_login(conn);
            continue;
        };
        match log_in(core, conn, &connect, now) {
            Ok(Some(check)) => {
                let rules = core.connections.asked_about_login();
                return Some(Question { conn, rules, check });
            }
            Ok(None) => {
                core.connections.take_login(conn);
                on_login(core, conn, &connect, Ok(()), now);
            }
            Err(refused) => {
                core.connections.take_login(conn);
                on_login(core, conn, &connect, Err(refused), now);
            }
        }
    }
}

/// A question is answered.
pub(crate) fn on_answer(core: &mut Core, answer: &Answer, now: Time) {
    let Some(bytes) = core.connections.login_answered(answer.conn, answer.rules) else {
        return;
    };
    core.work.add(1);
    if let Some(connect) = read(&bytes) {
        let result = answer.result.map_err(Into::into);
        on_login(core, answer.conn, &connect, result, now);
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
