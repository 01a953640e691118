//! When an upstream is read of which much is awaited.
//!
//! Mosquitto writes each PUBACK by itself. Who reads each by itself has a wake-up, a read, a write to the
//! publisher and one to the upstream for every message, which is most of what it costs. Where many
//! answers are awaited, half of them are taken in one go: the upstream is busy with the other half
//! meanwhile. The system is asked to wake us no sooner (`SO_RCVLOWAT`), and goes on so while that many come.
//! None waits longer than [`PATIENCE`], and none for a while where that was in vain: for a longer while
//! each time in a row. Once alone says little, for on a busy machine the upstream may not have had the
//! processor.

use std::time::{Duration, Instant};

use crate::broker::ConnId;

/// Fewer answers are not worth waiting for.
const LEAST: usize = 16;
/// The bytes of a PUBACK, and more with TLS: then fewer are taken at a time.
const ANSWER: usize = 4;
/// How long an answer waits for others at most.
const PATIENCE: Duration = Duration::from_millis(1);
/// Where it was in vain, none waits for so long; twice as long each time in a row, up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(8);
/// Where it always is in vain, none waits for so long: the link is slow, or the upstream sends no other
/// before the first was acknowledged, as by Nagle's algorithm.
const LONGEST: Duration = Duration::from_secs(1);

/// The upstreams whose answers are being gathered; hardly ever more than one.
#[derive(Debug, Default)]
pub(in crate::net) struct Gathering {
    list: Vec<Wait>,
    /// Those that waited in vain the last time.
    paused: Vec<Pause>,
}

/// Answers of an upstream are gathered.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: ConnId,
    /// The bytes at which the system wakes us.
    mark: usize,
    /// It is to be read then at the latest; `None`: [`Gathering::late`] has said that it is.
    until: Option<Instant>,
}

/// An upstream is read as answers come.
#[derive(Clone, Copy, Debug)]
struct Pause {
    id: ConnId,
    until: Instant,
    /// How long it lasts.
    length: Duration,
}

/// What is to be done with an upstream from which something can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Verdict {
    /// It is read, and the system wakes us as it did.
    Read,
    /// It is read; from now on the system wakes us at so many bytes.
    ReadFrom(usize),
    /// It is not read: the system wakes us at so many bytes, or [`Gathering::late`] does.
    WaitFor(usize),
}

/// The bytes of half of `awaited` answers; 1 where they are not worth waiting for.
fn half(awaited: usize) -> usize {
    match awaited {
        ..LEAST => 1,
        _ => awaited / 2 * ANSWER,
    }
}

impl Gathering {
    /// Judges the upstream `id`, from which something can be read and `awaited` answers are due; `bytes`
    /// tells how much can be read.
    pub(in crate::net) fn judge(
        &mut self,
        id: ConnId,
        awaited: usize,
        bytes: impl FnOnce() -> usize,
        now: Instant,
    ) -> Verdict {
        let half = half(awaited);
        let Some(at) = self.list.iter().position(|wait| wait.id == id) else {
            return self.begin(id, half, bytes, now);
        };
        let Wait { mark, until, .. } = self.list.swap_remove(at);
        let is_late = until.is_none_or(|until| until <= now);
        let came = if is_late { bytes() } else { mark };
        if came < mark || half == 1 {
            // Where nothing came at all, nothing has waited.
            if (1..mark).contains(&came) && half > 1 {
                self.pause(id, now);
            }
            return Verdict::ReadFrom(1);
        }
        self.paused.retain(|pause| pause.id != id);
        // One that is a little low costs less than to ask the system each time.
        let is_apt = mark <= half && half < mark * 2;
        let (mark, verdict) = if is_apt {
            (mark, Verdict::Read)
        } else {
            (half, Verdict::ReadFrom(half))
        };
        self.begin_wait(id, mark, now);
        verdict
    }

    /// As [`Gathering::judge`], for an upstream that is read as answers come so far.
    fn begin(
        &mut self,
        id: ConnId,
        half: usize,
        bytes: impl FnOnce() -> usize,
        now: Instant,
    ) -> Verdict {
        let is_paused = |pause: &Pause| pause.id == id && now < pause.until;
        if half == 1 || self.paused.iter().any(is_paused) || bytes() >= half {
            return Verdict::Read;
        }
        self.begin_wait(id, half, now);
        Verdict::WaitFor(half)
    }

    fn begin_wait(&mut self, id: ConnId, mark: usize, now: Instant) {
        let until = Some(now + PATIENCE);
        self.list.push(Wait { id, mark, until });
    }

    /// To wait for answers of `id` was in vain.
    fn pause(&mut self, id: ConnId, now: Instant) {
        let before = self.paused.iter().find(|pause| pause.id == id);
        let length = before.map_or(PAUSE, |pause| (pause.length * 2).min(LONGEST));
        // Those of connections that have ended go, too.
        let is_old = |pause: &Pause| now >= pause.until + LONGEST;
        (self.paused).retain(|pause| pause.id != id && !is_old(pause));
        let until = now + length;
        self.paused.push(Pause { id, until, length });
    }

    /// When the next upstream is to be read at the latest.
    pub(in crate::net) fn next(&self) -> Option<Instant> {
        self.list.iter().filter_map(|wait| wait.until).min()
    }

    /// An upstream that is to be read by now, each once: it is to be [judged](Gathering::judge) as if
    /// something could be read.
    pub(in crate::net) fn late(&mut self, now: Instant) -> Option<ConnId> {
        let late = |wait: &&mut Wait| wait.until.is_some_and(|until| until <= now);
        let wait = self.list.iter_mut().find(late)?;
        wait.until = None;
        Some(wait.id)
    }

    /// The connection `id` has ended.
    pub(in crate::net) fn forget(&mut self, id: ConnId) {
        self.list.retain(|wait| wait.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Table;

    /// One upstream, and the moment.
    struct One {
        gathering: Gathering,
        id: ConnId,
        now: Instant,
    }

    impl One {
        fn new() -> One {
            One {
                gathering: Gathering::default(),
                id: Table::<ConnId, ()>::default().insert(()),
                now: Instant::now(),
            }
        }

        /// The system says that something can be read, and that it is `bytes`.
        fn event(&mut self, awaited: usize, bytes: usize) -> Verdict {
            self.gathering.judge(self.id, awaited, || bytes, self.now)
        }

        /// As [`One::event`], once the answers have waited long enough.
        fn late(&mut self, awaited: usize, bytes: usize) -> Verdict {
            self.now = self.gathering.next().unwrap();
            assert_eq!(self.gathering.late(self.now), Some(self.id));
            assert_eq!(self.gathering.late(self.now), None);
            assert_eq!(self.gathering.next(), None);
            self.event(awaited, bytes)
        }

        /// A hundred answers wait in vain.
        fn in_vain(&mut self) {
            assert_eq!(self.event(100, 4), Verdict::WaitFor(200));
            assert_eq!(self.late(100, 8), Verdict::ReadFrom(1));
        }
    }

    #[test]
    fn half_of_what_is_awaited_is_taken_at_a_time() {
        for (awaited, half) in [(16, 32), (20, 40), (100, 200), (101, 200)] {
            let mut one = One::new();
            assert_eq!(one.event(awaited, half), Verdict::Read, "{awaited}");
            assert_eq!(
                one.event(awaited, half - 1),
                Verdict::WaitFor(half),
                "{awaited}"
            );
            assert_eq!(one.gathering.next(), Some(one.now + PATIENCE));
        }
    }

    #[test]
    fn few_answers_are_read_as_they_come() {
        let mut one = One::new();
        for awaited in 0..16 {
            assert_eq!(one.event(awaited, 4), Verdict::Read);
        }
        assert_eq!(one.gathering.next(), None);
    }

    /// What was set holds for the answers after these: nobody asks the system about each.
    #[test]
    fn the_system_goes_on_to_wake_us_at_the_mark() {
        let mut one = One::new();
        assert_eq!(one.event(20, 4), Verdict::WaitFor(40));
        for _ in 0..5 {
            one.now += PATIENCE / 2;
            let untold = || unreachable!("the system has told that it is enough");
            let verdict = one.gathering.judge(one.id, 20, untold, one.now);
            assert_eq!(verdict, Verdict::Read);
            assert_eq!(one.gathering.next(), Some(one.now + PATIENCE));
        }
        // Other marks, where it matters.
        assert_eq!(one.event(38, 40), Verdict::Read);
        assert_eq!(one.event(40, 40), Verdict::ReadFrom(80));
        assert_eq!(one.event(38, 80), Verdict::ReadFrom(76));
        assert_eq!(one.event(15, 76), Verdict::ReadFrom(1));
        assert_eq!(one.gathering.next(), None);
    }

    #[test]
    fn no_answer_waits_for_others_that_do_not_come() {
        let mut one = One::new();
        one.in_vain();
        assert_eq!(one.gathering.next(), None);
        // For a while none waits.
        one.now += PAUSE - PATIENCE;
        assert_eq!(one.event(100, 4), Verdict::Read);
        one.now += PATIENCE;
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
    }

    /// Nothing came for as long as an answer may wait, so none has waited.
    #[test]
    fn where_nothing_came_the_next_answer_may_wait() {
        let mut one = One::new();
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
        assert_eq!(one.event(100, 200), Verdict::Read);
        assert_eq!(one.late(100, 0), Verdict::ReadFrom(1));
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
    }

    /// A loop that is late itself reads what has waited, and does not let it wait anew.
    #[test]
    fn what_is_late_is_read_however_late_the_loop_is() {
        let mut one = One::new();
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
        one.now += 20 * PATIENCE;
        assert_eq!(one.event(100, 8), Verdict::ReadFrom(1));
        assert_eq!(one.gathering.next(), None);
    }

    /// A wait that was not in vain, but noticed late, is none that was.
    #[test]
    fn enough_that_is_noticed_late_is_enough() {
        let mut one = One::new();
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
        assert_eq!(one.late(100, 200), Verdict::Read);
        assert!(one.gathering.paused.is_empty());
        assert_eq!(one.gathering.next(), Some(one.now + PATIENCE));
    }

    #[test]
    fn what_is_in_vain_again_and_again_becomes_rare() {
        let mut one = One::new();
        let (start, mut length) = (one.now, PAUSE);
        for _ in 0..12 {
            one.in_vain();
            one.now += length - PATIENCE;
            assert_eq!(one.event(100, 4), Verdict::Read);
            one.now += PATIENCE;
            length = (length * 2).min(LONGEST);
        }
        assert!(one.now > start + 5 * LONGEST);
        assert_eq!(one.gathering.paused.len(), 1);
    }

    /// A machine that is busy for once must not have each answer read by itself for long.
    #[test]
    fn a_wait_that_is_not_in_vain_makes_the_next_pause_short() {
        let mut one = One::new();
        for _ in 0..9 {
            one.in_vain();
            one.now += LONGEST;
        }
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
        assert_eq!(one.event(100, 200), Verdict::Read);
        assert!(one.gathering.paused.is_empty());
        assert_eq!(one.late(100, 8), Verdict::ReadFrom(1));
        one.now += PAUSE - PATIENCE;
        assert_eq!(one.event(100, 4), Verdict::Read);
        one.now += PATIENCE;
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
    }

    #[test]
    fn one_that_has_ended_is_forgotten() {
        let mut one = One::new();
        assert_eq!(one.event(100, 4), Verdict::WaitFor(200));
        one.gathering.forget(one.id);
        assert_eq!(one.gathering.late(one.now + LONGEST), None);
    }
}
