//! Messages that wait in the broker until those before them, which go in pieces, are done.

use std::rc::Rc;

use fastrand::Rng;

use super::Env;
use super::client::Client;
use super::facts;
use super::model::{Publication, Rules};
use crate::broker::ConnId;

/// How many units the filters of a packet may cost to be taken whole, and the receivers of a message.
pub fn portions(rng: &mut Rng, rules: Rules) -> (usize, usize) {
    let filters = [1, 2, 4, 500][rng.usize(..4)];
    // What becomes of a message that finds no room is known only at the end.
    let receivers = if rules.lossy {
        500
    } else {
        [0, 1, 2, 500][rng.usize(..4)]
    };
    (filters, receivers)
}

/// A message that the broker has, and that has not begun to reach anybody.
#[derive(Debug)]
pub struct Waiting {
    conn: ConnId,
    /// The broker's number for the session of its publisher.
    session: Option<u64>,
    publication: Rc<Publication>,
    id: u16,
}

impl Client {
    /// The broker has a message: it was taken, or waits for others.
    pub fn taken_or_waits(&mut self, publication: &Rc<Publication>, id: u16, env: &mut Env) {
        let peer = self.link.as_ref().map(|link| link.peer);
        let conn = peer.filter(|peer| env.world.is_open(*peer));
        let conn = conn.map(|peer| env.world.conn(peer));
        let begun = conn.and_then(|conn| env.world.has_begun(conn));
        match (conn, begun) {
            (Some(conn), Some(false)) => self.waiting.push(Waiting {
                conn,
                session: self.session_number(env),
                publication: Rc::clone(publication),
                id,
            }),
            _ => {
                env.model.spreads = begun.is_some();
                self.taken(publication, id, env);
                env.model.spreads = false;
            }
        }
    }

    fn session_number(&self, env: &Env) -> Option<u64> {
        let is_there = env.world.broker.core.sessions.find(&self.id).is_some();
        is_there.then(|| facts::session_number(&env.world, &self.id))
    }

    /// Looks which messages that waited have begun to reach their receivers, in the order in which they do.
    pub fn find_begun(&mut self, env: &mut Env) {
        for waiting in std::mem::take(&mut self.waiting) {
            if env.world.has_begun(waiting.conn) == Some(false) {
                self.waiting.push(waiting);
                continue;
            }
            env.model.spreads = true;
            if waiting.session == self.session_number(env) {
                self.taken(&waiting.publication, waiting.id, env);
            } else {
                // Its packet id ended with the session.
                env.model.publish(&waiting.publication, None);
            }
            env.model.spreads = false;
        }
    }
}
