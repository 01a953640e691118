//! Many peers that each send half a packet, through real sockets; and the bound by itself.

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use socket2::Socket;

use super::{HalfPackets, LIMIT, SMALL, Sender};
use crate::auth::Auth;
use crate::broker::{Address, Broker};
use crate::config::Config;
use crate::mqtt::{Connect, Packet, Props, Version, encode};
use crate::net::channel::Handshakes;
use crate::net::clock::{Clock, Seen};
use crate::net::conn::Role;
use crate::net::hub::{Hub, Shared};
use crate::net::logins::Logins;
use crate::net::reactor::Reactor;
use crate::net::turn::Turn;
use crate::status::Sys;
use crate::store::{Db, Handle, Location};

/// A hub with an empty store.
pub(in crate::net) fn hub() -> (Rc<Reactor>, Shared) {
    let config = Config::default();
    let (db, loaded) = Db::open(Location::Memory).unwrap();
    let clock = Clock::start(Seen::default());
    let rules = Auth::for_config(&config).unwrap().0;
    let broker = Broker::new(&config, rules, loaded, clock.now());
    let reactor = Reactor::new().unwrap();
    let store = Handle::spawn(db, |_| {}).unwrap();
    let sys = Sys::new(Duration::ZERO, clock.now());
    let general = config.general;
    let threads = (store, Logins::new(|_| ()), Handshakes::new(|_| ()));
    let hub = Hub::new(Rc::clone(&reactor), broker, threads, sys, clock, &general);
    (reactor, hub)
}

/// The CONNECT of a client; `keep_alive` in seconds.
pub(in crate::net) fn connect(name: &str, keep_alive: u16) -> Vec<u8> {
    let connect = Connect {
        version: Version::V311,
        bridge: false,
        clean_start: true,
        keep_alive,
        client_id: name,
        will: None,
        username: None,
        password: None,
        props: Props::EMPTY,
    };
    let mut bytes = Vec::new();
    encode(
        &Packet::Connect(Box::new(connect)),
        Version::V311,
        &mut bytes,
    )
    .unwrap();
    bytes
}

/// A client that is connected and has sent the start of a PUBLISH of `size` bytes.
fn peer(hub: &Shared, name: &str, size: u32) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let socket = Socket::from(std::os::fd::OwnedFd::from(theirs));
    hub.borrow_mut().admit(socket, 0, None, None).unwrap();
    let mut bytes = connect(name, 0);
    bytes.extend(start(size));
    bytes.extend(b"\0\x01t");
    (&ours).write_all(&bytes).unwrap();
    ours
}

/// What the buffers of half packets take, as they are.
fn capacity(hub: &Shared) -> usize {
    let mut hub = hub.borrow_mut();
    let conns = hub.conns.iter_mut().flatten();
    conns.map(|c| c.transport.partial().capacity()).sum()
}

/// Sends from all peers until nobody takes more, the hub's turns in between; returns the most that
/// the buffers took, and how many peers were still connected.
fn flood(count: usize, size: u32) -> (usize, usize) {
    let (reactor, hub) = hub();
    let mut peers: Vec<_> = (0..count)
        .map(|n| (peer(&hub, &format!("c{n}"), size), size as usize - 1000))
        .collect();
    let mut most = 0;
    let mut idle = 0;
    let mut turn = pin!(Turn::new(Rc::clone(&hub)));
    let block = [0; 64 * 1024];
    reactor.block_on(poll_fn(|cx| {
        let _ = turn.as_mut().poll(cx);
        most = most.max(capacity(&hub));
        let mut moved = false;
        for (peer, left) in &mut peers {
            let n = block.len().min(*left);
            if n > 0
                && let Ok(n) = (&*peer).write(&block[..n])
            {
                *left -= n;
                moved = true;
            }
        }
        idle = if moved { 0 } else { idle + 1 };
        cx.waker().wake_by_ref();
        match idle {
            10.. => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
    let open = peers.iter().filter(|(peer, _)| is_open(peer)).count();
    (most, open)
}

fn is_open(mut peer: &UnixStream) -> bool {
    let mut buf = [0; 64];
    loop {
        match peer.read(&mut buf) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn half_packets_of_many_peers_take_no_more_than_the_limit() {
    let (most, open) = flood(8, 30 << 20);
    assert!(most <= LIMIT, "{most}");
    // There is room for two of these, and they get it.
    assert!(most > LIMIT / 2 && open >= 2, "{most}, {open} open");
}

#[test]
fn one_packet_larger_than_the_limit_may_come_at_a_time() {
    let size = 70 << 20;
    let (most, open) = flood(3, size);
    assert!(most <= size as usize + 5, "{most}");
    assert_eq!(open, 1);
}

/// Strangers, who have sent no CONNECT, leave half of the room to those who are known; what is tiny is
/// always kept.
#[test]
fn a_memory_limit_bounds_small_half_packets_too() {
    let mut half = HalfPackets::default();
    half.set_memory_limit(1 << 20);
    let mut table = crate::keys::Table::<_, ()>::default();
    let mut keep = |half: &mut HalfPackets, bytes: usize, sender| {
        let mut buffer = Vec::new();
        let fits = half.append(&mut buffer, &vec![0x10; bytes], sender);
        if fits {
            half.keep(table.insert(()), &buffer);
        }
        fits
    };
    let count = |half: &mut HalfPackets, keep: &mut dyn FnMut(&mut HalfPackets) -> bool| {
        (0..100).filter(|_| keep(half)).count()
    };
    let strangers = count(&mut half, &mut |half| keep(half, SMALL, Sender::Stranger));
    assert_eq!(strangers, (1 << 20) / 8 / SMALL);
    let clients = count(&mut half, &mut |half| keep(half, SMALL, Sender::Client));
    assert_eq!(clients, strangers);
    assert!(keep(&mut half, 1000, Sender::Stranger));
    assert!(keep(&mut half, SMALL, Sender::Upstream));
}

/// A connection that was paused and then used all it had read keeps no buffer, and none that is
/// not counted.
#[test]
fn what_a_pause_kept_is_given_back_when_it_is_used() {
    let (_reactor, hub) = hub();
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut hub = hub.borrow_mut();
    let now = hub.now();
    let id = hub.broker.accept(0, Address::Local, now).unwrap();
    let theirs = std::os::fd::OwnedFd::from(theirs);
    let connect = connect("c", 0);
    hub.attach(id, Socket::from(theirs), Role::Device, connect)
        .unwrap();
    assert!(hub.half.bytes() > 0);
    hub.drive(id);
    assert_eq!(hub.half.bytes(), 0);
    assert_eq!(hub.conn(id).unwrap().transport.partial().capacity(), 0);
    drop(ours);
}

/// The start of a packet that announces `size` bytes.
pub(in crate::net) fn start(size: u32) -> Vec<u8> {
    let digits = [size, size >> 7, size >> 14, size >> 21].map(|digit| digit as u8 | 0x80);
    let mut bytes = vec![0x30];
    bytes.extend(digits);
    bytes[4] &= 0x7f;
    bytes
}

#[test]
fn a_buffer_grows_with_what_came_and_ends_at_what_was_announced() {
    let half = HalfPackets::default();
    let mut buffer = Vec::new();
    assert!(half.append(&mut buffer, &start(1_000_000), Sender::Client));
    assert!(buffer.capacity() < 100);
    assert!(half.append(&mut buffer, &[0; SMALL], Sender::Client));
    assert!(buffer.capacity() <= 2 * (SMALL + 5));
    while buffer.len() < 1_000_005 {
        let more = (1_000_005 - buffer.len()).min(64 * 1024);
        assert!(half.append(&mut buffer, &vec![0; more], Sender::Client));
    }
    assert!(buffer.capacity() <= 1_000_005);
}

#[test]
fn the_rest_of_a_large_buffer_gives_its_memory_back() {
    let mut buffer = vec![0; 1 << 20];
    super::cut(&mut buffer, (1 << 20) - 100);
    assert!(buffer.len() == 100 && buffer.capacity() <= SMALL);
}
