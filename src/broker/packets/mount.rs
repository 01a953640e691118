//! `mount_point` and the cap of `max_qos` on subscriptions: what a client says is rewritten on its
//! way in, before anything else sees it, and what goes out to it has its prefix taken off.
//!
//! Inside the broker topics and filters are whole: so retained messages, the sessions on disk and
//! access rules need not know of it. As in Mosquitto, access rules name whole topics. PUBLISH, whose
//! topic may be an alias, sees to it itself.

use std::num::NonZeroU32;

use super::connect::on_connect;
use super::subscribe::{on_subscribe, on_unsubscribe, pieces};
use crate::broker::connections::{Asked, Purpose};
use crate::broker::core::Core;
use crate::broker::ending::close::close;
use crate::keys::ConnId;
use crate::mqtt::{self, Connect, QoS, Reason, Subscribe, Subscription, TopicName, Unsubscribe};
use crate::time::Time;

/// A topic filter below a mount point; that of a shared subscription behind its group.
fn mounted(mount: &str, filter: &str) -> String {
    let mut whole = String::new();
    write_mounted(&mut whole, mount, filter);
    whole
}

/// Adds a topic filter below a mount point to `text`.
fn write_mounted(text: &mut String, mount: &str, filter: &str) {
    let filter = match mqtt::share(filter) {
        Some((name, filter)) => {
            let begin = ["$share/", name, "/"];
            begin.iter().for_each(|part| text.push_str(part));
            filter
        }
        None => filter,
    };
    text.push_str(mount);
    text.push_str(filter);
}

/// The mount point of a client's listener, if it has one.
fn mount(core: &Core, c: ConnId) -> Option<&str> {
    let listener = core.connections.get(c)?.listener()?;
    core.settings.listener(listener)?.mount_point()
}

/// CONNECT, its will below the mount point. A will whose topic becomes too long ends the connection.
pub(crate) fn connect(core: &mut Core, c: ConnId, connect: Connect<'_>, now: Time) {
    let whole = match (mount(core, c), &connect.will) {
        (Some(mount), Some(will)) => Some(format!("{mount}{}", will.topic)),
        _ => None,
    };
    let mut connect = connect;
    if let (Some(whole), Some(will)) = (&whole, &mut connect.will) {
        if TopicName::new(whole).is_err() {
            return close(core, c, Reason::TOPIC_NAME_INVALID, now);
        }
        will.topic = whole;
    }
    on_connect(core, c, &connect, now);
}

/// SUBSCRIBE below the mount point, and to no higher QoS than the listener's.
pub(crate) fn subscribe(core: &mut Core, c: ConnId, packet: &Subscribe<'_>, now: Time) {
    let listener = core.connections.get(c).and_then(|conn| conn.listener());
    let max = listener.map_or(QoS::ExactlyOnce, |at| core.settings.max_qos(at));
    let mount = mount(core, c);
    let filters = packet.filters.iter();
    let are_known = || are_known(core, (c, mount), packet);
    if pieces::are_many(core, filters.map(|wanted| wanted.filter), are_known) {
        let sub_id = packet.props.subscription_ids().next();
        let sub_id = sub_id.and_then(NonZeroU32::new);
        let mut asked = Asked::new(packet.id, Purpose::Subscribe(sub_id));
        for wanted in &packet.filters {
            let wanted = Subscription {
                qos: wanted.qos.min(max),
                ..*wanted
            };
            let mount = mount.unwrap_or_default();
            asked.add(&wanted, |text| write_mounted(text, mount, wanted.filter));
        }
        return pieces::begin(core, c, asked);
    }
    if max == QoS::ExactlyOnce && mount.is_none() {
        return on_subscribe(core, c, packet, now);
    }
    let filters = packet.filters.iter().map(|wanted| wanted.filter);
    let whole = mounted_all(mount.unwrap_or_default(), filters);
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
    on_subscribe(core, c, &packet, now);
}

/// True if a client is subscribed to some of the filters already.
fn are_known(core: &Core, (c, mount): (ConnId, Option<&str>), packet: &Subscribe<'_>) -> bool {
    let session = core.session_of(c).and_then(|key| core.sessions.get(key));
    let mut filters = packet.filters.iter();
    session.is_some_and(|session| {
        filters.any(|wanted| match mount {
            Some(mount) => session.subscriptions.has(&mounted(mount, wanted.filter)),
            None => session.subscriptions.has(wanted.filter),
        })
    })
}

/// UNSUBSCRIBE below the mount point.
pub(crate) fn unsubscribe(core: &mut Core, c: ConnId, packet: &Unsubscribe<'_>, now: Time) {
    let mount = mount(core, c);
    if pieces::are_many(core, packet.filters.iter().copied(), || true) {
        let mut asked = Asked::new(packet.id, Purpose::Unsubscribe);
        for filter in &packet.filters {
            let wanted = Subscription::new(filter, QoS::AtMostOnce);
            let mount = mount.unwrap_or_default();
            asked.add(&wanted, |text| write_mounted(text, mount, filter));
        }
        return pieces::begin(core, c, asked);
    }
    let Some(mount) = mount else {
        return on_unsubscribe(core, c, packet, now);
    };
    let whole = mounted_all(mount, packet.filters.iter().copied());
    let packet = Unsubscribe {
        filters: whole.iter().map(|filter| &**filter).collect(),
        ..packet.clone()
    };
    on_unsubscribe(core, c, &packet, now);
}

fn mounted_all<'f>(mount: &str, filters: impl Iterator<Item = &'f str>) -> Vec<String> {
    filters.map(|filter| mounted(mount, filter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_mounted_behind_the_group() {
        assert_eq!(mounted("m/", "#"), "m/#");
        assert_eq!(mounted("m/", "$SYS/#"), "m/$SYS/#");
        assert_eq!(mounted("m/", "$share/g/a/+"), "$share/g/m/a/+");
        assert_eq!(mounted("", "$share/g/a/+"), "$share/g/a/+");
    }
}
