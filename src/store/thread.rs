//! The storage thread: the one place that waits for the disk.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::db::{Db, Need, Rows};
use super::error::Error;
use super::files::ballast::Ballast;
use super::rows::batch::Batch;
use super::tables::meta::Written;

/// Between the first two attempts at a disk that fails; doubles, as each opens the file anew and
/// reads it all.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The wait doubles so many times.
const DOUBLINGS: u32 = 3;
/// A file that is found damaged so many times in a row will not heal by being opened again.
const DAMAGED_TIMES: u32 = 3;
/// How many more attempts a failing disk gets once the broker wants to end.
const CLOSING_TRIES: u32 = 3;
/// How long the broker's end waits for a disk that hangs.
const CLOSE_WAIT: Duration = Duration::from_secs(15);
/// After so long without a request it looks after the file.
const IDLE: Duration = Duration::from_secs(5);
/// The same, while it waits for room on a full disk.
const IDLE_FULL: Duration = Duration::from_secs(1);
/// redb's deepest commit takes a small part of this.
const STACK_BYTES: usize = 256 << 10;

/// What the storage thread reports.
#[derive(Debug)]
pub enum Event {
    /// Batch `seq` is durable.
    Committed {
        /// Its number.
        seq: u64,
        /// How large the file is now, and what was written.
        figures: Figures,
        /// The batch, so that its buffers are used again.
        batch: Batch,
    },
    /// The answer to a [`ReadRequest`].
    Rows {
        /// The request's token.
        token: u64,
        /// What was found.
        rows: Rows,
    },
    /// The figures, at the start and when the file has shrunk.
    Figures(Figures),
    /// The disk fails. Work waits and is tried again every few seconds; this comes once.
    Stalled {
        /// Why.
        error: Error,
    },
    /// The disk works again, and all that waited is done.
    Resumed,
    /// The disk is full. What was handed over goes on, in the space that the ballast has left:
    /// nothing more should be taken in.
    Full,
    /// There is room again.
    Room,
    /// The file was deleted, moved or replaced under the broker; it is written anew.
    Rewritten,
    /// The file is damaged, and does not heal: the thread has ended. Opening the store again sets
    /// the file aside.
    Damaged {
        /// Why.
        error: Error,
    },
}

/// How large the store's file is, and what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes written to the disk.
    pub written: Written,
    /// Syncs since the store was opened.
    pub syncs: u64,
}

/// Messages to read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// Comes back with the rows.
    pub token: u64,
    /// The ids, ascending.
    pub ranges: Vec<Range<u64>>,
    /// Where to stop, in bytes of rows; the first row always fits.
    pub max_bytes: usize,
}

enum Request {
    Commit(Batch),
    Read(ReadRequest),
}

/// The broker's end of the storage thread. Dropping it is [`Handle::close`].
pub struct Handle {
    /// `None` once closed.
    requests: Option<Sender<Request>>,
    /// Tells how many batches were lost, when the thread ends.
    ended: Receiver<usize>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Starts the thread; `events` is called on it and must not block.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn spawn(db: Db, events: impl Fn(Event) + Send + 'static) -> io::Result<Handle> {
        let (requests, incoming) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let worker = Worker {
            ballast: db.path().map(Ballast::of),
            db,
            incoming,
            events,
            commits: VecDeque::new(),
            reads: VecDeque::new(),
            failures: 0,
            full: false,
            idle: false,
            closing: false,
        };
        let thread = thread::Builder::new()
            .name("store".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let lost = worker.run();
                // Nobody waits if closing took too long.
                let _ = end.send(lost);
            })?;
        Ok(Handle {
            requests: Some(requests),
            ended,
            thread: Some(thread),
        })
    }

    /// Hands over a batch. Batches commit in the order they come.
    pub fn commit(&self, batch: Batch) {
        self.request(Request::Commit(batch));
    }

    /// Asks for messages.
    pub fn read(&self, request: ReadRequest) {
        self.request(Request::Read(request));
    }

    /// Commits what was handed over, closes the file and ends the thread. Gives up on a disk that
    /// fails or hangs after some seconds.
    ///
    /// # Errors
    /// [`Error::Unsaved`] if the disk kept failing, [`Error::Io`] if it hung.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn request(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // The thread ends before the sender is gone only where the file is damaged: then
            // nothing is promised any more.
            let _ = requests.send(request);
        }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.requests = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.thread().unpark();
        match self.ended.recv_timeout(CLOSE_WAIT) {
            Err(RecvTimeoutError::Timeout) => Err(Error::Io(io::ErrorKind::TimedOut.into())),
            Ok(lost @ 1..) => Err(Error::Unsaved(lost)),
            _ => {
                let _ = thread.join();
                Ok(())
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

struct Worker<F> {
    db: Db,
    /// `None` for a store in memory.
    ballast: Option<Ballast>,
    incoming: Receiver<Request>,
    events: F,
    commits: VecDeque<Batch>,
    reads: VecDeque<ReadRequest>,
    /// Attempts in a row that failed.
    failures: u32,
    /// The disk is full, and the ballast deleted.
    full: bool,
    /// Nothing was asked for in a while.
    idle: bool,
    closing: bool,
}

impl<F: Fn(Event)> Worker<F> {
    /// Works until the handle is gone and the work done; returns how many batches it had to give
    /// up.
    fn run(mut self) -> usize {
        let mut tries = 0;
        if self
            .create_ballast()
            .is_err_and(|e| Error::from(e).is_full())
        {
            self.fill_up();
        }
        (self.events)(Event::Figures(self.figures()));
        loop {
            self.wait();
            // redb doesn't check the pages it reads, and gives up on one that makes no sense.
            let done = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
            let done = done.unwrap_or_else(|_| {
                self.failures = DAMAGED_TIMES;
                Err(Error::Corrupt("a page of it makes no sense".into()))
            });
            match done {
                Ok(()) if self.closing => {
                    // Where that fails, the next start reads the journal.
                    let _ = self.db.fold();
                    return 0;
                }
                Ok(()) => self.resume(),
                Err(_) if self.closing && tries == CLOSING_TRIES => return self.commits.len(),
                Err(error) if error.is_damage() && self.failures + 1 >= DAMAGED_TIMES => {
                    (self.events)(Event::Damaged { error });
                    return self.commits.len();
                }
                Err(error) => {
                    tries += u32::from(self.closing);
                    self.stall(error);
                }
            }
        }
    }

    /// Takes in all requests; waits for one if there is nothing to do.
    fn wait(&mut self) {
        self.idle = false;
        if self.commits.is_empty() && self.reads.is_empty() {
            let patience = if self.full { IDLE_FULL } else { IDLE };
            match self.incoming.recv_timeout(patience) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
                Err(RecvTimeoutError::Timeout) => self.idle = true,
            }
        }
        loop {
            match self.incoming.try_recv() {
                Ok(request) => self.take(request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.closing = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Commit(batch) => self.commits.push_back(batch),
            Request::Read(read) => self.reads.push_back(read),
        }
    }

    /// Does what it can: reads go on while a full disk takes no commit.
    fn work(&mut self) -> Result<(), Error> {
        let commits = self.commit_all();
        let reads = self.read_all();
        commits.and(reads)?;
        if self.idle {
            // Each commit looks for itself.
            self.find_file()?;
        }
        self.compact();
        self.make_room();
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), Error> {
        while let Some(batch) = self.commits.front_mut() {
            let done = self.db.commit(batch);
            match done {
                // In the space that the ballast leaves it may go through.
                Err(e) if e.is_full() && self.release_ballast() => continue,
                done => done?,
            }
            // A promise for a file that is not there any more is none.
            self.find_file()?;
            if let Some(batch) = self.commits.pop_front() {
                (self.events)(Event::Committed {
                    seq: batch.seq,
                    figures: self.figures(),
                    batch,
                });
            }
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<(), Error> {
        while let Some(read) = self.reads.front() {
            let rows = self.db.read(&read.ranges, read.max_bytes)?;
            let token = read.token;
            self.reads.pop_front();
            (self.events)(Event::Rows { token, rows });
        }
        Ok(())
    }

    /// Writes the file anew if it has been deleted, moved or replaced.
    fn find_file(&mut self) -> Result<(), Error> {
        if self.db.is_lost() {
            self.db.rewrite()?;
            (self.events)(Event::Rewritten);
        }
        Ok(())
    }

    /// Shrinks a file that was far larger once.
    fn compact(&mut self) {
        let need = match (self.full, self.idle) {
            (true, _) => Need::Full,
            (false, true) => Need::Idle,
            (false, false) => Need::Busy,
        };
        // A failure shows again at the next commit, which needs reporting.
        if self.db.is_worth_compacting(need) && self.db.rewrite().is_ok() {
            (self.events)(Event::Figures(self.figures()));
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            bytes: self.db.file_bytes(),
            written: self.db.written(),
            syncs: self.db.usage().syncs,
        }
    }

    /// Takes back the ballast once the disk has room for it.
    fn make_room(&mut self) {
        if self.full && self.create_ballast().is_ok() {
            self.full = false;
            (self.events)(Event::Room);
        }
    }

    fn create_ballast(&mut self) -> io::Result<()> {
        match &mut self.ballast {
            Some(ballast) => ballast.create(),
            None => Ok(()),
        }
    }

    /// True if there was a ballast to delete.
    fn release_ballast(&mut self) -> bool {
        self.fill_up();
        self.ballast.as_mut().is_some_and(Ballast::release)
    }

    fn fill_up(&mut self) {
        if !self.full {
            self.full = true;
            (self.events)(Event::Full);
        }
    }

    fn stall(&mut self, error: Error) {
        let pause = if self.closing {
            FIRST_RETRY
        } else {
            FIRST_RETRY * (1 << self.failures.min(DOUBLINGS))
        };
        if self.failures == 0 {
            (self.events)(Event::Stalled { error });
        }
        self.failures = self.failures.saturating_add(1);
        // The handle wakes it when it closes.
        thread::park_timeout(pause);
    }

    fn resume(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            (self.events)(Event::Resumed);
        }
    }
}
