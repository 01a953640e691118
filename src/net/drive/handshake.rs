//! The handshake of TLS: a connection that shakes hands is read here, and the thread that does the
//! arithmetic gives it back.

use std::time::Duration;

use crate::broker::ConnId;
use crate::net::channel::{Step, Stepped, Whose};
use crate::net::hub::Hub;
use crate::net::progress::End;
use crate::net::turn::ready;

/// Who has waited so long for a step of its handshake has its time for the CONNECT anew.
const LONG: Duration = Duration::from_secs(1);

impl Hub {
    /// Reads a part of the handshake of `id`, and has it done.
    pub(in crate::net) fn read_handshake(&mut self, id: ConnId) -> Result<(), End> {
        let mut sealed = std::mem::take(&mut self.sealed);
        let part = self.conn(id).map(|conn| conn.read_handshake(&mut sealed));
        self.sealed = sealed;
        let Some(part) = part.transpose()?.flatten() else {
            self.io += ready::read_cost(0);
            return Ok(());
        };
        self.traffic.bytes_received += part.sealed.len() as u64;
        self.io += ready::read_cost(part.sealed.len());
        let now = self.now();
        let has_begun = self.conn(id).is_some_and(|conn| conn.has_begun_handshake());
        let whose = if has_begun {
            Whose::Begun
        } else if self.broker.is_known_address(id, now) {
            Whose::Known
        } else {
            Whose::Stranger
        };
        let step = Step {
            conn: id,
            part,
            since: now,
        };
        self.listeners_tls.handshakes.take(step, whose);
        self.go_on_with_handshakes();
        Ok(())
    }

    /// A step of a handshake is done.
    pub fn shaken(&mut self, stepped: Stepped) {
        self.listeners_tls.handshakes.done();
        self.go_on_with_handshakes();
        let Stepped {
            conn: id,
            since,
            session,
            end,
        } = stepped;
        let now = self.now();
        if now.since(since) >= LONG {
            // It is not the client that was slow.
            self.broker.touch(id, now);
        }
        let Some(conn) = self.conn(id) else { return };
        let Some(session) = session else {
            return self.detach(id, &End::Asked);
        };
        conn.give_back(session);
        let told = conn.flush();
        let end = end.map_err(End::Tls).and(told);
        if let Err(end) = end {
            return self.detach(id, &end);
        }
        self.write_soon(id);
        // What came with it, or behind it.
        self.make_ready(id);
    }

    fn go_on_with_handshakes(&mut self) {
        let conns = &self.conns;
        let is_there = |id: ConnId| {
            let conn = conns.get(id.slot()).and_then(Option::as_ref);
            conn.is_some_and(|conn| conn.is(id))
        };
        for step in self.listeners_tls.handshakes.go_on(is_there) {
            self.detach(step.conn, &End::Asked);
        }
    }
}
