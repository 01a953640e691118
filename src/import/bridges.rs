//! Which client of the file is a bridge: Mosquitto keeps what waits for one in a session like any other,
//! under its `local_clientid`.

use super::gather::Known;
use super::report::Left;
use crate::bridge::{Map, Numbering, is_default_client_id};
use crate::config::{self, Config};
use crate::lane::Lane;
use crate::mqtt::QoS;
use crate::store::LineRecord;

/// What the default of `local_clientid` begins with.
const DEFAULT: &str = "local.";

/// A bridge of the configuration, as far as its queue is concerned.
#[derive(Debug)]
pub(super) struct BridgeEnd {
    /// Its `local_clientid`.
    pub(super) client_id: Box<str>,
    pub(super) username: Option<Box<str>>,
    map: Map,
    numbering: Numbering,
}

impl BridgeEnd {
    fn new(bridge: &config::Bridge) -> BridgeEnd {
        let map = Map::new(&bridge.topics);
        let mut numbering = Numbering::default();
        numbering.configure(&map.line_ids(), |_| false);
        BridgeEnd {
            client_id: bridge.local_clientid.as_str().into(),
            username: bridge.local_username.as_deref().map(Into::into),
            map,
            numbering,
        }
    }

    /// The lane of a message on `topic`, and the highest QoS that its line carries; `None` if no line does.
    pub(super) fn lane(&self, topic: &str) -> Option<(Lane, QoS)> {
        let mapped = self.map.outward_line(topic.as_bytes())?;
        let number = self.numbering.number(mapped.line);
        Some((number.map_or(Lane::Client, Lane::Bridge), mapped.qos))
    }

    /// By which number the queue knows each line.
    pub(super) fn lines(&self) -> Vec<LineRecord> {
        self.numbering.record().to_vec()
    }
}

/// The bridge that a client of the file is; `None` if it is none.
///
/// # Errors
/// It is one whose queue has nowhere to go: what is said of each message in it.
pub(super) fn find(
    config: &Config,
    client: &Known,
    is_known: impl Fn(&str) -> bool,
) -> Result<Option<BridgeEnd>, Left> {
    let id = &*client.id;
    let mut bridges = config.bridges.iter();
    // The default has the name of the host in it, which may be another by now.
    let is_former = |bridge: &&config::Bridge| {
        is_default_client_id(&bridge.name, id) && !is_known(&bridge.local_clientid)
    };
    let found = bridges
        .find(|bridge| bridge.local_clientid == id)
        .or_else(|| config.bridges.iter().find(is_former));
    match found {
        Some(bridge) if bridge.local_clean_session => Err(Left::NotDurable(id.into())),
        Some(bridge) => Ok(Some(BridgeEnd::new(bridge))),
        // Clients have the port of a listener, where the format has ports.
        None if id.starts_with(DEFAULT) && client.port.is_none_or(|port| port == 0) => {
            Err(Left::NoBridge(id.into()))
        }
        None => Ok(None),
    }
}
