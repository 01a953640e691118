//! What was planned, as batches for the store. The messages are read from the file one at a time.

use std::io::{Read, Seek};
use std::rc::Rc;

use super::error::Error;
use super::file::DbFile;
use super::moment::Moment;
use super::plan::{Copy, Plan};
use super::receivers::receivers;
use super::records::{self, Format};
use super::report::{Left, Report};
use super::sessions::{Fate, Progress, listener};
use crate::config::Config;
use crate::lane::Lane;
use crate::message::{Message, MessageId, Origin, Parts};
use crate::mqtt::{Props, QoS, TopicName};
use crate::owed::Owed;
use crate::store::Batch;

/// Bytes of a batch, about; one message may be more.
const BATCH_BYTES: usize = 1 << 20;

/// Turns a plan into batches.
pub(super) struct Writer<'a, R> {
    pub(super) file: DbFile<R>,
    pub(super) config: &'a Config,
    pub(super) moment: Moment,
    pub(super) plan: Plan,
    pub(super) report: Report,
    /// A record that was read.
    body: Vec<u8>,
    step: Step,
}

/// What comes next.
#[derive(Clone, Copy)]
enum Step {
    /// The client at this place.
    Session(usize),
    /// The retained message at this place.
    Retained(usize),
    /// The row that begins with the message at this place in the queues, and its number.
    Row(usize, MessageId),
    /// The message to be routed at this place, and its number.
    Received(usize, MessageId),
    /// Nothing.
    End,
}

/// A message of the file.
struct Found {
    message: Message,
    has_expired: bool,
}

impl<'a, R: Read + Seek> Writer<'a, R> {
    pub(super) fn new(
        file: DbFile<R>,
        (config, moment): (&'a Config, Moment),
        plan: Plan,
        report: Report,
    ) -> Writer<'a, R> {
        Writer {
            file,
            config,
            moment,
            plan,
            report,
            body: Vec::new(),
            step: Step::Session(0),
        }
    }

    /// Fills a batch; false once there is no more.
    ///
    /// # Errors
    /// The file is damaged, or can't be read.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let millis = self.moment.wall.saturating_mul(1000);
        (batch.floor, batch.wall, batch.known) = (self.moment.now, millis, millis);
        while batch.bytes() < BATCH_BYTES {
            self.step = match self.step {
                Step::Session(at) => self.session(at, batch),
                Step::Retained(at) => self.retained(at, batch)?,
                Step::Row(at, id) => self.row((at, id), batch)?,
                Step::Received(at, id) => self.received((at, id), batch)?,
                Step::End => return Ok(false),
            };
        }
        Ok(true)
    }

    fn session(&mut self, at: usize, batch: &mut Batch) -> Step {
        match self.plan.fates.get(at) {
            None => return Step::Retained(0),
            Some(Fate::Stays(_)) => {}
            Some(Fate::Comes(session)) => {
                batch.put_session(session.id, &session.record);
                batch.put_state(session.id, &session.state);
            }
        }
        Step::Session(at + 1)
    }

    fn retained(&mut self, at: usize, batch: &mut Batch) -> Result<Step, Error> {
        let Some(&number) = self.plan.gathered.retained.get(at) else {
            return Ok(Step::Row(0, self.plan.first));
        };
        let next = Step::Retained(at + 1);
        let Some(index) = self.plan.gathered.find(number) else {
            self.report.leave(Left::NoMessage, 1);
            return Ok(next);
        };
        match self.message(index)? {
            Err(left) => self.report.leave(left, 1),
            Ok(found) if found.has_expired => self.report.leave(Left::ExpiredMessages, 1),
            Ok(found) if found.message.topic().starts_with("$SYS/") => {
                self.report.leave(Left::Sys, 1);
            }
            // That is how a retained message is deleted.
            Ok(found) if found.message.payload().is_empty() => {}
            Ok(mut found) => {
                found.message.retain = true;
                batch.put_retained(&found.message);
                self.report.retained += 1;
            }
        }
        Ok(next)
    }

    /// Stores a message for all whose queues have it at the same place.
    fn row(&mut self, (at, id): (usize, MessageId), batch: &mut Batch) -> Result<Step, Error> {
        let rest = self.plan.copies.get(at..).unwrap_or_default();
        let Some(row) = rest.chunk_by(Copy::is_with).next() else {
            return Ok(Step::Received(0, id));
        };
        let (index, count) = (row.first().map_or(0, |copy| copy.message), row.len());
        let next = Step::Row(at + count, MessageId(id.0 + 1));
        let found = match self.message(index as usize)? {
            Ok(found) => found,
            Err(left) => {
                self.report.leave(left, count as u64);
                return Ok(next);
            }
        };
        let mut targets = Vec::with_capacity(count);
        for n in at..at + count {
            match self.target(n, &found) {
                Ok(target) => targets.push(target),
                Err(left) => self.report.leave(left, 1),
            }
        }
        if !targets.is_empty() {
            batch.put_message(id, &found.message, &targets);
        }
        Ok(next)
    }

    /// To whom the message at place `n` is owed.
    fn target(&mut self, n: usize, found: &Found) -> Result<Owed, Left> {
        let copy = self.plan.copies.get(n);
        let place = copy.and_then(|copy| self.plan.gathered.places.get(copy.place as usize));
        let place = place.ok_or(Left::BadMessages)?;
        let Some(Fate::Comes(session)) = self.plan.fates.get_mut(place.client as usize) else {
            return Err(Left::OfSessions);
        };
        let progress = Progress::of(place);
        if found.has_expired && progress == Progress::Waits {
            return Err(Left::ExpiredMessages);
        }
        let qos = QoS::from_bits(place.qos).ok_or(Left::BadMessages)?;
        let lane = match &session.bridge {
            None => Lane::Client,
            Some(bridge) => {
                let lane = bridge.lane(found.message.topic());
                let (lane, _) = lane.ok_or_else(|| Left::NoLine(bridge.client_id.clone()))?;
                lane
            }
        };
        self.report.queued += 1;
        match progress {
            Progress::Sent(_) => self.report.sent += 1,
            Progress::Releasing(_) => self.report.releasing += 1,
            _ => {}
        }
        Ok(Owed {
            session: session.id,
            lane,
            seq: session.seq(progress, qos),
            qos,
            retain: place.retain,
            sub_ids: match place.identifier {
                0 => Box::default(),
                identifier => Box::from([identifier]),
            },
        })
    }

    /// Routes a message that Mosquitto would have routed with its PUBREL. Here that was to happen before.
    fn received(&mut self, (at, id): (usize, MessageId), batch: &mut Batch) -> Result<Step, Error> {
        let Some(&copy) = self.plan.received.get(at) else {
            return Ok(Step::End);
        };
        let next = Step::Received(at + 1, MessageId(id.0 + 1));
        self.report.received += 1;
        let found = match self.message(copy.message as usize)? {
            Ok(found) => found,
            Err(left) => {
                self.report.leave(left, 1);
                return Ok(next);
            }
        };
        if found.has_expired {
            self.report.leave(Left::ExpiredMessages, 1);
            return Ok(next);
        }
        let place = self.plan.gathered.places.get(copy.place as usize);
        let publisher = place.map(|place| place.client);
        let sessions = (0..).zip(&mut self.plan.fates).filter_map(|(at, fate)| {
            let is_own = publisher == Some(at);
            match fate {
                Fate::Comes(session) => Some((&mut **session, is_own)),
                Fate::Stays(_) => None,
            }
        });
        let targets = receivers(&found.message, sessions, &self.config.general);
        self.report.queued += targets.len() as u64;
        if !targets.is_empty() {
            batch.put_message(id, &found.message, &targets);
        }
        if found.message.retain && !found.message.payload().is_empty() {
            batch.put_retained(&found.message);
        } else if found.message.retain {
            batch.delete_retained(found.message.topic());
        }
        Ok(next)
    }

    /// Reads one of [`Gathered::messages`](super::gather::Gathered::messages); what is said of it if it can't
    /// be brought over.
    fn message(&mut self, index: usize) -> Result<Result<Found, Left>, Error> {
        let Some(stored) = self.plan.gathered.messages.get(index) else {
            return Ok(Err(Left::NoMessage));
        };
        let (record, format) = (stored.record(), self.file.format());
        self.file.read(record, usize::MAX, &mut self.body)?;
        let parsed = records::Message::parse(format, &self.body);
        let parsed = parsed.ok_or_else(|| record.damaged("a message that is too short"))?;
        let made = self.make(&parsed, format);
        Ok(made.ok_or(Left::BadMessages))
    }

    /// A message as it is here; `None` if it is none.
    fn make(&self, parsed: &records::Message<'_>, format: Format) -> Option<Found> {
        let text = std::str::from_utf8;
        let topic = TopicName::new(text(parsed.topic).ok()?).ok()?;
        let mut props = Vec::new();
        Props::of_publish(parsed.props)?.read_publish(&mut props);
        let username = text(parsed.username).ok()?;
        let port = Some(parsed.port).filter(|_| format >= Format::Four);
        let origin = Origin::new(
            text(parsed.client_id).ok()?,
            Some(username).filter(|name| !name.is_empty()),
            listener(self.config, port).as_deref(),
        );
        let parts = Parts {
            topic: topic.as_str(),
            props: &props,
            payload: parsed.payload,
        };
        let mut message = Message::new(parts, self.moment.now, Rc::new(origin)).ok()?;
        message.qos = QoS::from_bits(parsed.qos)?;
        message.retain = parsed.retain;
        let expires = parsed.expires.value(self.plan.gathered.order);
        message.expiry = (expires != 0).then(|| self.moment.at(expires));
        Some(Found {
            has_expired: expires != 0 && self.moment.has_passed(expires),
            message,
        })
    }
}
