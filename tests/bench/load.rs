//! The load generator: many clients on one thread and one epoll.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustls::ClientConfig;

use crate::link::Link;
use crate::wire;

/// How long anything may stand still before a row fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection and its counts.
pub(crate) struct Client {
    stream: Link,
    rx: Vec<u8>,
    tx: Vec<u8>,
    awaits_room: bool,
    last_id: u16,
    /// Messages published.
    pub(crate) sent: u64,
    /// Messages that the broker has taken: PUBACKs and PUBCOMPs received.
    pub(crate) acked: u64,
    /// PUBLISH packets received.
    pub(crate) received: u64,
    /// PUBLISH packets received that are none of ours.
    pub(crate) strange: u64,
    subscribed: bool,
}

impl Client {
    /// Bytes that wait for a flush.
    pub(crate) fn waiting(&self) -> usize {
        self.tx.len()
    }

    /// Appends a PUBLISH to what the next flush sends.
    pub(crate) fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) {
        self.publish_with(qos << 1, topic, payload);
    }

    /// The same with the flags of the packet's first byte.
    pub(crate) fn publish_with(&mut self, flags: u8, topic: &str, payload: &[u8]) {
        let qos = flags >> 1 & 3;
        let id = (qos > 0).then(|| {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            self.last_id
        });
        wire::publish(&mut self.tx, flags, topic, id, payload);
        self.sent += 1;
    }
}

/// All connections of a row. Every client is named by the index that [`Load::connect`] gave it.
pub(crate) struct Load {
    epoll: OwnedFd,
    events: Vec<Event>,
    scratch: Vec<u8>,
    /// What clients shake hands by; `None`: without TLS.
    tls: Option<Arc<ClientConfig>>,
    /// The clients, by index.
    pub(crate) clients: Vec<Client>,
}

impl Load {
    pub(crate) fn new() -> Result<Self> {
        Load::by(None)
    }

    /// One whose clients speak TLS where there is a `tls`.
    pub(crate) fn by(tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        Ok(Load {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
            scratch: vec![0; 256 * 1024],
            tls,
            clients: Vec::new(),
        })
    }

    /// Connects a client and waits for its CONNACK.
    pub(crate) fn connect(&mut self, port: u16, client_id: &str, clean: bool) -> Result<usize> {
        let stream = greet(port, self.tls.as_ref(), client_id, clean)?;
        stream.socket().set_nonblocking(true)?;
        let index = self.clients.len();
        let data = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, stream.socket(), data, EventFlags::IN)?;
        self.clients.push(Client {
            stream,
            rx: Vec::new(),
            tx: Vec::new(),
            awaits_room: false,
            last_id: 0,
            sent: 0,
            acked: 0,
            received: 0,
            strange: 0,
            subscribed: false,
        });
        Ok(index)
    }

    /// Subscribes a client and waits for its SUBACK.
    pub(crate) fn subscribe(&mut self, client: usize, filter: &str, qos: u8) -> Result<()> {
        wire::subscribe(&mut self.clients[client].tx, 1, filter, qos);
        self.clients[client].subscribed = false;
        self.flush(client)?;
        self.turn_until("SUBACK", |load| load.clients[client].subscribed)
    }

    /// Turns until `done`, or fails when nothing at all has come in for [`PATIENCE`].
    pub(crate) fn turn_until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&Load) -> bool,
    ) -> Result<()> {
        let mut still = Stillness::new(what);
        while !done(self) {
            let events = self.turn(Some(100), |_, _| {})?;
            still.check(events > 0)?;
        }
        Ok(())
    }

    /// Waits for input for at most `timeout_ms` (`None`: not at all), reads all there is,
    /// acknowledges it, and hands every received payload to `on_message` with its client's index.
    /// Returns how many connections had something.
    pub(crate) fn turn(
        &mut self,
        timeout_ms: Option<u32>,
        mut on_message: impl FnMut(usize, &[u8]),
    ) -> Result<usize> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(timeout_ms.unwrap_or(0)) * 1_000_000,
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(0),
            Err(e) => return Err(e.into()),
        }
        let ready = self.events.len();
        for at in 0..ready {
            let event = self.events[at];
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                while self.read(index, &mut on_message)? {}
            }
            self.flush(index)?;
        }
        Ok(ready)
    }

    /// Reads once. True: more may have been read from the socket, of which epoll knows nothing.
    fn read(&mut self, index: usize, on_message: &mut impl FnMut(usize, &[u8])) -> Result<bool> {
        let client = &mut self.clients[index];
        let n = match client.stream.read(&mut self.scratch) {
            Ok(0) => return Err(Error::other(format!("broker closed client {index}"))),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        };
        if client.rx.is_empty() {
            let used = client.consume(&self.scratch[..n], index, on_message);
            client.rx.extend_from_slice(&self.scratch[used..n]);
        } else {
            let mut rx = std::mem::take(&mut client.rx);
            rx.extend_from_slice(&self.scratch[..n]);
            let used = client.consume(&rx, index, on_message);
            rx.drain(..used);
            client.rx = rx;
        }
        Ok(client.stream.reads_ahead())
    }

    /// Sends what is appended, as far as the socket takes it.
    pub(crate) fn flush(&mut self, index: usize) -> Result<()> {
        let client = &mut self.clients[index];
        let mut at = 0;
        while at < client.tx.len() {
            match client.stream.write(&client.tx[at..]) {
                Ok(n) => at += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        client.tx.drain(..at);
        if client.stream.holds_output() {
            match client.stream.flush() {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
                _ => {}
            }
        }
        let awaits_room = !client.tx.is_empty() || client.stream.holds_output();
        if awaits_room != client.awaits_room {
            client.awaits_room = awaits_room;
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, awaits_room);
            let data = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, client.stream.socket(), data, flags)?;
        }
        Ok(())
    }
}

impl Client {
    fn consume(
        &mut self,
        bytes: &[u8],
        index: usize,
        on_message: &mut impl FnMut(usize, &[u8]),
    ) -> usize {
        let mut at = 0;
        while let Some((packet, len)) = wire::next(&bytes[at..]) {
            match packet.kind {
                wire::PUBLISH => {
                    let (id, payload) = packet.publish();
                    if let Some(id) = id {
                        wire::ack(&mut self.tx, wire::PUBACK, id);
                    }
                    // Counting alone would not notice a broker that delivers something else.
                    self.strange += u64::from(payload.last() != Some(&b'x'));
                    self.strange += u64::from(payload.len() != 200);
                    self.received += 1;
                    on_message(index, payload);
                }
                wire::PUBACK | wire::PUBCOMP => self.acked += 1,
                wire::PUBREC => wire::ack(&mut self.tx, wire::PUBREL, packet.id()),
                wire::SUBACK => self.subscribed = packet.return_code() < 0x80,
                _ => {}
            }
            at += len;
        }
        at
    }
}

/// Connects a client and waits for its CONNACK.
pub(crate) fn greet(
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
    client_id: &str,
    clean: bool,
) -> Result<Link> {
    let mut stream = Link::connect(port, tls)?;
    let mut hello = Vec::new();
    wire::connect(&mut hello, client_id, clean);
    stream.write_all(&hello)?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack)?;
    match wire::next(&connack) {
        Some((p, _)) if p.kind == wire::CONNACK && p.return_code() == 0 => Ok(stream),
        _ => Err(Error::other(format!("refused: {connack:?}"))),
    }
}

/// Fails once nothing has moved for [`PATIENCE`].
pub(crate) struct Stillness<'a> {
    what: &'a str,
    since: Instant,
}

impl<'a> Stillness<'a> {
    pub(crate) fn new(what: &'a str) -> Self {
        Stillness {
            what,
            since: Instant::now(),
        }
    }

    pub(crate) fn check(&mut self, moved: bool) -> Result<()> {
        if moved {
            self.since = Instant::now();
        } else if self.since.elapsed() > PATIENCE {
            let what = self.what;
            return Err(Error::other(format!("nothing moved for 20 s: {what}")));
        }
        Ok(())
    }
}
