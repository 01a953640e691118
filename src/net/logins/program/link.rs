//! The connection to a program: what was asked, what has come back, what went wrong.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::super::event::{LoginEvent, Report};
use super::super::lines::{self, LONGEST, Lost, Unsent};
use crate::auth::{Check, Reply, ReplyError};
use crate::broker::Question;
use crate::net::reactor::{Waiter, Wanted};

/// After an attempt to connect failed, the next comes so much later, then twice that, up to
/// [`MOST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MOST_PAUSE: Duration = Duration::from_secs(10);
/// A question makes for an attempt so soon.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// A connection that has stood for so long is sound.
const SOUND: Duration = Duration::from_secs(5);
/// A connection on which nothing has come for so many deadlines, while questions are out, is given up.
const SILENT: u32 = 3;
/// The same mistake is told again after so long.
const TOLD: Duration = Duration::from_secs(60);

/// A question that is out.
struct Out {
    question: Question,
    timeout: Duration,
    until: Instant,
}

/// What is wrong, since it was told.
struct Trouble {
    /// It is connected, but does not answer.
    is_silent: bool,
    /// Logins that were refused for it.
    refused: u64,
}

/// An open connection.
struct Open {
    socket: Socket,
    /// What has come of a line.
    partial: Vec<u8>,
    unsent: Unsent,
    since: Instant,
    /// When the last line came.
    heard: Instant,
}

/// What the thread has.
pub(super) struct Link {
    path: Arc<Path>,
    report: Report,
    questions: Receiver<Question>,
    wake: Arc<OwnedFd>,
    waiter: Waiter,
    open: Option<Open>,
    out: BTreeMap<u64, Out>,
    /// The number of the next question.
    next: u64,
    /// When the last attempt to connect was made, and how long to wait for the next.
    tried: Option<Instant>,
    pause: Duration,
    trouble: Option<Trouble>,
    /// When a mistake in a line was last told.
    told: Option<Instant>,
}

impl Link {
    pub(super) fn new(
        path: Arc<Path>,
        report: Report,
        questions: Receiver<Question>,
        wake: Arc<OwnedFd>,
        waiter: Waiter,
    ) -> Link {
        Link {
            path,
            report,
            questions,
            wake,
            waiter,
            open: None,
            out: BTreeMap::new(),
            next: 1,
            tried: None,
            pause: FIRST_PAUSE,
            trouble: None,
            told: None,
        }
    }

    /// Waits until there is something to do, and does it. False once nobody can ask any more.
    pub(super) fn turn(&mut self) -> bool {
        if self.open.is_none() && self.tried.is_none_or(|at| at.elapsed() >= self.pause) {
            self.connect();
        }
        self.wait();
        // Nobody else reads from it.
        let _ = rustix::io::read(&*self.wake, &mut [0_u8; 8]);
        loop {
            match self.questions.try_recv() {
                Ok(question) => self.ask(question),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.refuse_all();
                    return false;
                }
            }
        }
        self.read();
        self.write();
        self.give_up_late();
        self.settle();
        true
    }

    /// Nothing is known of what was under way.
    pub(super) fn start_over(&mut self) {
        self.open = None;
        self.refuse_all();
    }

    fn wait(&mut self) {
        let now = Instant::now();
        let late = self.out.values().map(|out| out.until).min();
        let retry = self.open.is_none().then_some(self.tried);
        let retry = retry.flatten().map(|tried| tried + self.pause);
        let sound = self.trouble.as_ref().and(self.open.as_ref());
        let sound = sound.map(|open| open.since + SOUND).filter(|at| *at > now);
        let until = late.into_iter().chain(retry).chain(sound).min();
        let timeout = until.map(|until| until.saturating_duration_since(now));
        let mut wanted = vec![Wanted::readable(self.wake.as_fd())];
        if let Some(open) = &self.open {
            wanted.push(if open.unsent.is_empty() {
                Wanted::readable(open.socket.as_fd())
            } else {
                Wanted::readable_or_writable(open.socket.as_fd())
            });
        }
        if let Err(error) = self.waiter.wait(&mut wanted, timeout) {
            self.tell(&format_args!("can't be waited for: {error}"));
            // Without this it would ask again at once, for as long as that lasts.
            thread::sleep(LEAST_PAUSE);
        }
    }

    fn connect(&mut self) {
        self.tried = Some(Instant::now());
        self.pause = (2 * self.pause).min(MOST_PAUSE);
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
        // It does not wait: a program that has too many connections waiting is none that answers.
        let connected = socket.and_then(|socket| {
            socket.connect(&SockAddr::unix(&*self.path)?)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                log::debug!("auth_socket {}: connected.", self.path.display());
                let now = Instant::now();
                self.open = Some(Open {
                    socket,
                    partial: Vec::new(),
                    unsent: Unsent::default(),
                    since: now,
                    heard: now,
                });
            }
            Err(error) => self.fail(&format_args!("cannot be reached: {error}"), false),
        }
    }

    /// Says what is wrong, once until it is right again.
    fn fail(&mut self, what: &dyn Display, is_silent: bool) {
        if let Some(trouble) = &mut self.trouble {
            trouble.is_silent |= is_silent;
        } else {
            log::warn!(
                "auth_socket {} {what}. Logins that need its answer are refused until it answers.",
                self.path.display()
            );
            let refused = 0;
            self.trouble = Some(Trouble { is_silent, refused });
        }
    }

    /// All is well.
    fn heal(&mut self) {
        self.pause = FIRST_PAUSE;
        if let Some(trouble) = self.trouble.take() {
            let (path, refused) = (self.path.display(), trouble.refused);
            log::info!("auth_socket {path} is back; {refused} logins were refused meanwhile.");
        }
    }

    /// A connection that stands shows that the program is there, if nothing else was wrong.
    fn settle(&mut self) {
        let stands = self
            .open
            .as_ref()
            .is_some_and(|open| open.since.elapsed() >= SOUND);
        let is_silent = self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.is_silent);
        if stands && !is_silent && self.trouble.is_some() {
            self.heal();
        }
    }

    fn refuse(&mut self, question: &Question) {
        if let Some(trouble) = &mut self.trouble {
            trouble.refused += 1;
        }
        (self.report)(LoginEvent::Answer(question.unanswered()));
    }

    /// Nobody answers what is out.
    fn refuse_all(&mut self) {
        for out in std::mem::take(&mut self.out).into_values() {
            self.refuse(&out.question);
        }
    }

    /// The connection is no good any more.
    fn lose(&mut self, what: &dyn Display) {
        self.open = None;
        self.tried = Some(Instant::now());
        self.fail(what, false);
        self.refuse_all();
    }

    fn ask(&mut self, question: Question) {
        let Check::Socket(check) = question.check() else {
            return self.refuse(&question);
        };
        if self.open.is_none() && self.tried.is_none_or(|at| at.elapsed() >= LEAST_PAUSE) {
            self.connect();
        }
        let Some(open) = &mut self.open else {
            return self.refuse(&question);
        };
        let (id, timeout) = (self.next, check.socket().timeout);
        self.next += 1;
        open.unsent.push(id, check.line(id));
        let out = Out {
            question,
            timeout,
            until: Instant::now() + timeout,
        };
        self.out.insert(id, out);
    }

    fn read(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let mut wrong = None;
        let mut partial = std::mem::take(&mut open.partial);
        let read = lines::read(&mut open.socket, &mut partial, |line| {
            open.heard = Instant::now();
            wrong = self.take(line).err();
            wrong.is_none()
        });
        open.partial = partial;
        self.open = Some(open);
        match (wrong, read) {
            (Some(error), _) => {
                self.lose(&format_args!("has sent a line that can't be used: {error}"));
            }
            (None, Ok(())) => {}
            (None, Err(Lost::Closed)) => self.lose(&"has closed the connection"),
            (None, Err(Lost::TooLong)) => {
                self.lose(&format_args!(
                    "has sent a line of more than {LONGEST} bytes"
                ));
            }
            (None, Err(Lost::Io(error))) => self.lose(&format_args!("is lost: {error}")),
        }
    }

    /// Takes in a line. An error is one after which nobody knows what the other lines are about.
    fn take(&mut self, line: &[u8]) -> Result<(), ReplyError> {
        match Reply::parse(line)? {
            Reply::Revoke(revocation) => {
                self.heal();
                (self.report)(LoginEvent::Revoked(Arc::clone(&self.path), revocation));
            }
            Reply::Answer(id, said) => match (self.out.remove(&id), said) {
                (Some(out), Ok(said)) => {
                    self.heal();
                    (self.report)(LoginEvent::Answer(out.question.answered(said)));
                }
                (Some(out), Err(error)) => {
                    self.tell(&format_args!("has answered what can't be used: {error}"));
                    self.refuse(&out.question);
                }
                (None, _) if id >= self.next || id == 0 => {
                    self.tell(&format_args!(
                        "has answered question {id}, which was not asked"
                    ));
                }
                (None, _) => log::debug!("auth_socket: an answer to question {id} comes too late."),
            },
        }
        Ok(())
    }

    /// Says what is wrong with a line, but not of each.
    fn tell(&mut self, what: &dyn Display) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD) {
            self.told = Some(Instant::now());
            log::warn!("auth_socket {} {what}.", self.path.display());
        }
    }

    fn write(&mut self) {
        if let Some(open) = &mut self.open
            && let Err(error) = open.unsent.write(&mut open.socket)
        {
            self.lose(&format_args!("is lost: {error}"));
        }
    }

    /// Refuses those whose answer is late.
    fn give_up_late(&mut self) {
        let now = Instant::now();
        let late = self.out.iter().filter(|(_, out)| out.until <= now);
        let late: Vec<u64> = late.map(|(id, _)| *id).collect();
        let mut is_deaf = false;
        for id in late {
            let Some(Out {
                question, timeout, ..
            }) = self.out.remove(&id)
            else {
                continue;
            };
            self.fail(&format_args!("has not answered within {timeout:?}"), true);
            self.refuse(&question);
            if let Some(open) = &mut self.open {
                open.unsent.take_back(id);
                let heard = open.heard.max(open.since);
                is_deaf |= now.saturating_duration_since(heard) >= SILENT * timeout;
            }
        }
        if is_deaf {
            self.lose(&"does not answer");
        }
    }
}
