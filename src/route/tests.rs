use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::{Retained, SubOptions, Trie, Value};
use crate::lane::Lane;
use crate::message::{Message, Origin, Parts};
use crate::mqtt::{QoS, filter_matches};
use crate::time::Time;

fn found(trie: &Trie<u32>, topic: &str) -> Vec<(u32, SubOptions)> {
    let mut all = Vec::new();
    trie.matches(topic.as_bytes(), &mut |key, options| {
        all.push((key, *options));
    });
    all.sort_by_key(|(key, o)| (*key, o.qos, o.lane));
    all
}

fn keys(trie: &Trie<u32>, topic: &str) -> Vec<u32> {
    found(trie, topic).into_iter().map(|(key, _)| key).collect()
}

fn message(topic: &str, payload: &[u8], expiry: Option<Time>) -> Rc<Message> {
    let parts = Parts {
        topic,
        props: &[],
        payload,
    };
    let mut message = Message::new(parts, Time::ZERO, Rc::new(Origin::default())).unwrap();
    message.expiry = expiry;
    Rc::new(message)
}

fn topics(retained: &Retained, filter: &str, now: Time) -> Vec<String> {
    let mut all = in_pieces(retained, filter, now, usize::MAX);
    all.sort();
    all
}

/// The topics that a search finds that looks at `most` at a time, in the order in which it does.
fn in_pieces(retained: &Retained, filter: &str, now: Time, most: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let from = (after.as_deref(), most);
        let searched = retained.search(filter, from, now, &mut |m| all.push(m.topic().to_owned()));
        assert!(searched.looked <= most);
        after = searched.reached;
        if after.is_none() {
            return all;
        }
    }
}

/// The examples of 5.0 §4.7.1.2 and §4.7.1.3, and the edges around them.
const EXAMPLES: &[(&str, &str, bool)] = &[
    ("sport/tennis/player1/#", "sport/tennis/player1", true),
    (
        "sport/tennis/player1/#",
        "sport/tennis/player1/ranking",
        true,
    ),
    (
        "sport/tennis/player1/#",
        "sport/tennis/player1/score/wimbledon",
        true,
    ),
    ("sport/#", "sport", true),
    ("sport/#", "sports", false),
    ("#", "a/b/c", true),
    ("#", "/", true),
    ("sport/tennis/+", "sport/tennis/player1", true),
    ("sport/tennis/+", "sport/tennis/player1/ranking", false),
    ("sport/+", "sport", false),
    ("sport/+", "sport/", true),
    ("+/+", "/finance", true),
    ("/+", "/finance", true),
    ("+", "/finance", false),
    ("+/tennis/#", "sport/tennis", true),
    ("a//b", "a//b", true),
    ("a/+/b", "a//b", true),
    ("a/b", "a/b/c", false),
    ("a/b/c", "a/b", false),
    ("a", "A", false),
];

#[test]
fn examples_of_4_7_1_in_the_trie() {
    for &(filter, topic, matches) in EXAMPLES {
        let mut trie = Trie::<u32>::new();
        trie.add(filter, 7, SubOptions::default());
        assert_eq!(keys(&trie, topic) == [7], matches, "{filter} on {topic}");
    }
}

#[test]
fn examples_of_4_7_1_in_the_retained_messages() {
    for &(filter, topic, matches) in EXAMPLES {
        let mut retained = Retained::new();
        retained.set(message(topic, b"x", None));
        assert_eq!(
            topics(&retained, filter, Time::ZERO) == [topic],
            matches,
            "{filter} on {topic}"
        );
    }
}

/// [MQTT-4.7.2-1]
#[test]
fn leading_wildcards_do_not_match_dollar_topics() {
    let mut trie = Trie::<u32>::new();
    let mut retained = Retained::new();
    retained.set(message("$SYS/monitor", b"x", None));
    let filters = ["#", "+/monitor", "+/#", "$SYS/#", "$SYS/+", "$SYS/monitor"];
    for (key, filter) in filters.into_iter().enumerate() {
        trie.add(filter, key as u32, SubOptions::default());
        assert_eq!(
            topics(&retained, filter, Time::ZERO).len(),
            usize::from(key > 2),
            "{filter}"
        );
    }
    assert_eq!(keys(&trie, "$SYS/monitor"), [3, 4, 5]);
    assert_eq!(keys(&trie, "a/monitor"), [0, 1, 2]);
}

/// [MQTT-3.8.4-3]
#[test]
fn a_second_subscription_replaces_the_first() {
    let mut trie = Trie::<u32>::new();
    let second = SubOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        ..SubOptions::default()
    };
    assert!(trie.add("a/+", 1, SubOptions::default()));
    assert!(trie.add("a/+", 2, SubOptions::default()));
    assert!(!trie.add("a/+", 1, second));
    assert_eq!(
        found(&trie, "a/b"),
        [(1, second), (2, SubOptions::default())]
    );
    assert_eq!(trie.len(), 2);
}

#[test]
fn removing_prunes_every_node() {
    let mut trie = Trie::<u32>::new();
    for key in 0..100 {
        for filter in ["a/+/c/#", "a/b", "$SYS/x", "+", "#", "a/b/c/d/e"] {
            assert!(trie.add(filter, key, SubOptions::default()));
        }
    }
    for key in 0..100 {
        for filter in ["a/b/c/d/e", "#", "+", "a/b", "a/+/c/#", "$SYS/x"] {
            assert!(trie.remove(filter, key));
            assert!(!trie.remove(filter, key));
        }
        assert!(!trie.remove("a/b/c", key));
    }
    assert!(trie.is_empty() && trie.is_pruned());
}

/// However deep it is, until another filter parts from it.
#[test]
fn a_filter_alone_is_one_node() {
    let mut trie = Trie::<u32>::new();
    let empty = trie.bytes();
    trie.add("site/+/7/state/#", 1, SubOptions::default());
    let one = trie.bytes() - empty;
    assert!(one < 700, "{one}");
    for (topic, matches) in [
        ("site/a/7/state", true),
        ("site/a/7/state/x/y", true),
        ("site/a/7", false),
        ("site/a/8/state", false),
        ("site/7/state", false),
    ] {
        assert_eq!(keys(&trie, topic) == [1], matches, "{topic}");
    }
    for (key, filter) in [(2, "site/+/7"), (3, "site/+/+/state"), (4, "site")] {
        assert!(trie.add(filter, key, SubOptions::default()));
        assert!(!trie.remove("site/+", key));
    }
    assert_eq!(keys(&trie, "site/a/7/state"), [1, 3]);
    assert_eq!(keys(&trie, "site/a/7"), [2]);
    assert_eq!(keys(&trie, "site"), [4]);
    assert!(trie.remove("site/+/7/state/#", 1));
    assert_eq!(keys(&trie, "site/a/7/state"), [3]);
}

#[test]
fn the_deepest_filter_and_topic_that_fit_a_string() {
    let deep = "/".repeat(65_535);
    let mut trie = Trie::<u32>::new();
    trie.add(&deep, 1, SubOptions::default());
    trie.add(&"+/".repeat(32_767), 2, SubOptions::default());
    assert_eq!(keys(&trie, &deep), [1]);
    assert_eq!(keys(&trie, &"a/".repeat(32_767)), [2]);
    assert!(trie.remove(&deep, 1) && trie.remove(&"+/".repeat(32_767), 2));
    assert!(trie.is_pruned());
}

#[test]
fn ten_thousand_clients_with_two_filters_cost_below_100_bytes_a_subscription() {
    let mut trie = Trie::<u32>::new();
    for key in 0..10_000 {
        trie.add(
            &format!("devices/sensor-{key:05}/command"),
            key,
            SubOptions::default(),
        );
        trie.add(
            &format!("devices/sensor-{key:05}/config/#"),
            key,
            SubOptions::default(),
        );
    }
    assert_eq!(trie.len(), 20_000);
    assert!(
        trie.bytes() / trie.len() < 100,
        "{}",
        trie.bytes() / trie.len()
    );
}

/// A match tells what it has cost: what it looked at, not what there is.
#[test]
fn a_match_tells_what_it_looked_at() {
    let mut trie = Trie::<u32>::new();
    for key in 0..1000 {
        trie.add(&format!("a/{key}/b"), key, SubOptions::default());
        trie.add("c/#", key, SubOptions::default());
    }
    // The root, `a`, `7/b` with one level more than its first, and the subscription.
    assert_eq!(trie.matches(b"a/7/b", &mut |_, _| {}), 5);
    assert_eq!(trie.matches(b"c", &mut |_, _| {}), 1002);
    assert_eq!(trie.matches(b"d/e/f", &mut |_, _| {}), 1);
    assert_eq!(trie.matches(b"$SYS/x", &mut |_, _| {}), 1);
    // Levels of a label that do not match are looked at, too.
    trie.add("e/1/2/3/4", 0, SubOptions::default());
    assert_eq!(trie.matches(b"e/1/2/0/4", &mut |_, _| {}), 4);
}

#[test]
fn a_match_calls_back_into_the_trie() {
    let mut trie = Trie::<u32>::new();
    trie.add("a/+", 1, SubOptions::default());
    trie.add("b/#", 2, SubOptions::default());
    let mut inner = Vec::new();
    trie.matches(b"a/x", &mut |_, _| inner = keys(&trie, "b/c/d"));
    assert_eq!(inner, [2]);
}

#[test]
fn retained_messages_are_counted_and_replaced() {
    let mut retained = Retained::new();
    assert!(!retained.set(message("a/b", b"12", None)));
    assert_eq!((retained.len(), retained.bytes()), (1, 5));
    assert!(retained.set(message("a/b", b"123", Some(Time::from_secs(9)))));
    assert_eq!((retained.len(), retained.bytes()), (1, 6));
    assert_eq!(retained.get("a/b").unwrap().payload(), b"123");
    assert!(!retained.remove("a"));
    assert!(retained.remove("a/b"));
    assert_eq!(retained.held(), 0);
    assert_eq!((retained.bytes(), retained.next_expiry()), (0, None));
    assert!(retained.is_empty());
}

/// [MQTT-3.3.2-5]
#[test]
fn retained_messages_expire() {
    let at = Time::from_secs;
    let mut retained = Retained::new();
    retained.set(message("a", b"1", Some(at(10))));
    retained.set(message("b", b"1", Some(at(20))));
    retained.set(message("c", b"1", None));
    // Replaced by one that lasts, and by one of the same expiry.
    retained.set(message("d", b"1", Some(at(5))));
    retained.set(message("d", b"2", None));
    retained.set(message("e", b"1", Some(at(30))));
    retained.set(message("e", b"2", Some(at(30))));

    assert_eq!(retained.next_expiry(), Some(at(10)));
    assert_eq!(topics(&retained, "#", at(10)), ["b", "c", "d", "e"]);
    assert!(retained.expire(at(9), 9).is_empty());
    for topic in ["a", "b"] {
        let gone = retained.expire(at(20), 1);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].topic(), topic, "one at a time, the first first");
    }
    assert_eq!(retained.next_expiry(), Some(at(30)));
    assert_eq!(retained.expire(at(30), 9).len(), 1);
    assert_eq!((retained.len(), retained.bytes()), (2, 4));
}

/// A search goes on from its key whatever has become of the topics around it, and looks only where
/// something may match.
#[test]
fn a_search_goes_on_where_it_was() {
    let mut retained = Retained::new();
    for n in 0..50 {
        retained.set(message(&format!("t/{n:02}/x"), b"x", None));
        retained.set(message(&format!("u/{n:02}"), b"x", None));
    }
    let mut came = Vec::new();
    let mut search = |retained: &Retained, filter: &str, after: Option<&[u8]>, most| {
        let found = &mut |m: Value<'_>| came.push(m.topic().to_owned());
        retained.search(filter, (after, most), Time::ZERO, found)
    };
    let first = search(&retained, "t/#", None, 10);
    assert_eq!(first.looked, 10);
    for n in 8..20 {
        retained.remove(&format!("t/{n:02}/x"));
    }
    retained.set(message("t/00/y", b"passed already", None));
    retained.set(message("t/09/y", b"to come", None));
    let rest = search(&retained, "t/#", first.reached.as_deref(), 100);
    assert_eq!(
        (rest.looked, rest.reached),
        (32, None),
        "31, and the one behind"
    );
    let expected = (0..10).map(|n| format!("t/{n:02}/x"));
    let expected = expected.chain(["t/09/y".to_owned()]);
    let expected = expected.chain((20..50).map(|n| format!("t/{n:02}/x")));
    assert!(search(&retained, "u/49", None, 100).looked <= 3);
    came.pop();
    assert_eq!(came, expected.collect::<Vec<_>>());
}

/// The order of the map is by level, not by byte.
#[test]
fn characters_below_the_separator_do_not_hide_topics() {
    let mut retained = Retained::new();
    for topic in [
        "a", "a!", "a!/x", "a/x", "a/x/y", "a0/x", "a /x", "/x", "//x", "$a/x",
    ] {
        retained.set(message(topic, b"x", None));
    }
    assert_eq!(
        topics(&retained, "+/x", Time::ZERO),
        ["/x", "a /x", "a!/x", "a/x", "a0/x"]
    );
    assert_eq!(topics(&retained, "a/#", Time::ZERO), ["a", "a/x", "a/x/y"]);
    assert_eq!(topics(&retained, "a!", Time::ZERO), ["a!"]);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "a!", "ab", "$S", "$T"])
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic has a character", |t| !t.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![2 => level(), 1 => Just("+")], 0..4);
    (levels, any::<bool>())
        .prop_map(|(mut levels, multi)| {
            if multi {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("a filter has a character", |f| !f.is_empty())
}

proptest! {
    #[test]
    fn the_trie_agrees_with_filter_matches(
        steps in prop::collection::vec((any::<bool>(), filter(), 0u32..4, 0u16..3), 0..60),
        probes in prop::collection::vec(topic(), 1..20),
    ) {
        let mut trie = Trie::<u32>::new();
        let mut model = BTreeMap::new();
        for (add, filter, key, lane) in steps {
            if add {
                let options = SubOptions { lane: Lane::from_code(lane), ..SubOptions::default() };
                let new = model.insert((filter.clone(), key), options).is_none();
                prop_assert_eq!(trie.add(&filter, key, options), new);
            } else {
                let known = model.remove(&(filter.clone(), key)).is_some();
                prop_assert_eq!(trie.remove(&filter, key), known);
            }
            prop_assert_eq!(trie.len(), model.len());
        }
        for topic in probes {
            let mut expected: Vec<_> = model
                .iter()
                .filter(|((filter, _), _)| filter_matches(filter, &topic))
                .map(|((_, key), options)| (*key, *options))
                .collect();
            expected.sort_by_key(|(key, o)| (*key, o.qos, o.lane));
            prop_assert_eq!(found(&trie, &topic), expected, "{}", topic);
        }
        for (filter, key) in model.into_keys() {
            trie.remove(&filter, key);
        }
        prop_assert!(trie.is_pruned());
    }

    #[test]
    fn the_retained_messages_agree_with_filter_matches(
        steps in prop::collection::vec((any::<bool>(), topic(), prop::option::of(0u64..9)), 0..60),
        probes in prop::collection::vec(filter(), 1..20),
        now in (0u64..9).prop_map(Time::from_secs),
        most in 1usize..5,
    ) {
        let mut retained = Retained::new();
        let mut model = BTreeMap::new();
        for (set, topic, expiry) in steps {
            if set {
                let new = message(&topic, b"x", expiry.map(Time::from_secs));
                let old = model.insert(topic, new.clone());
                prop_assert_eq!(retained.set(new), old.is_some());
            } else {
                prop_assert_eq!(retained.remove(&topic), model.remove(&topic).is_some());
            }
        }
        let live = |filter: &str| -> Vec<String> {
            let hit = |m: &&Rc<Message>| !m.expired(now) && filter_matches(filter, m.topic());
            model.values().filter(hit).map(|m| m.topic().to_owned()).collect()
        };
        for filter in &probes {
            prop_assert_eq!(topics(&retained, filter, now), live(filter), "{}", filter);
            let whole = in_pieces(&retained, filter, now, usize::MAX);
            prop_assert_eq!(in_pieces(&retained, filter, now, most), whole, "{}", filter);
        }
        retained.expire(now, usize::MAX);
        for filter in &probes {
            prop_assert_eq!(topics(&retained, filter, now), live(filter), "{}", filter);
        }
        prop_assert_eq!(retained.bytes(), retained.iter().map(|m| m.size() as usize).sum::<usize>());
    }
}

/// Names of a publisher that is gone are held by what it retained.
#[test]
fn names_that_only_a_retained_message_has_are_counted() {
    let mut retained = Retained::new();
    for n in 0..10 {
        let long = "u".repeat(60_000);
        let origin = Rc::new(Origin::new(&n.to_string(), Some(&long), None));
        let topic = &format!("t/{n}");
        let parts = Parts {
            topic,
            props: &[],
            payload: b"x",
        };
        retained.set(Rc::new(Message::new(parts, Time::ZERO, origin).unwrap()));
    }
    assert!(retained.held() > 600_000, "{}", retained.held());
    for n in 0..10 {
        retained.remove(&format!("t/{n}"));
    }
    assert_eq!(retained.held(), 0);
}
