//! One bridge's link, and the connection that it has.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use smol::lock::Mutex;

use super::resolve::Resolver;
use super::secret::Secrets;
use crate::bridge::{Error, Faults, Link, Status};
use crate::broker::{BridgeId, ConnId};
use crate::net::stream::Meter;
use crate::time::Time;
use crate::tls::ClientSide;

/// What finds out names and passwords for a bridge, with threads and programs.
pub(super) type Helpers = (Resolver, Secrets);

/// One bridge's link, and what the broker calls it.
#[derive(Debug)]
pub(in crate::net) struct Uplink {
    pub(super) link: Link,
    pub(super) bridge: BridgeId,
    /// The TLS session with the upstream, which lasts beyond a connection; `None` without TLS.
    pub(super) tls: Option<ClientSide>,
    /// What is faulty in what the upstream sends.
    pub(super) faults: Faults,
    /// An attempt failed for the time of day while the clock was wrong: there is one more as soon as it is
    /// set.
    pub(super) awaits_clock: bool,
    /// Lent to the bridge's task. They outlast it, as their threads and the addresses they know do.
    pub(super) helpers: Rc<Mutex<Helpers>>,
    /// Its connection while the link is up.
    conn: Option<ConnId>,
    /// How many bytes its outbox has given to the socket since.
    written: u64,
    /// Counts the bytes of the sockets of this and earlier links of the bridge.
    pub(super) meter: Meter,
    /// Wakes its task when the connection ends.
    waker: Option<Waker>,
}

impl Uplink {
    pub(super) fn new(link: Link, bridge: BridgeId) -> Uplink {
        Uplink {
            faults: Faults::new(&link.spec().name),
            link,
            bridge,
            tls: None,
            awaits_clock: false,
            helpers: Rc::default(),
            conn: None,
            written: 0,
            meter: Meter::default(),
            waker: None,
        }
    }

    /// The connection, while the link is up.
    pub(super) fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// The link is up, with this connection.
    pub(super) fn joined(&mut self, conn: ConnId) {
        self.conn = Some(conn);
        self.written = 0;
        self.faults.connected();
        self.awaits_clock = false;
    }

    /// Ready once the connection has ended; until then it wakes the task.
    pub(super) fn poll_ended(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.conn.is_none() {
            return Poll::Ready(());
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// So many bytes were read from and written to the connection that is up.
    pub(in crate::net) fn moved(&self, bytes: u32) {
        self.meter.add(bytes.into());
    }

    /// The connection has ended.
    pub(in crate::net) fn ended(&mut self, why: &Error, now: Time) {
        self.conn = None;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.failed(why, now);
    }

    /// The connection or the attempt has ended.
    pub(in crate::net) fn failed(&mut self, why: &Error, now: Time) {
        self.link.failed(why, now);
    }

    /// How many bytes were written to the upstream since the connection is up.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Something was written to the upstream: so many bytes of its outbox.
    pub(in crate::net) fn sent(&mut self, bytes: u64, now: Time) {
        self.written += bytes;
        self.link.sent(now);
    }
}

/// What the link of a bridge is at; `None` if there is no such bridge.
pub(in crate::net) fn status(uplinks: &[Uplink], bridge: BridgeId) -> Option<Status<'_>> {
    let uplink = uplinks.iter().find(|uplink| uplink.bridge == bridge)?;
    Some(uplink.link.status())
}
