//! What the fuzz target `web` does with an input: it is what a peer of an HTTP listener sends, or the
//! upstream of a bridge, in pieces. Whatever it is, what is written stays valid HTTP and WebSocket, and
//! little is kept.

use std::rc::Rc;

use super::client::Head;
use super::frames::{self, Frames, Over};
use super::http::Rules;
use super::{Permits, Site, Web};
use crate::broker::Outbox;

/// A request that becomes a WebSocket.
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// The first byte says whether a request comes first that upgrades, the second how long the pieces
/// are; the rest is what is sent.
pub fn run(input: &[u8]) {
    let Some((&[flags, step], sent)) = input.split_first_chunk() else {
        return;
    };
    if flags & TO_SERVER != 0 {
        return to_server(sent.chunks(usize::from(step).max(1)));
    }
    let rules = Rules {
        upgrades: flags & 1 == 0,
        files: flags & 2 != 0,
        page: flags & PAGE != 0,
        origins: (flags & 4 != 0).then(|| vec!["http://x".to_owned()]),
    };
    // No such folder: that the files in it are found is another test.
    let root = rules.files.then(|| "/nowhere".into());
    let mut web = Web::new(Rc::new(Site {
        is_http: false,
        rules,
        root,
    }));
    let mut outbox = Outbox::default();
    let mut peer = Peer::default();
    if flags & 8 != 0 {
        assert_eq!(web.take(&mut UPGRADE.to_vec()), 0);
    }
    for piece in sent.chunks(usize::from(step).max(1)) {
        let mut bytes = piece.to_vec();
        let n = web.take(&mut bytes);
        assert!(n <= piece.len());
        if web.asked().is_some() {
            let permit = Permits::default().next().expect("the first");
            web.tell("200 OK", "text/plain", "figures".to_owned(), permit);
        }
        // The broker says as much as it hears.
        outbox.buffer().extend_from_slice(&bytes[..n]);
        peer.expected += n;
        if flags & 16 != 0 {
            peer.read(&mut web, &mut outbox, usize::from(step) + 1);
        }
    }
    outbox.close = web.over().is_some() || flags & 32 != 0;
    peer.read(&mut web, &mut outbox, usize::MAX);
    peer.check(&web);
}

/// In the first byte: the listener has the status page.
const PAGE: u8 = 128;

/// In the first byte: the input is what an upstream sends.
const TO_SERVER: u8 = 64;

/// An upstream answers a bridge, and then sends frames. What comes as MQTT goes back, and comes back as it was.
fn to_server<'a>(pieces: impl Iterator<Item = &'a [u8]>) {
    let (mut web, mut outbox, mut head) = (Web::to_server(), Outbox::default(), Head::default());
    let mut server = Frames::new(frames::Peer::Client);
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    let mut is_head = true;
    let mut bring = |web: &mut Web, outbox: &mut Outbox| {
        loop {
            let parts = web.parts(outbox);
            let mut came: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
            if came.is_empty() {
                return server.over();
            }
            web.advance(came.len(), outbox);
            let n = server.take(&mut came);
            got.extend_from_slice(&came[..n]);
        }
    };
    for piece in pieces {
        // A head that is none is the end of it.
        is_head = is_head && matches!(head.take(piece), Ok(None));
        let mut bytes = piece.to_vec();
        let n = web.take(&mut bytes);
        outbox.buffer().extend_from_slice(&bytes[..n]);
        sent.extend_from_slice(&bytes[..n]);
        assert_eq!(
            bring(&mut web, &mut outbox),
            None,
            "a frame that a server refuses"
        );
    }
    outbox.close = true;
    assert!(matches!(
        bring(&mut web, &mut outbox),
        Some(Over::Closed(_))
    ));
    assert!(sent == got && outbox.is_empty());
}

/// What the peer has got.
#[derive(Default)]
struct Peer {
    bytes: Vec<u8>,
    /// Bytes of MQTT that were written to it.
    expected: usize,
}

impl Peer {
    /// Takes all there is, `step` bytes at most at a time.
    fn read(&mut self, web: &mut Web, outbox: &mut Outbox, step: usize) {
        loop {
            let parts = web.parts(outbox);
            let came: Vec<u8> = parts
                .iter()
                .flat_map(|part| part.to_vec())
                .take(step)
                .collect();
            if came.is_empty() {
                return self.read_body(web, step);
            }
            web.advance(came.len(), outbox);
            self.bytes.extend(came);
        }
    }

    /// Takes what goes out behind the head.
    fn read_body(&mut self, web: &mut Web, step: usize) {
        let Some(body) = web.body() else {
            return;
        };
        let mut buf = vec![0; step.min(1000)];
        while body.left() > 0 {
            let n = body.read(&mut buf).expect("no file");
            assert!(n > 0, "a body that ends before its end");
            self.bytes.extend_from_slice(&buf[..n]);
            body.advance(n);
        }
        web.end_body();
    }

    /// What came is a response, and behind one that upgrades it is frames.
    fn check(&self, web: &Web) {
        let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(self.bytes.is_empty(), "no whole head: {:?}", self.bytes);
            return;
        };
        assert!(self.bytes.starts_with(b"HTTP/1.1 "));
        if !self.bytes.starts_with(b"HTTP/1.1 101 ") {
            assert!(web.is_answered() || web.refused().is_some());
            return;
        }
        let (mut rest, mut payload, mut closed) = (&self.bytes[end + 4..], 0, false);
        while let [first, second, after @ ..] = rest {
            assert!(!closed, "a frame behind the last");
            let (len, after) = match (second, after) {
                (126, [a, b, after @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), after),
                (127, _) => panic!("nothing is that long"),
                (len, after) => (usize::from(*len), after),
            };
            match first {
                0x82 => payload += len,
                0x88 => closed = true,
                0x8A => {}
                other => panic!("a frame {other:#x}"),
            }
            rest = after.get(len..).expect("a whole frame");
        }
        assert!(rest.is_empty(), "half a header");
        assert_eq!(payload, self.expected);
        if let Some(Over::Closed(_) | Over::Broken(..)) = web.over() {
            assert!(closed, "no answer to the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    /// Inputs that are the same in every run: noise, and frames with a valid beginning.
    #[test]
    fn any_requests_and_frames() {
        let mut rng = Rng::with_seed(1);
        for n in 0..20_000 {
            let mut input = vec![rng.u8(..), rng.u8(..)];
            for _ in 0..rng.usize(..6) {
                let len = rng.u8(..20);
                if n % 2 == 0 {
                    let first = [0x82, 0x02, 0x80, 0x89, 0x8A, 0x88, 0x81][rng.usize(..7)];
                    // A server does not mask.
                    match input[0] & super::TO_SERVER {
                        0 => input.extend([first, 0x80 | len, 1, 2, 3, 4]),
                        _ => input.extend([first, len]),
                    }
                }
                input.extend((0..len).map(|_| rng.u8(..)));
            }
            super::run(&input);
        }
    }
}
