//! What a session is owed, without the contents: the ids of its messages with their sizes, by
//! the line they came by.
//!
//! A million messages take next to nothing where they are alike and come by one line, about two
//! bytes each where sizes differ, two more where lines alternate. Each line has a lane of its
//! own, so that its messages can be counted, dropped and expired apart from the others; the lanes
//! are merged by id at the front. A lane that yields to others would only have to be asked last.

mod arrivals;
mod bits;
pub(super) mod ids;

mod sizes;
mod topics;
mod waiting;

use std::collections::VecDeque;

use topics::Topics;
use waiting::Waiting;

use crate::impossible;
use crate::message::MessageId;
use crate::time::Time;

/// A queued message without its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Its number.
    pub id: MessageId,
    /// The bridge topic line it came by; 0 for none.
    pub mapping: u16,
    /// Its [`Message::size`](crate::message::Message::size).
    pub size: u32,
    /// When it arrived, about.
    pub arrival: Time,
}

/// So many messages with so many bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// Messages.
    pub messages: u64,
    /// Bytes of them, as [`Message::size`](crate::message::Message::size) counts.
    pub bytes: u64,
}

impl Amount {
    /// Counts `messages` with `bytes` in.
    pub fn add(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// Counts `messages` with `bytes` out.
    pub fn take(&mut self, messages: u64, bytes: u64) {
        let left = self.messages.checked_sub(messages);
        let Some((messages, bytes)) = left.zip(self.bytes.checked_sub(bytes)) else {
            impossible!("{messages} messages of {bytes} bytes leave {self:?}");
            *self = Amount::default();
            return;
        };
        *self = Amount { messages, bytes };
    }
}

/// The messages that came by one line.
#[derive(Clone, Debug, Default)]
struct Line {
    mapping: u16,
    /// All that are owed, also those that are on their way already.
    owed: Amount,
    lane: Waiting,
    /// Made with the first message that is pushed by topic.
    topics: Option<Box<Topics>>,
}

/// A session's queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Sent on an earlier connection and not acknowledged; these go first.
    sent: VecDeque<Held>,
    /// By number.
    lines: Vec<Line>,
    /// The highest id that was pushed.
    newest: MessageId,
}

impl Queue {
    /// How many messages wait here.
    pub fn len(&self) -> u64 {
        let lanes = self.lines.iter().map(|line| line.lane.len());
        self.sent.len() as u64 + lanes.sum::<u64>()
    }

    /// True if none does.
    pub fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    /// The next message.
    pub fn front(&self) -> Option<MessageId> {
        match self.sent.front() {
            Some(held) => Some(held.id),
            None => Some(MessageId(self.first_line(|_| true)?.1)),
        }
    }

    /// The next message that was never sent.
    pub fn first_unsent(&self) -> Option<MessageId> {
        self.first_line(|_| true).map(|(_, id)| MessageId(id))
    }

    /// The line whose first waiting message is the oldest, and that message, among the lines that
    /// `may` admits.
    fn first_line(&self, may: impl Fn(u16) -> bool) -> Option<(usize, u64)> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| may(line.mapping))
            .filter_map(|(at, line)| Some((at, line.lane.front()?)))
            .min_by_key(|(_, id)| *id)
    }

    fn line(&self, mapping: u16) -> Option<&Line> {
        let at = self.lines.binary_search_by_key(&mapping, |l| l.mapping);
        at.ok().and_then(|at| self.lines.get(at))
    }

    fn line_mut(&mut self, mapping: u16) -> &mut Line {
        let found = self.lines.binary_search_by_key(&mapping, |l| l.mapping);
        let at = found.unwrap_or_else(|at| {
            let line = Line {
                mapping,
                ..Line::default()
            };
            self.lines.insert(at, line);
            at
        });
        &mut self.lines[at]
    }

    /// Counts a message as owed, wherever it goes. With a `topic`, newer messages on it may
    /// supersede this one.
    pub fn owe(&mut self, mapping: u16, id: Option<MessageId>, size: u32, topic: Option<&str>) {
        let line = self.line_mut(mapping);
        line.owed.add(1, size.into());
        if let (Some(topic), Some(id)) = (topic, id) {
            let topics = line.topics.get_or_insert_default();
            topics.push(topic, id.0, size);
        }
    }

    /// A message is no longer owed.
    pub fn forget(&mut self, mapping: u16, id: Option<MessageId>, size: u32) {
        self.line_mut(mapping).owed.take(1, size.into());
        self.start(mapping, id, size);
    }

    /// A message is on its way: nothing supersedes it any more.
    pub fn start(&mut self, mapping: u16, id: Option<MessageId>, size: u32) {
        if let (Some(topics), Some(id)) = (&mut self.line_mut(mapping).topics, id) {
            topics.gone(id.0, size);
        }
    }

    /// What is owed in all.
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for line in &self.lines {
            total.add(line.owed.messages, line.owed.bytes);
        }
        total
    }

    /// What is owed by a line.
    pub fn owed(&self, mapping: u16) -> Amount {
        self.line(mapping)
            .map_or(Amount::default(), |line| line.owed)
    }

    /// Appends a message; false if it is not newer than all others.
    pub fn push_back(&mut self, held: Held) -> bool {
        if held.id <= self.newest {
            return false;
        }
        self.newest = held.id;
        let lane = &mut self.line_mut(held.mapping).lane;
        lane.push_back(held.id.0, held.size, held.arrival)
    }

    /// Puts a message back before all others that were never sent.
    pub fn push_front(&mut self, held: Held) {
        self.newest = self.newest.max(held.id);
        let id = held.id.0;
        let lane = &mut self.line_mut(held.mapping).lane;
        if !lane.push_front(id, held.size, held.arrival) {
            impossible!("message {id} is put back before {:?}", lane.front());
        }
    }

    /// Puts a message behind those that were sent before; all of them go first.
    pub fn push_sent(&mut self, held: Held) -> bool {
        if self.sent.back().is_some_and(|last| last.id >= held.id) {
            return false;
        }
        self.sent.push_back(held);
        true
    }

    /// Takes the messages that were sent before.
    pub fn take_sent(&mut self) -> VecDeque<Held> {
        std::mem::take(&mut self.sent)
    }

    /// The messages of one line that follow `passed`, those that were sent before first.
    pub fn of_line(&self, mapping: u16, passed: MessageId) -> impl Iterator<Item = MessageId> {
        let ours = move |held: &&Held| held.mapping == mapping && held.id > passed;
        let sent = self.sent.iter().filter(ours).map(|held| held.id);
        let line = self.line(mapping).into_iter();
        let lane = line.flat_map(move |line| line.lane.iter_after(passed.0));
        sent.chain(lane.map(MessageId))
    }

    /// True if the message `id` of a line waits here.
    pub fn contains(&self, mapping: u16, id: MessageId) -> bool {
        let sent = |held: &Held| held.id == id && held.mapping == mapping;
        let line = self.line(mapping);
        self.sent.iter().any(sent) || line.is_some_and(|line| line.lane.contains(id.0))
    }

    /// Takes the message `id` of `size` bytes out of a line, wherever it stands, and returns its
    /// size. It is still counted as owed.
    pub fn take(&mut self, mapping: u16, id: MessageId, size: u32) -> Option<u32> {
        if let Ok(at) = self.sent.binary_search_by_key(&id, |held| held.id) {
            return self.sent.remove(at).map(|held| held.size);
        }
        self.line_mut(mapping).lane.take(id.0, size)
    }

    /// Takes the next message if its number is less than `below`.
    pub fn pop_below(&mut self, below: MessageId) -> Option<Held> {
        if let Some(held) = self.sent.front() {
            let is_below = held.id < below;
            return if is_below {
                self.sent.pop_front()
            } else {
                None
            };
        }
        let (at, id) = self.first_line(|_| true)?;
        if id >= below.0 {
            return None;
        }
        self.pop_line(at)
    }

    fn pop_line(&mut self, at: usize) -> Option<Held> {
        let line = self.lines.get_mut(at)?;
        let arrival = line
            .lane
            .front()
            .and_then(|id| line.lane.arrivals.oldest(id));
        let (id, size) = line.lane.pop_front()?;
        Some(Held {
            id: MessageId(id),
            mapping: line.mapping,
            size,
            arrival: arrival.unwrap_or_else(|| {
                impossible!("message {id} is queued, and no time of arrival is known");
                Time::ZERO
            }),
        })
    }

    /// Takes the oldest message that was never sent, of the lines that `may` admits. It is still
    /// counted as owed.
    pub fn pop_oldest(&mut self, may: impl Fn(u16) -> bool) -> Option<Held> {
        let (at, _) = self.first_line(may)?;
        self.pop_line(at)
    }

    /// What waits here and was never sent, of the lines that `may` admits.
    pub fn unsent(&self, may: impl Fn(u16) -> bool) -> Amount {
        let mut amount = Amount::default();
        for line in self.lines.iter().filter(|line| may(line.mapping)) {
            amount.add(line.lane.len(), line.lane.bytes());
        }
        amount
    }

    /// The numbers of the lines that owe something.
    pub fn mappings(&self) -> Vec<u16> {
        self.lines.iter().map(|line| line.mapping).collect()
    }

    /// A message on `topic` is about to be pushed: the one before it is superseded already.
    pub fn outdate(&mut self, mapping: u16, topic: &str) {
        if let Some(topics) = &mut self.line_mut(mapping).topics {
            topics.outdate(topic);
        }
    }

    /// Whether a newer message on its topic is owed.
    pub fn is_superseded(&self, mapping: u16, id: MessageId) -> bool {
        let topics = self.line(mapping).and_then(|line| line.topics.as_ref());
        topics.is_some_and(|topics| topics.is_superseded(id.0))
    }

    /// Takes all messages of a line that wait here and have a newer one on their topic, and tells
    /// their bytes. Those elsewhere must have been forgotten before.
    pub fn take_superseded(&mut self, mapping: u16) -> (Vec<MessageId>, u64) {
        let line = self.line_mut(mapping);
        let Some(topics) = &mut line.topics else {
            return (Vec::new(), 0);
        };
        let (ids, bytes) = topics.take_superseded();
        line.lane.punch(ids.iter(), bytes);
        line.owed.take(ids.len(), bytes);
        (ids.iter().map(MessageId).collect(), bytes)
    }

    /// The highest of a line's messages that had arrived, with all before it, by `time`.
    pub fn arrived_by(&self, mapping: u16, time: Time) -> Option<MessageId> {
        let line = self.line(mapping)?;
        let through = line.lane.arrivals.through(time)?;
        Some(MessageId(through))
    }

    /// Takes the first message of a line if its number is at most `through`.
    pub fn pop_through(&mut self, mapping: u16, through: MessageId) -> Option<Held> {
        let at = self.lines.binary_search_by_key(&mapping, |l| l.mapping);
        let at = at.ok()?;
        let front = self.lines.get(at)?.lane.front()?;
        (front <= through.0).then(|| self.pop_line(at)).flatten()
    }

    /// About when the oldest message arrived that waits here; of one line, or of all.
    pub fn oldest(&self, mapping: Option<u16>) -> Option<Time> {
        let wanted = |number: u16| mapping.is_none_or(|m| m == number);
        let sent = self.sent.iter().filter(|held| wanted(held.mapping));
        let lanes = self.lines.iter().filter(|line| wanted(line.mapping));
        let lanes = lanes.filter_map(|l| l.lane.arrivals.oldest(l.lane.front()?));
        sent.map(|held| held.arrival).chain(lanes).min()
    }

    /// The time that [`Queue::arrived_by`] wants to be asked for to find something.
    pub fn next_arrival(&self, mapping: u16) -> Option<Time> {
        let lane = &self.line(mapping)?.lane;
        lane.arrivals.next(lane.front()?)
    }

    /// The numbers of the messages that wait, in the order in which they go out.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let sent = self.sent.iter().map(|held| held.id.0);
        let mut lanes: Vec<_> = self
            .lines
            .iter()
            .map(|l| l.lane.iter().peekable())
            .collect();
        let merged = std::iter::from_fn(move || {
            let fronts = lanes.iter_mut().enumerate();
            let fronts = fronts.filter_map(|(at, lane)| Some((*lane.peek()?, at)));
            let (_, at) = fronts.min()?;
            lanes.get_mut(at)?.next()
        });
        sent.chain(merged)
    }
}
