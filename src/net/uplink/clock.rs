//! Bridges that cannot connect because the clock is wrong.

use std::time::Duration;

use futures_lite::future;

use super::Uplink;
use crate::net::hub::{Hub, Shared, sleep};
use crate::net::progress::End;

/// How often a bridge that could not connect because the clock is wrong looks whether it is set.
const CLOCK_EVERY: Duration = Duration::from_secs(2);

/// Waits until the clock is set that the bridge could not connect for, and has it try again.
pub(super) async fn clock_is_set(hub: &Shared, index: u32) {
    loop {
        let awaits = |uplink: &mut Uplink| uplink.awaits_clock;
        if !hub.borrow_mut().uplink(index).is_some_and(awaits) {
            return future::pending().await;
        }
        sleep(hub, CLOCK_EVERY).await;
        if hub.borrow_mut().try_with_clock(index) {
            return;
        }
    }
}

impl Hub {
    /// A handshake of the bridge has failed: if that may be for the clock, it tries again once that is set.
    pub(super) fn await_clock(&mut self, index: u32, end: &End) {
        let is_about_time = matches!(end, End::Tls(failure) if failure.is_about_time());
        let is_wrong = self.listeners_tls.clock().is_wrong();
        if let Some(uplink) = self.uplink(index).filter(|_| is_about_time && is_wrong) {
            uplink.awaits_clock = true;
        }
    }

    /// Has a bridge try again that waits for the clock; false as long as that is wrong.
    fn try_with_clock(&mut self, index: u32) -> bool {
        let (clock, now) = (self.listeners_tls.clock(), self.now());
        if clock.is_wrong() {
            return false;
        }
        if let Some(uplink) = self.uplink(index) {
            uplink.awaits_clock = false;
            let name = &uplink.link.spec().name;
            log::info!("The clock is set: bridge {name} tries again.");
            uplink.link.try_now(now);
        }
        true
    }
}
