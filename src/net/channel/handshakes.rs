//! The thread that shakes hands.
//!
//! A signature takes a millisecond on a PC, and a tenth of a second on a router. On the thread of logic a
//! few hundred devices that come back after a power cut would make everybody wait; here they make each
//! other wait: who has begun goes first, then those who are known here and strangers by turns. A connection has
//! one step of its handshake under way at most, and `max_connecting` bounds how many connections shake hands.
//! Who waits here is not timed out. What a bridge needs for its own handshake goes ahead of them all.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use smol::channel;

use crate::broker::ConnId;
use crate::impossible;
use crate::net::logins::thread;
use crate::time::Time;
use crate::tls::{Failure, Session};

/// What rustls takes for the longest chain of certificates lies on the heap.
const STACK: usize = 256 * 1024;

/// What the thread has at a time: one to do and one to go on with.
const WITH_THE_THREAD: usize = 2;

/// A part of a handshake: what came.
#[derive(Debug)]
pub(in crate::net) struct Part {
    pub(in crate::net) session: Box<Session>,
    pub(in crate::net) sealed: Box<[u8]>,
}

/// A part of the handshake of a connection that is to be done.
#[derive(Debug)]
pub(in crate::net) struct Step {
    pub(in crate::net) conn: ConnId,
    pub(in crate::net) part: Part,
    /// When it came.
    pub(in crate::net) since: Time,
}

/// Who waits for a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Whose {
    /// One whose handshake has begun: the costly part is behind it, and would be wasted.
    Begun,
    /// One of an address that is known here.
    Known,
    /// Anybody.
    Stranger,
}

/// What a [`Step`] came to.
#[derive(Debug)]
pub struct Stepped {
    pub(in crate::net) conn: ConnId,
    /// When the step came.
    pub(in crate::net) since: Time,
    /// `None`: it is lost.
    pub(in crate::net) session: Option<Box<Session>>,
    pub(in crate::net) end: Result<(), Box<Failure>>,
}

/// What the thread is given.
enum Task {
    Step(Step),
    Aside(Box<dyn FnOnce() + Send>),
}

/// Takes what came of a step, on the thread that has done it.
type Report = Arc<dyn Fn(Stepped) + Send + Sync>;

/// Whom the steps go to.
pub struct Handshakes {
    report: Report,
    /// To the thread, once there is one.
    tasks: Option<Sender<Task>>,
    /// How many the thread has.
    under_way: usize,
    waiting: Lines<Step>,
}

/// Those that wait: first those who have begun, so that each is done soon after its first step; then two lines
/// that go by turns as long as there is somebody in both: strangers don't keep those who are known from coming
/// back, nor these a new device from coming in.
#[derive(Debug)]
struct Lines<T> {
    begun: VecDeque<T>,
    known: VecDeque<T>,
    strangers: VecDeque<T>,
    /// The last one to go was a stranger.
    was_stranger: bool,
}

impl<T> Default for Lines<T> {
    fn default() -> Lines<T> {
        Lines {
            begun: VecDeque::new(),
            known: VecDeque::new(),
            strangers: VecDeque::new(),
            was_stranger: true,
        }
    }
}

impl<T> Lines<T> {
    fn push(&mut self, one: T, whose: Whose) {
        let line = match whose {
            Whose::Begun => &mut self.begun,
            Whose::Known => &mut self.known,
            Whose::Stranger => &mut self.strangers,
        };
        line.push_back(one);
    }

    fn pop(&mut self) -> Option<T> {
        if let Some(begun) = self.begun.pop_front() {
            return Some(begun);
        }
        let stranger = self.known.is_empty() || !self.was_stranger && !self.strangers.is_empty();
        self.was_stranger = stranger;
        if stranger {
            self.strangers.pop_front()
        } else {
            self.known.pop_front()
        }
    }
}

impl Handshakes {
    /// What comes of the steps goes to `report`.
    pub fn new(report: impl Fn(Stepped) + Send + Sync + 'static) -> Handshakes {
        Handshakes {
            report: Arc::new(report),
            tasks: None,
            under_way: 0,
            waiting: Lines::default(),
        }
    }

    /// Has a step done, in its turn.
    pub(in crate::net) fn take(&mut self, step: Step, whose: Whose) {
        self.waiting.push(step, whose);
    }

    /// The thread is done with one.
    pub(in crate::net) fn done(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Gives the thread what it has room for. `is_there`: whether the connection is. Returns what nobody
    /// can do.
    pub(in crate::net) fn go_on(&mut self, mut is_there: impl FnMut(ConnId) -> bool) -> Vec<Step> {
        let mut undone = Vec::new();
        while self.under_way < WITH_THE_THREAD {
            let Some(step) = self.waiting.pop() else {
                break;
            };
            if !is_there(step.conn) {
                continue;
            }
            match self.send(Task::Step(step)) {
                Ok(()) => self.under_way += 1,
                Err(Task::Step(step)) => undone.push(step),
                Err(Task::Aside(_)) => impossible!("a step comes back as something else"),
            }
        }
        undone
    }

    /// Has the thread do what a bridge needs for its handshake (files to read, a signature to check), before
    /// what waits here. The answer is `None` where it can't be done.
    pub(in crate::net) fn aside<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &mut self,
        work: F,
    ) -> impl Future<Output = Option<T>> + use<T, F> {
        let (tell, told) = channel::bounded(1);
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(work)).ok();
            if done.is_none() {
                impossible!("a part of a bridge's handshake panics");
            }
            // Nobody may wait for it any more.
            let _ = tell.try_send(done);
        };
        // What is not sent goes away with its sender, which ends the wait.
        let _ = self.send(Task::Aside(Box::new(work)));
        async move { told.recv().await.ok().flatten() }
    }

    fn start(&self) -> std::io::Result<Sender<Task>> {
        let report = Arc::clone(&self.report);
        thread::start("handshakes", STACK, move |task| match task {
            Task::Step(step) => report(stepped(step)),
            Task::Aside(work) => work(),
        })
    }

    fn send(&mut self, task: Task) -> Result<(), Task> {
        if self.tasks.is_none() {
            match self.start() {
                Ok(sender) => self.tasks = Some(sender),
                Err(error) => log::error!("Starting the thread that shakes hands: {error}"),
            }
        }
        match &self.tasks {
            Some(tasks) => tasks.send(task).map_err(|unsent| unsent.0),
            None => Err(task),
        }
    }
}

/// What comes of a step, whatever happens: one that never came back would keep the next from being done.
fn stepped(step: Step) -> Stepped {
    let Step { conn, part, since } = step;
    let Part {
        mut session,
        sealed,
    } = part;
    let looked = catch_unwind(AssertUnwindSafe(move || {
        let end = session.advance(&sealed).map_err(Box::new);
        (session, end)
    }));
    match looked {
        Ok((session, end)) => Stepped {
            conn,
            since,
            session: Some(session),
            end,
        },
        Err(_) => {
            impossible!("a step of a handshake panics");
            Stepped {
                conn,
                since,
                session: None,
                end: Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn known_and_strangers_go_by_turns() {
        let mut lines = Lines::default();
        for n in 0..4 {
            lines.push(n, Whose::Stranger);
        }
        lines.push(10, Whose::Known);
        lines.push(11, Whose::Known);
        let order: Vec<_> = std::iter::from_fn(|| lines.pop()).collect();
        assert_eq!(order, [10, 0, 11, 1, 2, 3]);
        lines.push(12, Whose::Known);
        lines.push(13, Whose::Known);
        let order: Vec<_> = std::iter::from_fn(|| lines.pop()).collect();
        assert_eq!(order, [12, 13]);
    }

    #[test]
    fn a_bridge_has_its_part_done_on_the_thread() {
        let mut handshakes = Handshakes::new(|_| ());
        let name = || std::thread::current().name().map(str::to_owned);
        let name = block_on(handshakes.aside(name));
        assert_eq!(name.flatten().as_deref(), Some("handshakes"));
        // A thread that ends for one that panics would do nothing for anybody.
        if !cfg!(debug_assertions) {
            assert_eq!(block_on(handshakes.aside(|| panic!("once"))), None::<()>);
        }
        assert_eq!(block_on(handshakes.aside(|| 1)), Some(1));
    }

    /// Or all would be done at the end of the storm, when nobody waits any more.
    #[test]
    fn who_has_begun_is_done_before_others_begin() {
        let mut lines = Lines::default();
        for n in 0..3 {
            lines.push((n, 1), Whose::Stranger);
        }
        let mut order = Vec::new();
        while let Some((n, step)) = lines.pop() {
            order.push((n, step));
            if step == 1 {
                lines.push((n, 2), Whose::Begun);
            }
        }
        assert_eq!(order, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]);
    }
}
