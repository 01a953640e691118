use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use futures_lite::future;
use smol::LocalExecutor;

use super::*;
use crate::net::reactor::Reactor;

const SOON: Duration = Duration::from_millis(30);
const FAR: Duration = Duration::from_secs(1000);

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker, and how often it has woken.
fn counting() -> (Waker, impl Fn() -> usize) {
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    (waker, move || count.0.load(Ordering::Relaxed))
}

fn poll(timer: &mut Timer, waker: &Waker) -> Poll<()> {
    Pin::new(timer).poll(&mut Context::from_waker(waker))
}

#[test]
fn it_is_ready_when_due_once_and_not_before() {
    let reactor = Reactor::new().unwrap();
    let begun = Instant::now();
    let (mut timer, mut polls) = (reactor.timer_after(SOON), 0);
    reactor.block_on(poll_fn(|cx| {
        polls += 1;
        Pin::new(&mut timer).poll(cx)
    }));
    assert!(begun.elapsed() >= SOON);
    assert_eq!(polls, 2, "it spins");
    assert_eq!(timer.timers.first(), None);
    let (waker, woken) = counting();
    assert!(poll(&mut timer, &waker).is_pending(), "only once");
    timer.set_after(Duration::ZERO);
    assert!(poll(&mut timer, &waker).is_ready(), "until it is set again");
    assert_eq!(woken(), 0);
}

/// Microseconds that the kernel does not count are waited for in one sleep.
#[test]
fn the_rest_of_a_millisecond_is_not_spun_through() {
    let reactor = Reactor::new().unwrap();
    for micros in [1, 300, 999, 1001] {
        let (mut timer, mut polls) = (reactor.timer_after(Duration::from_micros(micros)), 0);
        reactor.block_on(poll_fn(|cx| {
            polls += 1;
            Pin::new(&mut timer).poll(cx)
        }));
        assert!(polls <= 2, "{polls} polls");
    }
}

#[test]
fn each_wakes_its_own_task_in_the_order_of_time() {
    let reactor = Reactor::new().unwrap();
    let executor = LocalExecutor::new();
    let order = Rc::new(RefCell::new(Vec::new()));
    // Two are due at one moment.
    let base = Instant::now();
    let tasks: Vec<_> = [60, 20, 40, 20, 0]
        .into_iter()
        .map(|millis| {
            let (order, at) = (Rc::clone(&order), base + Duration::from_millis(millis));
            let timer = reactor.timer_at(Some(at));
            executor.spawn(async move {
                timer.await;
                assert!(Instant::now() >= at);
                order.borrow_mut().push(millis);
            })
        })
        .collect();
    let all = async {
        for task in tasks {
            task.await;
        }
    };
    reactor.block_on(executor.run(all));
    assert_eq!(*order.borrow(), [0, 20, 20, 40, 60]);
}

#[test]
fn one_task_may_wait_for_several() {
    let reactor = Reactor::new().unwrap();
    let begun = Instant::now();
    let late = async {
        reactor.timer_after(FAR).await;
        false
    };
    let soon = async {
        reactor.timer_after(SOON).await;
        reactor.timer_after(SOON).await;
        true
    };
    assert!(reactor.block_on(future::or(late, soon)));
    assert!(begun.elapsed() >= 2 * SOON);
    assert_eq!(reactor.timer_at(None).timers.first(), None, "both are gone");
}

#[test]
fn one_that_is_dropped_or_moved_wakes_nobody() {
    let reactor = Reactor::new().unwrap();
    let (waker, woken) = counting();
    let timers = Rc::clone(&reactor.timer_at(None).timers);
    let now = Instant::now();
    let (mut one, mut two) = (reactor.timer_after(FAR), reactor.timer_after(FAR));
    assert!(poll(&mut one, &waker).is_pending());
    assert!(poll(&mut two, &waker).is_pending());
    assert_eq!(timers.waiting.borrow().len(), 2);
    drop(one);
    two.set_at(now + 2 * FAR);
    assert_eq!(timers.first(), Some(now + 2 * FAR));
    // The kernel has ended a wait before its time.
    timers.ring(now + 2 * FAR - Duration::from_nanos(1));
    assert_eq!(woken(), 0);
    assert_eq!(timers.first(), Some(now + 2 * FAR), "it waits on");
    timers.ring(now + 2 * FAR);
    assert_eq!((woken(), timers.first()), (1, None));
}

#[test]
fn never_is_never() {
    let reactor = Reactor::new().unwrap();
    let (waker, _) = counting();
    let mut timer = reactor.timer_after(Duration::MAX);
    assert!(poll(&mut timer, &waker).is_pending());
    timer.set_after(FAR);
    assert!(poll(&mut timer, &waker).is_pending());
    assert!(timer.timers.first().is_some());
    timer.set_after(Duration::MAX);
    assert_eq!(timer.timers.first(), None);
    assert!(poll(&mut reactor.timer_at(None), &waker).is_pending());
}

#[test]
fn another_task_takes_it_over() {
    let reactor = Reactor::new().unwrap();
    let ((one, one_woken), (two, two_woken)) = (counting(), counting());
    let mut timer = reactor.timer_after(FAR);
    assert!(poll(&mut timer, &one).is_pending());
    assert!(poll(&mut timer, &two).is_pending());
    timer.timers.ring(Instant::now() + 2 * FAR);
    assert_eq!((one_woken(), two_woken()), (0, 1));
}

#[test]
fn a_wake_by_some_moment_is_moved_forward_only() {
    let reactor = Reactor::new().unwrap();
    let (waker, woken) = counting();
    let cx = Context::from_waker(&waker);
    let mut timer = reactor.timer_at(None);
    let (timers, now) = (Rc::clone(&timer.timers), Instant::now());
    for (by, first) in [(5, 5), (7, 5), (3, 3), (4, 3)] {
        timer.wake_by(now + by * SOON, &cx);
        assert_eq!(timers.first(), Some(now + first * SOON));
        assert_eq!(timers.waiting.borrow().len(), 1);
    }
    timers.ring(now + 3 * SOON);
    assert_eq!((woken(), timers.first()), (1, None));
    timer.wake_by(now + 4 * SOON, &cx);
    assert_eq!(
        timers.first(),
        Some(now + 4 * SOON),
        "it has rung, and is set anew"
    );
}

/// A task that is woken may end, and its other timers with it.
#[test]
fn a_timer_may_go_while_others_ring() {
    struct Holder(RefCell<Vec<Timer>>);
    // It is told of on one thread only.
    thread_local!(static HOLDER: Holder = const { Holder(RefCell::new(Vec::new())) });
    struct Ends;
    impl Wake for Ends {
        fn wake(self: Arc<Self>) {
            HOLDER.with(|holder| holder.0.borrow_mut().clear());
        }
    }
    let reactor = Reactor::new().unwrap();
    let waker = Waker::from(Arc::new(Ends));
    for _ in 0..3 {
        let mut timer = reactor.timer_after(FAR);
        assert!(poll(&mut timer, &waker).is_pending());
        HOLDER.with(|holder| holder.0.borrow_mut().push(timer));
    }
    let timers = Rc::clone(&reactor.timer_at(None).timers);
    timers.ring(Instant::now() + 2 * FAR);
    assert_eq!(timers.first(), None);
}
