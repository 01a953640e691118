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
