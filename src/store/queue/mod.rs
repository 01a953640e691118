//! What a session is owed, without the contents: the ids of its messages with their sizes, by
//! lane.
//!
//! A million messages take next to nothing where they are alike and belong to one lane, about two
//! bytes each where sizes differ, two more where lanes alternate, and up to five more where they expire
//! at times that all differ. Each lane is a queue of its own,
//! so that its messages can be counted, dropped and expired apart from the others; the lanes are
//! merged by id at the front. Dead letters ([`Lane::Dead`]) only lie here: nothing that speaks of all
//! lanes means theirs.

mod amount;
mod arrivals;
mod bits;
mod expiries;
mod fronts;
pub(super) mod ids;
mod parts;
mod room;
mod sizes;
mod topics;
mod waiting;

use std::collections::VecDeque;

pub use amount::Amount;
use fronts::Fronts;
pub use parts::Taken;
use topics::Topics;
use waiting::Waiting;

use crate::impossible;
use crate::lane::Lane;
use crate::message::MessageId;
use crate::time::Time;

/// A queued message without its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Queued {
    /// Its number.
    pub id: MessageId,
    /// The lane it belongs to.
    pub lane: Lane,
    /// Its [`Message::size`](crate::message::Message::size).
    pub size: u32,
    /// When it arrived, about.
    pub arrival: Time,
    /// From when on it is dropped, unless it was sent; see [`Queued::expires`].
    pub expires: Option<Time>,
}

impl Queued {
    /// From when on a message is dropped that arrived at `arrival` and expires at `expiry`: at most a
    /// second later, or a 64th of its whole time if that is more. So a queue has few of these times.
    pub fn expires(arrival: Time, expiry: Option<Time>) -> Option<Time> {
        expiry.map(|expiry| expiries::round_up(arrival, expiry))
    }
}

/// The messages of one lane.
#[derive(Clone, Debug, Default)]
struct LaneQueue {
    lane: Lane,
    /// All that are owed, also those that are on their way already.
    owed: Amount,
    waiting: Waiting,
    /// The front of `waiting` as [`Queue::fronts`] has it.
    front: Option<u64>,
    /// Messages and bytes of `waiting` as [`Queue::unsent_all`] has them.
    counted: Amount,
    /// Made with the first message that is pushed by topic.
    topics: Option<Box<Topics>>,
}

impl LaneQueue {
    /// As [`Queue::start`].
    fn start(&mut self, id: Option<MessageId>, size: u32) {
        if let (Some(topics), Some(id)) = (&mut self.topics, id) {
            topics.gone(id.0, size);
        }
    }
}

/// A session's queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Sent on an earlier connection and not acknowledged; these go first.
    sent: VecDeque<Queued>,
    /// By number.
    lanes: Vec<LaneQueue>,
    /// Dead letters are not among them.
    fronts: Fronts,
    /// What waits in all lanes, but for dead letters.
    waiting: Amount,
    /// The highest id that was pushed.
    newest: MessageId,
}

impl Queue {
    /// How many messages wait here.
    pub fn len(&self) -> u64 {
        self.sent.len() as u64 + self.waiting.messages
    }

    /// True if none does.
    pub fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    /// The next message.
    pub fn front(&self) -> Option<MessageId> {
        self.front_of(|_| true)
    }

    /// The next message: of those that were sent before, or of the lanes that `may` admits.
    pub fn front_of(&self, may: impl Fn(Lane) -> bool) -> Option<MessageId> {
        match self.sent.front() {
            Some(queued) => Some(queued.id),
            None => self.first_unsent(may),
        }
    }

    /// The next message that was never sent, of the lanes that `may` admits.
    pub fn first_unsent(&self, may: impl Fn(Lane) -> bool) -> Option<MessageId> {
        self.first_lane(may).map(|(_, id)| MessageId(id))
    }

    /// The lanes but that of dead letters.
    fn living(&self) -> impl Iterator<Item = &LaneQueue> {
        self.lanes.iter().filter(|queue| queue.lane != Lane::Dead)
    }

    /// The lane whose first waiting message is the oldest, and that message, among the lanes that
    /// `may` admits.
    fn first_lane(&self, may: impl Fn(Lane) -> bool) -> Option<(usize, u64)> {
        let (id, lane) = self.fronts.first(may)?;
        Some((self.place(lane)?, id))
    }

    fn place(&self, lane: Lane) -> Option<usize> {
        let at = self.lanes.binary_search_by_key(&lane, |queue| queue.lane);
        at.ok()
    }

    /// What waits in a lane has changed.
    fn changed(&mut self, lane: Lane) {
        let at = self.place(lane).filter(|_| lane != Lane::Dead);
        let Some(queue) = at.and_then(|at| self.lanes.get_mut(at)) else {
            return;
        };
        let now = Amount {
            messages: queue.waiting.len(),
            bytes: queue.waiting.bytes(),
        };
        let before = std::mem::replace(&mut queue.counted, now);
        self.waiting.add(now.messages, now.bytes);
        self.waiting.take(before.messages, before.bytes);
        let front = queue.waiting.front();
        let before = std::mem::replace(&mut queue.front, front);
        self.fronts.moved(lane, before, front);
    }

    fn find(&self, lane: Lane) -> Option<&LaneQueue> {
        self.place(lane).and_then(|at| self.lanes.get(at))
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneQueue {
        let found = self.lanes.binary_search_by_key(&lane, |queue| queue.lane);
        let at = found.unwrap_or_else(|at| {
            let queue = LaneQueue {
                lane,
                ..LaneQueue::default()
            };
            self.lanes.insert(at, queue);
            at
        });
        &mut self.lanes[at]
    }

    /// Counts a message as owed, wherever it goes. With a `topic`, newer messages on it may
    /// supersede this one.
    pub fn owe(&mut self, lane: Lane, id: Option<MessageId>, size: u32, topic: Option<&str>) {
        let queue = self.lane_mut(lane);
        queue.owed.add(1, size.into());
        if let (Some(topic), Some(id)) = (topic, id) {
            let topics = queue.topics.get_or_insert_default();
            topics.push(topic, id.0, size);
        }
    }

    /// A message is no longer owed.
    pub fn forget(&mut self, lane: Lane, id: Option<MessageId>, size: u32) {
        let queue = self.lane_mut(lane);
        queue.owed.take(1, size.into());
        queue.start(id, size);
    }

    /// A message is on its way: nothing supersedes it any more.
    pub fn start(&mut self, lane: Lane, id: Option<MessageId>, size: u32) {
        self.lane_mut(lane).start(id, size);
    }

    /// What is owed in all.
    pub fn total(&self) -> Amount {
        let mut total = Amount::default();
        for queue in self.living() {
            total.add(queue.owed.messages, queue.owed.bytes);
        }
        total
    }

    /// What is owed by a lane.
    pub fn owed(&self, lane: Lane) -> Amount {
        self.find(lane)
            .map_or(Amount::default(), |queue| queue.owed)
    }

    /// Appends a message; false if it is not newer than all others.
    pub fn push_back(&mut self, queued: Queued) -> bool {
        if queued.id <= self.newest {
            return false;
        }
        self.newest = queued.id;
        let waiting = &mut self.lane_mut(queued.lane).waiting;
        let times = (queued.arrival, queued.expires);
        let is_new = waiting.push_back(queued.id.0, queued.size, times);
        self.changed(queued.lane);
        is_new
    }

    /// Puts a message back in its place among those of its lane that were never sent.
    pub fn put_back(&mut self, queued: Queued) {
        self.newest = self.newest.max(queued.id);
        let waiting = &mut self.lane_mut(queued.lane).waiting;
        let times = (queued.arrival, queued.expires);
        if !waiting.put_back(queued.id.0, queued.size, times) {
            impossible!("message {:?} is put back, and is there", queued.id);
        }
        self.changed(queued.lane);
    }

    /// Puts a message behind those that were sent before, in the order in which they were sent.
    pub fn resend(&mut self, queued: Queued) {
        self.sent.push_back(queued);
    }

    /// Puts a message behind those that were sent before; all of them go first.
    pub fn push_sent(&mut self, queued: Queued) -> bool {
        if self.sent.back().is_some_and(|last| last.id >= queued.id) {
            return false;
        }
        self.sent.push_back(queued);
        true
    }

    /// Takes the messages that were sent before.
    pub fn take_sent(&mut self) -> VecDeque<Queued> {
        std::mem::take(&mut self.sent)
    }

    /// The messages of one lane that follow `passed`, those that were sent before first.
    pub fn of_lane(&self, lane: Lane, passed: MessageId) -> impl Iterator<Item = MessageId> {
        let ours = move |queued: &&Queued| queued.lane == lane && queued.id > passed;
        let sent = self.sent.iter().filter(ours).map(|queued| queued.id);
        let queue = self.find(lane).into_iter();
        let lane = queue.flat_map(move |queue| queue.waiting.iter_after(passed.0));
        sent.chain(lane.map(MessageId))
    }

    /// True if the message `id` of a lane waits here.
    pub fn contains(&self, lane: Lane, id: MessageId) -> bool {
        let sent = |queued: &Queued| queued.id == id && queued.lane == lane;
        let queue = self.find(lane);
        self.sent.iter().any(sent) || queue.is_some_and(|queue| queue.waiting.contains(id.0))
    }

    /// Takes the message `id` of `size` bytes out of a lane, wherever it stands, and returns its
    /// size. It is still counted as owed.
    pub fn take(&mut self, lane: Lane, id: MessageId, size: u32) -> Option<u32> {
        let mut sent = self.sent.iter();
        if let Some(at) = sent.position(|queued| queued.id == id && queued.lane == lane) {
            return self.sent.remove(at).map(|queued| queued.size);
        }
        let taken = self.lane_mut(lane).waiting.take(id.0, size);
        self.changed(lane);
        taken
    }

    /// The size of a message that waits in a lane. It takes long: where the message tells, ask that.
    pub fn find_size(&self, lane: Lane, id: MessageId) -> Option<u32> {
        let mut sent = self.sent.iter();
        let sent = sent.find(|queued| queued.id == id && queued.lane == lane);
        let waiting = || self.find(lane)?.waiting.find_size(id.0);
        sent.map(|queued| queued.size).or_else(waiting)
    }

    /// Takes the next message, as [`Queue::front_of`] names it, if its number is less than `below`.
    pub fn pop_below(&mut self, below: MessageId, may: impl Fn(Lane) -> bool) -> Option<Queued> {
        self.pop_if(|id| id < below, may)
    }

    /// Takes the next message, as [`Queue::front_of`] names it, if its number is not less than `from`.
    pub fn pop_from(&mut self, from: MessageId, may: impl Fn(Lane) -> bool) -> Option<Queued> {
        self.pop_if(|id| id >= from, may)
    }

    fn pop_if(
        &mut self,
        fits: impl Fn(MessageId) -> bool,
        may: impl Fn(Lane) -> bool,
    ) -> Option<Queued> {
        if let Some(queued) = self.sent.front() {
            return fits(queued.id).then(|| self.sent.pop_front()).flatten();
        }
        let (at, id) = self.first_lane(may)?;
        fits(MessageId(id)).then(|| self.pop_lane(at)).flatten()
    }

    fn pop_lane(&mut self, at: usize) -> Option<Queued> {
        let queue = self.lanes.get_mut(at)?;
        let (lane, arrival) = (queue.lane, queue.waiting.oldest());
        let (id, size, expires) = queue.waiting.pop_front()?;
        self.changed(lane);
        Some(Queued {
            id: MessageId(id),
            lane,
            size,
            arrival: arrival.unwrap_or_else(|| {
                impossible!("message {id} is queued, and no time of arrival is known");
                Time::ZERO
            }),
            expires,
        })
    }

    /// The lane of the oldest message that was never sent, of the lanes that `may` admits.
    pub fn next_lane(&self, may: impl Fn(Lane) -> bool) -> Option<Lane> {
        self.fronts.first(may).map(|(_, lane)| lane)
    }

    /// Takes the oldest message that was never sent, of the lanes that `may` admits. It is still
    /// counted as owed.
    pub fn pop_oldest(&mut self, may: impl Fn(Lane) -> bool) -> Option<Queued> {
        let (at, _) = self.first_lane(may)?;
        self.pop_lane(at)
    }

    /// Takes the oldest dead letter. It is still counted as owed.
    pub fn pop_dead(&mut self) -> Option<Queued> {
        self.pop_lane(self.place(Lane::Dead)?)
    }

    /// What waits here and was never sent, of the lanes that `may` admits.
    pub fn unsent(&self, may: impl Fn(Lane) -> bool) -> Amount {
        let mut amount = Amount::default();
        for queue in self.living().filter(|queue| may(queue.lane)) {
            amount.add(queue.waiting.len(), queue.waiting.bytes());
        }
        amount
    }

    /// What waits here and was never sent, of all lanes.
    pub fn unsent_all(&self) -> Amount {
        self.waiting
    }

    /// The lanes that owe something, or have.
    pub fn lanes(&self) -> Vec<Lane> {
        self.lanes.iter().map(|queue| queue.lane).collect()
    }

    /// A message on `topic` is about to be pushed: the one before it is superseded already.
    pub fn outdate(&mut self, lane: Lane, topic: &str) {
        if let Some(topics) = &mut self.lane_mut(lane).topics {
            topics.outdate(topic);
        }
    }

    /// Whether a message of a lane has a newer one on its topic.
    pub fn has_superseded(&self, lane: Lane) -> bool {
        let topics = self.find(lane).and_then(|queue| queue.topics.as_ref());
        topics.is_some_and(|topics| topics.has_superseded())
    }

    /// Whether a newer message on its topic is owed.
    pub fn is_superseded(&self, lane: Lane, id: MessageId) -> bool {
        let topics = self.find(lane).and_then(|queue| queue.topics.as_ref());
        topics.is_some_and(|topics| topics.is_superseded(id.0))
    }

    /// The highest of a lane's messages that had arrived, with all before it, by `time`.
    pub fn arrived_by(&self, lane: Lane, time: Time) -> Option<MessageId> {
        let queue = self.find(lane)?;
        Some(MessageId(queue.waiting.arrived_by(time)?))
    }

    /// Takes the first message of a lane if its number is at most `through`.
    pub fn pop_through(&mut self, lane: Lane, through: MessageId) -> Option<Queued> {
        let at = self.place(lane)?;
        let front = self.lanes.get(at)?.waiting.front()?;
        (front <= through.0).then(|| self.pop_lane(at)).flatten()
    }

    /// When the next message expires that waits here and was never sent.
    pub fn next_expiry(&self) -> Option<Time> {
        let lanes = self.lanes.iter();
        lanes.filter_map(|queue| queue.waiting.next_expiry()).min()
    }

    /// Takes at most `limit` messages that expire at or before `now` and were never sent, and calls
    /// `gone` for each; they arrived no earlier than it says. They are still counted as owed.
    pub fn take_expired(&mut self, now: Time, limit: usize, mut gone: impl FnMut(Queued)) {
        let (mut left, mut changed) = (limit, Vec::new());
        for queue in &mut self.lanes {
            if left == 0 {
                break;
            }
            let before = left;
            let oldest = queue.waiting.oldest().unwrap_or(Time::ZERO);
            while left > 0
                && let Some((id, size)) = queue.waiting.take_expired(now)
            {
                gone(Queued {
                    id: MessageId(id),
                    lane: queue.lane,
                    size,
                    arrival: oldest,
                    expires: Some(now),
                });
                left -= 1;
            }
            if left < before {
                changed.push(queue.lane);
            }
        }
        for lane in changed {
            self.changed(lane);
        }
    }

    /// About when the oldest message arrived that waits here; of one lane, or of all.
    pub fn oldest(&self, lane: Option<Lane>) -> Option<Time> {
        let wanted = |other: Lane| lane.is_none_or(|lane| lane == other);
        let sent = self.sent.iter().filter(|queued| wanted(queued.lane));
        let lanes = self.living().filter(|queue| wanted(queue.lane));
        let lanes = lanes.filter_map(|queue| queue.waiting.oldest());
        sent.map(|queued| queued.arrival).chain(lanes).min()
    }

    /// The time that [`Queue::arrived_by`] wants to be asked for to find something.
    pub fn next_arrival(&self, lane: Lane) -> Option<Time> {
        self.find(lane)?.waiting.next_arrival()
    }

    /// The numbers of the messages that wait and were never sent, of each lane those up to the one
    /// that `through` names.
    pub fn unsent_through(
        &self,
        through: impl Fn(Lane) -> MessageId,
    ) -> impl Iterator<Item = MessageId> {
        self.living().flat_map(move |queue| {
            let last = through(queue.lane);
            let ids = queue.waiting.iter().map(MessageId);
            ids.take_while(move |id| *id <= last)
        })
    }

    /// The numbers of the messages that were sent before.
    pub fn sent(&self) -> impl Iterator<Item = MessageId> {
        self.sent.iter().map(|queued| queued.id)
    }

    /// The numbers of the messages that wait, in the order in which they go out.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let sent = self.sent.iter().map(|queued| queued.id.0);
        let mut lanes: Vec<_> = self
            .living()
            .map(|queue| queue.waiting.iter().peekable())
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
