//! A session as the broker keeps it: identity, subscriptions, will, and the two halves.

use std::rc::Rc;
use std::time::Duration;

use super::drops::Drops;
use crate::auth::Who;
use crate::bridge::LocalEnd;
use crate::keys::{ConnId, GroupKey};
use crate::lane::{Lane, ShareNo};
use crate::message::{Message, Origin, SessionId};
use crate::mqtt::{QoS, RetainHandling, Version};
use crate::route::SubOptions;
use crate::session::{Inbound, Outbound};
use crate::store::{SessionRecord, StateRecord, SubscriptionRecord, WillRecord};
use crate::time::Time;

/// Never expires (5.0 §3.1.2.11.2).
pub(crate) const NEVER: u32 = u32::MAX;

/// One subscription of a session; the router has the same options under the filter.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) filter: Box<str>,
    pub(crate) options: SubOptions,
    pub(crate) retain_handling: RetainHandling,
}

/// A session's part in a group of shared subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) group: GroupKey,
    /// The number that the session knows it by.
    pub(crate) number: ShareNo,
}

impl Share {
    /// The lane that its messages belong to.
    pub(crate) fn lane(self) -> Lane {
        Lane::Share(self.number)
    }
}

/// A will that waits for the end of its connection.
#[derive(Clone, Debug)]
pub(crate) struct PendingWill {
    pub(crate) message: Rc<Message>,
    /// Seconds between the end of the connection and the publishing.
    pub(crate) delay: u32,
    /// The message expiry interval, in seconds from the publishing.
    pub(crate) expiry: Option<u32>,
}

/// Whose session it is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// A client's.
    Client,
    /// The local end of a bridge of ours: it never expires, and needs no rights.
    Bridge(Box<LocalEnd>),
    /// Nobody's any more: it has ended, and stays only until other members of its groups have what
    /// it has left to them.
    Ended,
}

impl Role {
    /// The local end of a bridge, if it is one.
    pub(crate) fn bridge(&self) -> Option<&LocalEnd> {
        match self {
            Role::Bridge(end) => Some(end),
            Role::Client | Role::Ended => None,
        }
    }

    /// As [`bridge`](Role::bridge).
    pub(crate) fn bridge_mut(&mut self) -> Option<&mut LocalEnd> {
        match self {
            Role::Bridge(end) => Some(end),
            Role::Client | Role::Ended => None,
        }
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) origin: Rc<Origin>,
    pub(crate) conn: Option<ConnId>,
    pub(crate) version: Version,
    /// Session expiry interval in seconds; 0 ends with the connection.
    pub(crate) expiry: u32,
    /// Since when it has been without a connection.
    pub(crate) since: Time,
    /// Sorted by filter.
    pub(crate) subscriptions: Vec<Subscribed>,
    pub(crate) will: Option<Box<PendingWill>>,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    pub(crate) role: Role,
    /// What was dropped.
    pub(crate) drops: Option<Box<Drops>>,
    /// Messages of some of its lanes are told apart by topic.
    pub(crate) by_topic: bool,
    /// Its parts in groups of shared subscriptions.
    pub(crate) shares: Vec<Share>,
    /// What of it must be written with the next commit.
    pub(super) unsaved: Unsaved,
    /// The commit that holds its newest rows.
    pub(super) saved_in: u64,
    /// It has rows in the store.
    pub(super) on_disk: bool,
    /// In the list of sessions that wait for a commit.
    pub(super) stalled: bool,
}

/// What of a session must be written with the next commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsaved {
    pub(super) identity: bool,
    pub(super) state: bool,
}

impl Unsaved {
    pub(super) fn any(self) -> bool {
        self.identity || self.state
    }
}

impl Session {
    pub(crate) fn new(id: SessionId, origin: Rc<Origin>, expiry: u32, version: Version) -> Session {
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
            role: Role::Client,
            drops: None,
            by_topic: false,
            shares: Vec::new(),
            unsaved: Unsaved::default(),
            saved_in: 0,
            on_disk: false,
            stalled: false,
        }
    }

    /// A session that has rows in the store.
    pub(crate) fn stored(
        id: SessionId,
        origin: Rc<Origin>,
        expiry: u32,
        version: Version,
    ) -> Session {
        Session {
            on_disk: true,
            ..Session::new(id, origin, expiry, version)
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.origin.client_id
    }

    /// Who the access control list is asked about.
    pub(crate) fn who(&self) -> Who<'_> {
        who(&self.origin)
    }

    /// The local end of a bridge, if it is one.
    pub(crate) fn bridge(&self) -> Option<&LocalEnd> {
        self.role.bridge()
    }

    /// The local end of a bridge, if it is one.
    pub(crate) fn bridge_mut(&mut self) -> Option<&mut LocalEnd> {
        self.role.bridge_mut()
    }

    /// True for the local end of a bridge.
    pub(crate) fn is_bridge(&self) -> bool {
        self.bridge().is_some()
    }

    /// True once it has ended, and stays only for what it has left to others.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.role, Role::Ended)
    }

    /// When the will of the connection that has ended is to be published.
    pub(crate) fn will_due(&self) -> Option<Time> {
        let will = self.will.as_ref().filter(|_| self.conn.is_none())?;
        Some(self.since + Duration::from_secs(u64::from(will.delay)))
    }

    /// True if it outlives its connection.
    pub(crate) fn is_durable(&self) -> bool {
        self.outbound.is_durable()
    }

    /// True if a message for it at `qos` goes through the store; at QoS 0 also behind those that
    /// were stored while it was offline [MQTT-4.6.0-6].
    pub(crate) fn stores(&self, qos: QoS, queue_qos0: bool) -> bool {
        let is_late = || self.conn.is_none() || self.outbound.is_behind();
        self.is_durable() && (qos != QoS::AtMostOnce || (queue_qos0 && is_late()))
    }

    /// True if it has rows in the store.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.on_disk
    }

    /// True if everything about it is in commits up to `done`.
    pub(crate) fn is_saved(&self, done: u64) -> bool {
        !self.unsaved.any() && self.saved_in <= done
    }

    /// The commit that holds its newest rows.
    pub(crate) fn saved_in(&self) -> u64 {
        self.saved_in
    }

    /// The identity row.
    pub(super) fn record(&self) -> SessionRecord {
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
            lane: if s.options.lane.is_share() {
                s.options.lane
            } else {
                Lane::Client
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
            bridge: self.is_bridge(),
            ended: self.is_ended(),
        }
    }

    /// The state row.
    pub(super) fn state(&self) -> StateRecord {
        let drops = self.drops.iter().flat_map(|drops| drops.records());
        StateRecord {
            received: self.inbound.received().to_vec(),
            drops: drops.copied().collect(),
            rate: self.bridge().and_then(|end| end.rate.saved()),
            by_topic: self.by_topic,
            retained: self.bridge().map(|end| end.retained.record()),
            ..self.outbound.record()
        }
    }

    /// Where `filter` stands in the subscriptions, or where it belongs.
    pub(crate) fn find(&self, filter: &str) -> Result<usize, usize> {
        self.subscriptions
            .binary_search_by(|s| (*s.filter).cmp(filter))
    }

    /// Adds a subscription or replaces it; true if it is new.
    pub(crate) fn set_subscription(&mut self, subscribed: Subscribed) -> bool {
        match self.find(&subscribed.filter) {
            Ok(at) => {
                if let Some(known) = self.subscriptions.get_mut(at) {
                    *known = subscribed;
                }
                false
            }
            Err(at) => {
                self.subscriptions.insert(at, subscribed);
                true
            }
        }
    }

    /// The group whose messages belong to `lane`.
    pub(crate) fn group(&self, lane: Lane) -> Option<GroupKey> {
        let share = self.shares.iter().find(|share| share.lane() == lane)?;
        Some(share.group)
    }

    /// The numbers for new shared subscriptions; none of those that still owe something.
    pub(crate) fn free_shares(&self) -> impl Iterator<Item = ShareNo> {
        let mut taken: Vec<ShareNo> = self.shares.iter().map(|share| share.number).collect();
        taken.sort_unstable();
        ShareNo::all().filter(move |number| {
            let owed = self.outbound.owed_by(Lane::Share(*number));
            taken.binary_search(number).is_err() && owed.messages == 0
        })
    }

    /// Whom a line in the log is about.
    pub(crate) fn name_of(&self, lane: Lane) -> String {
        match self.bridge() {
            None => format!("Client {}", self.client_id()),
            Some(end) => match end.line(lane) {
                Some(line) => format!("Bridge {}, topic {}", end.name, line.pattern),
                None => format!("Bridge {}", end.name),
            },
        }
    }
}

/// Who the access control list is asked about.
pub(crate) fn who(origin: &Origin) -> Who<'_> {
    Who {
        client_id: &origin.client_id,
        username: origin.username.as_deref(),
        listener: origin.listener.as_deref(),
    }
}
