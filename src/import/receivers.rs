//! Who gets a message of QoS 2 that Mosquitto has answered with PUBREC and not routed yet: it routes with
//! PUBREL, footbridge before PUBREC. So it is routed now, to the sessions that are brought over.

use std::collections::BTreeSet;

use super::sessions::{Progress, Session};
use crate::config::General;
use crate::lane::Lane;
use crate::message::Message;
use crate::mqtt::{QoS, filter_matches, share};
use crate::owed::Owed;
use crate::store::SubscriptionRecord;

/// To whom `message` is owed. Each session comes with whether it has published the message.
pub(super) fn receivers<'s>(
    message: &Message,
    sessions: impl Iterator<Item = (&'s mut Session, bool)>,
    general: &General,
) -> Vec<Owed> {
    // Of the members of a group the first gets it.
    let mut groups = BTreeSet::new();
    let mut targets = Vec::new();
    for (session, is_own) in sessions {
        let terms = match &session.bridge {
            Some(_) if is_own => None,
            Some(bridge) => bridge.lane(message.topic()).map(|(lane, qos)| Terms {
                lane,
                qos: qos.min(message.qos),
                retain: message.retain,
                sub_ids: Vec::new(),
            }),
            None => of_client(session, is_own, message, general, &mut groups),
        };
        let Some(terms) = terms else { continue };
        if terms.qos == QoS::AtMostOnce && !general.queue_qos0_messages {
            continue;
        }
        targets.push(Owed {
            session: session.id,
            lane: terms.lane,
            seq: session.seq(Progress::Waits, terms.qos),
            qos: terms.qos,
            retain: terms.retain,
            sub_ids: terms.sub_ids.into(),
        });
    }
    targets
}

/// How the message goes to a session.
struct Terms {
    lane: Lane,
    qos: QoS,
    retain: bool,
    sub_ids: Vec<u32>,
}

/// How it goes to a client: once, whatever the number of its subscriptions that match.
fn of_client(
    session: &Session,
    is_own: bool,
    message: &Message,
    general: &General,
    groups: &mut BTreeSet<Box<str>>,
) -> Option<Terms> {
    let mut terms: Option<Terms> = None;
    for subscription in &session.record.subscriptions {
        if !matches(subscription, message.topic()) || subscription.no_local && is_own {
            continue;
        }
        if subscription.lane.is_share() && !groups.insert(subscription.filter.clone()) {
            continue;
        }
        let qos = if general.upgrade_outgoing_qos {
            subscription.qos
        } else {
            subscription.qos.min(message.qos)
        };
        let terms = terms.get_or_insert(Terms {
            lane: subscription.lane,
            qos,
            retain: false,
            sub_ids: Vec::new(),
        });
        terms.qos = terms.qos.max(qos);
        terms.retain |= subscription.retain_as_published && message.retain;
        terms.sub_ids.extend(subscription.sub_id);
    }
    terms
}

fn matches(subscription: &SubscriptionRecord, topic: &str) -> bool {
    let filter = &*subscription.filter;
    let filter = share(filter).map_or(filter, |(_, filter)| filter);
    filter_matches(filter, topic)
}
