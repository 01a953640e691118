//! What an upstream sends and the standard forbids.
//!
//! A client of ours that does so is cut off [MQTT-4.13.1-1]. To cut off an upstream helps nobody: a
//! message that is not acknowledged is delivered again on the next connection, by a session that
//! lasts for ever, and nothing else comes or goes any more. So every packet whose frame is intact is
//! passed over, or taken for what it can only mean; what ends the connection is a broken frame, and
//! DISCONNECT.

use std::time::Duration;

use log::{debug, warn};

use crate::config::printable::printable;
use crate::mqtt::{
    self, Ack, Disconnect, FAULTY_HEAD, Faulty, FaultyAlias, Packet, PacketType, Props, QoS,
    Reason, SubAck, UnsubAck, Version, decode, read_faulty,
};
use crate::time::Time;

/// The log has at most one line about faulty packets in so long.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// So many characters of a topic are in the log, at most.
const TOLD_CHARS: usize = 100;

/// What is faulty in what the upstream of one bridge sends, over all its connections.
#[derive(Debug)]
pub struct Faults {
    /// The name of the bridge.
    name: Box<str>,
    /// Bytes still to come of a packet that is passed over.
    left: usize,
    /// When the log may have the next line.
    tell_at: Time,
    /// Faulty packets since the last line.
    untold: u64,
}

/// What to do with bytes that do not decode. The numbers are the bytes to take off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remedy<'a> {
    /// More bytes are needed to tell.
    Wait,
    /// Handle this packet instead.
    Take(usize, Packet<'a>),
    /// Acknowledge a PUBLISH and drop it.
    Drop(usize, Unusable<'a>),
    /// Go on behind it.
    Pass(usize),
    /// The frame is broken: end the connection.
    End,
}

/// A PUBLISH that can't be a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unusable<'a> {
    /// What there is of it.
    pub packet: Faulty<'a>,
    /// It is larger than what is taken.
    pub is_too_large: bool,
}

impl Unusable<'_> {
    /// What becomes of a topic alias that it sets: `None` if nothing, otherwise the alias, or `None`
    /// for any, and the topic that it stands for from now on. Where there is none, messages that come
    /// by the alias have none either.
    pub fn alias(&self) -> Option<(Option<u16>, Option<&str>)> {
        let alias = match self.packet.alias {
            FaultyAlias::None => return None,
            FaultyAlias::Of(alias) => Some(alias),
            FaultyAlias::Unknown => None,
        };
        let topic = match self.packet.topic {
            // It uses the alias, and sets none.
            Some([]) => return None,
            topic => topic.and_then(|topic| std::str::from_utf8(topic).ok()),
        };
        let valid = |topic: &&str| mqtt::TopicName::new(topic).is_ok();
        Some((alias, topic.filter(valid)))
    }
}

impl Faults {
    /// None yet, of the bridge with this name.
    pub fn new(name: &str) -> Faults {
        Faults {
            name: name.into(),
            left: 0,
            tell_at: Time::ZERO,
            untold: 0,
        }
    }

    /// A new connection begins with a packet.
    pub fn connected(&mut self) {
        self.left = 0;
    }

    /// How many of `available` bytes, the next on the connection, belong to a packet that is passed
    /// over.
    pub fn skip(&mut self, available: usize) -> usize {
        let skipped = self.left.min(available);
        self.left -= skipped;
        skipped
    }

    /// What to do with `bytes`, which do not decode because of `error`.
    pub fn remedy<'a>(
        &mut self,
        bytes: &'a [u8],
        version: Version,
        error: &mqtt::Error,
        now: Time,
    ) -> Remedy<'a> {
        let faulty = match read_faulty(bytes, version) {
            Ok(Some(faulty)) => faulty,
            Ok(None) => return Remedy::Wait,
            Err(_) => return Remedy::End,
        };
        let is_too_large = matches!(error, mqtt::Error::PacketTooLarge { .. });
        if is_too_large
            && faulty.kind != Some(PacketType::Publish)
            && let Ok(Some((packet, used))) = decode(bytes, version, FAULTY_HEAD)
        {
            // The limit is there for messages.
            return Remedy::Take(used, packet);
        }
        let used = faulty.size.min(bytes.len());
        self.left = faulty.size - used;
        if faulty.kind == Some(PacketType::Publish) {
            let unusable = Unusable {
                packet: faulty,
                is_too_large,
            };
            self.tell(|| told(&unusable, error), now);
            return Remedy::Drop(used, unusable);
        }
        match meant(&faulty) {
            Some(packet) => {
                let name = packet.name();
                self.tell(|| format!("{error}: taken for a plain {name}"), now);
                Remedy::Take(used, packet)
            }
            None => {
                self.tell(|| format!("{error}: passed over"), now);
                Remedy::Pass(used)
            }
        }
    }

    /// The upstream has sent a packet that only a client, or only a handshake, has: it is passed over.
    pub fn out_of_place(&mut self, packet: &str, now: Time) {
        self.tell(|| format!("unexpected {packet}: passed over"), now);
    }

    /// Tells the log of a faulty packet, unless it has been told of one just now.
    fn tell(&mut self, what: impl FnOnce() -> String, now: Time) {
        let Some(others) = self.count(now) else {
            return debug!("Bridge {}: faulty packet: {}", self.name, what());
        };
        let others = match others {
            0 => String::new(),
            n => format!(" {n} other packets like that since the last such line."),
        };
        warn!(
            "Bridge {}: upstream breaks the protocol: {}. The link stays up.{others}",
            self.name,
            what()
        );
    }

    /// Counts a faulty packet. If the log is to have a line: how many there were since the last one.
    fn count(&mut self, now: Time) -> Option<u64> {
        if now < self.tell_at {
            self.untold += 1;
            return None;
        }
        self.tell_at = now + TELL_EVERY;
        Some(std::mem::take(&mut self.untold))
    }
}

/// What a packet can only mean, if that is of use: an acknowledgement is one whatever is wrong with
/// the rest of it, and without it the link would be given up.
fn meant(faulty: &Faulty<'_>) -> Option<Packet<'static>> {
    let (kind, id) = (faulty.kind?, faulty.id);
    let refusal = faulty.reason.filter(|reason| reason.is_error());
    let ack = || Some(Ack::new(id?, refusal.unwrap_or(Reason::SUCCESS)));
    match kind {
        PacketType::PubAck => ack().map(Packet::PubAck),
        PacketType::PubRec => ack().map(Packet::PubRec),
        PacketType::PubRel => ack().map(Packet::PubRel),
        PacketType::PubComp => ack().map(Packet::PubComp),
        PacketType::SubAck => {
            let granted = |reason: &Reason| reason.is_error() || QoS::from_bits(reason.0).is_some();
            Some(Packet::SubAck(SubAck {
                id: id?,
                props: Props::EMPTY,
                reasons: faulty.reason.filter(granted).into_iter().collect(),
            }))
        }
        PacketType::UnsubAck => Some(Packet::UnsubAck(UnsubAck {
            id: id?,
            props: Props::EMPTY,
            reasons: refusal.into_iter().collect(),
        })),
        PacketType::PingReq => Some(Packet::PingReq),
        PacketType::PingResp => Some(Packet::PingResp),
        PacketType::Disconnect => Some(Packet::Disconnect(Disconnect {
            reason: faulty.reason.unwrap_or(Reason::SUCCESS),
            props: Props::EMPTY,
        })),
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::Auth => None,
    }
}

/// What the log says of a PUBLISH.
fn told(unusable: &Unusable<'_>, error: &mqtt::Error) -> String {
    let Faulty {
        topic, delivery, ..
    } = unusable.packet;
    let named = match topic {
        None => "without a topic".to_owned(),
        Some(topic) => format!("on topic \"{}\"", shown(topic)),
    };
    let done = match delivery {
        Some(delivery) if delivery.id().is_some() => "acknowledged and dropped",
        _ => "dropped",
    };
    format!("{error}: a message {named} is {done}")
}

/// The start of a topic, without what a terminal would obey.
fn shown(topic: &[u8]) -> String {
    let whole = match std::str::from_utf8(topic) {
        Ok(topic) => printable(topic).into_owned(),
        Err(_) => topic.escape_ascii().to_string(),
    };
    match whole.char_indices().nth(TOLD_CHARS) {
        Some((end, _)) => format!("{}...", whole.get(..end).unwrap_or_default()),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_one_line_a_minute_with_the_number_of_the_others() {
        let mut faults = Faults::new("b");
        let start = Time::from_secs(1000);
        let counted = [0, 1, 59, 60, 61, 119, 120, 500]
            .map(|secs| faults.count(start + Duration::from_secs(secs)));
        let expected = [Some(0), None, None, Some(2), None, None, Some(2), Some(0)];
        assert_eq!(counted, expected);
    }

    #[test]
    fn a_topic_is_told_in_one_line_without_what_a_terminal_obeys() {
        for (topic, expected) in [
            (&b"a/+"[..], "a/+"),
            ("Z\u{e4}hler/#".as_bytes(), "Z\u{e4}hler/#"),
            (b"a\n\x1b[2J\0", r"a\n\u{1b}[2J\u{0}"),
            (b"a\xff\n", r"a\xff\n"),
            (b"", ""),
        ] {
            assert_eq!(shown(topic), expected);
        }
        let long = "\u{e4}".repeat(60_000);
        let expected = format!("{}...", "\u{e4}".repeat(TOLD_CHARS));
        assert_eq!(shown(long.as_bytes()), expected);
    }
}
