//! Bridges.

mod lines;
pub(super) mod password;
mod rings;
pub(super) mod start;
pub(super) mod tls;
pub(super) mod way;

use std::time::Duration;

use super::key::Section::Bridge as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, implemented};
use super::limits::packet_bound;
use super::restart::restart;
use crate::config::draft::Draft;
use crate::config::value::Value;
use crate::config::{Kind, Proxy};
use crate::mqtt::{TopicName, Version};
use lines::{addresses, topic};

/// The shortest keep-alive, as in Mosquitto.
const MIN_KEEPALIVE: u16 = 5;

const VERSIONS: &str = "mqttv50, mqttv311 or mqttv31";

/// A [`super::key::Parse`] that sets one field of `Bridge`.
macro_rules! bridge {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.bridge()?.bridge.$field = $parsed;
            Ok(())
        }
    };
}

/// A [`super::key::Parse`] that sets one field of the draft of a bridge.
macro_rules! drafted {
    ($field:ident, $value:ident => $parsed:expr) => {
        |draft, $value| {
            draft.bridge()?.$field = $parsed;
            Ok(())
        }
    };
}

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "connection",
        "NAME",
        Means("no bridge"),
        "Starts a bridge; the bridge directives below are for it.",
        rings::CONNECTION,
        |draft, v| draft.open_bridge(&Value(v.word("one name")?).string()?),
    ),
    implemented(
        S,
        "address",
        "HOST[:PORT] or ws[s]://HOST[:PORT][/PATH]...",
        Means("required"),
        "Where the upstream broker is; the port is 1883 if not given.",
        "As a URL it is MQTT over WebSocket, for networks that let nothing else out: ws:// without TLS, its \
         port 80 if not given, and wss:// with TLS, its port 443. What stands behind the host is the \
         path, such as /mqtt, and may have a query, which the log leaves out; without one it is /. The CAs \
         of wss:// are those of bridge_cafile, bridge_capath or bridge_tls_use_os_certs, and those of \
         the system if none is set. Mosquitto has no such addresses. An IPv6 address stands in brackets, that of a link with its interface: \
         [fe80::1%eth0]:1883. A number behind a blank is read as the port of the host \
         before it, and the log says so. More than one may be given, on one line or several: \
         see round_robin. They may be of different kinds. The nodes of a cluster are a list of addresses: \
         a session that the next one knows, too, is resumed there.",
        addresses,
    ),
    implemented(
        S,
        "addresses",
        "HOST[:PORT] or ws[s]://HOST[:PORT][/PATH]...",
        Means("required"),
        "The same as address.",
        "",
        addresses,
    ),
    implemented(
        S,
        "bridge_proxy",
        "http://[USER:PASSWORD@]HOST:PORT",
        Means("none"),
        "A proxy of HTTP that all addresses are reached through, by CONNECT.",
        "It looks their names up. Many let only port 443 through, as of wss://. In user name and password \
         what a URL can't have is percent-encoded, as %40 for @. Neither is ever in the log. footbridge's own.",
        bridge!(proxy, v => Some(Proxy::parse(v.word(Proxy::FORM)?)?)),
    ),
    implemented(
        S,
        "topic",
        "PATTERN [[[out|in|both] QOS] LOCAL REMOTE] [high|low] [NAME=VALUE...]",
        Means("required"),
        "Which topics the bridge carries, and which way; may be given up to 32,767 times.",
        "Without a direction out, without a QoS 0. LOCAL and REMOTE are prefixes; \"\" stands for \
         an empty one, for an empty pattern too, and then the prefixes are the two whole topics. \
         A topic without the prefix is not mapped: with `topic # both 0 site/ plant/` the topic \
         site stays here, though site/# matches it; Mosquitto merges it with site/site. \
         {1} to {9}, each a level of its own, are captures, which Mosquitto has not: a level that \
         may be anything, as with +, whose text goes where the same number stands on the other \
         side. A prefix with captures is the whole topic on its side, and no pattern is added: \
         `topic site/{1}/temp out 1 \"\" cloud/{1}/t` takes site/7/temp up as cloud/7/t, with in \
         cloud/7/t comes in as site/7/temp, and with both either does. Where both prefixes have \
         them the pattern is \"\": `topic \"\" both 1 a/{1}/{2} b/{2}/{1}`. A number that one way \
         needs must be on the side that the message comes from; one that is only there is left \
         out. # may end both sides, and the levels that it stands for are kept; + is not for such \
         a line. \
         Where several lines take a topic, the first with a prefix or captures carries it, or else the first; \
         once, with the QoS and the options of that line. What waits stays with its line when the \
         lines are put in another order, or others are added or taken out. If the QoS of its line is \
         changed, it is sent at the new one, but no higher than it was published, and what was queued at \
         QoS 0 stays there; what was sent at QoS 2 before and goes again at QoS 1 may come twice. \
         high and low are RSMB's: what goes out by a line with low is sent while nothing of the bridge's \
         other lines waits that could be, so bulk data can't delay the rest on a slow link, and waits as \
         long as they keep the link busy; its order within the line stays. high is the same as nothing. \
         What is sent at QoS 0 without having been queued waits for nothing, here as elsewhere. A line \
         in the form of RSMB, with the prefixes right behind the direction, is carried at up to \
         QoS 2; Mosquitto takes the first of them for QoS 0, and the log tells both. Options for what goes out: max_queued_messages=COUNT and max_queued_bytes=BYTES \
         bound what waits of this mapping alone, overflow=refuse, oldest, newest or \
         latest-per-topic is its own queue_overflow, ttl=DURATION drops messages that are older \
         before they are sent, and qos0=keep queues what is published at QoS 0 as well and sends it \
         at the QoS of the line, which must be 1 or 2: for devices that know no other QoS. Without \
         it, and without queue_qos0_messages, what is published at QoS 0 while the uplink is down \
         is dropped and counted.",
        topic,
    ),
    implemented(
        S,
        "bridge_attempt_unsubscribe",
        "true|false",
        Is("true"),
        "Whether topics that no longer come in are unsubscribed upstream.",
        "Only those that the upstream still has in the bridge's session and has acknowledged to \
         this broker, which the store remembers; Mosquitto unsubscribes whatever goes out. At \
         ejabberd an UNSUBSCRIBE for what a session does not have takes it from all other clients.",
        bridge!(attempt_unsubscribe, v => v.flag()?),
    ),
    implemented(
        S,
        "bridge_max_inflight_qos2",
        "COUNT",
        Means("20 before MQTT 5, where an upstream does not say what it takes"),
        "How many QoS 2 messages may be on their way upstream, from PUBLISH to PUBCOMP; 0 is no limit.",
        "Mosquitto completes the handshake of what a client of MQTT 3.1.1 sends beyond its 20, and \
         drops it. max_inflight_messages holds too.",
        bridge!(max_inflight_qos2, v => Some(v.number(0..=u16::MAX)?)),
    ),
    implemented(
        S,
        "bridge_max_packet_size",
        "BYTES",
        Is("0"),
        "The largest packet to send upstream, at least 20 bytes; 0 is no limit but the upstream's own.",
        "An upstream of MQTT 5 is told that none larger may come from there either. A message that \
         comes all the same is acknowledged, dropped and counted.",
        bridge!(max_packet_size, v => packet_bound(v)?),
    ),
    implemented(
        S,
        "bridge_max_topic_alias",
        "COUNT",
        Means("none"),
        "How many topic aliases the upstream may use (MQTT 5).",
        "A message that comes by another one is acknowledged, dropped and counted, unless it has its \
         topic beside it.",
        bridge!(max_topic_alias, v => Some(v.number(0..=u16::MAX)?)),
    ),
    implemented(
        S,
        "bridge_outgoing_topic_alias",
        "COUNT",
        Is("32"),
        "How many topic aliases to set for an upstream that takes as many (MQTT 5).",
        "0 is for an upstream whose other clients suffer from them: rumqttd 0.20 passes them on to \
         its clients of 3.1.1.",
        bridge!(outgoing_topic_alias, v => v.number(0..=u16::MAX)?),
    ),
    implemented(
        S,
        "bridge_outgoing_retain",
        "true|false",
        Is("true"),
        "Whether messages go upstream with their retain flag.",
        "With true, each connect brings the upstream up to date with what is retained here.",
        bridge!(outgoing_retain, v => v.flag()?),
    ),
    implemented(
        S,
        "bridge_protocol_version",
        "mqttv50|mqttv311|mqttv31",
        Means("MQTT 5, and 3.1.1 with an upstream that refuses it"),
        "The version of MQTT to speak with the upstream.",
        "",
        bridge!(version, v => Some(version(v)?)),
    ),
    implemented(
        S,
        "bridge_receive_maximum",
        "COUNT",
        Means("20"),
        "How many QoS 1 and 2 messages the upstream may have on their way here (MQTT 5).",
        "",
        bridge!(receive_maximum, v => Some(v.number(1..=u16::MAX)?)),
    ),
    implemented(
        S,
        "bridge_session_expiry_interval",
        "SECONDS",
        Means("604800, a week; with cleansession the protocol's 0"),
        "How long the upstream keeps the bridge's session (MQTT 5).",
        "4294967295 is for ever. With 0 the upstream forgets the session at every disconnect: what \
         is published there for the topics that come in is lost while the bridge is away. \
         Mosquitto asks for 0 where bridge_protocol_version is mqttv50.",
        bridge!(session_expiry, v => Some(v.number(0..=u32::MAX)?)),
    ),
    implemented(
        S,
        "cleansession",
        "true|false",
        Is("false"),
        "Whether the upstream forgets the bridge's session when it disconnects.",
        "With true, all messages that are retained here and that a topic line maps go up at each \
         connect, as with Mosquitto; with false, those that the upstream may not have.",
        bridge!(clean_session, v => v.flag()?),
    ),
    implemented(
        S,
        "local_cleansession",
        "true|false",
        Means("as cleansession"),
        "Whether the bridge's queue here is dropped when it disconnects.",
        "With true nothing is queued here while the uplink is down, and what was under way is dropped with the \
         connection; with false what is published at QoS 1 and 2 waits. cleansession decides the same for what is \
         published upstream: with true the upstream forgets the subscriptions and what waits, with false it keeps \
         both, from the first connection on. Each of the four combinations holds for its direction alone, as in \
         Mosquitto.",
        drafted!(local_clean_session, v => Some(v.flag()?)),
    ),
    implemented(
        S,
        "keepalive_interval",
        "SECONDS",
        Is("60"),
        "The keep-alive towards the upstream, at least 5 seconds.",
        "An upstream that takes nothing for so long is given up, and one that does not acknowledge a message \
         for so long after it has taken it. A message may take longer on a slow link: what moves counts as \
         life.",
        keepalive,
    ),
    implemented(
        S,
        "local_clientid",
        "ID",
        Means("local. and remote_clientid"),
        "The client id of the bridge here.",
        "",
        drafted!(local_clientid, v => Some(v.string()?)),
    ),
    implemented(
        S,
        "local_username",
        "NAME",
        Means("none"),
        "The user name of the bridge here.",
        "Access rules don't apply to bridges, as measured with Mosquitto 2.0.11, whatever its manual says, so the \
         name has no effect, and the log says so, until \
         the bridge is removed: check_retain_source then asks whether that user may publish what \
         the bridge has left.",
        |draft, v| {
            draft.bridge()?.bridge.local_username = Some(v.string()?);
            draft.note(
                "local_username",
                "access rules don't apply to bridges: it has no effect",
            );
            Ok(())
        },
    ),
    implemented(
        S,
        "notifications",
        "true|false",
        Is("true"),
        "Whether the state of the bridge is published, here and upstream, as 1 or 0.",
        "",
        bridge!(notifications, v => v.flag()?),
    ),
    implemented(
        S,
        "notifications_local_only",
        "true|false",
        Is("false"),
        "Whether the state of the bridge is published here only.",
        "",
        bridge!(notifications_local_only, v => v.flag()?),
    ),
    implemented(
        S,
        "notification_topic",
        "TOPIC",
        Means("$SYS/broker/connection/REMOTE-CLIENTID/state"),
        "The topic for the state of the bridge.",
        "",
        bridge!(notification_topic, v => Some(topic_name(v)?)),
    ),
    implemented(
        S,
        "remote_clientid",
        "ID",
        Means("HOSTNAME.NAME"),
        "The client id towards the upstream.",
        "Two clients with one id disconnect each other. Where many boxes have one host name, as they \
         come from the factory, `${hostname}-${mac}` tells them apart.",
        drafted!(remote_clientid, v => Some(v.string()?)),
    ),
    implemented(
        S,
        "clientid",
        "ID",
        Means("HOSTNAME.NAME"),
        "The old name of remote_clientid.",
        "",
        drafted!(remote_clientid, v => Some(v.string()?)),
    ),
    implemented(
        S,
        "remote_username",
        "NAME",
        Means("none"),
        "The user name towards the upstream.",
        "",
        bridge!(remote_username, v => Some(v.string()?)),
    ),
    implemented(
        S,
        "username",
        "NAME",
        Means("none"),
        "The old name of remote_username.",
        "",
        bridge!(remote_username, v => Some(v.string()?)),
    ),
    implemented(
        S,
        "remote_password",
        "TEXT",
        Means("none"),
        "The password towards the upstream; needs remote_username.",
        "",
        bridge!(remote_password, v => Some(v.binary()?)),
    ),
    implemented(
        S,
        "password",
        "TEXT",
        Means("none"),
        "The old name of remote_password.",
        "",
        bridge!(remote_password, v => Some(v.binary()?)),
    ),
    implemented(
        S,
        "restart_timeout",
        "BASE [CAP [STABLE]]",
        Is("5 30"),
        "How long to wait before connecting again.",
        "One number: always that many seconds. Two: a random wait that grows from BASE to CAP. \
         STABLE is how long a connection must hold before the wait starts over at BASE; without \
         it, as long as CAP.",
        bridge!(restart, v => restart(v)?),
    ),
    implemented(
        S,
        "bridge_reload_type",
        "lazy|immediate",
        Is("lazy"),
        "When a change of the bridge takes effect on SIGHUP.",
        "lazy: a connection that is up stays until it ends by itself. immediate: it is ended, and \
         made anew. The queue stays in either case. Another local_clientid is taken at once, and the \
         queue goes along. What no topic line takes in any more is unsubscribed at the next connection. A \
         bridge without changes is left alone.",
        bridge!(reload_immediate, v => match v.word("lazy or immediate")? {
            "lazy" => false,
            "immediate" => true,
            other => return Err(Kind::bad(other, "lazy or immediate")),
        }),
    ),
    implemented(
        S,
        "round_robin",
        "true|false",
        Is("false"),
        "Whether all addresses are equal; else the first is the primary, the rest stand by.",
        "Addresses are tried in a row, without a wait in between; restart_timeout comes after the last. While \
         others wait, an attempt takes 10 s at most, unless a whole row has failed: then the line may be \
         slow, and each gets up to 10 s for the connection and 20 s for the CONNACK, as does an address that has \
         needed that much before. A connection that was \
         lost after 10 s or more begins a row at once: at its own address if it was cut, at the next one \
         if the upstream is silent or shuts down, or if all are equal. One that was lost sooner counts as an attempt \
         that failed. If one after the other is lost within a minute (or restart_timeout's longest time, if \
         that is more, but 5 minutes at most), restart_timeout comes before each row but the first. With several addresses a silent upstream is noticed within keepalive_interval, \
         if that is 20 s or more; PINGREQ comes up to 15 s earlier for that, but not before half of it. \
         While another address than the primary serves, the primary is probed on a second connection, after \
         restart_timeout's shortest time first, then after twice as long each time, up to 5 minutes; \
         a probe in vain costs some 300 bytes, and with TLS that is answered some 5 KB. \
         Once the primary has accepted a CONNECT there, the bridge waits up to 5 s for what is under way, says DISCONNECT, \
         and goes back. The probe has the client id of the bridge with -probe behind it, the same \
         login, no session and no will: allow it at an upstream that knows its clients by their ids, as AWS IoT \
         and Azure do. Where the probe is refused for its client id or login, the bridge \
         goes to the primary all the same, and where it is closed on, after an hour; if that was in vain, it tries this again \
         after an hour, then after twice as long, up to a day. Mosquitto goes back to any port that takes TCP.",
        bridge!(round_robin, v => v.flag()?),
    ),
    implemented(
        S,
        "try_private",
        "true|false",
        Is("true"),
        "Whether to tell the upstream that this is a bridge, if it understands (MQTT 3.1.1).",
        "",
        bridge!(try_private, v => v.flag()?),
    ),
];

/// `bridge_protocol_version`.
fn version(value: Value<'_>) -> Result<Version, Kind> {
    match value.word(VERSIONS)? {
        "mqttv31" => Ok(Version::V31),
        "mqttv311" => Ok(Version::V311),
        "mqttv50" => Ok(Version::V5),
        other => Err(Kind::bad(other, VERSIONS)),
    }
}

/// `keepalive_interval`: too low is raised, as in Mosquitto.
fn keepalive(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let mut seconds: u16 = value.number(0..=u16::MAX)?;
    if seconds < MIN_KEEPALIVE {
        seconds = MIN_KEEPALIVE;
        draft.note("keepalive_interval", "too low, 5 seconds instead");
    }
    draft.bridge()?.bridge.keepalive = Duration::from_secs(seconds.into());
    Ok(())
}

/// A topic without wildcards.
fn topic_name(value: Value<'_>) -> Result<String, Kind> {
    let name = value.text()?;
    if TopicName::new(name).is_ok() {
        Ok(name.to_owned())
    } else {
        Err(Kind::bad(name, "a topic without wildcards"))
    }
}

#[cfg(test)]
mod tests;
