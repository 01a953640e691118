//! A small blocking MQTT client: 3.1, 3.1.1 and 5.0, every QoS both ways.
//!
//! One thread, one connection. A [`Session`] outlives it, so that the caller can connect again
//! and unfinished publishes are resumed: PUBLISH with DUP, or PUBREL. Whether and when to connect
//! again is the caller's to say.

mod dial;
mod error;
mod link;
mod session;
mod trace;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use crate::mqtt::{
    Ack, ConnAck, Connect, Delivery, Disconnect, MAX_REMAINING_LENGTH, Packet, PacketId, Props,
    PropsBuf, Publish, QoS, Reason, Subscribe, Subscription, Unsubscribe, Version, decode, encode,
};

pub use dial::Target;
pub use error::{Error, plain};
use link::Connection;
pub use session::{Outgoing, Session};

/// Publishes in flight, as libmosquitto has it, unless the broker wants fewer.
pub const WINDOW: usize = 20;

/// Bytes of publishes that are gathered before they are sent.
const MAX_GATHERED: usize = 16 * 1024;

/// No packet has more bytes: fixed header and the largest remaining length.
const MAX_PACKET: usize = MAX_REMAINING_LENGTH + 5;

/// A received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The topic name.
    pub topic: String,
    /// The application message.
    pub payload: Vec<u8>,
    /// QoS, packet id and DUP it came with.
    pub delivery: Delivery,
    /// The RETAIN flag.
    pub retain: bool,
    /// The PUBLISH properties (5.0).
    pub props: PropsBuf,
}

/// What [`Client::next`] waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message. Its acknowledgement leaves when the client is used next, so after the caller is
    /// done with it.
    Message(Message),
    /// A publish of QoS 1 or 2 is over; from [`Reason::UNSPECIFIED`] up the broker refused it.
    Published(Arc<Outgoing>, Reason),
    /// SUBACK: a reason a filter.
    Subscribed(PacketId, Vec<Reason>),
    /// UNSUBACK.
    Unsubscribed(PacketId),
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Client<'s> {
    link: Connection,
    version: Version,
    session: &'s mut Session,
    /// `None` until the CONNACK.
    limits: Option<Limits>,
    /// The client id, if packets are printed.
    trace: Option<String>,
}

/// What the broker said in its CONNACK (5.0 §3.2.2.3).
#[derive(Clone, Copy, Debug)]
struct Limits {
    session_present: bool,
    window: usize,
    max_packet: usize,
    max_qos: QoS,
    retain: bool,
}

impl<'s> Client<'s> {
    /// Connects, and sends again what `session` has left unfinished.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(
        target: &Target,
        connect: &Connect<'_>,
        session: &'s mut Session,
    ) -> Result<Client<'s>, Error> {
        let mut client = Client {
            link: Connection::new(dial::dial(target)?, connect.keep_alive)
                .map_err(Error::Connect)?,
            version: connect.version,
            session,
            limits: None,
            trace: target.trace.then(|| connect.client_id.to_owned()),
        };
        client.put(&Packet::Connect(Box::new(*connect)))?;
        let deadline = Instant::now() + target.timeout;
        loop {
            // Before the CONNACK there are no events.
            while client.limits.is_none() && client.take()?.is_some() {}
            if client.limits.is_some() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(Error::NoConnAck);
            }
            client.link.fill(deadline)?;
        }
        client.resume()?;
        Ok(client)
    }

    /// True if the broker had kept the session.
    pub fn session_present(&self) -> bool {
        self.limits.is_some_and(|limits| limits.session_present)
    }

    /// True if the window has room for another publish of QoS 1 or 2.
    pub fn has_room(&self) -> bool {
        self.in_flight() < self.limits.map_or(WINDOW, |limits| limits.window)
    }

    /// Publishes that are not finished.
    pub fn in_flight(&self) -> usize {
        self.session.in_flight()
    }

    /// Publishes; the message leaves at the latest when the caller waits or disconnects. At QoS 1
    /// and 2 the caller sees to it that there [is room](Self::has_room).
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Packet`] when the message can't be sent at all. If the
    /// connection broke, a message of QoS 1 or 2 is in the session and will be sent again.
    pub fn publish(&mut self, message: Arc<Outgoing>) -> Result<(), Error> {
        if let Some(limits) = self.limits {
            if message.qos > limits.max_qos {
                return Err(Error::Unsupported("that QoS"));
            }
            if message.retain && !limits.retain {
                return Err(Error::Unsupported("retained messages"));
            }
        }
        let id = self.session.free_id();
        self.put(&Packet::Publish(message.packet(id, false)))?;
        if message.qos > QoS::AtMostOnce {
            self.session.sent(id, message);
        }
        if self.link.output.len() > MAX_GATHERED {
            self.link.flush()
        } else {
            Ok(())
        }
    }

    /// Asks for subscriptions; [`Event::Subscribed`] is the answer.
    ///
    /// # Errors
    /// When it can't be sent.
    pub fn subscribe(
        &mut self,
        filters: Vec<Subscription<'_>>,
        props: Props<'_>,
    ) -> Result<PacketId, Error> {
        let id = self.session.free_id();
        self.put(&Packet::Subscribe(Subscribe { id, props, filters }))?;
        self.link.flush()?;
        Ok(id)
    }

    /// Ends subscriptions; [`Event::Unsubscribed`] is the answer.
    ///
    /// # Errors
    /// When it can't be sent.
    pub fn unsubscribe(&mut self, filters: Vec<&str>, props: Props<'_>) -> Result<PacketId, Error> {
        let id = self.session.free_id();
        self.put(&Packet::Unsubscribe(Unsubscribe { id, props, filters }))?;
        self.link.flush()?;
        Ok(id)
    }

    /// The next event, or `None` at the deadline. Meanwhile answers PUBREC and PUBREL, and keeps
    /// the connection alive.
    ///
    /// # Errors
    /// Why the connection ended.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        let mut last = false;
        loop {
            while let Some(event) = self.take()? {
                if event.is_some() {
                    return Ok(event);
                }
            }
            if last {
                self.link.flush()?;
                return Ok(None);
            }
            self.link.fill(deadline)?;
            last = Instant::now() >= deadline;
        }
    }

    /// Waits until the broker or `other` has something to read, or until the deadline, or a while
    /// less; says which has. Use it when [`next`](Self::next) has no event left.
    ///
    /// # Errors
    /// Why the connection ended.
    pub fn wait(
        &mut self,
        other: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(bool, bool), Error> {
        self.link.wait(other, deadline)
    }

    /// Sends DISCONNECT, after the acknowledgement of the last message.
    ///
    /// # Errors
    /// When it can't be sent.
    pub fn disconnect(mut self, reason: Reason, props: Props<'_>) -> Result<(), Error> {
        self.put(&Packet::Disconnect(Disconnect { reason, props }))?;
        self.link.end()
    }

    /// Sends the unfinished publishes again, in their order [MQTT-4.4.0-1] [MQTT-4.6.0-1].
    fn resume(&mut self) -> Result<(), Error> {
        let again = self.session_present();
        if !again {
            self.session.broker_forgot();
        }
        for flight in self.session.flights() {
            let packet = if flight.released {
                Packet::PubRel(Ack::new(flight.id, Reason::SUCCESS))
            } else {
                Packet::Publish(flight.message.packet(flight.id, again))
            };
            trace::line(self.trace.as_deref(), "sending", &packet);
            encode(&packet, self.version, &mut self.link.output)?;
        }
        self.link.flush()
    }

    /// Appends a packet to what is to be sent.
    fn put(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        let output = &mut self.link.output;
        let before = output.len();
        encode(packet, self.version, output)?;
        let max_packet = self.limits.map_or(MAX_PACKET, |limits| limits.max_packet);
        if output.len() - before > max_packet {
            output.truncate(before);
            return Err(Error::Unsupported("messages that large"));
        }
        trace::line(self.trace.as_deref(), "sending", packet);
        Ok(())
    }

    /// Takes a packet off the input; `None` if there is none, `Some(None)` if it is no event.
    fn take(&mut self) -> Result<Option<Option<Event>>, Error> {
        let input = std::mem::take(&mut self.link.input);
        let rest = input.get(self.link.consumed..).unwrap_or_default();
        let event = match decode(rest, self.version, MAX_PACKET) {
            Ok(Some((packet, len))) => {
                self.link.consumed += len;
                trace::line(self.trace.as_deref(), "received", &packet);
                self.handle(&packet).map(Some)
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.into()),
        };
        self.link.input = input;
        event
    }

    fn handle(&mut self, packet: &Packet<'_>) -> Result<Option<Event>, Error> {
        match packet {
            Packet::ConnAck(ack) if self.limits.is_none() => self.connected(ack)?,
            _ if self.limits.is_none() => return Err(Error::Unexpected(packet.kind())),
            Packet::Publish(publish) => return self.receive(publish),
            Packet::PubRec(ack) if !ack.reason.is_error() => {
                self.session.release(ack.id);
                self.put(&Packet::PubRel(Ack::new(ack.id, Reason::SUCCESS)))?;
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
                let message = self.session.finish(ack.id);
                return Ok(message.map(|message| Event::Published(message, ack.reason)));
            }
            Packet::PubRel(ack) => {
                self.session.released(ack.id);
                self.put(&Packet::PubComp(Ack::new(ack.id, Reason::SUCCESS)))?;
            }
            Packet::SubAck(ack) => {
                return Ok(Some(Event::Subscribed(ack.id, ack.reasons.clone())));
            }
            Packet::UnsubAck(ack) => return Ok(Some(Event::Unsubscribed(ack.id))),
            Packet::PingResp => self.link.pong(),
            Packet::Disconnect(disconnect) => return Err(Error::Disconnected(disconnect.reason)),
            _ => return Err(Error::Unexpected(packet.kind())),
        }
        Ok(None)
    }

    fn connected(&mut self, ack: &ConnAck<'_>) -> Result<(), Error> {
        if ack.reason.is_error() {
            return Err(Error::Refused(self.version, ack.reason));
        }
        self.limits = Some(Limits::of(ack));
        if let Some(seconds) = ack.props.server_keep_alive() {
            self.link.set_keep_alive(seconds);
        }
        if let (Some(name), Some(id)) = (&mut self.trace, ack.props.assigned_client_id()) {
            id.clone_into(name);
        }
        Ok(())
    }

    fn receive(&mut self, publish: &Publish<'_>) -> Result<Option<Event>, Error> {
        let new = match publish.delivery {
            Delivery::AtMostOnce => true,
            Delivery::AtLeastOnce(id, _) => {
                self.put(&Packet::PubAck(Ack::new(id, Reason::SUCCESS)))?;
                true
            }
            Delivery::ExactlyOnce(id, _) => {
                self.put(&Packet::PubRec(Ack::new(id, Reason::SUCCESS)))?;
                self.session.receive(id)
            }
        };
        Ok(new.then(|| Event::Message(Message::of(publish))))
    }
}

impl Message {
    fn of(publish: &Publish<'_>) -> Message {
        let mut props = PropsBuf::new();
        props.extend_raw(publish.props.as_bytes());
        Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_owned(),
            delivery: publish.delivery,
            retain: publish.retain,
            props,
        }
    }
}

impl Limits {
    fn of(ack: &ConnAck<'_>) -> Limits {
        let props = ack.props;
        let window = props.receive_maximum().map_or(WINDOW, usize::from);
        let max_qos = props.maximum_qos().and_then(QoS::from_bits);
        Limits {
            session_present: ack.session_present,
            window: window.min(WINDOW),
            max_packet: props
                .maximum_packet_size()
                .map_or(MAX_PACKET, |n| n as usize),
            max_qos: max_qos.unwrap_or(QoS::ExactlyOnce),
            retain: props.retain_available() != Some(0),
        }
    }
}
