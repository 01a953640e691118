//! SIGHUP: other settings and other rules, while clients are connected.

use std::rc::Rc;

use super::{Broker, ConnId};
use crate::auth::Auth;
use crate::config::General;
use crate::message::Origin;
use crate::mqtt::Reason;
use crate::time::Time;

impl Broker {
    /// Takes over what may change while the broker runs: not what the store was opened with, nor
    /// `queue_overflow`, by which queues are kept, nor `max_inflight_messages`, which clients were
    /// told as their receive maximum.
    pub fn reload(&mut self, general: &General, auth: Auth, now: Time) {
        let old = &self.settings;
        self.settings = General {
            persistence: old.persistence,
            store: old.store.clone(),
            commit_interval: old.commit_interval,
            durability: old.durability,
            flash_budget: old.flash_budget,
            queue_overflow: old.queue_overflow,
            max_inflight_messages: old.max_inflight_messages,
            ..general.clone()
        };
        self.set_auth(auth, now);
    }

    /// Puts other rules in force. Clients whose user is gone, and anonymous ones that are no
    /// longer let in, are disconnected; what the others may publish and read changes at once.
    fn set_auth(&mut self, auth: Auth, now: Time) {
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
}
