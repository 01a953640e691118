//! Nothing in an intact frame cuts the link for good.

use fastrand::Rng;

use super::*;
use crate::bridge::{Faults, Remedy};
use crate::mqtt::{self, UnsubAck};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

/// The versions and the bytes of each line of `tests/vectors/malformed.hex`.
fn malformed() -> impl Iterator<Item = (Version, Vec<u8>)> {
    let file = include_str!("../../../tests/vectors/malformed.hex");
    let lines = file
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines.flat_map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let hex = columns[1].split_whitespace();
        let bytes: Vec<u8> = hex.map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
        let of =
            move |v: &Version| columns[0] == "*" || columns[0].contains(&(*v as u8).to_string());
        let versions = VERSIONS.into_iter().filter(of);
        versions.map(|v| (v, bytes.clone())).collect::<Vec<_>>()
    })
}

/// One upstream's bytes on their way: as `net` takes them, in whatever pieces they come.
struct Stream {
    script: Script,
    faults: Faults,
    max: usize,
    unread: Vec<u8>,
    /// What became of the packets, one word each.
    came: Vec<String>,
}

impl Stream {
    fn new(version: Version, max: usize) -> Stream {
        let mut spec = spec(&["a/# both 1"]);
        spec.version = Some(version);
        spec.notifications = false;
        let mut script = Script::new(spec);
        script.dial();
        script.accept(false, &[]);
        Stream {
            script,
            faults: Faults::new("up"),
            max,
            unread: Vec::new(),
            came: Vec::new(),
        }
    }

    /// Takes bytes in. False: the connection is over.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        self.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut self.unread);
        let mut used = self.faults.skip(unread.len());
        let mut goes_on = true;
        while goes_on && used < unread.len() {
            let rest = &unread[used..];
            let version = self.script.link.version();
            let n = match decode(rest, version, self.max) {
                Ok(Some((packet, n))) => {
                    goes_on = self.packet(packet);
                    n
                }
                Ok(None) => break,
                Err(error) => {
                    let now = self.script.now;
                    match self.faults.remedy(rest, version, &error, now) {
                        Remedy::Wait => break,
                        Remedy::Take(n, packet) => {
                            goes_on = self.packet(packet);
                            n
                        }
                        Remedy::Drop(n, unusable) => {
                            let id = unusable.packet.delivery.and_then(|d| d.id());
                            self.came
                                .push(format!("drop {}", id.map_or(0, PacketId::get)));
                            n
                        }
                        Remedy::Pass(n) => {
                            self.came.push("pass".to_owned());
                            n
                        }
                        Remedy::End => {
                            self.came.push("end".to_owned());
                            return false;
                        }
                    }
                }
            };
            used += n;
        }
        self.unread = unread[used..].to_vec();
        goes_on
    }

    fn packet(&mut self, packet: Packet<'_>) -> bool {
        self.came.push(packet.name().to_owned());
        self.script.receive(packet).is_ok()
    }
}

#[test]
fn only_disconnect_and_a_broken_frame_end_the_link() {
    let mut seen = 0;
    for (version, bytes) in malformed() {
        let mut stream = Stream::new(version, 1 << 20);
        let error = decode(&bytes, version, 1 << 20).unwrap_err();
        let goes_on = stream.feed(&bytes);
        let ends = error == mqtt::Error::RemainingLength && !goes_on
            || bytes[0] >> 4 == 14 && stream.came == ["DISCONNECT"];
        assert_eq!(goes_on, !ends, "{version:?} {error}: {bytes:02x?}");
        if !ends && !matches!(error, mqtt::Error::PacketTooLarge { .. }) {
            // The frame of a packet that is only begun is not there yet.
            let is_whole = stream.unread.is_empty();
            assert!(is_whole || stream.came.is_empty(), "{bytes:02x?}");
            if is_whole {
                assert!(stream.feed(&[0xd0, 0]), "{bytes:02x?}");
                assert_eq!(stream.came.last().unwrap(), "PINGRESP", "{bytes:02x?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen} cases");
}

/// A frame of noise, or nearly a packet.
fn noise(rng: &mut Rng, vectors: &[Vec<u8>]) -> Vec<u8> {
    let body: Vec<u8> = match rng.u8(..8) {
        0..4 => vectors[rng.usize(..vectors.len())].clone(),
        4..7 => (0..rng.usize(..40)).map(|_| rng.u8(..)).collect(),
        _ => vec![rng.u8(..); rng.usize(..300_000)],
    };
    let mut body = body;
    for _ in 0..rng.usize(..3) {
        if let Some(byte) = body.get_mut(rng.usize(..8)) {
            *byte = rng.u8(..);
        }
    }
    let mut frame = vec![rng.u8(..)];
    let mut len = body.len();
    while len > 0x7f {
        frame.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    frame.push(len as u8);
    frame.extend(body);
    frame
}

/// Whatever lies in intact frames, in whatever pieces they come: what follows is found.
#[test]
fn no_noise_in_intact_frames_ends_the_link() {
    let mut rng = Rng::with_seed(20_261_201);
    // Without their fixed headers, as far as those have two bytes.
    let vectors: Vec<Vec<u8>> = malformed()
        .map(|(_, b)| b.into_iter().skip(2).collect())
        .collect();
    for version in VERSIONS {
        let mut stream = Stream::new(version, 100_000);
        for _ in 0..1500 {
            let mut frame = noise(&mut rng, &vectors);
            if frame[0] >> 4 == 14 {
                continue;
            }
            frame.extend_from_slice(b"\xb0\x03\xff");
            // An UNSUBACK for nothing, in two pieces with more of it than 3.1.1 allows.
            frame.extend_from_slice(b"\xff\0");
            let mut rest = &frame[..];
            while !rest.is_empty() {
                let most = [1, 5, 4000, 200_000][rng.usize(..4)];
                let n = rng.usize(1..=most).min(rest.len());
                assert!(
                    stream.feed(&rest[..n]),
                    "{version:?}: {:02x?}",
                    &frame[..frame.len().min(60)]
                );
                rest = &rest[n..];
                let held = stream.unread.len();
                assert!(held <= 200_000 + mqtt::FAULTY_HEAD, "{held} bytes held");
            }
            assert!(
                stream.unread.is_empty(),
                "{:02x?}",
                &frame[..frame.len().min(60)]
            );
            stream.came.clear();
            stream.script.out.clear();
        }
    }
}

/// A message that is larger than what is taken is acknowledged by its head, and the rest thrown away
/// as it comes.
#[test]
fn a_message_that_is_too_large_streams_by() {
    let mut stream = Stream::new(Version::V311, 1000);
    let mut frame = vec![0x32, 0x80, 0x80, 0x80, 0x01, 0, 1, b't', 0, 7];
    frame.resize(5 + (1 << 21), b'x');
    let mut most = 0;
    for piece in frame.chunks(1400) {
        assert!(stream.feed(piece));
        most = most.max(stream.unread.len());
    }
    assert!(most < mqtt::FAULTY_HEAD + 1400, "{most} bytes were held");
    assert!(stream.feed(b"\x32\x06\0\x01a\0\x08x"));
    assert_eq!(stream.came, ["drop 7", "PUBLISH"]);
    // A connection that ended in between takes nothing from the next one.
    stream.feed(&frame[..mqtt::FAULTY_HEAD]);
    stream.faults.connected();
    assert!(stream.feed(b"\xd0\0"));
    assert_eq!(stream.came.last().unwrap(), "PINGRESP");
}

/// The limit is there for messages.
#[test]
fn an_answer_is_taken_though_it_is_large() {
    let mut stream = Stream::new(Version::V5, 20);
    let mut props = PropsBuf::new();
    props.push(Property::ReasonString("this is not for you"));
    let ack = Ack {
        id: PacketId::new(9).unwrap(),
        reason: Reason::NOT_AUTHORIZED,
        props: props.as_props(),
    };
    let mut frame = Vec::new();
    mqtt::encode(&Packet::PubAck(ack), Version::V5, &mut frame).unwrap();
    assert!(stream.feed(&frame));
    assert_eq!(stream.came, ["PUBACK"]);
}

fn up(s: &mut Script) {
    s.dial();
    s.accept(true, &[]);
    s.link.unacknowledged(None);
}

/// A filter whose SUBACK says nothing that can be read may be subscribed.
#[test]
fn a_suback_without_a_reason_counts_as_subscribed() {
    let mut v311 = v311(spec(&["a in 1", "b in 1"]));
    v311.notifications = false;
    let mut s = Script::new(v311);
    up(&mut s);
    for reasons in [vec![], vec![Reason(0x82)]] {
        let id = PacketId::new(1 + u16::from(!reasons.is_empty())).unwrap();
        let props = Props::EMPTY;
        let suback = Packet::SubAck(SubAck { id, props, reasons });
        assert_eq!(s.receive(suback), Ok(Step::None));
    }
    s.link.unacknowledged(None);
    assert_eq!(s.wait(), (secs(60), "idle".into()), "nothing is awaited");
    assert_eq!(s.link.take_subscribed(), Some(vec!["a".into()]));
    let refused = [("b".into(), Reason(0x82))];
    assert_eq!(s.link.status().refused, refused);
}

/// A SUBACK that does not come ends one connection, and no other.
#[test]
fn a_missing_suback_cuts_the_link_once() {
    let mut spec = spec(&["a in 1"]);
    spec.notifications = false;
    let mut s = Script::new(spec);
    up(&mut s);
    assert_eq!(s.wait(), (secs(30), "idle".into()), "does it live?");
    assert_eq!(s.sent(), ["PINGREQ"]);
    s.receive(Packet::PingResp).unwrap();
    assert_eq!(s.wait(), (secs(30), "close".into()));
    let broken = Error::Io("broken".into());
    s.lose(&broken, 0);
    for _ in 0..2 {
        up(&mut s);
        assert_eq!(s.wait(), (secs(60), "idle".into()), "a ping, not the end");
        assert_eq!(s.sent(), ["PINGREQ"]);
        assert_eq!(s.link.take_subscribed(), None);
        s.receive(Packet::PingResp).unwrap();
        assert_eq!(s.link.take_subscribed(), Some(vec!["a".into()]));
        s.link.unacknowledged(None);
        assert_eq!(s.wait(), (secs(60), "idle".into()));
        assert_eq!(s.sent(), ["PINGREQ"]);
        s.receive(Packet::PingResp).unwrap();
        s.lose(&broken, 0);
        // A session that is new has to be subscribed again.
        s.dial();
        s.accept(false, &[]);
        s.lose(&broken, 0);
        assert_eq!(s.link.take_subscribed(), Some(vec![]));
    }
}

/// An UNSUBACK without reasons, as that of 3.1.1, ends the subscription.
#[test]
fn an_unsuback_without_a_reason_is_one() {
    let link = Script::new(spec(&["b out 1"])).link;
    let mut s = Script::new(spec(&["b out 1"]));
    s.link = link.with_subscribed(vec!["gone".into()]);
    s.dial();
    let (_, sent) = s.accept(true, &[]);
    assert_eq!(sent[0], "UNSUBSCRIBE 1 gone");
    let unsuback = UnsubAck {
        id: PacketId::new(1).unwrap(),
        props: Props::EMPTY,
        reasons: vec![],
    };
    s.receive(Packet::UnsubAck(unsuback)).unwrap();
    assert_eq!(s.link.take_subscribed(), Some(vec![]));
}

/// On a slow line a large message takes longer than the keep-alive. What the upstream owes comes behind
/// it, and neither that nor a PINGRESP is missed meanwhile.
#[test]
fn a_message_that_takes_long_does_not_cut_the_link() {
    let mut s = Script::new(spec(&[]));
    up(&mut s);
    s.puback(1, Reason::SUCCESS).unwrap();
    let sent = s.now;
    for _ in 0..40 {
        s.pass(secs(10));
        s.link.heard(false, s.now);
        s.link.unacknowledged(Some(sent));
        assert_eq!(s.drive(), "idle");
    }
    s.link.heard(true, s.now);
    s.link.unacknowledged(Some(sent));
    assert_eq!(s.drive(), "idle");
    // Small packets that come all the time are no excuse.
    for n in 0..6 {
        s.pass(secs(10));
        s.link.heard(n % 2 == 0, s.now);
        s.link.unacknowledged(Some(sent));
        let expected = if n < 5 { "idle" } else { "close" };
        assert_eq!(s.drive(), expected, "{n}");
    }
}
