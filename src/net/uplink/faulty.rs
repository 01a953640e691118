//! Bytes of an upstream that do not decode.

use crate::bridge::{Error, Remedy};
use crate::broker::ConnId;
use crate::mqtt::{self, Version};
use crate::net::hub::Hub;
use crate::time::Time;

impl Hub {
    /// How many of `available` bytes, the next of an upstream, belong to a packet that is passed over.
    pub(in crate::net) fn skip_faulty(&mut self, index: u32, available: usize) -> usize {
        self.uplink(index)
            .map_or(0, |uplink| uplink.faults.skip(available))
    }

    /// Goes on behind `bytes` of an upstream, which do not decode because of `error`: how many of
    /// them were taken, or `None` if more must come first.
    ///
    /// # Errors
    /// There is no way to go on.
    pub(in crate::net) fn faulty_packet(
        &mut self,
        index: u32,
        id: ConnId,
        (bytes, version): (&[u8], Version),
        error: mqtt::Error,
        now: Time,
    ) -> Result<Option<usize>, mqtt::Error> {
        let uplink = self.uplink(index).ok_or(error)?;
        let used = match uplink.faults.remedy(bytes, version, &error, now) {
            Remedy::Wait => return Ok(None),
            Remedy::End => {
                uplink.failed(&Error::Malformed(error.to_string()), now);
                return Err(error);
            }
            Remedy::Take(used, packet) => {
                self.upstream_packet(index, id, packet, now);
                used
            }
            Remedy::Drop(used, unusable) => {
                self.broker.bridge_drop(id, &unusable, now);
                used
            }
            Remedy::Pass(used) => used,
        };
        self.traffic.packets_received += 1;
        Ok(Some(used))
    }

    /// Bytes have come from an upstream. `is_whole`: a packet of them is complete.
    pub(in crate::net) fn heard(&mut self, index: u32, is_whole: bool, now: Time) {
        if let Some(uplink) = self.uplink(index) {
            uplink.link.heard(is_whole, now);
            let bridge = uplink.bridge;
            self.broker.bridge_heard(bridge, now);
        }
    }
}
