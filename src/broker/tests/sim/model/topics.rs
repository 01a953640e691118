//! Topic filters, as 5.0 §4.7 says, level by level: slow and plain.

/// Whether `topic` matches `filter`. A filter that begins with a wildcard matches no topic that
/// begins with `$` [MQTT-4.7.2-1].
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            _ => return false,
        }
    }
}

#[test]
fn filters_match_as_the_specification_says() {
    let yes = [
        ("#", "a/b"),
        ("a/#", "a"),
        ("a/+", "a/"),
        ("+/+", "/b"),
        ("$s/#", "$s/a"),
    ];
    let no = [
        ("#", "$s/a"),
        ("+/a", "$s/a"),
        ("a/+", "a"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("+", "/a"),
    ];
    assert!(yes.iter().all(|(filter, topic)| matches(filter, topic)));
    assert!(no.iter().all(|(filter, topic)| !matches(filter, topic)));
}
