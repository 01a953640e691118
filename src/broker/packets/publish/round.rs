//! A message that has come back over other brokers.

use crate::bridge::{LinkKind, Round};
use crate::broker::core::Core;
use crate::keys::SessionKey;
use crate::time::Time;

/// What the loop guard says of a message, which the log and the counters are told, too.
pub(super) fn look(
    core: &mut Core,
    (key, link): (SessionKey, LinkKind),
    content: (&str, &[u8]),
    now: Time,
) -> Round {
    let Core {
        loops,
        counters,
        sessions,
        scratch,
        ..
    } = core;
    if link == LinkKind::None && scratch.forwarded.is_empty() {
        return Round::New;
    }
    let round = loops.arrives(link, content, &scratch.forwarded, now);
    counters.looped += u64::from(round.is_cut());
    if round.is_cut()
        && loops.may_tell(now)
        && let Some(session) = sessions.get(key)
    {
        tell(round, session.client_id(), content.0);
    }
    round
}

fn tell(round: Round, client_id: &str, topic: &str) {
    if round == Round::Marked {
        log::warn!(
            "Messages go round over several bridges: what this broker had sent on came in again by \
             {client_id}, on {topic}. It is cut. Leave one of the ways out."
        );
    } else {
        log::warn!(
            "Messages go round over several bridges: what came in by {client_id}, on {topic}, came back each \
             time that it was sent on, and only then. It is cut. With MQTT 5 on all bridges it would have been \
             known at once; leave one of the ways out."
        );
    }
}
