//! Who has its turn, and how much of it.
//!
//! What is done is counted in units of the broker's work ([`Broker::work`]), for a peer decides how much
//! a packet of a few bytes costs. What sockets cost is added.
//!
//! [`Broker::work`]: crate::broker::Broker::work

use std::collections::VecDeque;

use crate::broker::ConnId;

/// What the packets of all connections may cost in one turn. Much of what a turn costs it costs once:
/// the wait, and a write to each receiver.
pub(in crate::net) const TURN: u64 = 4_000;

/// What the packets of a connection may cost before others have their share. One packet may cost more.
pub(in crate::net) const CONNECTION: u64 = 500;

/// What writing may cost in one turn.
pub(in crate::net) const WRITING: u64 = 2_000;

/// What is written to a connection at a time, in bytes; a payload beside the buffer may make it a few
/// writes.
pub(in crate::net) const WRITE: usize = 1024 * 1024;

/// Part of a turn that those who have just come leave to those with more than their share, of 4.
const FOR_THE_REST: u64 = 1;

/// What a read of `bytes` costs.
pub(in crate::net) fn read_cost(bytes: usize) -> u64 {
    4 + bytes as u64 / 1024
}

/// What a write of `bytes` costs: the kernel wakes the peer, too.
pub(in crate::net) fn write_cost(bytes: usize) -> u64 {
    8 + bytes as u64 / 1024
}

/// The connections to drive, each once.
#[derive(Debug, Default)]
pub(in crate::net) struct Ready {
    /// Those that something has happened to.
    fresh: VecDeque<ConnId>,
    /// Those whose share was used up and that have more: they come after the others, in turn.
    rest: VecDeque<ConnId>,
    /// Those of them that have read in this turn, for the next.
    again: VecDeque<ConnId>,
    /// For how many turns the rest were held back.
    held: u8,
}

/// For so many turns the rest may be held back.
const HOLD: u8 = 8;

impl Ready {
    /// Something has happened to the connection.
    pub(in crate::net) fn push(&mut self, id: ConnId) {
        self.fresh.push_back(id);
    }

    /// The connection has had its share, and has more.
    pub(in crate::net) fn push_rest(&mut self, id: ConnId) {
        self.rest.push_back(id);
    }

    /// The connection has read, and there is more to be read: in the next turn. What it has brought is
    /// to be written first.
    pub(in crate::net) fn push_again(&mut self, id: ConnId) {
        self.again.push_back(id);
    }

    /// True if there is nobody.
    pub(in crate::net) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.rest.is_empty() && self.again.is_empty()
    }

    /// Who has come before the turn begins. `hold`: what earlier turns have brought is not written yet.
    /// Those with more than their share wait for that, or receivers would seem to be slow and lose
    /// messages.
    pub(in crate::net) fn begin(&mut self, hold: bool) -> Round {
        self.rest.append(&mut self.again);
        self.held = if hold && self.held < HOLD {
            self.held + 1
        } else {
            0
        };
        Round {
            fresh: self.fresh.len(),
            is_held: self.held > 0,
            rest: false,
        }
    }

    /// Who is next in `round`, of which `spent` was spent. Those with more than their share go on as
    /// long as there is time.
    pub(in crate::net) fn next(&mut self, round: &mut Round, spent: u64) -> Option<ConnId> {
        let limit = if self.rest.is_empty() || round.is_held {
            TURN
        } else {
            TURN - TURN / 4 * FOR_THE_REST
        };
        if round.fresh > 0 && spent < limit {
            round.fresh -= 1;
            return self.fresh.pop_front();
        }
        // One at least: others that come all the time must not keep them from ever going on.
        if !round.is_held && (spent < TURN || !round.rest) {
            round.rest = true;
            return self.rest.pop_front();
        }
        None
    }
}

/// How far a turn is through the list.
#[derive(Debug)]
pub(in crate::net) struct Round {
    /// Those of the fresh that were there at its beginning and are still to come.
    fresh: usize,
    /// Those with more than their share wait.
    is_held: bool,
    /// One with more than its share has gone on.
    rest: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    /// Takes turns in which each connection costs `cost`; those of `greedy` always have more. Answers
    /// who was driven, by turn.
    fn turns(ready: &mut Ready, cost: u64, greedy: &[ConnId], count: usize) -> Vec<Vec<ConnId>> {
        let mut turn = || {
            let (mut round, mut driven) = (ready.begin(false), Vec::new());
            while let Some(id) = ready.next(&mut round, cost * driven.len() as u64) {
                driven.push(id);
                if greedy.contains(&id) {
                    ready.push_rest(id);
                }
            }
            driven
        };
        (0..count).map(|_| turn()).collect()
    }

    fn ids<const N: usize>() -> [ConnId; N] {
        let mut table = Table::<ConnId, ()>::default();
        [(); N].map(|()| table.insert(()))
    }

    #[test]
    fn a_turn_has_an_end_and_the_next_goes_on_where_it_was() {
        let all = ids::<10>();
        let mut ready = Ready::default();
        all.iter().for_each(|id| ready.push(*id));
        let turns = turns(&mut ready, TURN / 4, &[], 3);
        assert_eq!(turns, [&all[..4], &all[4..8], &all[8..]]);
        assert!(ready.is_empty());
    }

    #[test]
    fn one_alone_has_the_whole_turn() {
        let [greedy] = ids();
        let mut ready = Ready::default();
        ready.push(greedy);
        assert_eq!(turns(&mut ready, TURN / 4, &[greedy], 1), [[greedy; 4]]);
    }

    #[test]
    fn who_has_come_goes_before_those_with_more_than_their_share_who_take_turns() {
        let [a, b, c, d, quiet] = ids();
        let greedy = [a, b, c, d];
        let mut ready = Ready::default();
        greedy.iter().for_each(|id| ready.push_rest(*id));
        ready.push(quiet);
        let turns = turns(&mut ready, TURN / 3 + 1, &greedy, 2);
        assert_eq!(turns, [[quiet, a, b], [c, d, a]]);
    }

    #[test]
    fn those_with_more_than_their_share_go_on_however_many_come() {
        let all = ids::<9>();
        let mut ready = Ready::default();
        ready.push_rest(all[0]);
        all[1..].iter().for_each(|id| ready.push(*id));
        // What comes costs more than a turn has.
        let turns = turns(&mut ready, TURN, &[], 2);
        assert_eq!(turns, [&[all[1], all[0]][..], &[all[2]]]);
    }

    /// They wait until what they have brought is written, but not for ever.
    #[test]
    fn those_with_more_than_their_share_are_held_back_for_a_while() {
        let [greedy, reader] = ids();
        let mut ready = Ready::default();
        ready.push_rest(greedy);
        ready.push_again(reader);
        for _ in 0..HOLD {
            let mut round = ready.begin(true);
            assert_eq!(ready.next(&mut round, 0), None);
        }
        let mut round = ready.begin(true);
        assert_eq!(ready.next(&mut round, 0), Some(greedy));
        ready.push_again(greedy);
        assert_eq!(ready.next(&mut round, 0), Some(reader));
        assert_eq!(ready.next(&mut round, 0), None, "it has read in this turn");
        assert!(!ready.is_empty());
    }
}
