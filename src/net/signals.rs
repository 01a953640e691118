//! Signals, waited for like sockets: in the same round of the reactor, so that what SIGHUP changes
//! holds for whoever connects after it.

use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::reactor::{Reactor, Source};

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
