//! The end of a connection: DISCONNECT, take-over, and what becomes of the session.

use super::{Broker, ConnId};
use crate::config::log_type::NOTICE;
use crate::message::Origin;
use crate::mqtt::{Disconnect, Reason};
use crate::time::Time;

impl Broker {
    /// Ends the connection that has the client id now [MQTT-3.1.4-3]. Its will is published
    /// unless the session goes on and the will was to be delayed.
    pub(super) fn take_over(&mut self, origin: &Origin, clean_start: bool, now: Time) {
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
                target: NOTICE,
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
            log::info!(target: NOTICE, "Client {} disconnected.", self.name(conn));
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
        self.go_offline(index, now);
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
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
