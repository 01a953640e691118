//! Whether a CONNECT may come in, and what it comes to: checked before a session is touched.

use std::rc::Rc;

use super::Broker;
use super::session::{NEVER, PendingWill};
use crate::auth::Who;
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
    /// Checks everything a CONNECT asks for.
    pub(super) fn admit(&mut self, connect: &Connect<'_>, now: Time) -> Result<Admitted, Reason> {
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
            let (c, d, e) = (a >> 32, a >> 16 & 0xffff, a & 0xffff);
            let (f, g) = (b >> 48, b & 0xffff_ffff_ffff);
            // A UUID, as Mosquitto's.
            let prefix = &self.settings.auto_id_prefix;
            let id = format!("{prefix}{c:08X}-{d:04X}-{e:04X}-{f:04X}-{g:012X}");
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
}
