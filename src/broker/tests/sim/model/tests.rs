//! The model objects to a broker that does wrong.

mod brought;
mod numbers;

use super::*;
use crate::mqtt::{RetainHandling, Version};

const START: Time = Time::from_secs(1000);
const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

/// A model with a publisher and a subscriber, both with sessions that last, and what is sent to
/// the subscriber.
struct Bench {
    model: Model,
    now: Time,
    messages: u32,
    id: u16,
}

fn hello(will: Option<Will>) -> Hello {
    Hello {
        version: Version::V5,
        clean: false,
        expiry: 100,
        max_packet: usize::MAX,
        will,
    }
}

fn options(qos: QoS) -> Options {
    Options {
        qos,
        no_local: false,
        retain_as_published: false,
        id: Some(7),
    }
}

fn will(delay: u32) -> Will {
    Will {
        publication: Publication {
            publisher: PUBLISHER,
            topic: "t".into(),
            payload: b"will".to_vec(),
            qos: QoS::AtLeastOnce,
            retain: false,
            props: Vec::new(),
            expires: None,
        },
        delay,
        expiry: None,
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(Model::new(Rules::default()), None)
    }

    fn with(mut model: Model, will: Option<Will>) -> Bench {
        model.connect(PUBLISHER, 1, &hello(will), START);
        model.connect(SUBSCRIBER, 2, &hello(None), START);
        model.connected(PUBLISHER);
        model.connected(SUBSCRIBER);
        let (options, handling) = (options(QoS::ExactlyOnce), RetainHandling::Send);
        let version = model.subscribe(SUBSCRIBER, "#", options, handling, START);
        model.settle_subscription(SUBSCRIBER, "#", version);
        Bench {
            model,
            now: START,
            messages: 0,
            id: 0,
        }
    }

    /// A message is published; answers it as it must come.
    fn publish(&mut self, qos: QoS, change: impl Fn(&mut Publication)) -> (Arrival, Routed) {
        self.messages += 1;
        let mut publication = Publication {
            publisher: PUBLISHER,
            topic: "t".into(),
            payload: self.messages.to_string().into_bytes(),
            qos,
            retain: false,
            props: b"\x26\x00\x01a\x00\x01b".to_vec(),
            expires: None,
        };
        change(&mut publication);
        let publication = Rc::new(publication);
        let id = (qos == QoS::ExactlyOnce).then_some(self.messages as u16);
        let routed = self.model.publish(&publication, id).unwrap();
        (self.arrival(&publication), routed)
    }

    fn arrival(&mut self, p: &Publication) -> Arrival {
        self.id += 1;
        Arrival {
            topic: p.topic.to_string(),
            payload: p.payload.clone(),
            qos: p.qos,
            id: (p.qos > QoS::AtMostOnce).then_some(self.id),
            dup: false,
            retain: false,
            sub_ids: vec![7],
            props: p.props.clone(),
            expiry: None,
        }
    }

    fn seen(&mut self, arrival: &Arrival) -> Result<(), Violation> {
        self.model.seen(SUBSCRIBER, arrival, self.now)
    }

    /// What becomes of a QoS 1 message that the broker spoils.
    fn spoilt(change: impl Fn(&mut Arrival)) -> Result<(), Violation> {
        let mut bench = Bench::new();
        let (mut arrival, _) = bench.publish(QoS::AtLeastOnce, |_| {});
        change(&mut arrival);
        bench.seen(&arrival)
    }

    /// The subscriber loses its connection and comes back.
    fn reconnect(&mut self) {
        self.model.close(SUBSCRIBER, true, self.now);
        assert!(self.model.connect(SUBSCRIBER, 2, &hello(None), self.now));
    }

    /// What a broker that has lost nothing knows.
    fn facts(&self) -> BTreeMap<usize, Facts> {
        let facts = |session: &Session| Facts {
            number: session.number,
            expiry: 100,
            since: Some(self.now),
            will: None,
            subscriptions: session
                .subscriptions
                .iter()
                .filter_map(|(f, o)| Some((f.clone(), (*o.get())?)))
                .collect(),
            awaiting: Vec::new(),
            received: session.received.keys().copied().collect(),
            saved: true,
        };
        let sessions = self.model.sessions.iter();
        sessions.map(|(n, session)| (*n, facts(session))).collect()
    }

    fn crash(&mut self, change: impl Fn(&mut BTreeMap<usize, Facts>)) -> Result<(), Violation> {
        let mut facts = self.facts();
        change(&mut facts);
        self.model.crash(&facts, &BTreeMap::new(), self.now)
    }

    fn time(
        &mut self,
        secs: u64,
        change: impl Fn(&mut BTreeMap<usize, Facts>),
    ) -> Result<(), Violation> {
        let mut facts = self.facts();
        change(&mut facts);
        let now = self.now + Duration::from_secs(secs);
        self.model.time(&facts, now)
    }
}

#[test]
fn what_is_owed_may_come() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (arrival, _) = bench.publish(qos, |_| {});
        assert_eq!(bench.seen(&arrival), Ok(()));
        assert_eq!(bench.model.delivered, 1);
    }
}

#[test]
fn each_part_of_a_publish_must_be_right() {
    assert_eq!(Bench::spoilt(|_| {}), Ok(()));
    let wrong = |change: fn(&mut Arrival), violation| {
        assert_eq!(Bench::spoilt(change), Err(violation));
    };
    wrong(|a| a.qos = QoS::ExactlyOnce, Violation::WrongQoS);
    wrong(|a| a.retain = true, Violation::WrongRetain);
    wrong(|a| a.sub_ids.clear(), Violation::WrongSubscriptionIds);
    wrong(|a| a.props.clear(), Violation::WrongProperties);
    wrong(|a| a.expiry = Some(1), Violation::WrongExpiry);
    wrong(|a| a.dup = true, Violation::WrongDup);
    wrong(|a| a.payload.push(b'x'), Violation::NotOwed);
    wrong(|a| a.topic.push('x'), Violation::NotOwed);
}

#[test]
fn a_message_that_does_not_come_is_missed() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (arrival, _) = bench.publish(qos, |_| {});
        assert!(bench.model.missing(SUBSCRIBER, bench.now).is_some());
        bench.seen(&arrival).unwrap();
        bench.model.session(SUBSCRIBER).unwrap().pubrec(1);
        bench.model.session(SUBSCRIBER).unwrap().puback(1);
        assert!(bench.model.missing(SUBSCRIBER, bench.now).is_none());
    }
}

#[test]
fn nothing_comes_twice_on_a_connection() {
    for (qos, violation) in [
        (QoS::AtMostOnce, Violation::NotOwed),
        (QoS::AtLeastOnce, Violation::Twice),
        (QoS::ExactlyOnce, Violation::Twice),
    ] {
        let mut bench = Bench::new();
        let (arrival, _) = bench.publish(qos, |_| {});
        bench.seen(&arrival).unwrap();
        assert_eq!(bench.seen(&arrival), Err(violation));
    }
}

#[test]
fn what_was_not_answered_comes_again_as_it_was() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (mut arrival, _) = bench.publish(qos, |_| {});
        bench.seen(&arrival).unwrap();
        bench.reconnect();
        assert_eq!(bench.seen(&arrival), Err(Violation::WrongDup));
        arrival.dup = true;
        let other = Arrival {
            id: Some(9),
            ..arrival.clone()
        };
        assert_eq!(bench.seen(&other), Err(Violation::WrongPacketId));
        assert_eq!(bench.seen(&arrival), Ok(()));
    }
}

#[test]
fn what_was_answered_does_not_come_again() {
    let mut bench = Bench::new();
    let (mut once, _) = bench.publish(QoS::AtLeastOnce, |_| {});
    let (mut twice, _) = bench.publish(QoS::ExactlyOnce, |_| {});
    bench.seen(&once).unwrap();
    bench.seen(&twice).unwrap();
    let session = bench.model.session(SUBSCRIBER).unwrap();
    session.puback(1);
    assert_eq!(session.pubrel(2), Err(Violation::ReleasedUntaken));
    let mut bench = Bench::new();
    bench.publish(QoS::AtLeastOnce, |_| {});
    bench.publish(QoS::ExactlyOnce, |_| {});
    bench.seen(&once).unwrap();
    bench.seen(&twice).unwrap();
    bench.model.session(SUBSCRIBER).unwrap().puback(1);
    bench.model.session(SUBSCRIBER).unwrap().pubrec(2);
    bench.reconnect();
    (once.dup, twice.dup) = (true, true);
    assert_eq!(bench.seen(&once), Err(Violation::NotOwed));
    assert_eq!(bench.seen(&twice), Err(Violation::Twice));
    assert_eq!(bench.model.session(SUBSCRIBER).unwrap().pubrel(2), Ok(()));
    assert_eq!(bench.seen(&twice), Err(Violation::NotOwed));
}

#[test]
fn messages_of_one_line_come_in_order() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (first, _) = bench.publish(qos, |_| {});
        let (second, _) = bench.publish(qos, |_| {});
        let (other, _) = bench.publish(qos, |p| p.topic = "u".into());
        bench.seen(&other).unwrap();
        bench.seen(&second).unwrap();
        assert_eq!(bench.seen(&first), Err(Violation::OutOfOrder));
    }
}

#[test]
fn a_packet_id_is_taken_until_it_is_answered() {
    let mut bench = Bench::new();
    let (first, _) = bench.publish(QoS::ExactlyOnce, |_| {});
    let (mut second, _) = bench.publish(QoS::AtLeastOnce, |_| {});
    bench.seen(&first).unwrap();
    bench.model.session(SUBSCRIBER).unwrap().pubrec(1);
    second.id = Some(1);
    assert_eq!(bench.seen(&second), Err(Violation::PacketIdInUse));
}

#[test]
fn an_expired_message_must_not_come_and_the_rest_of_its_time_is_told() {
    let mut bench = Bench::new();
    let end = START + Duration::from_secs(10);
    let (mut arrival, _) = bench.publish(QoS::AtLeastOnce, |p| p.expires = Some(end));
    bench.now = START + Duration::from_millis(3500);
    for (expiry, result) in [
        (None, Err(Violation::WrongExpiry)),
        (Some(10), Err(Violation::WrongExpiry)),
        (Some(5), Err(Violation::WrongExpiry)),
        (Some(7), Ok(())),
    ] {
        arrival.expiry = expiry;
        assert_eq!(bench.seen(&arrival), result, "{expiry:?}");
    }
    let (mut late, _) = bench.publish(QoS::AtLeastOnce, |p| p.expires = Some(end));
    bench.now = end;
    late.expiry = Some(0);
    assert_eq!(bench.seen(&late), Err(Violation::Expired));
    let session = bench.model.session(SUBSCRIBER).unwrap();
    session.puback(1);
    assert!(session.missing(end).is_none(), "nor is it missed");
}

#[test]
fn a_new_subscriber_gets_what_is_retained() {
    let mut bench = Bench::new();
    bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
    let (mut arrival, _) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
    let handling = RetainHandling::Send;
    let asks = options(QoS::AtLeastOnce);
    bench.model.subscribe(PUBLISHER, "t", asks, handling, START);
    let seen = |bench: &mut Bench, a: &Arrival| bench.model.seen(PUBLISHER, a, START);
    assert_eq!(seen(&mut bench, &arrival), Err(Violation::WrongRetain));
    arrival.retain = true;
    assert!(bench.model.missing(PUBLISHER, START).is_some());
    let old = Arrival {
        payload: b"1".to_vec(),
        ..arrival.clone()
    };
    assert_eq!(seen(&mut bench, &old), Err(Violation::NotOwed));
    assert_eq!(seen(&mut bench, &arrival), Ok(()));
    bench.publish(QoS::AtMostOnce, |p| (p.retain, p.payload) = (true, vec![]));
    let asks = options(QoS::ExactlyOnce);
    bench
        .model
        .subscribe(SUBSCRIBER, "t", asks, handling, START);
    let again = bench.model.seen(SUBSCRIBER, &arrival, START);
    assert_eq!(again, Err(Violation::WrongRetain), "it is cleared");
}

#[test]
fn a_will_is_published_in_time() {
    let waits = |facts: &mut BTreeMap<usize, Facts>| {
        facts.get_mut(&PUBLISHER).unwrap().will = Some(b"will".to_vec());
    };
    let bench = || {
        let mut bench = Bench::with(Model::new(Rules::default()), Some(will(10)));
        bench.model.close(PUBLISHER, true, START);
        bench
    };
    assert_eq!(bench().time(9, |_| {}), Err(Violation::WillEarly));
    assert_eq!(bench().time(9, waits), Ok(()));
    assert_eq!(bench().time(13, waits), Err(Violation::WillLate));
    let mut bench = bench();
    assert_eq!(bench.time(10, |_| {}), Ok(()));
    assert!(bench.model.missing(SUBSCRIBER, START).is_some());
    let mut arrival = bench.arrival(&will(0).publication);
    arrival.props.clear();
    assert_eq!(bench.seen(&arrival), Ok(()));
}

#[test]
fn a_will_is_not_published_when_it_is_not_wanted() {
    for (delay, back) in [(0, false), (10, true)] {
        let model = Model::new(Rules::default());
        let mut bench = Bench::with(model, Some(will(delay)));
        bench.model.close(PUBLISHER, back, START);
        if back {
            bench.model.connect(PUBLISHER, 1, &hello(None), START);
        }
        bench.time(20, |_| {}).unwrap();
        let arrival = bench.arrival(&will(0).publication);
        assert_eq!(bench.seen(&arrival), Err(Violation::NotOwed));
    }
}

#[test]
fn a_session_lasts_as_long_as_it_was_to() {
    let bench = || {
        let mut bench = Bench::new();
        bench.model.close(SUBSCRIBER, true, START);
        bench
    };
    let gone = |facts: &mut BTreeMap<usize, Facts>| drop(facts.remove(&SUBSCRIBER));
    assert_eq!(bench().time(99, gone), Err(Violation::SessionLost));
    assert_eq!(bench().time(100, gone), Ok(()));
    assert_eq!(bench().time(101, |_| {}), Ok(()));
    assert_eq!(bench().time(102, |_| {}), Err(Violation::SessionLeft));
    assert_eq!(Bench::new().time(1000, |_| {}), Ok(()), "connected");
    assert_eq!(Bench::new().time(1, gone), Err(Violation::SessionLost));
}

#[test]
fn a_crash_loses_only_what_was_not_acknowledged() {
    for acknowledged in [true, false] {
        let mut bench = Bench::new();
        let (arrival, routed) = bench.publish(QoS::AtLeastOnce, |_| {});
        if acknowledged {
            bench.model.acknowledged(PUBLISHER, 1, "t", routed);
        }
        bench.crash(|_| {}).unwrap();
        bench.model.connect(SUBSCRIBER, 2, &hello(None), START);
        let missing = bench.model.missing(SUBSCRIBER, START).is_some();
        assert_eq!(missing, acknowledged);
        assert_eq!(bench.seen(&arrival), Ok(()));
    }
}

#[test]
fn a_crash_keeps_sessions_subscriptions_and_packet_ids() {
    let lost = |change: fn(&mut BTreeMap<usize, Facts>), violation| {
        let mut bench = Bench::new();
        let (_, routed) = bench.publish(QoS::ExactlyOnce, |_| {});
        bench.model.acknowledged(PUBLISHER, 1, "t", routed);
        assert_eq!(bench.crash(change), Err(violation));
    };
    lost(|f| drop(f.remove(&SUBSCRIBER)), Violation::SessionLost);
    lost(
        |f| f.get_mut(&SUBSCRIBER).unwrap().subscriptions.clear(),
        Violation::WrongSubscriptionRestored,
    );
    lost(
        |f| f.get_mut(&PUBLISHER).unwrap().received.clear(),
        Violation::WrongIdRestored,
    );
    lost(
        |f| f.get_mut(&PUBLISHER).unwrap().will = Some(b"?".to_vec()),
        Violation::WrongWillRestored,
    );
    lost(
        |f| f.get_mut(&PUBLISHER).unwrap().expiry = 5,
        Violation::WrongExpiryRestored,
    );
}

#[test]
fn a_qos_2_message_does_not_come_again_after_a_crash() {
    let mut bench = Bench::new();
    let (arrival, routed) = bench.publish(QoS::ExactlyOnce, |_| {});
    bench.model.acknowledged(PUBLISHER, 1, "t", routed);
    bench.seen(&arrival).unwrap();
    let session = bench.model.session(SUBSCRIBER).unwrap();
    session.pubrec(1);
    bench.crash(|_| {}).unwrap();
    bench.model.connect(SUBSCRIBER, 2, &hello(None), START);
    let other = Arrival {
        id: Some(9),
        ..arrival.clone()
    };
    assert_eq!(bench.seen(&other), Err(Violation::Twice));
    assert_eq!(bench.seen(&arrival), Ok(()), "it knows the packet id");
}

#[test]
fn what_is_retained_outlives_a_crash() {
    let mut bench = Bench::new();
    let (_, routed) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
    let lost = Err(Violation::WrongRetainedRestored("t".into()));
    bench.crash(|_| {}).unwrap();
    let (_, again) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
    bench.model.acknowledged(PUBLISHER, 1, "t", routed);
    bench.model.acknowledged(PUBLISHER, 1, "t", again);
    assert_eq!(bench.crash(|_| {}), lost);
}

/// What is retained comes once more after a crash where the broker still had to bring it, and nowhere else.
#[test]
fn what_was_awaited_may_come_again() {
    for awaits in [false, true] {
        let mut bench = Bench::new();
        let (arrival, routed) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
        bench.model.acknowledged(PUBLISHER, 1, "t", routed);
        let mut facts = bench.facts();
        if awaits {
            let fact = facts.get_mut(&SUBSCRIBER).unwrap();
            fact.awaiting.push("#".to_owned());
        }
        let kept = BTreeMap::from([("t".to_owned(), ("1".to_owned(), None))]);
        bench.model.crash(&facts, &kept, START).unwrap();
        assert!(bench.model.connect(SUBSCRIBER, 2, &hello(None), START));
        bench.model.connected(SUBSCRIBER);
        assert_eq!(bench.seen(&arrival), Ok(()), "it is owed");
        let again = Arrival {
            retain: true,
            id: Some(9),
            ..arrival
        };
        assert_eq!(bench.seen(&again).is_ok(), awaits);
    }
}
