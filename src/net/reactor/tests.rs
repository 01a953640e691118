//! Waiting, through real descriptors.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use smol::LocalExecutor;

use super::*;
use crate::keys::Table;

fn pair(reactor: &Rc<Reactor>) -> (UnixStream, Source, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let source = reactor.register(&near).unwrap();
    (near, source, far)
}

#[test]
fn bytes_that_arrive_later_wake_the_task() {
    let reactor = Reactor::new().unwrap();
    let (mut near, source, mut far) = pair(&reactor);
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        far.write_all(b"x").unwrap();
        far
    });
    reactor.block_on(poll_fn(|cx| source.poll_readable(cx)));
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
    source.read_dry();
    let noop = Context::from_waker(Waker::noop());
    assert!(source.poll_readable(&noop).is_pending());
    drop(writer.join().unwrap());
    reactor.block_on(poll_fn(|cx| source.poll_readable(cx)));
    source.read_dry();
    assert!(
        source.poll_readable(&noop).is_ready(),
        "the end stays readable"
    );
}

#[test]
fn a_full_pipe_becomes_writable_again() {
    let reactor = Reactor::new().unwrap();
    let (mut near, source, mut far) = pair(&reactor);
    while near.write(&[0; 4096]).is_ok() {}
    source.write_full();
    let reader = thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        far.set_nonblocking(true).unwrap();
        while far.read(&mut [0; 65536]).is_ok() {}
        far
    });
    reactor.block_on(poll_fn(|cx| source.poll_writable(cx)));
    assert!(near.write(&[0; 64]).is_ok());
    drop(reader.join().unwrap());
}

#[test]
fn another_thread_ends_the_wait() {
    let reactor = Reactor::new().unwrap();
    let (sender, receiver) = smol::channel::bounded(1);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(30));
        sender.try_send(7).unwrap();
    });
    assert_eq!(reactor.block_on(receiver.recv()), Ok(7));
}

/// Waits for what happens to connections next.
fn next_changes(reactor: &Rc<Reactor>) -> Vec<(ConnId, Readiness)> {
    let mut changes = Vec::new();
    reactor.block_on(poll_fn(|cx| {
        reactor.take_changes(&mut changes, cx);
        if changes.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }));
    changes
}

#[test]
fn a_tasks_socket_becomes_a_connections() {
    let reactor = Reactor::new().unwrap();
    let (near, source, mut far) = pair(&reactor);
    far.write_all(b"x").unwrap();
    reactor.block_on(poll_fn(|cx| source.poll_readable(cx)));
    drop(source);
    let known = Table::<ConnId, ()>::default().insert(());
    reactor.watch(&near, known).unwrap();
    let [(id, more)] = next_changes(&reactor)[..] else {
        panic!("one connection, one change");
    };
    assert_eq!(id, known);
    assert!(more.readable && more.writable && !more.ended, "{more:?}");
    drop(far);
    let [(_, more)] = next_changes(&reactor)[..] else {
        panic!("one connection, one change");
    };
    assert!(more.readable && more.ended, "{more:?}");
}

#[test]
fn after_the_end_reads_never_run_dry() {
    let mut ready = Readiness::default();
    ready.add(Readiness::of(EventFlags::IN));
    ready.read_dry();
    assert_eq!(ready, Readiness::default());
    ready.add(Readiness::of(EventFlags::IN | EventFlags::RDHUP));
    ready.read_dry();
    assert!(ready.readable && !ready.writable);
}

/// A task that always has more to do lets the kernel be asked each time, and comes after those that
/// the kernel wakes.
#[test]
fn what_happens_is_told_before_a_busy_task_goes_on() {
    let reactor = Reactor::new().unwrap();
    let (mut near, source, mut far) = pair(&reactor);
    let executor = LocalExecutor::new();
    let (mut told, mut turns, mut changes) = (0, 0, Vec::new());
    let told_to = Rc::new(Cell::new(0));
    let reader = {
        let told = Rc::clone(&told_to);
        async move {
            loop {
                poll_fn(|cx| source.poll_readable(cx)).await;
                assert_eq!(near.read(&mut [0; 8]).unwrap(), 1);
                source.read_dry();
                told.set(told.get() + 1);
            }
        }
    };
    executor.spawn(reader).detach();
    let by = Rc::clone(&reactor);
    let busy = executor.spawn(poll_fn(move |cx| {
        by.take_changes(&mut changes, cx);
        assert_eq!(told_to.get(), told, "turn {turns}");
        turns += 1;
        if turns == 1000 {
            return Poll::Ready(());
        }
        if turns > 1 {
            far.write_all(b"x").unwrap();
            told += 1;
        }
        by.call_again();
        Poll::Pending
    }));
    reactor.block_on(executor.run(busy));
}

#[test]
fn who_asks_hears_what_was_there_already() {
    let reactor = Reactor::new().unwrap();
    let (_near, source, mut far) = pair(&reactor);
    far.write_all(b"x").unwrap();
    let before = Instant::now();
    let noop = Context::from_waker(Waker::noop());
    assert!(source.poll_readable(&noop).is_pending());
    reactor.block_on(reactor.ask());
    assert!(reactor.asked() >= before);
    assert!(source.poll_readable(&noop).is_ready());
}

/// Whoever has many sockets does not hide from the broker what the others have sent.
#[test]
fn the_kernel_is_asked_until_it_has_told_all() {
    let reactor = Reactor::new().unwrap();
    let mut pairs: Vec<_> = (0..EVENTS + 100).map(|_| pair(&reactor)).collect();
    reactor.block_on(reactor.ask());
    for (_, source, far) in &mut pairs {
        source.read_dry();
        far.write_all(b"x").unwrap();
    }
    reactor.block_on(reactor.ask());
    let noop = Context::from_waker(Waker::noop());
    let told = pairs
        .iter()
        .filter(|(_, s, _)| s.poll_readable(&noop).is_ready());
    assert_eq!(told.count(), pairs.len());
}
