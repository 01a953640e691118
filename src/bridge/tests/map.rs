use proptest::prelude::*;

use super::topic;
use crate::bridge::Map;
use crate::mqtt::QoS;

fn map(lines: &[&str]) -> Map {
    Map::new(&lines.iter().map(|line| topic(line)).collect::<Vec<_>>())
}

fn outward(map: &Map, local: &str) -> Option<(String, usize)> {
    let mut buf = "left over".to_owned();
    map.outward(None, local, &mut buf)
        .map(|mapped| (buf, mapped.line + 1))
}

fn inward(map: &Map, remote: &str) -> Option<(String, usize)> {
    let mut buf = "left over".to_owned();
    map.inward(remote, &mut buf)
        .map(|mapped| (buf, mapped.line + 1))
}

/// The table in the topic section of mosquitto.conf(5): pattern, prefixes, the two full topics.
#[test]
fn the_table_of_mosquitto_conf() {
    let table = [
        ("pattern", "L/", "R/", "L/pattern", "R/pattern"),
        ("pattern", "L/", "-", "L/pattern", "pattern"),
        ("pattern", "-", "R/", "pattern", "R/pattern"),
        ("pattern", "-", "-", "pattern", "pattern"),
        ("-", "local", "remote", "local", "remote"),
        (
            "-",
            "local/topic",
            "remote/topic",
            "local/topic",
            "remote/topic",
        ),
    ];
    for (pattern, local, remote, full_local, full_remote) in table {
        for direction in ["out", "in", "both"] {
            let line = format!("{pattern} {direction} 1 {local} {remote}");
            let map = map(&[&line]);
            let out = (direction != "in").then(|| (full_remote.to_owned(), 1));
            let into = (direction != "out").then(|| (full_local.to_owned(), 1));
            assert_eq!(outward(&map, full_local), out, "{line}");
            assert_eq!(inward(&map, full_remote), into, "{line}");
            assert_eq!(outward(&map, "other"), None, "{line}");
            assert_eq!(inward(&map, "other"), None, "{line}");

            let local: Vec<_> = map.local_filters().map(|(filter, _)| filter).collect();
            let remote: Vec<_> = map.remote_filters().collect();
            assert_eq!(local == [full_local], direction != "in", "{line}");
            assert_eq!(
                remote == [(full_remote, QoS::AtLeastOnce)],
                direction != "out",
                "{line}"
            );
        }
    }
}

#[test]
fn topics_cross_by_prefix() {
    let cases = [
        // (line, local topic, remote topic): both ways.
        (
            "# both 2 local/topic/ remote/topic/",
            "local/topic/a/b",
            "remote/topic/a/b",
        ),
        ("# both 0", "a/b", "a/b"),
        (
            "+/state both 0 home/ site/7/",
            "home/door/state",
            "site/7/door/state",
        ),
        ("sensor/+/# both 1 - gw1/", "sensor/1/t", "gw1/sensor/1/t"),
        ("sensor/# both 1 - gw1/", "sensor", "gw1/sensor"),
        ("temp/# both 1 pre post", "pretemp/x", "posttemp/x"),
        (
            "$SYS/broker/# both 0 - boxes/1/",
            "$SYS/broker/uptime",
            "boxes/1/$SYS/broker/uptime",
        ),
        (
            "site/{1}/temp both 1 - cloud/{1}/t",
            "site/7/temp",
            "cloud/7/t",
        ),
        (
            "{1}/temp both 1 site/ cloud/{1}/t",
            "site/7/temp",
            "cloud/7/t",
        ),
        ("{2}/t both 1 up/{2}/here cloud/", "up/x/here", "cloud/x/t"),
        ("- both 1 {1}/{2}/{3} {3}/{1}/{2}", "a/b/c", "c/a/b"),
        ("- both 1 {1}/{2} up/{2}/{1}", "a/", "up//a"),
        ("a/{1}/# both 1 - b/{1}/c/#", "a/1", "b/1/c"),
        ("a/{1}/# both 1 - b/{1}/c/#", "a/1/", "b/1/c/"),
        ("a/{1}/# both 1 - b/{1}/c/#", "a/ä/2/3", "b/ä/c/2/3"),
        ("a/{1} both 1", "a/x", "a/x"),
        ("a/{1} both 1 - up/", "a/x", "up/a/x"),
        ("site/{x}/{1 both 1 - up/", "site/{x}/{1", "up/site/{x}/{1"),
        (
            "# both 0 $SYS/ boxes/1/",
            "$SYS/broker/uptime",
            "boxes/1/broker/uptime",
        ),
    ];
    for (line, local, remote) in cases {
        let map = map(&[line]);
        assert_eq!(outward(&map, local), Some((remote.into(), 1)), "{line}");
        assert_eq!(inward(&map, remote), Some((local.into(), 1)), "{line}");
    }
}

/// [MQTT-4.7.2-1]
#[test]
fn a_leading_wildcard_leaves_dollar_topics_here() {
    let map = map(&["# both 0", "# out 0 x/ y/"]);
    assert_eq!(outward(&map, "$SYS/broker/uptime"), None);
    assert_eq!(inward(&map, "$SYS/broker/uptime"), None);
}

/// `L/#` includes `L` (5.0 §4.7.1.2), where Mosquitto finds no prefix to take off: it makes `R/L` of
/// it, as of `L/L`.
#[test]
fn a_topic_without_the_prefix_is_not_mapped() {
    let map = map(&["# both 0 site/ plant/", "site/# out 1", "t/# both 0 a/ b/"]);
    assert_eq!(outward(&map, "site/site"), Some(("plant/site".into(), 1)));
    assert_eq!(outward(&map, "site/"), Some(("plant/".into(), 1)));
    assert_eq!(outward(&map, "site"), Some(("site".into(), 2)));
    assert_eq!(inward(&map, "plant"), None);
    // Here `#` stands in the pattern, behind a level that both have.
    assert_eq!(outward(&map, "a/t"), Some(("b/t".into(), 3)));
    assert_eq!(inward(&map, "b/t"), Some(("a/t".into(), 3)));
}

#[test]
fn the_first_line_that_remaps_decides_then_the_first_that_does_not() {
    let lines = [
        "a/# both 0",
        "a/b both 1 - one/",
        "a/+ both 2 - two/",
        "+/b both 0",
    ];
    let map = map(&lines);
    assert_eq!(outward(&map, "a/b"), Some(("one/a/b".into(), 2)));
    assert_eq!(outward(&map, "a/c"), Some(("two/a/c".into(), 3)));
    assert_eq!(outward(&map, "a/b/c"), Some(("a/b/c".into(), 1)));
    assert_eq!(outward(&map, "x/b"), Some(("x/b".into(), 4)));
    assert_eq!(inward(&map, "two/a/b"), Some(("a/b".into(), 3)));
    assert_eq!(
        map.outward(None, "a/c", &mut String::new()).unwrap().qos,
        QoS::ExactlyOnce
    );
}

#[test]
fn directions_have_lines_of_their_own() {
    let map = map(&["# out 1 - gw/", "cmd/# in 1 - gw/", "# in 0 all/ -"]);
    assert_eq!(outward(&map, "cmd/x"), Some(("gw/cmd/x".into(), 1)));
    assert_eq!(inward(&map, "gw/cmd/x"), Some(("cmd/x".into(), 2)));
    assert_eq!(inward(&map, "gw/t"), Some(("all/gw/t".into(), 3)));
    let local: Vec<_> = map
        .local_filters()
        .map(|(f, m)| (f, m.line + 1, m.qos))
        .collect();
    assert_eq!(local, [("#", 1, QoS::AtLeastOnce)]);
}

/// A topic name has at least one byte [MQTT-4.7.3-1] and at most 65,535 [MQTT-4.7.3-3].
#[test]
fn a_topic_that_no_broker_takes_does_not_cross() {
    let map = map(&["# both 0 a/ -", "x/# both 0 - prefix/"]);
    assert_eq!(outward(&map, "a/"), None);
    assert_eq!(outward(&map, "a/b"), Some(("b".into(), 1)));
    assert_eq!(outward(&map, &format!("x/{}", "y".repeat(65_533))), None);
}

#[test]
fn each_filter_is_asked_for_once() {
    let map = map(&[
        "a/# out 0",
        "b/# in 0",
        "b/# out 1",
        "b/# in 2 other/ -",
        "c/# out 0",
        "c/# out 0 x -",
        "a/# both 1",
    ]);
    let remote: Vec<_> = map.remote_filters().collect();
    assert_eq!(
        remote,
        [("b/#", QoS::ExactlyOnce), ("a/#", QoS::AtLeastOnce)]
    );
    let local: Vec<_> = map
        .local_filters()
        .map(|(f, m)| (f, m.line + 1, m.qos as u8))
        .collect();
    assert_eq!(
        local,
        [("a/#", 1, 1), ("b/#", 3, 1), ("c/#", 5, 0), ("xc/#", 6, 0)]
    );
}

#[test]
fn lines_that_can_send_our_messages_back() {
    let cases: [(&[&str], bool); 11] = [
        (&["# both 0"], true),
        (&["# both 0 a/ b/"], true),
        (&["# out 0"], false),
        (&["cmd/# in 0", "data/# out 0"], false),
        (&["cmd/# in 0", "+/x out 0"], true),
        (&["a/+ in 0", "a/b/# out 0"], true),
        (&["a/+ in 0", "a/b/c out 0"], false),
        (&["# in 0 - gw/", "# out 0 - up/"], false),
        (&["# in 0 x/ gw/", "t out 0 - gw/"], true),
        (&["$share/g/cmd/# in 0", "+/x out 0"], true),
        (&["$share/g/cmd/# in 0", "data/x out 0"], false),
    ];
    for (lines, may) in cases {
        assert_eq!(map(lines).may_echo(), may, "{lines:?}");
    }
}

/// What comes by a shared subscription has its topic without `$share/GROUP/`.
#[test]
fn a_shared_subscription_is_mapped_by_its_filter() {
    for (line, remote, local) in [
        ("$share/g/cmd/# in 1", "cmd/x", "cmd/x"),
        ("$share/g/cmd/# in 1 here/ -", "cmd/x", "here/cmd/x"),
        ("# in 1 here/ $share/g/site/7/", "site/7/x", "here/x"),
    ] {
        let map = map(&[line]);
        assert_eq!(inward(&map, remote), Some((local.into(), 1)), "{line}");
        assert_eq!(inward(&map, "other"), None);
        assert!(
            map.remote_filters()
                .all(|(f, _)| f.starts_with("$share/g/"))
        );
    }
}

/// Here a bridge is a client like others: it gets all of what its lines take out.
#[test]
fn what_goes_out_is_not_shared() {
    for line in ["$share/g/a/# out 1", "a/# out 1 $share/g/ -"] {
        let map = map(&[line]);
        assert_eq!(outward(&map, "a/x"), Some(("a/x".into(), 1)), "{line}");
        let filters = map.local_filters().map(|(filter, _)| filter);
        assert_eq!(filters.collect::<Vec<_>>(), ["a/#"]);
    }
}

#[test]
fn captures_and_what_they_do_not_match() {
    let map = map(&[
        "site/{1}/temp out 1 - cloud/{1}/t",
        "site/# out 0",
        "a/{1}/{2} out 2 - b/{2}",
        "cmd/{1} in 1 - $share/g/cloud/{1}/set",
    ]);
    assert_eq!(outward(&map, "site/7/temp"), Some(("cloud/7/t".into(), 1)));
    assert_eq!(
        outward(&map, "site/7/8/temp"),
        Some(("site/7/8/temp".into(), 2))
    );
    assert_eq!(outward(&map, "a/x/y"), Some(("b/y".into(), 3)));
    assert_eq!(outward(&map, "a/x/"), Some(("b/".into(), 3)));
    assert_eq!(outward(&map, "a/x"), None);
    assert_eq!(inward(&map, "cloud/7/set"), Some(("cmd/7".into(), 4)));
    let local: Vec<_> = map.local_filters().map(|(filter, _)| filter).collect();
    assert_eq!(local, ["site/+/temp", "site/#", "a/+/+"]);
    let remote: Vec<_> = map.remote_filters().map(|(filter, _)| filter).collect();
    assert_eq!(remote, ["$share/g/cloud/+/set"]);
    let ids = map.line_ids();
    assert_ne!(
        self::map(&["a/{2}/{1} out 2 - b/{2}"]).line_ids()[0],
        ids[2],
        "the same filters, and other topics"
    );
}

/// What one level has may make the whole topic too long, or leave nothing of it.
#[test]
fn captures_that_make_no_topic() {
    let map = map(&["a/{1} out 1 - cloud/{1}/t", "- out 1 b/{1} {1}"]);
    let long = "x".repeat(65_533);
    assert_eq!(outward(&map, &format!("a/{long}")), None);
    assert_eq!(map.outward_line(format!("a/{long}").as_bytes()), None);
    assert_eq!(outward(&map, "b/"), None);
    assert_eq!(outward(&map, "b/x"), Some(("x".into(), 2)));
}

proptest! {
    /// What a line with captures takes out, it takes in again under the same name.
    #[test]
    fn captures_map_there_and_back(
        levels in prop::collection::vec("[a-cäß]{0,2}", 3..6),
        order in Just(vec![1, 2, 3]).prop_shuffle(),
    ) {
        let side: Vec<String> = order.iter().map(|n| format!("{{{n}}}")).collect();
        let line = format!("- both 1 l/{{1}}/x/{{2}}/{{3}}/# r/{}/#", side.join("/"));
        let map = map(&[&line]);
        let local = format!("l/{}/x/{}", levels[0], levels[1..].join("/"));
        let mut wanted = vec!["r"];
        wanted.extend(order.iter().map(|n| &*levels[n - 1]));
        wanted.extend(levels[3..].iter().map(|level| &**level));
        let remote = wanted.join("/");
        prop_assert_eq!(outward(&map, &local), Some((remote.clone(), 1)));
        prop_assert_eq!(inward(&map, &remote), Some((local.clone(), 1)));
        prop_assert_eq!(map.outward_line(local.as_bytes()).map(|mapped| mapped.line), Some(0));
    }
}
