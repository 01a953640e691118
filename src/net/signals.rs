//! Signals, waited for like sockets: in the same round of the reactor, so that what SIGHUP changes
//! holds for whoever connects after it; and what they ask of the hub.

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::clock::wall;
use super::conn::Conn;
use super::hub::Hub;
use super::progress::End;
use super::reactor::{Reactor, Source};
use super::web::Code;
use crate::time::Time;
use crate::tls::{self, ServerSide};

/// The signals of the process; see signal(7) for the numbers.
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    source: Option<Source>,
}

impl Signals {
    /// Catches `signals` from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn new(signals: &[i32]) -> io::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        Ok(Signals {
            delivery,
            source: None,
        })
    }

    /// Waits by `reactor` from now on.
    ///
    /// # Errors
    /// When the reactor has no room for one more descriptor.
    pub fn watch(&mut self, reactor: &Rc<Reactor>) -> io::Result<()> {
        self.source = Some(reactor.register(self.delivery.get_read())?);
        Ok(())
    }

    /// The next signal, once a reactor watches.
    pub async fn next(&mut self) -> i32 {
        loop {
            if let Some(signal) = self.delivery.pending().next() {
                return signal;
            }
            match &self.source {
                Some(source) => {
                    source.read_dry();
                    poll_fn(|cx| source.poll_readable(cx)).await;
                }
                None => std::future::pending().await,
            }
        }
    }
}

impl Hub {
    /// SIGHUP: what the handshakes of connections go by that come from now on, for each listener. `clock`
    /// is what certificates are judged by: it is told what time it is.
    pub fn set_tls(&mut self, clock: &tls::Clock, sides: Vec<Option<ServerSide>>) {
        clock.tell(wall().since(Time::ZERO));
        if sides.iter().any(Option::is_some) {
            self.make_room_for_sealed();
        }
        if self.listeners_tls.set(clock, sides) {
            // Their certificates were judged by what does not hold any more.
            for id in self.broker.not_admitted() {
                if self.conn(id).is_some_and(|conn| conn.has_tls()) {
                    self.detach(id, &End::Asked);
                }
            }
        }
    }

    /// SIGUSR1: what waits for its commit does not wait for the interval.
    pub fn commit_now(&mut self) {
        let now = self.now();
        self.broker.commit_now(now);
    }

    /// The broker says goodbye to its clients; the end of the turn writes it.
    pub fn shut_down(&mut self) {
        for web in self.conns.iter_mut().flatten().filter_map(Conn::web) {
            web.code = Code::GOING_AWAY;
        }
        let now = self.now();
        self.broker.shutdown(now);
    }
}
