//! All that the file says, but for the messages themselves: of those only where they lie. A message and a
//! place in a queue take 24 bytes each.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::error::Error;
use super::file::{DbFile, Record};
use super::native::{Native, Order, Votes};
use super::records::{self, Client, Format, Kind, Lasts, MESSAGE_HEAD, Queued, Subscription};
use super::report::{Left, Report};
use crate::mqtt::Props;

/// A message in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    /// Its number: a higher one came later.
    pub(super) number: u64,
    at: u64,
    len: u32,
}

impl Stored {
    /// Where it lies.
    pub(super) fn record(&self) -> Record {
        Record {
            kind: Kind::Message,
            at: self.at,
            len: self.len,
        }
    }
}

/// A client of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Known {
    pub(super) id: Box<str>,
    pub(super) username: Option<Box<str>>,
    pub(super) lasts: Lasts,
    pub(super) last_packet_id: u16,
    pub(super) port: Option<u16>,
    pub(super) subscriptions: Vec<Wanted>,
}

/// A subscription of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) filter: Box<str>,
    /// QoS and the options of MQTT 5, as in a SUBSCRIBE.
    pub(super) options: u8,
    /// The subscription identifier; 0 for none.
    pub(super) identifier: u32,
}

/// A place in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The number of the message.
    pub(super) number: u64,
    /// Whose queue it is: the place among the clients.
    pub(super) client: u32,
    /// The subscription identifier; 0 for none.
    pub(super) identifier: u32,
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    pub(super) state: u8,
    pub(super) retain: bool,
    /// The client has published it, rather than being owed it.
    pub(super) incoming: bool,
}

/// What the file says.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) order: Order,
    /// By number, each once.
    pub(super) messages: Vec<Stored>,
    pub(super) clients: Vec<Known>,
    /// In the order of the file, which is for each client that of its queues.
    pub(super) places: Vec<Place>,
    /// The numbers of messages that are retained.
    pub(super) retained: Vec<u64>,
}

impl Gathered {
    /// The place of a message among all.
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        find(&self.messages, number)
    }
}

/// The place of a message among `messages`, which are in the order of their numbers.
pub(super) fn find(messages: &[Stored], number: u64) -> Option<usize> {
    let by_number = |stored: &Stored| stored.number;
    messages.binary_search_by_key(&number, by_number).ok()
}

/// Reads all records of `file`, and counts in `report` what is left of them.
///
/// # Errors
/// It is damaged, or can't be read.
pub(super) fn gather<R: Read + Seek>(
    file: &mut DbFile<R>,
    report: &mut Report,
) -> Result<Gathered, Error> {
    let mut gathering = Gathering {
        format: file.format(),
        report,
        votes: Votes::default(),
        by_id: HashMap::new(),
        gathered: Gathered {
            order: Order::Little,
            messages: Vec::new(),
            clients: Vec::new(),
            places: Vec::new(),
            retained: Vec::new(),
        },
    };
    let mut body = Vec::new();
    while let Some(record) = file.next()? {
        let most = match record.kind {
            Kind::Message => MESSAGE_HEAD,
            Kind::Unknown => 0,
            _ => usize::MAX,
        };
        file.read(record, most, &mut body)?;
        let malformed = || record.damaged("a record that is too short");
        gathering.take(record, &body)?.ok_or_else(malformed)?;
    }
    Ok(gathering.finish())
}

struct Gathering<'a> {
    format: Format,
    report: &'a mut Report,
    votes: Votes,
    /// Places among the clients.
    by_id: HashMap<Box<str>, u32>,
    /// With numbers as if the file were little-endian.
    gathered: Gathered,
}

impl Gathering<'_> {
    /// Takes a record in; `None` if it is too short.
    fn take(&mut self, record: Record, body: &[u8]) -> Result<Option<()>, Error> {
        if self.gathered.clients.len() >= u32::MAX as usize
            || self.gathered.messages.len() >= u32::MAX as usize
            || self.gathered.places.len() >= u32::MAX as usize
        {
            return Err(Error::TooMany);
        }
        Ok(match record.kind {
            Kind::Settings => {
                let number = records::number(self.format, Kind::Settings, body);
                number.map(|number| self.votes.see(number))
            }
            Kind::Message => self.message(record, body),
            Kind::Retained => {
                let number = records::number(self.format, Kind::Retained, body);
                number.map(|number| {
                    let number = self.number(number);
                    self.gathered.retained.push(number);
                })
            }
            Kind::Client => Client::parse(self.format, body).map(|client| self.client(&client)),
            Kind::Queued => Queued::parse(self.format, body).map(|queued| self.queued(&queued)),
            Kind::Subscription => {
                let parsed = Subscription::parse(self.format, body);
                parsed.map(|wanted| self.subscription(&wanted))
            }
            Kind::Unknown => {
                self.report.leave(Left::Unknown, 1);
                Some(())
            }
        })
    }

    /// A number as if the file were little-endian.
    fn number(&mut self, number: Native) -> u64 {
        self.votes.see(number);
        number.value(Order::Little)
    }

    fn message(&mut self, record: Record, head: &[u8]) -> Option<()> {
        let (number, expires) = records::message_head(self.format, head)?;
        self.votes.see(expires);
        let number = self.number(number);
        self.gathered.messages.push(Stored {
            number,
            at: record.at,
            len: record.len,
        });
        Some(())
    }

    fn client(&mut self, client: &Client<'_>) {
        let (Ok(id), Ok(username)) = (
            std::str::from_utf8(client.id),
            std::str::from_utf8(client.username),
        ) else {
            return self.report.leave(Left::BadClients, 1);
        };
        let Ok(at) = u32::try_from(self.gathered.clients.len()) else {
            return;
        };
        if id.is_empty() || self.by_id.contains_key(id) {
            return self.report.leave(Left::BadClients, 1);
        }
        let (Lasts::Since(time) | Lasts::Until { end: time, .. }) = client.lasts;
        self.votes.see(time);
        self.by_id.insert(id.into(), at);
        self.gathered.clients.push(Known {
            id: id.into(),
            username: Some(username)
                .filter(|name| !name.is_empty())
                .map(Into::into),
            lasts: client.lasts,
            last_packet_id: client.last_packet_id,
            port: client.port,
            subscriptions: Vec::new(),
        });
    }

    /// The place of a client. Mostly records are about the client of the last one.
    fn find(&self, id: &[u8]) -> Option<u32> {
        let last = self.gathered.clients.last();
        if last.is_some_and(|last| last.id.as_bytes() == id) {
            return u32::try_from(self.gathered.clients.len() - 1).ok();
        }
        self.by_id.get(std::str::from_utf8(id).ok()?).copied()
    }

    fn queued(&mut self, queued: &Queued<'_>) {
        let Some(client) = self.find(queued.client_id) else {
            return self.report.leave(Left::NoClient, 1);
        };
        let ids = Props::of_publish(queued.props);
        let identifier = ids.and_then(|props| props.subscription_ids().next());
        let number = self.number(queued.number);
        self.gathered.places.push(Place {
            number,
            client,
            identifier: identifier.unwrap_or_default(),
            packet_id: queued.packet_id,
            qos: queued.qos,
            state: queued.state,
            retain: queued.retain,
            incoming: queued.incoming,
        });
    }

    fn subscription(&mut self, wanted: &Subscription<'_>) {
        let found = self.find(wanted.client_id);
        let client = found.and_then(|at| self.gathered.clients.get_mut(at as usize));
        let Some(client) = client else {
            return self.report.leave(Left::NoClient, 1);
        };
        match std::str::from_utf8(wanted.filter) {
            Ok(filter) => client.subscriptions.push(Wanted {
                filter: filter.into(),
                options: wanted.options,
                identifier: wanted.identifier,
            }),
            Err(_) => self.report.leave(Left::BadFilters, 1),
        }
    }

    fn finish(self) -> Gathered {
        let mut gathered = self.gathered;
        gathered.order = self.votes.order();
        if gathered.order == Order::Big {
            let stored = gathered
                .messages
                .iter_mut()
                .map(|stored| &mut stored.number);
            let places = gathered.places.iter_mut().map(|place| &mut place.number);
            for number in stored.chain(places).chain(&mut gathered.retained) {
                *number = number.swap_bytes();
            }
        }
        gathered.messages.sort_by_key(|stored| stored.number);
        gathered.messages.dedup_by_key(|stored| stored.number);
        gathered
    }
}
