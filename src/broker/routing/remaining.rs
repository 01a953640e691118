//! What is left to do about a message for which there is no room yet, or that goes to its many receivers
//! in pieces.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::receiver::Receiver;
use crate::held::{ALLOCATION, Charge, QUEUES};
use crate::keys::{ConnId, SessionKey};
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::Delivery;
use crate::route::SubOptions;
use crate::time::Time;

/// Messages that are dropped while they wait for others are not told of more often than this.
const DROPPED_TOLD: Duration = Duration::from_secs(600);

/// A lane in which an earlier message of the same publisher waits for room: a later one must not
/// overtake it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Behind {
    pub(crate) session: SessionKey,
    pub(crate) lane: Lane,
    /// The earlier one was at least copied to the receiver.
    pub(crate) has_copy: bool,
}

impl Behind {
    /// Adds the lanes in which `remaining` waits, each once.
    pub(crate) fn note(behind: &mut Vec<Behind>, remaining: &Remaining) {
        for receiver in &remaining.receivers {
            let (session, lane) = (receiver.session, receiver.owed.lane);
            let known = behind
                .iter_mut()
                .find(|b| b.session == session && b.lane == lane);
            match known {
                Some(known) => known.has_copy &= receiver.has_copy,
                None => behind.push(Behind {
                    session,
                    lane,
                    has_copy: receiver.has_copy,
                }),
            }
        }
    }
}

/// What is still to be done about a message once there is room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remaining {
    /// Those who must hold the message and have no room.
    pub(crate) receivers: Vec<Receiver>,
    /// What is left to do about retaining it.
    pub(crate) retention: Retention,
}

/// What is left to do about retaining a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Retention {
    /// Nothing.
    #[default]
    Done,
    /// It is retained, but the disk takes it not, so its publisher is promised nothing.
    Unpromised,
    /// There is no memory for it.
    NoRoom,
}

impl Remaining {
    /// True if all is done.
    pub(crate) fn is_empty(&self) -> bool {
        self.receivers.is_empty() && self.retention == Retention::Done
    }
}

/// A message that goes to its receivers in pieces.
#[derive(Debug)]
pub(crate) struct FanOut {
    pub(crate) message: Rc<Message>,
    /// The publisher's session.
    pub(crate) from: Option<SessionKey>,
    /// Who is told what has become of it, if anybody is.
    pub(crate) publisher: Option<(ConnId, Delivery)>,
    /// How far it is; `None` until its turn comes.
    pub(crate) spread: Option<Spread>,
}

impl FanOut {
    /// Bytes of its message.
    fn size(&self) -> usize {
        self.message.size() as usize
    }
}

/// How far a message is on its way to its receivers.
#[derive(Debug)]
pub(crate) struct Spread {
    /// Those that it is still to reach, the next one last. Copies for one session stand together.
    pub(crate) left: Vec<Receiver>,
    /// Someone is subscribed.
    pub(crate) matched: bool,
    /// Its acknowledgement has to wait for a commit.
    pub(crate) waits: bool,
    /// Who has no room for it, and what is left to do about retaining it.
    pub(crate) remaining: Remaining,
    /// What its topic retained before, which some of them get first.
    pub(crate) ahead: Ahead,
}

/// What a topic retains, and who gets it before a message that may replace it: sessions whose walks have
/// not come to the topic, and leave it out from now on.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// `None`: the topic retains nothing.
    pub(crate) message: Option<Rc<Message>>,
    /// How each is subscribed by its walks. It is made and dropped for each message, and mostly empty: an empty
    /// `HashMap` would still want a key for its hashes.
    pub(crate) of: BTreeMap<SessionKey, Vec<SubOptions>>,
}

impl Ahead {
    /// What it takes, in bytes, about.
    fn held(&self) -> usize {
        let each = size_of::<(SessionKey, Vec<SubOptions>)>() + size_of::<SubOptions>();
        self.of.len() * (each + ALLOCATION)
    }
}

/// The messages that go to their receivers in pieces, one after the other, so that those on one topic
/// reach every receiver in their order.
#[derive(Debug, Default)]
pub(crate) struct FanOuts {
    all: VecDeque<FanOut>,
    /// One has ended since the last chance of a commit: the next is not begun before.
    rests: bool,
    /// Bytes of their messages.
    bytes: usize,
    /// Until when it is not told that some are dropped.
    quiet_until: Option<Time>,
    /// What the list of receivers takes.
    held: Charge<QUEUES>,
}

impl FanOuts {
    /// Adds a message, which waits for those before it.
    pub(crate) fn push(&mut self, fan_out: FanOut) {
        self.bytes += fan_out.size();
        self.all.push_back(fan_out);
        self.recount();
    }

    /// Takes out the oldest of those that wait and are `alone`, until at most `most` of them are left, with so
    /// many bytes, or the last.
    pub(crate) fn take_beyond(
        &mut self,
        (most, bytes): (usize, usize),
        is_alone: impl Fn(&FanOut) -> bool,
    ) -> Vec<FanOut> {
        if self.all.len() <= most && self.bytes <= bytes {
            return Vec::new();
        }
        let alone = |fan_out: &FanOut| fan_out.spread.is_none() && is_alone(fan_out);
        let sizes = self.all.iter().filter(|one| alone(one)).map(FanOut::size);
        let (mut count, mut size) =
            sizes.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
        let mut taken = Vec::new();
        let is_beyond = |count, size| count > 1 && (count > most || size > bytes);
        if !is_beyond(count, size) {
            return taken;
        }
        for fan_out in std::mem::take(&mut self.all) {
            if is_beyond(count, size) && alone(&fan_out) {
                count -= 1;
                size -= fan_out.size();
                self.bytes -= fan_out.size();
                taken.push(fan_out);
            } else {
                self.all.push_back(fan_out);
            }
        }
        self.recount();
        taken
    }

    /// True if it is to be told that some are dropped: it is the first time for a while.
    pub(crate) fn tells_dropped(&mut self, now: Time) -> bool {
        let tells = self.quiet_until.is_none_or(|until| until <= now);
        if tells {
            self.quiet_until = Some(now + DROPPED_TOLD);
        }
        tells
    }

    /// True if one that comes may begin at once: none waits or is under way, and there was a chance of a
    /// commit since the last ended. Begun before that it would keep the commit from coming, which it waits
    /// for itself.
    pub(crate) fn may_begin(&self) -> bool {
        self.all.is_empty() && !self.rests
    }

    /// True if none waits and none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// True if one on this topic waits or is under way.
    pub(crate) fn has(&self, topic: &str) -> bool {
        self.all.iter().any(|other| other.message.topic() == topic)
    }

    /// True if there is something to do.
    pub(crate) fn is_due(&self) -> bool {
        // What is under way keeps the commit from coming that the others rest for.
        !self.all.is_empty() && (!self.rests || self.is_under_way())
    }

    /// True if a message has reached some of its receivers and not the others: no commit is to have the one
    /// without the other, nor without the packet id of its publisher.
    pub(crate) fn is_under_way(&self) -> bool {
        self.all.front().is_some_and(|first| first.spread.is_some())
    }

    /// Takes the one whose turn it is. While it is not done it goes back ([`FanOuts::put_back`]).
    pub(crate) fn take(&mut self) -> Option<FanOut> {
        let first = self.all.pop_front()?;
        self.bytes -= first.size();
        Some(first)
    }

    /// The one that was taken is not done.
    pub(crate) fn put_back(&mut self, fan_out: FanOut) {
        self.bytes += fan_out.size();
        self.all.push_front(fan_out);
        self.recount();
    }

    /// The one that was taken is done.
    pub(crate) fn done(&mut self) {
        self.rests = true;
        if self.all.len() * 4 < self.all.capacity() {
            self.all.shrink_to(self.all.len() * 2);
        }
        self.recount();
    }

    /// There was a chance for a commit.
    pub(crate) fn rested(&mut self) {
        self.rests = false;
    }

    /// Those whom the message under way is still to reach, or who have no room for it.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = &Receiver> {
        let first = self.all.front().and_then(|first| first.spread.as_ref());
        let all = first.map(|spread| spread.left.iter().chain(&spread.remaining.receivers));
        all.into_iter().flatten()
    }

    fn recount(&mut self) {
        let first = self.all.front().and_then(|first| first.spread.as_ref());
        let under_way = first.map_or(0, |spread| {
            let without_room = &spread.remaining.receivers;
            let receivers = spread.left.capacity() + without_room.capacity();
            receivers * size_of::<Receiver>() + spread.ahead.held()
        });
        let waiting = self.all.capacity() * size_of::<FanOut>();
        self.held.set(waiting + under_way);
    }

    /// Whether the message of a connection has begun to reach its receivers; `None` if it has none here.
    #[cfg(test)]
    pub(crate) fn state_of(&self, c: ConnId) -> Option<bool> {
        let is_its = |fan_out: &&FanOut| fan_out.publisher.is_some_and(|(of, _)| of == c);
        self.all.iter().find(is_its).map(|its| its.spread.is_some())
    }
}
