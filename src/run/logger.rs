//! The log: Mosquitto's line format, written by a thread of its own.
//!
//! Standard error may be a pipe that nobody reads, a file may be on a disk that hangs: logging
//! must never block the broker. Lines go into a bounded queue; when it is full they are dropped
//! and counted, and the count is logged once there is room.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter};

use crate::config;

/// Lines that wait to be written, at most.
const QUEUE: usize = 512;

/// Longer lines are cut: a topic may have 64 KB.
const LONGEST: usize = 1024;

/// How long the end of the process waits for the last lines.
const PATIENCE: Duration = Duration::from_millis(500);

/// What the writer thread is told.
enum Item {
    Line(Box<[u8]>),
    /// Open the files again: they were rotated.
    Reopen,
    End,
}

/// The running log.
#[derive(Debug)]
pub struct Logger {
    queue: SyncSender<Item>,
    done: Receiver<()>,
}

impl Logger {
    /// Starts to log as `log` says.
    ///
    /// # Errors
    /// When a log file can't be opened, or logging was started before.
    pub fn start(log: &config::Log) -> io::Result<Logger> {
        let outputs = Outputs {
            stdout: log.stdout,
            stderr: log.stderr,
            file: log.file.as_deref().map(open).transpose()?,
            path: log.file.clone(),
        };
        let (queue, items) = sync_channel(QUEUE);
        let (end, done) = sync_channel(1);
        let dropped = Arc::new(AtomicU32::new(0));
        let sink = Sink {
            queue: queue.clone(),
            dropped: dropped.clone(),
        };
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(64 * 1024)
            .spawn(move || {
                write_all(&items, outputs, &dropped);
                // Nobody waits any more when the process is past its patience.
                let _ = end.try_send(());
            })?;
        let timestamp = log.timestamp;
        env_logger::Builder::new()
            .filter_level(LevelFilter::Warn)
            .filter_module("footbridge", LevelFilter::Trace)
            .format(move |out, record| format(out, record, timestamp))
            .target(env_logger::Target::Pipe(Box::new(sink)))
            .try_init()
            .map_err(io::Error::other)?;
        log::set_max_level(log.level);
        Ok(Logger { queue, done })
    }

    /// Opens the log files again, after a rotation.
    pub fn reopen(&self) {
        // A full queue means that the next signal has to do it.
        let _ = self.queue.try_send(Item::Reopen);
    }

    /// Waits, but not for long, until everything is written.
    pub fn finish(&self) {
        if self.queue.try_send(Item::End).is_ok() {
            let _ = self.done.recv_timeout(PATIENCE);
        }
    }
}

/// `<unix time>: <text>`; warnings and errors say so.
fn format(out: &mut dyn Write, record: &log::Record<'_>, timestamp: bool) -> io::Result<()> {
    if timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        write!(out, "{}: ", now.unwrap_or_default().as_secs())?;
    }
    match record.level() {
        Level::Error => write!(out, "Error: ")?,
        Level::Warn => write!(out, "Warning: ")?,
        _ => {}
    }
    writeln!(out, "{}", record.args())
}

/// Where env_logger writes: one whole record a call.
struct Sink {
    queue: SyncSender<Item>,
    dropped: Arc<AtomicU32>,
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = match line.get(..LONGEST) {
            Some(cut) => [cut, b"...\n"].concat().into_boxed_slice(),
            None => line.into(),
        };
        if self.queue.try_send(Item::Line(kept)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `log_dest` names.
struct Outputs {
    stdout: bool,
    stderr: bool,
    file: Option<File>,
    path: Option<PathBuf>,
}

impl Outputs {
    /// Errors are left alone: there is nowhere to report them.
    fn write(&mut self, line: &[u8]) {
        if self.stderr {
            let _ = io::stderr().write_all(line);
        }
        if self.stdout {
            let mut out = io::stdout();
            let _ = out.write_all(line).and_then(|()| out.flush());
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line);
        }
    }

    fn reopen(&mut self) {
        if let Some(Ok(file)) = self.path.as_deref().map(open) {
            self.file = Some(file);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// The writer thread.
fn write_all(items: &Receiver<Item>, mut outputs: Outputs, dropped: &AtomicU32) {
    // Without a new line, a count of drops is told a little later all the same.
    const LULL: Duration = Duration::from_secs(1);
    loop {
        let item = if dropped.load(Ordering::Relaxed) == 0 {
            items.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            items.recv_timeout(LULL)
        };
        match item {
            Ok(Item::Line(line)) => outputs.write(&line),
            Ok(Item::Reopen) => outputs.reopen(),
            Err(RecvTimeoutError::Timeout) => {
                let n = dropped.swap(0, Ordering::Relaxed);
                let text = format!("Warning: {n} log lines dropped: their reader is too slow.\n");
                outputs.write(text.as_bytes());
            }
            Ok(Item::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> (Sink, Receiver<Item>, Arc<AtomicU32>) {
        let (queue, items) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU32::new(0));
        let sink = Sink {
            queue,
            dropped: dropped.clone(),
        };
        (sink, items, dropped)
    }

    #[test]
    fn a_reader_that_never_reads_costs_lines_not_time() {
        let (mut sink, items, dropped) = sink();
        for _ in 0..QUEUE + 7 {
            sink.write_all(b"1: text\n").unwrap();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 7);
        assert_eq!(items.try_iter().count(), QUEUE);
    }

    #[test]
    fn a_long_line_is_cut() {
        let (mut sink, items, _) = sink();
        sink.write_all(&[b'x'; 70_000]).unwrap();
        let Ok(Item::Line(line)) = items.try_recv() else {
            panic!("no line");
        };
        assert_eq!(line.len(), LONGEST + 4);
        assert!(line.ends_with(b"...\n"));
    }

    #[test]
    fn the_number_of_dropped_lines_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (queue, items) = sync_channel(4);
        let dropped = AtomicU32::new(3);
        queue.try_send(Item::Line((*b"1: first\n").into())).unwrap();
        let outputs = Outputs {
            stdout: false,
            stderr: false,
            file: Some(open(&path).unwrap()),
            path: Some(path.clone()),
        };
        std::thread::scope(|scope| {
            let dropped = &dropped;
            scope.spawn(move || write_all(&items, outputs, dropped));
            while dropped.load(Ordering::Relaxed) != 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            queue.try_send(Item::End).unwrap();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("1: first\nWarning: 3 log lines dropped"),
            "{text}"
        );
    }
}
