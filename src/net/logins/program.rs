//! The program behind an `auth_socket`, and the thread that speaks with it.
//!
//! The thread waits for the socket and for questions. It has a clock of its own: the broker only learns
//! what a question has come to.

mod link;

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::{io, thread};

use rustix::event::{EventfdFlags, eventfd};

use super::event::Report;
use crate::broker::{Answer, Question};
use crate::impossible;
use crate::net::reactor::Waiter;
use link::Link;

/// It reads JSON 16 levels deep, into a buffer of 4 KB.
const STACK: usize = 128 * 1024;

/// The program, as the loop knows it.
pub(super) struct Program {
    path: Arc<Path>,
    /// `None` once it is not needed any more.
    questions: Option<Sender<Question>>,
    /// Wakes the thread.
    wake: Arc<OwnedFd>,
}

impl Program {
    /// Starts the thread.
    pub(super) fn spawn(path: &Arc<Path>, report: Report) -> io::Result<Program> {
        let (sender, questions) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (path, waiter) = (Arc::clone(path), Waiter::new()?);
        let mut link = Link::new(
            Arc::clone(&path),
            report,
            questions,
            Arc::clone(&wake),
            waiter,
        );
        let work = move || {
            loop {
                match catch_unwind(AssertUnwindSafe(|| link.turn())) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(_) => {
                        impossible!("asking at auth_socket panics");
                        link.start_over();
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("auth_socket".into());
        thread.stack_size(STACK).spawn(work)?;
        Ok(Program {
            path,
            questions: Some(sender),
            wake,
        })
    }

    pub(super) fn is_at(&self, path: &Path) -> bool {
        *self.path == *path
    }

    /// Has a login looked at.
    pub(super) fn ask(&self, question: Question) -> Result<(), Answer> {
        let Some(questions) = &self.questions else {
            return Err(question.unanswered());
        };
        let sent = questions.send(question);
        self.wake();
        sent.map_err(|unsent| unsent.0.unanswered())
    }

    fn wake(&self) {
        // It fails only where the thread has not looked at 2^64 of them.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.questions = None;
        self.wake();
    }
}
