//! How a thread waits for descriptors: always by `epoll_wait`, which counts in milliseconds.
//!
//! `poll`, `ppoll` and timer descriptors take a `struct timespec`, and rustix has one of 64 bits for all
//! systems. With musl on 32-bit boards that is not what the system reads: on little-endian MIPS a second
//! has no fraction, on big-endian MIPS it is no second at all. So nothing in footbridge hands a `Timespec`
//! to the system: the one here is turned into milliseconds by rustix before it calls (unless its feature
//! `linux_5_11` is on, which `tests/layering.rs` forbids).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// The longest wait: the system call counts in 31-bit milliseconds. Whoever wants more waits again.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(3600);

/// Takes what has happened into `events`, as much as it has room for, in place of what was there. Waits for the
/// first of it, at most for `timeout` or [`MAX_WAIT`]: in whole milliseconds, more rather than less, so that
/// nobody is woken for the rest of one again and again.
///
/// # Errors
/// A signal has interrupted it, or `epoll` is none.
pub(super) fn wait_for_events(
    epoll: &OwnedFd,
    events: &mut Vec<Event>,
    timeout: Duration,
) -> Result<(), Errno> {
    events.clear();
    let limit = Timespec::try_from(whole_millis(timeout)).unwrap_or_default();
    epoll::wait(epoll, spare_capacity(events), Some(&limit)).map(|_| ())
}

/// Whole milliseconds, and not less than `time`, up to [`MAX_WAIT`].
fn whole_millis(time: Duration) -> Duration {
    let nanos = time.min(MAX_WAIT).as_nanos();
    let millis = u64::try_from(nanos.div_ceil(1_000_000));
    millis.map_or(MAX_WAIT, Duration::from_millis)
}

/// A descriptor that is waited for.
#[derive(Debug)]
pub struct Wanted<'a> {
    descriptor: BorrowedFd<'a>,
    interest: EventFlags,
    /// It is there what was waited for, or the descriptor has ended or failed.
    pub is_ready: bool,
}

impl<'a> Wanted<'a> {
    /// Until there is something to read.
    pub fn readable(descriptor: BorrowedFd<'a>) -> Wanted<'a> {
        Wanted {
            descriptor,
            interest: EventFlags::IN,
            is_ready: false,
        }
    }

    /// Until there is something to read, or a write would be taken.
    pub fn readable_or_writable(descriptor: BorrowedFd<'a>) -> Wanted<'a> {
        let interest = EventFlags::IN | EventFlags::OUT;
        Wanted {
            interest,
            ..Wanted::readable(descriptor)
        }
    }
}

/// Waits for a few descriptors, on a thread that does nothing else meanwhile.
#[derive(Debug)]
pub struct Waiter {
    epoll: OwnedFd,
}

impl Waiter {
    /// A waiter that knows of no descriptor yet.
    ///
    /// # Errors
    /// When the system is out of descriptors or memory.
    pub fn new() -> io::Result<Waiter> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Waiter { epoll })
    }

    /// Waits until one of `wanted` is ready, and notes which are; at most for `timeout`, rounded up to whole
    /// milliseconds, an hour where that is longer or there is none. It may be over earlier for a signal. A
    /// descriptor that was wanted before and is not any more must have been closed.
    ///
    /// # Errors
    /// When the system is out of watches or memory, or a descriptor is none.
    pub fn wait(&self, wanted: &mut [Wanted<'_>], timeout: Option<Duration>) -> io::Result<()> {
        let mut timeout = timeout.unwrap_or(MAX_WAIT);
        for (place, one) in (0..).zip(wanted.iter_mut()) {
            one.is_ready = false;
            let data = EventData::new_u64(place);
            let change = epoll::modify(&self.epoll, one.descriptor, data, one.interest);
            let change = match change {
                Err(Errno::NOENT) => epoll::add(&self.epoll, one.descriptor, data, one.interest),
                change => change,
            };
            match change {
                // A file of a disk can always be read, and is nothing to wait for.
                Err(Errno::PERM) => {
                    one.is_ready = true;
                    timeout = Duration::ZERO;
                }
                change => change?,
            }
        }
        let mut events = Vec::with_capacity(wanted.len().max(1));
        match wait_for_events(&self.epoll, &mut events, timeout) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let place = usize::try_from(event.data.u64()).ok();
            if let Some(one) = place.and_then(|place| wanted.get_mut(place)) {
                one.is_ready = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
