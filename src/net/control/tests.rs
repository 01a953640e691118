use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use smol::LocalExecutor;
use tempfile::TempDir;

use super::server::MOST;
use super::*;
use crate::net::half::tests::hub;
use crate::net::hub::{Shared, let_others_go_first, sleep};
use crate::net::reactor::Reactor;

/// Answers each line by so many pieces with it in them, as it says: "3 x" by x three times.
fn echo(asked: Asked<'_>) -> Answer {
    let (mut left, text) = match asked {
        Asked::TooLong => (1, "too long".to_owned()),
        Asked::Line(line) => {
            let line = String::from_utf8(line.to_vec()).unwrap();
            let (times, text) = line.split_once(' ').unwrap();
            (times.parse().unwrap(), text.to_owned())
        }
    };
    Box::new(move |_| {
        left -= 1;
        Poll::Ready((left >= 0).then(|| format!("{text}\n")))
    })
}

struct World {
    reactor: Rc<Reactor>,
    hub: Shared,
    executor: Rc<LocalExecutor<'static>>,
    folder: TempDir,
}

impl World {
    fn new() -> World {
        let (reactor, hub) = hub();
        let folder = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(&folder.path().join("c"), Access::default()).unwrap();
        let executor = Rc::new(LocalExecutor::new());
        let serve = control(Rc::new(socket), hub.clone(), echo);
        executor.spawn(serve).detach();
        World {
            reactor,
            hub,
            executor,
            folder,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("c")).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Lets the socket be served until `done`.
    fn until(&self, mut done: impl FnMut() -> bool) {
        let hub = self.hub.clone();
        let life = async {
            while !done() {
                let_others_go_first(&hub).await;
                sleep(&hub, Duration::from_millis(1)).await;
            }
        };
        self.reactor.block_on(self.executor.run(life));
    }

    /// What is read until so many bytes have come, or the end.
    fn read(&self, mut from: &UnixStream, count: usize) -> String {
        let mut got = Vec::new();
        self.until(|| {
            let mut chunk = [0; 4096];
            match from.read(&mut chunk) {
                Ok(0) => return true,
                Ok(n) => got.extend_from_slice(&chunk[..n]),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
            got.len() >= count
        });
        String::from_utf8(got).unwrap()
    }
}

#[test]
fn lines_are_answered_one_after_the_other() {
    let world = World::new();
    let mut client = world.connect();
    client.write_all(b"2 a\n1 b\n0 c\n1 ").unwrap();
    assert_eq!(world.read(&client, 6), "a\na\nb\n");
    client.write_all(b"d").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(world.read(&client, usize::MAX), "d\n", "and then the end");
}

#[test]
fn a_line_that_is_too_long_ends_the_connection() {
    let world = World::new();
    let mut client = world.connect();
    let noise = vec![b'x'; 8192];
    let mut sent = 0;
    world.until(|| {
        while sent <= lines::LONGEST {
            match client.write(&noise) {
                Ok(n) => sent += n,
                Err(_) => return false,
            }
        }
        true
    });
    assert_eq!(world.read(&client, 9), "too long\n");
}

/// Who asks for much and never reads is left waiting, and the others are served.
#[test]
fn nobody_waits_for_who_does_not_read() {
    let world = World::new();
    let mut deaf = world.connect();
    deaf.write_all(b"1000000000 deaf\n").unwrap();
    let mut client = world.connect();
    for _ in 0..50 {
        client.write_all(b"1 a\n").unwrap();
        assert_eq!(world.read(&client, 2), "a\n");
    }
}

/// The quietest makes room, so that who asks is served however many are connected.
#[test]
fn connections_have_a_bound() {
    let world = World::new();
    let mut busy = world.connect();
    busy.write_all(b"1 a\n").unwrap();
    assert_eq!(world.read(&busy, 2), "a\n");
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(world.connect());
        busy.write_all(b"1 a\n").unwrap();
        assert_eq!(world.read(&busy, 2), "a\n");
    }
    let mut closed = 0;
    for mut one in idle {
        closed += usize::from(one.read(&mut [0]).is_ok_and(|n| n == 0));
    }
    assert_eq!(closed, 40 + 1 - MOST);
}
