//! Waiting for sockets: an edge-triggered epoll on the one thread.
//!
//! A descriptor is registered once, for everything: the kernel reports each change, and what is
//! possible is remembered until a read or write finds it used up. So a packet in and out costs a
//! read, a write and a share of one `epoll_wait`. (A reactor that re-arms each wait spends a system
//! call on that, and one shared between threads a hand-over at each turn.)
//!
//! The few descriptors that a task of their own waits for have a [`Source`], which remembers and
//! wakes. Of the many connections nothing is kept here: their changes go to the one task that
//! drives them all ([`Reactor::take_changes`]). What is waited for beside descriptors is a moment:
//! [`Timer`].

mod timer;
mod wait;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

pub(super) use timer::Timer;
use timer::Timers;
use wait::{MAX_WAIT, wait_for_events};
pub use wait::{Waiter, Wanted};

use crate::broker::ConnId;

/// Events taken from the kernel at a time.
const EVENTS: usize = 256;

/// How often the kernel is asked in a row while it has more to tell: for so many times [`EVENTS`]
/// descriptors. It tells of each before it tells of one again.
const ROUNDS: u32 = 256;

/// Stands for the descriptor that ends a wait from another thread. The other event data are the
/// numbers of [`Source`]s, below 2^32 and from 1, and [`ConnId`]s, which are above.
const UNPARK: u64 = 0;

/// What descriptors are registered for.
const EVERYTHING: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// The reactor of the process, and its executor's resting place.
#[derive(Debug)]
pub struct Reactor {
    epoll: OwnedFd,
    unpark: Arc<Unpark>,
    slots: RefCell<Slots>,
    changes: RefCell<Changes>,
    timers: Rc<Timers>,
    /// Tasks that run once the kernel was asked again.
    asking: RefCell<Vec<Waker>>,
    /// How often the kernel was asked for all that had happened.
    asks: Cell<u64>,
    /// All that had happened by then was told.
    asked: Cell<Instant>,
    /// When the last wait was over.
    woken: Cell<Instant>,
}

/// What happened to connections since it was last asked, and who asks.
#[derive(Debug, Default)]
struct Changes {
    list: Vec<(ConnId, Readiness)>,
    waker: Option<Waker>,
    /// The one who asks has more to do, also if nothing happens.
    again: bool,
}

/// What can be done with a socket now; or, from [`Reactor::take_changes`], what more can be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The peer has ended its side, or there is an error: reads never run dry any more.
    pub ended: bool,
}

impl Readiness {
    fn of(flags: EventFlags) -> Readiness {
        let broken = EventFlags::HUP | EventFlags::ERR;
        let ended = flags.intersects(EventFlags::RDHUP | broken);
        Readiness {
            readable: ended || flags.contains(EventFlags::IN),
            writable: flags.intersects(EventFlags::OUT | broken),
            ended,
        }
    }

    /// Takes in what more can be done.
    pub(super) fn add(&mut self, more: Readiness) {
        self.readable |= more.readable;
        self.writable |= more.writable;
        self.ended |= more.ended;
    }

    /// A read has taken all there was.
    pub(super) fn read_dry(&mut self) {
        // After the end no event comes that would set it again.
        self.readable = self.ended;
    }
}

/// What is known about the descriptors of tasks, by numbers that are not used again: an event that
/// comes late finds nothing.
#[derive(Debug, Default)]
struct Slots {
    by_number: HashMap<u32, Slot>,
    last: u32,
}

impl Slots {
    fn add(&mut self) -> u32 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if let Entry::Vacant(place) = self.by_number.entry(self.last) {
                place.insert(Slot::default());
                return self.last;
            }
        }
    }
}

/// What is known about one descriptor of a task.
#[derive(Debug, Default)]
struct Slot {
    waker: Option<Waker>,
    ready: Readiness,
}

/// Ends a wait. Wakes from the waiting thread itself cost no system call.
#[derive(Debug)]
struct Unpark {
    event: OwnedFd,
    notified: AtomicBool,
    parked: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notified.store(true, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            // Full means that the wait has been ended 2^64 times over.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Reactor {
    /// A reactor without descriptors.
    ///
    /// # Errors
    /// When the system is out of descriptors or memory.
    pub fn new() -> io::Result<Rc<Reactor>> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &event, EventData::new_u64(UNPARK), edge)?;
        Ok(Rc::new(Reactor {
            epoll,
            unpark: Arc::new(Unpark {
                event,
                notified: AtomicBool::new(false),
                parked: AtomicBool::new(false),
            }),
            slots: RefCell::default(),
            changes: RefCell::default(),
            timers: Rc::default(),
            asking: RefCell::default(),
            asks: Cell::new(0),
            asked: Cell::new(Instant::now()),
            woken: Cell::new(Instant::now()),
        }))
    }

    /// Watches `descriptor`, which must be non-blocking, until the [`Source`] is dropped.
    ///
    /// # Errors
    /// When the system is out of watches or memory.
    pub(super) fn register(self: &Rc<Self>, descriptor: impl AsFd) -> io::Result<Source> {
        let number = self.slots.borrow_mut().add();
        let source = Source {
            reactor: Rc::clone(self),
            number,
        };
        let data = EventData::new_u64(number.into());
        epoll::add(&self.epoll, descriptor, data, EVERYTHING)?;
        Ok(source)
    }

    /// Watches the non-blocking socket of the connection `id` until it is closed. What can be done
    /// with it from the start comes as a change, too.
    ///
    /// # Errors
    /// When the system is out of watches or memory.
    pub(super) fn watch(&self, socket: impl AsFd, id: ConnId) -> io::Result<()> {
        let data = EventData::new_u64(id.to_bits());
        match epoll::add(&self.epoll, &socket, data, EVERYTHING) {
            // It was a task's so far.
            Err(Errno::EXIST) => epoll::modify(&self.epoll, &socket, data, EVERYTHING)?,
            other => other?,
        }
        Ok(())
    }

    /// Appends what happened to connections to `changes`, and wakes the current task when more
    /// does. There is one such task.
    pub(super) fn take_changes(&self, changes: &mut Vec<(ConnId, Readiness)>, cx: &Context<'_>) {
        let mut new = self.changes.borrow_mut();
        changes.append(&mut new.list);
        new.waker.get_or_insert_with(|| cx.waker().clone());
    }

    /// Wakes the task of [`Reactor::take_changes`] after the next wait, which then does not sleep: it
    /// has more to do, but what has happened meanwhile comes first, and so do the other tasks.
    pub(super) fn call_again(&self) {
        self.changes.borrow_mut().again = true;
    }

    /// All that had happened by then was told, to tasks and in [`Reactor::take_changes`].
    pub(super) fn asked(&self) -> Instant {
        self.asked.get()
    }

    /// When the last wait was over.
    pub(super) fn woken(&self) -> Instant {
        self.woken.get()
    }

    /// Lets the kernel be asked once more for all that has happened: what a task hears of by then was
    /// there when this was called.
    pub(super) async fn ask(&self) {
        let asks = self.asks.get();
        poll_fn(|cx| {
            if self.asks.get() != asks {
                return Poll::Ready(());
            }
            self.asking.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// A timer that comes at `at`; never, if there is no such moment.
    pub(super) fn timer_at(&self, at: Option<Instant>) -> Timer {
        Timer::new(&self.timers, at)
    }

    /// A timer that comes after `duration`; never, if that is beyond what the clock can count.
    pub(super) fn timer_after(&self, duration: Duration) -> Timer {
        self.timer_at(Instant::now().checked_add(duration))
    }

    /// Runs `future`, and waits for events whenever it has nothing to do.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&self.unpark));
        let mut cx = Context::from_waker(&waker);
        let mut events = Vec::with_capacity(EVENTS);
        self.woken.set(Instant::now());
        loop {
            self.unpark.notified.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            self.wait(&mut events);
        }
    }

    /// Waits for events or the first timer, and wakes whom they concern. Does not wait when a task is
    /// ready or asks.
    fn wait(&self, events: &mut Vec<epoll::Event>) {
        self.unpark.parked.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let is_busy = self.unpark.notified.load(Ordering::SeqCst)
            || self.changes.borrow().again
            || !self.asking.borrow().is_empty();
        let timeout = if is_busy {
            Duration::ZERO
        } else {
            let first = self.timers.first();
            first.map_or(MAX_WAIT, |at| at.saturating_duration_since(begun))
        };
        if self.collect(events, timeout) {
            // What came while it slept may be told or not.
            self.asked.set(begun);
            self.asks.set(self.asks.get().wrapping_add(1));
        }
        self.unpark.parked.store(false, Ordering::SeqCst);
        self.woken.set(Instant::now());
        for waker in self.asking.take() {
            waker.wake();
        }
        // After the others: its turn is to come last.
        let mut changes = self.changes.borrow_mut();
        let again = std::mem::take(&mut changes.again) || !changes.list.is_empty();
        if let Some(waker) = changes.waker.as_ref().filter(|_| again) {
            waker.wake_by_ref();
        }
        drop(changes);
        self.timers.ring(self.woken.get());
    }

    /// Takes what has happened from the kernel, and waits for the first of it. True if that was all:
    /// whoever has many sockets must not hide from it what the others sent before.
    fn collect(&self, events: &mut Vec<epoll::Event>, mut timeout: Duration) -> bool {
        for _ in 0..ROUNDS {
            // Only a signal interrupts; what it wants comes through a descriptor.
            if wait_for_events(&self.epoll, events, timeout).is_err() {
                return false;
            }
            for event in events.iter() {
                self.dispatch(event.data.u64(), Readiness::of(event.flags));
            }
            if events.len() < events.capacity() {
                return true;
            }
            timeout = Duration::ZERO;
        }
        false
    }

    fn dispatch(&self, data: u64, more: Readiness) {
        if let Ok(number) = u32::try_from(data) {
            // The unpark event has no slot.
            if let Some(slot) = self.slots.borrow_mut().by_number.get_mut(&number) {
                slot.happened(more);
            }
        } else if let Some(id) = ConnId::from_bits(data) {
            self.changes.borrow_mut().list.push((id, more));
        }
    }
}

impl Slot {
    fn happened(&mut self, more: Readiness) {
        let wake = more.readable || more.writable && !self.ready.writable;
        self.ready.add(more);
        if wake && let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// A task's registered descriptor. Drop it together with the descriptor, or where that becomes a
/// connection's ([`Reactor::watch`]): closing is what ends the registration.
#[derive(Debug)]
pub(super) struct Source {
    reactor: Rc<Reactor>,
    number: u32,
}

impl Source {
    /// Ready while a read may find something; otherwise wakes the task once that is so.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |ready| ready.readable)
    }

    /// Ready while a write may be taken; otherwise wakes the task once that is so.
    pub(super) fn poll_writable(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |ready| ready.writable)
    }

    fn poll(&self, cx: &Context<'_>, possible: impl Fn(&Readiness) -> bool) -> Poll<()> {
        let mut slots = self.reactor.slots.borrow_mut();
        let Some(slot) = slots.by_number.get_mut(&self.number) else {
            return Poll::Pending;
        };
        if !slot.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        if possible(&slot.ready) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// A read has taken all there was.
    pub(super) fn read_dry(&self) {
        if let Some(slot) = self
            .reactor
            .slots
            .borrow_mut()
            .by_number
            .get_mut(&self.number)
        {
            slot.ready.read_dry();
        }
    }

    /// A write was not taken whole.
    pub(super) fn write_full(&self) {
        if let Some(slot) = self
            .reactor
            .slots
            .borrow_mut()
            .by_number
            .get_mut(&self.number)
        {
            slot.ready.writable = false;
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut slots = self.reactor.slots.borrow_mut();
        slots.by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
