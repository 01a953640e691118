//! The running broker is steered over the control socket.
//!
//! `net` has the connections, [`protocol`] the words, and `commands` a file a command. A command is a
//! short call between two turns; what is long is made in parts, and what waits for a disk is done on a
//! thread of its own.

mod commands;
pub mod protocol;
mod socket;

use std::cell::RefCell;
use std::rc::Weak;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::reload::Reloadable;
use crate::impossible;
use crate::net::{Answer, Asked};
use commands::{Outcome, Parts};
use protocol::{Refusal, Reply, Request};
pub(super) use socket::{bind, check};

/// The running broker; gone while it stops.
type Running = Weak<RefCell<Reloadable>>;

/// No further part joins a piece of a list that has so many bytes ...
const PIECE: usize = 32 * 1024;
/// ... or took so long: everybody waits for it.
const TIME: Duration = Duration::from_millis(1);

/// The answer to what somebody asks of the running broker.
pub(super) fn answer(running: &Running, asked: Asked<'_>) -> Answer {
    let begun = begin(running, asked);
    let mut outcome = Some(begun.unwrap_or_else(Outcome::Refused));
    let running = Weak::clone(running);
    Box::new(move |cx| {
        let Some(one) = &mut outcome else {
            return Poll::Ready(None);
        };
        let (is_over, piece) = ready!(next(one, &running, cx));
        if is_over {
            outcome = None;
        }
        Poll::Ready(Some(piece))
    })
}

/// The next piece of an answer, and whether it is the last.
fn next(outcome: &mut Outcome, running: &Running, cx: &mut Context<'_>) -> Poll<(bool, String)> {
    let last = match outcome {
        Outcome::Said(members) => Reply::Done(std::mem::take(members)),
        Outcome::Refused(refusal) => Reply::Refused(refusal.clone()),
        Outcome::Awaited(work) => match ready!(work.as_mut().poll(cx)) {
            Ok(members) => Reply::Done(members),
            Err(refusal) => Reply::Refused(refusal),
        },
        Outcome::Listed(part) => return Poll::Ready(parts(part, running)),
    };
    Poll::Ready((true, last.to_line()))
}

/// Parts of a list, as many as go into a piece, and whether the last is among them.
fn parts(part: &mut Parts, running: &Running) -> (bool, String) {
    let begun = Instant::now();
    let mut piece = String::new();
    loop {
        let last = match with(running, |running| Ok(part(running))) {
            Ok(Some(items)) => {
                for item in items {
                    piece += &Reply::Item(item).to_line();
                }
                if piece.len() < PIECE && begun.elapsed() < TIME {
                    continue;
                }
                return (false, piece);
            }
            Ok(None) => Reply::Done(Vec::new()),
            Err(refusal) => Reply::Refused(refusal),
        };
        piece += &last.to_line();
        return (true, piece);
    }
}

fn begin(running: &Running, asked: Asked<'_>) -> Result<Outcome, Refusal> {
    let Asked::Line(line) = asked else {
        return Err(Refusal::new("a request has at most 65536 bytes"));
    };
    let request = Request::parse(line)?;
    let command = commands::find(&request)?;
    commands::note(command, &request);
    with(running, |running| (command.run)(running, &request))
}

/// Does something with the running broker.
fn with<T>(
    running: &Running,
    work: impl FnOnce(&mut Reloadable) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let stopping = || Refusal::new("the broker is stopping");
    let running = running.upgrade().ok_or_else(stopping)?;
    let Ok(mut running) = running.try_borrow_mut() else {
        impossible!("a command runs within another");
        return Err(stopping());
    };
    work(&mut running)
}
