//! What `connection` says of bridges that make a ring.

pub(super) const CONNECTION: &str = "It needs an address and a topic. Names must differ. Bridges may make a ring over several \
    brokers, in which messages go round. Lines of bridges here that feed each other by a common \
    upstream are told at the start and by --test-config. What goes round is cut: where the \
    same comes in again after it went on to another bridge, messages to bridges of MQTT 5 carry a \
    user property fb-via for the next ten minutes, of 24 bytes and 14 more a broker that they pass, \
    by which a broker knows its own. Before MQTT 5, or where one bridge on the way speaks less, \
    what has come again 16 times within a minute is tried: it is kept in the queues of the links for a moment, \
    of a quarter of a second to some seconds, sent on, and kept again. What comes back each time that it was \
    sent on, and only then, goes round, and is cut. What a device repeats loses nothing by that, wherever it stops, \
    and is known for a minute then, and for longer each time. What takes more than four seconds for a \
    round is not noticed; so speak MQTT 5 in rings, or leave one of the ways out. $SYS/broker/publish/messages/looped counts what is cut. A \
    bridge of another broker is known by the bridge bit (try_private), by its will (notifications), or \
    by No Local in its subscriptions.";
