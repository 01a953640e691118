//! Clients and their sessions, as the operator sees them.

use std::time::Duration;

use crate::broker::Broker;
use crate::broker::connections::Address;
use crate::broker::core::Core;
use crate::broker::sessions::Session;
use crate::broker::talkers::Talk;
use crate::mqtt::{QoS, Version};
use crate::store::DropRecord;
use crate::time::Time;

/// A session, with the client that it has or waits for.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The name it has logged in with.
    pub username: Option<&'a str>,
    /// It is the local end of a bridge.
    pub is_bridge: bool,
    /// Where it is connected from; `None` while it is away.
    pub address: Option<&'a Address>,
    /// The version that it speaks, or spoke.
    pub version: Version,
    /// How long it has been connected, or away; `None` for a bridge that never was.
    pub since: Option<Duration>,
    /// How long ago it last sent a packet; `None` while it is away.
    pub seen: Option<Duration>,
    /// Its keep-alive in seconds; 0 is none.
    pub keep_alive: u16,
    /// How long its session outlives its connection; `None` for as long as it takes.
    pub expiry: Option<Duration>,
    /// Messages in its queue, those under way included.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// QoS 1 and 2 messages under way to it.
    pub in_flight: u64,
    /// How many of those there may be.
    pub window: u16,
    /// How many filters it is subscribed to.
    pub subscriptions: usize,
    /// What was dropped on the way to it, with the last reason.
    pub dropped: Option<DropRecord>,
    /// Messages that their publishers were refused since the start, because its queue is full.
    pub refused: u64,
    /// The topic of its will, if it has one.
    pub will: Option<&'a str>,
}

/// Whether a client may publish and read a topic, as the access rules have it now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicRights {
    /// It may publish to it.
    pub publish: bool,
    /// It is delivered what comes there.
    pub read: bool,
}

impl<'a> ClientView<'a> {
    fn new(core: &'a Core, session: &'a Session, now: Time) -> ClientView<'a> {
        let conn = session.conn.and_then(|c| core.connections.get(c));
        let expiry = Duration::from_secs(session.expiry.into());
        let drops = session.drops();
        ClientView {
            client_id: session.client_id(),
            username: session.origin().username(),
            is_bridge: session.is_bridge(),
            address: conn.map(|conn| conn.address()),
            version: session.version,
            since: (session.since > Time::ZERO).then(|| now.since(session.since)),
            seen: conn.map(|conn| now.since(conn.last_seen())),
            keep_alive: conn.map_or(0, |conn| conn.keep_alive()),
            expiry: (session.expiry != u32::MAX).then_some(expiry),
            queued: session.outbound.len(),
            queued_bytes: session.outbound.bytes(),
            in_flight: session.outbound.inflight() as u64,
            window: session.outbound.window().0,
            subscriptions: session.subscriptions.len(),
            dropped: drops.and_then(|drops| drops.sum(None)),
            refused: drops.map_or(0, |drops| drops.refused().messages),
            will: session.will.as_ref().map(|will| will.message.topic()),
        }
    }
}

impl Broker {
    /// The sessions at `most` places of the table from `from` on, bridges among them, and where to go on;
    /// `None` at the end. One that comes meanwhile may be missed; one that stays is told once.
    pub fn clients(
        &self,
        (from, most): (u32, u32),
        now: Time,
    ) -> (impl Iterator<Item = ClientView<'_>>, Option<u32>) {
        let core = &self.core;
        let (found, next) = core.sessions.some(from, most);
        let found = found.filter(|(_, session)| !session.is_ended());
        let views = found.map(move |(_, session)| ClientView::new(core, session, now));
        (views, next)
    }

    /// The session of a client.
    pub fn client(&self, client_id: &str, now: Time) -> Option<ClientView<'_>> {
        let session = self
            .core
            .sessions
            .get(self.core.sessions.find(client_id)?)?;
        Some(ClientView::new(&self.core, session, now))
    }

    /// What a client is subscribed to, behind the filter `after`: at most `most` filters with their QoS, in
    /// their order.
    pub fn filters_of(
        &self,
        client_id: &str,
        after: Option<&str>,
        most: usize,
    ) -> Vec<(&str, QoS)> {
        let sessions = &self.core.sessions;
        let session = sessions.find(client_id).and_then(|key| sessions.get(key));
        let Some(session) = session else {
            return Vec::new();
        };
        let filters = session.subscriptions.after(after).take(most);
        filters
            .map(|subscribed| (&*subscribed.filter, subscribed.options().qos))
            .collect()
    }

    /// Who publishes most, and on which topics.
    pub fn talk(&mut self, now: Time) -> Talk {
        self.core.talkers.talk(now)
    }

    /// What a client may do with a topic; `None` without such a client. A bridge needs no rights.
    pub fn rights_of(&self, client_id: &str, topic: &str) -> Option<TopicRights> {
        let sessions = &self.core.sessions;
        let session = sessions.get(sessions.find(client_id)?)?;
        let (auth, who) = (&self.core.settings.auth, session.who());
        let is_free = session.is_bridge() || auth.allows_all();
        Some(TopicRights {
            publish: is_free || auth.may_publish(&who, topic),
            read: is_free || auth.may_read(&who, topic),
        })
    }
}
