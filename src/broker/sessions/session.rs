//! A session as the broker keeps it: identity, subscriptions, will, and the two halves.

use std::rc::Rc;
use std::time::Duration;

use super::drops::Drops;
use super::marks::{Mark, Marks};
use super::subscriptions::{Subscribed, Subscriptions};
use crate::auth::Who;
use crate::bridge::LocalEnd;
use crate::keys::{ConnId, GroupKey};
use crate::lane::{Lane, ShareNo};
use crate::message::{Message, Origin, SessionId};
use crate::mqtt::{QoS, Version};
use crate::session::{Inbound, Outbound};
use crate::store::{SessionRecord, StateRecord, WillRecord};
use crate::time::Time;

/// So many bytes of filters and will stand in the identity row of a session; of more, each subscription has a row
/// of its own. In tests it is few, so that the simulation gets there.
const IN_IDENTITY: usize = if cfg!(test) { 40 } else { 512 };

/// Never expires (5.0 §3.1.2.11.2).
pub(crate) const NEVER: u32 = u32::MAX;

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
#[derive(Clone, Debug, Default)]
pub(crate) enum Role {
    /// A client's.
    #[default]
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

/// What few sessions have.
#[derive(Debug, Default)]
struct Rare {
    role: Role,
    /// What was dropped.
    drops: Option<Drops>,
    /// Its parts in groups of shared subscriptions, by number.
    shares: Vec<Share>,
}

/// A session. There are thousands, so what few have is boxed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(super) origin: Rc<Origin>,
    pub(crate) conn: Option<ConnId>,
    pub(crate) version: Version,
    /// Session expiry interval in seconds; 0 ends with the connection.
    pub(crate) expiry: u32,
    /// Since when it has had its connection, or none.
    pub(crate) since: Time,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) will: Option<Box<PendingWill>>,
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
    rare: Option<Box<Rare>>,
    /// The commit that holds its newest rows.
    pub(super) saved_in: u64,
    pub(super) marks: Marks,
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
            subscriptions: Subscriptions::default(),
            will: None,
            outbound: Outbound::new(expiry > 0),
            inbound: Inbound::default(),
            rare: None,
            saved_in: 0,
            marks: Marks::default(),
        }
    }

    /// A session that has rows in the store.
    pub(crate) fn stored(
        id: SessionId,
        origin: Rc<Origin>,
        expiry: u32,
        version: Version,
    ) -> Session {
        let mut session = Session::new(id, origin, expiry, version);
        session.marks.set(Mark::OnDisk, true);
        session
    }

    /// Who publishes the messages of its client.
    pub(crate) fn origin(&self) -> &Rc<Origin> {
        &self.origin
    }

    pub(crate) fn client_id(&self) -> &str {
        self.origin.client_id()
    }

    /// Who the access control list is asked about.
    pub(crate) fn who(&self) -> Who<'_> {
        Who {
            is_connected: self.conn.is_some(),
            ..who(&self.origin)
        }
    }

    /// The local end of a bridge, if it is one.
    pub(crate) fn bridge(&self) -> Option<&LocalEnd> {
        self.rare.as_ref()?.role.bridge()
    }

    /// The local end of a bridge, if it is one.
    pub(crate) fn bridge_mut(&mut self) -> Option<&mut LocalEnd> {
        self.rare.as_mut()?.role.bridge_mut()
    }

    /// What is on its way to its client, and the local end of a bridge, if it is one.
    pub(crate) fn outbound_and_end(&mut self) -> (&mut Outbound, Option<&mut LocalEnd>) {
        let rare = self.rare.as_mut();
        let end = rare.and_then(|rare| rare.role.bridge_mut());
        (&mut self.outbound, end)
    }

    /// True for the local end of a bridge.
    pub(crate) fn is_bridge(&self) -> bool {
        self.bridge().is_some()
    }

    /// True once it has ended, and stays only for what it has left to others.
    pub(crate) fn is_ended(&self) -> bool {
        self.rare
            .as_ref()
            .is_some_and(|rare| matches!(rare.role, Role::Ended))
    }

    /// Says whose session it is from now on.
    pub(crate) fn set_role(&mut self, role: Role) {
        if self.rare.is_some() || !matches!(role, Role::Client) {
            self.rare().role = role;
        }
    }

    /// What was dropped, if anything.
    pub(crate) fn drops(&self) -> Option<&Drops> {
        self.rare.as_ref()?.drops.as_ref()
    }

    /// What was dropped, if anything.
    pub(crate) fn drops_mut(&mut self) -> Option<&mut Drops> {
        self.rare.as_mut()?.drops.as_mut()
    }

    /// The account of what was dropped, which is made with the first.
    pub(crate) fn drops_or_new(&mut self) -> &mut Drops {
        self.rare().drops.get_or_insert_default()
    }

    /// This was dropped before the start.
    pub(crate) fn set_drops(&mut self, drops: Option<Drops>) {
        if self.rare.is_some() || drops.is_some() {
            self.rare().drops = drops;
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// When the will of the connection that has ended is to be published.
    pub(crate) fn will_due(&self) -> Option<Time> {
        let will = self.will.as_ref().filter(|_| self.conn.is_none())?;
        Some(self.since + Duration::from_secs(u64::from(will.delay)))
    }

    /// When it ends unless its client comes back; `None` for never. For one that is absent.
    pub(crate) fn expires(&self) -> Option<Time> {
        let is_bounded = self.expiry != NEVER;
        is_bounded.then(|| self.since + Duration::from_secs(u64::from(self.expiry)))
    }

    /// True if it would go on for `span`, were its client absent since it was the last time.
    pub(crate) fn lasts(&self, span: Duration, now: Time) -> bool {
        self.expires().is_none_or(|at| at >= now + span)
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
        self.marks.has(Mark::OnDisk)
    }

    /// True if messages of some of its lanes are told apart by topic.
    pub(crate) fn is_by_topic(&self) -> bool {
        self.marks.has(Mark::ByTopic)
    }

    /// Whether messages of some of its lanes are told apart by topic; true if that is a change.
    pub(crate) fn set_by_topic(&mut self, by_topic: bool) -> bool {
        self.marks.set(Mark::ByTopic, by_topic) != by_topic
    }

    /// Its parts in groups of shared subscriptions.
    pub(crate) fn shares(&self) -> &[Share] {
        self.rare.as_ref().map_or(&[], |rare| &rare.shares)
    }

    /// Where the share with this number stands among its shares, or where it belongs.
    fn find_share(&self, number: ShareNo) -> Result<usize, usize> {
        let shares = self.shares();
        shares.binary_search_by_key(&number, |share| share.number)
    }

    /// It takes part in one more group.
    pub(crate) fn add_share(&mut self, share: Share) {
        let at = self.find_share(share.number).unwrap_or_else(|at| at);
        self.rare().shares.insert(at, share);
    }

    /// It has no part any more in the group whose share has this number.
    pub(crate) fn remove_share(&mut self, number: ShareNo) {
        if let (Ok(at), Some(rare)) = (self.find_share(number), &mut self.rare) {
            rare.shares.remove(at);
            if rare.shares.is_empty() {
                rare.shares = Vec::new();
            }
        }
    }

    /// These are its parts in groups from now on.
    pub(crate) fn set_shares(&mut self, mut shares: Vec<Share>) {
        shares.sort_unstable_by_key(|share| share.number);
        if self.rare.is_some() || !shares.is_empty() {
            self.rare().shares = shares;
        }
    }

    /// True if everything about it is in commits up to `done`.
    pub(crate) fn is_saved(&self, done: u64) -> bool {
        !self.marks.is_unsaved() && self.saved_in <= done
    }

    /// The commit that holds its newest rows.
    pub(crate) fn saved_in(&self) -> u64 {
        self.saved_in
    }

    /// Its subscriptions have rows of their own in the store.
    pub(crate) fn set_filters_apart(&mut self) {
        self.marks.set(Mark::FiltersApart, true);
    }

    /// True if its subscriptions have rows of their own in the store.
    pub(super) fn are_filters_apart(&self) -> bool {
        self.marks.has(Mark::FiltersApart)
    }

    /// True if its subscriptions are too many for the identity row, which is written at each connect, or
    /// that is so large with its will that not each SUBSCRIBE should write it.
    pub(super) fn has_many_filters(&self) -> bool {
        let will = self.will.as_ref().map_or(0, |will| will.message.size());
        let mut room = IN_IDENTITY.saturating_sub(will as usize);
        let mut filters = self.subscriptions.iter();
        !filters.all(|s| match room.checked_sub(s.filter.len() + 4) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        })
    }

    /// The identity row, with the subscriptions that have no rows of their own.
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
        let here = (!self.are_filters_apart()).then_some(self.subscriptions.iter());
        SessionRecord {
            client_id: self.client_id().into(),
            username: self.origin.username().map(Into::into),
            listener: self.origin.listener().map(Into::into),
            version: self.version,
            expiry: self.expiry,
            disconnected_at: self.conn.is_none().then_some(self.since),
            subscriptions: here.into_iter().flatten().map(Subscribed::record).collect(),
            will,
            bridge: self.is_bridge(),
            subscribed_upstream: self
                .bridge()
                .map_or(Vec::new(), |end| end.subscribed.clone()),
            given_up: self
                .bridge()
                .map_or((0, Vec::new()), |end| end.given_up.clone()),
            lines: self
                .bridge()
                .map_or(Vec::new(), |end| end.numbering().record().to_vec()),
            ended: self.is_ended(),
        }
    }

    /// The state row.
    pub(super) fn state(&self) -> StateRecord {
        let drops = self.drops().into_iter().flat_map(Drops::records);
        StateRecord {
            received: self.inbound.in_state(),
            drops: drops.copied().collect(),
            rate: self.bridge().and_then(|end| end.rate.saved()),
            by_topic: self.is_by_topic(),
            retained: self.bridge().map(|end| end.retained.record()),
            volume: self.bridge().and_then(|end| end.volume.record()),
            ..self.outbound.record()
        }
    }

    /// The group whose messages belong to `lane`.
    pub(crate) fn group(&self, lane: Lane) -> Option<GroupKey> {
        let Lane::Share(number) = lane else {
            return None;
        };
        let share = self.shares().get(self.find_share(number).ok()?)?;
        Some(share.group)
    }

    /// The numbers that no shared subscription has, nor one that still owes something.
    pub(crate) fn free_shares(&self) -> impl Iterator<Item = ShareNo> {
        let mut shares = self.shares();
        // Mostly the first numbers are all taken, and the next is free.
        let count = shares.len();
        let last = count
            .checked_sub(1)
            .and_then(|last| u16::try_from(last).ok());
        let is_dense = last.is_some()
            && shares.last().map(|share| share.number) == last.and_then(ShareNo::new);
        let skipped = if is_dense { count } else { 0 };
        if is_dense {
            shares = &[];
        }
        let numbers = ShareNo::all().skip(skipped);
        numbers.filter(move |number| {
            let owed = self.outbound.owed_by(Lane::Share(*number));
            let taken = shares.binary_search_by_key(number, |share| share.number);
            taken.is_err() && owed.messages == 0
        })
    }

    /// What it takes that its client can make grow, in bytes, about.
    pub(crate) fn held(&self) -> usize {
        let will = self
            .will
            .as_ref()
            .map_or(0, |will| will.message.size() as usize);
        self.outbound.held() + will + self.subscriptions.bytes() + 2 * self.inbound.len()
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

/// Who the access control list is asked about: its names, wherever it is.
pub(crate) fn who(origin: &Origin) -> Who<'_> {
    Who {
        client_id: origin.client_id(),
        username: origin.username(),
        listener: origin.listener(),
        is_connected: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the generation of its key, 184 bytes.
    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 176, "{}", size_of::<Session>());
    }
}
