//! `mount_point` and the cap of `max_qos` on subscriptions: what a client says is rewritten on its
//! way in, before anything else sees it, and what goes out to it has its prefix taken off.
//!
//! Inside the broker topics and filters are whole: so retained messages, the sessions on disk and
//! access rules need not know of it. As in Mosquitto, access rules name whole topics.

use std::borrow::Cow;

use super::listeners::Listener;
use super::{Broker, Conn, ConnId};
use crate::mqtt::{
    self, Connect, Publish, QoS, Reason, Subscribe, Subscription, TopicName, Unsubscribe,
};
use crate::time::Time;

/// A topic filter below a mount point; that of a shared subscription behind its group.
fn mounted(mount: &str, filter: &str) -> String {
    match mqtt::share(filter) {
        Some((name, filter)) => format!("$share/{name}/{mount}{filter}"),
        None => format!("{mount}{filter}"),
    }
}

/// The topic as a client knows it that `conn` belongs to; `None` for one that is not below its
/// mount point.
pub(super) fn unmounted<'t>(
    listeners: &[Listener],
    conn: &Conn,
    topic: &'t str,
) -> Option<&'t str> {
    let listener = listeners.get(usize::from(conn.listener));
    match listener.map(|listener| &*listener.settings.mount_point) {
        None | Some("") => Some(topic),
        Some(mount) => topic.strip_prefix(mount).filter(|rest| !rest.is_empty()),
    }
}

impl Broker {
    /// The mount point of a client's listener, if it has one.
    fn mount(&self, c: ConnId) -> Option<&str> {
        let listener = self.listener_of(c)?;
        Some(&*listener.settings.mount_point).filter(|mount| !mount.is_empty())
    }

    /// A client's topic as the broker knows it.
    ///
    /// # Errors
    /// The reason to close with: the mount point makes it too long.
    fn mounted_topic(&self, c: ConnId, topic: &str) -> Result<Option<String>, Reason> {
        let topic = self.mount(c).map(|mount| format!("{mount}{topic}"));
        match &topic {
            Some(topic) if TopicName::new(topic).is_err() => Err(Reason::TOPIC_NAME_INVALID),
            _ => Ok(topic),
        }
    }

    /// CONNECT, its will below the mount point.
    pub(super) fn connect_mounted(&mut self, c: ConnId, connect: Connect<'_>, now: Time) {
        let topic = connect.will.as_ref().map_or("", |will| will.topic);
        let whole = match self.mounted_topic(c, topic) {
            Ok(whole) => whole,
            Err(reason) => return self.close(c, reason, now),
        };
        let mut connect = connect;
        if let (Some(will), Some(topic)) = (&mut connect.will, &whole) {
            will.topic = topic;
        }
        self.on_connect(c, &connect, now);
    }

    /// PUBLISH below the mount point. A topic alias stands for the whole topic.
    pub(super) fn publish_mounted(&mut self, c: ConnId, publish: &Publish<'_>, now: Time) {
        if publish.topic.is_empty() {
            return self.on_publish(c, publish, now);
        }
        match self.mounted_topic(c, publish.topic) {
            Ok(None) => self.on_publish(c, publish, now),
            Ok(Some(topic)) => {
                let publish = Publish {
                    topic: &topic,
                    ..*publish
                };
                self.on_publish(c, &publish, now);
            }
            Err(reason) => self.close(c, reason, now),
        }
    }

    /// SUBSCRIBE below the mount point, and to no higher QoS than the listener's.
    pub(super) fn subscribe_mounted(&mut self, c: ConnId, packet: &Subscribe<'_>, now: Time) {
        let Some(conn) = self.conns.get(c.0) else {
            return;
        };
        let max = self.max_qos(conn.listener);
        if max == QoS::ExactlyOnce && self.mount(c).is_none() {
            return self.on_subscribe(c, packet, now);
        }
        let whole = self.mounted_filters(c, packet.filters.iter().map(|wanted| wanted.filter));
        let filters = packet.filters.iter().zip(&whole);
        let filters = filters.map(|(wanted, filter)| Subscription {
            filter,
            qos: wanted.qos.min(max),
            ..*wanted
        });
        let packet = Subscribe {
            filters: filters.collect(),
            ..packet.clone()
        };
        self.on_subscribe(c, &packet, now);
    }

    /// UNSUBSCRIBE below the mount point.
    pub(super) fn unsubscribe_mounted(&mut self, c: ConnId, packet: &Unsubscribe<'_>, now: Time) {
        if self.mount(c).is_none() {
            return self.on_unsubscribe(c, packet, now);
        }
        let whole = self.mounted_filters(c, packet.filters.iter().copied());
        let packet = Unsubscribe {
            filters: whole.iter().map(|filter| &**filter).collect(),
            ..packet.clone()
        };
        self.on_unsubscribe(c, &packet, now);
    }

    fn mounted_filters<'f>(
        &self,
        c: ConnId,
        filters: impl Iterator<Item = &'f str>,
    ) -> Vec<Cow<'f, str>> {
        let mount = self.mount(c);
        let whole = |filter| match mount {
            Some(mount) => Cow::Owned(mounted(mount, filter)),
            None => Cow::Borrowed(filter),
        };
        filters.map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_mounted_behind_the_group() {
        assert_eq!(mounted("m/", "#"), "m/#");
        assert_eq!(mounted("m/", "$SYS/#"), "m/$SYS/#");
        assert_eq!(mounted("m/", "$share/g/a/+"), "$share/g/m/a/+");
    }
}
