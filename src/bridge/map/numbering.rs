//! The numbers by which the queue of a bridge knows its `topic` lines: what waits belongs to a line,
//! wherever that stands in the configuration by now. The store has them, so that a line keeps its
//! number when others are put before it, or taken out.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::LineId;
use crate::impossible;
use crate::lane::LineNo;
use crate::store::LineRecord;

/// Which number each line has.
#[derive(Clone, Debug, Default)]
pub struct Numbering {
    /// The lines of the configuration in its order; behind them those that it has no more, whose
    /// numbers are in use all the same.
    known: Vec<LineRecord>,
    /// How many the configuration has.
    count: usize,
}

impl Numbering {
    /// As the store has it, until the configuration is known. `known` is empty for a bridge of which
    /// there is nothing, or from before there were numbers: then they are places.
    pub fn restore(known: Vec<LineRecord>) -> Numbering {
        Numbering { known, count: 0 }
    }

    /// What the store is to keep.
    pub fn record(&self) -> &[LineRecord] {
        &self.known
    }

    /// Numbers the lines of another configuration. One that it had already keeps its number: the same
    /// one, or else one that carries the same local topics to other remote ones. A new line gets a
    /// number by which nothing waits: `is_used` says so of one. Returns the numbers of lines that are
    /// gone, and of which nothing is left.
    pub fn configure(&mut self, lines: &[LineId], is_used: impl Fn(LineNo) -> bool) -> Vec<LineNo> {
        let known = std::mem::take(&mut self.known);
        let mut numbers = if known.is_empty() {
            LineNo::all().take(lines.len()).map(Some).collect()
        } else {
            vec![None; lines.len()]
        };
        let known = keep(
            &mut numbers,
            lines,
            known,
            |known| known.line,
            |line| line.line,
        );
        let known = keep(
            &mut numbers,
            lines,
            known,
            |known| known.local,
            |line| line.local,
        );
        let (mut stay, gone): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|known| is_used(known.number));
        let kept: BTreeSet<LineNo> = numbers.iter().copied().flatten().collect();
        let reserved: BTreeSet<LineNo> = stay.iter().map(|known| known.number).collect();
        let is_free = |number: &LineNo| !reserved.contains(number) && !is_used(*number);
        let others = || LineNo::all().filter(|number| !kept.contains(number));
        // There are as many numbers as lines may be: at the worst, two have the same.
        let mut new = others()
            .filter(is_free)
            .chain(others().filter(|number| !is_free(number)));
        for (number, line) in numbers.into_iter().zip(lines) {
            let Some(number) = number.or_else(|| new.next()) else {
                impossible!("there are more topic lines than numbers");
                break;
            };
            self.known.push(LineRecord {
                number,
                line: line.line,
                local: line.local,
            });
        }
        self.count = self.known.len();
        let given: BTreeSet<LineNo> = self.known.iter().map(|known| known.number).collect();
        stay.retain(|known| !given.contains(&known.number));
        self.known.append(&mut stay);
        gone.into_iter().map(|known| known.number).collect()
    }

    /// The numbers of the lines that the configuration has, in its order.
    pub fn numbers(&self) -> impl Iterator<Item = LineNo> {
        self.known.iter().take(self.count).map(|known| known.number)
    }

    /// The number of the line at this place.
    pub fn number(&self, place: usize) -> Option<LineNo> {
        let known = self.known.get(place).filter(|_| place < self.count)?;
        Some(known.number)
    }

    /// The place of a line; `None` if the configuration has it no more.
    pub fn place(&self, number: LineNo) -> Option<usize> {
        // Mostly the file was never put in another order.
        let guess = number.index();
        if self.number(guess) == Some(number) {
            return Some(guess);
        }
        self.numbers().position(|other| other == number)
    }
}

/// Gives lines that have no number yet that of a known one which is the same by these fingerprints,
/// the first to the first. Returns the known ones that are left.
fn keep(
    numbers: &mut [Option<LineNo>],
    lines: &[LineId],
    known: Vec<LineRecord>,
    of_known: fn(&LineRecord) -> u64,
    of_line: fn(&LineId) -> u64,
) -> Vec<LineRecord> {
    let mut same = HashMap::<u64, VecDeque<LineNo>>::new();
    for record in &known {
        same.entry(of_known(record))
            .or_default()
            .push_back(record.number);
    }
    let mut kept = BTreeSet::new();
    for (number, line) in numbers
        .iter_mut()
        .zip(lines)
        .filter(|(number, _)| number.is_none())
    {
        *number = same.get_mut(&of_line(line)).and_then(VecDeque::pop_front);
        kept.extend(*number);
    }
    let is_left = |record: &LineRecord| !kept.contains(&record.number);
    known.into_iter().filter(is_left).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn line(line: u64, local: u64) -> LineId {
        LineId { line, local }
    }

    fn numbers(numbering: &Numbering) -> Vec<u16> {
        numbering.numbers().map(LineNo::get).collect()
    }

    fn configure(numbering: &mut Numbering, lines: &[LineId], used: &[u16]) -> Vec<u16> {
        let gone = numbering.configure(lines, |number| used.contains(&number.get()));
        for (place, number) in numbering.numbers().enumerate() {
            assert_eq!(numbering.place(number), Some(place));
            assert_eq!(numbering.number(place), Some(number));
        }
        assert_eq!(numbering.number(lines.len()), None);
        gone.into_iter().map(LineNo::get).collect()
    }

    /// At first, and with what older builds have stored, numbers are places.
    #[test]
    fn lines_of_a_new_bridge_are_numbered_by_place() {
        let mut numbering = Numbering::default();
        let lines = [3, 1, 2].map(|n| line(n, n));
        assert_eq!(configure(&mut numbering, &lines, &[2, 3, 7]), []);
        assert_eq!(numbers(&numbering), [1, 2, 3]);
    }

    #[test]
    fn a_line_keeps_its_number() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| line(n, n));
        let mut numbering = Numbering::default();
        configure(&mut numbering, &[a, b], &[]);
        assert_eq!(configure(&mut numbering, &[c, b, a], &[1, 2]), []);
        assert_eq!(numbers(&numbering), [3, 2, 1]);
        // `b` is gone, and something waits: its number is not given.
        assert_eq!(configure(&mut numbering, &[a, d, c], &[2]), []);
        assert_eq!(numbers(&numbering), [1, 4, 3]);
        assert_eq!(numbering.place(LineNo::new(2).unwrap()), None);
        let mut numbering = Numbering::restore(numbering.record().to_vec());
        assert_eq!(numbers(&numbering), []);
        assert_eq!(configure(&mut numbering, &[d, b], &[2]), [1, 3]);
        assert_eq!(numbers(&numbering), [4, 2]);
        // Nothing of `b` is left: its number is free.
        assert_eq!(configure(&mut numbering, &[d, a, c], &[]), [2]);
        assert_eq!(numbers(&numbering), [4, 1, 2]);
    }

    /// What waits on the same local topics stays with them, unless the very same line is there too.
    #[test]
    fn a_line_with_another_remote_prefix_keeps_its_number() {
        let mut numbering = Numbering::default();
        configure(&mut numbering, &[line(1, 10), line(2, 20)], &[]);
        configure(&mut numbering, &[line(3, 20), line(4, 10)], &[1, 2]);
        assert_eq!(numbers(&numbering), [2, 1]);
        configure(&mut numbering, &[line(5, 10), line(4, 10)], &[1, 2]);
        assert_eq!(numbers(&numbering), [3, 1]);
    }

    #[test]
    fn there_is_a_number_for_as_many_lines_as_may_be() {
        let most = u64::from(LineNo::MAX);
        let mut numbering = Numbering::default();
        for first in [0, 1, most + 5] {
            let lines: Vec<LineId> = (first..first + most).map(|n| line(n, n)).collect();
            numbering.configure(&lines, |_| true);
            let given: BTreeSet<LineNo> = numbering.numbers().collect();
            assert_eq!(given.len() as u64, most);
            assert_eq!(numbering.record().len() as u64, most);
        }
    }

    proptest! {
        /// Whatever the configurations that follow each other, two lines of one never have the same
        /// number, and a number by which something waits stays with the local topics that it had.
        #[test]
        fn a_number_in_use_stays_with_its_topics(
            files in prop::collection::vec(
                (prop::collection::vec((0..6u64, 0..2u64), 0..7), prop::collection::vec(0..7usize, 0..4)),
                1..8,
            )
        ) {
            let mut numbering = Numbering::default();
            // What waits by each number: local topics.
            let mut waiting = BTreeMap::<LineNo, u64>::new();
            for (lines, filled) in files {
                let lines: Vec<LineId> = lines.iter().map(|(local, r)| line(local * 2 + r, *local)).collect();
                numbering.configure(&lines, |number| waiting.contains_key(&number));
                numbering = Numbering::restore(numbering.record().to_vec());
                let gone = numbering.configure(&lines, |number| waiting.contains_key(&number));
                prop_assert_eq!(gone, []);
                let given: BTreeSet<LineNo> = numbering.numbers().collect();
                prop_assert_eq!(given.len(), lines.len());
                for (number, line) in numbering.numbers().zip(&lines) {
                    prop_assert_eq!(waiting.get(&number).unwrap_or(&line.local), &line.local);
                }
                let left = waiting.iter().filter(|(number, _)| !given.contains(number));
                for (number, local) in left {
                    let known = numbering.record().iter().find(|known| known.number == *number);
                    prop_assert_eq!(known.map(|known| known.local), Some(*local));
                }
                for place in filled {
                    if let (Some(number), Some(line)) = (numbering.number(place), lines.get(place))
                        && waiting.remove(&number).is_none()
                    {
                        waiting.insert(number, line.local);
                    }
                }
            }
        }
    }
}
