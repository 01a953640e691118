//! SUBSCRIBE and UNSUBSCRIBE packets of so many filters that these are taken in pieces.

use std::num::NonZeroU32;

use crate::broker::connections::replies::Ticket;
use crate::held::{ALLOCATION, CONNECTIONS, Charge};
use crate::mqtt::{PacketId, QoS, Reason, RetainHandling, Subscription};

/// What is asked for with a filter.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// Where the filter ends in the text of all of them.
    end: usize,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: RetainHandling,
}

/// A packet whose filters are taken in pieces, and what became of those that were.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: PacketId,
    pub(crate) purpose: Purpose,
    /// What is answered so far, a code for each filter that was taken.
    pub(crate) reasons: Vec<Reason>,
    /// The place of the answer, which is reserved when the packet comes.
    pub(crate) ticket: Option<Ticket>,
    /// All filters, one behind the other.
    text: String,
    wanted: Vec<Wanted>,
    held: Charge<CONNECTIONS>,
}

/// What the packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// SUBSCRIBE, with its subscription identifier.
    Subscribe(Option<NonZeroU32>),
    /// UNSUBSCRIBE.
    Unsubscribe,
}

/// What so many filters take whose text has so many bytes.
fn size(filters: usize, text: usize) -> usize {
    let each = size_of::<Wanted>() + size_of::<Reason>();
    filters * each + text + size_of::<Asked>() + 4 * ALLOCATION
}

impl Asked {
    /// A packet without filters yet.
    pub(crate) fn new(id: PacketId, purpose: Purpose) -> Asked {
        Asked {
            id,
            purpose,
            reasons: Vec::new(),
            ticket: None,
            text: String::new(),
            wanted: Vec::new(),
            held: Charge::default(),
        }
    }

    /// Adds what is asked for with a filter, which `write` adds to the text of all: not `wanted.filter`.
    pub(crate) fn add(&mut self, wanted: &Subscription<'_>, write: impl FnOnce(&mut String)) {
        write(&mut self.text);
        self.wanted.push(Wanted {
            end: self.text.len(),
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            retain_handling: wanted.retain_handling,
        });
    }

    /// All filters were added.
    pub(crate) fn complete(&mut self) {
        self.text.shrink_to_fit();
        self.wanted.shrink_to_fit();
        self.reasons.reserve_exact(self.wanted.len());
        self.held.set(size(self.wanted.len(), self.text.len()));
    }

    /// What a packet of these filters takes in memory, in bytes, about.
    pub(crate) fn size<'f>(filters: impl ExactSizeIterator<Item = &'f str>) -> usize {
        size(filters.len(), filters.map(str::len).sum())
    }

    /// How many filters were taken.
    fn taken(&self) -> usize {
        self.reasons.len()
    }

    /// How many filters are still to be taken.
    pub(in crate::broker::connections) fn left(&self) -> usize {
        self.wanted.len().saturating_sub(self.taken())
    }

    /// True once a reason stands for each filter.
    pub(crate) fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// The filters that come next, until those before them cost `most` by `cost`; one at least, if
    /// there is one.
    pub(crate) fn next(&self, most: usize, cost: impl Fn(&str) -> usize) -> Vec<Subscription<'_>> {
        let (mut next, mut done) = (Vec::new(), 0);
        let before = self.taken().checked_sub(1);
        let mut start = before.and_then(|at| Some(self.wanted.get(at)?.end));
        for wanted in self.wanted.iter().skip(self.taken()) {
            if !next.is_empty() && done >= most {
                break;
            }
            let filter = self.text.get(start.unwrap_or_default()..wanted.end);
            start = Some(wanted.end);
            let filter = filter.unwrap_or_default();
            done += cost(filter);
            next.push(Subscription {
                filter,
                qos: wanted.qos,
                no_local: wanted.no_local,
                retain_as_published: wanted.retain_as_published,
                retain_handling: wanted.retain_handling,
            });
        }
        next
    }

    /// What it takes in memory, in bytes.
    pub(in crate::broker::connections) fn held(&self) -> usize {
        self.held.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_in_their_order_each_once() {
        let mut asked = Asked::new(PacketId::new(1).unwrap(), Purpose::Unsubscribe);
        let filters = ["a", "", "b/c", "d/e/f", "ä"];
        for filter in filters {
            let wanted = Subscription::new(filter, QoS::AtMostOnce);
            asked.add(&wanted, |text| text.push_str(filter));
        }
        asked.complete();
        let mut came = Vec::new();
        while !asked.is_done() {
            let next = asked.next(3, str::len);
            let next: Vec<String> = next.iter().map(|wanted| wanted.filter.to_owned()).collect();
            asked.reasons.extend(next.iter().map(|_| Reason::SUCCESS));
            came.push(next.join(" "));
        }
        assert_eq!(came, ["a  b/c", "d/e/f", "ä"]);
        assert!(asked.held() > filters.concat().len());
    }
}
