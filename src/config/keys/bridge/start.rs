//! When a bridge connects by itself.

use std::time::Duration;

use super::super::key::Section::Bridge as S;
use super::super::key::Unset::Is;
use super::super::key::{Key, implemented};
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Kind, StartType};

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        S,
        "start_type",
        "automatic|lazy|once|manual",
        Is("automatic"),
        "When the bridge connects by itself.",
        "automatic: when the broker starts, and again after restart_timeout whenever the connection \
         is lost. lazy: when as many messages wait as threshold says, or the queue is full; it \
         disconnects after idle_timeout, and what waits below the threshold waits without end, but for \
         ttl. An attempt that fails and a connection that is lost are made again as those of an \
         automatic bridge as long as anything waits. What is published upstream for the topics that come \
         in is heard only while it is connected, and is kept by the upstream meanwhile only once the \
         bridge has been connected for the first time. QoS 0 is not queued, so it counts only with qos0=keep or \
         queue_qos0_messages. once: when the broker starts, at each address in turn, and not again when all have \
         failed or the connection is lost; one that failed because the clock was not set comes again \
         when it is. manual: never; as with RSMB it waits for a command, and then \
         it is as automatic. Mosquitto refuses manual. Idle and stopped are no faults: the state of the bridge is 0, \
         the log has no reminder of them, and the queue fills up to its bounds. A change of the \
         directive on SIGHUP starts the bridge anew.",
        start_type,
    ),
    implemented(
        S,
        "threshold",
        "COUNT",
        Is("10"),
        "How many messages that wait make a lazy bridge connect.",
        "It does nothing with another start_type. Where max_queued_messages is lower, the full queue makes it \
         connect.",
        |draft, v| {
            draft.bridge()?.bridge.start.threshold = v.number(1..=u64::MAX)?;
            Ok(())
        },
    ),
    implemented(
        S,
        "idle_timeout",
        "SECONDS",
        Is("60"),
        "After how long without a message in either direction a lazy bridge disconnects.",
        "It does so only once all is sent and acknowledged; the session upstream stays. It does nothing \
         with another start_type.",
        |draft, v| {
            let seconds: u32 = v.number(1..=u32::MAX)?;
            draft.bridge()?.bridge.start.idle_timeout = Duration::from_secs(seconds.into());
            Ok(())
        },
    ),
];

fn start_type(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    const WANTS: &str = "automatic, lazy, once or manual";
    let word = value.word(WANTS)?;
    let kind = StartType::ALL.into_iter().find(|kind| kind.name() == word);
    draft.bridge()?.bridge.start.kind = kind.ok_or_else(|| Kind::bad(word, WANTS))?;
    Ok(())
}
