//! The lines of a bridge that have a form of their own: addresses and topics.

use crate::config::draft::Draft;
use crate::config::error::shortened;
use crate::config::value::Value;
use crate::config::{Kind, UpstreamAddress, topic};
use crate::lane::LineNo;

/// `address` and `addresses`. A number behind a host is the port that Mosquitto wants behind a colon:
/// taken for a host it would be the address 0.0.x.y.
pub(super) fn addresses(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let mut addresses: Vec<UpstreamAddress> = Vec::new();
    let mut words = value.words().peekable();
    while let Some(word) = words.next() {
        let mut address = UpstreamAddress::parse(word)?;
        if let Some(number) = words.next_if(|next| topic::is_number(next)) {
            if word.ends_with(&format!(":{}", address.port)) || address.web.is_some() {
                return Err(Kind::bad(number, "HOST[:PORT], and this is neither"));
            }
            address.port = Value(number).number(1..=u16::MAX)?;
            let instead = format!(
                "`{number}` is read as the port of {}, not as another host; write {}:{number}",
                shortened(word),
                shortened(word)
            );
            draft.note("address", &instead);
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(Kind::NoValue("HOST[:PORT]".to_owned()));
    }
    draft.bridge()?.bridge.addresses.extend(addresses);
    Ok(())
}

/// `topic`.
pub(super) fn topic(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let (topic, rsmb) = topic::parse(value)?;
    // RSMB's files are known, and so are Mosquitto's with the QoS left out: each means what it says
    // to its own broker, so both meanings are told.
    let line = rsmb.then(|| {
        let prefix = |text: &str| match text {
            "" => "none".to_owned(),
            text => format!("`{}`", shortened(text)),
        };
        format!(
            "no QoS after the direction: read as RSMB does, local prefix {}, remote prefix {}, at up \
             to QoS 2. Mosquitto takes the first of them for QoS 0, and what follows for the \
             prefixes. Write the QoS there, as in `topic # both 1 LOCAL REMOTE`",
            prefix(&topic.local),
            prefix(&topic.remote)
        )
    });
    let topics = &mut draft.bridge()?.bridge.topics;
    if topics.len() == usize::from(LineNo::MAX) {
        return Err(Kind::TooManyTopics);
    }
    topics.push(topic);
    if let Some(line) = line {
        draft.note("topic", &line);
    }
    Ok(())
}
