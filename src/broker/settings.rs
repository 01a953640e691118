//! What the configuration says: general settings, listeners, access rules.

use std::rc::Rc;
use std::time::Duration;

use crate::auth::Auth;
use crate::config::{self, Bounds, Config, Durability, General};
use crate::message::Message;
use crate::mqtt::{QoS, Version};
use crate::store::{Budget, Promise};

/// A listener, as the broker knows it.
#[derive(Debug)]
pub(crate) struct Listener {
    /// What the access rules know it by.
    pub(crate) name: Rc<str>,
    settings: config::Listener,
}

impl Listener {
    /// Whether clients of `version` may connect.
    pub(crate) fn takes(&self, version: Version) -> bool {
        self.settings.versions.contains(&version)
    }

    pub(crate) fn uses_username_as_client_id(&self) -> bool {
        self.settings.use_username_as_clientid
    }

    /// Most connections at a time.
    pub(crate) fn max_connections(&self) -> Option<u32> {
        self.settings.max_connections
    }

    /// What its clients' topics stand below, if anything.
    pub(crate) fn mount_point(&self) -> Option<&str> {
        Some(&*self.settings.mount_point).filter(|mount| !mount.is_empty())
    }
}

/// The settings in force.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) general: General,
    pub(crate) auth: Auth,
    /// By the numbers that connections have.
    listeners: Vec<Listener>,
}

impl Settings {
    pub(crate) fn new(config: &Config, auth: Auth) -> Settings {
        let listener = |(name, settings): (String, &config::Listener)| Listener {
            name: name.into(),
            settings: settings.clone(),
        };
        Settings {
            general: config.general.clone(),
            auth,
            listeners: config.named_listeners().map(listener).collect(),
        }
    }

    pub(crate) fn listener(&self, listener: u16) -> Option<&Listener> {
        self.listeners.get(usize::from(listener))
    }

    /// Highest QoS that clients of a listener may publish with [MQTT-3.2.2-9].
    pub(crate) fn max_qos(&self, listener: u16) -> QoS {
        let listener = self.listener(listener);
        listener.map_or(QoS::ExactlyOnce, |l| l.settings.max_qos)
    }

    /// Highest topic alias that a client of a listener may set.
    pub(crate) fn max_topic_alias(&self, listener: u16) -> u16 {
        let listener = self.listener(listener);
        listener.map_or(0, |l| l.settings.max_topic_alias)
    }

    /// Highest topic alias set for a client of a listener that takes as many.
    pub(crate) fn max_topic_alias_broker(&self, listener: u16) -> u16 {
        let listener = self.listener(listener);
        listener.map_or(0, |l| l.settings.max_topic_alias_broker)
    }

    /// The topic as a client of `listener` knows it; `None` for one that is not below its mount
    /// point.
    pub(crate) fn unmounted<'t>(&self, listener: u16, topic: &'t str) -> Option<&'t str> {
        match self.listener(listener).and_then(Listener::mount_point) {
            None => Some(topic),
            Some(mount) => topic.strip_prefix(mount).filter(|rest| !rest.is_empty()),
        }
    }

    /// `max_packet_size`, in bytes.
    pub(crate) fn max_packet(&self) -> u32 {
        self.general.max_packet_size.unwrap_or(u32::MAX)
    }

    /// `max_inflight_messages` as a window.
    pub(crate) fn window(&self) -> u16 {
        match self.inflight_messages() {
            0 => u16::MAX,
            limit => limit,
        }
    }

    /// `max_inflight_messages`, 0 for no limit.
    pub(crate) fn inflight_messages(&self) -> u16 {
        const DEFAULT: u16 = 20;
        self.general.max_inflight_messages.unwrap_or(DEFAULT)
    }

    /// `memory_limit`, in bytes; `None` is no limit.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.general.memory_limit.filter(|limit| *limit > 0)
    }

    /// What each client may have queued.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            messages: self.general.max_queued_messages,
            bytes: self.general.max_queued_bytes,
        }
    }

    /// What each client may have retained.
    pub(crate) fn retained_bounds(&self) -> Bounds {
        let default = || self.memory_limit().map_or(0, |limit| limit / 4);
        Bounds {
            messages: self.general.max_retained_messages,
            bytes: self.general.max_retained_bytes.unwrap_or_else(default),
        }
    }

    /// `persistent_client_expiration` bounds every session that outlives its connection: the
    /// session expiry interval `asked` for, in seconds, as far as it goes.
    pub(crate) fn cap_expiry(&self, asked: u32) -> u32 {
        let most = self.general.persistent_client_expiration;
        let most = most.and_then(|most| u32::try_from(most.as_secs()).ok());
        most.map_or(asked, |most| asked.min(most))
    }

    /// The QoS a subscriber gets a message at [MQTT-3.8.4-8], [MQTT-4.8.2-3].
    pub(crate) fn outgoing_qos(&self, granted: QoS, message: &Message) -> QoS {
        if self.general.upgrade_outgoing_qos {
            granted
        } else {
            granted.min(message.qos)
        }
    }

    /// When promises hold, and how long a message waits before it is written.
    pub(crate) fn promise(&self) -> (Promise, Duration) {
        /// In RAM nobody waits for it.
        const RAM: Duration = Duration::from_secs(1);
        match (self.general.persistence, self.general.durability) {
            (false, _) => (Promise::AtOnce, RAM),
            (true, Durability::Lazy(window)) => (Promise::AtOnce, window),
            (true, Durability::Power) => (Promise::Committed, self.general.commit_interval),
        }
    }

    /// `flash_budget`.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let (promise, interval) = self.promise();
        let budget = self.general.flash_budget.as_ref()?;
        Some(Budget {
            bytes_a_day: budget.bytes_a_day,
            shortest: interval,
            // What may be lost is not the budget's to stretch.
            longest: match promise {
                Promise::Committed => budget.longest,
                Promise::AtOnce => interval,
            },
        })
    }
}
