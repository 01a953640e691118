//! Logins that are under way, and the connections they are of.

use std::hash::BuildHasher;

use zeroize::Zeroizing;

use super::{Crowded, Kind, Login, Room};
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
            let last = self.logins.last_of_others(&login.kind);
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

    /// A question of so many bytes is out about what [`Connections::next_login`] has brought. The number of the rules that
    /// it is asked under; `None` if it is to wait among others, as its kind is another by now.
    pub(crate) fn ask_about_login(&mut self, c: ConnId, question: (&Kind, usize)) -> Option<u32> {
        self.logins.ask(c, question)
    }

    /// How many logins are under way.
    pub(crate) fn logging_in(&self) -> usize {
        self.logins.len()
    }

    /// What [`Connections::next_login`] has brought needs no question. Its CONNECT.
    pub(crate) fn take_login(&mut self, c: ConnId) -> Option<Zeroizing<Vec<u8>>> {
        self.logins.remove(c)
    }

    /// A question of this kind that was asked under the rules of this number is answered. The CONNECT, if
    /// the answer is one to it.
    pub(crate) fn login_answered(
        &mut self,
        c: ConnId,
        kind: &Kind,
        rules: u32,
    ) -> Option<Zeroizing<Vec<u8>>> {
        self.logins.answered(c, kind, rules)
    }

    /// Other rules are in force: what was asked is to be asked again.
    pub(crate) fn login_rules_changed(&mut self) {
        self.logins.rules = self.logins.rules.wrapping_add(1);
    }

    /// A number that nobody can guess, for the client id of a connection that brings none: the same each
    /// time that it is asked for, and another for each `attempt`.
    pub(crate) fn draw(&self, c: ConnId, attempt: u64) -> u128 {
        let half = |n: u8| u128::from(self.logins.drawn.hash_one((c, attempt, n)));
        half(0) << 64 | half(1)
    }
}
