//! Driving a connection: reading, decoding, writing.
//!
//! It has no task: the turn (`turn`) drives those that are ready.

mod figures;
mod handshake;

use std::mem;

use super::channel::Read;
use super::conn::{Conn, Role, Transport};
use super::half::{self, CROWDED, READ_WHEN_CROWDED, SMALL, Sender};
use super::hub::Hub;
use super::progress::End;
use super::reactor::Readiness;
use super::turn::ready::{self, Ready};
use super::web::Code;
use crate::broker::ConnId;
use crate::config::CertificateUsername;
use crate::mqtt::{self, Packet};
use crate::time::Time;

impl Hub {
    /// Takes in what more can be done with the connection's socket.
    pub(super) fn changed(&mut self, id: ConnId, more: Readiness) {
        let Some(conn) = self.conn(id) else {
            return;
        };
        let unblocked = more.writable && !conn.ready.writable;
        conn.ready.add(more);
        if unblocked {
            self.broker.write_soon(id);
        }
        if more.readable || unblocked {
            self.make_ready(id);
        }
    }

    /// Puts the connection on the list of those that the turn drives.
    pub(super) fn make_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && conn.queue()
        {
            self.ready.push(id);
        }
    }

    /// The connection has more to do, but had its share: others come first. Devices that send all the
    /// time don't make an upstream wait.
    fn go_on_later(&mut self, id: ConnId, push: fn(&mut Ready, ConnId)) {
        if let Some(conn) = self.conn(id)
            && conn.queue()
        {
            match conn.role {
                Role::Device => push(&mut self.ready, id),
                Role::Upstream(_) => self.ready.push(id),
            }
        }
    }

    /// Does what the connection can do now, and what its share of the turn is.
    pub(super) fn drive(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.unqueue();
        }
        self.share_end = self.work() + ready::CONNECTION;
        if let Err(end) = self.read(id) {
            self.detach(id, &end);
        }
    }

    /// At most one read, so that a connection that always has more takes turns with the others.
    fn read(&mut self, id: ConnId) -> Result<(), End> {
        let conn = self.conn(id).ok_or(End::Asked)?;
        if conn.is_handshaking() {
            return self.read_handshake(id);
        }
        if conn.is_paused() && !self.go_on(id) || !self.is_readable(id) {
            return Ok(());
        }
        if self.work() + ready::CONNECTION / 2 > self.share_end {
            // It has just decoded what a read had left.
            self.go_on_later(id, Ready::push_rest);
            return Ok(());
        }
        if self.gathers(id) {
            return Ok(());
        }
        let (mut buf, mut sealed) = (mem::take(&mut self.buf), mem::take(&mut self.sealed));
        let packets = self.traffic.packets_received;
        let read = self.read_into(id, &mut buf, &mut sealed);
        (self.buf, self.sealed) = (buf, sealed);
        if read? && let Some(Role::Upstream(index)) = self.conn(id).map(|conn| conn.role) {
            let (is_whole, now) = (self.traffic.packets_received > packets, self.now());
            self.heard(index, is_whole, now);
            self.ask_for_the_rest(id);
        }
        self.after_read(id);
        if self.is_readable(id) {
            self.go_on_later(id, Ready::push_again);
        }
        Ok(())
    }

    /// Sees to what is not MQTT: pings, the end of a WebSocket, requests.
    fn after_read(&mut self, id: ConnId) {
        self.tell_figures(id);
        let Some((paused, web)) = self.conn(id).and_then(|c| Some((c.is_paused(), c.web()?)))
        else {
            return;
        };
        // What came before the end is dealt with before it.
        let over = web.over().is_some() && !paused;
        let has_output = web.has_output();
        if over {
            self.pause(id);
            self.end(id);
        } else if has_output {
            self.write_soon(id);
        }
    }

    fn is_readable(&mut self, id: ConnId) -> bool {
        self.conn(id)
            .is_some_and(|conn| conn.ready.readable && !conn.is_paused())
    }

    /// Reads once and hands on what is whole. A small half packet moves to the front of `buf`, so
    /// that one read and one decode see it whole; a larger one grows where it is. False: nothing was
    /// there.
    fn read_into(&mut self, id: ConnId, buf: &mut [u8], sealed: &mut [u8]) -> Result<bool, End> {
        let is_crowded = self.half.bytes() > CROWDED;
        let conn = self.conn(id).ok_or(End::Asked)?;
        let waiting = conn.transport.partial().len();
        let front = if waiting <= SMALL { waiting } else { 0 };
        let (head, room) = buf.split_at_mut_checked(front).ok_or(End::Asked)?;
        // Most of what is read of a large packet is that packet's.
        let most = if is_crowded && waiting <= SMALL {
            room.len().min(READ_WHEN_CROWDED)
        } else {
            room.len()
        };
        let read = conn.read((&mut *room, sealed), most);
        let holds_output = conn.holds_output();
        if holds_output {
            // Of a handshake, or why it failed.
            self.write_soon(id);
        }
        let Some(Read { wire, plain: n }) = read? else {
            self.io += ready::read_cost(0);
            return Ok(false);
        };
        self.traffic.bytes_received += wire as u64;
        self.io += ready::read_cost(wire);
        let conn = self.conn(id).ok_or(End::Asked)?;
        let n = conn.unwrap(room.get_mut(..n).unwrap_or_default());
        let mut partial = self.take_partial(id);
        if front == partial.len() {
            head.copy_from_slice(&partial);
            let bytes = buf.get(..front + n).unwrap_or_default();
            let used = self.consume(id, bytes);
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                // Frees the buffer of the half packet, if there was one.
                return Ok(true);
            }
            partial.clear();
            if self.append(id, &mut partial, rest) {
                self.keep(id, partial);
            }
        } else if self.append(id, &mut partial, room.get(..n).unwrap_or_default()) {
            let used = self.consume(id, &partial);
            half::cut(&mut partial, used);
            self.keep(id, partial);
        }
        Ok(true)
    }

    /// Decodes on what was read before the pause. False: the broker still asks to wait.
    fn go_on(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conn(id) else {
            return false;
        };
        conn.pause(false);
        let mut partial = self.take_partial(id);
        let used = self.consume(id, &partial);
        half::cut(&mut partial, used);
        self.keep(id, partial);
        self.after_read(id);
        self.conn(id).is_some_and(|conn| !conn.is_paused())
    }

    /// Takes out what was read but not yet decoded.
    pub(super) fn take_partial(&mut self, id: ConnId) -> Vec<u8> {
        let Some(conn) = self.conn(id) else {
            return Vec::new();
        };
        let partial = mem::take(conn.transport.partial());
        self.half.take(id, &partial);
        partial
    }

    /// Appends `more` to `partial`, what `id` has sent so far of a packet. False: there is no
    /// memory for it, and the connection is closed.
    fn append(&mut self, id: ConnId, partial: &mut Vec<u8>, more: &[u8]) -> bool {
        let Some(role) = self.conn(id).map(|conn| conn.role) else {
            return false;
        };
        let sender = match role {
            Role::Upstream(_) => Sender::Upstream,
            Role::Device if self.broker.is_admitted(id) => Sender::Client,
            Role::Device => Sender::Stranger,
        };
        let fits = self.half.append(partial, more, sender);
        if !fits {
            let now = self.now();
            self.broker.no_memory(id, now);
            self.pause(id);
        }
        fits
    }

    /// Keeps `partial` until more of it comes; an empty one, with its memory, is not kept.
    fn keep(&mut self, id: ConnId, partial: Vec<u8>) {
        if partial.is_empty() || self.conn(id).is_none() {
            return;
        }
        self.half.keep(id, &partial);
        if let Some(conn) = self.conn(id) {
            *conn.transport.partial() = partial;
        }
    }

    /// Decodes packets and hands them on, until half a packet is left, reading is to wait, or the
    /// connection has had its share; what it has sent beyond that lies as if reading were to wait.
    /// Returns the bytes used.
    fn consume(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let now = self.now();
        let Some(role) = self.conn(id).map(|c| c.role) else {
            return bytes.len();
        };
        let mut used = match role {
            Role::Device => 0,
            Role::Upstream(index) => self.skip_faulty(index, bytes.len()),
        };
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            if self.work() >= self.share_end {
                self.pause(id);
                self.go_on_later(id, Ready::push_rest);
                break;
            }
            let Some((version, max)) = self.broker.reading(id) else {
                self.pause(id);
                break;
            };
            match mqtt::decode(rest, version, max) {
                Ok(Some((packet, len))) => {
                    used += len;
                    self.traffic.packets_received += 1;
                    match role {
                        Role::Device => self.device_packet(id, packet, now),
                        Role::Upstream(index) => self.upstream_packet(index, id, packet, now),
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    let passed = match role {
                        Role::Device => Err(e),
                        Role::Upstream(index) => {
                            self.faulty_packet(index, id, (rest, version), e, now)
                        }
                    };
                    match passed {
                        Ok(Some(len)) => used += len,
                        Ok(None) => break,
                        Err(e) => {
                            self.malformed(id, rest, e, now);
                            return bytes.len();
                        }
                    }
                }
            }
        }
        used
    }

    /// Hands a client's packet on. With CONNECT its keep-alive is known: the system does not ask for
    /// it before.
    fn device_packet(&mut self, id: ConnId, packet: Packet<'_>, now: Time) {
        let Packet::Connect(mut connect) = packet else {
            return self.broker.packet(id, packet, now);
        };
        let by = self.broker.asks_for_certificate(id);
        let certificate = self
            .conn(id)
            .filter(|_| by.is_some())
            .and_then(|conn| conn.certificate());
        let proven = match (by, &certificate) {
            (Some(by), Some(certificate)) => {
                self.broker.show_certificate(id, by, &certificate.subject);
                certificate.username(by)
            }
            _ => None,
        };
        if by.is_some_and(|by| by != CertificateUsername::None) {
            // What the client says of itself doesn't count, as in Mosquitto.
            (connect.username, connect.password) = (proven, None);
        }
        self.broker.packet(id, Packet::Connect(connect), now);
        self.ask_after(id);
    }

    /// The system asks for the client after its keep-alive, once that is known.
    pub(super) fn ask_after(&mut self, id: ConnId) {
        let (keep_alive, options) = (self.broker.keep_alive(id), self.options());
        if let Some(conn) = self.conn(id) {
            conn.ask_after(keep_alive, options);
        }
    }

    /// Nothing can be read after this; the broker closes the connection.
    fn malformed(&mut self, id: ConnId, bytes: &[u8], error: mqtt::Error, now: Time) {
        if let Some(web) = self.conn(id).and_then(Conn::web) {
            web.code = match error {
                mqtt::Error::PacketTooLarge { .. } => Code::TOO_BIG,
                _ => Code::PROTOCOL_ERROR,
            };
        }
        self.broker.malformed(id, bytes, error, now);
        self.pause(id);
    }

    fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id) {
            conn.pause(true);
        }
    }

    /// Writes to `id` what its outbox holds. A connection that is to close gets this one attempt:
    /// what the kernel does not take then, the peer was not reading.
    pub(super) fn flush_one(&mut self, id: ConnId, now: Time) {
        let place = self.conns.get_mut(id.slot()).and_then(Option::as_mut);
        let Some(conn) = place.filter(|conn| conn.is(id)) else {
            return;
        };
        let Some(outbox) = self.broker.outbox(id) else {
            return;
        };
        let waiting = outbox.len();
        let written = match conn.transport {
            Transport::Plain(_) => conn.write_out(outbox),
            Transport::Web(_) => conn.write_web(outbox, &mut self.buf),
        };
        let moved = match written {
            Ok(moved) => moved,
            // Reading would say so too, but may be paused.
            Err(end) => return self.detach(id, &end),
        };
        let sent = waiting - outbox.len();
        self.traffic.bytes_sent += sent as u64;
        self.io += ready::write_cost(sent);
        let is_empty = outbox.is_empty() && !conn.holds_output();
        outbox.is_blocked = !is_empty && !conn.ready.writable;
        let (sending, is_answered) = (conn.is_answering(), conn.is_answered());
        let close = outbox.close || is_answered;
        let (role, paused, writable) = (conn.role, conn.is_paused(), conn.ready.writable);
        // Nothing can be said before that.
        let is_handshaking = conn.is_handshaking();
        // It has had its share of writes.
        let goes_on = writable && !is_empty && !is_handshaking;
        if moved {
            if let Role::Upstream(index) = role
                && let Some(uplink) = self.uplink(index)
            {
                uplink.sent(sent as u64, now);
            }
            self.broker.flushed(id, now);
        }
        if sending {
            // A peer that reads nothing does not hold the connection for ever.
            if moved {
                self.broker.touch(id, now);
            }
        }
        self.is_unwritten |= goes_on;
        if goes_on || sending && writable {
            // Others first.
            self.broker.write_soon(id);
        }
        if close && !goes_on {
            let end = self.conn(id).map_or(End::Asked, Conn::our_end);
            self.detach(id, &end);
        } else if moved && paused {
            // It may be paused because it did not take its output.
            self.make_ready(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::broker::Address;
    use crate::net::Shared;
    use crate::net::half::tests::hub;

    /// A connection that has just come; the peer's end is to be kept.
    fn next(hub: &Shared) -> (ConnId, UnixStream) {
        let (ours, peer) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut hub = hub.borrow_mut();
        let now = hub.now();
        let id = hub.broker.accept(0, Address::Local, now).unwrap();
        let socket = socket2::Socket::from(std::os::fd::OwnedFd::from(ours));
        hub.attach(id, socket, Role::Device, Vec::new()).unwrap();
        (id, peer)
    }

    /// The broker hears of a peer that does not take what is written to it, until it does.
    #[test]
    fn a_peer_that_does_not_read_is_blocked() {
        let (_reactor, hub) = hub();
        let (id, mut peer) = next(&hub);
        let mut hub = hub.borrow_mut();
        let now = hub.now();
        let writable = Readiness {
            writable: true,
            ..Readiness::default()
        };
        let outbox = hub.broker.outbox(id).unwrap();
        outbox.buffer().resize(4 << 20, 0);
        let mut seen = Vec::new();
        peer.set_nonblocking(true).unwrap();
        for reads in [false, true] {
            for _ in 0..1000 {
                hub.changed(id, writable);
                hub.flush_one(id, now);
                let outbox = hub.broker.outbox(id).unwrap();
                seen.push((outbox.is_blocked, outbox.is_empty()));
                if reads {
                    // All that the kernel has: then it says that there is nothing more.
                    let _ = peer.read_to_end(&mut Vec::new());
                } else if outbox.is_blocked {
                    break;
                }
                if outbox.is_empty() {
                    break;
                }
            }
            let expected = (!reads, reads);
            assert_eq!(seen.last(), Some(&expected));
        }
    }

    #[test]
    fn a_late_event_does_not_reach_the_next_user_of_a_place() {
        let (_reactor, hub) = hub();
        let more = Readiness {
            readable: true,
            ended: true,
            ..Readiness::default()
        };
        let (first, _peer) = next(&hub);
        hub.borrow_mut().changed(first, more);
        hub.borrow_mut().detach(first, &End::Eof);
        let (second, _peer) = next(&hub);
        assert_eq!(first.slot(), second.slot());
        let mut hub = hub.borrow_mut();
        hub.ready = Ready::default();
        hub.changed(first, more);
        hub.detach(first, &End::Eof);
        hub.drive(first);
        let conn = hub.conn(second).unwrap();
        assert!(!conn.ready.readable && !conn.ready.ended && !conn.is_queued());
        assert!(hub.ready.is_empty());
        hub.changed(second, more);
        assert!(hub.conn(second).unwrap().is_queued());
    }
}
