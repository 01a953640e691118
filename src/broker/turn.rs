//! The end of a turn: the one order in which what the broker has to say leaves it, for sockets and
//! for tests.

use std::path::Path;

use super::packets::login;
use super::reload::revoke;
use super::{Answer, Broker, ConnId, Question, pieces};
use crate::auth::Revocation;
use crate::store::{Batch, ReadRequest};
use crate::time::Time;

/// What drives a broker: the connections before it and the disk behind it.
///
/// A turn is: hand the broker what has come from connections ([`Broker::packet`]) and from the disk
/// ([`Broker::store_event`]), then call [`end_turn`].
pub trait Driver {
    /// The broker that is driven.
    fn broker(&mut self) -> &mut Broker;

    /// Until when all that peers have sent was taken in, but for those with more than their share: only by
    /// then a peer was silent.
    fn heard(&self, now: Time) -> Time {
        now
    }

    /// Calls [`Broker::tick`].
    fn run_timers(&mut self, now: Time) {
        self.broker().tick(now);
    }

    /// Does what else is due at `now`, before the disk gets its batch.
    fn tick(&mut self, _now: Time) {}

    /// Takes `batch` to the disk; [`Broker::store_event`] is to tell when it is there.
    fn commit(&mut self, batch: Batch);

    /// Reads from the disk; [`Broker::store_event`] is to tell what.
    fn read(&mut self, request: ReadRequest);

    /// Has a login looked at, by another thread; [`Broker::login_answer`] is to tell what came of it.
    fn ask(&mut self, question: Question);

    /// Writes what it can of the connection's [`Broker::outbox`], closes the connection where that
    /// says so, and tells [`Broker::flushed`] or [`Broker::closed`].
    fn write(&mut self, conn: ConnId, now: Time);

    /// True while the turn may write to one more connection; the next turn goes on with the others.
    fn may_write(&mut self) -> bool {
        true
    }

    /// The connection may be read again, if [`Broker::may_read`] still says so.
    fn resume(&mut self, conn: ConnId);
}

/// Ends a turn: does what is due, hands the disk its work, writes once to each connection that has
/// something to be written, as far as the driver has time, and lets those go on that were not to be
/// read. True if there is more to be done already, because a write made room, the time was up, or work
/// that goes on in pieces is left: then the next turn is to come at once.
pub fn end_turn(driver: &mut impl Driver, now: Time) -> bool {
    let heard = driver.heard(now);
    if driver
        .broker()
        .next_timeout()
        .is_some_and(|due| due <= heard)
    {
        driver.run_timers(heard);
    }
    driver.tick(now);
    feed_store(driver, now);
    while let Some(question) = driver.broker().next_question(now) {
        driver.ask(question);
    }
    // What a write brings about is for the next turn.
    for _ in 0..driver.broker().core.connections.dirty() {
        if !driver.may_write() {
            break;
        }
        if let Some(conn) = driver.broker().core.connections.next_dirty() {
            driver.write(conn, now);
        }
    }
    for conn in driver.broker().take_resumed() {
        driver.resume(conn);
    }
    let core = &driver.broker().core;
    let is_due = pieces::next(core).is_some_and(|at| at <= heard);
    core.connections.dirty() > 0 || core.ledger.has_reads() || is_due
}

/// Hands the disk the batch that is due, and the reads.
pub fn feed_store(driver: &mut impl Driver, now: Time) {
    if let Some(batch) = driver.broker().take_batch(now) {
        driver.commit(batch);
    }
    let reads: Vec<ReadRequest> = driver.broker().take_reads().collect();
    for request in reads {
        driver.read(request);
    }
}

impl Broker {
    /// The login that is to be looked at next, if one is.
    pub(super) fn next_question(&mut self, now: Time) -> Option<Question> {
        let question = login::next_question(&mut self.core, now);
        self.settle(now);
        question
    }

    /// A login was looked at: the client gets its CONNACK, unless it is gone.
    pub fn login_answer(&mut self, answer: Answer, now: Time) {
        login::on_answer(&mut self.core, answer, now);
        self.settle(now);
    }

    /// The program behind the `auth_socket` of this path has taken back what it granted: nobody comes in
    /// by it without a question, and who is in is disconnected, in pieces.
    pub fn revoke(&mut self, path: &Path, revocation: &Revocation, now: Time) {
        revoke::revoke(&mut self.core, path, revocation, now);
        self.settle(now);
    }

    /// The driver has something to write to `conn` itself, or may write again: the end of the turn
    /// calls [`Driver::write`].
    pub fn write_soon(&mut self, conn: ConnId) {
        self.core.connections.mark_dirty(conn);
    }
}
