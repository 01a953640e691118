//! A session as the broker keeps it: identity, subscriptions, will, and the two halves.

use std::rc::Rc;
use std::time::Duration;

use super::drops::Drops;
use super::shared::Share;
use super::uplink::Uplink;
use super::{Broker, ConnId, DropReason};
use crate::auth::Who;
use crate::message::{Message, Origin, SessionId};
use crate::mqtt::{RetainHandling, Version};
use crate::route::{SubOptions, is_share};
use crate::session::{Inbound, Outbound};
use crate::store::{SessionRecord, StateRecord, SubscriptionRecord, WillRecord};
use crate::time::Time;

/// Never expires (5.0 §3.1.2.11.2).
pub(super) const NEVER: u32 = u32::MAX;

/// One subscription of a session; the trie has the same options under the filter.
#[derive(Clone, Debug)]
pub(super) struct Subscribed {
    pub filter: Box<str>,
    pub options: SubOptions,
    pub retain_handling: RetainHandling,
}

/// A will that waits for the end of its connection.
#[derive(Clone, Debug)]
pub(super) struct PendingWill {
    pub message: Rc<Message>,
    /// Seconds between the end of the connection and the publishing.
    pub delay: u32,
    /// The message expiry interval, in seconds from the publishing.
    pub expiry: Option<u32>,
}

/// What of a session must be written with the next commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsaved {
    pub identity: bool,
    pub state: bool,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub origin: Rc<Origin>,
    pub conn: Option<ConnId>,
    pub version: Version,
    /// Session expiry interval in seconds; 0 ends with the connection.
    pub expiry: u32,
    /// Since when it has been without a connection.
    pub since: Time,
    /// Sorted by filter.
    pub subscriptions: Vec<Subscribed>,
    pub will: Option<Box<PendingWill>>,
    pub outbound: Outbound,
    pub inbound: Inbound,
    pub unsaved: Unsaved,
    /// The commit that holds the session's newest rows.
    pub saved_in: u64,
    /// It has rows in the store.
    pub on_disk: bool,
    /// In the list of sessions that wait for a commit.
    pub stalled: bool,
    /// A local end of a bridge: never expires, knows its origin's messages as its own.
    pub bridge: bool,
    /// What the configuration says about the queue of a bridge.
    pub uplink: Option<Box<Uplink>>,
    /// What was dropped.
    pub drops: Option<Box<Drops>>,
    /// Messages of some of its lines are told apart by topic.
    pub by_topic: bool,
    /// Its parts in groups of shared subscriptions.
    pub shares: Vec<Share>,
    /// It has ended, and is there only until others have what its shares leave.
    pub ended: bool,
    /// The routing that reached it last, and where in the list of receivers it stands.
    pub reached: (u32, u32),
}

impl Session {
    pub fn new(id: SessionId, origin: Rc<Origin>, expiry: u32, version: Version) -> Session {
        Session {
            id,
            origin,
            conn: None,
            version,
            expiry,
            since: Time::ZERO,
            subscriptions: Vec::new(),
            will: None,
            outbound: Outbound::new(expiry > 0),
            inbound: Inbound::default(),
            unsaved: Unsaved::default(),
            saved_in: 0,
            on_disk: false,
            stalled: false,
            bridge: false,
            uplink: None,
            drops: None,
            by_topic: false,
            shares: Vec::new(),
            ended: false,
            reached: (0, 0),
        }
    }

    pub fn client_id(&self) -> &str {
        &self.origin.client_id
    }

    /// Who the access control list is asked about.
    pub fn who(&self) -> Who<'_> {
        Who {
            client_id: &self.origin.client_id,
            username: self.origin.username.as_deref(),
            listener: self.origin.listener.as_deref(),
        }
    }

    /// When the will of the connection that has ended is to be published.
    pub fn will_due(&self) -> Option<Time> {
        let will = self.will.as_ref().filter(|_| self.conn.is_none())?;
        Some(self.since + Duration::from_secs(u64::from(will.delay)))
    }

    /// True if it outlives its connection.
    pub fn is_durable(&self) -> bool {
        self.outbound.is_durable()
    }

    /// The identity row.
    pub fn record(&self) -> SessionRecord {
        let will = self.will.as_ref().map(|will| WillRecord {
            topic: will.message.topic().into(),
            props: will.message.props().into(),
            payload: will.message.payload().into(),
            qos: will.message.qos,
            retain: will.message.retain,
            delay: will.delay,
            expiry: will.expiry,
        });
        let subscription = |s: &Subscribed| SubscriptionRecord {
            filter: s.filter.clone(),
            qos: s.options.qos,
            no_local: s.options.no_local,
            retain_as_published: s.options.retain_as_published,
            retain_handling: s.retain_handling,
            sub_id: s.options.sub_id.map(|id| id.get()),
            line: match is_share(s.options.mapping) {
                true => s.options.mapping,
                false => 0,
            },
        };
        SessionRecord {
            client_id: self.client_id().into(),
            username: self.origin.username.as_deref().map(Into::into),
            listener: self.origin.listener.as_deref().map(Into::into),
            version: self.version,
            expiry: self.expiry,
            disconnected_at: self.conn.is_none().then_some(self.since),
            subscriptions: self.subscriptions.iter().map(subscription).collect(),
            will,
            bridge: self.bridge,
            ended: self.ended,
        }
    }

    /// The state row.
    pub fn state(&self) -> StateRecord {
        StateRecord {
            received: self.inbound.received().to_vec(),
            drops: self
                .drops
                .iter()
                .flat_map(|d| d.records())
                .copied()
                .collect(),
            rate: self.uplink.as_ref().and_then(|uplink| uplink.rate.saved()),
            by_topic: self.by_topic,
            ..self.outbound.record()
        }
    }

    /// Where `filter` stands in the subscriptions, or where it belongs.
    pub fn find(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions
            .binary_search_by(|s| (*s.filter).cmp(filter))
    }
}

impl Broker {
    /// A new session for `origin`; the client id must be free.
    pub(super) fn new_session(&mut self, origin: Rc<Origin>, expiry: u32, v: Version) -> usize {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let client_id = Rc::clone(&origin.client_id);
        let index = self.sessions.insert(Session::new(id, origin, expiry, v));
        self.by_client_id.insert(client_id, index);
        self.heed_policy(index);
        index
    }

    /// Ends a session: subscriptions, queue and rows go, unless others are to have some of it.
    pub(super) fn end_session(&mut self, index: usize, now: Time) {
        if self.bequeath(index, now) {
            return;
        }
        let queue = self.sessions.get(index).map(|s| &s.outbound);
        let lost = queue.filter(|q| q.is_durable() && !q.is_empty());
        if let Some(lost) = lost.map(|queue| (queue.len(), queue.bytes())) {
            self.drop_message(index, 0, DropReason::SessionEnded, lost, now);
        }
        self.forget_identity(index);
        let Some(session) = self.sessions.try_remove(index) else {
            return;
        };
        if session.on_disk || session.unsaved.identity || session.unsaved.state {
            self.gone.push(session.id);
            self.store.promise(now);
        }
        for held in session.outbound.into_owed() {
            self.store.ack(held.id, session.id, now);
        }
    }

    /// Nobody knows a session by its client id any more, and nothing is routed to it.
    pub(super) fn forget_identity(&mut self, index: usize) {
        let Some(session) = self.sessions.get(index).filter(|s| !s.ended) else {
            return;
        };
        self.by_client_id.remove(session.client_id());
        for subscribed in &session.subscriptions {
            if !is_share(subscribed.options.mapping) {
                self.trie.remove(&subscribed.filter, index as u32);
            }
        }
    }

    /// The session's identity row must be written; the caller says how soon.
    pub(super) fn unsave_identity(&mut self, index: usize) {
        self.unsave(
            index,
            Unsaved {
                identity: true,
                state: false,
            },
        );
    }

    /// The session's state row must be written; the caller says how soon.
    pub(super) fn unsave_state(&mut self, index: usize) {
        self.unsave(
            index,
            Unsaved {
                identity: false,
                state: true,
            },
        );
    }

    fn unsave(&mut self, index: usize, what: Unsaved) {
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let was = session.unsaved;
        session.unsaved.identity |= what.identity;
        session.unsaved.state |= what.state;
        if !(was.identity || was.state) {
            self.unsaved.push(index);
        }
    }

    /// True if everything about the session is on disk.
    pub(super) fn is_saved(&self, session: &Session) -> bool {
        let unsaved = session.unsaved;
        !unsaved.identity && !unsaved.state && session.saved_in <= self.store.done()
    }
}
