//! CONNECT, DISCONNECT and the end of a connection: who may come in, which session they get,
//! what happens to it when they go.

use std::rc::Rc;
use std::time::Duration;

use super::conn::{ReplyKind, Stage};
use super::session::{NEVER, PendingWill};
use super::{Broker, ConnId, TOPIC_ALIAS_MAXIMUM};
use crate::auth::{Auth, Who};
use crate::message::{Message, Origin, Parts};
use crate::mqtt::{
    self, Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Property, Props, PropsBuf, Reason,
    Version, Will,
};
use crate::time::Time;

/// What a CONNECT comes to, before a session is touched.
struct Admitted {
    origin: Rc<Origin>,
    /// The client id is ours.
    assigned: bool,
    expiry: u32,
    will: Option<Box<PendingWill>>,
    keep_alive: u16,
}

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

    /// Checks everything a CONNECT asks for.
    fn admit(&mut self, connect: &Connect<'_>, now: Time) -> Result<Admitted, Reason> {
        if connect.props.auth_method().is_some() {
            return Err(Reason::BAD_AUTHENTICATION_METHOD);
        }
        let assigned = connect.client_id.is_empty();
        if assigned {
            self.may_assign(connect)?;
        }
        // As Mosquitto, which does not tell a bad password from a missing right.
        self.auth
            .login(connect.username, connect.password)
            .map_err(|_| Reason::NOT_AUTHORIZED)?;
        let client_id: Rc<str> = if assigned {
            self.free_client_id().into()
        } else {
            connect.client_id.into()
        };
        let username = connect.username.map(Rc::from);
        let known = self.by_client_id.get(&*client_id);
        if known.is_some_and(|index| self.bridges.contains(index)) {
            log::warn!("A client may not use the id of a bridge: {client_id}");
            return Err(Reason::CLIENT_IDENTIFIER_NOT_VALID);
        }
        let origin = Rc::new(Origin {
            client_id,
            username,
        });
        let will = match &connect.will {
            Some(will) => Some(self.take_will(will, &origin, now)?),
            None => None,
        };
        let max = self.settings.max_keepalive;
        let keep_alive = match connect.keep_alive {
            asked if connect.version < Version::V5 => asked,
            0 if max < u16::MAX => max,
            asked => asked.min(max),
        };
        Ok(Admitted {
            origin,
            assigned,
            expiry: self.expiry(connect),
            will,
            keep_alive,
        })
    }

    /// Whether a client without an id gets one [MQTT-3.1.3-6], [MQTT-3.1.3-8].
    fn may_assign(&self, connect: &Connect<'_>) -> Result<(), Reason> {
        let stateless = connect.clean_start || connect.version == Version::V5;
        let allowed = self.settings.allow_zero_length_clientid;
        if connect.version == Version::V31 || !stateless || !allowed {
            return Err(Reason::CLIENT_IDENTIFIER_NOT_VALID);
        }
        Ok(())
    }

    /// A client id that nobody has.
    fn free_client_id(&self) -> String {
        loop {
            let (a, b) = (fastrand::u64(..), fastrand::u64(..));
            let id = format!("{}{a:016X}{b:016X}", self.settings.auto_id_prefix);
            if !self.by_client_id.contains_key(id.as_str()) {
                return id;
            }
        }
    }

    /// The session expiry interval a CONNECT asks for, in seconds.
    fn expiry(&self, connect: &Connect<'_>) -> u32 {
        let asked = match connect.version {
            Version::V5 => connect.props.session_expiry().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => NEVER,
        };
        self.cap_expiry(asked)
    }

    /// `persistent_client_expiration` bounds every session that outlives its connection.
    fn cap_expiry(&self, asked: u32) -> u32 {
        match self.settings.persistent_client_expiration {
            Some(most) => asked.min(most.as_secs().min(u64::from(NEVER)) as u32),
            None => asked,
        }
    }

    fn take_will(
        &self,
        will: &Will<'_>,
        origin: &Rc<Origin>,
        now: Time,
    ) -> Result<Box<PendingWill>, Reason> {
        if will.retain && !self.settings.retain_available {
            return Err(Reason::RETAIN_NOT_SUPPORTED);
        }
        if self
            .settings
            .message_size_limit
            .is_some_and(|max| will.payload.len() > max as usize)
        {
            return Err(Reason::PACKET_TOO_LARGE);
        }
        let who = Who {
            client_id: &origin.client_id,
            username: origin.username.as_deref(),
        };
        if !self.auth.may_publish(&who, will.topic) {
            return Err(Reason::NOT_AUTHORIZED);
        }
        let mut props = Vec::new();
        will.props.forwardable(&mut props);
        let parts = Parts {
            topic: will.topic,
            props: &props,
            payload: will.payload,
        };
        let mut message = Message::new(parts, now, Rc::clone(origin));
        message.qos = will.qos;
        message.retain = will.retain;
        Ok(Box::new(PendingWill {
            message: Rc::new(message),
            delay: will.props.will_delay().unwrap_or(0),
            expiry: will.props.message_expiry(),
        }))
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

    /// Ends the connection that has the client id now [MQTT-3.1.4-3]. Its will is published
    /// unless the session goes on and the will was to be delayed.
    fn take_over(&mut self, origin: &Origin, clean_start: bool, now: Time) {
        let Some(&index) = self.by_client_id.get(&*origin.client_id) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.will.as_ref().is_some_and(|w| w.delay > 0) && !clean_start && session.expiry > 0
        {
            session.will = None;
        }
        if let Some(old) = session.conn {
            log::info!(
                "Client {} already connected, closing old connection.",
                origin.client_id
            );
            self.counters.takeovers += 1;
            self.close(old, Reason::SESSION_TAKEN_OVER, now);
        }
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if session.will_due().is_some() {
            // A delayed will of the connection before: the client is back in time
            // [MQTT-3.1.3-9], or its session ends here.
            let will = session.will.take();
            if let (true, Some(will)) = (clean_start, will) {
                self.publish_will(*will, index, now);
            }
        }
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

    /// Sends PUBREL, at once or after the next commit.
    pub(super) fn pubrel(&mut self, c: ConnId, id: PacketId, saved: bool, now: Time) {
        let kind = ReplyKind::Ack(Packet::PubRel(Ack::new(id, Reason::SUCCESS)));
        if saved {
            self.reply(c, kind, true);
        } else {
            self.reply_after_commit(c, kind, now);
        }
    }

    pub(super) fn on_disconnect(&mut self, c: ConnId, packet: &Disconnect<'_>, now: Time) {
        let Some(index) = self.conns.get(c.0).and_then(|conn| conn.session()) else {
            return;
        };
        if let (Some(asked), Some(session)) =
            (packet.props.session_expiry(), self.sessions.get_mut(index))
        {
            if session.expiry == 0 && asked > 0 {
                return self.close(c, Reason::PROTOCOL_ERROR, now);
            }
            let capped = self.cap_expiry(asked);
            if let Some(session) = self.sessions.get_mut(index) {
                session.expiry = capped;
            }
        }
        if self.settings.connection_messages
            && let Some(conn) = self.conns.get(c.0)
        {
            log::info!("Client {} disconnected.", self.name(conn));
        }
        self.detach(c, packet.reason != Reason::SUCCESS, now);
        self.finish(c, now);
    }

    /// Parts a connection from its session: the will becomes due if `with_will`, the queue falls
    /// back to disk, a session that does not outlive its connection ends.
    pub(super) fn detach(&mut self, c: ConnId, with_will: bool, now: Time) {
        let Some(index) = self.conns.get_mut(c.0).and_then(|conn| conn.take_session()) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        session.conn = None;
        session.since = now;
        session.outbound.disconnect();
        if self.bridges.contains(&index) {
            if session.is_durable() {
                self.unsave_state(index);
            }
            return;
        }
        let (ends, willed) = (session.expiry == 0, session.will.is_some());
        if !with_will {
            session.will = None;
        }
        // A delayed one stays with the session until it is due.
        let will = session.will.take_if(|will| will.delay == 0 || ends);
        if session.on_disk || session.is_durable() || willed {
            self.unsave_identity(index);
            self.store.lazy(now);
        }
        if let Some(will) = will {
            self.publish_will(*will, index, now);
        }
        if ends {
            self.end_session(index, now);
        } else {
            self.unsave_state(index);
            self.watch_session(index, now);
        }
    }
}
