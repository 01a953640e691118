//! Logins that are under way, and the connections they are of.

use super::{Crowded, Login, Room};
use crate::broker::connections::{Block, Connections, Stage};
use crate::keys::ConnId;

impl Connections {
    /// A CONNECT waits until its login is looked at. Where all places are taken, one of an address that
    /// is known takes the place of one that is not, which is returned and to be refused.
    ///
    /// # Errors
    /// There is no place.
    pub(crate) fn wait_for_login(
        &mut self,
        c: ConnId,
        login: Login,
        room: Room,
    ) -> Result<Option<ConnId>, Crowded> {
        let Some(conn) = self.table.get(c) else {
            return Ok(None);
        };
        let from = Block::of(conn.address());
        let mut gives_way = None;
        if let Err(crowded) = self.logins.admits(&login, from, room) {
            let last = self.logins.others.last();
            let last = last.filter(|_| login.is_known && crowded == Crowded::All);
            gives_way = Some(last.ok_or(crowded)?);
        }
        if let Some(last) = gives_way {
            self.logins.remove(last);
        }
        self.doors.pass(c);
        if let Some(conn) = self.table.get_mut(c) {
            conn.set_stage(Stage::LoggingIn);
        }
        self.logins.add(c, from, login);
        Ok(gives_way)
    }

    /// Whose login is to be looked at next, and its CONNECT.
    pub(crate) fn next_login(&mut self) -> Option<(ConnId, &[u8])> {
        self.logins.next()
    }

    /// A question is out about a login. The number of the rules that it is asked under.
    pub(crate) fn asked_about_login(&mut self) -> u32 {
        self.logins.out += 1;
        self.logins.rules
    }

    /// What [`Connections::next_login`] has brought needs no question. Its CONNECT.
    pub(crate) fn take_login(&mut self, c: ConnId) -> Option<Vec<u8>> {
        self.logins.remove(c)
    }

    /// A question that was asked under the rules of this number is answered. The CONNECT, if the answer
    /// is one to it.
    pub(crate) fn login_answered(&mut self, c: ConnId, rules: u32) -> Option<Vec<u8>> {
        self.logins.answered(c, rules)
    }

    /// Other rules are in force: what was asked is to be asked again.
    pub(crate) fn login_rules_changed(&mut self) {
        self.logins.rules = self.logins.rules.wrapping_add(1);
    }
}
