//! From bytes read to MQTT, and from the outbox to bytes written.

use std::rc::Rc;

use proptest::prelude::*;

use super::frames::{Code, Frames, Over, Peer};
use super::http::Rules;
use super::{MASKED, Site, Web};
use crate::broker::Outbox;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A client's frame: `first` is FIN, the reserved bits and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ ..126 => out.push(0x80 | len as u8),
        len @ ..65_536 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, k)| b ^ k));
    out
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(0x82, payload)
}

/// What comes out of `bytes` when they are read at most `step` at a time.
fn payload_of(frames: &mut Frames, bytes: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(step) {
        let mut chunk = chunk.to_vec();
        let n = frames.take(&mut chunk);
        out.extend_from_slice(&chunk[..n]);
    }
    out
}

fn over(bytes: &[u8]) -> Option<(u16, &'static str)> {
    let mut frames = Frames::new(Peer::Client);
    frames.take(&mut bytes.to_vec());
    frames.over().map(|over| match over {
        Over::Closed(code) => (code.map_or(0, |code| code.0), ""),
        Over::Broken(code, rule) => (code.0, rule),
    })
}

/// RFC 6455 §5.7: a masked "Hello", as a text message there and a binary one here.
#[test]
fn the_masked_example_of_the_rfc() {
    let hello = b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(
        payload_of(&mut Frames::new(Peer::Client), hello, 100),
        b"Hello"
    );
    // [MQTT-6.0.0-1]: it is a text frame.
    let text = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(over(text), Some((1003, "a text frame")));
}

#[test]
fn a_masked_ping_is_answered_with_what_it_carries() {
    let mut frames = Frames::new(Peer::Client);
    assert_eq!(payload_of(&mut frames, &frame(0x89, b"Hello"), 3), b"");
    assert_eq!(frames.take_pong().as_deref(), Some(&b"Hello"[..]));
    assert_eq!(frames.take_pong(), None);
}

proptest! {
    /// [MQTT-6.0.0-2]: packets may span frames, frames may hold many, fragments and control frames
    /// may come in between, and a read may end at any byte.
    #[test]
    fn payload_is_the_same_however_it_is_cut(
        pieces in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..300), 1usize..4, any::<bool>()), 0..6),
        step in 1usize..70,
    ) {
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for (payload, fragments, ping) in &pieces {
            sent.extend_from_slice(payload);
            let size = payload.len().div_ceil(*fragments).max(1);
            let mut chunks = payload.chunks(size).peekable();
            let mut opcode = 2;
            if payload.is_empty() {
                wire.extend(binary(b""));
            }
            while let Some(chunk) = chunks.next() {
                let fin = if chunks.peek().is_none() { 0x80 } else { 0 };
                wire.extend(frame(fin | opcode, chunk));
                opcode = 0;
                if *ping {
                    wire.extend(frame(0x89, b"p"));
                    wire.extend(frame(0x8a, b""));
                }
            }
        }
        let mut frames = Frames::new(Peer::Client);
        prop_assert_eq!(payload_of(&mut frames, &wire, step), sent);
        prop_assert_eq!(frames.over(), None);
    }

    /// Whatever comes, nothing panics, and no more comes out than went in.
    #[test]
    fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), step in 1usize..50) {
        let out = payload_of(&mut Frames::new(Peer::Client), &bytes, step);
        prop_assert!(out.len() <= bytes.len());
        let mut web = web();
        for chunk in bytes.chunks(step) {
            web.take(&mut chunk.to_vec());
        }
    }
}

#[test]
fn lengths_of_all_three_forms() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        for step in [7, 4096] {
            assert_eq!(
                payload_of(&mut Frames::new(Peer::Client), &binary(&payload), step),
                payload
            );
        }
    }
}

#[test]
fn what_breaks_the_rules_is_told_with_its_code() {
    let mut second = frame(0x02, b"a");
    second.extend(binary(b"b"));
    for (bytes, code) in [
        // RFC 6455 §5.1: unmasked.
        (b"\x82\x05Hello".to_vec(), 1002),
        // §5.2: reserved bits (permessage-deflate sets the first) and opcodes.
        (frame(0xc2, b""), 1002),
        (frame(0xa2, b""), 1002),
        (frame(0x92, b""), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8b, b""), 1002),
        // §5.4: continuation of nothing, message within a message.
        (frame(0x80, b"x"), 1002),
        (second, 1002),
        // §5.5: control frames in fragments or longer than 125 bytes.
        (frame(0x09, b""), 1002),
        (frame(0x89, &[0; 126]), 1002),
        // §5.2: lengths not in the shortest form, or negative.
        (b"\x82\xfe\x00\x7d".to_vec(), 1002),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff".to_vec(), 1002),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00".to_vec(), 1002),
        // Longer than MQTT's longest packet: told from the header.
        (b"\x82\xff\x00\x00\x00\x00\x10\x00\x00\x05".to_vec(), 1009),
        // §5.5.1: half a code, codes that no frame may carry, a reason that is no text.
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, &1005u16.to_be_bytes()), 1002),
        (frame(0x88, &999u16.to_be_bytes()), 1002),
        (frame(0x88, &5000u16.to_be_bytes()), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1002),
    ] {
        let over = over(&bytes);
        assert_eq!(
            over.map(|(code, _)| code),
            Some(code),
            "{bytes:02x?}: {over:?}"
        );
        assert!(
            over.is_some_and(|(_, rule)| !rule.is_empty()),
            "{bytes:02x?}"
        );
    }
    assert_eq!(
        over(b"\x82\xff\x00\x00\x00\x00\x10\x00\x00\x04"),
        None,
        "the longest"
    );
}

#[test]
fn a_close_ends_it_and_what_follows_is_not_read() {
    assert_eq!(over(&frame(0x88, b"")), Some((0, "")));
    assert_eq!(over(&frame(0x88, b"\x03\xe9bye")), Some((1001, "")));
    let mut frames = Frames::new(Peer::Client);
    let wire = [binary(b"a"), frame(0x88, b"\x03\xe8"), binary(b"b")].concat();
    assert_eq!(payload_of(&mut frames, &wire, 1), b"a");
    assert_eq!(frames.over(), Some(Over::Closed(Some(Code::NORMAL))));
}

fn web() -> Web {
    Web::new(Rc::new(Site {
        is_http: false,
        rules: Rules {
            upgrades: true,
            ..Rules::default()
        },
        root: None,
    }))
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Writes everything, at most `step` bytes at a time.
fn written(web: &mut Web, outbox: &mut Outbox, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let bytes: Vec<u8> = web
            .parts(outbox)
            .iter()
            .flat_map(|part| part.to_vec())
            .collect();
        if bytes.is_empty() {
            return out;
        }
        let n = bytes.len().min(step);
        out.extend_from_slice(&bytes[..n]);
        web.advance(n, outbox);
    }
}

/// A web socket whose request was answered.
fn open() -> Web {
    let mut web = web();
    assert_eq!(web.take(&mut REQUEST.as_bytes().to_vec()), 0);
    let response = written(&mut web, &mut Outbox::default(), 1000);
    assert!(response.starts_with(b"HTTP/1.1 101 "));
    assert!(!web.has_output());
    web
}

#[test]
fn request_and_frames_may_come_in_any_cut() {
    let wire = [REQUEST.as_bytes(), &binary(b"MQTT"), &binary(b" here")].concat();
    for step in 1..wire.len() {
        let (mut web, mut out) = (web(), Vec::new());
        // Of a handshake of TLS nothing is left.
        assert_eq!(web.take(&mut []), 0);
        for chunk in wire.chunks(step) {
            let mut chunk = chunk.to_vec();
            let n = web.take(&mut chunk);
            out.extend_from_slice(&chunk[..n]);
        }
        assert_eq!(out, b"MQTT here", "{step}");
        assert_eq!(web.refused(), None);
    }
}

/// A flush is one binary frame [MQTT-6.0.0-1], whatever is added while it goes out.
#[test]
fn a_frame_carries_what_was_there_when_it_began() {
    let mut web = open();
    let mut outbox = Outbox::default();
    outbox.buffer().extend_from_slice(b"abcde");
    assert_eq!(web.parts(&outbox).concat_bytes(), b"\x82\x05abcde");
    web.advance(4, &mut outbox);
    outbox.buffer().extend_from_slice(b"fg");
    web.take(&mut frame(0x89, b"!"));
    // The rest of the frame; only then the pong, and the next frame.
    assert_eq!(written(&mut web, &mut outbox, 2), b"cde\x8a\x01!\x82\x02fg");
    assert!(outbox.is_empty());
}

#[test]
fn frames_of_the_broker_have_lengths_of_all_three_forms() {
    for (len, header) in [
        (125, &b"\x82\x7d"[..]),
        (126, b"\x82\x7e\x00\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ] {
        let (mut web, mut outbox) = (open(), Outbox::default());
        outbox.buffer().resize(len, b'x');
        let out = written(&mut web, &mut outbox, 5000);
        assert_eq!(out.len(), header.len() + len);
        assert!(out.starts_with(header), "{len}");
    }
}

#[test]
fn the_end_is_a_close_frame_behind_all_else() {
    let (mut web, mut outbox) = (open(), Outbox::default());
    outbox.buffer().extend_from_slice(b"x");
    outbox.close = true;
    assert_eq!(
        written(&mut web, &mut outbox, 1),
        b"\x82\x01x\x88\x02\x03\xe8"
    );
    // Once.
    assert_eq!(written(&mut web, &mut outbox, 1), b"");
}

#[test]
fn a_close_is_answered_with_its_code() {
    for (close, answer) in [
        (frame(0x88, b"\x03\xe9gone"), &b"\x88\x02\x03\xe9"[..]),
        (frame(0x88, b""), b"\x88\x00"),
        (b"\x82\x01x".to_vec(), b"\x88\x02\x03\xea"),
    ] {
        let (mut web, mut outbox) = (open(), Outbox::default());
        web.take(&mut close.clone());
        assert!(web.over().is_some());
        outbox.close = true;
        assert_eq!(written(&mut web, &mut outbox, 100), answer);
    }
}

/// What a bridge and a listener of ours say to each other comes over as it is, in whatever pieces; towards
/// the server in masked frames with a bound (RFC 6455 §5.1, §5.3).
#[test]
fn both_ends_of_a_websocket_understand_each_other() {
    for (len, step) in [(1, 1), (125, 7), (40_000, 3000), (100_000, 65_536)] {
        let (mut server, mut client) = (open(), Web::to_server());
        let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        for to_server in [true, false, true] {
            let (from, to) = if to_server {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut outbox = Outbox::default();
            outbox.buffer().extend_from_slice(&payload);
            let wire = written(from, &mut outbox, step);
            assert!(outbox.is_empty() && from.out.capacity() <= 16);
            assert_eq!(wire[1] & 0x80 != 0, to_server);
            let mut got = Vec::new();
            for chunk in wire.chunks(step) {
                let mut chunk = chunk.to_vec();
                let n = to.take(&mut chunk);
                got.extend_from_slice(&chunk[..n]);
            }
            assert!(got == payload && to.over().is_none(), "{len}");
        }
    }
}

/// The outbox holds what is not written, though a copy of it lies masked beside.
#[test]
fn what_a_server_does_not_take_stays_in_the_outbox() {
    let (mut web, mut outbox) = (Web::to_server(), Outbox::default());
    outbox.buffer().resize(50_000, 7);
    let mut written = 0;
    while !outbox.is_empty() {
        let parts = web.parts(&outbox);
        assert!(parts[1].is_empty() && parts[0].len() <= MASKED + 8);
        let (n, before) = (parts[0].len().min(1000), outbox.len());
        assert_eq!(web.advance(n, &mut outbox), before > outbox.len());
        written += before - outbox.len();
    }
    assert_eq!(written, 50_000);
}

#[test]
fn a_server_may_ping_and_close_but_not_mask() {
    let (mut web, mut outbox) = (Web::to_server(), Outbox::default());
    assert_eq!(web.take(&mut b"\x89\x02hi\x02\x01a\x80\x01b".to_vec()), 2);
    let pong = written(&mut web, &mut outbox, 3);
    assert!(pong.len() == 8 && pong.starts_with(b"\x8a\x82"));
    assert_eq!([pong[6] ^ pong[2], pong[7] ^ pong[3]], *b"hi");
    web.take(&mut b"\x88\x02\x03\xe9".to_vec());
    assert_eq!(web.over(), Some(Over::Closed(Some(Code::GOING_AWAY))));
    outbox.close = true;
    let close = written(&mut web, &mut outbox, 100);
    assert!(close.len() == 8 && close.starts_with(b"\x88\x82"));
    let mut web = Web::to_server();
    web.take(&mut binary(b"x"));
    let masked = Over::Broken(Code::PROTOCOL_ERROR, "a frame of a server with a mask");
    assert_eq!(web.over(), Some(masked));
}

#[test]
fn a_request_that_does_not_end_is_bounded() {
    let mut web = web();
    for _ in 0..9 {
        assert_eq!(web.take(&mut [b'a'; 1000]), 0);
    }
    let response = written(&mut web, &mut Outbox::default(), 1000);
    assert!(response.starts_with(b"HTTP/1.1 431 "));
    assert!(web.is_answered() && web.refused().is_some());
    // What comes now is thrown away.
    assert_eq!(web.take(&mut REQUEST.as_bytes().to_vec()), 0);
}

#[test]
fn plain_mqtt_is_told_at_once() {
    let mut web = web();
    assert_eq!(web.take(&mut b"\x10\x0d\x00\x04MQTT".to_vec()), 0);
    let response = written(&mut web, &mut Outbox::default(), 1000);
    assert!(response.starts_with(b"HTTP/1.1 400 "));
}

/// A thousand of them on a router.
#[test]
fn an_open_web_socket_keeps_little() {
    let web = open();
    assert!(size_of::<Web>() <= 176, "{}", size_of::<Web>());
    assert!(web.out.capacity() + web.partial.capacity() <= 16);
}

trait Concat {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl Concat for [std::io::IoSlice<'_>; 2] {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|part| part.to_vec()).collect()
    }
}
