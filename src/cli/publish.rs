//! `footbridge pub`: publishes, with the options of mosquitto_pub(1).

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{self, Client, Event, Outgoing, Session, WINDOW};
use super::options::ClientOptions;
use super::words::Words;
use super::{Error, complain};
use crate::mqtt::{MAX_REMAINING_LENGTH, QoS, Reason, TopicName};

/// What `footbridge pub --help` prints.
pub const HELP: &str = include_str!("publish.txt");

/// Between attempts to connect again, as libmosquitto has it.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// An event is waited for that long, again and again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3600);

/// Where the payload comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Text(String),
    File(String),
    Null,
    Stdin,
    /// Each line of standard input is a message.
    Lines,
}

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pub {
    options: ClientOptions,
    topic: String,
    source: Source,
    retain: bool,
    repeat: u32,
    repeat_delay: Duration,
    window: usize,
}

impl Pub {
    /// Understands the words behind `pub`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(args: &[&str]) -> Result<Pub, Error> {
        let mut options = ClientOptions::default();
        let mut sources = Vec::new();
        let (mut retain, mut repeat, mut window) = (false, 1, WINDOW);
        let mut repeat_delay = Duration::ZERO;
        let mut words = Words::new(args);
        while let Some(option) = words.next() {
            match option {
                "-m" | "--message" => sources.push(Source::Text(words.value(option)?.to_owned())),
                "-f" | "--file" => sources.push(Source::File(words.value(option)?.to_owned())),
                "-n" | "--null-message" => sources.push(Source::Null),
                "-s" | "--stdin-file" => sources.push(Source::Stdin),
                "-l" | "--stdin-line" => sources.push(Source::Lines),
                "-r" | "--retain" => retain = true,
                "-M" => window = words.number(option, 1, 65_535)?,
                "--repeat" => repeat = words.number(option, 1, u32::MAX)?,
                "--repeat-delay" => repeat_delay = seconds(words.value(option)?)?,
                _ => options.take(option, &mut words)?,
            }
        }
        options.finish()?;
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        let Ok([source]) = <[Source; 1]>::try_from(sources) else {
            return usage("One of -f, -l, -m, -n and -s must be given, and only one.");
        };
        let Ok([topic]) = <[String; 1]>::try_from(std::mem::take(&mut options.topics)) else {
            return usage("One topic must be given with -t or -L, and only one.");
        };
        if TopicName::new(&topic).is_err() {
            return usage(&format!(
                "Invalid publish topic '{topic}', does it contain '+' or '#'?"
            ));
        }
        if repeat > 1 && source == Source::Lines {
            return usage("--repeat does not go with -l.");
        }
        Ok(Pub {
            options,
            topic,
            source,
            retain,
            repeat,
            repeat_delay,
            window,
        })
    }

    /// True if no error is to be printed.
    pub fn is_quiet(&self) -> bool {
        self.options.quiet
    }

    /// Publishes.
    ///
    /// # Errors
    /// Why not all was published.
    pub fn run(&self) -> Result<(), Error> {
        let payload = match &self.source {
            Source::Text(text) => text.as_bytes().to_owned(),
            Source::File(file) => fs::read(file).map_err(|e| Error::Read(file.clone(), e))?,
            Source::Null => Vec::new(),
            Source::Stdin => {
                let mut all = Vec::new();
                io::stdin().read_to_end(&mut all).map_err(stdin_error)?;
                all
            }
            Source::Lines => return self.publish_lines(),
        };
        self.publish_one(self.message(payload))
    }

    fn message(&self, payload: Vec<u8>) -> Arc<Outgoing> {
        Arc::new(Outgoing {
            topic: self.topic.clone(),
            payload,
            qos: self.options.qos,
            retain: self.retain,
            props: self.options.properties.publish.clone(),
        })
    }

    fn connect<'s>(&self, session: &'s mut Session) -> Result<Client<'s>, client::Error> {
        Client::connect(
            &self.options.target,
            &self.options.connect_packet(),
            session,
        )
    }

    fn has_room(&self, client: &Client<'_>) -> bool {
        self.options.qos == QoS::AtMostOnce
            || (client.has_room() && client.in_flight() < self.window)
    }

    /// Publishes a message once or, with `--repeat`, several times.
    fn publish_one(&self, message: Arc<Outgoing>) -> Result<(), Error> {
        let mut session = Session::default();
        let mut client = self.connect(&mut session)?;
        for n in 0..self.repeat {
            if n > 0 && !self.repeat_delay.is_zero() {
                let until = Instant::now() + self.repeat_delay;
                while let Some(event) = client.next(until)? {
                    self.note(&event);
                }
            }
            while !self.has_room(&client) {
                self.await_event(&mut client)?;
            }
            client.publish(message.clone())?;
        }
        while client.in_flight() > 0 {
            self.await_event(&mut client)?;
        }
        client.disconnect(Reason::SUCCESS, self.options.disconnect_props())?;
        Ok(())
    }

    /// Publishes each line of standard input as it comes. When the connection breaks another one
    /// is made; what was unfinished is sent again.
    fn publish_lines(&self) -> Result<(), Error> {
        let mut session = Session::default();
        let mut lines = Lines::of_stdin().map_err(stdin_error)?;
        let mut was_connected = false;
        loop {
            let result = match self.connect(&mut session) {
                Ok(client) => {
                    was_connected = true;
                    self.pass_on(client, &mut lines)
                }
                Err(error) => Err(Error::Client(error)),
            };
            match result {
                Err(Error::Client(error)) if was_connected && error.is_passing() => {
                    if !self.is_quiet() {
                        complain(&error.to_string());
                    }
                    std::thread::sleep(RECONNECT_DELAY);
                }
                result => return result,
            }
        }
    }

    fn pass_on(&self, mut client: Client<'_>, lines: &mut Lines) -> Result<(), Error> {
        loop {
            while self.has_room(&client)
                && let Some(line) = lines.take()?
            {
                client.publish(self.message(line))?;
            }
            if !self.has_room(&client) || (lines.ended && client.in_flight() > 0) {
                self.await_event(&mut client)?;
            } else if lines.ended {
                client.disconnect(Reason::SUCCESS, self.options.disconnect_props())?;
                return Ok(());
            } else {
                let far = Instant::now() + GIVE_UP_AFTER;
                let (from_broker, from_stdin) = client.wait(lines.fd(), far)?;
                while from_broker && let Some(event) = client.next(Instant::now())? {
                    self.note(&event);
                }
                if from_stdin {
                    lines.read().map_err(stdin_error)?;
                }
            }
        }
    }

    fn await_event(&self, client: &mut Client<'_>) -> Result<(), Error> {
        if let Some(event) = client.next(Instant::now() + GIVE_UP_AFTER)? {
            self.note(&event);
        }
        Ok(())
    }

    fn note(&self, event: &Event) {
        if let Event::Published(_, reason) = event
            && reason.is_error()
            && !self.is_quiet()
        {
            complain(&format!("Warning: Publish failed: {reason}."));
        }
    }
}

fn seconds(value: &str) -> Result<Duration, Error> {
    let seconds = value
        .parse()
        .ok()
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.ok_or_else(|| Error::Usage("--repeat-delay takes a number of seconds.".to_owned()))
}

fn stdin_error(error: io::Error) -> Error {
    Error::Read("standard input".to_owned(), error)
}

/// Lines of a file descriptor, in the memory that one line and one read take.
#[derive(Debug)]
struct Lines {
    file: File,
    buffer: Vec<u8>,
    /// Bytes that earlier lines took.
    taken: usize,
    /// Bytes known to hold no line break.
    scanned: usize,
    ended: bool,
}

impl Lines {
    fn of_stdin() -> io::Result<Lines> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Lines::of(stdin.into()))
    }

    fn of(file: File) -> Lines {
        Lines {
            file,
            buffer: Vec::new(),
            taken: 0,
            scanned: 0,
            ended: false,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads once.
    fn read(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.taken);
        self.scanned -= self.taken;
        self.taken = 0;
        let mut chunk = [0; 16 * 1024];
        match self.file.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(n) => self
                .buffer
                .extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next line without its line break; the last one may lack it.
    fn take(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let end = match rest.iter().position(|&byte| byte == b'\n') {
            Some(at) => self.scanned + at,
            None if self.buffer.len() - self.taken > MAX_REMAINING_LENGTH => {
                return Err(Error::LineTooLong);
            }
            None if self.ended && self.taken < self.buffer.len() => self.buffer.len(),
            None => {
                self.scanned = self.buffer.len();
                return Ok(None);
            }
        };
        let line = self.buffer.get(self.taken..end).map(<[u8]>::to_vec);
        self.taken = (end + 1).min(self.buffer.len());
        self.scanned = self.taken;
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Pub, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Pub::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn one_topic_and_one_payload() {
        let args = parse("-t a -m b -r -q 1 --repeat 3 --repeat-delay 0.5").unwrap();
        assert_eq!(
            (args.topic.as_str(), args.retain, args.repeat),
            ("a", true, 3)
        );
        assert_eq!(args.source, Source::Text("b".to_owned()));
        assert_eq!(args.repeat_delay, Duration::from_millis(500));
        assert_eq!(parse("-L mqtt://h/a/b -n").unwrap().topic, "a/b");
        for wrong in [
            "-t a",
            "-m b",
            "-t a -m b -n",
            "-t a/# -m b",
            "-t a -t b -m c",
            "-t a -l --repeat 2",
            "-t a -n --repeat-delay -1",
            "-t a -m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_of_any_length_come_one_by_one() {
        let long = "x".repeat(40_000);
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, format!("a\n\n{long}\nend").as_bytes()).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut lines = Lines::of(file);
        let mut got = Vec::new();
        while !lines.ended {
            lines.read().unwrap();
            while let Some(line) = lines.take().unwrap() {
                got.push(String::from_utf8(line).unwrap());
            }
        }
        assert_eq!(got, ["a", "", &long, "end"]);
    }
}
