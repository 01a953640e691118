//! Directives that are numbers, at the least and the most that they take: the broker serves, or says
//! why it does not.

use super::*;
use crate::config::docs::{Directive, directives};
use crate::config::{Config, Env};

/// Numbers at the ends of what a directive may take.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    4,
    20,
    23,
    64 << 10,
    127,
    201,
    1_000,
    32_767,
    65_535,
    86_400,
    49_710,
    268_435_455,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX,
];

/// How a value may have its number.
const FORMS: [&str; 7] = ["N", "N N", "N N N", "lazy N", "N/day", "1/day N", "Nd"];

/// The directives whose value says COUNT, BYTES, SECONDS or DURATION, of those that a broker without a
/// bridge looks at.
fn numeric() -> impl Iterator<Item = Directive> {
    directives().filter(|directive| {
        let syntax = directive.syntax;
        let is_number = ["COUNT", "BYTES", "SECONDS", "DURATION", "SPAN"]
            .iter()
            .any(|word| syntax.contains(word));
        directive.class == "implemented" && !directive.below.contains("connection") && is_number
    })
}

/// The values of a directive that a file may have: of each form the two least numbers and the two
/// largest, with what they load and what is noted of them.
fn values(directive: &Directive) -> Vec<(String, Config, Vec<String>)> {
    let mut numbers = NUMBERS;
    numbers.sort_unstable();
    let mut values = Vec::new();
    for form in FORMS {
        let mut taken: Vec<_> = numbers
            .iter()
            .filter_map(|number| {
                let value = form.replace('N', &number.to_string());
                let Directive { name, below, .. } = directive;
                let listener = if below.is_empty() {
                    "listener 1883\n"
                } else {
                    ""
                };
                let text = format!("{below}{name} {value}\n{listener}allow_anonymous true\n");
                let loaded = Config::parse(&text, "x", &Env::default()).ok()?;
                Some((value, loaded.config, loaded.notes))
            })
            .collect();
        let most = taken.split_off(taken.len().saturating_sub(2).max(taken.len().min(2)));
        taken.truncate(2);
        values.extend(taken.into_iter().chain(most));
    }
    values
}

/// A client comes in and publishes to itself; a day goes by, and a crash. Says whether it came in, in the
/// time that clients give a broker, or was refused with a word in the log.
fn serves(world: &mut World, dial: &Dial) -> bool {
    let peer = world.dial(dial);
    world.pass(secs(11));
    let came_in = matches!(world.next(peer), Some(Got::ConnAck(_, Reason::SUCCESS)));
    if came_in {
        world.subscribe(peer, 1, &[Subscription::new("a/b", QoS::ExactlyOnce)]);
        for id in 2..8 {
            let delivery = if id % 2 == 0 { qos1(id) } else { qos2(id) };
            world.publish(peer, "a/b", "payload", delivery);
            world.pass(ms(50));
        }
        world.pass(secs(24 * 3600));
    }
    let counters = world.broker.counters();
    let is_told = counters.refused + counters.turned_away > 0;
    world.cut(peer);
    world.crash(secs(1));
    came_in || is_told
}

#[test]
fn whatever_a_directive_says_a_client_gets_in_or_it_is_told_why() {
    let mut tried = 0;
    for directive in numeric() {
        let values = values(&directive);
        assert!(values.len() > 1, "{}", directive.name);
        for (value, config, notes) in values {
            let Config {
                mut general,
                listeners,
                ..
            } = config;
            general.persistence = true;
            let mut world = World::with_listeners(general, listeners);
            for version in VERSIONS {
                for dial in [Dial::clean(version, "c"), Dial::durable(version, "d")] {
                    let serves = serves(&mut world, &dial) || !notes.is_empty();
                    assert!(serves, "{} {value}: {version:?}", directive.name);
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
}

/// What would leave a broker that nobody gets into is a mistake of the file.
#[test]
fn what_nothing_can_run_in_is_refused() {
    for (directive, refused, least) in [
        ("memory_limit", "1", "0"),
        ("memory_limit", "65535", "64K"),
        ("max_packet_size", "19", "20"),
        ("max_clientid_length", "22", "23"),
        ("max_topic_levels", "0", "1"),
    ] {
        let parse = |value| Config::parse(&format!("{directive} {value}"), "x", &Env::default());
        assert!(parse(refused).is_err(), "{directive} {refused}");
        assert!(parse(least).is_ok(), "{directive} {least}");
    }
    for (line, note) in [
        ("commit_interval 11s", Some("durability lazy")),
        ("commit_interval 10s", None),
        ("flash_budget 1G/day 1m", Some("durability lazy")),
        ("flash_budget 1G/day", None),
        ("max_queued_bytes 64", Some("no message fits")),
        ("max_queued_bytes 65", None),
        ("max_queued_bytes 0", None),
    ] {
        let loaded = Config::parse(line, "x", &Env::default()).unwrap();
        assert_eq!(loaded.notes.len(), note.iter().count(), "{line}");
        assert!(loaded.notes.iter().all(|told| told.contains(note.unwrap())));
    }
}
