//! The router: who is subscribed to what, which messages are retained, what members of groups have
//! left to others. A message goes in, receivers come out.

mod cleared;
mod clearing;
mod gone;
mod lazy;
mod leaving;
mod left_in_ram;
mod leftovers;
mod moving;
mod receiver;
mod remaining;
mod unwritten;
mod walks;

use std::collections::VecDeque;
use std::rc::Rc;

use gone::Gone;
use leaving::Leaving;
pub(crate) use left_in_ram::LeftInRam;
pub(crate) use leftovers::{Leftovers, Place, Reading};
use moving::Moving;
pub(crate) use receiver::Receiver;
use receiver::{Terms, is_own};
pub(crate) use remaining::{Ahead, Behind, FanOut, FanOuts, Remaining, Retention, Spread};
use unwritten::Unwritten;
pub(crate) use walks::{Walk, Walks};

use super::sessions::Sessions;
use super::settings::Settings;
use crate::held::{Charge, FILTERS};
use crate::impossible;
use crate::keys::{GroupKey, SessionKey};
use crate::message::{Message, MessageId};
use crate::mqtt::{self, QoS};
use crate::route::{Cleared, Groups, Owned, Retained, Searched, SubOptions, Tree, Value};
use crate::store::Batch;
use crate::time::Time;

/// Who is subscribed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Subscriber {
    Session(SessionKey),
    /// One receiver, whoever of its members that is.
    Group(GroupKey),
}

/// What routing has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// There is a matching subscription at all, be it one that does not want the message.
    pub(crate) matched: bool,
    /// Nodes and subscriptions that were looked at.
    looked_at: usize,
}

impl Found {
    /// What the search has cost, in units of work: a look costs a fraction of what a receiver does.
    pub(crate) fn work(self) -> usize {
        self.looked_at / LOOKS
    }
}

/// Looks at nodes or subscriptions that cost as much as a receiver.
const LOOKS: usize = 16;

/// In place of a receiver's place: the session may not read the message.
const DENIED: u32 = u32::MAX;

/// The router.
pub(crate) struct Router {
    tree: Tree<Subscriber>,
    /// What the tree takes.
    held: Charge<FILTERS>,
    pub(crate) groups: Groups<SessionKey>,
    pub(crate) leftovers: Leftovers,
    /// What sessions have left that lived in RAM.
    pub(crate) left_in_ram: VecDeque<LeftInRam>,
    pub(crate) leaving: Leaving,
    retained: Retained,
    pub(crate) walks: Walks,
    /// What upstreams are still to be told of.
    cleared: Cleared,
    unwritten: Unwritten,
    /// Messages below this number were stored before the broker started: whether they were sent
    /// is not known for sure.
    restored_below: MessageId,
    /// Which routing has reached each session, by its slot, and where in the list of receivers it
    /// stands.
    reached: Vec<(u32, u32)>,
    /// The number of the routing, to notice a session that is reached twice.
    routing: u32,
    gone: Gone,
    moving: Moving,
    /// How many entries of lists have moved that were not counted as work yet.
    crowding: usize,
    /// Places of receivers, and the identifiers that further subscriptions add to them.
    more_ids: Vec<(u32, u32)>,
}

impl Router {
    /// A router without subscriptions; `next` is the first message number that is free.
    pub(crate) fn new(next: MessageId) -> Router {
        Router {
            tree: Tree::new(),
            held: Charge::default(),
            groups: Groups::default(),
            leftovers: Leftovers::default(),
            left_in_ram: VecDeque::new(),
            leaving: Leaving::default(),
            retained: Retained::new(),
            walks: Walks::default(),
            cleared: Cleared::default(),
            unwritten: Unwritten::default(),
            restored_below: next,
            reached: Vec::new(),
            routing: 0,
            gone: Gone::default(),
            moving: Moving::default(),
            crowding: 0,
            more_ids: Vec::new(),
        }
    }

    /// Lists the sessions a message goes to, each once, and the groups that it meets. `from` is the
    /// publisher's session, for no-local.
    pub(crate) fn find_receivers(
        &mut self,
        (message, topic): (&Message, &str),
        from: Option<SessionKey>,
        (sessions, settings): (&Sessions, &Settings),
        receivers: &mut Vec<Receiver>,
        groups: &mut Vec<GroupKey>,
    ) -> Found {
        self.begin();
        let (routing, all_reached) = (self.routing, &mut self.reached);
        let (auth, more_ids) = (&settings.auth, &mut self.more_ids);
        let some_are_gone = !self.gone.is_empty();
        let mut matched = false;
        let name = topic.as_bytes();
        let looked_at = self.tree.matches(name, &mut |subscriber, options| {
            let key = match subscriber {
                Subscriber::Session(key) => key,
                Subscriber::Group(group) => {
                    matched = true;
                    return groups.push(group);
                }
            };
            let session = sessions.get(key).filter(|session| !session.is_ended());
            let Some(session) = session else {
                if !some_are_gone {
                    impossible!("a session that is gone is subscribed");
                }
                return;
            };
            matched = true;
            if options.no_local && is_own(from, (key, session), message) {
                return;
            }
            let Some(reached) = reached_at(all_reached, key) else {
                return;
            };
            let place_before = (reached.0 == routing).then_some(reached.1);
            if place_before == Some(DENIED) {
                return;
            }
            // Once the numbers of routings begin anew, an old one may look like this one.
            let known = place_before.and_then(|at| receivers.get_mut(at as usize));
            if let Some(known) = known.filter(|known| known.session == key) {
                if let Some(terms) = Terms::new(session, options, message, settings) {
                    known.merge(&terms);
                    more_ids.extend(options.sub_id.map(|id| (reached.1, id.get())));
                }
                return;
            }
            let Some(receiver) = Receiver::new((key, session), options, message, settings) else {
                return;
            };
            let may_read = || auth.may_read(&session.who(), topic);
            if auth.open() || session.is_bridge() || may_read() {
                *reached = (routing, place(receivers));
                receivers.push(receiver);
            } else {
                *reached = (routing, DENIED);
            }
        });
        self.add_ids(receivers);
        Found { matched, looked_at }
    }

    /// A message is routed: it reaches nobody yet.
    fn begin(&mut self) {
        self.routing = self.routing.wrapping_add(1);
        if self.routing == 0 {
            // Numbers that were used are used again.
            self.reached.fill((0, 0));
            self.routing = 1;
        }
    }

    /// Gives receivers the identifiers of all their subscriptions [MQTT-3.3.4-3], up to a bound.
    fn add_ids(&mut self, receivers: &mut [Receiver]) {
        if self.more_ids.is_empty() {
            return;
        }
        self.more_ids.sort_by_key(|(place, _)| *place);
        for more in self.more_ids.chunk_by(|a, b| a.0 == b.0) {
            let at = more.first().map(|(place, _)| *place as usize);
            let Some(receiver) = at.and_then(|at| receivers.get_mut(at)) else {
                continue;
            };
            receiver.add_ids(more.iter().map(|(_, id)| *id));
        }
        self.more_ids.clear();
        self.more_ids.shrink_to(256);
    }

    /// Adds a member that was chosen to the list that [`Router::find_receivers`] began: it may be on
    /// it already, by a subscription of its own or by another share.
    pub(crate) fn add_member(&mut self, mut member: Receiver, receivers: &mut Vec<Receiver>) {
        let Some(reached) = reached_at(&mut self.reached, member.session) else {
            return;
        };
        let last = receivers.get(reached.1 as usize);
        let last = last.filter(|last| reached.0 == self.routing && last.session == member.session);
        member.before = last.map_or(0, |last| last.before + u32::from(last.stored));
        *reached = (self.routing, place(receivers));
        receivers.push(member);
    }

    /// Adds or replaces a session's subscription; not a shared one.
    pub(crate) fn subscribe(&mut self, filter: &str, key: SessionKey, options: SubOptions) {
        self.tree.add(filter, Subscriber::Session(key), options);
        self.held.set(self.tree.bytes());
    }

    /// Ends a session's subscription; not a shared one.
    pub(crate) fn unsubscribe(&mut self, filter: &str, key: SessionKey) {
        self.tree.remove(filter, Subscriber::Session(key));
        self.held.set(self.tree.bytes());
        self.walks.end(key, filter);
    }

    /// Makes a session a member of the group `name`, a whole `$share/NAME/FILTER`, or changes its
    /// options.
    pub(crate) fn join(
        &mut self,
        name: &str,
        key: SessionKey,
        options: SubOptions,
        is_connected: bool,
    ) -> GroupKey {
        let (group, is_first) = self.groups.join(name, key, options);
        self.groups.set_connected(group, key, is_connected);
        if let (true, Some((_, filter))) = (is_first, mqtt::share(name)) {
            let subscriber = Subscriber::Group(group);
            self.tree.add(filter, subscriber, SubOptions::default());
            self.held.set(self.tree.bytes());
        }
        group
    }

    /// Ends a session's part in the group `name`. True if there are other members; else the group
    /// is gone.
    pub(crate) fn quit(&mut self, name: &str, group: GroupKey, key: SessionKey) -> bool {
        let is_last = self.groups.leave(group, key);
        if let (true, Some((_, filter))) = (is_last, mqtt::share(name)) {
            self.tree.remove(filter, Subscriber::Group(group));
            self.held.set(self.tree.bytes());
        }
        !is_last
    }

    /// How many subscriptions there are: each member of a group counts.
    pub(crate) fn subscriptions(&self) -> usize {
        self.tree.len() - self.groups.len() + self.groups.members()
    }

    /// How many bytes the tree of all filters takes, about.
    pub(crate) fn tree_bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// True if a message was stored before the broker started.
    pub(crate) fn is_restored(&self, id: MessageId) -> bool {
        id < self.restored_below
    }

    /// Looks at `most` retained messages at most for those that a walk comes to next; answers how far
    /// it has come, too.
    pub(crate) fn search(
        &self,
        walk: &Walk,
        most: usize,
        now: Time,
    ) -> (Vec<Rc<Message>>, Searched) {
        let mut found = Vec::new();
        let from = (walk.passed(), most);
        let take = &mut |value: Value<'_>| found.extend(value.message());
        let searched = self.retained.search(walk.filter(), from, now, take);
        (found, searched)
    }

    /// All that is retained.
    pub(crate) fn retained(&self) -> &Retained {
        &self.retained
    }

    /// True if a message is what its topic retains.
    pub(crate) fn retains(&self, message: &Message) -> bool {
        self.retained_at(message.topic()).is_some_and(|retained| {
            retained.arrival() == message.arrival && retained.payload() == message.payload()
        })
    }

    /// What is retained on a topic.
    pub(crate) fn retained_at(&self, topic: &str) -> Option<Value<'_>> {
        self.retained.get(topic)
    }

    /// What the retained messages take, in bytes.
    pub(crate) fn retained_bytes(&self) -> u64 {
        self.retained.held() as u64
    }

    /// What a client has retained.
    pub(crate) fn retained_by(&self, client_id: &str) -> Owned {
        self.retained.owned_by(client_id)
    }

    /// How many messages are retained.
    pub(crate) fn retained_len(&self) -> usize {
        self.retained.len()
    }

    /// True without any subscription.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.is_empty()
    }

    /// All retained messages.
    #[cfg(test)]
    pub(crate) fn all_retained(&self) -> impl Iterator<Item = Value<'_>> {
        self.retained.iter()
    }

    /// A retained message comes from the store.
    pub(crate) fn restore_retained(&mut self, message: Message) {
        if message.payload().is_empty() {
            self.cleared.set(Rc::new(message));
        } else {
            self.retained.set(Rc::new(message));
        }
    }

    /// Keeps or deletes the retained message of a topic [MQTT-3.3.1-5], [MQTT-3.3.1-6]. `is_told`: if
    /// it is deleted, an upstream is to be told so.
    pub(crate) fn retain(&mut self, message: &Rc<Message>, is_told: bool, now: Time) -> Retaining {
        let topic = message.topic();
        let changed = if message.payload().is_empty() {
            self.retained.remove(topic)
        } else {
            self.retained.set(Rc::clone(message));
            self.cleared.remove(topic);
            true
        };
        if changed && is_told && message.payload().is_empty() {
            self.note_cleared(message);
        }
        if !has_row(topic) {
            return Retaining::InRam;
        }
        // What is gone already may still have its row, until a change that nobody waited for is
        // written.
        let awaited = message.qos != QoS::AtMostOnce;
        if awaited && (changed || self.unwritten.is_later(topic)) {
            self.unwritten.promised(topic);
            Retaining::Promised
        } else if changed {
            self.unwritten
                .changed(topic, now)
                .map_or(Retaining::Lazy, Retaining::By)
        } else {
            Retaining::Unchanged
        }
    }

    /// When the next retained message expires.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.retained.next_expiry()
    }

    /// Drops retained messages that have expired by `now`, at most `most` of them [MQTT-3.3.2-5].
    pub(crate) fn expire_retained(&mut self, now: Time, most: usize) -> Vec<Rc<Message>> {
        let expired = self.retained.expire(now, most);
        for message in expired.iter().filter(|message| has_row(message.topic())) {
            self.unwritten.expired(message.topic());
        }
        expired
    }

    /// Writes the retained messages that changed; all of them if `all`. Returns when to write those
    /// that are left.
    pub(crate) fn save(&mut self, batch: &mut Batch, all: bool, now: Time) -> Option<Time> {
        for topic in self.unwritten.take(all, now) {
            let cleared = || self.cleared.get(&topic).cloned();
            let retained = self.retained.get(&topic);
            match retained.and_then(|value| value.message()).or_else(cleared) {
                Some(message) => batch.put_retained(&message),
                None => batch.delete_retained(&topic),
            }
        }
        self.unwritten.due()
    }
}

/// What is known of the session of `key`: which routing has reached it, and where it is listed.
fn reached_at(reached: &mut Vec<(u32, u32)>, key: SessionKey) -> Option<&mut (u32, u32)> {
    if reached.len() <= key.slot() {
        reached.resize(key.slot() + 1, (0, 0));
    }
    reached.get_mut(key.slot())
}

/// False for the broker's own figures, which are made anew at each start.
pub(crate) fn has_row(topic: &str) -> bool {
    !topic.starts_with("$SYS/")
}

/// The place of the receiver that is listed next.
fn place(receivers: &[Receiver]) -> u32 {
    u32::try_from(receivers.len()).unwrap_or(u32::MAX)
}

/// How soon a change of what is retained is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retaining {
    /// Not at all.
    InRam,
    /// Nothing was changed; but an earlier deletion may still be on its way.
    Unchanged,
    /// Before the publisher is answered.
    Promised,
    /// At this moment.
    By(Time),
    /// Some time.
    Lazy,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Auth;
    use crate::config::Config;
    use crate::message::{Origin, Parts, SessionId};
    use crate::mqtt::Version;

    /// After four billion messages the numbers of routings begin anew: a session that was never
    /// reached, or was by the message that had the number before, is not taken for one that this
    /// message has reached.
    #[test]
    fn a_message_reaches_all_when_routings_are_numbered_anew() {
        let config = Config::default();
        let settings = Settings::new(&config, Auth::for_config(&config).unwrap().0);
        let mut sessions = Sessions::new(SessionId(1));
        let mut router = Router::new(MessageId(1));
        let keys = ["a", "b", "c"].map(|id| {
            let key = sessions.open(Rc::new(Origin::new(id, None, None)), 0, Version::V5);
            router.subscribe("t", key, SubOptions::default());
            key
        });
        let parts = Parts {
            topic: "t",
            props: &[],
            payload: &[],
        };
        let message = Message::new(parts, Time::ZERO, Rc::new(Origin::default())).unwrap();
        let mut reach = |routing| {
            router.routing = routing;
            let (mut receivers, with) = (Vec::new(), (&sessions, &settings));
            router.find_receivers(
                (&message, message.topic()),
                None,
                with,
                &mut receivers,
                &mut Vec::new(),
            );
            let mut reached: Vec<SessionKey> = receivers.iter().map(|r| r.session).collect();
            reached.sort_unstable();
            reached
        };
        for routing in [u32::MAX, 0, 0] {
            assert_eq!(reach(routing), keys);
        }
    }
}
