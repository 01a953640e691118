//! What the fuzz target `store` does with an input: rows, batches and journals of any contents, with
//! the checksums that they would have had. What decodes must encode, and decode again to the same.

use redb::{Database, StorageBackend};

use super::error::Error;
use super::files::disk::{Files, Meter, Metered};
use super::files::journal::{self, Journal};
use super::rows::batch::Batch;
use super::rows::codec::{Reader, seal, slice};
use super::rows::message::{
    decode_message, decode_retained, decode_targets, encode_message, encode_retained,
};
use super::rows::part::{self, Part, encode_ids, encode_subscription, sealed_key};
use super::rows::session::{IDENTITY, STATE, SessionRecord, key_bytes};
use super::rows::state::StateRecord;
use super::tables::changes::Overlay;
use super::tables::meta::Meta;
use crate::message::{MessageId, SessionId};

const ID: MessageId = MessageId(7);
const SESSION: SessionId = SessionId(3);
/// Whose journal it is.
const STORE: u64 = 99;
/// Bytes of the journal.
const JOURNAL: usize = 16 << 10;

/// Reads `input` as what its first byte says.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % 7 {
        0 => queued(rest),
        1 => retained(rest),
        2 => identity(rest),
        3 => state(rest),
        4 => batch(rest),
        5 => part(rest),
        _ => journal(rest),
    }
}

fn sealed(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut row = body.to_vec();
    seal(key, 0, &mut row);
    row
}

fn queued(body: &[u8]) {
    let row = sealed(&ID.0.to_le_bytes(), body);
    let targets = decode_targets(ID, &row);
    let Ok((message, all)) = decode_message(ID, &row) else {
        return;
    };
    assert_eq!(targets.as_ref(), Ok(&all));
    let mut again = Vec::new();
    let row = encode_message(ID, &message, &all, &mut again);
    let (same, targets) = decode_message(ID, slice(&again, &row)).expect("what was encoded");
    assert_eq!(
        (same.topic(), same.payload()),
        (message.topic(), message.payload())
    );
    assert_eq!(targets, all);
}

fn retained(body: &[u8]) {
    let row = sealed(b"t", body);
    if let Ok(message) = decode_retained("t", &row) {
        let mut again = Vec::new();
        encode_retained(&message, &mut again);
        let same = decode_retained("t", &again).expect("what was encoded");
        assert_eq!(same.payload(), message.payload());
    }
}

fn identity(body: &[u8]) {
    let row = sealed(&key_bytes(SESSION, IDENTITY), body);
    if let Ok(record) = SessionRecord::decode(SESSION, &row) {
        let mut again = Vec::new();
        record.encode(SESSION, &mut again);
        assert_eq!(SessionRecord::decode(SESSION, &again), Ok(record));
    }
}

fn state(body: &[u8]) {
    let row = sealed(&key_bytes(SESSION, STATE), body);
    if let Ok(record) = StateRecord::decode(SESSION, &row) {
        let mut again = Vec::new();
        record.encode(SESSION, &mut again);
        assert_eq!(StateRecord::decode(SESSION, &again), Ok(record));
    }
}

/// A part of a session: a key of any length up to 32 bytes, and its row.
fn part(body: &[u8]) {
    let Some((len, rest)) = body.split_first() else {
        return;
    };
    let (key, body) = rest.split_at(rest.len().min(usize::from(len % 33)));
    // Half of the keys have a kind that there is.
    let mut key = key.to_vec();
    if let Some(kind) = key.get_mut(8).filter(|_| len & 128 == 0) {
        *kind &= 1;
    }
    let row = sealed(&sealed_key(&key), body);
    let Ok((id, decoded)) = part::decode(&key, &row) else {
        return;
    };
    let mut again = Vec::new();
    match &decoded {
        Part::Ids(_, page) => encode_ids(&key, page, &mut again),
        Part::Subscription(record) => encode_subscription(&key, record, &mut again),
    }
    assert_eq!(part::decode(&key, &again), Ok((id, decoded)));
}

fn batch(body: &[u8]) {
    let Ok(mut batch) = Batch::decode(Reader::new(body)) else {
        return;
    };
    assert!(batch.bytes() <= body.len());
    Overlay::default().absorb(&batch, u64::MAX);
    let again = batch.with_record(&[], |record, start| {
        record.get(start..).unwrap_or_default().to_vec()
    });
    let again = again.expect("an empty front fits");
    let same = Batch::decode(Reader::new(&again)).expect("what was encoded");
    assert!(same.messages().eq(batch.messages()) && same.sessions().eq(batch.sessions()));
    assert!(same.parts().eq(batch.parts()) && same.format() == batch.format());
}

/// A journal of records, each as long as the byte before it says, some of them not where they
/// belong or with a wrong checksum.
fn journal(mut body: &[u8]) {
    let mut file = OneJournal(Vec::new());
    drop(journal::create(&mut file, STORE));
    let (mut at, mut seq) = (512, 0);
    while let Some(([flags, len], rest)) = body.split_first_chunk() {
        let (contents, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        body = rest;
        seq += u64::from(flags & 3);
        let mut record = vec![0; journal::HEAD];
        record.extend_from_slice(contents);
        let len = record.len();
        journal::fill_head(&mut record, len, STORE, seq);
        if flags & 4 != 0
            && let Some(byte) = record.get_mut(usize::from(*flags))
        {
            *byte ^= 1;
        }
        let Some(place) = file.0.get_mut(at..at + record.len()) else {
            break;
        };
        place.copy_from_slice(&record);
        at += match flags & 8 {
            0 => record.len().next_multiple_of(512),
            _ => 512,
        };
    }
    let meta = Meta {
        id: STORE,
        applied: u64::from(body.len() as u8 & 3),
        ..Meta::default()
    };
    let (journal, replayed) = Journal::open(&mut file, &meta, 100).expect("a file that works");
    assert!(journal.seq() >= meta.applied && journal.bytes() <= JOURNAL as u64);
    assert!(replayed.damaged < u64::from(u32::MAX));
    // A store that takes it over finds the same.
    assert!(
        journal::meta_for_journal(&mut file)
            .expect("a file that works")
            .is_some()
    );
}

/// A journal in memory, and no store.
struct OneJournal(Vec<u8>);

impl OneJournal {
    fn file(&self) -> Metered {
        let memory = redb::backends::InMemoryBackend::new();
        let filled = memory.set_len(self.0.len() as u64);
        filled
            .and_then(|()| memory.write(0, &self.0))
            .expect("memory");
        Metered::new(memory, Meter::default())
    }
}

impl Files for OneJournal {
    fn open_store(&mut self) -> Result<Database, Error> {
        unreachable!("there is no store")
    }

    fn journal_bytes(&self) -> usize {
        JOURNAL
    }

    fn open_journal(&mut self) -> Result<Option<Metered>, Error> {
        Ok(Some(self.file()))
    }

    fn create_journal(&mut self, header: &[u8], size: usize) -> Result<Metered, Error> {
        self.0 = header.to_vec();
        self.0.resize(size, 0);
        Ok(self.file())
    }

    fn create_store(&mut self) -> Result<Database, Error> {
        unreachable!("there is no store")
    }

    fn install_store(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn discard_store(&mut self) {}

    fn sync_names(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn store_bytes(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    /// Inputs that are the same in every run: half noise, half small numbers, as lengths are.
    #[test]
    fn any_rows_batches_and_journals() {
        let mut rng = Rng::with_seed(1);
        for n in 0..30_000 {
            let top = if n % 2 == 0 { u8::MAX } else { 6 };
            let len = rng.usize(..200);
            let mut input: Vec<u8> = (0..len).map(|_| rng.u8(..=top)).collect();
            if let Some(first) = input.first_mut() {
                *first = n as u8;
            }
            super::run(&input);
        }
    }
}
