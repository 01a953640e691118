//! QoS 2 half-way, both ways, and QoS 1 without its PUBACK.

use super::builder::{Cl, KIND, Msg, Place, Writer, client, msg, waits};
use super::{bring, packet_id};
use crate::lane::Lane;
use crate::mqtt::{PacketId, QoS};

fn sent(client: &str, number: u64, qos: u8, state: u8, mid: u16) -> Place<'_> {
    Place {
        mid,
        state,
        ..waits(client, number, qos)
    }
}

fn received(client: &str, number: u64, state: u8, mid: u16) -> Place<'_> {
    Place {
        incoming: true,
        ..sent(client, number, 2, state, mid)
    }
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

#[test]
fn what_was_sent_keeps_its_packet_id() {
    // Before and behind the turn of packet ids.
    for (last, mids) in [(40, [37, 38, 39, 40]), (2, [65_534, 65_535, 1, 2])] {
        let mut writer = Writer::new(KIND);
        for n in 1..=6 {
            writer.message(msg(n, ["", "1", "2", "3", "4", "5", "6"][n as usize]));
        }
        writer.client(Cl {
            last,
            ..client("reader")
        });
        writer.place(sent("reader", 1, 2, 9, mids[0]));
        writer.place(sent("reader", 2, 1, 3, mids[1]));
        writer.place(sent("reader", 3, 2, 5, mids[2]));
        writer.place(sent("reader", 4, 2, 6, mids[3]));
        writer.place(waits("reader", 5, 2));
        writer.place(waits("reader", 6, 0));
        let mut brought = bring(&writer, "").unwrap();
        let session = brought.session("reader");
        // PUBREL goes out for the first and the fourth, which are kept until PUBCOMP.
        let releasing: Vec<PacketId> = session.state.releasing.iter().map(|(id, _)| *id).collect();
        assert_eq!(releasing, [id(mids[0]), id(mids[3])]);
        assert_eq!(session.releasing.len(), 2);
        assert_eq!(session.queue.sent().count(), 2);
        let queue = brought.queue("reader");
        let ids: Vec<u16> = queue.iter().map(|(_, owed)| packet_id(owed)).collect();
        // The last goes at QoS 0, which has no packet id.
        assert_eq!(ids[..3], [mids[1], mids[2], last + 1]);
        assert_eq!(queue[3].1.qos, QoS::AtMostOnce);
        assert_eq!(brought.topics("reader"), ["2", "3", "5", "6"]);
        let report = &brought.report;
        assert_eq!((report.queued, report.sent, report.releasing), (6, 2, 2));
    }
}

/// Mosquitto routes with PUBREL: what it has answered with PUBREC is promised, and is routed now.
#[test]
fn what_publishers_are_about_to_release_is_routed_once() {
    let mut writer = Writer::new(KIND);
    let retained = |number, topic, payload| Msg {
        retain: true,
        qos: 2,
        payload,
        from: "publisher",
        ..msg(number, topic)
    };
    writer.message(msg(1, "a"));
    writer.message(retained(2, "a", b"new"));
    writer.message(retained(3, "b", b""));
    writer.message(retained(4, "b", b"old"));
    writer.message(Msg {
        qos: 2,
        ..msg(5, "c")
    });
    writer.message(Msg {
        qos: 2,
        ..msg(6, "d")
    });
    writer.client(client("publisher"));
    writer.place(received("publisher", 2, 7, 10));
    writer.place(received("publisher", 3, 10, 11));
    // Routed already; not answered yet.
    writer.place(received("publisher", 5, 8, 12));
    writer.place(received("publisher", 6, 11, 13));
    writer.client(client("reader"));
    writer.place(waits("reader", 1, 1));
    writer.client(client("member"));
    writer.client(client("another"));
    writer.subscription("publisher", "#", 0b110, 0);
    writer.subscription("reader", "+", 1, 3);
    writer.subscription("reader", "a/#", 0b1010, 4);
    for member in ["member", "another"] {
        writer.subscription(member, "$share/group/#", 2, 0);
    }
    writer.retained(4);
    let mut brought = bring(&writer, "").unwrap();
    let publisher = brought.session("publisher");
    assert_eq!(publisher.state.received, [id(10), id(11)]);
    assert_eq!(publisher.queue.len(), 0, "no local");
    assert_eq!(brought.topics("reader"), ["a", "a", "b"]);
    let owed = brought.queue("reader").remove(1).1;
    // By both subscriptions, once.
    assert_eq!(
        (owed.qos, owed.retain, &*owed.sub_ids),
        (QoS::ExactlyOnce, true, &[3, 4][..])
    );
    assert_eq!(brought.topics("member"), ["a", "b"]);
    assert!(brought.queue("member")[0].1.lane.is_share());
    assert_eq!(brought.topics("another"), [""; 0]);
    let kept: Vec<_> = brought
        .loaded
        .retained
        .iter()
        .map(|m| (m.topic(), m.payload()))
        .collect();
    assert_eq!(kept, [("a", &b"new"[..])], "the one for b was deleted");
    assert_eq!(brought.report.received, 2);
    let left = brought.report.left();
    assert_eq!(left.len(), 1);
    assert!(
        left[0].starts_with("1 message of QoS 2 that Mosquitto had not answered"),
        "{left:?}"
    );
}

#[test]
fn shares_have_lanes_of_their_own() {
    let mut writer = Writer::new(KIND);
    writer.client(client("member"));
    for filter in ["$share/g/a", "b", "$share/h/c"] {
        writer.subscription("member", filter, 1, 0);
    }
    let brought = bring(&writer, "").unwrap();
    let subscriptions = &brought.session("member").record.subscriptions;
    let lanes: Vec<Lane> = subscriptions.iter().map(|s| s.lane).collect();
    assert!(lanes[0].is_share() && lanes[2].is_share() && lanes[0] != lanes[2]);
    assert_eq!(lanes[1], Lane::Client);
}

/// A file that no Mosquitto writes.
#[test]
fn one_packet_id_for_two_messages_is_that_of_the_first() {
    let mut writer = Writer::new(KIND);
    writer.message(msg(1, "1"));
    writer.message(msg(2, "2"));
    writer.client(Cl {
        last: 9,
        ..client("reader")
    });
    writer.place(sent("reader", 1, 2, 5, 9));
    writer.place(sent("reader", 2, 2, 5, 9));
    let mut brought = bring(&writer, "").unwrap();
    let queue = brought.queue("reader");
    let ids: Vec<u16> = queue.iter().map(|(_, owed)| packet_id(owed)).collect();
    assert_eq!(ids, [9, 10]);
    assert_eq!(brought.report.sent, 1);
}
