//! The other end of a bridge: takes all it gets, acknowledges at once, keeps nothing, and can be
//! cut off. It speaks MQTT 3.1.1 and 5.0, whichever the bridge begins with.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::wire::{self, Packet};

/// How long it takes at most to notice that it is cut off.
const NOTICE: Duration = Duration::from_millis(20);
/// This many bytes before its end a payload of the load has its number; shorter messages, such as
/// the state of the bridge, are not counted.
pub(crate) const PAYLOAD: usize = 200;

/// What the thread and its owner share.
#[derive(Default)]
struct Shared {
    connected: AtomicBool,
    /// CONNACKs wait.
    held: AtomicBool,
    cut: AtomicBool,
    /// The highest number that a payload began with, and one.
    arrived: AtomicUsize,
    /// All messages with such a payload.
    messages: AtomicUsize,
}

/// An upstream broker, up or cut off.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    /// How much later than at once it answers: a round trip.
    delay: Duration,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Upstream {
    /// An upstream that is up and answers `delay` later.
    pub(crate) fn start(delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut upstream = Upstream {
            port: listener.local_addr()?.port(),
            delay,
            shared: Arc::default(),
            thread: None,
        };
        upstream.serve(listener);
        Ok(upstream)
    }

    /// Closes the connection; from now on nobody listens.
    pub(crate) fn cut(&mut self) -> Result<()> {
        self.shared.cut.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    /// Listens again, on the same port; a bridge that comes gets no CONNACK before
    /// [`Upstream::release`].
    pub(crate) fn mend(&mut self) -> Result<()> {
        self.shared.held.store(true, Ordering::Relaxed);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        self.serve(listener);
        Ok(())
    }

    /// Lets the bridge begin.
    pub(crate) fn release(&self) {
        self.shared.held.store(false, Ordering::Relaxed);
    }

    fn serve(&mut self, listener: TcpListener) {
        self.shared.cut.store(false, Ordering::Relaxed);
        let (shared, delay) = (Arc::clone(&self.shared), self.delay);
        self.thread = Some(thread::spawn(move || serve(&listener, &shared, delay)));
    }

    /// Whether a bridge has said CONNECT.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.connected.load(Ordering::Relaxed)
    }

    /// How many messages have come, those that came twice counted once: each begins with its
    /// number, and a bridge keeps the order.
    pub(crate) fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::Relaxed) as u64
    }

    /// How many messages have come, whatever their numbers.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed) as u64
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.cut();
    }
}

fn serve(listener: &TcpListener, shared: &Shared, delay: Duration) -> Result<()> {
    listener.set_nonblocking(true)?;
    while !shared.cut.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                // How the connection ends is the bridge's affair.
                let _ = Link::new(stream, shared, delay).and_then(Link::run);
                shared.connected.store(false, Ordering::Relaxed);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(NOTICE),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// One connection of a bridge.
struct Link<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    is_v5: bool,
    delay: Duration,
    /// Answers that wait for their time.
    later: VecDeque<(Instant, Vec<u8>)>,
    tx: Vec<u8>,
}

impl<'a> Link<'a> {
    fn new(stream: TcpStream, shared: &'a Shared, delay: Duration) -> Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(Link {
            stream,
            shared,
            is_v5: false,
            delay,
            later: VecDeque::new(),
            tx: Vec::new(),
        })
    }

    fn run(mut self) -> Result<()> {
        let mut rx = Vec::new();
        let mut scratch = vec![0; 256 * 1024];
        while !self.shared.cut.load(Ordering::Relaxed) {
            let wait = self.answer_due()?;
            self.stream.set_read_timeout(Some(wait))?;
            match self.stream.read(&mut scratch) {
                Ok(0) => return Ok(()),
                Ok(n) => rx.extend_from_slice(&scratch[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            let mut at = 0;
            while let Some((packet, len)) = wire::next(&rx[at..]) {
                self.answer(&packet);
                at += len;
            }
            rx.drain(..at);
            let answers = std::mem::take(&mut self.tx);
            self.later.push_back((Instant::now() + self.delay, answers));
        }
        Ok(())
    }

    /// Sends the answers whose time has come; returns how long to wait for the next, or for input.
    fn answer_due(&mut self) -> Result<Duration> {
        while let Some((due, answers)) = self.later.front() {
            let wait = due.saturating_duration_since(Instant::now());
            if !wait.is_zero() {
                return Ok(wait.min(NOTICE));
            }
            self.stream.write_all(answers)?;
            self.later.pop_front();
        }
        Ok(NOTICE)
    }

    fn answer(&mut self, packet: &Packet<'_>) {
        match packet.kind {
            wire::CONNECT => self.greet(packet),
            wire::PUBLISH => self.take(packet),
            wire::PUBREL => wire::ack(&mut self.tx, wire::PUBCOMP, packet.id()),
            wire::SUBSCRIBE => self.grant(wire::SUBACK, packet, 1),
            wire::UNSUBSCRIBE if self.is_v5 => self.grant(wire::UNSUBACK, packet, 0),
            wire::UNSUBSCRIBE => wire::ack(&mut self.tx, wire::UNSUBACK, packet.id()),
            wire::PINGREQ => self.tx.extend([0xd0, 0]),
            _ => {}
        }
    }

    /// CONNACK: the session is still there, unless nothing ever came.
    fn greet(&mut self, packet: &Packet<'_>) {
        self.is_v5 = packet.body[6] & 0x7f == 5;
        let present = u8::from(self.shared.arrived.load(Ordering::Relaxed) > 0);
        if self.is_v5 {
            self.tx.extend([0x20, 3, present, 0, 0]);
        } else {
            self.tx.extend([0x20, 2, present, 0]);
        }
        self.shared.connected.store(true, Ordering::Relaxed);
        let waits = || self.shared.held.load(Ordering::Relaxed);
        while waits() && !self.shared.cut.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn take(&mut self, packet: &Packet<'_>) {
        if let (Some(id), _) = packet.publish() {
            let kind = [wire::PUBACK, wire::PUBREC][usize::from(packet.qos() == 2)];
            wire::ack(&mut self.tx, kind, id);
        }
        // The payload ends the packet, whatever properties stand before it.
        let payload = packet.body.len().checked_sub(PAYLOAD);
        let payload = payload.map_or(&[][..], |at| &packet.body[at..]);
        if let Some(number) = payload.first_chunk() {
            let number = usize::try_from(u64::from_le_bytes(*number)).expect("a few millions");
            self.shared.arrived.fetch_max(number + 1, Ordering::Relaxed);
            self.shared.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Grants every filter of a SUBSCRIBE, or answers for each of an UNSUBSCRIBE of MQTT 5.
    /// `options`: bytes behind each filter.
    fn grant(&mut self, kind: u8, packet: &Packet<'_>, options: usize) {
        let mut rest = &packet.body[2..];
        let mut answer = packet.id().to_be_bytes().to_vec();
        if self.is_v5 {
            // A subscription identifier at the most: the length is one byte.
            rest = &rest[1 + usize::from(rest[0])..];
            answer.push(0);
        }
        while let Some((len, _)) = rest.split_first_chunk() {
            rest = &rest[2 + usize::from(u16::from_be_bytes(*len)) + options..];
            answer.push(u8::from(kind == wire::SUBACK));
        }
        self.tx.push(kind << 4);
        wire::length(&mut self.tx, answer.len());
        self.tx.extend(answer);
    }
}
