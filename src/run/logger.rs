//! The log: Mosquitto's line format and types, written by a thread of its own.
//!
//! Standard error may be a pipe that nobody reads, a file may be on a disk that hangs: logging
//! must never block the broker. env_logger filters and formats; its lines go into a bounded queue.
//! When it is full they are dropped and counted, and the count is logged once there is room.

mod outputs;
mod syslog;

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record};
use smol::channel;

use crate::config::log_type::{NOTICE, SUBSCRIBE, UNSUBSCRIBE, WEBSOCKETS};
use crate::config::printable::printable;
use crate::config::{self, LogType, LogTypes};
use outputs::{LogLine, Outputs};

pub(super) use outputs::TopicLine;

/// Lines that wait to be written, at most; and as many that wait to be published.
const QUEUE: usize = 512;

/// The most bytes of a line: a client id or a topic may have 64 KB.
const MAX_LINE: usize = 1024;

/// Of a line that is cut, so many bytes of its end stay: what happened to a client often stands
/// behind its id.
const KEPT_END: usize = 256;

/// How long the end of the process waits for the last lines.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

thread_local! {
    /// What is logged now is not to be published.
    static NOT_PUBLISHED: Cell<bool> = const { Cell::new(false) };
    /// The type of the line that is being logged.
    static KIND: Cell<LogType> = const { Cell::new(LogType::Information) };
}

/// What the writer thread is told.
enum LogItem {
    LogLine(LogLine),
    /// Open the file again: it was rotated.
    Reopen,
    End,
}

/// The log, opened but not yet running: it has no thread.
#[derive(Debug)]
pub(super) struct OpenLog {
    outputs: Outputs,
    types: LogTypes,
    topics: (channel::Sender<TopicLine>, channel::Receiver<TopicLine>),
}

/// The running log.
#[derive(Debug)]
pub(super) struct Logger {
    types: Arc<AtomicU8>,
    queue: Arc<Queue>,
    done: Receiver<()>,
    topics: (channel::Sender<TopicLine>, channel::Receiver<TopicLine>),
}

impl OpenLog {
    /// Opens what `log` names.
    ///
    /// # Errors
    /// When a log file can't be opened.
    pub(super) fn new(log: &config::Log) -> io::Result<OpenLog> {
        let topics = channel::bounded(QUEUE);
        Ok(OpenLog {
            outputs: Outputs::open(log, &topics.0)?,
            types: log.types,
            topics,
        })
    }

    /// Starts to log.
    ///
    /// # Errors
    /// When there is no thread to be had, or logging was started before.
    pub(super) fn start(self) -> io::Result<Logger> {
        let (lines, items) = sync_channel(QUEUE);
        let (end, done) = sync_channel(1);
        let queue = Arc::new(Queue::new(lines));
        let shared = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                write_all(&items, self.outputs, &shared);
                // Nobody waits any more after FINISH_WITHIN.
                let _ = end.try_send(());
            })?;
        let types = Arc::new(AtomicU8::new(self.types.bits()));
        let front = TypeFilter::new(Arc::clone(&types), Arc::clone(&queue));
        log::set_boxed_logger(Box::new(front)).map_err(|e| io::Error::other(e.to_string()))?;
        log::set_max_level(self.types.level());
        Ok(Logger {
            types,
            queue,
            done,
            topics: self.topics,
        })
    }
}

impl Logger {
    /// Logs as `log` says from now on; files are opened again.
    ///
    /// # Errors
    /// When a log file can't be opened; all stays as it was then.
    pub(super) fn apply(&self, log: &config::Log) -> io::Result<()> {
        let outputs = Outputs::open(log, &self.topics.0)?;
        *self.queue.next() = Some(outputs);
        self.set_types(log.types);
        Ok(())
    }

    /// The types that are logged.
    pub(super) fn types(&self) -> LogTypes {
        LogTypes::from_bits(self.types.load(Ordering::Relaxed))
    }

    /// Logs these types from now on, until [`Logger::apply`] says otherwise.
    pub(super) fn set_types(&self, types: LogTypes) {
        self.types.store(types.bits(), Ordering::Relaxed);
        log::set_max_level(types.level());
    }

    /// Opens the log file again, after a rotation.
    pub(super) fn reopen(&self) {
        // A full queue means that the next signal has to do it.
        let _ = self.queue.lines.try_send(LogItem::Reopen);
    }

    /// The lines that are to be published.
    pub(super) fn topic_lines(&self) -> channel::Receiver<TopicLine> {
        self.topics.1.clone()
    }

    /// Waits, but not for long, until everything is written.
    pub(super) fn finish(&self) {
        if self.queue.lines.try_send(LogItem::End).is_ok() {
            let _ = self.done.recv_timeout(FINISH_WITHIN);
        }
    }
}

/// Does `work`; what it logs goes everywhere but to topics.
pub(super) fn without_publishing<T>(work: impl FnOnce() -> T) -> T {
    let before = NOT_PUBLISHED.replace(true);
    let done = work();
    NOT_PUBLISHED.set(before);
    done
}

/// What waits for the writer thread.
#[derive(Debug)]
struct Queue {
    lines: SyncSender<LogItem>,
    dropped: AtomicU32,
    /// Where to write from the next line on. Not a [`LogItem`]: there may be no room for one.
    next: Mutex<Option<Outputs>>,
}

impl Queue {
    fn new(lines: SyncSender<LogItem>) -> Queue {
        Queue {
            lines,
            dropped: AtomicU32::new(0),
            next: Mutex::new(None),
        }
    }

    fn next(&self) -> MutexGuard<'_, Option<Outputs>> {
        // Whoever panicked with it left it whole.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the whole process logs: env_logger behind the types of `log_type`, which are no levels and
/// change while running.
struct TypeFilter {
    /// [`LogTypes`].
    types: Arc<AtomicU8>,
    inner: env_logger::Logger,
}

impl TypeFilter {
    fn new(types: Arc<AtomicU8>, queue: Arc<Queue>) -> TypeFilter {
        let mut builder = env_logger::Builder::new();
        builder
            .filter_level(LevelFilter::Warn)
            .filter_module("footbridge", LevelFilter::Trace);
        // The targets of `config::log_type`.
        for target in [NOTICE, SUBSCRIBE, UNSUBSCRIBE, WEBSOCKETS] {
            builder.filter_module(target, LevelFilter::Trace);
        }
        let inner = builder
            .format(|out, record| format(out, record))
            .target(env_logger::Target::Pipe(Box::new(QueueWriter(queue))))
            .build();
        TypeFilter { types, inner }
    }
}

impl Log for TypeFilter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let kind = LogType::of(metadata.level(), metadata.target());
        let types = LogTypes::from_bits(self.types.load(Ordering::Relaxed));
        types.has(kind) && self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            KIND.set(LogType::of(record.level(), record.target()));
            self.inner.log(record);
        }
    }

    fn flush(&self) {}
}

/// The text of a line; warnings and errors say so.
fn format(out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
    match record.level() {
        Level::Error => write!(out, "Error: ")?,
        Level::Warn => write!(out, "Warning: ")?,
        _ => {}
    }
    write!(out, "{}", record.args())
}

/// Where env_logger writes: one whole line a call, by the thread that logs it.
struct QueueWriter(Arc<Queue>);

impl Write for QueueWriter {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = LogLine {
            kind: KIND.get(),
            at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            not_published: NOT_PUBLISHED.get(),
            // Cut before, so that little is escaped, and after, for an escape is longer.
            text: cut(&printable(&cut(&String::from_utf8_lossy(text)))),
        };
        if self.0.lines.try_send(LogItem::LogLine(line)).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most [`MAX_LINE`] bytes of a line: its start and its end.
fn cut(text: &str) -> Box<str> {
    const DOTS: &str = "...";
    if text.len() <= MAX_LINE {
        return text.into();
    }
    let (mut start, mut end) = (MAX_LINE - KEPT_END - DOTS.len(), text.len() - KEPT_END);
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    let ((start, _), (_, end)) = (text.split_at(start), text.split_at(end));
    [start, DOTS, end].concat().into()
}

/// The writer thread.
fn write_all(items: &Receiver<LogItem>, mut outputs: Outputs, queue: &Queue) {
    // Without a new line, a count of drops is told a little later all the same.
    const TELL_DROPS_AFTER: Duration = Duration::from_secs(1);
    let dropped = &queue.dropped;
    loop {
        let item = if dropped.load(Ordering::Relaxed) == 0 {
            items.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            items.recv_timeout(TELL_DROPS_AFTER)
        };
        if let Some(next) = queue.next().take() {
            outputs = next;
        }
        match item {
            Ok(LogItem::LogLine(line)) => {
                if !outputs.write(&line) {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(LogItem::Reopen) => outputs.reopen(),
            Err(RecvTimeoutError::Timeout) => {
                let n = dropped.swap(0, Ordering::Relaxed);
                outputs.write(&drops(n));
            }
            Ok(LogItem::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The line about lines that are missing.
fn drops(count: u32) -> LogLine {
    LogLine {
        kind: LogType::Warning,
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        not_published: true,
        text: format!("Warning: {count} log lines dropped: their reader is too slow.").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(types: LogTypes) -> (TypeFilter, Arc<Queue>, Receiver<LogItem>) {
        let (lines, items) = sync_channel(QUEUE);
        let queue = Arc::new(Queue::new(lines));
        let types = Arc::new(AtomicU8::new(types.bits()));
        (TypeFilter::new(types, Arc::clone(&queue)), queue, items)
    }

    fn say(front: &TypeFilter, level: Level, target: &str, text: &str) {
        let args = format_args!("{text}");
        let mut record = Record::builder();
        front.log(&record.level(level).target(target).args(args).build());
    }

    fn lines(items: &Receiver<LogItem>) -> Vec<LogLine> {
        let line = |item| match item {
            LogItem::LogLine(line) => line,
            _ => panic!("no line"),
        };
        items.try_iter().map(line).collect()
    }

    #[test]
    fn a_reader_that_never_reads_costs_lines_not_time() {
        let (front, queue, items) = front(LogTypes::ALL);
        for _ in 0..QUEUE + 7 {
            say(&front, Level::Info, "footbridge", "text");
        }
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 7);
        assert_eq!(lines(&items).len(), QUEUE);
    }

    #[test]
    fn a_long_line_is_cut() {
        for len in [MAX_LINE + 1, 65_535, 65_536] {
            let line = format!("Client {} was refused", "é".repeat(len / 2));
            let cut = cut(&line);
            assert!((MAX_LINE - 4..=MAX_LINE).contains(&cut.len()));
            assert!(cut.starts_with("Client éé") && cut.ends_with("éé was refused"));
            assert!(cut.contains("é...é"));
        }
        assert_eq!(cut(&"x".repeat(MAX_LINE)).len(), MAX_LINE);
    }

    /// Nothing that a peer or a file chose makes a second line, or one that reads as another.
    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let (front, _, items) = front(LogTypes::ALL);
        let evil = "a\nWarning: b\u{1b}[2J\u{2028}\u{202e}";
        say(&front, Level::Info, "footbridge", evil);
        say(
            &front,
            Level::Info,
            "footbridge",
            &evil.repeat(65_536 / evil.len()),
        );
        let lines: Vec<_> = lines(&items).into_iter().map(|l| l.text).collect();
        assert_eq!(*lines[0], *r"a\nWarning: b\u{1b}[2J\u{2028}\u{202e}");
        for line in &lines {
            assert!(line.len() <= MAX_LINE && line.chars().all(|c| (' '..'\x7f').contains(&c)));
        }
    }

    #[test]
    fn each_type_is_logged_by_itself() {
        let types = LogTypes::NONE
            .with(LogType::Warning)
            .with(LogType::Subscribe);
        let (front, _, items) = front(types);
        for (level, target) in [
            (Level::Error, "footbridge::broker"),
            (Level::Warn, "footbridge::broker"),
            (Level::Info, "footbridge::broker"),
            (Level::Info, "notice"),
            (Level::Info, "subscribe"),
            (Level::Info, "unsubscribe"),
            (Level::Debug, "footbridge::broker"),
            (Level::Debug, "websockets"),
        ] {
            say(&front, level, target, "text");
        }
        let lines: Vec<_> = lines(&items).into_iter().map(|l| l.text).collect();
        assert_eq!(lines, ["Warning: text".into(), "text".into()]);
    }

    #[test]
    fn other_crates_only_warn() {
        let (front, _, items) = front(LogTypes::ALL);
        say(&front, Level::Info, "polling", "text");
        say(&front, Level::Warn, "polling", "text");
        assert_eq!(lines(&items).len(), 1);
    }

    #[test]
    fn what_publishing_causes_is_marked() {
        let (front, _, items) = front(LogTypes::ALL);
        without_publishing(|| say(&front, Level::Info, "footbridge", "caused"));
        say(&front, Level::Info, "footbridge", "other");
        let marks: Vec<bool> = lines(&items).iter().map(|l| l.not_published).collect();
        assert_eq!(marks, [true, false]);
    }

    #[test]
    fn the_number_of_dropped_lines_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (front, queue, items) = front(LogTypes::ALL);
        queue.dropped.store(3, Ordering::Relaxed);
        say(&front, Level::Info, "footbridge", "first");
        let log = config::Log {
            stderr: false,
            file: Some(path.clone()),
            timestamp: false,
            ..config::Log::default()
        };
        let outputs = OpenLog::new(&log).unwrap().outputs;
        std::thread::scope(|scope| {
            let queue = &queue;
            scope.spawn(move || write_all(&items, outputs, queue));
            while queue.dropped.load(Ordering::Relaxed) != 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            queue.lines.try_send(LogItem::End).unwrap();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("first\nWarning: 3 log lines dropped"),
            "{text}"
        );
    }
}
