//! CONNECT: which session a client gets, and the CONNACK it is told so with.

use std::rc::Rc;
use std::time::Duration;

use super::admit::Admitted;
use super::alias::Outward;
use super::conn::{ReplyKind, Stage};
use super::session::NEVER;
use super::{Broker, ConnId, Peer};
use crate::config::log_type::NOTICE;
use crate::mqtt::{
    self, ConnAck, Connect, Packet, Property, Props, PropsBuf, QoS, Reason, Version,
};
use crate::time::Time;

impl Broker {
    pub(super) fn on_connect(&mut self, c: ConnId, connect: &Connect<'_>, now: Time) {
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        conn.version = connect.version;
        conn.max_packet = connect.props.maximum_packet_size().unwrap_or(u32::MAX);
        let listener = conn.listener;
        let max_qos = self.max_qos(listener);
        let admitted = match connect.will {
            Some(will) if will.qos > max_qos => Err(Reason::QOS_NOT_SUPPORTED),
            _ => self.admit(c, connect, now),
        };
        match admitted {
            Ok(admitted) => self.enter(c, connect, admitted, now),
            Err(reason) => {
                if let Some(conn) = self.conns.get(c.0) {
                    log::info!(
                        target: NOTICE,
                        "Client {} ({}) refused: {reason}",
                        connect.client_id,
                        conn.peer
                    );
                }
                self.counters.refused += 1;
                self.refuse(c, reason, now);
            }
        }
    }

    /// Answers a CONNECT with a failure and closes. Before 5.0 a failure without a return code
    /// has no answer (3.1.1 [MQTT-3.2.2-6]).
    fn refuse(&mut self, c: ConnId, reason: Reason, now: Time) {
        let refusal = ConnAck {
            session_present: false,
            reason,
            props: Props::EMPTY,
        };
        let version = self.version(c);
        if version == Version::V5 || refusal.return_code().is_some() {
            self.send(c, &Packet::ConnAck(refusal));
        }
        self.finish(c, now);
    }

    /// Answers a CONNECT that could not be decoded. As in Mosquitto, only a version that is not
    /// known gets a CONNACK [MQTT-3.1.2-2]; another protocol [MQTT-3.1.2-1] and garbage get none
    /// [MQTT-3.1.4-1].
    pub(super) fn refuse_unreadable(&mut self, c: ConnId, error: &mqtt::Error, now: Time) {
        self.counters.refused += 1;
        if matches!(error, mqtt::Error::UnsupportedVersion(_)) {
            self.refuse(c, Reason::UNSUPPORTED_PROTOCOL_VERSION, now);
        } else {
            self.finish(c, now);
        }
    }

    /// Gives an admitted client its session and answers.
    fn enter(&mut self, c: ConnId, connect: &Connect<'_>, admitted: Admitted, now: Time) {
        self.take_over(&admitted.origin, connect.clean_start, now);
        let known = self.by_client_id.get(&*admitted.origin.client_id).copied();
        // A CONNACK promises a session, or that an old one is gone.
        let mut discarded = false;
        let (index, present) = match known {
            Some(index) if !connect.clean_start => (index, true),
            Some(index) => {
                discarded = self.sessions.get(index).is_some_and(|s| s.is_durable());
                self.end_session(index, now);
                (self.open_session(connect, &admitted), false)
            }
            None => (self.open_session(connect, &admitted), false),
        };
        let must_save = self.bind(c, index, connect, &admitted, now);
        let listener = self.conns.get(c.0).map_or(0, |conn| conn.listener);
        let hold = ReplyKind::Hold(self.connack(listener, connect, &admitted, present));
        if must_save || discarded {
            self.reply_after_commit(c, hold, now);
        } else {
            self.reply(c, hold, true);
        }
        let peer_window = connect.props.receive_maximum().unwrap_or(u16::MAX);
        self.resume(c, index, self.own_window().min(peer_window), now);
        self.pump(index, now);
    }

    fn open_session(&mut self, connect: &Connect<'_>, admitted: &Admitted) -> usize {
        let origin = Rc::clone(&admitted.origin);
        let index = self.new_session(origin, admitted.expiry, connect.version);
        if admitted.expiry > 0 {
            self.unsave_identity(index);
        }
        index
    }

    /// Ties a connection to its session. True if the CONNACK promises something that is not on
    /// disk yet.
    fn bind(
        &mut self,
        c: ConnId,
        index: usize,
        connect: &Connect<'_>,
        admitted: &Admitted,
        now: Time,
    ) -> bool {
        self.limit_output(c, connect);
        let (own_max_packet, own_window) = (self.own_max_packet(), self.own_window());
        let Some(conn) = self.conns.get_mut(c.0) else {
            return false;
        };
        conn.max_received = own_max_packet;
        conn.receive_maximum = own_window;
        conn.stage = Stage::Connected;
        conn.set_session(index);
        conn.bridge = connect.bridge;
        conn.keep_alive = admitted.keep_alive;
        let (keep_alive, peer) = (conn.keep_alive, conn.peer.clone());
        let Some(session) = self.sessions.get_mut(index) else {
            return false;
        };
        let changed = session.expiry != admitted.expiry;
        let willed = session.will.is_some() || admitted.will.is_some();
        session.conn = Some(c);
        session.version = connect.version;
        session.expiry = admitted.expiry;
        session.origin = Rc::clone(&admitted.origin);
        session.will = admitted.will.clone();
        let durable = session.is_durable();
        if durable || willed {
            // That it is connected, and its will, may reach the disk late.
            self.unsave_identity(index);
            self.store.lazy(now);
        }
        if keep_alive > 0 {
            self.watch(c, Duration::from_millis(u64::from(keep_alive) * 1500), now);
        }
        if self.settings.connection_messages {
            log_connect(connect, &admitted.origin.client_id, keep_alive, &peer);
        }
        self.counters.connects += 1;
        let done = self.store.done();
        // A row that says since when it is absent lets a session that can expire end after a crash.
        self.sessions.get(index).is_some_and(|s| {
            durable && (changed || s.expiry != NEVER || !s.on_disk || s.saved_in > done)
        })
    }

    /// Notes how messages may go to a client: by topic aliases, and, as in Mosquitto, at the QoS
    /// that it may publish with.
    fn limit_output(&mut self, c: ConnId, connect: &Connect<'_>) {
        let listener = self.conns.get(c.0).map_or(0, |conn| conn.listener);
        let max_qos = self.max_qos(listener);
        let taken = connect.props.topic_alias_maximum().unwrap_or(0);
        let aliases = self.max_topic_alias_broker(listener).min(taken);
        let Some(conn) = self.conns.get_mut(c.0) else {
            return;
        };
        if aliases > 0 {
            conn.rare().outward = Outward::new(aliases);
        }
        if max_qos < QoS::ExactlyOnce {
            conn.rare().max_qos = max_qos;
        }
    }

    /// The CONNACK of an admitted client, encoded. Property order as Mosquitto's.
    fn connack(
        &self,
        listener: u16,
        connect: &Connect<'_>,
        admitted: &Admitted,
        present: bool,
    ) -> Box<[u8]> {
        let mut props = PropsBuf::new();
        if admitted.keep_alive != connect.keep_alive {
            props.push(Property::ServerKeepAlive(admitted.keep_alive));
        }
        let aliases = self.max_topic_alias(listener);
        if aliases > 0 {
            props.push(Property::TopicAliasMaximum(aliases));
        }
        if connect
            .props
            .session_expiry()
            .is_some_and(|asked| asked != admitted.expiry)
        {
            props.push(Property::SessionExpiry(admitted.expiry));
        }
        if admitted.assigned {
            props.push(Property::AssignedClientId(&admitted.origin.client_id));
        }
        if !self.settings.retain_available {
            props.push(Property::RetainAvailable(0));
        }
        if let Some(max) = self.settings.max_packet_size {
            props.push(Property::MaximumPacketSize(max));
        }
        if self.settings.max_inflight_messages > 0 {
            props.push(Property::ReceiveMaximum(
                self.settings.max_inflight_messages,
            ));
        }
        match self.max_qos(listener) {
            QoS::ExactlyOnce => true,
            max => props.push(Property::MaximumQoS(max as u8)),
        };
        let props = props.as_props();
        let reason = Reason::SUCCESS;
        let connack = ConnAck {
            session_present: present,
            reason,
            props,
        };
        Self::encoded(&Packet::ConnAck(connack), connect.version)
    }

    /// `max_inflight_messages` as a window.
    pub(super) fn own_window(&self) -> u16 {
        match self.settings.max_inflight_messages {
            0 => u16::MAX,
            limit => limit,
        }
    }

    /// Opens the outbound half and sends again the PUBRELs that an earlier connection left
    /// unanswered [MQTT-4.4.0-1]. One whose release is not on disk yet waits for that.
    pub(super) fn resume(&mut self, c: ConnId, index: usize, window: u16, now: Time) {
        self.come_online(index);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        session
            .outbound
            .limit_bytes(self.settings.max_inflight_bytes);
        let releases = session.outbound.connect(window, now);
        let saved = self.sessions.get(index).is_some_and(|s| self.is_saved(s));
        for id in releases {
            self.pubrel(c, id, saved, now);
        }
    }
}

/// The line that Mosquitto logs, too; log watchers look for it.
fn log_connect(connect: &Connect<'_>, client_id: &str, keep_alive: u16, peer: &Peer) {
    let version = match connect.version {
        Version::V5 => 5,
        version => version as u8 - 2,
    };
    let username = connect.username.map(|u| format!(", u'{u}'"));
    log::info!(
        target: NOTICE,
        "New client connected from {peer} as {client_id} (p{version}, c{}, k{keep_alive}{}).",
        u8::from(connect.clean_start),
        username.unwrap_or_default(),
    );
}
