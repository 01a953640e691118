//! Requests for figures: /metrics and /health.

use crate::broker::ConnId;
use crate::net::hub::Hub;
use crate::net::web::Figures;
use crate::status::METRICS_TYPE;

/// What it costs to make them, in units of work: a fifth of what a connection may cost in a turn.
const COST: u64 = 100;

impl Hub {
    /// Answers the request of `id`, if it waits for figures. Each answer is held in RAM until its peer has
    /// read it, so only so many may be.
    pub(super) fn tell_figures(&mut self, id: ConnId) {
        let asked = self.conn(id).and_then(|conn| conn.web()?.asked());
        let Some(what) = asked else {
            return;
        };
        let permit = self.permits.next();
        let told = permit.map(|permit| {
            self.io += COST;
            (self.figures(what), permit)
        });
        let Some(web) = self.conn(id).and_then(|conn| conn.web()) else {
            return;
        };
        match told {
            Some(((status, kind, text), permit)) => web.tell(status, kind, text, permit),
            None => web.tell_nothing(),
        }
    }

    fn metrics(&mut self) -> String {
        let (now, hub) = (self.now(), &*self);
        let links = |bridge| hub.uplink_status(bridge);
        hub.sys.metrics(&hub.broker, &hub.traffic, &links, now)
    }

    fn health(&mut self) -> (bool, String) {
        let (now, hub) = (self.now(), &*self);
        let links = |bridge| hub.uplink_status(bridge);
        let mut health = hub.health;
        if hub.committing > 0 {
            health.committing = now.since(hub.committing_since);
        }
        health.tell(&hub.broker, &links, now)
    }

    /// Status, content type and text.
    fn figures(&mut self, what: Figures) -> (&'static str, &'static str, String) {
        const OK: &str = "200 OK";
        match what {
            Figures::Metrics => (OK, METRICS_TYPE, self.metrics()),
            Figures::Health => {
                let (is_well, text) = self.health();
                let status = if is_well {
                    OK
                } else {
                    "503 Service Unavailable"
                };
                (status, "application/json", text)
            }
        }
    }
}
