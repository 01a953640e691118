//! What all connections of the process share: the broker, the sockets, the clock.
//!
//! One [`Hub`] lives on the one thread of logic, behind `Rc<RefCell<…>>`. A task borrows it for one
//! synchronous step and lets go before it waits; nothing here runs another task, so a borrow never
//! meets another.

use std::cell::RefCell;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;

use super::clock::Clock;
use super::conn::{Conn, Connection, End, Role};
use super::reactor::Reactor;
use super::stream::{Progress, Stream};
use super::uplink::Uplink;
use crate::broker::{Broker, ConnId, Peer};
use crate::status::Sys;
use crate::store::{Event, Handle};
use crate::time::Time;

/// The [`Hub`], as the tasks hold it.
pub type Shared = Rc<RefCell<Hub>>;

/// One buffer for every read of every connection.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// The state that the tasks of `net` share.
pub struct Hub {
    reactor: Rc<Reactor>,
    /// All logic.
    pub broker: Broker,
    /// The storage thread; `None` once it is being closed.
    store: Option<Handle>,
    /// The publisher of `$SYS`.
    sys: Sys,
    /// `set_tcp_nodelay`.
    nodelay: bool,
    /// Batches handed to the storage thread and not yet durable.
    committing: u32,
    clock: Clock,
    /// This turn's reading of the clock.
    now: Option<Time>,
    pub(super) conns: Vec<Option<Conn>>,
    /// The links of the bridges.
    pub(super) uplinks: Vec<Uplink>,
    /// Connections with output, of this turn.
    pub(super) dirty: Vec<ConnId>,
    /// The read buffer; taken out while it is in use.
    pub(super) buf: Box<[u8]>,
    /// Wakes the end of the turn; taken when it has been woken.
    pub(super) turn: Option<Waker>,
}

impl Hub {
    /// A hub around `broker` without connections.
    pub fn new(
        reactor: Rc<Reactor>,
        broker: Broker,
        store: Handle,
        sys: Sys,
        clock: Clock,
        nodelay: bool,
    ) -> Shared {
        Rc::new(RefCell::new(Hub {
            reactor,
            broker,
            store: Some(store),
            sys,
            nodelay,
            committing: 0,
            clock,
            now: None,
            conns: Vec::new(),
            uplinks: Vec::new(),
            dirty: Vec::new(),
            buf: vec![0; READ_BUFFER].into_boxed_slice(),
            turn: None,
        }))
    }

    /// The moment of this turn. The clock is read once a turn; asking makes sure that the turn has
    /// an end, so that the reading does not grow old.
    pub fn now(&mut self) -> Time {
        self.wake_turn();
        *self.now.get_or_insert_with(|| self.clock.now())
    }

    /// Ends this turn's moment; the next [`Hub::now`] reads the clock.
    pub(super) fn forget_now(&mut self) {
        self.now = None;
    }

    /// What waits for the sockets.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// The clock behind [`Hub::now`].
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Lets the turn's end run after all tasks that are ready now.
    pub fn wake_turn(&mut self) {
        if let Some(waker) = self.turn.take() {
            waker.wake();
        }
    }

    /// Takes in the connection `stream` that a listener accepted. `None`: the broker refuses it,
    /// and the socket closes.
    pub(super) fn admit(
        hub: &Shared,
        stream: Stream,
        listener: usize,
        peer: SocketAddr,
    ) -> Option<Connection> {
        let mut this = hub.borrow_mut();
        let now = this.now();
        let id = this.broker.accept(listener, Peer::Tcp(peer), now)?;
        this.attach(id, stream, Role::Device, Vec::new());
        Some(Connection::new(hub.clone(), id))
    }

    /// Makes `stream` the socket of `id`; `partial` has been read from it already.
    pub(super) fn attach(&mut self, id: ConnId, stream: Stream, role: Role, partial: Vec<u8>) {
        if self.nodelay {
            stream.set_nodelay(true);
        }
        if self.conns.len() <= id.0 {
            self.conns.resize_with(id.0 + 1, || None);
        }
        if let Some(place) = self.conns.get_mut(id.0) {
            *place = Some(Conn::new(stream, role, partial));
        }
    }

    /// The connection `id`, if it has a socket.
    pub(super) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.0)?.as_mut()
    }

    /// Lets the connection's task close it.
    pub(super) fn end(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.end.get_or_insert(End::Asked);
            conn.wake();
        }
    }

    /// Forgets the connection, tells the broker, and closes the socket.
    pub(super) fn detach(&mut self, id: ConnId, end: &End) {
        let Some(conn) = self.conns.get_mut(id.0).and_then(Option::take) else {
            return;
        };
        if matches!(end, End::Asked) {
            conn.stream.finish(&mut self.buf);
        }
        let (now, why) = (self.now(), end.to_string());
        if let Role::Upstream(index) = conn.role
            && let Some(uplink) = self.uplink(index)
        {
            uplink.failed(&why, now);
        }
        self.broker.closed(id, &why, now);
    }

    /// Hands the storage thread the batch that is due, and the reads.
    pub(super) fn feed_store(&mut self, now: Time) {
        let batch = self.broker.take_batch(now);
        let Some(store) = &self.store else {
            return;
        };
        if let Some(batch) = batch {
            self.committing += 1;
            store.commit(batch);
        }
        for request in self.broker.take_reads() {
            store.read(request);
        }
    }

    /// Does what is due by itself.
    pub(super) fn tick(&mut self, now: Time) {
        if self.broker.next_timeout().is_some_and(|due| due <= now) {
            self.broker.tick(now);
        }
        self.sys.tick(&mut self.broker, now);
    }

    /// When [`Hub::tick`] has something to do next.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let times = [self.broker.next_timeout(), self.sys.next_timeout()];
        times.into_iter().flatten().min()
    }

    /// The store has finished something.
    pub fn store_event(&mut self, event: Event) {
        let now = self.now();
        if matches!(event, Event::Committed { .. }) {
            self.committing = self.committing.saturating_sub(1);
        }
        self.broker.store_event(event, now);
    }

    /// SIGUSR1: what waits for its commit does not wait for the interval.
    pub fn commit_now(&mut self) {
        let now = self.now();
        self.broker.commit_now(now);
    }

    /// The broker says goodbye to its clients; the end of the turn writes it.
    pub fn shut_down(&mut self) {
        let now = self.now();
        self.broker.shutdown(now);
    }

    /// Hands over what is left to commit and gives the storage thread away, for closing.
    pub fn close_store(&mut self) -> Option<Handle> {
        let now = self.now();
        self.broker.commit_now(now);
        self.feed_store(now);
        self.store.take()
    }

    /// True once no connection is open and no batch on its way to the disk.
    pub fn is_quiet(&self) -> bool {
        self.committing == 0 && self.conns.iter().all(Option::is_none)
    }

    /// Writes what connections have to say, once each; wakes those that must do something. True
    /// if there is more to write already.
    pub(super) fn flush(&mut self, now: Time) -> bool {
        let mut dirty = mem::take(&mut self.dirty);
        dirty.append(&mut self.broker.take_dirty());
        for id in dirty.drain(..) {
            self.flush_one(id, now);
        }
        // The list keeps its room for the next turn.
        self.dirty = dirty;
        self.dirty.append(&mut self.broker.take_dirty());
        !self.dirty.is_empty()
    }

    /// One write for `id`, of all that its outbox holds. A connection that is to close gets this
    /// one write: what the kernel does not take then, the peer was not reading.
    fn flush_one(&mut self, id: ConnId, now: Time) {
        let Some(conn) = self.conns.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let Some(outbox) = self.broker.outbox(id) else {
            return;
        };
        let mut moved = false;
        if !conn.blocked && !outbox.is_empty() {
            match conn.stream.write(outbox.pending()) {
                Progress::Bytes(n) => {
                    outbox.advance(n);
                    conn.blocked = !outbox.is_empty();
                    moved = true;
                }
                Progress::Blocked => conn.blocked = true,
                // Reading would say so too, but may be held back.
                Progress::Eof => conn.end = Some(End::Eof),
                Progress::Failed(e) => conn.end = Some(End::Failed(e)),
            }
        }
        if outbox.close {
            conn.end.get_or_insert(End::Asked);
        }
        if conn.blocked || conn.end.is_some() {
            conn.wake();
        }
        if moved {
            if let Role::Upstream(index) = conn.role
                && let Some(uplink) = self.uplinks.get_mut(index)
            {
                uplink.sent(now);
            }
            self.broker.flushed(id, now);
        }
    }
}
