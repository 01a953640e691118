//! What is retained, and the host whose name is in the client id of the bridge gets another.

use super::*;

/// What came from upstream under the client id that the bridge had while the host had another name is not
/// the site's: it does not go back, whether the queue is on disk or in RAM.
#[test]
fn after_a_rename_of_the_host_nothing_of_the_upstream_goes_back() {
    for durable in [true, false] {
        let both = BridgeTopic {
            direction: Direction::Both,
            ..out("#", QoS::AtLeastOnce)
        };
        let mut site = Site::with(&[both], durable, settings());
        site.client_id = "local.old.b";
        site.restart();
        site.up(false);
        let uplink = site.uplink.unwrap();
        let from_upstream = Delivery::AtMostOnce;
        site.world
            .publish_with(uplink, "theirs", "1", from_upstream, true, &[]);
        site.set("ours", "1", 1);
        site.down();
        for id in ["local.new.b", "local.new.b", "chosen"] {
            site.client_id = id;
            site.restart();
            site.came();
            site.up(false);
            let came = site.came();
            assert!(!came.contains(&"theirs=1".to_owned()), "{id}: {came:?}");
            assert!(site.has().contains(&"ours=1".to_owned()), "{id}");
            site.set("ours", "1", 1);
            site.down();
        }
        let kept = site.world.broker.core.router.kept_after(None);
        assert_eq!(kept.count(), 2, "both are here");
    }
}
