//! What is sent beside the queue: values of retained messages that bring an upstream up to date. They
//! are owed only while the connection lasts, and are not counted as owed.

use std::rc::Rc;

use super::entry::Entry;
use super::outbound::Outbound;
use super::places::{Flight, Handshake};
use crate::message::Message;
use crate::mqtt::PacketId;
use crate::time::Time;

impl Outbound {
    /// True if nothing waits to be sent, and something could be.
    pub fn is_drained(&self) -> bool {
        self.online && self.ready() == 0 && !self.is_behind()
    }

    /// Takes a place in the sequence for a message that is not stored. The packet id that follows
    /// from it is free.
    pub fn free_seq(&mut self) -> u64 {
        loop {
            let seq = self.next_seq();
            if self.flying(PacketId::of_sequence(seq)).is_none() {
                return seq;
            }
        }
    }

    /// The place in the sequence that is taken next.
    pub fn seq(&self) -> u64 {
        self.next_seq
    }

    /// A QoS 1 message that is not in the queue was sent: its acknowledgement is due.
    pub fn fly_aside(&mut self, entry: &Entry, now: Time) {
        let (message, owed) = (&entry.message, entry.owed.clone());
        let size = message.size();
        let flight = Flight {
            id: None,
            size,
            payload: u32::try_from(message.payload().len()).unwrap_or(size),
            arrival: message.arrival,
            expires: None,
            handshake: Handshake::Published,
            sent: now,
            message: Some(Rc::clone(message)),
            is_aside: true,
            owed,
        };
        self.places().take_off(flight);
    }

    /// The message under way with `id`, if it was sent beside the queue.
    pub fn flying_aside(&self, id: PacketId) -> Option<Rc<Message>> {
        let mut flights = self.places.as_ref()?.flights.iter();
        let flight = flights.find(|f| PacketId::of_sequence(f.owed.seq) == id)?;
        flight.message.clone().filter(|_| flight.is_aside)
    }

    /// The first place in the sequence whose message is sent and not acknowledged to the end.
    pub fn first_unacknowledged(&self) -> Option<u64> {
        let flights = self.places.as_ref()?.flights.iter();
        flights.map(|flight| flight.owed.seq).min()
    }

    /// When the oldest message arrived that is sent and not acknowledged, or waits in RAM; one that
    /// was sent beside the queue aside.
    pub fn oldest_in_ram(&self) -> Option<Time> {
        let places = self.places.as_ref()?;
        let flights = places.at(Handshake::Published).filter(|f| !f.is_aside);
        let ready = places.ready.iter().map(|entry| entry.message.arrival);
        flights.map(|f| f.arrival).chain(ready).min()
    }
}
