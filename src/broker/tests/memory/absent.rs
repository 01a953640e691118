//! What sessions take whose clients are away, while what they are owed is on disk.

use super::*;
use crate::held::QUEUES;

/// Messages that are alike take next to nothing each: a long absence does not fill the memory. After a
/// restart the same is counted.
#[test]
fn a_long_queue_on_disk_counts_for_what_it_takes() {
    let mut world = World::new();
    let sub = world.durable(Version::V311, "sub");
    world.listen(sub, "t/+", QoS::AtLeastOnce);
    world.cut(sub);
    let publisher = world.clean(Version::V311, "pub");
    for n in 1..=5_000u16 {
        world.publish(publisher, &format!("t/{}", n % 10), "value", qos1(n));
        if n % 100 == 0 {
            world.pass(secs(1));
            world.got(publisher);
        }
    }
    let few = 500..5_000;
    assert!(few.contains(&held::of(QUEUES)), "{}", held::of(QUEUES));
    world.crash(secs(1));
    assert!(few.contains(&held::of(QUEUES)), "{}", held::of(QUEUES));
    let session = world.broker.core.sessions.find("sub");
    let session = session.and_then(|key| world.broker.core.sessions.get(key));
    assert_eq!(session.unwrap().outbound.len(), 5_000);
}
