//! Long outages: what the log is told while one lasts, when it ends, and once all is sent that has
//! waited. No clock: the time comes in.

use std::time::Duration;

use crate::time::Time;

/// An outage that lasts so long is told of at its end.
const LONG: Duration = Duration::from_secs(300);
/// An outage that goes on is told of so often.
const REMINDER: Duration = Duration::from_secs(3600);
/// How often to look whether all is sent.
const LOOK: Duration = Duration::from_secs(1);

/// What a bridge owes its upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Messages that the upstream has not taken over yet.
    pub messages: u64,
    /// Of these, those that are not under way either.
    pub unsent: u64,
    /// The queue has no room for another one.
    pub is_full: bool,
}

/// The outages of one link. It is down at first.
#[derive(Debug)]
pub(super) struct Outage {
    /// Since when the link has been down; `None` while it is up.
    since: Option<Time>,
    /// When the log is to be reminded.
    remind_at: Time,
    /// Since when the backlog of a long outage has been sent.
    draining: Option<Time>,
    /// When to look whether it is.
    look_at: Time,
    backlog: Backlog,
}

impl Outage {
    pub(super) fn new(now: Time) -> Outage {
        Outage {
            since: Some(now),
            remind_at: now + REMINDER,
            draining: None,
            look_at: now,
            backlog: Backlog::default(),
        }
    }

    /// What is owed by now: to be told before the other calls.
    pub(super) fn owe(&mut self, backlog: Backlog) {
        self.backlog = backlog;
    }

    /// What is owed, as was told last.
    pub(super) fn owed_now(&self) -> Backlog {
        self.backlog
    }

    /// The link does not connect by itself: that is no outage.
    pub(super) fn rest(&mut self) {
        self.since = None;
        self.draining = None;
    }

    /// The link is down; perhaps it was before.
    pub(super) fn down(&mut self, now: Time) {
        if self.since.is_none() {
            self.since = Some(now);
            self.remind_at = now + REMINDER;
        }
    }

    /// The link is up. What to say of the outage that has ended.
    pub(super) fn up(&mut self, now: Time) -> Option<String> {
        let lasted = now.since(self.since.take()?);
        self.look_at = now + LOOK;
        if lasted < LONG {
            // What a longer one has left is still being sent.
            return None;
        }
        self.draining = (self.backlog.unsent > 0).then_some(now);
        let span = span(lasted);
        Some(format!("connected after {span}, {} to send", self.owed()))
    }

    /// What is due to be said at `now`: the reminder goes before `last_error`.
    pub(super) fn tick(&mut self, last_error: Option<&str>, now: Time) -> Option<String> {
        if let Some(since) = self.since {
            if now < self.remind_at {
                return None;
            }
            self.remind_at = now + REMINDER;
            let (span, owed) = (span(now.since(since)), self.owed());
            let error = last_error.map_or(String::new(), |error| format!(": {error}"));
            return Some(format!("not connected for {span}, {owed} to send{error}"));
        }
        let since = self.draining.filter(|_| now >= self.look_at)?;
        self.look_at = now + LOOK;
        if self.backlog.unsent > 0 {
            return None;
        }
        self.draining = None;
        Some(format!("all sent, after {}", span(now.since(since))))
    }

    /// Since when the link has been down; `None` while it is up or rests.
    pub(super) fn since(&self) -> Option<Time> {
        self.since
    }

    /// True while the link is down.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// When to call [`Outage::tick`] next.
    pub(super) fn next(&self) -> Option<Time> {
        match self.since {
            Some(_) => Some(self.remind_at),
            None => self.draining.map(|_| self.look_at),
        }
    }

    fn owed(&self) -> String {
        match self.backlog.messages {
            0 => "nothing".to_owned(),
            1 => "1 message".to_owned(),
            count => format!("{} messages", thousands(count)),
        }
    }
}

/// A duration in its two largest units, the second only if it is not 0.
pub(super) fn span(time: Duration) -> String {
    let secs = time.as_secs();
    let (big, unit, small, part) = match secs {
        0..60 => return format!("{} s", secs.max(1)),
        60..3_600 => return format!("{} min", secs / 60),
        3_600..86_400 => (secs / 3_600, "h", secs % 3_600 / 60, "min"),
        86_400..172_800 => (1, "day", secs % 86_400 / 3_600, "h"),
        _ => (secs / 86_400, "days", secs % 86_400 / 3_600, "h"),
    };
    match small {
        0 => format!("{big} {unit}"),
        small => format!("{big} {unit} {small} {part}"),
    }
}

/// A number with commas between its thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn owed(messages: u64, unsent: u64) -> Backlog {
        Backlog {
            messages,
            unsent,
            ..Backlog::default()
        }
    }

    const START: Time = Time::from_secs(1_000_000);

    /// Ticks whenever it is due, up to `until`; what was said, with the seconds since the start.
    fn run(outage: &mut Outage, until: Time) -> Vec<(u64, String)> {
        let mut said = Vec::new();
        while let Some(at) = outage.next().filter(|at| *at <= until) {
            if let Some(line) = outage.tick(Some("no route"), at) {
                said.push((at.since(START).as_secs(), line));
            }
        }
        said
    }

    #[test]
    fn a_long_outage_is_told_every_hour_and_at_its_end() {
        let mut outage = Outage::new(START);
        outage.owe(owed(4211, 4211));
        let end = START + secs(3 * 3600 + 12 * 60 + 7);
        assert_eq!(
            run(&mut outage, end),
            [(1, "1 h"), (2, "2 h"), (3, "3 h"),].map(|(h, span)| {
                let line = format!("not connected for {span}, 4,211 messages to send: no route");
                (h * 3600, line)
            })
        );
        assert_eq!(
            outage.up(end).as_deref(),
            Some("connected after 3 h 12 min, 4,211 messages to send")
        );
        assert_eq!(run(&mut outage, end + secs(120)), []);
        outage.owe(owed(20, 1));
        assert_eq!(run(&mut outage, end + secs(125)), []);
        // What is under way was sent.
        outage.owe(owed(20, 0));
        assert_eq!(
            run(&mut outage, end + secs(9999)),
            [(11_527 + 126, "all sent, after 2 min".to_owned())]
        );
        assert_eq!(outage.next(), None);
    }

    #[test]
    fn a_short_outage_is_not_told() {
        let mut outage = Outage::new(START);
        outage.owe(owed(9, 9));
        assert_eq!(outage.up(START + secs(299)), None);
        assert_eq!(outage.next(), None);
        outage.down(START + secs(400));
        outage.down(START + secs(500));
        assert_eq!(outage.next(), Some(START + secs(4000)));
        let said = outage.up(START + secs(700)).unwrap();
        assert_eq!(said, "connected after 5 min, 9 messages to send");
    }

    #[test]
    fn where_nothing_waited_nothing_is_sent() {
        let mut outage = Outage::new(START);
        let said = outage.up(START + secs(90_000)).unwrap();
        assert_eq!(said, "connected after 1 day 1 h, nothing to send");
        assert_eq!(outage.next(), None);
        outage.down(START + secs(90_000));
        outage.owe(owed(1, 0));
        let said = outage.up(START + secs(90_600)).unwrap();
        assert_eq!(said, "connected after 10 min, 1 message to send");
        assert_eq!(outage.next(), None);
    }

    /// The time that it took to send all is counted from the end of the long outage, over the short
    /// ones that come after it.
    #[test]
    fn a_short_outage_while_all_is_sent_changes_nothing() {
        let mut outage = Outage::new(START);
        outage.owe(owed(100, 80));
        outage.up(START + secs(1000)).unwrap();
        outage.down(START + secs(1010));
        assert_eq!(run(&mut outage, START + secs(1060)), []);
        assert_eq!(outage.up(START + secs(1060)), None);
        outage.owe(owed(0, 0));
        assert_eq!(
            run(&mut outage, START + secs(2000)),
            [(1061, "all sent, after 1 min".to_owned())]
        );
    }

    #[test]
    fn numbers_in_words() {
        let spans = [0, 59, 60, 3599, 3600, 7260, 86_400, 200_000];
        let spans = spans.map(|s| span(secs(s)));
        let expected = [
            "1 s",
            "59 s",
            "1 min",
            "59 min",
            "1 h",
            "2 h 1 min",
            "1 day",
            "2 days 7 h",
        ];
        assert_eq!(spans, expected);
        let numbers = [0, 999, 1000, 65_536, 1_000_000].map(thousands);
        assert_eq!(numbers, ["0", "999", "1,000", "65,536", "1,000,000"]);
    }
}
