//! QoS 2 messages from the peer: which packet ids are between PUBLISH and PUBREL.

use crate::mqtt::PacketId;
use crate::store::{IdPage, ids_on, place_of};

/// So many packet ids stand in the state row of the session; of more, each page has a row of its own.
/// In tests it is few, so that the simulation gets there.
const IN_STATE: usize = if cfg!(test) { 4 } else { 32 };

/// What a QoS 2 PUBLISH turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// A new message: route it, then PUBREC.
    New,
    /// Already received: PUBREC only [MQTT-4.3.3-10].
    Known,
}

/// The packet ids whose QoS 2 message was received but not yet released (method A of 5.0
/// §4.3.3: the message is routed at once, the id kept until PUBREL).
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// Made with the first; most sessions have none.
    ids: Option<Box<Ids>>,
}

#[derive(Clone, Debug, Default)]
struct Ids {
    /// By number, none of them empty.
    pages: Vec<(u8, IdPage)>,
    /// How many ids there are.
    len: usize,
    /// Pages have rows of their own, and the state row of the session has no ids.
    apart: bool,
    /// The numbers of the pages that have changed since their rows were written.
    unsaved: Numbers,
    /// The numbers of the pages that have rows.
    stored: Numbers,
}

/// A set of pages, by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Numbers([u64; 4]);

impl Numbers {
    fn has(self, number: u8) -> bool {
        let word = self.0.get(usize::from(number / 64));
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn set(&mut self, number: u8, is_in: bool) {
        if let Some(word) = self.0.get_mut(usize::from(number / 64)) {
            let bit = 1 << (number % 64);
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }
}

impl Ids {
    fn has(&self, id: PacketId) -> bool {
        let (number, word, bit) = place_of(id);
        let at = self.pages.binary_search_by_key(&number, |(n, _)| *n);
        let page = at.ok().and_then(|at| self.pages.get(at));
        page.and_then(|(_, page)| page.get(word))
            .is_some_and(|word| word & bit != 0)
    }

    /// Takes an id in that is not there.
    fn insert(&mut self, id: PacketId) {
        let (number, word, bit) = place_of(id);
        let at = match self.pages.binary_search_by_key(&number, |(n, _)| *n) {
            Ok(at) => at,
            Err(at) => {
                self.pages.insert(at, (number, IdPage::default()));
                at
            }
        };
        let page = self.pages.get_mut(at).map(|(_, page)| page);
        if let Some(word) = page.and_then(|page| page.get_mut(word)) {
            *word |= bit;
            self.len += 1;
            self.unsaved.set(number, true);
        }
    }

    /// Takes an id out that is there.
    fn remove(&mut self, id: PacketId) {
        let (number, word, bit) = place_of(id);
        let Ok(at) = self.pages.binary_search_by_key(&number, |(n, _)| *n) else {
            return;
        };
        let Some((_, page)) = self.pages.get_mut(at) else {
            return;
        };
        if let Some(word) = page.get_mut(word) {
            *word &= !bit;
            self.len = self.len.saturating_sub(1);
            self.unsaved.set(number, true);
        }
        if *page == IdPage::default() {
            self.pages.remove(at);
        }
    }

    fn iter(&self) -> impl Iterator<Item = PacketId> {
        self.pages
            .iter()
            .flat_map(|(number, page)| ids_on(*number, page))
    }

    /// The first id beyond `id`, or the lowest.
    fn next_after(&self, id: PacketId) -> Option<PacketId> {
        let (number, ..) = place_of(id);
        let from = self.pages.partition_point(|(n, _)| *n < number);
        let later = self.pages.get(from..).unwrap_or_default().iter();
        let mut later = later.flat_map(|(number, page)| ids_on(*number, page));
        later.find(|next| *next > id).or_else(|| self.iter().next())
    }

    fn clear(&mut self) {
        for (number, _) in std::mem::take(&mut self.pages) {
            self.unsaved.set(number, true);
        }
        self.len = 0;
    }
}

impl Inbound {
    /// Restores the ids that were on disk. The pages with these numbers have rows of their own there.
    pub fn restore(received: &[PacketId], pages: &[u8]) -> Inbound {
        if received.is_empty() && pages.is_empty() {
            return Inbound::default();
        }
        let mut ids = Ids {
            apart: !pages.is_empty(),
            ..Ids::default()
        };
        for id in received {
            if !ids.has(*id) {
                ids.insert(*id);
            }
        }
        ids.unsaved = Numbers::default();
        for number in pages {
            ids.stored.set(*number, true);
        }
        Inbound {
            ids: Some(Box::new(ids)),
        }
    }

    /// Whether a QoS 2 PUBLISH under `id` is new. Does not change anything: the id is taken by
    /// [`Inbound::receive`] once the message has been accepted.
    pub fn look(&self, id: PacketId) -> Receipt {
        if self.ids.as_ref().is_some_and(|ids| ids.has(id)) {
            Receipt::Known
        } else {
            Receipt::New
        }
    }

    /// Takes `id` as received. If more than `most` are held then, one is forgotten, and this is true:
    /// the next beyond `id` in the circle of numbers, which is the oldest where the peer counts up.
    pub fn receive(&mut self, id: PacketId, most: usize) -> bool {
        let ids = self.ids.get_or_insert_default();
        if !ids.has(id) {
            ids.insert(id);
        }
        if ids.len <= most.max(1) {
            return false;
        }
        let oldest = ids.next_after(id);
        if let Some(oldest) = oldest {
            ids.remove(oldest);
        }
        oldest.is_some()
    }

    /// PUBREL came in: forgets `id`. False if it was not known.
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(ids) = self.ids.as_mut().filter(|ids| ids.has(id)) else {
            return false;
        };
        ids.remove(id);
        self.shrink();
        true
    }

    /// Forgets all ids; the rows that they have are to go.
    pub fn clear(&mut self) {
        if let Some(ids) = &mut self.ids {
            ids.clear();
        }
        self.shrink();
    }

    /// The ids that are held, rising.
    pub fn received(&self) -> impl Iterator<Item = PacketId> {
        self.ids.iter().flat_map(|ids| ids.iter())
    }

    /// How many ids are held.
    pub fn len(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| ids.len)
    }

    /// True if no id is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids that belong into the state row: a few, or none if they have rows of their own.
    pub fn in_state(&self) -> Vec<PacketId> {
        let here = self.ids.iter().filter(|ids| !ids.apart);
        here.flat_map(|ids| ids.iter()).collect()
    }

    /// The ids have changed and are to be written: decides where they stand. True if the state row has
    /// to be written, which has or had some of them. The rows of pages are
    /// [`take_unsaved`](Inbound::take_unsaved)'s.
    pub fn settle(&mut self) -> bool {
        let Some(ids) = &mut self.ids else {
            return true;
        };
        let was_apart = ids.apart;
        // Those that are apart come back later, so that it is not done and undone in turn.
        let most = if was_apart { IN_STATE / 2 } else { IN_STATE };
        ids.apart = ids.len > most;
        if ids.apart && !was_apart {
            for (number, _) in &ids.pages {
                ids.unsaved.set(*number, true);
            }
        } else if was_apart && !ids.apart {
            ids.unsaved = ids.stored;
        }
        !(was_apart && ids.apart)
    }

    /// Gives the pages whose rows are to be written, or with `None` deleted, to `write`.
    pub fn take_unsaved(&mut self, mut write: impl FnMut(u8, Option<&IdPage>)) {
        let Some(ids) = &mut self.ids else { return };
        let unsaved = std::mem::take(&mut ids.unsaved);
        for number in (0..=u8::MAX).filter(|number| unsaved.has(*number)) {
            let at = ids.pages.binary_search_by_key(&number, |(n, _)| *n);
            let page = at.ok().and_then(|at| ids.pages.get(at));
            let page = page.map(|(_, page)| page).filter(|_| ids.apart);
            if page.is_some() || ids.stored.has(number) {
                write(number, page);
            }
            ids.stored.set(number, page.is_some());
        }
        self.shrink();
    }

    /// Gives the memory back once nothing is held and no row is to be deleted.
    fn shrink(&mut self) {
        let is_spent =
            |ids: &mut Box<Ids>| ids.len == 0 && !ids.apart && ids.stored == Numbers::default();
        self.ids.take_if(is_spent);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    /// What is on disk: the ids of the state row, and the pages.
    #[derive(Default)]
    struct Rows {
        state: Vec<PacketId>,
        pages: BTreeMap<u8, IdPage>,
    }

    impl Rows {
        /// Writes what must be; returns about how many bytes that takes.
        fn save(&mut self, inbound: &mut Inbound) -> usize {
            let mut bytes = 0;
            if inbound.settle() {
                self.state = inbound.in_state();
                bytes += 30 + 2 * self.state.len();
            }
            inbound.take_unsaved(|number, page| {
                bytes += 10 + 40 * usize::from(page.is_some());
                match page {
                    Some(page) => drop(self.pages.insert(number, *page)),
                    None => assert!(self.pages.remove(&number).is_some()),
                }
            });
            bytes
        }

        fn restore(&self) -> Inbound {
            let pages = self.pages.iter();
            let ids = pages.flat_map(|(number, page)| ids_on(*number, page));
            let ids: Vec<PacketId> = self.state.iter().copied().chain(ids).collect();
            let numbers: Vec<u8> = self.pages.keys().copied().collect();
            Inbound::restore(&ids, &numbers)
        }
    }

    proptest! {
        /// Whatever is received and released, and whenever it is written: the rows have all of it.
        #[test]
        fn the_rows_have_what_is_held(
            ops in prop::collection::vec((0..5u8, 1..2_000u16, 1..70u16), 0..60)
        ) {
            let (mut inbound, mut rows) = (Inbound::default(), Rows::default());
            let mut model = BTreeSet::new();
            for (op, first, count) in ops {
                for n in first..first + count {
                    if op < 2 {
                        inbound.receive(id(n), usize::MAX);
                        model.insert(id(n));
                    } else if op == 2 {
                        prop_assert_eq!(inbound.release(id(n)), model.remove(&id(n)));
                    }
                }
                if op == 3 && count < 4 {
                    inbound.clear();
                    model.clear();
                }
                if op != 4 {
                    let bytes = rows.save(&mut inbound);
                    prop_assert!(bytes <= 30 + 2 * IN_STATE + 50 * (2 + model.len().min(16)));
                    prop_assert!(rows.state.is_empty() || rows.pages.is_empty());
                    let restored = rows.restore();
                    prop_assert!(restored.received().eq(inbound.received()));
                    if first % 3 == 0 {
                        inbound = restored;
                    }
                }
                prop_assert!(inbound.received().eq(model.iter().copied()));
                prop_assert_eq!(inbound.len(), model.len());
            }
            inbound.clear();
            rows.save(&mut inbound);
            prop_assert!(inbound.ids.is_none() && rows.pages.is_empty() && rows.state.is_empty());
        }
    }

    #[test]
    fn with_60_000_open_ids_a_handshake_writes_its_page() {
        let (mut inbound, mut rows) = (Inbound::default(), Rows::default());
        for n in 1..=60_000 {
            inbound.receive(id(n), usize::MAX);
        }
        rows.save(&mut inbound);
        for n in 60_001..=61_000 {
            assert_eq!(inbound.look(id(n)), Receipt::New);
            inbound.receive(id(n), usize::MAX);
            assert!(rows.save(&mut inbound) <= 50);
            assert!(inbound.release(id(n)));
            assert!(rows.save(&mut inbound) <= 50);
        }
        assert_eq!(rows.restore().len(), 60_000);
    }

    #[test]
    fn the_oldest_of_a_peer_that_counts_up_is_forgotten() {
        let mut inbound = Inbound::default();
        let counted = (65_500..=u16::MAX).chain(1..=400);
        for n in counted.clone() {
            let full = inbound.len() == 100;
            assert_eq!(inbound.receive(id(n), 100), full, "{n}");
            // Received again, it takes no other's place.
            assert!(!inbound.receive(id(n), 100));
        }
        assert!(inbound.received().eq((301..=400).map(id)));
    }
}
