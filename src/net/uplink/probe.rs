//! The second connection of a bridge that a secondary address serves: is the primary there again?

use std::time::Duration;

use futures_lite::future;

use super::reach::{Target, prepare};
use super::state::Helpers;
use super::upstream::{HANDSHAKE_PACKET, Upstream};
use crate::bridge::{CONNECT_TIMEOUT, Error};
use crate::net::hub::{Hub, Shared, let_others_go_first, sleep, sleep_until};

/// How often to look whether the connection that serves can be left.
const LOOK: Duration = Duration::from_millis(50);

/// Probes the primary whenever that is due. Ready once the bridge has left for it.
pub(super) async fn watch_primary(hub: &Shared, index: u32, helpers: &mut Helpers) {
    loop {
        let target = next_target(hub, index).await;
        let answer = probe(hub, index, helpers, &target).await;
        if hub.borrow_mut().probed(index, answer) {
            break;
        }
    }
    while hub.borrow_mut().drive_up(index) {
        sleep(hub, LOOK).await;
        let_others_go_first(hub).await;
    }
}

/// Waits until a probe is due.
async fn next_target(hub: &Shared, index: u32) -> Target {
    loop {
        let at = {
            let mut hub = hub.borrow_mut();
            let due = hub
                .uplink(index)
                .and_then(|uplink| uplink.link.next_probe());
            due.and_then(|due| hub.clock().instant(due))
        };
        sleep_until(hub, at).await;
        if let Some(target) = hub.borrow_mut().begin_probe(index) {
            return target;
        }
    }
}

/// Goes to the primary, and says CONNECT and DISCONNECT there.
async fn probe(
    hub: &Shared,
    index: u32,
    helpers: &mut Helpers,
    target: &Target,
) -> Result<(), Error> {
    let (mut primary, password) = prepare(hub, index, helpers, target).await?;
    let late = async {
        sleep(hub, CONNECT_TIMEOUT).await;
        let_others_go_first(hub).await;
        Err(Error::ConnAckTimeout)
    };
    future::or(greet(hub, index, &mut primary, password), late).await
}

/// From CONNECT to CONNACK.
async fn greet(
    hub: &Shared,
    index: u32,
    primary: &mut Upstream,
    password: Option<Vec<u8>>,
) -> Result<(), Error> {
    let mut out = Vec::new();
    {
        let mut hub = hub.borrow_mut();
        let link = &hub.uplink(index).ok_or(Error::GivenUp)?.link;
        link.probe_connect(password.as_deref(), &mut out)?;
    }
    send(hub, primary, &out).await?;
    let mut bytes = Vec::new();
    loop {
        let received = primary.receive(&mut bytes).await;
        received.map_err(|end| end.of_upstream())?;
        out.clear();
        let is_accepted = {
            let mut hub = hub.borrow_mut();
            let link = &hub.uplink(index).ok_or(Error::GivenUp)?.link;
            link.probe_answer(&bytes, HANDSHAKE_PACKET, &mut out)?
        };
        if is_accepted {
            return send(hub, primary, &out).await;
        }
    }
}

async fn send(hub: &Shared, primary: &mut Upstream, packet: &[u8]) -> Result<(), Error> {
    let sent = primary.send(packet).await;
    sent.map_err(|end| end.of_upstream())?;
    hub.borrow_mut().count_sent(1, packet.len());
    Ok(())
}

impl Hub {
    fn begin_probe(&mut self, index: u32) -> Option<Target> {
        let now = self.now();
        let link = &mut self.uplink(index)?.link;
        let proxy = link.spec().proxy.clone();
        let (address, deadline) = link.begin_probe(now)?;
        Some(Target {
            address: address.clone(),
            proxy,
            within: deadline.since(now),
        })
    }

    /// True if the bridge leaves for the primary.
    fn probed(&mut self, index: u32, answer: Result<(), Error>) -> bool {
        let now = self.now();
        let uplink = self.uplink(index);
        uplink.is_some_and(|uplink| uplink.link.probed(answer, now))
    }
}
