//! Who may tell the state of a bridge.

use super::*;

/// Only its own: a client whose id is the name of a bridge, or the bridge of another broker.
#[test]
fn the_state_of_a_connection_is_published_by_its_client_id() {
    let mut world = World::new();
    let c = world.clean(Version::V5, "gw.up");
    let state = |name: &str| format!("$SYS/broker/connection/{name}/state");
    world
        .broker
        .publish_own(&state("ours"), b"1", true, world.now);
    let thief = world.clean(Version::V5, "ours");
    let mut id = 0;
    for (peer, topic, reason) in [
        (c, state("gw.up"), Reason::NO_MATCHING_SUBSCRIBERS),
        (c, state("other"), Reason::NOT_AUTHORIZED),
        (c, state("ours"), Reason::NOT_AUTHORIZED),
        (c, state("+").replace('+', ""), Reason::NOT_AUTHORIZED),
        (c, "$SYS/broker/uptime".to_owned(), Reason::NOT_AUTHORIZED),
        (thief, state("ours"), Reason::NOT_AUTHORIZED),
        (thief, state("gw.up"), Reason::NOT_AUTHORIZED),
    ] {
        id += 1;
        world.publish(peer, &topic, "0", qos1(id));
        world.pass(ms(50));
        assert_eq!(world.got(peer), [Got::PubAck(id, reason)], "{topic}");
    }
}
