//! Clients whose login is under way: their CONNECT waits until it has been looked at, which is not done
//! on this thread. Those whose password is checked and those whom a program is asked about, one or
//! another, stand in lines of their own: none waits for what is slow for others.
//!
//! Who is asked about next goes by address, each in turn, so that whoever fills the line waits behind
//! their own. Addresses from which somebody has logged in lately, and Unix sockets, go before others,
//! but not always: the others are not to wait for ever.

#[cfg(test)]
mod tests;
mod under_way;

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::auth::Check;
use crate::broker::connections::doors::Block;
use crate::held::{ALLOCATION, CONNECTIONS, Charge};
use crate::keys::ConnId;

/// So many passwords are out at a time to be checked: the next is there when one is done.
const OUT: usize = 2;
/// So many questions are out at a time to a program, which takes its time.
const OUT_OF_PROGRAMS: usize = 64;
/// All CONNECTs that wait may take so many bytes.
const BYTES: usize = 4 * 1024 * 1024;
/// What one takes here beside its CONNECT, in bytes, about.
const EMPTY: usize = size_of::<Waiting>() + 64 + ALLOCATION;
/// After so many known addresses in a row one that is not has its turn.
const KNOWN_IN_A_ROW: u8 = 3;

/// Who looks at a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The thread that checks passwords.
    Password,
    /// The program behind the `auth_socket` of this path.
    Program(Arc<Path>),
}

impl Kind {
    pub(crate) fn of(check: &Check) -> Kind {
        match check {
            Check::Password(_) => Kind::Password,
            Check::Socket(check) => Kind::Program(Arc::clone(&check.socket().path)),
        }
    }
}

/// A client whose login is to be looked at.
#[derive(Debug)]
pub(crate) struct Login {
    /// Its CONNECT, encoded.
    pub(crate) connect: Zeroizing<Vec<u8>>,
    /// Who looks at it.
    pub(crate) kind: Kind,
    /// Somebody has logged in from its address lately.
    pub(crate) is_known: bool,
}

/// How many may wait; `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) all: Option<u32>,
    pub(crate) per_address: Option<u32>,
}

/// Why a login does not wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Crowded {
    /// Too many wait.
    All,
    /// Too many of its address do.
    Address,
}

#[derive(Debug)]
struct Waiting {
    connect: Zeroizing<Vec<u8>>,
    /// What counts of it, in bytes: the CONNECT, and once that is gone, the question.
    size: usize,
    /// What the question takes that is out, in bytes.
    question: usize,
    kind: Kind,
    from: Option<Block>,
    is_known: bool,
    /// A question is out about it, under the rules of this number.
    asked: Option<u32>,
    /// Its connection is gone, and only the question is left.
    is_gone: bool,
    held: Charge<CONNECTIONS>,
}

/// The clients whose logins are under way, and in which order they are asked about.
#[derive(Debug, Default)]
pub(in crate::broker::connections) struct Logins {
    waiting: HashMap<ConnId, Waiting>,
    /// How many of each address.
    shares: HashMap<Option<Block>, u32>,
    passwords: Lines,
    /// Those of programs, by the paths of their sockets.
    programs: Vec<(Arc<Path>, Lines)>,
    /// The CONNECTs, in bytes.
    bytes: usize,
    /// The number of the rules in force.
    rules: u32,
    /// What client ids are drawn from.
    drawn: std::hash::RandomState,
}

/// Those who are not asked about yet, of one [`Kind`].
#[derive(Debug, Default)]
struct Lines {
    known: Line,
    others: Line,
    /// So many known ones were asked about since one that is not was.
    in_a_row: u8,
    /// Questions that are out.
    out: usize,
}

impl Lines {
    fn of(&mut self, is_known: bool) -> &mut Line {
        if is_known {
            &mut self.known
        } else {
            &mut self.others
        }
    }

    /// Nobody waits in them, and nothing is out.
    fn is_idle(&self) -> bool {
        self.out == 0 && self.known.is_empty() && self.others.is_empty()
    }

    /// Who is next.
    fn pop(&mut self) -> Option<ConnId> {
        let is_known =
            !self.known.is_empty() && (self.in_a_row < KNOWN_IN_A_ROW || self.others.is_empty());
        self.in_a_row = if is_known {
            self.in_a_row.saturating_add(1)
        } else {
            0
        };
        self.of(is_known).pop()
    }
}

/// Those who are not asked about yet, by address; each address has its turn.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<Option<Block>>,
    of: HashMap<Option<Block>, VecDeque<ConnId>>,
}

impl Line {
    fn push(&mut self, from: Option<Block>, c: ConnId) {
        let own = self.of.entry(from).or_insert_with(|| {
            self.order.push_back(from);
            VecDeque::new()
        });
        own.push_back(c);
    }

    /// Goes before all others.
    fn push_front(&mut self, from: Option<Block>, c: ConnId) {
        self.order.retain(|other| *other != from);
        self.order.push_front(from);
        self.of.entry(from).or_default().push_front(c);
    }

    /// Who is next.
    fn pop(&mut self) -> Option<ConnId> {
        let from = self.order.pop_front()?;
        let own = self.of.get_mut(&from)?;
        let next = own.pop_front();
        if own.is_empty() {
            self.of.remove(&from);
        } else {
            self.order.push_back(from);
        }
        next
    }

    /// The last of the address that comes last.
    fn last(&self) -> Option<ConnId> {
        self.of.get(self.order.back()?)?.back().copied()
    }

    fn remove(&mut self, from: Option<Block>, c: ConnId) {
        let Some(own) = self.of.get_mut(&from) else {
            return;
        };
        own.retain(|other| *other != c);
        if own.is_empty() {
            self.of.remove(&from);
            self.order.retain(|other| *other != from);
        }
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Logins {
    fn lines(&mut self, kind: &Kind) -> &mut Lines {
        let Kind::Program(path) = kind else {
            return &mut self.passwords;
        };
        let known = self.programs.iter().position(|(known, _)| known == path);
        let at = known.unwrap_or_else(|| {
            // Of those that the configuration has no more nothing is left.
            self.programs.retain(|(_, lines)| !lines.is_idle());
            self.programs.push((Arc::clone(path), Lines::default()));
            self.programs.len() - 1
        });
        match self.programs.get_mut(at) {
            Some((_, lines)) => lines,
            None => &mut self.passwords,
        }
    }

    /// Who comes last of those from addresses that are not known: of a kind, if there is one.
    fn last_of_others(&self, kind: &Kind) -> Option<ConnId> {
        let programs = self.programs.iter();
        let (own, others): (Vec<_>, Vec<_>) =
            programs.partition(|(path, _)| matches!(kind, Kind::Program(wanted) if wanted == path));
        let passwords = std::iter::once(&self.passwords);
        let own = own.into_iter().map(|(_, lines)| lines);
        let others = others.into_iter().map(|(_, lines)| lines);
        let mut all = own.chain(passwords).chain(others);
        all.find_map(|lines| lines.others.last())
    }

    /// Whether one more of this address may wait.
    fn admits(&self, login: &Login, from: Option<Block>, room: Room) -> Result<(), Crowded> {
        let own = self.shares.get(&from).copied().unwrap_or_default();
        if from.is_some() && room.per_address.is_some_and(|most| own >= most) {
            return Err(Crowded::Address);
        }
        let all = self.waiting.len();
        let is_full = room.all.is_some_and(|most| all >= most as usize);
        if is_full || self.bytes + login.connect.len() > BYTES {
            return Err(Crowded::All);
        }
        Ok(())
    }

    fn add(&mut self, c: ConnId, from: Option<Block>, login: Login) {
        let Login {
            connect,
            kind,
            is_known,
        } = login;
        let size = connect.len();
        self.bytes += size;
        self.lines(&kind).of(is_known).push(from, c);
        *self.shares.entry(from).or_default() += 1;
        let held = Charge::new(connect.capacity() + EMPTY);
        let waiting = Waiting {
            connect,
            size,
            question: 0,
            kind,
            from,
            is_known,
            asked: None,
            is_gone: false,
            held,
        };
        self.waiting.insert(c, waiting);
    }

    /// Its connection is gone. A question that is out takes memory until it is answered or given up, and
    /// so it keeps its place and its share until then: who connects and goes gets no more out than others.
    pub(in crate::broker::connections) fn leave(&mut self, c: ConnId) {
        match self.waiting.get_mut(&c) {
            Some(waiting) if waiting.is_gone => {}
            Some(waiting) if waiting.asked.is_some() => {
                waiting.is_gone = true;
                waiting.connect = Zeroizing::default();
                let question = waiting.question;
                let size = std::mem::replace(&mut waiting.size, question);
                waiting.held = Charge::new(question + EMPTY);
                self.bytes = self.bytes.saturating_sub(size) + question;
            }
            Some(_) => drop(self.remove(c)),
            None => {}
        }
    }

    /// It waits no more, and nothing is out about it.
    fn remove(&mut self, c: ConnId) -> Option<Zeroizing<Vec<u8>>> {
        let gone = self.waiting.remove(&c)?;
        self.bytes = self.bytes.saturating_sub(gone.size);
        if gone.asked.is_none() {
            let lines = self.lines(&gone.kind);
            lines.of(gone.is_known).remove(gone.from, c);
        }
        drop(gone.held);
        let share = self.shares.get_mut(&gone.from);
        let is_last = share.is_none_or(|share| {
            *share = share.saturating_sub(1);
            *share == 0
        });
        if is_last {
            self.shares.remove(&gone.from);
        }
        // A storm that is over leaves no table behind.
        if self.waiting.capacity() > 8 * self.waiting.len() + 64 {
            self.waiting.shrink_to(2 * self.waiting.len());
        }
        Some(gone.connect)
    }

    /// Who is to be asked about next, and its CONNECT, if more questions may be out.
    fn next(&mut self) -> Option<(ConnId, &[u8])> {
        let programs = self.programs.iter_mut();
        let programs = programs.map(|(_, lines)| (lines, OUT_OF_PROGRAMS));
        let all = std::iter::once((&mut self.passwords, OUT)).chain(programs);
        let mut all = all.filter(|(lines, most)| lines.out < *most);
        let c = all.find_map(|(lines, _)| lines.pop())?;
        let rules = self.rules;
        let waiting = self.waiting.get_mut(&c)?;
        waiting.asked = Some(rules);
        Some((c, &waiting.connect))
    }

    /// A question of `size` bytes is out about the one that was the next, under the rules of this number;
    /// `None` if it is of another kind than it was when it came, and waits among those now.
    fn ask(&mut self, c: ConnId, (kind, size): (&Kind, usize)) -> Option<u32> {
        let waiting = self.waiting.get_mut(&c)?;
        if waiting.kind == *kind {
            waiting.question = size;
            self.lines(kind).out += 1;
            return Some(self.rules);
        }
        waiting.kind = kind.clone();
        waiting.asked = None;
        let (is_known, from) = (waiting.is_known, waiting.from);
        self.lines(kind).of(is_known).push(from, c);
        None
    }

    /// A question of this kind is answered that was asked under the rules of this number. The CONNECT,
    /// unless its connection is gone, or other rules are in force: then it is asked once more, before all
    /// others.
    fn answered(&mut self, c: ConnId, kind: &Kind, rules: u32) -> Option<Zeroizing<Vec<u8>>> {
        let lines = self.lines(kind);
        lines.out = lines.out.saturating_sub(1);
        let now = self.rules;
        let waiting = self.waiting.get_mut(&c)?;
        if waiting.is_gone {
            self.remove(c);
            return None;
        }
        if rules == now {
            return self.remove(c);
        }
        waiting.asked = None;
        let (kind, is_known, from) = (waiting.kind.clone(), waiting.is_known, waiting.from);
        self.lines(&kind).of(is_known).push_front(from, c);
        None
    }

    /// How many wait.
    pub(in crate::broker::connections) fn len(&self) -> usize {
        self.waiting.len()
    }
}
