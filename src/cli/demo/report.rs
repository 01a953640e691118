//! What the demo prints: a live line while it runs, a table and a verdict at the end.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::tally::{Row, Totals};

/// The figures of the live line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Figures {
    /// Messages of QoS 1 and 2 that the edge broker acknowledged.
    pub(super) sent: u64,
    /// Those of them that are not upstream yet.
    pub(super) queued: u64,
    /// Bytes of the edge broker's store on disk.
    pub(super) on_disk: u64,
    /// Messages that arrived upstream.
    pub(super) arrived: u64,
}

/// Standard output: a line updated in place on a terminal, else a line now and then.
#[derive(Debug)]
pub(super) struct Screen {
    start: Instant,
    terminal: bool,
    printed: Option<Instant>,
}

impl Screen {
    /// A screen whose clock starts now.
    pub(super) fn new() -> Screen {
        Screen {
            start: Instant::now(),
            terminal: io::stdout().is_terminal(),
            printed: None,
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Says what happens now.
    pub(super) fn say(&mut self, what: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        self.print(&format!(
            "{clear}{:5.1} s  {what}\n",
            self.elapsed().as_secs_f64()
        ));
        self.printed = None;
    }

    /// Shows the figures.
    pub(super) fn show(&mut self, figures: &Figures) {
        let pause = Duration::from_secs(1);
        if !self.terminal && self.printed.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.printed = Some(Instant::now());
        let seconds = self.elapsed().as_secs_f64();
        if self.terminal {
            self.print(&format!("\r\x1b[K{seconds:5.1} s  {figures}"));
        } else {
            self.print(&format!("{seconds:5.1} s  {figures}\n"));
        }
    }

    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        // If nobody watches, the result still counts: the exit status tells it.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {:6}   queued {:6}   on disk {:>9}   arrived {:6}",
            self.sent,
            self.queued,
            size(self.on_disk),
            self.arrived
        )
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

/// How the demo ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Outcome {
    /// By [`Row`].
    pub(super) totals: [Totals; Row::COUNT],
    /// When the uplink was about to return.
    pub(super) backlog: Figures,
    /// A command's way from upstream to a device.
    pub(super) command: Duration,
    /// How long all took.
    pub(super) took: Duration,
}

impl Outcome {
    /// QoS 1 and 2 together.
    fn owed(&self) -> Totals {
        let [one, two, ..] = self.totals;
        one.plus(two)
    }

    /// True if every promise held.
    pub(super) fn is_good(&self) -> bool {
        let [_, two, ..] = self.totals;
        let owed = self.owed();
        owed.sent > 0 && owed.lost == 0 && owed.out_of_order == 0 && two.duplicated == 0
    }

    /// The table and the line that sums it up.
    pub(super) fn text(&self) -> String {
        let mut text =
            String::from("\nQoS        sent  arrived     lost  duplicated  out of order\n");
        for (row, t) in ["1", "2", "0 kept", "0"].into_iter().zip(&self.totals) {
            // Writing to a string does not fail, here and below.
            let _ = writeln!(
                text,
                "{row:6} {:8} {:8} {:8} {:11} {:13}",
                t.sent, t.arrived, t.lost, t.duplicated, t.out_of_order
            );
        }
        let [one, two, kept, plain] = self.totals;
        text.push_str(&about_qos_0(kept, plain));
        let owed = self.owed();
        let _ = writeln!(
            text,
            "\nbacklog: {} messages, {} on disk; command down: {:.1} ms; {:.1} s in all",
            self.backlog.queued,
            size(self.backlog.on_disk),
            self.command.as_secs_f64() * 1000.0,
            self.took.as_secs_f64()
        );
        let _ = writeln!(
            text,
            "sent {}, arrived {}, lost {}, duplicated {} (QoS 1), out of order {}",
            owed.sent, owed.arrived, owed.lost, one.duplicated, owed.out_of_order
        );
        if two.duplicated > 0 {
            let _ = writeln!(text, "arrived more than once at QoS 2: {}", two.duplicated);
        }
        text
    }

    /// One JSON object, on one line.
    pub(super) fn json(&self) -> String {
        let owed = self.owed();
        let [_, two, kept, plain] = self.totals;
        format!(
            "{{\"sent\":{},\"arrived\":{},\"lost\":{},\"duplicated\":{},\"out_of_order\":{},\
             \"qos2_duplicated\":{},\"qos0_sent\":{},\"qos0_arrived\":{},\
             \"qos0_kept_sent\":{},\"qos0_kept_arrived\":{},\
             \"backlog_messages\":{},\"backlog_bytes\":{},\"command_ms\":{:.1},\
             \"seconds\":{:.1},\"ok\":{}}}\n",
            owed.sent,
            owed.arrived,
            owed.lost,
            owed.duplicated,
            owed.out_of_order,
            two.duplicated,
            plain.sent,
            plain.arrived,
            kept.sent,
            kept.arrived,
            self.backlog.queued,
            self.backlog.on_disk,
            self.command.as_secs_f64() * 1000.0,
            self.took.as_secs_f64(),
            self.is_good()
        )
    }
}

/// What the two rows of QoS 0 mean.
fn about_qos_0(kept: Totals, plain: Totals) -> String {
    let mut text = format!(
        "\nQoS 0 is never acknowledged, so nothing is promised. {} of the last row came while the\n\
         uplink or the edge broker was down, and were dropped: QoS 0 is not queued. $SYS counts what\n\
         the edge broker dropped. For devices that know no other QoS, qos0=keep on a topic line\n\
         queues what they say and sends it at QoS 1: row \"0 kept\".\n",
        plain.lost
    );
    if kept.lost > 0 {
        text.push_str(
            "What is lost there was on its way to the edge broker, or to its disk, at the kill -9.\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(two: Totals) -> Outcome {
        let one = Totals {
            sent: 10,
            arrived: 10,
            duplicated: 3,
            ..Totals::default()
        };
        Outcome {
            totals: [one, two, KEPT, PLAIN],
            backlog: Figures {
                sent: 20,
                queued: 12,
                on_disk: 40_960,
                arrived: 8,
            },
            command: Duration::from_millis(2),
            took: Duration::from_secs(20),
        }
    }

    const KEPT: Totals = Totals {
        sent: 8,
        arrived: 7,
        lost: 1,
        duplicated: 2,
        out_of_order: 0,
    };

    const PLAIN: Totals = Totals {
        sent: 9,
        arrived: 3,
        lost: 6,
        duplicated: 0,
        out_of_order: 0,
    };

    const GOOD: Totals = Totals {
        sent: 5,
        arrived: 5,
        lost: 0,
        duplicated: 0,
        out_of_order: 0,
    };

    #[test]
    fn the_sum_is_on_one_line() {
        let outcome = outcome(GOOD);
        assert!(outcome.is_good());
        let text = outcome.text();
        let last = text.lines().last().unwrap();
        let expected = "sent 15, arrived 15, lost 0, duplicated 3 (QoS 1), out of order 0";
        assert_eq!(last, expected);
        let rows: Vec<&str> = text.lines().skip(2).take(4).collect();
        assert!(
            rows[2].starts_with("0 kept ") && rows[3].starts_with("0 "),
            "{text}"
        );
        assert!(text.contains("promised. 6 of the last row"), "{text}");
        assert!(text.contains("at the kill -9."), "{text}");
        assert!(!about_qos_0(GOOD, PLAIN).contains("kill"));
        assert!(outcome.json().contains("\"backlog_bytes\":40960,"));
    }

    #[test]
    fn what_breaks_a_promise_is_not_good() {
        for bad in [
            Totals {
                arrived: 4,
                lost: 1,
                ..GOOD
            },
            Totals {
                duplicated: 1,
                ..GOOD
            },
            Totals {
                out_of_order: 1,
                ..GOOD
            },
        ] {
            assert!(!outcome(bad).is_good(), "{bad:?}");
        }
    }
}
