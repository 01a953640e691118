//! What subscriptions bring of what is retained.

use super::*;

/// What is retained of `p`, as the subscription of the bench brings it.
fn brought(bench: &mut Bench, arrival: &Arrival) -> Arrival {
    bench.id += 1;
    Arrival {
        retain: true,
        id: arrival.id.map(|_| bench.id),
        ..arrival.clone()
    }
}

/// Subscribes again, so that the subscription brings what is retained.
fn subscribe_again(bench: &mut Bench) {
    let (options, handling) = (options(QoS::ExactlyOnce), RetainHandling::Send);
    let model = &mut bench.model;
    model.subscribe(SUBSCRIBER, "#", options, handling, START);
}

/// While a message is on its way in pieces, what its topic retained before may come before it, but nothing newer,
/// and what came before it on its line may not come after it.
#[test]
fn what_was_retained_before_comes_before_what_is_on_its_way() {
    for older in [true, false] {
        let mut bench = Bench::new();
        let retain = |p: &mut Publication| p.retain = true;
        let (first, _) = bench.publish(QoS::AtLeastOnce, retain);
        bench.seen(&first).unwrap();
        let (earlier, _) = bench.publish(QoS::AtLeastOnce, |_| {});
        if older {
            bench.model.spreads = true;
        }
        let (spread, _) = bench.publish(QoS::AtLeastOnce, |_| {});
        bench.model.spreads = false;
        subscribe_again(&mut bench);
        let retained = brought(&mut bench, &first);
        bench.seen(&earlier).unwrap();
        assert_eq!(bench.seen(&retained), Ok(()));
        let result = if older {
            Ok(())
        } else {
            Err(Violation::OutOfOrder)
        };
        assert_eq!(bench.seen(&spread), result);
    }
    let mut bench = Bench::new();
    bench.model.spreads = true;
    let (spread, _) = bench.publish(QoS::AtLeastOnce, |_| {});
    bench.model.spreads = false;
    let (newer, _) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
    subscribe_again(&mut bench);
    let retained = brought(&mut bench, &newer);
    assert_eq!(bench.seen(&retained), Ok(()));
    assert_eq!(bench.seen(&spread), Err(Violation::OutOfOrder));
}

/// A subscription that is replaced, or ends, need not bring what is retained any more; the one in its place must.
#[test]
fn a_subscription_that_is_replaced_brings_once_what_is_retained() {
    for comes in [0, 1, 2] {
        let mut bench = Bench::new();
        let (live, _) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
        bench.seen(&live).unwrap();
        bench.model.session(SUBSCRIBER).unwrap().puback(1);
        subscribe_again(&mut bench);
        subscribe_again(&mut bench);
        for _ in 0..comes {
            let retained = brought(&mut bench, &live);
            assert_eq!(bench.seen(&retained), Ok(()));
            let session = bench.model.session(SUBSCRIBER).unwrap();
            session.puback(retained.id.unwrap());
        }
        let is_missing = bench.model.missing(SUBSCRIBER, bench.now).is_some();
        assert_eq!(is_missing, comes == 0);
        let retained = brought(&mut bench, &live);
        assert_eq!(bench.seen(&retained).is_ok(), comes < 2);
        subscribe_again(&mut bench);
        bench.model.unsubscribe(SUBSCRIBER, "#");
        let session = bench.model.session(SUBSCRIBER).unwrap();
        session.puback(retained.id.unwrap());
        assert!(bench.model.missing(SUBSCRIBER, bench.now).is_none());
    }
}

/// What is published at QoS 0 while a subscriber is away comes when it is back, if it is retained where a
/// subscription has not come to yet; then it comes instead of what was retained before.
#[test]
fn what_a_subscription_has_not_come_to_is_replaced_while_its_client_is_away() {
    for (passed, may_come) in [(None, true), (Some("s"), true), (Some("t"), false)] {
        let mut bench = Bench::new();
        let (old, _) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
        bench.seen(&old).unwrap();
        bench.model.session(SUBSCRIBER).unwrap().puback(1);
        subscribe_again(&mut bench);
        bench.model.close(SUBSCRIBER, true, bench.now);
        let walk = Walk {
            filter: "#".into(),
            options: options(QoS::ExactlyOnce),
            passed: passed.map(crate::route::key),
        };
        bench.model.walks.insert(SUBSCRIBER, vec![walk]);
        let (new, _) = bench.publish(QoS::AtMostOnce, |p| p.retain = true);
        assert!(bench.model.connect(SUBSCRIBER, 2, &hello(None), bench.now));
        let is_missing = bench.model.missing(SUBSCRIBER, bench.now).is_some();
        assert_eq!(is_missing, !may_come);
        assert!(bench.seen(&new).is_err(), "it was away");
        let new = brought(&mut bench, &new);
        assert_eq!(bench.seen(&new).is_ok(), may_come);
        assert_eq!(bench.seen(&new), Err(Violation::NotOwed), "once");
    }
}

/// A message that was sent as it was published, with the flag kept, does not wait for the next connection as what
/// a subscription brings does.
#[test]
fn a_live_message_with_the_retain_flag_ends_with_its_connection() {
    let mut bench = Bench::new();
    let as_published = Options {
        retain_as_published: true,
        ..options(QoS::AtMostOnce)
    };
    let handling = RetainHandling::DontSend;
    bench
        .model
        .subscribe(SUBSCRIBER, "#", as_published, handling, START);
    let (live, _) = bench.publish(QoS::AtMostOnce, |p| p.retain = true);
    bench.reconnect();
    let late = brought(&mut bench, &live);
    assert_eq!(bench.seen(&late), Err(Violation::NotOwed));
}

/// A will that is published as the broker starts replaces what was retained: that may come once more before it, to
/// who had not got all that is retained.
#[test]
fn what_a_will_replaces_after_a_crash_may_come_again() {
    for awaits in [false, true] {
        let will = Will {
            publication: Publication {
                retain: true,
                ..will(0).publication
            },
            ..will(0)
        };
        let mut bench = Bench::with(Model::new(Rules::default()), Some(will));
        let (live, routed) = bench.publish(QoS::AtLeastOnce, |p| p.retain = true);
        bench.model.acknowledged(PUBLISHER, 1, "t", routed);
        bench.seen(&live).unwrap();
        bench.model.session(SUBSCRIBER).unwrap().puback(1);
        let mut facts = bench.facts();
        if awaits {
            let fact = facts.get_mut(&SUBSCRIBER).unwrap();
            fact.awaiting.push("#".to_owned());
        }
        let kept = BTreeMap::from([("t".to_owned(), ("will".to_owned(), None))]);
        bench.model.crash(&facts, &kept, START).unwrap();
        assert!(bench.model.connect(SUBSCRIBER, 2, &hello(None), START));
        let again = brought(&mut bench, &live);
        assert_eq!(bench.seen(&again).is_ok(), awaits);
    }
}
