//! What is left, and the line that says so.

use super::builder::{Cl, KIND, Msg, Writer, client, msg, waits};
use super::{WALL, bring};

#[test]
fn each_kind_of_thing_that_is_left_has_its_line() {
    let mut writer = Writer::new(KIND);
    let deep = "/".repeat(201);
    writer.message(Msg {
        expires: WALL - 1,
        ..msg(1, "old")
    });
    writer.message(msg(2, "a/+"));
    writer.message(msg(3, &deep));
    writer.message(Msg {
        props: b"\x05\x01",
        ..msg(4, "props")
    });
    writer.message(Msg {
        qos: 3,
        ..msg(5, "qos")
    });
    writer.message(msg(6, "good"));
    writer.message(msg(7, "$SYS/broker/uptime"));
    writer.client(client("reader"));
    for number in [1, 2, 3, 4, 5, 6, 99] {
        writer.place(waits("reader", number, 1));
    }
    writer.place(waits("reader", 6, 3));
    writer.place(waits("stranger", 6, 1));
    writer.client(Cl {
        end: WALL - 5,
        interval: 60,
        ..client("gone")
    });
    writer.place(waits("gone", 6, 1));
    writer.client(Cl {
        interval: 0,
        ..client("short")
    });
    writer.client(client(""));
    writer.client(client("reader"));
    writer.subscription("reader", "a/#/b", 1, 0);
    writer.subscription("stranger", "a", 1, 0);
    writer.retained(1);
    writer.retained(7);
    writer.record(9, b"what is to come");
    let mut brought = bring(&writer, "").unwrap();
    assert_eq!(brought.topics("reader"), ["good"]);
    assert_eq!(brought.loaded.sessions.len(), 1);
    assert_eq!(brought.loaded.retained.len(), 0);
    let left = brought.report.left();
    for line in [
        "2 messages: expired",
        "1 session: expired",
        "1 session: ended with the connection",
        "1 message of sessions that are left",
        "1 message: not in the file, as Mosquitto keeps none that had expired, and none of $SYS",
        "2 messages or subscriptions of clients that are not in the file",
        "2 clients: the client id or user name is empty, there twice or not UTF-8",
        "5 messages: the topic, QoS or properties are not what MQTT allows",
        "1 subscription: the topic filter is not what MQTT allows",
        "1 retained message: below $SYS, where footbridge has its own",
        "1 record of a kind that is not known",
    ] {
        assert!(left.iter().any(|found| found == line), "{line}: {left:#?}");
    }
    assert_eq!(left.len(), 11, "{left:#?}");
}

#[test]
fn what_was_brought_is_told() {
    let mut writer = Writer::new(KIND);
    writer.message(msg(1, "a"));
    writer.client(client("reader"));
    writer.place(waits("reader", 1, 1));
    writer.subscription("reader", "a", 1, 0);
    writer.subscription("reader", "b", 1, 0);
    let report = bring(&writer, "").unwrap().report;
    let lines = "  1 session\n  2 subscriptions\n  1 queued message\n  0 retained messages\n";
    assert_eq!(report.to_string(), lines);
}
