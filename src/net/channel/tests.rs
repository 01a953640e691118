//! What TLS holds of a peer that does not do its part.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;
use crate::tls::tests::shaken;

fn channel(session: Session) -> (Channel, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let socket = Socket::from(OwnedFd::from(ours));
    (Channel::new(socket, Some(Box::new(session))), peer)
}

fn ready() -> Readiness {
    Readiness {
        readable: true,
        writable: true,
        ..Readiness::default()
    }
}

/// The broker's own bounds see no more of what has left an outbox.
#[test]
fn a_peer_that_reads_nothing_holds_little_and_it_counts() {
    let (_client, server) = shaken();
    let (mut channel, _peer) = channel(server);
    let mut taken = 0;
    let mut ready = ready();
    while let Some(n) = channel.write(&[&[7; 8 * 1024]], &mut ready).unwrap() {
        taken += n;
        assert!(taken < 16 << 20);
    }
    assert!(!ready.writable && channel.holds_output());
    let held = held::of(held::TLS) as usize;
    let most = held::TLS_SESSION + 64 * 1024;
    assert!(
        (held::TLS_SESSION + 8 * 1024..most).contains(&held),
        "{held}"
    );
    drop(channel);
    assert_eq!(held::of(held::TLS), 0);
}

/// A record that announces more than it brings lies there until it is whole, and there is an end to that.
#[test]
fn what_is_for_nobody_is_counted_and_bounded() {
    let (mut client, server) = shaken();
    let (mut channel, mut peer) = channel(server);
    let (mut buf, mut sealed) = (vec![0; 64 * 1024], vec![0; 32 * 1024]);
    let mut read =
        |channel: &mut Channel| channel.read((&mut buf, &mut sealed), 64 * 1024, &mut ready());
    client.seal(&[1; 10_000]);
    let mut record = Vec::new();
    client.write(&mut record).unwrap();
    let (most, end) = record.split_at(9_000);
    peer.write_all(most).unwrap();
    assert_eq!(read(&mut channel).unwrap().unwrap().plain, 0);
    assert_eq!(held::of(held::TLS) as usize, held::TLS_SESSION + 9_000);
    peer.write_all(end).unwrap();
    assert_eq!(read(&mut channel).unwrap().unwrap().plain, 10_000);
    assert!((held::of(held::TLS) as usize) < held::TLS_SESSION + 100);
}

/// What came whole before an end that breaks the rules counts.
#[test]
fn what_comes_before_a_broken_record_is_read() {
    let (mut client, server) = shaken();
    let (mut channel, mut peer) = channel(server);
    let (mut buf, mut sealed) = (vec![0; 64 * 1024], vec![0; 32 * 1024]);
    client.seal(b"DISCONNECT");
    let mut bytes = Vec::new();
    client.write(&mut bytes).unwrap();
    bytes.extend([0x17, 3, 3, 0, 20]);
    bytes.extend([9; 20]);
    peer.write_all(&bytes).unwrap();
    let mut ready = ready();
    let came = channel.read((&mut buf, &mut sealed), 64 * 1024, &mut ready);
    assert_eq!(came.unwrap().unwrap().plain, 10);
    assert!(buf.starts_with(b"DISCONNECT") && ready.readable);
    let end = channel.read((&mut buf, &mut sealed), 64 * 1024, &mut ready);
    assert!(matches!(end, Err(End::Tls(_))), "{end:?}");
}

#[test]
fn a_handshake_has_an_end() {
    let (mut channel, mut peer) = channel(crate::tls::tests::accepting());
    let mut buf = vec![0; 32 * 1024];
    // Whatever becomes of it, here nothing does.
    let mut came = 0;
    let end = loop {
        peer.write_all(&[0x16; 1024]).unwrap();
        match channel.read_handshake(&mut buf, &mut ready()) {
            Ok(part) => {
                let part = part.unwrap();
                came += part.sealed.len();
                channel.give_back(part.session);
            }
            Err(end) => break end,
        }
    };
    assert!(matches!(end, End::BadTls(_)), "{end:?}");
    assert!((LONGEST - 1024..=LONGEST).contains(&came), "{came}");
}
