//! Where log lines go: what `log_dest` names, as the writer thread holds it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use smol::channel::Sender;

use super::syslog::Syslog;
use crate::config::{self, LogType};
use crate::time::calendar::DateTime;

/// A line on its way to the writer.
#[derive(Debug)]
pub(super) struct LogLine {
    pub kind: LogType,
    /// When it was logged, since 1970.
    pub at: Duration,
    /// Publishing a line has caused it: publishing this one could go on for ever.
    pub not_published: bool,
    /// Without time and line end.
    pub text: Box<str>,
}

/// A line for `log_dest topic`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicLine {
    /// Where it is published.
    pub topic: &'static str,
    /// The line, as every destination gets it.
    pub line: Box<str>,
}

/// How lines begin.
#[derive(Debug)]
enum Stamp {
    Nothing,
    /// Seconds since 1970.
    Unix,
    Format(Box<str>),
}

/// What `log_dest` names.
#[derive(Debug)]
pub(super) struct Outputs {
    stdout: bool,
    stderr: bool,
    file: Option<File>,
    path: Option<PathBuf>,
    syslog: Option<Syslog>,
    topic: Option<Sender<TopicLine>>,
    stamp: Stamp,
}

impl Outputs {
    /// Opens what `log` names. Lines for topics go to `topics`.
    ///
    /// # Errors
    /// When a log file can't be opened.
    pub(super) fn open(log: &config::Log, topics: &Sender<TopicLine>) -> io::Result<Outputs> {
        let stamp = match (log.timestamp, &log.timestamp_format) {
            (false, _) => Stamp::Nothing,
            (true, None) => Stamp::Unix,
            (true, Some(format)) => Stamp::Format(format.as_str().into()),
        };
        Ok(Outputs {
            stdout: log.stdout,
            stderr: log.stderr,
            file: log.file.as_deref().map(open).transpose()?,
            path: log.file.clone(),
            syslog: log.syslog.then(|| Syslog::new(log.facility)),
            topic: log.topic.then(|| topics.clone()),
            stamp,
        })
    }

    /// Opens the file again, after a rotation.
    pub(super) fn reopen(&mut self) {
        if let Some(Ok(file)) = self.path.as_deref().map(open) {
            self.file = Some(file);
        }
    }

    /// Writes a line. Errors are left alone: there is nowhere to report them. What may block comes
    /// last. False if the broker is behind with the lines that it is to publish.
    pub(super) fn write(&mut self, line: &LogLine) -> bool {
        let mut text = match &self.stamp {
            Stamp::Nothing => String::new(),
            Stamp::Unix => format!("{}: ", line.at.as_secs()),
            Stamp::Format(format) => format!("{}: ", DateTime::new(line.at).format(format)),
        };
        text.push_str(&line.text);
        if let Some(syslog) = &mut self.syslog {
            syslog.send(line.kind, line.at, &text);
        }
        let accepted = self.publish(line, &text);
        text.push('\n');
        if let Some(file) = &mut self.file {
            let _ = file.write_all(text.as_bytes());
        }
        if self.stderr {
            let _ = io::stderr().write_all(text.as_bytes());
        }
        if self.stdout {
            let mut out = io::stdout();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
        accepted
    }

    fn publish(&self, line: &LogLine, text: &str) -> bool {
        let (Some(topics), Some(topic), false) =
            (&self.topic, topic(line.kind), line.not_published)
        else {
            return true;
        };
        let line = text.into();
        topics.try_send(TopicLine { topic, line }).is_ok()
    }
}

/// Where a line is published, as in Mosquitto. Lines of type debug are not: each message that is
/// delivered could cause another.
fn topic(kind: LogType) -> Option<&'static str> {
    Some(match kind {
        LogType::Error => "$SYS/broker/log/E",
        LogType::Warning => "$SYS/broker/log/W",
        LogType::Notice => "$SYS/broker/log/N",
        LogType::Information => "$SYS/broker/log/I",
        LogType::Subscribe => "$SYS/broker/log/M/subscribe",
        LogType::Unsubscribe => "$SYS/broker/log/M/unsubscribe",
        LogType::Websockets => "$SYS/broker/log/WS",
        LogType::Debug => return None,
    })
}

fn open(path: &Path) -> io::Result<File> {
    // As Mosquitto's: client ids and addresses are not for everybody.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::channel;

    fn line(kind: LogType, text: &str) -> LogLine {
        LogLine {
            kind,
            at: Duration::from_secs(1_709_251_199),
            not_published: false,
            text: text.into(),
        }
    }

    fn log(topic: bool, file: Option<PathBuf>) -> config::Log {
        config::Log {
            stderr: false,
            topic,
            file,
            ..config::Log::default()
        }
    }

    #[test]
    fn lines_begin_as_the_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (topics, _) = channel::bounded(1);
        for (timestamp, format) in [
            (true, None),
            (false, None),
            (true, Some("%d %b %H:%M".to_owned())),
        ] {
            let mut log = log(false, Some(path.clone()));
            log.timestamp = timestamp;
            log.timestamp_format = format;
            let mut outputs = Outputs::open(&log, &topics).unwrap();
            assert!(outputs.write(&line(LogType::Notice, "text")));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "1709251199: text\ntext\n29 Feb 23:59: text\n");
    }

    #[test]
    fn lines_are_published_unless_that_caused_them() {
        let (topics, lines) = channel::bounded(1);
        let mut outputs = Outputs::open(&log(true, None), &topics).unwrap();
        let mut caused = line(LogType::Warning, "caused");
        caused.not_published = true;
        assert!(outputs.write(&caused));
        assert!(outputs.write(&line(LogType::Debug, "debug")));
        assert!(outputs.write(&line(LogType::Subscribe, "c 0 a")));
        assert!(!outputs.write(&line(LogType::Error, "no room")));
        let only = lines.try_recv().unwrap();
        assert_eq!(only.topic, "$SYS/broker/log/M/subscribe");
        assert_eq!(&*only.line, "1709251199: c 0 a");
        assert!(lines.is_empty());
    }
}
