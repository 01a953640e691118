//! What the bridge asks of the upstream once it is connected: the SUBSCRIBEs and UNSUBSCRIBEs, then
//! the state notification. Their acknowledgements end here.

use std::collections::{BTreeSet, VecDeque};

use log::{debug, warn};

use crate::bridge::upstream::isolation::Asked;
use crate::bridge::{Awaited, Limits, Map};
use crate::mqtt::{
    self, Ack, Delivery, Packet, PacketId, Props, Publish, QoS, Reason, RetainHandling, SubAck,
    Subscribe, Subscription, UnsubAck, Unsubscribe, Version, encode,
};

/// The requests of one connection: those to be made, those that await an acknowledgement, and what
/// came of the others.
#[derive(Debug, Default)]
pub(super) struct Requests {
    to_do: VecDeque<Request>,
    /// To be made once the upstream has answered something else.
    last: VecDeque<Request>,
    pending: Vec<(PacketId, Request)>,
    /// What was answered since [`Requests::take_answered`].
    answered: Vec<Asked>,
    /// Each waits for the answer to the one before.
    one_at_a_time: bool,
    /// The filters that our session upstream is subscribed to, by its acknowledgements.
    subscribed: BTreeSet<Box<str>>,
    /// They are others than [`Requests::take_subscribed`] has given.
    has_changed: bool,
    /// They were forgotten with the session: that can't wait.
    is_cleared: bool,
    /// Filters that the upstream refused, with the reason.
    refused: Vec<(Box<str>, Reason)>,
    /// Filters granted at a lower QoS than asked for.
    lowered: Vec<(Box<str>, QoS)>,
    /// A connection was given up because a SUBACK did not come: it is not waited for again.
    does_without_suback: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Request {
    Subscribe(Box<str>, QoS),
    Unsubscribe(Box<str>),
    Notify,
}

impl Request {
    fn asked(&self) -> Asked {
        match self {
            Request::Subscribe(filter, _) => Asked::Subscription(filter.clone()),
            Request::Unsubscribe(_) => Asked::Unsubscribe,
            Request::Notify => Asked::Notification,
        }
    }
}

/// What is asked of the upstream on a connection.
pub(super) struct Wanted<'a> {
    pub name: &'a str,
    pub map: &'a Map,
    pub limits: &'a Limits,
    /// Send UNSUBSCRIBE for filters that are no longer configured.
    pub unsubscribe: bool,
    /// Publish the state.
    pub notify: bool,
    /// Each request waits for the answer to the one before.
    pub one_at_a_time: bool,
    /// True for a filter that the upstream closes the connection on.
    pub is_given_up: &'a dyn Fn(&str) -> bool,
    /// True for what the upstream may close on: it is asked last.
    pub is_suspect: &'a dyn Fn(&Asked) -> bool,
}

/// What the requests are made of.
pub(super) struct Context<'a> {
    pub name: &'a str,
    pub limits: &'a Limits,
    /// The state topic upstream.
    pub state_topic: Option<&'a str>,
    pub retain_handling: RetainHandling,
    pub ids: &'a mut dyn FnMut() -> PacketId,
    pub out: &'a mut Vec<u8>,
}

impl Context<'_> {
    /// Appends a packet. False if it is larger than the upstream takes [MQTT-3.2.2-15].
    fn put(&mut self, packet: &Packet<'_>) -> Result<bool, mqtt::Error> {
        let start = self.out.len();
        encode(packet, self.limits.version, self.out)?;
        let size = self.out.len() - start;
        let fits = self
            .limits
            .max_packet
            .is_none_or(|max| size <= max as usize);
        if !fits {
            self.out.truncate(start);
        }
        Ok(fits)
    }
}

/// Why the upstream cannot take a subscription to `filter`, as its CONNACK says.
fn unavailable(limits: &Limits, filter: &str) -> Option<Reason> {
    if !limits.shared_available && mqtt::share(filter).is_some() {
        Some(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)
    } else if !limits.wildcards_available && filter.contains(['+', '#']) {
        Some(Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)
    } else {
        None
    }
}

impl Requests {
    /// What an earlier process knows of our session upstream: the filters it is subscribed to.
    pub(super) fn restore_subscribed(&mut self, filters: Vec<Box<str>>) {
        self.subscribed = filters.into_iter().collect();
    }

    /// Forgets what an earlier connection left.
    pub(super) fn reset(&mut self) {
        self.to_do.clear();
        self.last.clear();
        self.answered.clear();
        self.pending.clear();
        self.refused.clear();
        self.lowered.clear();
    }

    /// Our session upstream is new: it is subscribed to nothing.
    pub(super) fn session_is_new(&mut self) {
        self.is_cleared = !self.subscribed.is_empty();
        self.has_changed |= self.is_cleared;
        self.subscribed.clear();
    }

    /// The filters that our session upstream is subscribed to, if that has changed since the last
    /// call; once all SUBSCRIBEs are answered, for there may be thousands.
    pub(super) fn take_subscribed(&mut self) -> Option<Vec<Box<str>>> {
        let may_wait = !std::mem::take(&mut self.is_cleared);
        if !self.has_changed || (may_wait && self.is_subscribing()) {
            return None;
        }
        self.has_changed = false;
        Some(self.subscribed.iter().cloned().collect())
    }

    pub(super) fn refused(&self) -> &[(Box<str>, Reason)] {
        &self.refused
    }

    pub(super) fn lowered(&self) -> &[(Box<str>, QoS)] {
        &self.lowered
    }

    /// What is to be asked: a SUBSCRIBE for each remote filter, in the order of the `topic` lines, and
    /// then an UNSUBSCRIBE for each that our session upstream has and the configuration has not: what
    /// both take goes on coming. One filter a packet, as some clouds allow only a few. The
    /// notification comes last: an upstream may close the connection on it.
    ///
    /// Nothing else is unsubscribed. ejabberd answers an UNSUBSCRIBE for a filter that the session
    /// does not have by taking it from every other client, too.
    pub(super) fn begin(&mut self, wanted: &Wanted<'_>) {
        self.one_at_a_time = wanted.one_at_a_time;
        for (filter, qos) in wanted.map.remote_filters() {
            if (wanted.is_given_up)(filter) {
                self.refused.push((filter.into(), Reason::UNSPECIFIED));
                continue;
            }
            match unavailable(wanted.limits, filter) {
                Some(reason) => self.refuse(filter.into(), reason, wanted.name),
                None => {
                    let qos = qos.min(wanted.limits.max_qos);
                    self.to_do.push_back(Request::Subscribe(filter.into(), qos));
                }
            }
        }
        if wanted.unsubscribe {
            let filters = wanted.map.remote_filters();
            let filters: BTreeSet<&str> = filters.map(|(filter, _)| filter).collect();
            let stale = self.subscribed.iter().filter(|f| !filters.contains(&***f));
            self.to_do.extend(stale.cloned().map(Request::Unsubscribe));
        }
        if wanted.notify {
            self.to_do.push_back(Request::Notify);
        }
        let to_do = std::mem::take(&mut self.to_do);
        let is_suspect = |request: &Request| (wanted.is_suspect)(&request.asked());
        (self.last, self.to_do) = to_do.into_iter().partition(is_suspect);
    }

    /// What was put off is to be asked now.
    pub(super) fn ask_last(&mut self) {
        self.to_do.append(&mut self.last);
    }

    /// Makes the requests that may be made now.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), mqtt::Error> {
        while let Some(next) = self.to_do.front() {
            let must_wait = match next {
                Request::Notify => self.is_subscribing_in_sight(),
                _ => false,
            };
            if must_wait || (self.one_at_a_time && !self.pending.is_empty()) {
                break;
            }
            match self.to_do.pop_front() {
                Some(Request::Subscribe(filter, qos)) => self.subscribe(filter, qos, cx)?,
                Some(Request::Unsubscribe(filter)) => self.unsubscribe(filter, cx)?,
                Some(Request::Notify) => self.notify(cx)?,
                None => {}
            }
        }
        Ok(())
    }

    /// True while a SUBACK is due.
    fn is_subscribing(&self) -> bool {
        let is_subscribe = |(_, request): &(_, Request)| matches!(request, Request::Subscribe(..));
        self.pending.iter().any(is_subscribe)
    }

    /// True while a SUBACK is due that is waited for.
    fn is_subscribing_in_sight(&self) -> bool {
        self.is_subscribing() && !self.does_without_suback
    }

    /// True while an acknowledgement is due that the link can't do without. An UNSUBACK is none:
    /// rumqttd sends none for a filter that it does not know.
    pub(super) fn are_pending(&self) -> bool {
        self.is_subscribing_in_sight() || self.is_notifying()
    }

    /// The acknowledgement that is due longest: a request comes before all messages.
    pub(super) fn awaited(&self) -> Awaited {
        let mut pending = self.pending.iter();
        let first = pending.find_map(|(_, request)| match request {
            Request::Subscribe(filter, _) if !self.does_without_suback => {
                Some(Awaited::Subscription(filter.clone()))
            }
            Request::Notify => Some(Awaited::Notification),
            Request::Subscribe(..) | Request::Unsubscribe(_) => None,
        });
        first.unwrap_or(Awaited::Message)
    }

    /// The upstream has not answered in time.
    pub(super) fn give_up_waiting(&mut self) {
        self.does_without_suback |= self.is_subscribing();
    }

    /// True once all requests are made and answered.
    pub(super) fn are_done(&self) -> bool {
        self.to_do.is_empty() && (self.pending.is_empty() || !self.one_at_a_time)
    }

    /// True while what is due may come after a PINGRESP only.
    pub(super) fn want_ping(&self) -> bool {
        self.one_at_a_time && !self.pending.is_empty()
    }

    /// What was answered since the last call.
    pub(super) fn take_answered(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.answered)
    }

    /// What is out and has no answer.
    pub(super) fn unanswered(&self) -> Vec<Asked> {
        let requests = self.pending.iter();
        requests.map(|(_, request)| request.asked()).collect()
    }

    /// True while the notification is out and has no answer.
    fn is_notifying(&self) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|(_, request)| *request == Request::Notify)
    }

    /// True while the notification takes a place in the upstream's receive maximum, or will.
    pub(super) fn needs_place(&self) -> bool {
        let mut waiting = self.to_do.iter().chain(&self.last);
        self.is_notifying() || waiting.any(|request| *request == Request::Notify)
    }

    /// Publishes "1" to the state topic: retained, at QoS 1, as far as the upstream allows. At
    /// QoS 0 where it takes one unacknowledged publish at a time: that one is the session's.
    fn notify(&mut self, cx: &mut Context<'_>) -> Result<(), mqtt::Error> {
        let Some(topic) = cx.state_topic else {
            return Ok(());
        };
        let qos = match cx.limits.receive_maximum {
            1 => QoS::AtMostOnce,
            _ => QoS::AtLeastOnce.min(cx.limits.max_qos),
        };
        let delivery = match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            qos => Delivery::new(qos, (cx.ids)(), false),
        };
        let publish = Publish {
            delivery,
            retain: cx.limits.retain_available,
            topic,
            props: Props::EMPTY,
            payload: b"1",
        };
        if cx.put(&Packet::Publish(publish))?
            && let Some(id) = delivery.id()
        {
            self.pending.push((id, Request::Notify));
        }
        Ok(())
    }

    fn unsubscribe(&mut self, filter: Box<str>, cx: &mut Context<'_>) -> Result<(), mqtt::Error> {
        let id = (cx.ids)();
        let unsubscribe = Unsubscribe {
            id,
            props: Props::EMPTY,
            filters: vec![&*filter],
        };
        if cx.put(&Packet::Unsubscribe(unsubscribe))? {
            debug!("Bridge {}: unsubscribes from {filter} upstream", cx.name);
            self.pending.push((id, Request::Unsubscribe(filter)));
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        filter: Box<str>,
        qos: QoS,
        cx: &mut Context<'_>,
    ) -> Result<(), mqtt::Error> {
        let id = (cx.ids)();
        let v5 = cx.limits.version == Version::V5;
        let subscription = Subscription {
            filter: &filter,
            qos,
            // [MQTT-3.8.3-4]
            no_local: v5 && mqtt::share(&filter).is_none(),
            retain_as_published: v5,
            retain_handling: if v5 {
                cx.retain_handling
            } else {
                RetainHandling::Send
            },
        };
        let filters = vec![subscription];
        let subscribe = Subscribe {
            id,
            props: Props::EMPTY,
            filters,
        };
        if cx.put(&Packet::Subscribe(subscribe))? {
            self.pending.push((id, Request::Subscribe(filter, qos)));
        } else {
            self.refuse(filter, Reason::PACKET_TOO_LARGE, cx.name);
        }
        Ok(())
    }

    /// Takes the PUBACK of the notification: its reason, or `None` for any other PUBACK.
    pub(super) fn puback(&mut self, ack: &Ack<'_>) -> Option<Reason> {
        let is_answered =
            |(id, request): &(PacketId, Request)| *id == ack.id && *request == Request::Notify;
        let at = self.pending.iter().position(is_answered)?;
        self.pending.swap_remove(at);
        self.answered.push(Asked::Notification);
        Some(ack.reason)
    }

    /// Takes a SUBACK. A refused filter does not end the link: the other lines work on.
    pub(super) fn suback(&mut self, ack: &SubAck<'_>, name: &str) {
        let is_answered = |(id, request): &(PacketId, Request)| {
            *id == ack.id && matches!(request, Request::Subscribe(..))
        };
        let Some(at) = self.pending.iter().position(is_answered) else {
            debug!("Bridge {name}: SUBACK without SUBSCRIBE");
            return;
        };
        let (_, Request::Subscribe(filter, asked)) = self.pending.swap_remove(at) else {
            return;
        };
        self.answered.push(Asked::Subscription(filter.clone()));
        let Some(reason) = ack.reasons.first().copied() else {
            // It could not be read: of an answer, that is.
            return self.presume(filter, name);
        };
        if !reason.is_error() {
            self.has_changed |= self.subscribed.insert(filter.clone());
        }
        match QoS::from_bits(reason.0) {
            Some(granted) if granted >= asked => {}
            Some(granted) => {
                warn!(
                    "Bridge {name}: upstream grants topic {filter} QoS {} only, not {}",
                    granted as u8, asked as u8
                );
                self.lowered.push((filter, granted));
            }
            None => self.refuse(filter, reason, name),
        }
    }

    /// Takes an UNSUBACK.
    pub(super) fn unsuback(&mut self, ack: &UnsubAck<'_>, name: &str) {
        let is_answered = |(id, request): &(PacketId, Request)| {
            *id == ack.id && matches!(request, Request::Unsubscribe(_))
        };
        let Some(at) = self.pending.iter().position(is_answered) else {
            debug!("Bridge {name}: UNSUBACK without UNSUBSCRIBE");
            return;
        };
        self.answered.push(Asked::Unsubscribe);
        if let (_, Request::Unsubscribe(filter)) = self.pending.swap_remove(at) {
            match ack.reasons.first().filter(|reason| reason.is_error()) {
                Some(reason) => warn!(
                    "Bridge {name}: upstream refuses to end the subscription to {filter}: {reason}; \
                     its messages still come, and are dropped here"
                ),
                None => self.has_changed |= self.subscribed.remove(&filter),
            }
        }
    }

    /// Takes a PINGRESP. Packets are handled in their order, so the upstream has seen every
    /// UNSUBSCRIBE of this connection, also one that it never answers: to send it again on the next
    /// connection would end a subscription that is not there. Once the link has been given up for
    /// want of a SUBACK, the same is believed of SUBSCRIBE.
    pub(super) fn pingresp(&mut self, name: &str) {
        let does_without = self.does_without_suback;
        let is_over = |(_, request): &mut (PacketId, Request)| match request {
            Request::Unsubscribe(_) => true,
            Request::Subscribe(..) => does_without,
            Request::Notify => false,
        };
        for (_, request) in self.pending.extract_if(.., is_over).collect::<Vec<_>>() {
            self.answered.push(request.asked());
            match request {
                Request::Unsubscribe(filter) => {
                    self.has_changed |= self.subscribed.remove(&filter);
                }
                Request::Subscribe(filter, _) => self.presume(filter, name),
                Request::Notify => {}
            }
        }
    }

    /// The upstream does not say what has become of a SUBSCRIBE, or not so that it can be read.
    fn presume(&mut self, filter: Box<str>, name: &str) {
        warn!(
            "Bridge {name}: no SUBACK that can be read for topic {filter}: its messages come if \
             upstream has subscribed the bridge all the same"
        );
        self.has_changed |= self.subscribed.insert(filter);
    }

    fn refuse(&mut self, filter: Box<str>, reason: Reason, name: &str) {
        warn!(
            "Bridge {name}: upstream refuses the subscription to {filter}: {reason}; nothing \
             comes in by this topic line"
        );
        self.refused.push((filter, reason));
    }
}
