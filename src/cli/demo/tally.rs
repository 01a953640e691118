//! The accounts of the demo: what each device sent, against what arrived upstream.

use std::collections::{BTreeMap, BTreeSet};

use crate::mqtt::QoS;

/// The number of a device.
pub(super) type DeviceId = u32;

/// How many devices there are, numbered from 0.
pub(super) const DEVICES: DeviceId = 12;

/// What the devices of a row publish at, and what the bridge makes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Row {
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
    /// QoS 0, on topics that the bridge carries with `qos0=keep`.
    Kept,
    /// QoS 0.
    AtMostOnce,
}

impl Row {
    /// How many there are.
    pub(super) const COUNT: usize = 4;

    /// The row of a device.
    pub(super) fn of(device: DeviceId) -> Row {
        match device % 6 {
            0 => Row::AtMostOnce,
            3 => Row::Kept,
            1 | 4 => Row::AtLeastOnce,
            _ => Row::ExactlyOnce,
        }
    }

    /// The QoS that its devices publish at.
    pub(super) fn qos(self) -> QoS {
        match self {
            Row::AtMostOnce | Row::Kept => QoS::AtMostOnce,
            Row::AtLeastOnce => QoS::AtLeastOnce,
            Row::ExactlyOnce => QoS::ExactlyOnce,
        }
    }

    /// True if its devices are acknowledged, and what was acknowledged must arrive.
    pub(super) fn is_owed(self) -> bool {
        self.qos() > QoS::AtMostOnce
    }
}

/// What arrived from one device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Arrivals {
    seen: BTreeSet<u64>,
    duplicated: u64,
    out_of_order: u64,
}

/// What arrived upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tally(BTreeMap<DeviceId, Arrivals>);

/// What a device was promised: the numbers of its messages that the edge broker acknowledged, or
/// at QoS 0 of those that left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sent {
    pub(super) device: DeviceId,
    pub(super) row: Row,
    pub(super) numbers: BTreeSet<u64>,
}

/// The totals of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
}

impl Tally {
    /// Message `number` of `device` arrived; true if it is the first time.
    pub(super) fn arrive(&mut self, device: DeviceId, number: u64) -> bool {
        let arrivals = self.0.entry(device).or_default();
        let highest = arrivals.seen.last().copied();
        if !arrivals.seen.insert(number) {
            arrivals.duplicated += 1;
            return false;
        }
        if highest.is_some_and(|highest| number < highest) {
            arrivals.out_of_order += 1;
        }
        true
    }

    /// The totals by row.
    pub(super) fn totals(&self, sent: &[Sent]) -> [Totals; Row::COUNT] {
        let mut totals = [Totals::default(); Row::COUNT];
        for device in sent {
            let none = Arrivals::default();
            let arrivals = self.0.get(&device.device).unwrap_or(&none);
            let arrived = device.numbers.intersection(&arrivals.seen).count() as u64;
            if let Some(total) = totals.get_mut(device.row as usize) {
                let sent = device.numbers.len() as u64;
                total.sent += sent;
                total.arrived += arrived;
                total.lost += sent - arrived;
                total.duplicated += arrivals.duplicated;
                total.out_of_order += arrivals.out_of_order;
            }
        }
        totals
    }
}

impl Totals {
    /// Both together.
    pub(super) fn plus(self, other: Totals) -> Totals {
        Totals {
            sent: self.sent + other.sent,
            arrived: self.arrived + other.arrived,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            out_of_order: self.out_of_order + other.out_of_order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: usize = Row::AtLeastOnce as usize;
    const TWO: usize = Row::ExactlyOnce as usize;

    #[test]
    fn every_row_has_devices() {
        let rows = [
            Row::AtLeastOnce,
            Row::ExactlyOnce,
            Row::Kept,
            Row::AtMostOnce,
        ];
        for (row, devices) in rows.into_iter().zip([4, 4, 2, 2]) {
            assert_eq!(
                (0..DEVICES).filter(|&id| Row::of(id) == row).count(),
                devices
            );
        }
    }

    fn sent(device: DeviceId, row: Row, numbers: impl IntoIterator<Item = u64>) -> Sent {
        let numbers = numbers.into_iter().collect();
        Sent {
            device,
            row,
            numbers,
        }
    }

    fn arrived(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for &number in numbers {
            tally.arrive(1, number);
        }
        tally
    }

    #[test]
    fn all_in_order_is_clean() {
        let totals = arrived(&[1, 2, 3]).totals(&[sent(1, Row::ExactlyOnce, 1..=3)]);
        let clean = Totals {
            sent: 3,
            arrived: 3,
            ..Totals::default()
        };
        assert_eq!(
            totals,
            [
                Totals::default(),
                clean,
                Totals::default(),
                Totals::default()
            ]
        );
    }

    #[test]
    fn a_message_that_never_came_is_lost() {
        let totals = arrived(&[1, 3]).totals(&[
            sent(1, Row::AtLeastOnce, 1..=4),
            sent(2, Row::AtLeastOnce, 1..=2),
        ]);
        assert_eq!(
            (totals[ONE].sent, totals[ONE].arrived, totals[ONE].lost),
            (6, 2, 4)
        );
    }

    #[test]
    fn a_second_time_is_a_duplicate_and_not_out_of_order() {
        // QoS 1 after a reconnect: from the oldest unacknowledged message on, again [MQTT-4.6.0-1].
        let totals = arrived(&[1, 2, 3, 2, 3, 4]).totals(&[sent(1, Row::AtLeastOnce, 1..=4)]);
        assert_eq!((totals[ONE].duplicated, totals[ONE].out_of_order), (2, 0));
    }

    #[test]
    fn an_older_message_behind_a_newer_is_out_of_order() {
        let totals = arrived(&[1, 3, 2, 4]).totals(&[sent(1, Row::ExactlyOnce, 1..=4)]);
        assert_eq!((totals[TWO].lost, totals[TWO].out_of_order), (0, 1));
    }

    #[test]
    fn what_was_not_acknowledged_is_not_owed() {
        // It may arrive all the same: the acknowledgement was on its way.
        let totals = arrived(&[1, 2]).totals(&[sent(1, Row::AtLeastOnce, [1])]);
        assert_eq!(
            (totals[ONE].sent, totals[ONE].arrived, totals[ONE].lost),
            (1, 1, 0)
        );
    }
}
