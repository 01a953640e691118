//! What all connections of the process share: the broker, the sockets, the clock.
//!
//! One [`Hub`] lives on the one thread of logic, behind `Rc<RefCell<…>>`. A task borrows it for one
//! synchronous step and lets go before it waits; nothing here runs another task, so a borrow never
//! meets another.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::channel::{Channel, Handshakes, ListenersTls};
use super::clock::{Clock, wall};
use super::conn::{Conn, Role, SocketOptions, Transport};
use super::half::HalfPackets;
use super::logins::Logins;
use super::progress::End;
use super::reactor::{Reactor, Readiness};
use super::turn::gather::Gathering;
use super::turn::heap::{self, Heap};
use super::turn::ready::{self, Ready};
use super::turn::watch::{Part, Watch};
use super::uplink::{Uplink, status};
use super::web::{Permits, Site, Web};
use crate::broker::{self, Address, Broker, ConnId, Driver, Question};
use crate::config::General;
use crate::held;
use crate::status::{Health, Sys, Traffic};
use crate::store::{Batch, Event, Handle, ReadRequest};
use crate::time::Time;

/// The [`Hub`], as the tasks hold it.
pub type Shared = Rc<RefCell<Hub>>;

/// Waits for `duration`.
pub async fn sleep(hub: &Shared, duration: Duration) {
    let timer = hub.borrow().reactor.timer_after(duration);
    timer.await;
}

/// Waits until `at`; for ever, if there is no such moment.
pub(super) async fn sleep_until(hub: &Shared, at: Option<Instant>) {
    let timer = hub.borrow().reactor.timer_at(at);
    timer.await;
}

/// Waits until the kernel was asked what has happened, and those have been woken whom that concerns: a
/// task with more to do than others are to wait for goes on after that.
pub async fn let_others_go_first(hub: &Shared) {
    let reactor = Rc::clone(hub.borrow().reactor());
    reactor.ask().await;
}

/// One buffer for every read of every connection.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// The state that the tasks of `net` share.
pub struct Hub {
    reactor: Rc<Reactor>,
    /// All logic.
    pub broker: Broker,
    /// The storage thread; `None` once it is being closed.
    store: Option<Handle>,
    /// Who checks passwords.
    pub(super) logins: Logins,
    /// The publisher of `$SYS`.
    pub(super) sys: Sys,
    pub(super) traffic: Traffic,
    /// What the sockets of connections get.
    options: SocketOptions,
    /// Batches handed to the storage thread and not yet durable.
    pub(super) committing: u32,
    /// When the first of them was handed over, or the one before was done.
    pub(super) committing_since: Time,
    /// What /health says of the listeners.
    pub(super) health: Health,
    /// Who may have figures made.
    pub(super) permits: Permits,
    clock: Clock,
    /// This turn's reading of the clock.
    now: Option<Time>,
    /// All that had come by then is taken in, but for what waits on the list of those to drive.
    pub(super) heard: Time,
    pub(super) conns: Vec<Option<Conn>>,
    /// What the kernel says about connections; empty between turns.
    pub(super) changes: Vec<(ConnId, Readiness)>,
    /// Connections to drive.
    pub(super) ready: Ready,
    pub(super) gathering: Gathering,
    /// What reading and writing has cost, in units of work.
    pub(super) io: u64,
    /// Up to where the packet that is decoded next may be of the connection that is driven: its share.
    pub(super) share_end: u64,
    /// The last turn had no time to write all that it should.
    pub(super) is_unwritten: bool,
    /// What was done before this turn's writes.
    pub(super) written_from: Option<u64>,
    /// Measures the turn.
    pub(super) watch: Watch,
    /// When freed memory is given back.
    heap: Heap,
    /// What the half packets of all connections take.
    pub(super) half: HalfPackets,
    /// The links of the bridges.
    pub(super) uplinks: Vec<Uplink>,
    /// The read buffer; taken out while it is in use.
    pub(super) buf: Box<[u8]>,
    /// As `buf`, for what is encrypted; empty without TLS.
    pub(super) sealed: Box<[u8]>,
    /// TLS of the listeners.
    pub(super) listeners_tls: ListenersTls,
    /// Wakes the turn; taken when it has been woken.
    pub(super) turn: Option<Waker>,
}

impl Hub {
    /// A hub around `broker` without connections; `general` says what their sockets get.
    pub fn new(
        reactor: Rc<Reactor>,
        broker: Broker,
        (store, logins, handshakes): (Handle, Logins, Handshakes),
        sys: Sys,
        clock: Clock,
        general: &General,
    ) -> Shared {
        Rc::new(RefCell::new(Hub {
            heard: clock.now(),
            reactor,
            broker,
            store: Some(store),
            logins,
            sys,
            traffic: Traffic::default(),
            options: SocketOptions::of(general),
            committing: 0,
            committing_since: Time::ZERO,
            health: Health::default(),
            permits: Permits::default(),
            clock,
            now: None,
            conns: Vec::new(),
            half: HalfPackets::default(),
            changes: Vec::new(),
            ready: Ready::default(),
            gathering: Gathering::default(),
            io: 0,
            share_end: 0,
            is_unwritten: false,
            written_from: None,
            watch: Watch::new(Instant::now()),
            heap: Heap::default(),
            uplinks: Vec::new(),
            buf: vec![0; READ_BUFFER].into_boxed_slice(),
            sealed: Box::default(),
            listeners_tls: ListenersTls::new(handshakes),
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

    /// What was done since the start, in units of work.
    pub(super) fn work(&self) -> u64 {
        self.broker.work() + self.io
    }

    /// What waits for the sockets.
    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// The clock behind [`Hub::now`].
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Lets the turn come, after all tasks that are ready now.
    pub fn wake_turn(&mut self) {
        if let Some(waker) = self.turn.take() {
            waker.wake();
        }
    }

    /// Takes in a connection that a listener accepted, from `peer` unless it came by a Unix socket;
    /// `site` is what the listener serves over HTTP. One that the broker refuses is closed.
    ///
    /// # Errors
    /// When the system is out of watches or memory.
    pub(super) fn admit(
        &mut self,
        socket: Socket,
        listener: usize,
        site: Option<&Rc<Site>>,
        peer: Option<SocketAddr>,
    ) -> io::Result<()> {
        let now = self.now();
        self.traffic.sockets += 1;
        let peer = peer.map_or(Address::Local, Address::from);
        let Some(id) = self.broker.accept(listener, peer, now) else {
            return Ok(());
        };
        let transport = match site {
            Some(site) => Transport::Web(Box::new(Web::new(Rc::clone(site)))),
            None => Transport::Plain(Vec::new()),
        };
        let channel = self.listeners_tls.channel(socket, listener);
        let attached = self.attach_as(id, channel, Role::Device, transport);
        if let Err(e) = &attached {
            self.broker.closed(id, &e.to_string(), now);
        }
        attached
    }

    /// Makes `socket` the socket of `id`; `transport` may have been read from it already.
    ///
    /// # Errors
    /// As [`Hub::admit`]; nothing is attached then.
    pub(super) fn attach(
        &mut self,
        id: ConnId,
        socket: impl Into<Channel>,
        role: Role,
        transport: impl Into<Transport>,
    ) -> io::Result<()> {
        let channel = socket.into();
        if channel.has_tls() {
            self.make_room_for_sealed();
        }
        self.attach_as(id, channel, role, transport.into())?;
        let place = self.conns.get_mut(id.slot()).and_then(Option::as_mut);
        if let Some(conn) = place {
            self.half.keep(id, conn.transport.partial());
        }
        Ok(())
    }

    /// From now on there is something encrypted to be read.
    pub(super) fn make_room_for_sealed(&mut self) {
        if self.sealed.is_empty() {
            self.sealed = vec![0; READ_BUFFER / 2].into_boxed_slice();
        }
    }

    /// There is no descriptor for one more connection: the oldest without a CONNECT makes room.
    pub(super) fn make_room(&mut self) {
        let now = self.now();
        self.broker.make_room(now);
    }

    /// What sockets get.
    pub(super) fn options(&self) -> SocketOptions {
        self.options
    }

    fn attach_as(
        &mut self,
        id: ConnId,
        channel: Channel,
        role: Role,
        transport: Transport,
    ) -> io::Result<()> {
        self.reactor.watch(channel.socket(), id)?;
        self.options.set(channel.socket(), role);
        let slot = id.slot();
        if self.conns.len() <= slot {
            self.conns.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.conns.get_mut(slot) {
            *place = Some(Conn::new(id, channel, role, transport));
        }
        Ok(())
    }

    /// The connection `id`, if it has a socket.
    pub(super) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.conns.get_mut(id.slot())?.as_mut();
        conn.filter(|conn| conn.is(id))
    }

    /// Takes the connection `id` out, if it has a socket.
    fn take_conn(&mut self, id: ConnId) -> Option<Conn> {
        let place = self.conns.get_mut(id.slot())?;
        place.take_if(|conn| conn.is(id))
    }

    /// Closes the connection at the end of the turn, after what it has to say.
    pub(super) fn end(&mut self, id: ConnId) {
        if let Some(outbox) = self.broker.outbox(id) {
            outbox.close = true;
            self.write_soon(id);
        }
    }

    /// There is something to write to the connection: the end of the turn sees to it.
    pub(super) fn write_soon(&mut self, id: ConnId) {
        self.broker.write_soon(id);
        self.wake_turn();
    }

    /// Forgets the connection, tells the broker, and closes the socket.
    pub(super) fn detach(&mut self, id: ConnId, end: &End) {
        drop(self.take_partial(id));
        let Some(mut conn) = self.take_conn(id) else {
            return;
        };
        let now = self.now();
        if let Some(why) = conn
            .never_came_in(end)
            .filter(|_| !self.broker.is_admitted(id))
        {
            self.broker.not_let_in(id, &why, now);
        }
        if end.is_ours() {
            conn.finish(&mut self.buf);
        }
        let why = end.to_string();
        if let Role::Upstream(index) = conn.role
            && let Some(uplink) = self.uplink(index)
        {
            uplink.moved(conn.take_moved());
            uplink.ended(&end.of_upstream(), now);
            self.judge(index);
        }
        self.broker.closed(id, &why, now);
    }

    /// Takes in what the kernel says about connections.
    pub(super) fn note_changes(&mut self, cx: &Context<'_>) {
        let mut changes = mem::take(&mut self.changes);
        self.reactor.take_changes(&mut changes, cx);
        for (id, more) in changes.drain(..) {
            self.changed(id, more);
        }
        self.changes = changes;
        self.heard = self.clock.time(self.reactor.asked());
    }

    /// When the end of a turn has something to do next.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let times = [
            self.broker.next_timeout(),
            self.sys.next_timeout(),
            self.heap.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    /// The store has finished something.
    pub fn store_event(&mut self, event: Event) {
        let (now, begun) = (self.now(), Instant::now());
        if matches!(event, Event::Committed { .. }) {
            self.committing = self.committing.saturating_sub(1);
            self.committing_since = now;
        }
        self.broker.store_event(event, now);
        self.watch.add_store(begun.elapsed());
    }

    /// SIGHUP: from now on these settings hold.
    pub fn set_general(&mut self, general: &General) {
        let now = self.now();
        self.options = SocketOptions::of(general);
        let interval = Duration::from_secs(general.sys_interval.into());
        self.sys.set_interval(interval, now);
        self.broker.set_general(general, now);
    }

    /// Publishes a line of the log.
    pub fn publish_log(&mut self, topic: &str, line: &str) {
        let now = self.now();
        self.broker.publish_log(topic, line, now);
    }

    /// Hands over what is left to commit and gives the storage thread away, for closing.
    pub fn close_store(&mut self) -> Option<Handle> {
        let now = self.now();
        self.broker.commit_now(now);
        broker::feed_store(self, now);
        self.store.take()
    }

    /// The turn begins.
    pub(super) fn begin_watch(&mut self) {
        let woken = self.reactor().woken();
        self.watch.begin(woken, Instant::now());
    }

    /// The time since the last call was spent on `part` of the turn.
    pub(super) fn lap(&mut self, part: Part) {
        self.watch.lap(part, Instant::now());
    }

    /// True once no connection is open and no batch on its way to the disk.
    pub fn is_quiet(&self) -> bool {
        self.committing == 0 && self.conns.iter().all(Option::is_none)
    }
}

/// True while the connection is on the list of those to drive, or its handshake goes on elsewhere.
pub(super) fn is_queued(conns: &[Option<Conn>], id: ConnId) -> bool {
    let conn = conns.get(id.slot()).and_then(Option::as_ref);
    conn.is_some_and(|conn| conn.is(id) && (conn.is_queued() || conn.is_away()))
}

impl Driver for Hub {
    fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn heard(&self, _now: Time) -> Time {
        self.heard
    }

    fn run_timers(&mut self, now: Time) {
        let conns = &self.conns;
        self.broker.tick_unless(now, &|id| is_queued(conns, id));
        self.lap(Part::Timers);
    }

    fn tick(&mut self, now: Time) {
        self.count_volumes(now);
        let uplinks = &self.uplinks;
        let links = |bridge| status(uplinks, bridge);
        self.sys.tick(&mut self.broker, &self.traffic, &links, now);
        if self.heap.is_due(held::all(), self.work(), now) {
            heap::give_back();
        }
        self.lap(Part::Timers);
    }

    fn commit(&mut self, mut batch: Batch) {
        if let Some(store) = &self.store {
            batch.wall = wall().as_millis();
            batch.known = (Time::ZERO + self.listeners_tls.clock().now()).as_millis();
            if self.committing == 0 {
                self.committing_since = self.heard;
            }
            self.committing += 1;
            store.commit(batch);
        }
    }

    fn read(&mut self, request: ReadRequest) {
        if let Some(store) = &self.store {
            store.read(request);
        }
    }

    fn ask(&mut self, question: Question) {
        if let Err(answer) = self.logins.ask(question) {
            self.login_answer(answer);
        }
    }

    fn write(&mut self, id: ConnId, now: Time) {
        self.flush_one(id, now);
        self.lap(Part::Writing(id));
    }

    fn may_write(&mut self) -> bool {
        let done = self.work();
        if self.written_from.is_none() {
            self.lap(Part::Store);
        }
        let from = *self.written_from.get_or_insert(done);
        let has_time = done - from < ready::WRITING;
        self.is_unwritten |= !has_time;
        has_time
    }

    fn resume(&mut self, id: ConnId) {
        self.make_ready(id);
    }
}
