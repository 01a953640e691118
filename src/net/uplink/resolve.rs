//! Host names to addresses, off the loop.
//!
//! `getaddrinfo` blocks, for as long as the resolver's time-outs say, and cannot be cancelled. So
//! each look-up has a thread, and a bridge has a few of those, no more: where one hangs, the next attempt
//! waits for the same thread instead of starting another. Other bridges have their own, and devices
//! never wait.
//!
//! The families are looked up beside each other, and what comes first is used (RFC 8305 §3); where the name
//! server is silent, what it said before (RFC 8767).

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::{Stream, future};
use smol::channel::{self, Receiver};

use super::known::{Known, Old};
use super::lookup::{self, Doubt, Failure, Family, Found, Lookup};
use crate::net::reactor::Reactor;

/// The helper needs room for libc's resolver, not for us.
const STACK: usize = 256 * 1024;
/// Look-ups that one bridge may have under way: two names, or one that hangs beside another.
const MOST_JOBS: usize = 4;
/// How long the addresses of IPv4 wait for those of IPv6 (RFC 8305 §3: Resolution Delay).
const GRACE: Duration = Duration::from_millis(50);
/// How long an answer is waited for where there is one from before (RFC 8767 §5).
const STALE_AFTER: Duration = Duration::from_millis(1800);
/// An answer that came when nobody waited any more is good for as long.
const FRESH: Duration = Duration::from_secs(60);

/// Why a name has no addresses.
#[derive(Debug)]
pub(super) enum Error {
    /// The resolver's answer.
    Lookup(Failure),
    /// No answer within the deadline; the look-up goes on by itself.
    TimedOut,
    /// Earlier look-ups, of other names, still hang.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Lookup(failure) => f.write_str(&failure.why),
            Error::TimedOut => f.write_str("the name server does not answer"),
            Error::Busy => f.write_str("earlier lookups still wait for the name server"),
        }
    }
}

impl std::error::Error for Error {}

/// Looks names up for one bridge.
#[derive(Debug)]
pub(super) struct Resolver {
    lookup: Lookup,
    jobs: Vec<Job>,
    known: Known,
}

/// A look-up of one family. Its answer stays until somebody takes it.
#[derive(Debug)]
struct Job {
    host: String,
    family: Family,
    answer: Receiver<Answer>,
}

#[derive(Debug)]
struct Answer {
    found: Found,
    at: Instant,
}

impl Job {
    fn is_under_way(&self) -> bool {
        self.answer.is_empty() && !self.answer.is_closed()
    }
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::new(lookup::system)
    }
}

impl Resolver {
    fn new(lookup: Lookup) -> Resolver {
        Resolver {
            lookup,
            jobs: Vec::new(),
            known: Known::default(),
        }
    }

    /// Asks for the addresses of `host`. An IP address is its own answer, without a thread.
    ///
    /// # Errors
    /// It can't be asked for, and there is no answer from before.
    pub(super) fn ask(&mut self, host: &str, port: u16) -> Result<Question<'_>, Error> {
        let literal = lookup::literal(host, port).map_err(Error::Lookup)?;
        let mut waiting = Vec::new();
        if literal.is_none() {
            for family in Family::ALL {
                match self.start(host, family) {
                    Ok(answer) => waiting.push((family, Box::pin(answer))),
                    Err(why) if !self.known.has(host, Instant::now()) => return Err(why),
                    Err(_) => {}
                }
            }
        }
        Ok(Question {
            resolver: self,
            host: host.to_owned(),
            port,
            literal,
            waiting,
            failure: None,
        })
    }

    /// The answer to come for one family of `host`: of the look-up that is there, else of a new one.
    fn start(&mut self, host: &str, family: Family) -> Result<Receiver<Answer>, Error> {
        let same = |job: &Job| job.host == host && job.family == family;
        self.jobs
            .retain(|job| job.is_under_way() || !job.answer.is_empty());
        if let Some(job) = self.jobs.iter().find(|job| same(job)) {
            return Ok(job.answer.clone());
        }
        if self.jobs.len() >= MOST_JOBS {
            // What nobody took.
            self.jobs.retain(Job::is_under_way);
        }
        if self.jobs.len() >= MOST_JOBS {
            return Err(Error::Busy);
        }
        let answer = self.spawn(host, family)?;
        self.jobs.push(Job {
            host: host.to_owned(),
            family,
            answer: answer.clone(),
        });
        Ok(answer)
    }

    /// A thread that looks one family up.
    fn spawn(&self, host: &str, family: Family) -> Result<Receiver<Answer>, Error> {
        let (sender, answer) = channel::bounded(1);
        let (lookup, name) = (self.lookup, host.to_owned());
        std::thread::Builder::new()
            .name("resolve".into())
            .stack_size(STACK)
            .spawn(move || {
                let found = lookup(&name, family);
                let at = Instant::now();
                // Nobody waits any more: the bridge is gone.
                let _ = sender.try_send(Answer { found, at });
            })
            .map_err(|e| Error::Lookup(Failure::passing(format!("no thread for it: {e}"))))?;
        Ok(answer)
    }
}

/// The addresses of one name, as they come.
#[derive(Debug)]
pub(super) struct Question<'a> {
    resolver: &'a mut Resolver,
    host: String,
    port: u16,
    literal: Option<SocketAddr>,
    /// The families that are not there yet.
    waiting: Vec<(Family, Pin<Box<Receiver<Answer>>>)>,
    /// Why a family has no addresses: what leaves the greater doubt.
    failure: Option<Failure>,
}

/// The first addresses of a name.
#[derive(Debug)]
pub(super) struct First {
    pub(super) addresses: Vec<SocketAddr>,
    /// There is no answer, for this reason, and these are from before.
    pub(super) old: Option<(Error, Old)>,
}

impl Question<'_> {
    /// The addresses that come first, those of IPv6 before the others; [`Question::poll_more`] has the rest.
    ///
    /// # Errors
    /// When there is no answer within `deadline`, or a bad one, and none from before.
    pub(super) async fn first(
        &mut self,
        reactor: &Reactor,
        deadline: Duration,
    ) -> Result<First, Error> {
        if let Some(address) = self.literal {
            return Ok(First {
                addresses: vec![address],
                old: None,
            });
        }
        let has_old = self.resolver.known.has(&self.host, Instant::now());
        let patience = if has_old {
            STALE_AFTER.min(deadline)
        } else {
            deadline
        };
        let (mut late, mut addresses) = (reactor.timer_after(patience), Vec::new());
        while !self.waiting.is_empty() {
            let answer = async { Some(poll_fn(|cx| self.poll_answer(cx)).await) };
            let none = async {
                (&mut late).await;
                None
            };
            let Some((family, found)) = future::or(answer, none).await else {
                break;
            };
            if found.is_empty() {
                continue;
            }
            let is_first = addresses.is_empty();
            addresses.extend(found);
            if is_first {
                late.set_after(if family == Family::V6 {
                    Duration::ZERO
                } else {
                    GRACE
                });
            }
        }
        addresses.sort_by_key(SocketAddr::is_ipv4);
        if addresses.is_empty() {
            return self.fall_back();
        }
        Ok(First {
            addresses,
            old: None,
        })
    }

    /// What there was before, if it is not known that there is nothing any more.
    fn fall_back(&mut self) -> Result<First, Error> {
        let why = match self.failure.take() {
            Some(failure) if self.waiting.is_empty() => Error::Lookup(failure),
            _ if self.waiting.is_empty() => Error::Busy,
            _ => Error::TimedOut,
        };
        if matches!(&why, Error::Lookup(failure) if failure.doubt == Doubt::None) {
            return Err(why);
        }
        let Some(mut old) = self.resolver.known.recall(&self.host, Instant::now()) else {
            return Err(why);
        };
        old.addresses.iter_mut().for_each(|a| a.set_port(self.port));
        old.addresses.sort_by_key(SocketAddr::is_ipv4);
        Ok(First {
            addresses: old.addresses.clone(),
            old: Some((why, old)),
        })
    }

    /// Addresses that come later than the first; `None` once there won't be any.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<SocketAddr>>> {
        while !self.waiting.is_empty() {
            match self.poll_answer(cx) {
                Poll::Ready((_, found)) if found.is_empty() => {}
                Poll::Ready((_, found)) => return Poll::Ready(Some(found)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(None)
    }

    /// The next answer: empty if there are no addresses of that family.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<(Family, Vec<SocketAddr>)> {
        let mut place = 0;
        while let Some((family, answer)) = self.waiting.get_mut(place) {
            let family = *family;
            match answer.as_mut().poll_next(cx) {
                Poll::Pending => place += 1,
                Poll::Ready(answer) => {
                    self.waiting.swap_remove(place);
                    return Poll::Ready((family, self.take(family, answer)));
                }
            }
        }
        Poll::Pending
    }

    /// Takes an answer in; `None` is that of a thread that has ended without one.
    fn take(&mut self, family: Family, answer: Option<Answer>) -> Vec<SocketAddr> {
        let ended = || Answer {
            found: Err(Failure::passing("the lookup has ended without an answer")),
            at: Instant::now(),
        };
        let Answer { found, at } = answer.unwrap_or_else(ended);
        if at.elapsed() > FRESH
            && let Ok(again) = self.resolver.start(&self.host, family)
        {
            self.waiting.push((family, Box::pin(again)));
            return Vec::new();
        }
        match found {
            Ok(mut addresses) => {
                let known = &mut self.resolver.known;
                known.learn(&self.host, family, &addresses, at);
                addresses.iter_mut().for_each(|a| a.set_port(self.port));
                addresses
            }
            Err(failure) => {
                let before = self.failure.as_ref();
                if before.is_none_or(|before| before.doubt < failure.doubt) {
                    self.failure = Some(failure);
                }
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
