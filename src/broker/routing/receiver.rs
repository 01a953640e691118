//! A session that a message goes to, and how.

use crate::broker::plan::Plan;
use crate::broker::sessions::Session;
use crate::broker::settings::Settings;
use crate::keys::SessionKey;
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::QoS;
use crate::owed::Owed;
use crate::route::SubOptions;

/// Identifiers of subscriptions that one message carries, at most: a client whose thousand filters
/// all match would else get thousands of bytes with each message.
const MAX_SUB_IDS: usize = 1024;

/// A session that a message goes to.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) session: SessionKey,
    /// How it goes; its place in the session's sequence is taken when it is queued.
    pub(crate) owed: Owed,
    /// It goes through the store.
    pub(crate) stored: bool,
    /// Copies of the message that go to the same session through the store before this one.
    pub(crate) before: u32,
    /// It got a copy that nobody promises, while there was no room on disk.
    pub(crate) has_copy: bool,
    /// How the message can reach it now.
    pub(crate) plan: Plan,
}

impl Receiver {
    /// The receiver of a message by one subscription. `None` if it is a bridge none of whose lines
    /// carries the message.
    pub(crate) fn new(
        (key, session): (SessionKey, &Session),
        options: &SubOptions,
        message: &Message,
        settings: &Settings,
    ) -> Option<Receiver> {
        let terms = Terms::new(session, options, message, settings)?;
        let sub_ids = options.sub_id.map(|id| Box::from([id.get()]));
        Some(Receiver {
            session: key,
            stored: terms.stored,
            before: 0,
            has_copy: false,
            plan: Plan::Unstored,
            owed: Owed {
                session: session.id,
                lane: terms.lane,
                seq: 0,
                qos: terms.qos,
                retain: terms.retain,
                sub_ids: sub_ids.unwrap_or_default(),
            },
        })
    }

    /// The receiver of a message that goes up by the map of a bridge, which says all about it.
    pub(crate) fn of_bridge(
        bridge: (SessionKey, &Session),
        message: &Message,
        settings: &Settings,
    ) -> Option<Receiver> {
        let options = SubOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            sub_id: None,
            lane: Lane::Client,
        };
        Receiver::new(bridge, &options, message, settings)
    }

    /// The message comes by another subscription of the same session as well: it goes once, at the
    /// highest QoS [MQTT-3.3.4-2].
    pub(super) fn merge(&mut self, other: &Terms) {
        self.owed.qos = self.owed.qos.max(other.qos);
        self.owed.retain |= other.retain;
        self.stored |= other.stored;
    }

    /// These identifiers go with it as well [MQTT-3.3.4-3], up to a bound.
    pub(super) fn add_ids(&mut self, more: impl Iterator<Item = u32>) {
        let all = self.owed.sub_ids.iter().copied().chain(more);
        self.owed.sub_ids = all.take(MAX_SUB_IDS).collect();
    }
}

/// How a message goes by one subscription.
pub(super) struct Terms {
    lane: Lane,
    qos: QoS,
    retain: bool,
    stored: bool,
}

impl Terms {
    /// `None` for a bridge none of whose lines carries the message.
    pub(super) fn new(
        session: &Session,
        options: &SubOptions,
        message: &Message,
        settings: &Settings,
    ) -> Option<Terms> {
        let (mut lane, mut wanted, mut keeps_qos0) = (options.lane, options.qos, false);
        if let Some(end) = session.bridge() {
            (lane, wanted) = end.lane(message.topic_bytes(), wanted)?;
            keeps_qos0 = message.qos == QoS::AtMostOnce && end.keeps_qos0(lane);
        }
        let qos = if keeps_qos0 {
            wanted
        } else {
            settings.outgoing_qos(wanted, message)
        };
        Some(Terms {
            lane,
            qos,
            retain: options.retain_as_published && message.retain,
            stored: session.stores(qos, settings.general.queue_qos0_messages),
        })
    }
}

/// True if a session is the publisher's own, for no-local. The one that the message came `from` may have
/// ended while it waited for its turn: what counts is the client id [MQTT-3.8.3-3].
pub(super) fn is_own(
    from: Option<SessionKey>,
    (key, session): (SessionKey, &Session),
    message: &Message,
) -> bool {
    let is_same = |from| from == key || message.origin.client_id() == session.client_id();
    from.is_some_and(is_same)
}
