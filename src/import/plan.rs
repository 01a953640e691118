//! In which order the messages of the file are stored. The store sends to each session by rising numbers,
//! and has a message once for all who are owed it: so numbers must rise along every queue of the file.
//!
//! Messages go by their numbers in Mosquitto, in the order in which they came. Where a queue has another
//! order, as when a client subscribed anew and got what was retained, the message is stored once more for
//! that queue, behind the one before it.

use std::io::{Read, Seek};

use super::error::Error;
use super::file::DbFile;
use super::gather::{Gathered, Place, Stored, find, gather};
use super::moment::Moment;
use super::report::{Left, Report};
use super::sessions::{Fate, Progress};
use crate::config::Config;
use crate::message::{MessageId, SessionId};
use crate::mqtt::QoS;

/// A message in the queue of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Copy {
    /// The message of the file that it stands at or behind.
    anchor: u32,
    /// 0 if it is the message that it stands at, else its number among all that stand behind one.
    extra: u32,
    /// Its place in the queue: one of [`Gathered::places`].
    pub(super) place: u32,
    /// The message itself: one of [`Gathered::messages`].
    pub(super) message: u32,
}

impl Copy {
    /// Whether both are of one message in the store.
    pub(super) fn is_with(&self, other: &Copy) -> bool {
        (self.anchor, self.extra) == (other.anchor, other.extra)
    }
}

/// What is to be stored.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) gathered: Gathered,
    /// One for each client of the file.
    pub(super) fates: Vec<Fate>,
    /// The messages in queues in the order in which they are stored; those of one row of the store together.
    pub(super) copies: Vec<Copy>,
    /// Messages of QoS 2 that publishers are about to release, as above: to be routed.
    pub(super) received: Vec<Copy>,
    /// The number of the first row.
    pub(super) first: MessageId,
}

/// Reads the file, and decides about all of it but its messages. `first`: the numbers for the first message
/// and the first session.
///
/// # Errors
/// It is damaged, or can't be read.
pub(super) fn plan<R: Read + Seek>(
    file: &mut DbFile<R>,
    (config, moment): (&Config, &Moment),
    (first, first_session): (MessageId, SessionId),
    report: &mut Report,
) -> Result<Plan, Error> {
    let gathered = gather(file, report)?;
    let is_known = |id: &str| gathered.clients.iter().any(|known| *known.id == *id);
    let numbers = (first_session.0..).map(SessionId);
    let fates = gathered.clients.iter().zip(numbers).map(|(client, id)| {
        let client = (client, gathered.order);
        Fate::decide((config, moment), client, id, is_known, report)
    });
    let fates = fates.collect();
    let mut plan = Plan {
        fates,
        copies: Vec::new(),
        received: Vec::new(),
        first,
        gathered,
    };
    plan.queue(report);
    plan.copies.sort_unstable();
    plan.received.sort_unstable();
    plan.note();
    Ok(plan)
}

impl Plan {
    /// Gives each message in a queue its place among all.
    fn queue(&mut self, report: &mut Report) {
        // The last message in the queue of each client.
        let mut last: Vec<Option<u32>> = vec![None; self.fates.len()];
        let mut extras = 0;
        for (at, place) in (0..).zip(&mut self.gathered.places) {
            let client = place.client as usize;
            let (Some(fate), Some(last)) = (self.fates.get_mut(client), last.get_mut(client))
            else {
                continue;
            };
            let session = match fate {
                Fate::Comes(session) => session,
                Fate::Stays(left) => {
                    report.leave(left.clone(), 1);
                    continue;
                }
            };
            let progress = Progress::of(place);
            match progress {
                Progress::Done => continue,
                Progress::Unanswered => {
                    report.leave(Left::Unanswered, 1);
                    continue;
                }
                _ => {}
            }
            let message = match message_of(place, &self.gathered.messages) {
                Ok(message) => message,
                Err(left) => {
                    report.leave(left, 1);
                    continue;
                }
            };
            if let Progress::Received(_) = progress {
                self.received.push(Copy {
                    anchor: message,
                    extra: at,
                    place: at,
                    message,
                });
                continue;
            }
            if let Progress::Sent(id) | Progress::Releasing(id) = progress
                && !session.take_id(id)
            {
                // It goes as one that was never sent.
                place.packet_id = 0;
            }
            let (anchor, extra) = match *last {
                Some(last) if message <= last => {
                    extras += 1;
                    (last, extras)
                }
                _ => (message, 0),
            };
            *last = Some(anchor);
            self.copies.push(Copy {
                anchor,
                extra,
                place: at,
                message,
            });
        }
    }

    /// Notes what of the messages is under way, in the states of their sessions.
    fn note(&mut self) {
        let rows = self.copies.chunk_by(Copy::is_with);
        let numbered = (self.first.0..).map(MessageId).zip(rows);
        let numbered = numbered.flat_map(|(id, row)| row.iter().map(move |copy| (id, copy)));
        let received = self.received.iter().map(|copy| (MessageId(0), copy));
        for (id, copy) in numbered.chain(received) {
            let Some(place) = self.gathered.places.get(copy.place as usize) else {
                continue;
            };
            let fate = self.fates.get_mut(place.client as usize);
            if let Some(Fate::Comes(session)) = fate {
                session.note(Progress::of(place), id);
            }
        }
    }
}

/// The message that a place in a queue is for, by its place among `messages`.
///
/// # Errors
/// There is none, or it has no QoS.
fn message_of(place: &Place, messages: &[Stored]) -> Result<u32, Left> {
    QoS::from_bits(place.qos).ok_or(Left::BadMessages)?;
    let found = find(messages, place.number).ok_or(Left::NoMessage)?;
    u32::try_from(found).map_err(|_| Left::NoMessage)
}
