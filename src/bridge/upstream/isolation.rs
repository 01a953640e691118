//! Finding out what an upstream closes the connection on.
//!
//! A request or a message that an upstream answers by closing comes again on the next connection, and
//! on the one after. So after three such ends in a row the next connection is *careful*: one thing at
//! a time, each answered before the next goes out. What was alone when the upstream closed, twice, is
//! done without from then on, or is set aside. No sockets and no clock.

use std::time::Duration;

use super::sizes::Sizes;
use super::verdicts::Feature;
use crate::message::MessageId;
use crate::mqtt::QoS;
use crate::time::Time;

/// After so many ends in a row, each with something unanswered, a connection is careful.
const ENDS: u32 = 3;
/// They are in a row if each comes within this time of the last.
const ROW: Duration = Duration::from_secs(600);
/// What is alone when the upstream closes so often is to blame.
const STRIKES: u32 = 2;
/// A careful connection on which nothing goes wrong, and nothing is acknowledged, for so long is over.
const CAREFUL_FOR: Duration = Duration::from_secs(60);
/// After something was found, one end is enough to be careful again, for so long.
const WARY_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long what comes in has the connection to itself once a message was set aside and none was
/// acknowledged since; it doubles with each more.
const FIRST_HOLD: Duration = Duration::from_secs(10);
/// The longest of that.
const LONGEST_HOLD: Duration = Duration::from_secs(900);
/// Topics of messages that were set aside are remembered: the next on one of them is proof.
const SUSPECTS: usize = 64;
/// The windows to try where nothing alone is to blame.
const WINDOWS: [u16; 2] = [10, 1];
/// A connection that held no longer than this and brought nothing was ended in haste.
const HASTE: Duration = Duration::from_secs(10);
/// The wait after the third in a row of those; it doubles with each more.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A message under way that has no answer.
#[derive(Clone, Debug)]
pub struct Unanswered {
    /// Its place in the sequence of the session, which it keeps.
    pub seq: u64,
    /// Its number in the store. Without one it does not come again, but others on its topic do.
    pub id: Option<MessageId>,
    /// The QoS it was sent at.
    pub qos: QoS,
}

/// The messages under way that have no answer.
#[derive(Clone, Debug, Default)]
pub struct UnderWay {
    /// How many.
    pub count: usize,
    /// Of those, how many have had a PUBREC: their PUBREL has no answer.
    pub released: usize,
    /// The first of them; of the others, if there are any.
    pub first: Option<Unanswered>,
}

/// A request of the link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::bridge) enum Asked {
    Subscription(Box<str>),
    Unsubscribe,
    Notification,
}

/// The end of a connection that was up.
#[derive(Clone, Debug)]
pub(in crate::bridge) struct Loss {
    /// The upstream ended it, or never answers what it has seen.
    pub by_upstream: bool,
    /// What the upstream sent had no place or no frame.
    pub is_broken: bool,
    /// How long it held.
    pub held: Duration,
    /// The requests that have no answer.
    pub asked: Vec<Asked>,
    /// The topic upstream of the last message sent: kept on a careful connection.
    pub topic: Option<Box<str>>,
    /// The size of that message: topic upstream and payload, in bytes.
    pub size: usize,
    /// Something was sent at QoS 0 that may not have arrived.
    pub is_qos0_open: bool,
    /// The upstream has acknowledged or delivered something.
    pub was_useful: bool,
    /// How many messages it has acknowledged.
    pub acknowledged: usize,
    /// Topic aliases were set for it.
    pub with_aliases: bool,
}

/// What is to be done about an end.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Judgement {
    /// To be done without from now on.
    pub give_up: Option<Feature>,
    /// To be set aside.
    pub set_aside: Option<Unanswered>,
    /// How long to wait instead of the usual.
    pub wait: Wait,
}

impl Judgement {
    /// Nothing but another connection, soon.
    fn soon() -> Judgement {
        Judgement {
            wait: Wait::Short,
            ..Judgement::default()
        }
    }
}

/// How long to wait before the next connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::bridge) enum Wait {
    /// As ever.
    #[default]
    Usual,
    /// As short as can be: something is different this time.
    Short,
    /// At least so long.
    AtLeast(Duration),
}

/// What was alone on its way when the upstream closed.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Thing {
    Request(Asked),
    Message(u64),
    /// A message on this topic, which does not come again.
    Topic(Box<str>),
    /// PUBREL of messages that were sent on an earlier connection.
    Releases,
}

/// What is tried at QoS 1.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lowered {
    /// The suspect message, which goes to this topic.
    Topic(Box<str>),
    /// Whatever has had a PUBREC.
    Released,
}

/// What is known of one upstream that closes.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Isolation {
    /// Ends in a row with something unanswered.
    ends: u32,
    last_end: Option<Time>,
    /// The first message that had no answer at the last end.
    first: Option<u64>,
    /// One thing goes out at a time, on this connection or the next.
    is_careful: bool,
    /// How many messages must be acknowledged until that is over.
    left: usize,
    /// When one was acknowledged last.
    progress: Option<Time>,
    suspect: Option<(Thing, u32)>,
    /// Ends of careful connections in a row.
    careful_ends: u32,
    /// Those of them that came for another reason than what was alone in others: a bad line cuts
    /// whatever is on it.
    unrelated: u32,
    /// What is tried at QoS 1.
    lowered: Option<Lowered>,
    /// Requests that were alone when the upstream closed: they are made last, once it has answered
    /// something else, and if it closes on one then, that is what it closes on.
    last: Vec<Feature>,
    /// How many messages were set aside since the upstream has acknowledged one.
    blind_messages: u32,
    /// Topics of messages that were set aside, and whether one on another topic was acknowledged since.
    topics: Vec<(Box<str>, bool)>,
    /// How large they were.
    sizes: Sizes,
    /// When a message was found guilty last.
    found: Option<Time>,
    /// A careful connection went well, so nothing alone is to blame.
    is_nothing_alone: bool,
    /// Connections ended in haste, in a row.
    hasty: u32,
}

impl Isolation {
    /// True while one thing is to go out at a time.
    pub(in crate::bridge) fn is_careful(&self) -> bool {
        self.is_careful
    }

    /// True while messages are to go out at QoS 1 at most, to see whether that is it.
    pub(in crate::bridge) fn is_lowered(&self) -> bool {
        self.is_careful && self.lowered.is_some()
    }

    /// True if this is to be asked last.
    pub(in crate::bridge) fn asks_last(&self, feature: &Feature) -> bool {
        self.last.contains(feature)
    }

    /// The upstream has answered this request.
    pub(in crate::bridge) fn answered(&mut self, asked: &Asked) {
        let feature = asked.feature();
        self.last.retain(|known| *known != feature);
    }

    /// For how long a connection is to bring what comes from upstream before the next message is
    /// tried. An upstream that closes on messages in a row and takes none may take none at all, for
    /// want of rights say: then they must not all be set aside, and what comes in must not suffer.
    pub(in crate::bridge) fn hold(&self) -> Duration {
        let doublings = match self.blind_messages.checked_sub(1) {
            Some(more) if self.suspect.is_none() => more.min(16),
            _ => return Duration::ZERO,
        };
        LONGEST_HOLD.min(FIRST_HOLD * (1 << doublings))
    }

    /// The upstream has acknowledged a message, to the end; on a careful connection one to `topic`.
    /// What this proves that it can't do.
    pub(in crate::bridge) fn acknowledged(
        &mut self,
        topic: Option<&str>,
        now: Time,
    ) -> Option<Feature> {
        (self.hasty, self.blind_messages) = (0, 0);
        if !self.is_careful {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        self.progress = Some(now);
        self.acquit(topic);
        // One is under way at a time, and the suspect is the first.
        self.suspect
            .take_if(|(thing, _)| matches!(thing, Thing::Message(_)));
        let is_it = match self.lowered.take()? {
            Lowered::Topic(lowered) => Some(&*lowered) == topic,
            Lowered::Released => true,
        };
        is_it.then_some(Feature::Qos2)
    }

    /// The upstream has taken a message of this size.
    pub(in crate::bridge) fn taken(&mut self, size: usize) {
        self.sizes.taken(size);
    }

    /// What was sent at QoS 0 to `topic` on a careful connection, of this size, has arrived.
    pub(in crate::bridge) fn arrived(&mut self, topic: Option<&str>, size: usize) {
        if self.is_careful {
            self.sizes.taken(size);
            self.acquit(topic);
        }
    }

    /// The upstream has taken what goes to `topic`.
    fn acquit(&mut self, topic: Option<&str>) {
        let Some(topic) = topic else {
            return;
        };
        self.topics.retain(|(known, _)| **known != *topic);
        for (_, others_pass) in &mut self.topics {
            *others_pass = true;
        }
        let is_it = |(thing, _): &mut (Thing, u32)| *thing == Thing::Topic(topic.into());
        self.suspect.take_if(is_it);
    }

    /// True if a careful connection may go on as others do, on which messages go out since `open`:
    /// all is acknowledged that was under way when it began, or nothing has gone wrong, nor been
    /// acknowledged, for a while.
    pub(in crate::bridge) fn is_over(&mut self, open: Time, now: Time) -> bool {
        let quiet = self.progress.filter(|_| self.left < usize::MAX);
        let quiet = quiet.map_or(open, |progress| progress.max(open));
        if self.is_careful && self.left > 0 && now.since(quiet) < CAREFUL_FOR {
            return false;
        }
        // Had one of them ended, it would have been a bad line, or something was found.
        self.is_nothing_alone = self.is_careful && self.left == 0 && self.careful_ends == 0;
        self.stop();
        true
    }

    /// A connection that was up has ended.
    pub(in crate::bridge) fn judge(
        &mut self,
        loss: &Loss,
        under_way: &UnderWay,
        now: Time,
    ) -> Judgement {
        if loss.is_broken {
            return self.wait_longer(loss);
        }
        if !loss.by_upstream {
            return Judgement::default();
        }
        let is_recent = self.last_end.is_some_and(|at| now.since(at) < ROW);
        self.last_end = Some(now);
        if self.is_careful {
            return self.judge_careful(loss, under_way, now);
        }
        let first = under_way.first.as_ref().map(|message| message.seq);
        let is_another = std::mem::replace(&mut self.first, first) != first;
        // The upstream has taken what it left at the last end, and as many messages as are under way now:
        // so does a bad line.
        let is_line = is_another && loss.acknowledged >= under_way.count;
        if loss.asked.is_empty() && !loss.is_qos0_open && (under_way.count == 0 || is_line) {
            return self.wait_longer(loss);
        }
        self.ends = if is_recent { self.ends + 1 } else { 1 };
        let is_wary = self.found.is_some_and(|at| now.since(at) < WARY_FOR);
        if self.ends < ENDS && !is_wary {
            return self.wait_longer(loss);
        }
        self.ends = 0;
        if let Some(feature) = self.next_bulk(loss, under_way) {
            return Judgement {
                give_up: Some(feature),
                ..Judgement::soon()
            };
        }
        self.is_careful = true;
        self.left = if loss.is_qos0_open {
            // Which of those it was shows only when it comes again.
            usize::MAX
        } else {
            under_way.count + 1
        };
        Judgement::soon()
    }

    /// What only many messages together have, if nothing alone is to blame.
    fn next_bulk(&mut self, loss: &Loss, under_way: &UnderWay) -> Option<Feature> {
        if !std::mem::take(&mut self.is_nothing_alone) || under_way.count < 2 {
            return None;
        }
        if loss.with_aliases {
            return Some(Feature::Aliases);
        }
        let mut windows = WINDOWS.into_iter();
        let window = windows.find(|size| usize::from(*size) < under_way.count)?;
        Some(Feature::Window(window))
    }

    fn judge_careful(&mut self, loss: &Loss, under_way: &UnderWay, now: Time) -> Judgement {
        self.careful_ends += 1;
        let Some(thing) = alone(loss, under_way) else {
            // It closes without regard to what is sent.
            self.unrelated += 1;
            self.suspect = None;
            return self.wait_longer(loss);
        };
        let suspect = self.suspect.take();
        self.unrelated += u32::from(suspect.as_ref().is_some_and(|(known, _)| *known != thing));
        let known = suspect.filter(|(known, _)| *known == thing);
        if known.is_none() {
            self.lowered = None;
        }
        let strikes = known.map_or(1, |(_, strikes)| strikes + 1);
        let is_proven = match (&thing, &loss.topic) {
            (Thing::Request(request), _) => self.asks_last(&request.feature()),
            (_, None) => false,
            (_, Some(topic)) => self.is_proven(topic),
        };
        let needed = STRIKES + 2 * self.unrelated.min(3);
        if strikes < needed && !(is_proven && self.unrelated == 0) {
            self.suspect = Some((thing, strikes));
            return Judgement::soon();
        }
        self.convict(thing, loss, under_way, now)
    }

    /// This is what the upstream closes on.
    fn convict(&mut self, thing: Thing, loss: &Loss, under_way: &UnderWay, now: Time) -> Judgement {
        let mut judgement = Judgement::soon();
        self.unrelated = 0;
        let first = under_way.first.as_ref();
        let is_exact = first.is_some_and(|message| message.qos == QoS::ExactlyOnce);
        match thing {
            Thing::Request(request) if self.asks_last(&request.feature()) => {
                judgement.give_up = Some(request.feature());
                self.last.retain(|known| *known != request.feature());
            }
            Thing::Request(request) => {
                self.last.push(request.feature());
                return self.wait_longer(loss);
            }
            Thing::Message(_) | Thing::Topic(_) if is_exact && self.lowered.is_none() => {
                self.lowered = loss.topic.clone().map(Lowered::Topic);
                self.suspect = Some((thing, 0));
            }
            Thing::Releases => self.lowered = Some(Lowered::Released),
            Thing::Topic(topic) => {
                (self.lowered, self.found) = (None, Some(now));
                judgement.give_up = self.suspect_size(loss).or(Some(Feature::Topic(topic)));
            }
            Thing::Message(_) => {
                let message = under_way.first.clone();
                self.blind_messages = self.blind_messages.saturating_add(1);
                (self.lowered, self.found) = (None, Some(now));
                judgement.set_aside = message;
                let topic = self.suspect_topic(loss.topic.as_deref());
                judgement.give_up = self.suspect_size(loss).or(topic);
            }
        }
        judgement
    }

    /// A message of this size was set aside. What is given up if such messages have that in common.
    fn suspect_size(&mut self, loss: &Loss) -> Option<Feature> {
        let largest = self.sizes.closed_on(loss.topic.as_deref(), loss.size);
        largest.map(Feature::Size)
    }

    /// A message on this topic was set aside. What is given up if it is not the first.
    fn suspect_topic(&mut self, topic: Option<&str>) -> Option<Feature> {
        let topic = topic?;
        let is_proven = self.is_proven(topic);
        self.topics.retain(|(known, _)| **known != *topic);
        if is_proven {
            return Some(Feature::Topic(topic.into()));
        }
        if self.topics.len() >= SUSPECTS {
            self.topics.remove(0);
        }
        self.topics.push((topic.into(), false));
        None
    }

    /// True if a message on this topic was set aside, and others passed after it.
    fn is_proven(&self, topic: &str) -> bool {
        let mut topics = self.topics.iter();
        topics.any(|(known, others_pass)| **known == *topic && *others_pass)
    }

    /// Everything goes out as ever.
    fn stop(&mut self) {
        self.is_careful = false;
        (self.suspect, self.lowered, self.ends) = (None, None, 0);
        (self.careful_ends, self.unrelated) = (0, 0);
    }

    /// An upstream that ends each connection at once, whatever is sent, is left alone for minutes: each
    /// costs traffic.
    fn wait_longer(&mut self, loss: &Loss) -> Judgement {
        if loss.held >= HASTE || loss.was_useful {
            self.hasty = 0;
            return Judgement::default();
        }
        self.hasty = self.hasty.saturating_add(1);
        let doublings = self.hasty.saturating_sub(ENDS).min(16);
        let wait = match self.hasty {
            ..ENDS => Wait::Usual,
            _ => Wait::AtLeast(LONGEST_WAIT.min(FIRST_WAIT * (1 << doublings))),
        };
        Judgement {
            wait,
            ..Judgement::default()
        }
    }
}

impl Asked {
    /// What to do without if the upstream closes on it.
    pub(in crate::bridge) fn feature(&self) -> Feature {
        match self {
            Asked::Subscription(filter) => Feature::Subscription(filter.clone()),
            Asked::Unsubscribe => Feature::Unsubscribe,
            Asked::Notification => Feature::Notifications,
        }
    }
}

/// What was the only thing without an answer.
fn alone(loss: &Loss, under_way: &UnderWay) -> Option<Thing> {
    // They go out with the first request, and nothing else does before their answers have come.
    if under_way.released > 0 && loss.topic.is_none() && !loss.is_qos0_open {
        return Some(Thing::Releases);
    }
    match (&loss.asked[..], under_way.count, loss.is_qos0_open) {
        ([request], 0, false) => Some(Thing::Request(request.clone())),
        ([], 1, false) => match &under_way.first {
            Some(Unanswered {
                seq, id: Some(_), ..
            }) => Some(Thing::Message(*seq)),
            _ => loss.topic.clone().map(Thing::Topic),
        },
        ([], 0, true) => loss.topic.clone().map(Thing::Topic),
        _ => None,
    }
}
