//! What the links of bridges ask of the broker.

use std::rc::Rc;

use super::{attach, blame, pacing, renamed};
use crate::bridge::{Limits, Unanswered, UnderWay, Unusable, Wire};
use crate::broker::delivering::revive::revive_all;
use crate::broker::packets::unusable::drop_unusable;
use crate::broker::sending::pump::pump;
use crate::broker::{BridgeId, BridgeSession, Broker};
use crate::keys::ConnId;
use crate::mqtt::PacketId;
use crate::store::GivenUpRecord;
use crate::time::Time;

impl Broker {
    /// Makes the local end of a bridge: from now on its queue fills, connected or not. For a bridge
    /// that is there already, and has no uplink at the moment, this is what its configuration says
    /// from now on.
    pub fn add_bridge(&mut self, spec: &BridgeSession<'_>, now: Time) -> BridgeId {
        let bridge = attach::add_bridge(&mut self.core, spec, now);
        self.settle(now);
        bridge
    }

    /// A bridge, whose uplink has ended, is to have this client id from now on: its queue goes along. To be
    /// called before [`add_bridge`](Broker::add_bridge).
    pub fn rename_bridge(&mut self, bridge: BridgeId, client_id: &str, now: Time) {
        renamed::rename_bridge(&mut self.core, bridge, client_id, now);
        self.settle(now);
    }

    /// Ends the sessions of bridges that the configuration no longer has. To be called once all
    /// bridges are added.
    pub fn drop_orphan_bridges(&mut self, now: Time) {
        attach::drop_orphans(&mut self.core, now);
        self.settle(now);
    }

    /// The configuration no longer has this bridge, whose uplink has ended. Messages that wait for
    /// it stay until the next start.
    pub fn remove_bridge(&mut self, bridge: BridgeId, now: Time) {
        attach::remove_bridge(&mut self.core, bridge, now);
        self.settle(now);
    }

    /// Sends the dead letters of all bridges again that their maps have a line for (SIGHUP).
    pub fn resend_dead_letters(&mut self, now: Time) {
        revive_all(&mut self.core, now);
        self.settle(now);
    }

    /// The uplink of a bridge is up: its session goes on, on the connection that is returned.
    /// Nothing flows before [`Broker::bridge_start`]. `None` once the broker is stopping.
    pub fn bridge_up(
        &mut self,
        bridge: BridgeId,
        limits: &Limits,
        wire: Rc<Wire>,
        now: Time,
    ) -> Option<ConnId> {
        attach::attach(&mut self.core, bridge, limits, wire, now)
    }

    /// Starts the flow over an uplink, once the link has sent its own packets.
    pub fn bridge_start(&mut self, c: ConnId, now: Time) {
        if let Some(key) = self.core.session_of(c) {
            pump(&mut self.core, key, now);
        }
    }

    /// The upstream has sent a PUBLISH that can't be a message: it is acknowledged, dropped and
    /// counted.
    pub fn bridge_drop(&mut self, c: ConnId, unusable: &Unusable<'_>, now: Time) {
        drop_unusable(&mut self.core, c, unusable, now);
        self.settle(now);
    }

    /// The next packet id of a bridge's session that no message under way has [MQTT-2.2.1-3].
    pub fn bridge_packet_id(&mut self, bridge: BridgeId) -> Option<PacketId> {
        attach::packet_id(&mut self.core, bridge)
    }

    /// The filters that the upstream's session for a bridge is subscribed to, as its link has said.
    pub fn bridge_subscriptions(&self, bridge: BridgeId) -> Vec<Box<str>> {
        attach::subscribed_upstream(&self.core, bridge)
    }

    /// Keeps the filters that the upstream's session for a bridge is subscribed to.
    pub fn bridge_subscribed(&mut self, bridge: BridgeId, filters: Vec<Box<str>>, now: Time) {
        attach::keep_subscribed_upstream(&mut self.core, bridge, filters, now);
    }

    /// What a bridge does without towards its upstreams, as its link has said.
    pub fn bridge_given_up(&self, bridge: BridgeId) -> (u64, Vec<GivenUpRecord>) {
        attach::given_up(&self.core, bridge)
    }

    /// Keeps what a bridge does without towards its upstreams.
    pub fn bridge_gives_up(
        &mut self,
        bridge: BridgeId,
        given_up: (u64, Vec<GivenUpRecord>),
        now: Time,
    ) {
        attach::keep_given_up(&mut self.core, bridge, given_up, now);
    }

    /// The messages of a bridge that are under way and have no answer.
    pub fn bridge_under_way(&self, bridge: BridgeId) -> UnderWay {
        blame::under_way(&self.core, bridge)
    }

    /// The upstream closes the connection on this message: it becomes a dead letter.
    pub fn bridge_condemn(&mut self, bridge: BridgeId, message: &Unanswered) {
        blame::condemn(&mut self.core, bridge, message);
    }

    /// Since when the oldest unacknowledged message of a bridge has been on its way, and its place in
    /// the session's sequence.
    pub fn bridge_oldest_sent(&self, bridge: BridgeId) -> Option<(Time, u64)> {
        attach::oldest_sent(&self.core, bridge)
    }

    /// So many QoS 1 and 2 messages may be unacknowledged at once from now on.
    pub fn bridge_window(&mut self, c: ConnId, window: u16, now: Time) {
        pacing::allow(&mut self.core, c, window, now);
    }

    /// The upstream of a bridge was heard: how much may go to it at a time follows what it acknowledges.
    pub fn bridge_heard(&mut self, bridge: BridgeId, now: Time) {
        pacing::measure(&mut self.core, bridge, now);
    }

    /// True if some of what is under way to this upstream waits for a commit with its PUBREL, and of the
    /// rest an answer is awaited.
    pub fn awaits_more_releases(&self, c: ConnId) -> bool {
        let key = self.core.session_of(c);
        let session = key.and_then(|key| self.core.sessions.get(key));
        session.is_some_and(|session| session.outbound.awaits_more_releases())
    }

    /// How many acknowledgements of this upstream are awaited, about.
    pub fn awaited_answers(&self, c: ConnId) -> usize {
        let key = self.core.session_of(c);
        let session = key.and_then(|key| self.core.sessions.get(key));
        session.map_or(0, |session| session.outbound.awaited())
    }

    /// The upstream has answered what was sent to it at `at`: all before that has arrived.
    pub fn bridge_answered(&mut self, c: ConnId, at: Time, now: Time) {
        attach::answered(&mut self.core, c, at, now);
    }

    /// All bridges.
    pub fn bridges(&self) -> impl Iterator<Item = BridgeId> {
        self.core.bridges.iter().map(|(bridge, _)| bridge)
    }

    /// So many bytes went over the socket of an uplink, both ways together.
    pub fn bridge_moved(&mut self, bridge: BridgeId, bytes: u64, now: Time) {
        attach::count_volume(&mut self.core, bridge, bytes, now);
    }

    /// Messages and bytes a bridge still owes its upstream.
    pub fn bridge_backlog(&self, bridge: BridgeId) -> (u64, u64) {
        attach::backlog(&self.core, bridge)
    }
    /// True if the queue of a bridge has no room for another message, or that of one of its lines, or had
    /// none for one that came since the last connection.
    pub fn bridge_is_full(&self, bridge: BridgeId) -> bool {
        attach::is_full(&self.core, bridge)
    }

    /// Messages that wait to be sent to a bridge's upstream: those of
    /// [`bridge_backlog`](Broker::bridge_backlog) that are not under way.
    pub fn bridge_unsent(&self, bridge: BridgeId) -> u64 {
        attach::unsent(&self.core, bridge)
    }
}
