//! Who looks at logins: a thread that checks passwords, and one for each program behind an
//! `auth_socket`.
//!
//! A hash is made to be slow. On the thread of logic a few strangers with wrong passwords would make
//! everybody wait; here they make each other wait. The thread is started with the first question, and
//! is nicer than the rest: on one core it has what that leaves.

mod event;
mod hub;
mod lines;
mod program;
pub(in crate::net) mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::auth::{AuthSocket, Check};
use crate::broker::{Answer, Question};
use crate::impossible;
pub use event::LoginEvent;
use event::Report;
use program::Program;

/// A hash by PBKDF2 or SHA-512 takes a few hundred bytes.
const STACK: usize = 128 * 1024;

/// Whom the questions go to.
pub struct Logins {
    report: Report,
    /// To the thread that checks passwords, once there is one.
    passwords: Option<Sender<Question>>,
    programs: Vec<Program>,
}

impl Logins {
    /// What is found goes to `report`.
    pub fn new(report: impl Fn(LoginEvent) + Send + Sync + 'static) -> Logins {
        Logins {
            report: Arc::new(report),
            passwords: None,
            programs: Vec::new(),
        }
    }

    /// From now on the programs behind these sockets are asked, and no others. A connection to each is
    /// there from the start, for what it says unasked.
    pub fn attend<'a>(&mut self, sockets: impl Iterator<Item = &'a AuthSocket>) {
        let paths: Vec<&Arc<Path>> = sockets.map(|socket| &socket.path).collect();
        self.programs
            .retain(|program| paths.iter().any(|path| program.is_at(path)));
        for path in paths {
            self.program(path);
        }
    }

    /// The program behind the socket of this path.
    fn program(&mut self, path: &Arc<Path>) -> Option<&Program> {
        if !self.programs.iter().any(|program| program.is_at(path)) {
            match Program::spawn(path, Arc::clone(&self.report)) {
                Ok(program) => self.programs.push(program),
                Err(error) => log::error!("Starting the thread that asks at auth_socket: {error}"),
            }
        }
        self.programs.iter().find(|program| program.is_at(path))
    }

    /// Has a login looked at. The broker never has more than a few questions out.
    ///
    /// # Errors
    /// The question that nobody can look at.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Answer> {
        if let Check::Socket(check) = question.check() {
            let path = Arc::clone(&check.socket().path);
            return match self.program(&path) {
                Some(program) => program.ask(question),
                None => Err(question.unanswered()),
            };
        }
        if self.passwords.is_none() {
            match self.start() {
                Ok(sender) => self.passwords = Some(sender),
                Err(error) => log::error!("Starting the thread that checks passwords: {error}"),
            }
        }
        let Some(questions) = &self.passwords else {
            return Err(question.unanswered());
        };
        let sent = questions.send(question);
        sent.map_err(|unsent| unsent.0.unanswered())
    }

    fn start(&self) -> std::io::Result<Sender<Question>> {
        let report = Arc::clone(&self.report);
        let work = move |question| report(LoginEvent::Answer(answer(&question)));
        thread::start("passwords", STACK, work)
    }
}

/// The answer, whatever happens: one that never came would keep the next from being asked.
fn answer(question: &Question) -> Answer {
    let looked = catch_unwind(AssertUnwindSafe(|| question.answer()));
    looked.unwrap_or_else(|_| {
        impossible!("checking a password panics");
        question.unanswered()
    })
}
