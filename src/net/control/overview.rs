//! The figures that are asked for over the control socket.

use crate::broker::BridgeId;
use crate::json::Value;
use crate::net::hub::Hub;
use crate::status;

impl Hub {
    /// The figures of the broker.
    pub fn overview(&mut self) -> Value {
        let now = self.now();
        self.sys.overview(&self.broker, &self.traffic, now)
    }

    /// Those of a bridge; `None` if there is no such bridge.
    pub fn bridge_overview(&mut self, bridge: BridgeId) -> Option<Value> {
        let now = self.now();
        self.count_volumes(now);
        let queue = self.broker.bridge_queue(bridge, now)?;
        let link = self.uplink_status(bridge);
        Some(status::bridge(&queue, link.as_ref(), now))
    }
}
