//! CONNECT: which session a client gets, and the CONNACK it is told so with.

use std::rc::Rc;
use std::time::Duration;

use super::admit::Admitted;
use super::conn::{ReplyKind, Stage};
use super::{Broker, ConnId, TOPIC_ALIAS_MAXIMUM};
use crate::auth::Auth;
use crate::config::log_type::NOTICE;
use crate::mqtt::{self, ConnAck, Connect, Packet, Property, Props, PropsBuf, Reason, Version};
use crate::time::Time;

impl Broker {
    /// Puts other rules in force. Clients whose user is gone, and anonymous ones that are no
    /// longer let in, are disconnected; what the others may publish and read changes at once.
    pub fn set_auth(&mut self, auth: Auth, now: Time) {
        self.auth = auth;
        let conns = self.conns.iter().filter(|(_, conn)| conn.wire().is_none());
        let outcasts: Vec<ConnId> = conns
            .filter_map(|(c, conn)| Some((c, self.sessions.get(conn.session()?)?)))
            .filter(|(_, session)| !self.auth.still_admits(session.who().username))
            .map(|(c, _)| ConnId(c))
            .collect();
        for c in outcasts {
            self.close(c, Reason::NOT_AUTHORIZED, now);
        }
        self.settle(now);
    }

    pub(super) fn on_connect(&mut self, c: ConnId, connect: &Connect<'_>, now: Time) {
        if let Some(conn) = self.conns.get_mut(c.0) {
            conn.version = connect.version;
        }
        match self.admit(connect, now) {
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

    /// Answers a CONNECT with a failure and closes.
    fn refuse(&mut self, c: ConnId, reason: Reason, now: Time) {
        let refusal = ConnAck {
            session_present: false,
            reason,
            props: Props::EMPTY,
        };
        self.send(c, &Packet::ConnAck(refusal));
        self.finish(c, now);
    }

    /// Answers a CONNECT that could not be decoded. Only a version that is not known gets a
    /// CONNACK [MQTT-3.1.2-2]; garbage gets none [MQTT-3.1.4-1].
    pub(super) fn refuse_unreadable(&mut self, c: ConnId, error: &mqtt::Error, now: Time) {
        self.counters.refused += 1;
        if error.reason() == Reason::UNSUPPORTED_PROTOCOL_VERSION {
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
        let hold = ReplyKind::Hold(self.connack(connect, &admitted, present));
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
        let Some(conn) = self.conns.get_mut(c.0) else {
            return false;
        };
        conn.stage = Stage::Connected;
        conn.set_session(index);
        conn.bridge = connect.bridge;
        conn.keep_alive = admitted.keep_alive;
        conn.max_packet = connect.props.maximum_packet_size().unwrap_or(u32::MAX);
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
            log::info!(
                target: NOTICE,
                "New client connected from {peer} as {} (p{}, c{}, k{keep_alive}{}).",
                admitted.origin.client_id,
                if connect.version == Version::V5 {
                    5
                } else {
                    connect.version as u8 - 2
                },
                u8::from(connect.clean_start),
                connect
                    .username
                    .map(|u| format!(", u'{u}'"))
                    .unwrap_or_default(),
            );
        }
        self.counters.connects += 1;
        let done = self.store.done();
        self.sessions
            .get(index)
            .is_some_and(|s| durable && (changed || !s.on_disk || s.saved_in > done))
    }

    /// The CONNACK of an admitted client, encoded. Property order as Mosquitto's.
    fn connack(&self, connect: &Connect<'_>, admitted: &Admitted, present: bool) -> Box<[u8]> {
        let mut props = PropsBuf::new();
        if admitted.keep_alive != connect.keep_alive {
            props.push(Property::ServerKeepAlive(admitted.keep_alive));
        }
        props.push(Property::TopicAliasMaximum(TOPIC_ALIAS_MAXIMUM));
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
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        let releases = session.outbound.connect(window, now);
        let saved = self.sessions.get(index).is_some_and(|s| self.is_saved(s));
        for id in releases {
            self.pubrel(c, id, saved, now);
        }
    }
}
