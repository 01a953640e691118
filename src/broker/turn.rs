//! The end of a turn: the one order in which what the broker has to say leaves it, for sockets and
//! for tests.

use super::{Broker, ConnId};
use crate::store::{Batch, ReadRequest};
use crate::time::Time;

/// What drives a broker: the connections before it and the disk behind it.
///
/// A turn is: hand the broker what has come from connections ([`Broker::packet`]) and from the disk
/// ([`Broker::store_event`]), then call [`end_turn`].
pub trait Driver {
    /// The broker that is driven.
    fn broker(&mut self) -> &mut Broker;

    /// Does what else is due at `now`, before the disk gets its batch.
    fn tick(&mut self, _now: Time) {}

    /// Takes `batch` to the disk; [`Broker::store_event`] is to tell when it is there.
    fn commit(&mut self, batch: Batch);

    /// Reads from the disk; [`Broker::store_event`] is to tell what.
    fn read(&mut self, request: ReadRequest);

    /// Writes what it can of the connection's [`Broker::outbox`], closes the connection where that
    /// says so, and tells [`Broker::flushed`] or [`Broker::closed`].
    fn write(&mut self, conn: ConnId, now: Time);

    /// The connection may be read again, if [`Broker::may_read`] still says so.
    fn resume(&mut self, conn: ConnId);
}

/// Ends a turn: does what is due, hands the disk its work, writes once to each connection that has
/// something to be written, and lets those go on that were not to be read. True if there is more
/// to be written or read already, because a write made room: then the next turn is to come at once.
pub fn end_turn(driver: &mut impl Driver, now: Time) -> bool {
    if driver.broker().next_timeout().is_some_and(|due| due <= now) {
        driver.broker().tick(now);
    }
    driver.tick(now);
    feed_store(driver, now);
    for conn in driver.broker().take_dirty() {
        driver.write(conn, now);
    }
    for conn in driver.broker().take_resumed() {
        driver.resume(conn);
    }
    let core = &driver.broker().core;
    core.connections.is_dirty() || core.ledger.has_reads()
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
    /// The driver has something to write to `conn` itself, or may write again: the end of the turn
    /// calls [`Driver::write`].
    pub fn write_soon(&mut self, conn: ConnId) {
        self.core.connections.mark_dirty(conn);
    }
}
