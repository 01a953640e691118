//! The thread that checks passwords.
//!
//! A hash is made to be slow. On the thread of logic a few strangers with wrong passwords would make
//! everybody wait; here they make each other wait. The thread is started with the first question, and
//! is nicer than the rest: on one core it has what that leaves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::process::{getpriority_process, setpriority_process};

use crate::broker::{Answer, Question};
use crate::impossible;

/// A hash by PBKDF2 or SHA-512 takes a few hundred bytes.
const STACK: usize = 128 * 1024;

/// How much nicer the thread is.
const NICER: i32 = 5;

/// Takes an answer, on the thread that has it.
type Report = Arc<dyn Fn(Answer) + Send + Sync>;

/// Whom the questions go to.
pub struct Logins {
    report: Report,
    /// To the thread, once there is one.
    questions: Option<Sender<Question>>,
}

impl Logins {
    /// Answers go to `report`.
    pub fn new(report: impl Fn(Answer) + Send + Sync + 'static) -> Logins {
        Logins {
            report: Arc::new(report),
            questions: None,
        }
    }

    /// Has a login looked at. The broker never has more than a few questions out.
    ///
    /// # Errors
    /// The question that nobody can look at.
    pub(super) fn ask(&mut self, question: Question) -> Result<(), Answer> {
        if self.questions.is_none() {
            match spawn(Arc::clone(&self.report)) {
                Ok(sender) => self.questions = Some(sender),
                Err(error) => log::error!("Starting the thread that checks passwords: {error}"),
            }
        }
        let Some(questions) = &self.questions else {
            return Err(question.unanswered());
        };
        let sent = questions.send(question);
        sent.map_err(|unsent| unsent.0.unanswered())
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

fn spawn(report: Report) -> std::io::Result<Sender<Question>> {
    let (sender, questions) = mpsc::channel::<Question>();
    let work = move || {
        // In Linux this is of the thread alone. One that can't be nicer works all the same.
        let _ = getpriority_process(None).and_then(|n| setpriority_process(None, n + NICER));
        while let Ok(question) = questions.recv() {
            report(answer(&question));
        }
    };
    let thread = thread::Builder::new().name("passwords".into());
    thread.stack_size(STACK).spawn(work).map(|_| sender)
}
