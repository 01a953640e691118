//! `$SYS/broker/load`: how much a minute, averaged over one, five and fifteen minutes.

use std::time::Duration;

use super::Traffic;
use crate::broker::Counters;

/// The topics of one figure, and how it is counted.
type Row = ([&'static str; 3], fn(&Counters, &Traffic) -> u64);

/// The topics of a load, for the periods of [`PERIODS`].
macro_rules! topics {
    ($name:literal) => {
        [
            concat!("$SYS/broker/load/", $name, "/1min"),
            concat!("$SYS/broker/load/", $name, "/5min"),
            concat!("$SYS/broker/load/", $name, "/15min"),
        ]
    };
}

/// What the averages go over, in seconds.
const PERIODS: [f64; 3] = [60.0, 300.0, 900.0];

const ROWS: [Row; 9] = [
    (topics!("messages/received"), |_, t| t.packets_received),
    (topics!("messages/sent"), |c, t| {
        c.packets_sent() + t.packets_sent
    }),
    (topics!("publish/dropped"), |c, _| c.dropped()),
    (topics!("publish/received"), |c, _| c.publish_received),
    (topics!("publish/sent"), |c, _| c.publish_sent),
    (topics!("bytes/received"), |_, t| t.bytes_received),
    (topics!("bytes/sent"), |_, t| t.bytes_sent),
    (topics!("sockets"), |_, t| t.sockets),
    (topics!("connections"), |c, _| c.connects + c.refused),
];

/// One figure: its count when it was last looked at, and its averages.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    count: u64,
    averages: [f64; 3],
}

impl Load {
    /// `elapsed` after the last look, which is not zero, the count is `count`.
    fn update(&mut self, count: u64, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let a_minute = count.saturating_sub(self.count) as f64 * 60.0 / seconds;
        self.count = count;
        for (average, period) in self.averages.iter_mut().zip(PERIODS) {
            let kept = decay(seconds / period);
            *average = a_minute + kept * (*average - a_minute);
        }
    }
}

/// e to the power of `-x`, as exactly as an average needs it. `f64::exp` alone would have libm loaded:
/// 300 KB of memory.
fn decay(x: f64) -> f64 {
    const STEPS: u16 = 4096;
    (1.0 + x / f64::from(STEPS)).powi(-i32::from(STEPS))
}

/// All loads.
#[derive(Debug, Default)]
pub(super) struct Loads([Load; ROWS.len()]);

impl Loads {
    /// Takes in what was counted since the last look, `elapsed` ago, and tells the averages.
    pub(super) fn update(
        &mut self,
        counters: &Counters,
        traffic: &Traffic,
        elapsed: Duration,
    ) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter_mut().zip(ROWS).flat_map(move |(load, row)| {
            let (topics, count) = row;
            if !elapsed.is_zero() {
                load.update(count(counters, traffic), elapsed);
            }
            topics
                .into_iter()
                .zip(load.averages.map(|a| format!("{a:.2}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_reached_in_its_period() {
        let mut load = Load::default();
        for n in 1..=90 {
            // Two a second.
            load.update(20 * n, Duration::from_secs(10));
        }
        let [one, five, fifteen] = load.averages;
        assert!((119.9..120.1).contains(&one), "{one}");
        assert!((113.0..115.0).contains(&five), "{five}");
        // 1 - 1/e of it after one period.
        assert!((75.8..75.9).contains(&fifteen), "{fifteen}");
        load.update(20 * 90, Duration::from_secs(60));
        let [one, ..] = load.averages;
        assert!((44.0..44.3).contains(&one), "{one}");
    }

    #[test]
    fn averages_decay_by_e() {
        for x in [0.0, 0.01, 0.5, 1.0, 3.0, 60.0, 1e9] {
            let (decayed, exact) = (decay(x), f64::exp(-x));
            assert!((decayed - exact).abs() < 1e-4, "{x}: {decayed}");
        }
    }

    #[test]
    fn values_have_two_decimals() {
        let mut loads = Loads::default();
        let traffic = Traffic {
            sockets: 3,
            ..Traffic::default()
        };
        let counters = Counters::default();
        let first: Vec<_> = loads.update(&counters, &traffic, Duration::ZERO).collect();
        assert_eq!(first.len(), 27);
        assert!(first.iter().all(|(_, value)| value == "0.00"));
        let minute = Duration::from_secs(60);
        let then: Vec<_> = loads.update(&counters, &traffic, minute).collect();
        let sockets = ("$SYS/broker/load/sockets/1min", "1.90".to_owned());
        assert!(then.contains(&sockets), "{then:?}");
    }
}
