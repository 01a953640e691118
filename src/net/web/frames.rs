//! WebSocket framing (RFC 6455 §5), sans-io: raw bytes in, payload out, in place.
//!
//! Payload streams: it is handed on as it arrives, however long its frame is, and nothing of it is
//! kept here. Only control frames, at most 125 bytes, are gathered.

use std::mem;

/// What a frame carries (RFC 6455 §5.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xA,
        }
    }
}

/// A status code of a Close frame (RFC 6455 §7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) struct Code(pub u16);

impl Code {
    pub(crate) const NORMAL: Code = Code(1000);
    pub(crate) const GOING_AWAY: Code = Code(1001);
    pub(crate) const PROTOCOL_ERROR: Code = Code(1002);
    pub(crate) const UNSUPPORTED_DATA: Code = Code(1003);
    pub(crate) const TOO_BIG: Code = Code(1009);

    /// True where a Close frame may carry it (RFC 6455 §7.4).
    fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Why no more frames are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Over {
    /// The peer closes, with this code if it gave one.
    Closed(Option<Code>),
    /// The peer broke a rule: what to answer, and the rule in words.
    Broken(Code, &'static str),
}

impl Over {
    /// The code of the Close frame that answers.
    pub(crate) fn code(self) -> Option<Code> {
        match self {
            Over::Closed(code) => code,
            Over::Broken(code, _) => Some(code),
        }
    }
}

/// The longest frame taken: as long as MQTT's longest packet (MQTT 5.0 §2.1.4). The packets in it
/// are held to max_packet_size by the decoder, as those of any connection.
const MAX_FRAME: u64 = 268_435_460;

/// The longest header: two bytes, eight of length, four of mask.
const HEADER: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
const CONTROL: u64 = 125;

/// Who a peer is: a client masks its frames, and a server does not (RFC 6455 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Peer {
    Client,
    Server,
}

/// The frames of one peer.
#[derive(Debug)]
pub(super) struct Frames {
    peer: Peer,
    state: State,
    /// A message in fragments is under way: only continuations and control frames may come.
    fragmented: bool,
    pong: Option<Vec<u8>>,
    over: Option<Over>,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the header are here.
    Header(u8, [u8; HEADER]),
    /// In the payload of a data frame.
    Data { left: u64, mask: [u8; 4] },
    /// In the payload of a control frame.
    Control {
        opcode: Opcode,
        left: u8,
        mask: [u8; 4],
        payload: Vec<u8>,
    },
}

const START: State = State::Header(0, [0; HEADER]);

/// A header that is whole.
struct Header {
    opcode: Opcode,
    fin: bool,
    len: u64,
    mask: [u8; 4],
}

impl Frames {
    pub(super) fn new(peer: Peer) -> Frames {
        Frames {
            peer,
            state: START,
            fragmented: false,
            pong: None,
            over: None,
        }
    }

    /// Takes in what was read, and moves the payload of its binary frames to the front; returns
    /// how long that is. A frame may end or begin anywhere [MQTT-6.0.0-2].
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> usize {
        let (mut read, mut kept) = (0, 0);
        while self.over.is_none() && read < bytes.len() {
            let n = match &mut self.state {
                State::Data { left, mask } => {
                    let n = (bytes.len() - read).min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes.copy_within(read..read + n, kept);
                    unmask(bytes.get_mut(kept..kept + n).unwrap_or_default(), mask);
                    kept += n;
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = START;
                    }
                    n
                }
                State::Header(..) => self.take_header(bytes.get(read..).unwrap_or_default()),
                State::Control { .. } => self.take_control(bytes.get(read..).unwrap_or_default()),
            };
            read += n;
        }
        kept
    }

    /// What masks the next frame to the peer. It need not be a secret, only nothing that whoever chooses
    /// the payload can foresee (RFC 6455 §5.3).
    pub(super) fn mask(&self) -> Option<[u8; 4]> {
        let is_to_server = self.peer == Peer::Server;
        is_to_server.then(|| fastrand::u32(..).to_ne_bytes())
    }

    /// True if a ping waits for its answer.
    pub(super) fn has_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// What answers the last ping, if none has yet (RFC 6455 §5.5.3 allows to skip earlier ones).
    pub(super) fn take_pong(&mut self) -> Option<Vec<u8>> {
        self.pong.take()
    }

    /// Set once no more is taken.
    pub(super) fn over(&self) -> Option<Over> {
        self.over
    }

    fn break_off(&mut self, code: Code, rule: &'static str) {
        self.over.get_or_insert(Over::Broken(code, rule));
    }

    /// Takes one byte or more of a header.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let State::Header(have, header) = &mut self.state else {
            return 0;
        };
        let mut used = 0;
        while let Some((&byte, place)) = bytes.get(used).zip(header.get_mut(usize::from(*have))) {
            *place = byte;
            *have += 1;
            used += 1;
            match parse(
                header.get(..usize::from(*have)).unwrap_or_default(),
                self.peer,
            ) {
                Ok(None) => {}
                Ok(Some(header)) => {
                    self.begin(&header);
                    break;
                }
                Err((code, rule)) => {
                    self.break_off(code, rule);
                    break;
                }
            }
        }
        used
    }

    /// A frame begins.
    fn begin(&mut self, header: &Header) {
        let (left, mask) = (header.len, header.mask);
        match header.opcode {
            Opcode::Continuation if !self.fragmented => {
                self.break_off(Code::PROTOCOL_ERROR, "a continuation of nothing");
            }
            Opcode::Binary if self.fragmented => {
                self.break_off(Code::PROTOCOL_ERROR, "a message within a message");
            }
            // [MQTT-6.0.0-1]
            Opcode::Text => self.break_off(Code::UNSUPPORTED_DATA, "a text frame"),
            Opcode::Continuation | Opcode::Binary => {
                self.fragmented = !header.fin;
                self.state = match left {
                    0 => START,
                    left => State::Data { left, mask },
                };
            }
            opcode => {
                self.state = State::Control {
                    opcode,
                    left: u8::try_from(left).unwrap_or(u8::MAX), // The header was checked.
                    mask,
                    payload: Vec::new(),
                };
                if left == 0 {
                    self.end_control();
                }
            }
        }
    }

    /// Takes what there is of a control frame's payload.
    fn take_control(&mut self, bytes: &[u8]) -> usize {
        let State::Control {
            left,
            mask,
            payload,
            ..
        } = &mut self.state
        else {
            return 0;
        };
        let n = u8::try_from(bytes.len()).map_or(*left, |n| n.min(*left));
        let (from, more) = (payload.len(), bytes.get(..usize::from(n)));
        payload.extend_from_slice(more.unwrap_or_default());
        unmask(payload.get_mut(from..).unwrap_or_default(), mask);
        *left -= n;
        if *left == 0 {
            self.end_control();
        }
        n.into()
    }

    fn end_control(&mut self) {
        let State::Control {
            opcode, payload, ..
        } = mem::replace(&mut self.state, START)
        else {
            return;
        };
        match opcode {
            Opcode::Ping => self.pong = Some(payload),
            Opcode::Close => self.over = Some(close_of(&payload)),
            _ => {}
        }
    }
}

/// What a Close frame says (RFC 6455 §5.5.1).
fn close_of(payload: &[u8]) -> Over {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Over::Closed(None),
            _ => Over::Broken(Code::PROTOCOL_ERROR, "half a close code"),
        };
    };
    let code = Code(u16::from_be_bytes(*code));
    if code.may_be_sent() && std::str::from_utf8(reason).is_ok() {
        Over::Closed(Some(code))
    } else {
        Over::Broken(Code::PROTOCOL_ERROR, "a close code that may not be sent")
    }
}

/// Reads a header, of which `bytes` are here; `None`: more is needed. What is wrong is told as
/// soon as it is seen.
fn parse(bytes: &[u8], peer: Peer) -> Result<Option<Header>, (Code, &'static str)> {
    let broken = |rule| Err((Code::PROTOCOL_ERROR, rule));
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return broken("a reserved bit is set, and no extension was agreed on");
    }
    let Some(opcode) = Opcode::of(first & 0x0F) else {
        return broken("a reserved opcode");
    };
    // RFC 6455 §5.1
    let is_masked = second & 0x80 != 0;
    match peer {
        Peer::Client if !is_masked => return broken("a frame of a client without a mask"),
        Peer::Server if is_masked => return broken("a frame of a server with a mask"),
        _ => {}
    }
    let (fin, short) = (first & 0x80 != 0, u64::from(second & 0x7F));
    let is_control = opcode.bits() & 0x8 != 0;
    if is_control && (!fin || short > CONTROL) {
        return broken("a control frame that is too long or in fragments");
    }
    let (len, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), rest),
            None => return Ok(None),
        },
        len => (len, rest),
    };
    let least = match short {
        126 => 126,
        127 => 1 << 16,
        _ => 0,
    };
    if len < least || len >> 63 != 0 {
        return broken("a length that is not in its shortest form");
    }
    if len > MAX_FRAME {
        return Err((Code::TOO_BIG, "a frame longer than any MQTT packet"));
    }
    let mask = if is_masked {
        rest.first_chunk().copied()
    } else {
        Some([0; 4])
    };
    Ok(mask.map(|mask| Header {
        opcode,
        fin,
        len,
        mask,
    }))
}

/// Takes the mask off, or puts it on, and turns it to where the next byte needs it (RFC 6455 §5.3).
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let turn = bytes.len() % 4;
    let (words, rest) = bytes.as_chunks_mut::<4>();
    let key = u32::from_ne_bytes(*mask);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(*mask) {
        *byte ^= key;
    }
    mask.rotate_left(turn);
}

/// Appends the header of a whole frame with `len` bytes of payload, which `mask` masks.
pub(super) fn put_header(out: &mut Vec<u8>, opcode: Opcode, len: usize, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode.bits());
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => out.push(masked | len),
        (_, Ok(len)) => {
            out.push(masked | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
}

/// Appends a whole frame.
pub(super) fn put(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    put_header(out, opcode, payload.len(), mask);
    let from = out.len();
    out.extend_from_slice(payload);
    if let Some(mut mask) = mask {
        unmask(out.get_mut(from..).unwrap_or_default(), &mut mask);
    }
}

/// Appends a Close frame (RFC 6455 §5.5.1).
pub(super) fn put_close(out: &mut Vec<u8>, code: Option<Code>, mask: Option<[u8; 4]>) {
    let code = code.map(|code| code.0.to_be_bytes());
    let payload = code.as_ref().map_or(&[][..], |code| code);
    put(out, Opcode::Close, payload, mask);
}
