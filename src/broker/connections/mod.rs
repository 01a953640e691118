//! The network connections: limits, replies, what waits to be written or read again.

mod address;
mod alias;
mod buffers;
mod connection;
mod doors;
mod logins;
mod outbox;
mod parked;
mod publish;
mod refusals;
mod replies;
mod retry;

use std::collections::VecDeque;
use std::rc::Rc;

pub use address::Address;
use buffers::Buffers;
pub(crate) use buffers::kept_of;
pub(crate) use connection::{Agreed, Asked, Connection, OUTBOX_HIGH, Parked, Purpose, Stage};
use doors::Doors;
pub(crate) use doors::{Block, Share};
use logins::shown::Shown;
pub(crate) use logins::waiting::{Crowded, Kind, Login, Room};
pub(crate) use logins::{Attempt, Logins};
pub use outbox::Outbox;
pub(crate) use publish::Writer;
pub(crate) use refusals::RefusalLog;
use replies::Replies;
pub(crate) use replies::{Reply, Ticket};
use retry::Retry;

use crate::bridge::{Limits, Wire};
use crate::config::CertificateUsername;
use crate::held::{CONNECTIONS, Charge};
use crate::impossible;
use crate::keys::{ConnId, SessionKey, Table};
use crate::mqtt::{Ack, Packet, Reason, Version, encode};
use crate::time::Time;

/// What a connection takes that holds nothing, in bytes, about: here with its generation, at the socket
/// (48), its timer (20), and in the lists that have it.
const EMPTY: usize = size_of::<Connection>() + 80;

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: Table<ConnId, Connection>,
    /// How many came by each listener.
    open: Vec<u32>,
    /// How many came from each address.
    doors: Doors,
    /// Those with something to write or to close.
    dirty: VecDeque<ConnId>,
    /// Those that may be read again.
    resumed: Vec<ConnId>,
    /// Those that are not read until the store has caught up.
    paused: Vec<ConnId>,
    /// Those with a parked PUBLISH, each once; some may be gone.
    parked: VecDeque<ConnId>,
    /// How far they were tried again.
    retry: Retry,
    /// Those with filters that are still to be taken; some may be gone.
    asking: VecDeque<ConnId>,
    /// Those whose peer does not take packets as large as a reply.
    unanswerable: Vec<ConnId>,
    buffers: Buffers,
    /// Those whose login is under way.
    logins: logins::waiting::Logins,
    certificates: logins::shown::Certificates,
    /// What the connections take that hold nothing.
    held: Charge<CONNECTIONS>,
    /// Packets sent that are no PUBLISH.
    others_sent: u64,
}

impl Connections {
    /// Adds a client that came by `listener`.
    pub(crate) fn add_client(&mut self, listener: u16, address: Address, now: Time) -> ConnId {
        let at = usize::from(listener);
        if self.open.len() <= at {
            self.open.resize(at + 1, 0);
        }
        if let Some(open) = self.open.get_mut(at) {
            *open += 1;
        }
        self.held.shift(EMPTY, 0);
        let block = Block::of(&address);
        let client = Connection::client(listener, address, now);
        let c = self.table.insert(client);
        self.doors.open(c, block);
        c
    }

    /// The CONNECT of a client is accepted.
    pub(crate) fn agree(&mut self, c: ConnId, agreed: &Agreed) {
        self.doors.pass(c);
        self.certificates.forget(c);
        if let Some(conn) = self.table.get_mut(c) {
            conn.agree(agreed);
        }
    }

    /// The client shows a certificate with this subject; `by` says what of it is its user name.
    pub(crate) fn show(&mut self, c: ConnId, by: CertificateUsername, subject: &str) {
        self.certificates.show(c, by, subject);
    }

    /// The certificate that a client has shown which is not in yet.
    pub(crate) fn shown(&self, c: ConnId) -> Option<&Shown> {
        self.certificates.get(c)
    }

    /// How many clients there are from an address, of which the Unix sockets have none.
    pub(crate) fn share(&self, address: &Address) -> Share {
        self.doors.share(Block::of(address))
    }

    /// How many clients have not sent their CONNECT yet.
    pub(crate) fn connecting(&self) -> u32 {
        self.doors.connecting()
    }

    /// The one from `address` that has waited for its CONNECT longest.
    pub(crate) fn oldest_connecting_of(&self, address: &Address) -> Option<ConnId> {
        self.doors.oldest_of(Block::of(address))
    }

    /// Of the address that most clients without a CONNECT come from, the one that has waited longest; one
    /// more is to come from `newcomer`, if that is known.
    pub(crate) fn oldest_connecting(&self, newcomer: Option<&Address>) -> Option<ConnId> {
        self.doors.oldest_of_most(newcomer.map(Block::of))
    }

    /// Adds the upstream of the bridge with this session.
    pub(crate) fn add_upstream(
        &mut self,
        session: SessionKey,
        limits: &Limits,
        wire: Rc<Wire>,
        own_max_packet: u32,
        now: Time,
    ) -> ConnId {
        let connection = Connection::upstream(session, limits, wire, own_max_packet, now);
        self.held.shift(EMPTY, 0);
        self.table.insert(connection)
    }

    /// Forgets a connection whose socket is closed.
    pub(crate) fn remove(&mut self, c: ConnId) {
        self.doors.pass(c);
        self.logins.leave(c);
        self.certificates.forget(c);
        let Some(gone) = self.table.remove(c) else {
            return;
        };
        self.held.shift(0, EMPTY);
        self.buffers.note(gone.outbox.room(), 0);
        let listener = gone.listener();
        if listener.is_some() {
            self.doors.close(Block::of(gone.address()));
        }
        if let Some(open) = listener.and_then(|at| self.open.get_mut(usize::from(at))) {
            *open = open.saturating_sub(1);
        }
    }

    pub(crate) fn get(&self, c: ConnId) -> Option<&Connection> {
        self.table.get(c)
    }

    pub(crate) fn get_mut(&mut self, c: ConnId) -> Option<&mut Connection> {
        self.table.get_mut(c)
    }

    /// All, with their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Connection)> {
        self.table.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn keys(&self) -> Vec<ConnId> {
        self.table.keys().collect()
    }

    /// How many clients came by a listener.
    pub(crate) fn open_at(&self, listener: u16) -> u32 {
        self.open.get(usize::from(listener)).copied().unwrap_or(0)
    }

    /// How many clients there are.
    pub(crate) fn open(&self) -> u64 {
        self.open.iter().map(|open| u64::from(*open)).sum()
    }

    /// Bytes that wait for all peers.
    pub(crate) fn waiting(&self) -> u64 {
        self.table.values().map(|conn| conn.waiting() as u64).sum()
    }

    /// Packets sent that are no PUBLISH.
    pub(crate) fn others_sent(&self) -> u64 {
        self.others_sent
    }

    /// What waits to be written to a connection.
    pub(crate) fn outbox(&mut self, c: ConnId) -> Option<&mut Outbox> {
        Some(&mut self.table.get_mut(c)?.outbox)
    }

    /// Puts `c` on the list of connections to flush.
    pub(crate) fn mark_dirty(&mut self, c: ConnId) {
        if let Some(conn) = self.table.get_mut(c)
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push_back(c);
        }
    }

    /// The connection that has waited longest for its outbox to be written, or to be closed.
    pub(crate) fn next_dirty(&mut self) -> Option<ConnId> {
        let c = self.dirty.pop_front()?;
        if let Some(conn) = self.table.get_mut(c) {
            conn.dirty = false;
        }
        Some(c)
    }

    /// How many connections wait for that.
    pub(crate) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// The connections that may be read again.
    pub(crate) fn take_resumed(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.resumed)
    }

    /// Some of the outbox was written. True if there is room for more messages. `kept`: so many bytes of
    /// empty buffers may be kept ([`kept_of`]).
    pub(crate) fn flushed(&mut self, c: ConnId, kept: usize, now: Time) -> bool {
        let Some(conn) = self.table.get_mut(c) else {
            return false;
        };
        if conn.outbox.len() >= OUTBOX_HIGH / 2 {
            return false;
        }
        if let Some(spare) = conn.outbox.take_spare() {
            self.buffers.keep(spare, kept, now);
        }
        true
    }

    /// When [`Connections::give_back`] has something to do.
    pub(crate) fn look_at(&self) -> Option<Time> {
        self.buffers.look_at()
    }

    /// Gives back the memory of buffers that nobody has needed for a while.
    pub(crate) fn give_back(&mut self, now: Time) {
        self.buffers.give_back(now);
    }

    /// Messages go to the peer by this; `None` for a connection that is gone.
    pub(crate) fn writer(&mut self, c: ConnId) -> Option<Writer<'_>> {
        Some(Writer {
            id: c,
            conn: self.table.get_mut(c)?,
            dirty: &mut self.dirty,
            buffers: &mut self.buffers,
        })
    }

    /// Sends a packet that is no PUBLISH now, ahead of any reply that waits. One that is too large
    /// for the peer is not sent [MQTT-3.1.2-24]; false then.
    pub(crate) fn send(&mut self, c: ConnId, packet: &Packet<'_>) -> bool {
        let Some(conn) = self.table.get_mut(c) else {
            return true;
        };
        conn.outbox.lend(&mut self.buffers);
        let (version, room) = (conn.version(), conn.outbox.room());
        let buffer = conn.outbox.buffer();
        let start = buffer.len();
        if let Err(error) = encode(packet, version, buffer) {
            impossible!("cannot encode {}: {error}", packet.name());
        }
        let fits = buffer.len() - start <= conn.max_packet as usize;
        if !fits {
            buffer.truncate(start);
        }
        self.buffers.note(room, conn.outbox.room());
        self.others_sent += u64::from(fits);
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push_back(c);
        }
        fits
    }

    /// Sends bytes that are packets of another's making; false if they are too large.
    fn send_encoded(&mut self, c: ConnId, bytes: &[u8]) -> bool {
        let Some(conn) = self.table.get_mut(c) else {
            return true;
        };
        if bytes.len() > conn.max_packet as usize {
            return false;
        }
        conn.outbox.lend(&mut self.buffers);
        let room = conn.outbox.room();
        conn.outbox.buffer().extend_from_slice(bytes);
        self.buffers.note(room, conn.outbox.room());
        self.others_sent += 1;
        self.mark_dirty(c);
        true
    }

    /// Answers PINGREQ, which waits for nothing but CONNACK [MQTT-3.2.0-1].
    pub(crate) fn answer_ping(&mut self, c: ConnId) {
        let Some(conn) = self.table.get(c) else {
            return;
        };
        if !conn.greeted {
            let bytes = encoded(&Packet::PingResp, conn.version());
            self.reply(c, Reply::Encoded(bytes), true);
        } else if !self.send(c, &Packet::PingResp) {
            self.unanswerable.push(c);
        }
    }

    /// Reserves the next place among the replies to `c`.
    pub(crate) fn reserve(&mut self, c: ConnId) -> Option<Ticket> {
        let conn = self.table.get_mut(c)?;
        let replies = conn.replies.get_or_insert_default();
        Some(replies.add(c, None, false))
    }

    /// Fills a place that was reserved.
    pub(crate) fn fill(&mut self, ticket: Ticket, reply: Reply) {
        if let Some(replies) = self.replies(ticket.conn) {
            replies.fill(ticket, reply);
            self.send_open(ticket.conn);
        }
    }

    fn replies(&mut self, c: ConnId) -> Option<&mut Replies> {
        self.table.get_mut(c)?.replies.as_deref_mut()
    }

    /// Replies to a peer, behind what waits already. Not `open`: [`Connections::open_reply`] is to
    /// be called before the reply may leave.
    pub(crate) fn reply(&mut self, c: ConnId, reply: Reply, open: bool) -> Option<Ticket> {
        let conn = self.table.get_mut(c)?;
        let waits = conn.replies.as_ref().is_some_and(|r| !r.is_empty());
        if open && !waits {
            self.leave(c, reply);
            return None;
        }
        let replies = conn.replies.get_or_insert_default();
        Some(replies.add(c, Some(reply), open))
    }

    /// How many replies to a peer wait.
    pub(crate) fn waiting_replies(&self, c: ConnId) -> usize {
        let replies = self.table.get(c).and_then(|conn| conn.replies.as_deref());
        replies.map_or(0, Replies::len)
    }

    /// What a reply promises is true: it leaves, and with it those behind that waited for nothing
    /// else. True if messages may follow now that could not before.
    pub(crate) fn open_reply(&mut self, ticket: Ticket) -> bool {
        let Some(replies) = self.replies(ticket.conn) else {
            return false;
        };
        replies.open(ticket);
        self.send_open(ticket.conn)
    }

    /// Sends the replies that may leave. True if messages may follow now that could not before.
    fn send_open(&mut self, c: ConnId) -> bool {
        let mut released = false;
        while let Some(reply) = self.replies(c).and_then(Replies::next_open) {
            released |= matches!(reply, Reply::Barrier(_));
            self.leave(c, reply);
        }
        released
    }

    /// A reply leaves. One that is too large for the peer is not sent, and the connection cannot go
    /// on: the peer would wait for it for ever. No other follows it, which might seem to be its
    /// answer, or go before CONNACK [MQTT-3.2.0-1].
    fn leave(&mut self, c: ConnId, reply: Reply) {
        if self.unanswerable.contains(&c) {
            return;
        }
        let ends_publish = reply.ends_publish();
        let sent = match reply {
            Reply::PubAck(id, reason) => self.send(c, &Packet::PubAck(Ack::new(id, reason))),
            Reply::PubRec(id, reason) => self.send(c, &Packet::PubRec(Ack::new(id, reason))),
            Reply::PubRel(id) => self.send(c, &Packet::PubRel(Ack::new(id, Reason::SUCCESS))),
            Reply::PubComp(id) => self.send(c, &Packet::PubComp(Ack::new(id, Reason::SUCCESS))),
            Reply::Barrier(bytes) => {
                let sent = self.send_encoded(c, &bytes);
                if let Some(conn) = self.table.get_mut(c) {
                    // The first of them is CONNACK.
                    conn.greeted |= sent;
                }
                sent
            }
            Reply::Encoded(bytes) => self.send_encoded(c, &bytes),
        };
        if let (true, Some(conn)) = (ends_publish, self.table.get_mut(c)) {
            conn.uncount_unacked();
        }
        if !sent {
            self.unanswerable.push(c);
        }
    }

    /// Holds messages back until [`Connections::release_messages`].
    pub(crate) fn hold_messages(&mut self, c: ConnId) {
        if let Some(conn) = self.table.get_mut(c) {
            conn.replies.get_or_insert_default().hold();
        }
    }

    /// Ends what [`Connections::hold_messages`] began.
    pub(crate) fn release_messages(&mut self, c: ConnId) {
        if let Some(replies) = self.replies(c) {
            replies.release();
        }
    }

    /// True if a reply was too large for some connection.
    pub(crate) fn has_unanswerable(&self) -> bool {
        !self.unanswerable.is_empty()
    }

    /// The connections that a reply was too large for.
    pub(crate) fn take_unanswerable(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.unanswerable)
    }

    /// Nothing more is read from or queued for a connection; what is in its outbox goes out.
    pub(crate) fn finish(&mut self, c: ConnId, now: Time) {
        self.doors.pass(c);
        self.logins.leave(c);
        if let Some(conn) = self.table.get_mut(c) {
            conn.close(now);
            self.mark_dirty(c);
        }
    }

    /// What waits to be written to a connection is not written any more.
    pub(crate) fn clear_outbox(&mut self, c: ConnId) {
        if let Some(conn) = self.table.get_mut(c) {
            conn.outbox.clear();
            self.mark_dirty(c);
        }
    }

    /// Stops reading a connection until the store has caught up.
    pub(crate) fn pause(&mut self, c: ConnId) {
        if let Some(conn) = self.table.get_mut(c)
            && !std::mem::replace(&mut conn.paused, true)
        {
            self.paused.push(c);
        }
    }

    /// The store has caught up.
    pub(crate) fn resume_paused(&mut self) {
        for c in std::mem::take(&mut self.paused) {
            if let Some(conn) = self.table.get_mut(c) {
                conn.paused = false;
                self.resumed.push(c);
            }
        }
    }

    /// Lets a connection be read again if nothing else forbids it.
    pub(crate) fn resume(&mut self, c: ConnId) {
        if self.get(c).is_some_and(Connection::may_be_read) {
            self.resumed.push(c);
        }
    }
}

/// Encodes a packet for a reply.
pub(crate) fn encoded(packet: &Packet<'_>, version: Version) -> Box<[u8]> {
    let mut out = Vec::new();
    if let Err(error) = encode(packet, version, &mut out) {
        impossible!("cannot encode {}: {error}", packet.name());
    }
    out.into_boxed_slice()
}
