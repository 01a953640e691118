//! `footbridge sub`: prints what comes in, with the options of mosquitto_sub(1).

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::client::{Client, Event, Message, Outgoing, Session};
use super::format::Format;
use super::options::ClientOptions;
use super::process;
use super::words::Words;
use super::{Error, complain, put};
use crate::mqtt::{
    QoS, Reason, RetainHandling, Subscription, TopicFilter, Version, filter_matches,
};

/// What `footbridge sub --help` prints.
pub const HELP: &str = include_str!("subscribe.txt");

/// Between attempts to connect again, as libmosquitto has it.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Without -W.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sub {
    options: ClientOptions,
    unsubscribe: Vec<String>,
    filter_out: Vec<String>,
    count: Option<u32>,
    timeout: Option<Duration>,
    no_line_break: bool,
    exit_after_subscribe: bool,
    no_retained: bool,
    retained_only: bool,
    remove_retained: bool,
    retain_as_published: bool,
    format: Format,
}

/// What is left of the process's standard output and time.
#[derive(Debug)]
struct Progress {
    deadline: Instant,
    printed: u32,
    /// All that was asked for has come.
    done: bool,
    /// Readable when the process is asked to end.
    signal: UnixStream,
}

impl Sub {
    /// Understands the words behind `sub`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(args: &[&str]) -> Result<Sub, Error> {
        let mut sub = Sub {
            options: ClientOptions::default(),
            unsubscribe: Vec::new(),
            filter_out: Vec::new(),
            count: None,
            timeout: None,
            no_line_break: false,
            exit_after_subscribe: false,
            no_retained: false,
            retained_only: false,
            remove_retained: false,
            retain_as_published: false,
            format: Format::payload(),
        };
        let mut words = Words::new(args);
        while let Some(option) = words.next() {
            sub.take(option, &mut words)?;
        }
        sub.options.finish()?;
        sub.check()?;
        Ok(sub)
    }

    fn take(&mut self, option: &str, words: &mut Words<'_>) -> Result<(), Error> {
        match option {
            "-U" | "--unsubscribe" => self.unsubscribe.push(words.value(option)?.to_owned()),
            "-T" | "--filter-out" => self.filter_out.push(words.value(option)?.to_owned()),
            "-C" => self.count = Some(words.number(option, 1, u32::MAX)?),
            "-W" => {
                let seconds = words.number(option, 1, u32::MAX)?;
                self.timeout = Some(Duration::from_secs(u64::from(seconds)));
            }
            "-v" | "--verbose" => self.format = Format::verbose(),
            "-F" | "--format" => self.format = Format::parse(words.value(option)?)?,
            "-N" => self.no_line_break = true,
            "-E" => self.exit_after_subscribe = true,
            "-R" => self.no_retained = true,
            "--retained-only" => self.retained_only = true,
            "--remove-retained" => self.remove_retained = true,
            "--retain-as-published" => self.retain_as_published = true,
            _ => self.options.take(option, words)?,
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        if self.options.topics.is_empty() && self.unsubscribe.is_empty() {
            return usage("You must specify a topic to subscribe to (-t).");
        }
        let filters = self.options.topics.iter();
        for filter in filters.chain(&self.unsubscribe).chain(&self.filter_out) {
            if TopicFilter::new(filter).is_err() {
                return usage(&format!(
                    "Invalid subscription topic '{filter}', are all '+' and '#' wildcards correct?"
                ));
            }
        }
        if self.retained_only && self.no_retained {
            return usage("--retained-only and -R leave nothing to print.");
        }
        if self.retain_as_published && self.options.version() < Version::V5 {
            return usage("--retain-as-published needs MQTT 5.0 (-V 5).");
        }
        Ok(())
    }

    /// True if no error is to be printed.
    pub fn is_quiet(&self) -> bool {
        self.options.quiet
    }

    /// Prints messages until all that was asked for has come.
    ///
    /// # Errors
    /// Why it did not come.
    pub fn run(&self) -> Result<(), Error> {
        let mut progress = Progress {
            deadline: Instant::now() + self.timeout.unwrap_or(FOREVER),
            printed: 0,
            done: false,
            signal: process::asked_to_end().map_err(|e| Error::Read("signals".to_owned(), e))?,
        };
        let mut session = Session::default();
        let mut was_connected = false;
        loop {
            let connect_packet = self.options.connect_packet();
            let result = match Client::connect(&self.options.target, &connect_packet, &mut session)
            {
                Ok(client) => {
                    was_connected = true;
                    self.listen(client, &mut progress)
                }
                Err(error) => Err(error.into()),
            };
            match result {
                Err(Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    // Whoever read our output has seen enough.
                    return Ok(());
                }
                Err(Error::Client(error)) if was_connected && error.is_passing() => {
                    if !self.is_quiet() {
                        complain(&error.to_string());
                    }
                    let left = progress.deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::Timeout);
                    }
                    if process::asked_within(&progress.signal, left.min(RECONNECT_DELAY)) {
                        return Ok(());
                    }
                }
                result => return result,
            }
        }
    }

    fn listen(&self, mut client: Client<'_>, progress: &mut Progress) -> Result<(), Error> {
        self.subscribe(&mut client)?;
        loop {
            while let Some(event) = client.next(Instant::now())? {
                self.handle(event, &mut client, progress)?;
                if progress.done && client.in_flight() == 0 {
                    // At once: to read on would be to acknowledge what is not printed.
                    return self.leave(client);
                }
            }
            let (_, signal) = client.wait(progress.signal.as_fd(), progress.deadline)?;
            if signal {
                return self.leave(client);
            }
            if Instant::now() >= progress.deadline {
                self.leave(client)?;
                return Err(Error::Timeout);
            }
        }
    }

    fn leave(&self, client: Client<'_>) -> Result<(), Error> {
        let disconnect_props = self.options.disconnect_props();
        client.disconnect(Reason::SUCCESS, disconnect_props)?;
        Ok(())
    }

    fn subscribe(&self, client: &mut Client<'_>) -> Result<(), Error> {
        let properties = &self.options.properties;
        if !self.unsubscribe.is_empty() {
            let filters = self.unsubscribe.iter().map(String::as_str).collect();
            client.unsubscribe(filters, properties.unsubscribe.as_props())?;
        }
        if !self.options.topics.is_empty() {
            let retain_handling = if self.no_retained {
                RetainHandling::DontSend
            } else {
                RetainHandling::Send
            };
            let filters = self.options.topics.iter().map(|filter| Subscription {
                retain_as_published: self.retain_as_published,
                retain_handling,
                ..Subscription::new(filter, self.options.qos)
            });
            client.subscribe(filters.collect(), properties.subscribe.as_props())?;
        }
        Ok(())
    }

    fn handle(
        &self,
        event: Event,
        client: &mut Client<'_>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        match event {
            Event::Message(message) if !progress.done => self.receive(&message, client, progress),
            Event::Subscribed(id, reasons) => {
                if self.options.target.trace {
                    let granted: Vec<_> = reasons.iter().map(|r| r.0.to_string()).collect();
                    // As any line of -d: where it can't be printed the work goes on.
                    let _ = put(&format!(
                        "Subscribed (mid: {}): {}\n",
                        id.get(),
                        granted.join(", ")
                    ));
                }
                if reasons.iter().all(|reason| reason.is_error()) {
                    return Err(Error::Denied);
                }
                progress.done |= self.exit_after_subscribe;
                Ok(())
            }
            Event::Unsubscribed(_) => {
                progress.done |= self.exit_after_subscribe && self.options.topics.is_empty();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn receive(
        &self,
        message: &Message,
        client: &mut Client<'_>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if self.retained_only && !message.retain {
            progress.done = true;
            return Ok(());
        }
        let topic = message.topic.as_str();
        let unwanted = self.filter_out.iter().any(|f| filter_matches(f, topic));
        if unwanted || (self.no_retained && message.retain) {
            return Ok(());
        }
        if self.remove_retained && message.retain {
            client.publish(Arc::new(Outgoing {
                topic: topic.to_owned(),
                qos: QoS::AtLeastOnce,
                retain: true,
                ..Outgoing::default()
            }))?;
        }
        let mut out = Vec::with_capacity(message.payload.len() + 64);
        self.format.put(message, SystemTime::now(), &mut out);
        if !self.no_line_break {
            out.push(b'\n');
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&out).and_then(|()| stdout.flush());
        written.map_err(Error::Write)?;
        progress.printed += 1;
        progress.done |= self.count.is_some_and(|count| progress.printed >= count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Sub, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Sub::parse(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn mosquittos_options_are_understood() {
        let sub = parse("-t a -t b/# -T b/x -U c -C 2 -W 3 -v -N -R -E -q 1").unwrap();
        assert_eq!(sub.options.topics, ["a", "b/#"]);
        assert_eq!(
            (sub.unsubscribe, sub.filter_out),
            (vec!["c".into()], vec!["b/x".into()])
        );
        assert_eq!(
            (sub.count, sub.timeout),
            (Some(2), Some(Duration::from_secs(3)))
        );
        assert_eq!(sub.format, Format::verbose());
        assert!(sub.no_line_break && sub.no_retained && sub.exit_after_subscribe);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "-t a/#/b",
            "-t a -T #/a",
            "-t a -C 0",
            "-t a -F %Z",
            "-t a --retained-only -R",
            "-t a --retain-as-published",
            "-t a --random-filter 50",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
