//! Turns with real sockets: what a client that sends all the time leaves to the others.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use super::*;
use crate::held;
use crate::mqtt::{self, PacketId, QoS};
use crate::mqtt::{Delivery, Packet, Props, Publish, Subscribe, Subscription, Version, encode};
use crate::net::half::tests::{connect, hub, start};
use crate::net::half::{CROWDED, READ_WHEN_CROWDED};
use crate::net::hub::READ_BUFFER;
use crate::net::turn::ready::{CONNECTION, TURN, WRITE, write_cost};

/// Takes `count` turns; before each the kernel is asked.
fn take_turns(hub: &Shared, count: usize) {
    let reactor = Rc::clone(hub.borrow().reactor());
    reactor.block_on(reactor.ask());
    let mut turn = pin!(Turn::new(Rc::clone(hub)));
    let mut left = count;
    reactor.block_on(poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        let _ = turn.as_mut().poll(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, Version::V311, &mut bytes).unwrap();
    bytes
}

/// A client that is connected.
fn client(hub: &Shared, name: &str, keep_alive: u16) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let socket = std::os::fd::OwnedFd::from(theirs).into();
    hub.borrow_mut().admit(socket, 0, None, None).unwrap();
    (&ours).write_all(&connect(name, keep_alive)).unwrap();
    take_turns(hub, 2);
    assert_eq!(received(&ours), [0x20, 2, 0, 0]);
    ours
}

/// What the system asks a client with this keep-alive after, and how long it waits for what it has sent.
fn probed(hub: &Shared, keep_alive: u16) -> (Duration, Option<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let seen = socket2::Socket::from(theirs.try_clone().unwrap());
    hub.borrow_mut()
        .admit(theirs.into(), 0, None, None)
        .unwrap();
    assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(300));
    let name = keep_alive.to_string();
    (&ours).write_all(&connect(&name, keep_alive)).unwrap();
    take_turns(hub, 2);
    let idle = seen.tcp_keepalive_time().unwrap();
    (idle, seen.tcp_user_timeout().unwrap())
}

/// A radio that sleeps through its keep-alive is not asked before.
#[test]
fn tcp_keepalive_waits_for_the_keep_alive() {
    let (_, hub) = hub();
    let secs = Duration::from_secs;
    for (keep_alive, idle) in [(0, 300), (60, 300), (7_200, 7_200), (u16::MAX, 32_767)] {
        let found = probed(&hub, keep_alive);
        assert_eq!(found, (secs(idle), Some(secs(idle + 300))), "{keep_alive}");
    }
}

/// One that has subscribed to `t`.
fn subscriber(hub: &Shared, name: &str) -> UnixStream {
    let client = client(hub, name, 0);
    let subscribe = Packet::Subscribe(Subscribe {
        id: PacketId::new(1).unwrap(),
        filters: vec![Subscription::new("t", QoS::AtMostOnce)],
        props: Props::EMPTY,
    });
    (&client).write_all(&bytes(&subscribe)).unwrap();
    take_turns(hub, 2);
    assert_eq!(received(&client), [0x90, 3, 0, 1, 0]);
    client
}

/// So many that a message to them costs more than to be read.
fn twelve_subscribers(hub: &Shared) -> Vec<UnixStream> {
    (0..12).map(|n| subscriber(hub, &n.to_string())).collect()
}

/// What has come.
fn received(mut client: &UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = client.read_to_end(&mut all);
    all
}

/// One read of PUBLISH packets, each with its number; and how many they are.
fn flood() -> (Vec<u8>, u32) {
    let mut all = Vec::new();
    let mut count = 0u32;
    loop {
        let more = bytes(&Packet::Publish(Publish {
            delivery: Delivery::AtMostOnce,
            retain: false,
            topic: "t",
            props: Props::EMPTY,
            payload: &count.to_be_bytes(),
        }));
        if all.len() + more.len() > READ_BUFFER {
            return (all, count);
        }
        all.extend(more);
        count += 1;
    }
}

/// The numbers of the messages that `bytes` are.
fn numbers(mut bytes: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Ok(Some((packet, used))) = mqtt::decode(bytes, Version::V311, usize::MAX) {
        let Packet::Publish(publish) = packet else {
            panic!("{packet:?}");
        };
        numbers.push(u32::from_be_bytes(publish.payload.try_into().unwrap()));
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty());
    numbers
}

#[test]
fn what_is_more_than_a_share_is_done_in_later_turns_in_order() {
    let (_reactor, hub) = hub();
    let subscribers = twelve_subscribers(&hub);
    let sender = client(&hub, "sender", 0);
    let (packets, count) = flood();
    (&sender).write_all(&packets).unwrap();
    let mut got = vec![Vec::new(); subscribers.len()];
    let mut turns = 0u64;
    loop {
        let before = hub.borrow().work();
        take_turns(&hub, 1);
        let mut hub = hub.borrow_mut();
        // One packet to twelve subscribers, which costs 4, and what the writes cost.
        let most = TURN + CONNECTION + 4 + 13 * write_cost(READ_BUFFER);
        assert!(hub.work() - before <= most, "turn {turns}");
        // What is read of it is counted, and nothing lies anywhere else.
        let rest: usize = hub
            .conns
            .iter_mut()
            .flatten()
            .map(|c| c.transport.partial().capacity())
            .sum();
        assert!(rest <= READ_BUFFER && rest == hub.half.bytes());
        for (got, subscriber) in got.iter_mut().zip(&subscribers) {
            got.extend(received(subscriber));
        }
        turns += 1;
        let done: Vec<usize> = got.iter().map(|got| numbers(got).len()).collect();
        assert!(done.iter().all(|n| *n == done[0]), "{done:?}");
        if done[0] == count as usize {
            break;
        }
        assert!(turns < 1000, "{done:?} of {count}");
    }
    assert!(
        turns >= u64::from(count) * 4 / (TURN + CONNECTION),
        "{turns}"
    );
    for got in got {
        assert_eq!(numbers(&got), (0..count).collect::<Vec<_>>());
    }
    assert_eq!(hub.borrow().half.bytes(), 0);
}

/// Those that send more than their share don't fill the memory with what waits for their turn.
#[test]
fn what_waits_for_its_turn_is_little_in_all() {
    let (_reactor, hub) = hub();
    let _subscribers = ["a", "b"].map(|name| subscriber(&hub, name));
    let senders: Vec<_> = (0..60).map(|n| client(&hub, &format!("s{n}"), 0)).collect();
    let (packets, _) = flood();
    for sender in &senders {
        (&*sender).write_all(&packets).unwrap();
    }
    let (mut most, mut turns) = (0, 0);
    while turns < 40 {
        take_turns(&hub, 1);
        most = most.max(hub.borrow().half.bytes());
        turns += 1;
    }
    let limit = CROWDED + READ_BUFFER + senders.len() * READ_WHEN_CROWDED;
    assert!(CROWDED / 2 < most && most <= limit, "{most}");
    assert!(limit < senders.len() * READ_BUFFER / 2);
}

#[test]
fn a_ping_is_answered_in_the_next_turn_however_much_others_send() {
    let (_reactor, hub) = hub();
    let _subscribers = twelve_subscribers(&hub);
    let senders: Vec<_> = (0..20).map(|n| client(&hub, &format!("s{n}"), 0)).collect();
    let quiet = client(&hub, "quiet", 0);
    let (packets, _) = flood();
    for sender in &senders {
        (&*sender).write_all(&packets).unwrap();
    }
    // All of them have come, and one turn is not enough for two.
    take_turns(&hub, 40);
    for _ in 0..5 {
        assert!(!hub.borrow().ready.is_empty());
        (&quiet).write_all(&bytes(&Packet::PingReq)).unwrap();
        take_turns(&hub, 1);
        assert_eq!(received(&quiet), bytes(&Packet::PingResp));
    }
}

/// The broker was held up for longer than the keep-alive, and meanwhile one client has sent its
/// PINGREQ and the other has not.
#[test]
fn a_client_whose_ping_lies_in_the_socket_is_not_silent() {
    let (_reactor, hub) = hub();
    let (lively, silent) = (client(&hub, "lively", 1), client(&hub, "silent", 1));
    (&lively).write_all(&bytes(&Packet::PingReq)).unwrap();
    thread::sleep(Duration::from_millis(2600));
    // The kernel was not asked meanwhile.
    let waker = std::task::Waker::noop();
    let mut turn = pin!(Turn::new(Rc::clone(&hub)));
    let _ = turn.as_mut().poll(&mut Context::from_waker(waker));
    take_turns(&hub, 3);
    assert_eq!(received(&lively), bytes(&Packet::PingResp));
    assert_eq!((&silent).read(&mut [0; 8]).unwrap(), 0, "it is closed");
    assert!((&lively).read(&mut [0; 8]).is_err(), "it is open");
}

/// A receiver of much does not hold up the others, and gets it all.
#[test]
fn an_enormous_outbox_is_written_in_pieces() {
    let (_reactor, hub) = hub();
    let receiver = subscriber(&hub, "receiver");
    let sender = client(&hub, "sender", 0);
    let payload = vec![7; 3 << 20];
    let packet = bytes(&Packet::Publish(Publish {
        delivery: Delivery::AtMostOnce,
        retain: false,
        topic: "t",
        props: Props::EMPTY,
        payload: &payload,
    }));
    let (mut sent, mut got, mut turns) = (0, 0, 0);
    while got < packet.len() {
        if let Ok(n) = (&sender).write(&packet[sent..]) {
            sent += n;
        }
        take_turns(&hub, 1);
        let came = received(&receiver).len();
        assert!(came <= WRITE, "{came} in one turn");
        got += came;
        turns += 1;
        assert!(turns < 10_000, "{got} of {}", packet.len());
    }
    assert_eq!(got, packet.len());
}

/// All that hold much in half packets are known when memory is short, not only the one that holds most.
#[test]
fn each_half_packet_counts_for_its_connection() {
    const LIMIT: u64 = 640 * 1024;
    let (_reactor, hub) = hub();
    let now = hub.borrow_mut().now();
    let general = crate::config::General {
        memory_limit: Some(LIMIT),
        ..crate::config::Config::default().general
    };
    hub.borrow_mut().broker.set_general(&general, now);
    let senders = [("a", 60_000), ("b", 50_000), ("c", 5_000)].map(|(name, size)| {
        let client = client(&hub, name, 0);
        let mut bytes = start(size);
        bytes.resize(size as usize, 0);
        (&client).write_all(&bytes).unwrap();
        take_turns(&hub, 40);
        client
    });
    let left = LIMIT - hub.borrow().broker.memory();
    let _load = held::Charge::<{ held::STORE }>::new(usize::try_from(left).unwrap());
    take_turns(&hub, 40);
    let ends = senders.map(|client| matches!((&client).read(&mut [0; 8]), Ok(0)));
    assert_eq!(ends, [true, true, false]);
}
