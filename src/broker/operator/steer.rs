//! A client is disconnected, or its session ended, because the operator says so.

use std::fmt;

use crate::broker::Broker;
use crate::broker::ending::close::close;
use crate::broker::ending::session::end_session;
use crate::broker::ending::will::publish_will;
use crate::config::log_type::NOTICE;
use crate::keys::SessionKey;
use crate::mqtt::Reason;
use crate::time::Time;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steered {
    /// Messages that waited for the client.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
}

/// Why it was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsteered {
    /// There is no session of this client.
    Unknown,
    /// The client is not connected.
    Away,
    /// It is the local end of a bridge.
    Bridge,
}

impl fmt::Display for Unsteered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsteered::Unknown => "there is no such client, and no session of one",
            Unsteered::Away => "the client is not connected",
            Unsteered::Bridge => {
                "that is a bridge: `footbridge bridge stop` disconnects it, `bridge remove` ends it"
            }
        })
    }
}

impl std::error::Error for Unsteered {}

impl Broker {
    /// Disconnects a client, MQTT 5 ones with reason 0x98 (administrative action). Its will is published and
    /// its session stays, as when the connection is lost.
    ///
    /// # Errors
    /// It is not connected, or a bridge.
    pub fn kick(&mut self, client_id: &str, now: Time) -> Result<Steered, Unsteered> {
        let (key, steered) = self.steer(client_id)?;
        let conn = self.core.sessions.get(key).and_then(|s| s.conn);
        let c = conn.ok_or(Unsteered::Away)?;
        close(&mut self.core, c, Reason::ADMINISTRATIVE_ACTION, now);
        self.settle(now);
        Ok(steered)
    }

    /// Ends the session of a client: its subscriptions, its queue, and its connection if it has one. Its will
    /// is published [MQTT-3.1.2-8].
    ///
    /// # Errors
    /// There is none, or it is a bridge's.
    pub fn forget(&mut self, client_id: &str, now: Time) -> Result<Steered, Unsteered> {
        let (key, steered) = self.steer(client_id)?;
        let core = &mut self.core;
        if let Some(session) = core.sessions.get_mut(key) {
            log::info!(target: NOTICE, "The session of client {client_id} is ended by command.");
            // So it ends with its connection.
            session.expiry = 0;
            let (conn, will) = (
                session.conn,
                session.will.take_if(|_| session.conn.is_none()),
            );
            if let Some(c) = conn {
                close(core, c, Reason::ADMINISTRATIVE_ACTION, now);
            } else {
                if let Some(will) = will {
                    publish_will(core, *will, key, now);
                }
                end_session(core, key, now);
            }
        }
        self.settle(now);
        Ok(steered)
    }

    /// The session that is meant, and what waits in it.
    fn steer(&self, client_id: &str) -> Result<(SessionKey, Steered), Unsteered> {
        let sessions = &self.core.sessions;
        let key = sessions.find(client_id).ok_or(Unsteered::Unknown)?;
        let session = sessions.get(key).filter(|session| !session.is_ended());
        let session = session.ok_or(Unsteered::Unknown)?;
        if session.is_bridge() {
            return Err(Unsteered::Bridge);
        }
        let steered = Steered {
            queued: session.outbound.len(),
            queued_bytes: session.outbound.bytes(),
        };
        Ok((key, steered))
    }
}
