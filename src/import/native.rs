//! Numbers that Mosquitto writes in the byte order of its machine: numbers of messages, and times. All
//! others of its file are big-endian.

/// A byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// The lowest byte first.
    Little,
    /// The highest byte first.
    Big,
}

/// A number in the byte order of the machine that wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Native {
    /// Of 32 bits: a time on a board whose `time_t` has no more.
    Short([u8; 4]),
    /// Of 64 bits.
    Long([u8; 8]),
}

impl Native {
    /// Its value, if it was written in `order`.
    pub(super) fn value(self, order: Order) -> u64 {
        match (self, order) {
            (Native::Short(bytes), Order::Little) => u32::from_le_bytes(bytes).into(),
            (Native::Short(bytes), Order::Big) => u32::from_be_bytes(bytes).into(),
            (Native::Long(bytes), Order::Little) => u64::from_le_bytes(bytes),
            (Native::Long(bytes), Order::Big) => u64::from_be_bytes(bytes),
        }
    }
}

/// Finds out in which order a file was written, which it does not say: the one in which its numbers of 64
/// bits are small. Those of Mosquitto 2.0 count from 1, those of 2.1 and times have at least one high byte
/// of zeros.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Votes {
    little: u64,
    big: u64,
}

impl Votes {
    /// Takes a number into account.
    pub(super) fn see(&mut self, number: Native) {
        if let Native::Long(_) = number {
            let zeros = |order| u64::from(number.value(order).leading_zeros() / 8);
            self.little += zeros(Order::Little);
            self.big += zeros(Order::Big);
        }
    }

    /// The order; that of this machine where nothing tells.
    pub(super) fn order(self) -> Order {
        let is_big = match self.big.cmp(&self.little) {
            std::cmp::Ordering::Equal => cfg!(target_endian = "big"),
            other => other.is_gt(),
        };
        if is_big { Order::Big } else { Order::Little }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_shows_in_counts_times_and_numbers_of_2_1() {
        // Seconds since some years, a sequence of 100 ns below them.
        let of_2_1 = (110_000_000u64 << 23) | 0x0045_9A3B;
        for number in [1, 2, 255, 70_000, 1_764_500_000, of_2_1] {
            for order in [Order::Little, Order::Big] {
                let mut votes = Votes::default();
                votes.see(Native::Long([0; 8]));
                votes.see(Native::Long(match order {
                    Order::Little => u64::to_le_bytes(number),
                    Order::Big => u64::to_be_bytes(number),
                }));
                assert_eq!(votes.order(), order, "{number}");
            }
        }
    }
}
