//! Topic names, topic filters and how they match.

use proptest::prelude::*;

use super::*;

#[test]
fn a_filter_matches_as_the_specification_has_it() {
    // 5.0 §4.7.1 to §4.7.3, most of them its examples.
    for (filter, topic, matches) in [
        ("a/b", "a/b", true),
        ("a/b", "a/c", false),
        ("a/b", "a", false),
        ("a", "a/b", false),
        ("a", "A", false),
        ("a/b", "a/bc", false),
        ("/finance", "finance", false),
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
        ("#", "a", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/tennis/#", "sport/tennis", true),
        ("+//+", "a//b", true),
        ("+/#", "a", true),
        ("a/+/c", "a//c", true),
        // [MQTT-4.7.2-1]
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/#", "$SYS", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("a/#", "a/$b", true),
        ("+/+", "a/$b", true),
    ] {
        assert_eq!(
            filter_matches(filter, topic),
            matches,
            "{filter} and {topic}"
        );
    }
}

proptest! {
    /// Level by level, whatever stands in them and however few there are.
    #[test]
    fn a_filter_matches_level_by_level(
        filter in prop::collection::vec("|[$+#]|[ab]|é|[$]SYS|a[+#]", 1..5),
        topic in prop::collection::vec("|[$]|[ab]|é|[$]SYS|ab", 1..5),
    ) {
        let end = filter.iter().position(|level| level == "#");
        let levels = end.unwrap_or(filter.len());
        let is_long_enough = topic.len() == levels || (end.is_some() && topic.len() > levels);
        let is_own = topic[0].starts_with('$') && filter[0].starts_with(['+', '#']);
        let mut pairs = filter.iter().take(levels).zip(&topic);
        let fits = pairs.all(|(wanted, level)| wanted == "+" || wanted == level);
        let (filter, topic) = (filter.join("/"), topic.join("/"));
        prop_assert_eq!(filter_matches(&filter, &topic), is_long_enough && fits && !is_own);
        let bytes = topic.as_bytes();
        prop_assert_eq!(filter_matches_bytes(&filter, bytes), filter_matches(&filter, &topic));
    }
}

#[test]
fn a_topic_name_is_a_non_empty_string_without_wildcards() {
    for name in ["a", "/", "a/b c/", "$SYS/x", "$share/g/a", "é/𐍈"] {
        assert_eq!(TopicName::new(name).map(TopicName::as_str), Ok(name));
    }
    let long = "x".repeat(65_536);
    let deep = "/".repeat(MAX_LEVELS + 1);
    for (name, fault) in [
        ("", Fault::TopicEmpty),
        ("a/#", Fault::Wildcard),
        ("a+", Fault::Wildcard),
        ("a\0", Fault::Character),
        ("\u{7f}", Fault::Character),
        ("é\u{85}", Fault::Character),
        ("\u{2ffff}", Fault::Character),
        (&long, Fault::FieldTooLong),
        (&deep, Fault::Levels),
    ] {
        let error = TopicName::new(name).unwrap_err();
        assert_eq!(error, Error::TopicName(fault));
        assert_eq!(error.reason(), Reason::TOPIC_NAME_INVALID);
    }
    assert!(TopicName::new(&long[1..]).is_ok());
    assert!(TopicName::new(&deep[1..]).is_ok());
}

#[test]
fn a_topic_filter_has_wildcards_only_as_whole_levels() {
    // [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    for filter in ["#", "+", "+/+", "a/+/#", "/#", "$SYS/#", "a//b"] {
        assert_eq!(
            TopicFilter::new(filter).map(TopicFilter::as_str),
            Ok(filter)
        );
        assert_eq!(share(filter), None);
    }
    for (filter, fault) in [
        ("", Fault::TopicEmpty),
        ("a#", Fault::FilterSyntax),
        ("#/a", Fault::FilterSyntax),
        ("a/b+/c", Fault::FilterSyntax),
        ("a/\u{1}", Fault::Character),
    ] {
        let error = TopicFilter::new(filter).unwrap_err();
        assert_eq!(error, Error::TopicFilter(fault));
        assert_eq!(error.reason(), Reason::TOPIC_FILTER_INVALID);
    }
}

#[test]
fn a_shared_filter_has_a_share_name_and_a_filter() {
    // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    for (filter, parts) in [
        ("$share/g/a/+", Some(("g", "a/+"))),
        ("$share/g//a", Some(("g", "/a"))),
        ("$share/g/#", Some(("g", "#"))),
        ("$share/g/$SYS/#", Some(("g", "$SYS/#"))),
        ("$sharing/g/a", None),
        ("a/$share/g", None),
    ] {
        assert!(TopicFilter::new(filter).is_ok(), "{filter}");
        assert_eq!(share(filter), parts, "{filter}");
    }
    for filter in [
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
    ] {
        assert_eq!(
            TopicFilter::new(filter),
            Err(Error::TopicFilter(Fault::ShareSyntax))
        );
    }
}
