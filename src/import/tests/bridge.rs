//! What waits for a bridge.

use super::bring;
use super::builder::{Cl, KIND, Kind, Place, Writer, client, msg, waits};
use crate::bridge::{Map, Numbering};
use crate::lane::Lane;
use crate::mqtt::PacketId;

const CONFIG: &str = "connection cloud\naddress u\nremote_clientid gw.cloud\n\
                      topic first/# out 1\ntopic second/# out 2\ntopic # in 1 down/";

fn for_bridge(kind: Kind, id: &str) -> Writer {
    let mut writer = Writer::new(kind);
    writer.message(msg(1, "second/a"));
    writer.message(msg(2, "first/b"));
    writer.message(msg(3, "third/c"));
    writer.client(Cl {
        last: 5,
        port: 0,
        ..client(id)
    });
    writer.place(Place {
        mid: 5,
        state: 9,
        ..waits(id, 1, 2)
    });
    writer.place(waits(id, 2, 1));
    writer.place(waits(id, 3, 1));
    writer.subscription(id, "first/#", 1, 0);
    writer
}

#[test]
fn a_backlog_goes_to_the_bridge_of_its_client_id() {
    let writer = for_bridge(KIND, "local.gw.cloud");
    let mut brought = bring(&writer, CONFIG).unwrap();
    let session = brought.session("local.gw.cloud");
    assert!(session.record.bridge);
    assert_eq!(session.record.subscriptions, []);
    let five = PacketId::new(5).unwrap();
    assert_eq!(session.state.releasing[0].0, five);
    let lane = session.releasing[0].lane;
    // A start with the same lines finds their numbers again.
    let config = super::config(CONFIG);
    let map = Map::new(&config.bridges[0].topics);
    let mut numbering = Numbering::restore(session.record.lines.clone());
    numbering.configure(&map.line_ids(), |_| true);
    let number = |place| numbering.number(place).unwrap();
    assert_eq!(lane, Lane::Bridge(number(1)));
    let queue = brought.queue("local.gw.cloud");
    assert_eq!(queue.len(), 1);
    assert_eq!(queue[0].1.lane, Lane::Bridge(number(0)));
    assert_eq!((brought.report.bridges, brought.report.sessions), (1, 0));
    let left = brought.report.left();
    let line =
        "1 message for the bridge local.gw.cloud: no topic line of its connection carries them";
    assert_eq!(left, [line]);
}

/// The name of the host is in the default, and is another on the new box.
#[test]
fn a_backlog_goes_to_the_bridge_of_its_name() {
    let writer = for_bridge(KIND, "local.OldBox.cloud");
    let brought = bring(&writer, CONFIG).unwrap();
    assert!(brought.session("local.gw.cloud").record.bridge);
}

#[test]
fn a_backlog_that_no_bridge_wants_is_told() {
    for (format, config, says) in [
        (
            6,
            "",
            "no connection of the configuration has this local_clientid",
        ),
        (
            4,
            "",
            "no connection of the configuration has this local_clientid",
        ),
        (
            6,
            &format!("{CONFIG}\nlocal_cleansession true"),
            "so it keeps none",
        ),
    ] {
        let kind = Kind { format, ..KIND };
        let brought = bring(&for_bridge(kind, "local.gw.cloud"), config).unwrap();
        assert_eq!(brought.loaded.sessions.len(), 0);
        let left = brought.report.left();
        assert_eq!(left.len(), 1);
        assert!(
            left[0].starts_with("3 messages for the bridge local.gw.cloud: "),
            "{left:?}"
        );
        assert!(left[0].contains(says), "{left:?}");
    }
}

/// It came by a listener.
#[test]
fn a_client_may_be_called_like_a_bridge() {
    let mut writer = Writer::new(KIND);
    writer.client(client("local.reader"));
    let brought = bring(&writer, CONFIG).unwrap();
    assert!(!brought.session("local.reader").record.bridge);
}
