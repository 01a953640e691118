//! Slow lines: an answer can't come before the question has gone.

use super::*;

/// A link that is up, and the line to its upstream, which takes so many bytes a second.
struct Line {
    script: Script,
    rate: u64,
    output: Output,
    /// What is owed: where in the output each message ends, when it was sent, and its place.
    owed: Vec<(u64, Time, u64)>,
    next: u64,
    acknowledges: bool,
    /// Where the PINGREQ without answer ends.
    ping: Option<u64>,
    pongs: bool,
}

impl Line {
    /// Bytes a second, and the keep-alive in seconds.
    fn new(rate: u64, keep_alive: u64) -> Line {
        let mut spec = spec(&["# out 1"]);
        (spec.notifications, spec.keepalive) = (false, secs(keep_alive));
        let mut script = Script::new(v311(spec));
        script.dial();
        script.accept(false, &[]);
        Line {
            script,
            rate,
            output: Output::default(),
            owed: Vec::new(),
            next: 0,
            acknowledges: true,
            ping: None,
            pongs: true,
        }
    }

    fn send(&mut self, bytes: u64) {
        self.output.said += bytes;
        self.script.link.sent(self.script.now);
        self.owed
            .push((self.output.said, self.script.now, self.next));
        self.next += 1;
    }

    /// What is not to be acknowledged.
    fn say(&mut self, bytes: u64) {
        self.output.said += bytes;
        self.script.link.sent(self.script.now);
    }

    fn tell(&mut self) {
        let oldest = self.owed.iter().map(|(_, at, place)| (*at, *place)).min();
        let link = &mut self.script.link;
        link.unacknowledged(oldest.map(|(at, _)| at));
        self.output.oldest = oldest.map(|(_, place)| place);
        link.output(self.output, self.script.now);
    }

    /// A second passes; false once the link gives up.
    fn second(&mut self) -> bool {
        self.script.pass(secs(1));
        let Output { said, taken, .. } = self.output;
        self.output.taken = said.min(taken + self.rate);
        while self.acknowledges && self.owed.first().is_some_and(|o| o.0 <= self.output.taken) {
            self.owed.remove(0);
            self.script.puback(1, Reason::SUCCESS).unwrap();
        }
        if self.pongs && self.ping.is_some_and(|at| at <= self.output.taken) {
            self.ping = None;
            self.script.receive(Packet::PingResp).unwrap();
        }
        self.tell();
        let said = self.script.drive();
        for packet in self.script.sent() {
            assert_eq!(packet, "PINGREQ");
            self.say(2);
            self.ping = Some(self.output.said);
        }
        self.tell();
        said == "idle"
    }

    /// How many seconds it holds, of so many.
    fn holds(&mut self, most: u64) -> u64 {
        (0..most).find(|_| !self.second()).unwrap_or(most)
    }

    fn error(&self) -> String {
        self.script
            .link
            .status()
            .last_error
            .unwrap_or("none")
            .into()
    }
}

/// 64 kbit/s, keepalive_interval 10, twelve messages of 100 KB, all handed over at once.
#[test]
fn what_goes_slowly_is_not_late() {
    for (rate, keep_alive, count, size) in [
        (8_000, 10, 12, 100_000),
        (8_000, 10, 600, 1_100),
        (8_000, 60, 3, 600_000),
        (1_200, 60, 250, 1_100),
    ] {
        let mut line = Line::new(rate, keep_alive);
        line.tell();
        (0..count).for_each(|_| line.send(size));
        let takes = count * size / rate + 10;
        assert_eq!(line.holds(takes), takes, "{}", line.error());
        assert!(line.owed.is_empty());
    }
}

/// Nothing is taken any more: nobody waits longer than the keep-alive.
#[test]
fn an_upstream_that_takes_nothing_is_dead() {
    for told in [1, 20, 50] {
        let mut line = Line::new(8_000, 20);
        line.tell();
        (0..12).for_each(|_| line.send(100_000));
        assert_eq!(line.holds(told), told);
        line.rate = 0;
        let held = line.holds(100);
        assert!((19..=20).contains(&held), "{held} {}", line.error());
    }
}

/// One that is quiet and dies meanwhile.
#[test]
fn a_dead_upstream_is_noticed_after_a_quiet_time() {
    let mut line = Line::new(8_000, 20);
    line.tell();
    assert_eq!(line.holds(33), 33);
    line.rate = 0;
    line.send(100);
    let held = line.holds(100);
    assert!((19..=20).contains(&held), "{held} {}", line.error());
}

/// It takes all, and answers pings, but acknowledges nothing. More that flows is no excuse.
#[test]
fn what_is_never_acknowledged_is_late_from_when_it_was_taken() {
    for flows in [false, true] {
        let mut line = Line::new(8_000, 20);
        line.acknowledges = false;
        line.tell();
        line.send(80_000);
        let mut held = 0;
        while line.second() {
            held += 1;
            if flows {
                line.say(4_000);
            }
            assert!(held < 100);
        }
        assert!((29..=31).contains(&held), "{held}");
        assert!(
            line.error().contains("no acknowledgement"),
            "{}",
            line.error()
        );
    }
}

/// One acknowledgement is lost, those of later messages come.
#[test]
fn an_acknowledgement_that_is_skipped_is_missed() {
    let mut line = Line::new(8_000, 20);
    line.tell();
    line.send(1_000);
    line.acknowledges = false;
    assert!(line.second());
    let lost = line.owed.remove(0);
    line.acknowledges = true;
    let mut held = 0;
    loop {
        line.owed.clear();
        line.send(1_000);
        line.owed.insert(0, lost);
        line.tell();
        line.owed.remove(0);
        line.output.oldest = Some(lost.2);
        line.script.pass(secs(1));
        line.output.taken = line.output.said;
        line.script.puback(2, Reason::SUCCESS).unwrap();
        line.script.link.unacknowledged(Some(lost.1));
        line.script.link.output(line.output, line.script.now);
        if line.script.drive() == "close" {
            break;
        }
        if line.script.sent() == ["PINGREQ"] {
            line.script.receive(Packet::PingResp).unwrap();
        }
        held += 1;
        assert!(held < 100);
    }
    assert!((18..=21).contains(&held), "{held}");
}

/// A PINGREQ that lies behind 100 KB is not unanswered while they drain; one that was taken is.
#[test]
fn a_ping_waits_for_its_turn() {
    for (pongs, holds) in [(true, 200), (false, 40 + 12 + 10 + 1)] {
        let mut line = Line::new(8_000, 40);
        line.tell();
        line.pongs = pongs;
        assert_eq!(line.holds(39), 39);
        line.say(100_000);
        // Nothing has come for the keep-alive.
        let held = 39 + line.holds(200 - 39);
        if pongs {
            assert_eq!(held, holds);
        } else {
            assert!(held.abs_diff(holds) <= 10, "{held}");
            assert!(
                held >= 40 + 12 + 19,
                "not before the upstream could answer: {held}"
            );
            assert_eq!(line.error(), "no answer to PINGREQ");
        }
    }
}

/// While something waits, it is looked at again soon; else a few times in a keep-alive.
#[test]
fn it_is_looked_at_as_often_as_needed() {
    let mut line = Line::new(8_000, 60);
    line.tell();
    let due = |line: &Line| line.script.link.next_timeout().since(line.script.now);
    assert_eq!(due(&line), secs(15));
    line.send(100_000);
    line.tell();
    assert_eq!(due(&line), secs(1));
    assert_eq!(line.holds(20), 20);
    assert_eq!(due(&line), secs(15));
}
