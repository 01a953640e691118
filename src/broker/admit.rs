//! Whether a CONNECT may come in, and what it comes to: checked before a session is touched.

use std::rc::Rc;

use super::publish::is_in_format;
use super::session::{NEVER, PendingWill};
use super::{Broker, ConnId};
use crate::auth::{Auth, Who};
use crate::message::{Message, Origin, Parts};
use crate::mqtt::{Connect, Reason, Version, Will};
use crate::time::Time;

/// What a CONNECT comes to, before a session is touched.
pub(super) struct Admitted {
    pub origin: Rc<Origin>,
    /// The client id is ours.
    pub assigned: bool,
    pub expiry: u32,
    pub will: Option<Box<PendingWill>>,
    pub keep_alive: u16,
}

impl Broker {
    /// Puts other rules in force. Clients whose user is gone, and anonymous ones that are no
    /// longer let in, are disconnected; what the others may publish and read changes at once.
    pub fn set_auth(&mut self, auth: Auth, now: Time) {
        self.auth = auth;
        let conns: Vec<ConnId> = self.conns.iter().map(|(c, _)| ConnId(c)).collect();
        for c in conns {
            if !self.may_stay(c, now) {
                self.close(c, Reason::NOT_AUTHORIZED, now);
            }
        }
        self.settle(now);
    }

    /// Whether a client that is connected is admitted by rules that may be new.
    fn may_stay(&mut self, c: ConnId, now: Time) -> bool {
        let index = self.conns.get(c.0).and_then(|conn| conn.session());
        let listener = self.listener_of(c).map(|l| Rc::clone(&l.name));
        let (Some(index), Some(name)) = (index, listener) else {
            return true;
        };
        let Some(session) = self.sessions.get_mut(index) else {
            return true;
        };
        let username = session.origin.username.as_deref();
        let stays = self.auth.still_admits(&name, username);
        let listener = self.auth.per_listener().then_some(name);
        if session.origin.listener != listener {
            session.origin = Rc::new(Origin {
                listener,
                ..Origin::clone(&session.origin)
            });
            if session.is_durable() {
                self.unsave_identity(index);
                self.store.lazy(now);
            }
        }
        stays
    }

    /// Checks everything a CONNECT asks for.
    pub(super) fn admit(
        &mut self,
        c: ConnId,
        connect: &Connect<'_>,
        now: Time,
    ) -> Result<Admitted, Reason> {
        let listener = self.listener_of(c).ok_or(Reason::UNSPECIFIED)?;
        if !listener.takes(connect.version) {
            return Err(Reason::UNSUPPORTED_PROTOCOL_VERSION);
        }
        if connect.props.auth_method().is_some() {
            return Err(Reason::BAD_AUTHENTICATION_METHOD);
        }
        let name = Rc::clone(&listener.name);
        let by_username = listener.settings.use_username_as_clientid;
        let (mut client_id, mut assigned) = self.client_id(connect, &name)?;
        if !self.auth.admits_id(&client_id) {
            return Err(Reason::NOT_AUTHORIZED);
        }
        // As Mosquitto, which does not tell a bad password from a missing right.
        self.auth
            .login(&name, connect.username, connect.password)
            .map_err(|_| Reason::NOT_AUTHORIZED)?;
        if by_username {
            let username = connect.username.filter(|name| !name.is_empty());
            client_id = username.ok_or(Reason::NOT_AUTHORIZED)?.into();
            // Not what it asked for: MQTT 5 clients without an id are told [MQTT-3.2.2-16].
            assigned = connect.client_id.is_empty();
        }
        self.admit_session(&client_id)?;
        let origin = Rc::new(Origin {
            client_id,
            username: connect.username.map(Rc::from),
            listener: self.auth.per_listener().then_some(name),
        });
        let will = match &connect.will {
            Some(will) => Some(self.take_will(will, connect.version, &origin, now)?),
            None => None,
        };
        Ok(Admitted {
            origin,
            assigned,
            expiry: self.expiry(connect),
            will,
            keep_alive: self.keep_alive(connect)?,
        })
    }

    /// The client id asked for, or one that is assigned, and then true.
    fn client_id(&self, connect: &Connect<'_>, listener: &str) -> Result<(Rc<str>, bool), Reason> {
        if !connect.client_id.is_empty() {
            return Ok((connect.client_id.into(), false));
        }
        // [MQTT-3.1.3-6], [MQTT-3.1.3-8].
        let stateless = connect.clean_start || connect.version == Version::V5;
        let prefix = self.auth.auto_id_prefix(listener);
        match prefix.filter(|_| stateless && connect.version != Version::V31) {
            Some(prefix) => Ok((self.free_client_id(prefix).into(), true)),
            // As Mosquitto.
            None if connect.version == Version::V5 => Err(Reason::UNSPECIFIED),
            None => Err(Reason::CLIENT_IDENTIFIER_NOT_VALID),
        }
    }

    /// Whether `client_id` may have a session, or has one already.
    fn admit_session(&self, client_id: &str) -> Result<(), Reason> {
        let known = self.by_client_id.get(client_id);
        let session = known.and_then(|index| self.sessions.get(*index));
        // That of a bridge, too, which was removed and may come back for what waits.
        if session.is_some_and(|session| session.bridge) {
            log::warn!("A client may not use the id of a bridge: {client_id}");
            return Err(Reason::CLIENT_IDENTIFIER_NOT_VALID);
        }
        let clients = self.sessions.len().saturating_sub(self.bridges.len());
        let limit = self.settings.global_max_clients;
        match limit.is_some_and(|limit| clients >= limit as usize) {
            true if known.is_none() => Err(Reason::SERVER_BUSY),
            _ => Ok(()),
        }
    }

    /// The keep-alive that holds. One that is too long, or none, can only be refused before MQTT 5
    /// (return code 2, as Mosquitto).
    fn keep_alive(&self, connect: &Connect<'_>) -> Result<u16, Reason> {
        let (asked, max) = (connect.keep_alive, self.settings.max_keepalive);
        match max == 0 || (1..=max).contains(&asked) {
            true => Ok(asked),
            false if connect.version == Version::V5 => Ok(max),
            false => Err(Reason::CLIENT_IDENTIFIER_NOT_VALID),
        }
    }

    /// A client id that nobody has.
    fn free_client_id(&self, prefix: &str) -> String {
        loop {
            // In the form of a UUID, as Mosquitto's.
            let n = fastrand::u128(..);
            let (a, b, c) = (n >> 96, n >> 80 & 0xffff, n >> 64 & 0xffff);
            let (d, e) = (n >> 48 & 0xffff, n & 0xffff_ffff_ffff);
            let id = format!("{prefix}{a:08X}-{b:04X}-{c:04X}-{d:04X}-{e:012X}");
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
    pub(super) fn cap_expiry(&self, asked: u32) -> u32 {
        match self.settings.persistent_client_expiration {
            Some(most) => asked.min(most.as_secs().min(u64::from(NEVER)) as u32),
            None => asked,
        }
    }

    fn take_will(
        &self,
        will: &Will<'_>,
        version: Version,
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
            // The return code as Mosquitto's.
            return Err(match version {
                Version::V5 => Reason::PACKET_TOO_LARGE,
                _ => Reason::NOT_AUTHORIZED,
            });
        }
        if !is_in_format(will.props, will.payload) {
            return Err(Reason::PAYLOAD_FORMAT_INVALID);
        }
        let who = Who {
            client_id: &origin.client_id,
            username: origin.username.as_deref(),
            listener: origin.listener.as_deref(),
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
        let mut message =
            Message::new(parts, now, Rc::clone(origin)).map_err(|_| Reason::TOPIC_NAME_INVALID)?;
        message.qos = will.qos;
        message.retain = will.retain;
        Ok(Box::new(PendingWill {
            message: Rc::new(message),
            delay: will.props.will_delay().unwrap_or(0),
            expiry: will.props.message_expiry(),
        }))
    }
}
