//! What sessions that ended with their connection have left in RAM: all of it is looked at, but in
//! pieces.

use std::collections::{BTreeMap, VecDeque};

use crate::held::{Charge, QUEUES};
use crate::keys::{GroupKey, SessionKey};
use crate::lane::Lane;
use crate::message::SessionId;
use crate::session::Entry;

/// The messages of one session.
#[derive(Debug)]
pub(crate) struct LeftInRam {
    /// Their session, which may be gone.
    pub(crate) session: SessionKey,
    pub(crate) owner: SessionId,
    /// What the log calls it.
    pub(crate) name: String,
    /// The groups that go on without it, by the lanes of their messages.
    pub(crate) groups: BTreeMap<Lane, GroupKey>,
    pub(crate) entries: VecDeque<Entry>,
    /// How many were for nobody else.
    pub(crate) passed: u32,
    /// Messages and bytes that nobody could take.
    pub(crate) lost: (u64, u64),
    /// What the entries take.
    _held: Charge<QUEUES>,
}

impl LeftInRam {
    pub(crate) fn new(
        (session, owner, name): (SessionKey, SessionId, String),
        groups: BTreeMap<Lane, GroupKey>,
        entries: VecDeque<Entry>,
    ) -> LeftInRam {
        let held = Charge::new(entries.capacity() * size_of::<Entry>());
        LeftInRam {
            _held: held,
            session,
            owner,
            name,
            groups,
            entries,
            passed: 0,
            lost: (0, 0),
        }
    }
}
