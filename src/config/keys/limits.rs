//! What each client may take.

pub(super) mod doors;

use super::key::Section::General as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, set};
use crate::config::Kind;
use crate::config::topic;
use crate::config::value::Value;

/// The smallest packet limit that leaves a client able to work.
const MIN_PACKET: u64 = 20;

/// The least `memory_limit`: beside `$SYS`, which takes 20 KB, a few clients get in, subscribe and are sent
/// what comes; and the largest packet, a quarter of it, is not too small for most.
const MIN_MEMORY: u64 = 64 << 10;

/// What `max_queued_bytes` counts for a message's entry in a queue.
const ENTRY: u64 = 64;

/// The largest remaining length, which bounds every payload (5.0 §1.5.5).
const MAX_PAYLOAD: u64 = 268_435_455;

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "global_max_clients",
        "COUNT",
        Is("-1"),
        "How many clients may have a session, connected or not; -1 is no limit.",
        "A client that would need one more is refused: MQTT 5 is told 0x89, server busy.",
        set!(global_max_clients, v => count(v)?),
    ),
    implemented(
        S,
        "global_max_connections",
        "COUNT",
        Is("-1"),
        "How many clients may be connected to all listeners together; -1 is no limit.",
        "One more is closed as soon as it is accepted.",
        set!(global_max_connections, v => count(v)?),
    ),
    implemented(
        S,
        "max_dead_letter_bytes",
        "BYTES",
        Is("1M"),
        "How many bytes of dead letters are kept for each bridge; 0 is no limit.",
        "See max_dead_letters.",
        set!(max_dead_letter_bytes, v => v.size(u64::MAX)?),
    ),
    implemented(
        S,
        "max_dead_letters",
        "COUNT",
        Is("1000"),
        "How many dead letters are kept for each bridge; 0 is no limit.",
        "A message that the upstream of a bridge will never take, as it says or by its size, and one \
         whose topic line is no longer in the configuration, is set aside on disk, out of the way and \
         out of the bounds of the queue. What the configuration \
         maps is sent again at the next start, at SIGHUP and when the bridge changes. When there \
         are more, the oldest are dropped.",
        set!(max_dead_letters, v => v.number(0..=u64::MAX)?),
    ),
    implemented(
        S,
        "max_inflight_bytes",
        "BYTES",
        Is("0"),
        "How many bytes of QoS 1 and 2 may be on their way to a client; 0 is no limit.",
        "No more is sent once the payloads that the client has not acknowledged reach it, so one \
         message may always go, however large. The count of max_inflight_messages holds too.",
        set!(max_inflight_bytes, v => v.size(u64::MAX)?),
    ),
    implemented(
        S,
        "max_inflight_messages",
        "COUNT",
        Means("20, and up to 1000 towards an upstream of MQTT 5"),
        "How many QoS 1 and 2 messages may be on their way to a client; 0 is no limit.",
        "With 1, messages arrive in order whatever happens. So many a client may send at a time, which \
         MQTT 5 tells it; and so many packet ids of QoS 2 messages without a PUBREL are kept for it, \
         before MQTT 5 another 1000, as Mosquitto would queue: beyond that the oldest are forgotten. \
         It holds towards the upstreams of bridges, too. Left unsaid, an upstream of MQTT 5 gets 100, and up \
         to 1000 where the delay of the link asks for it; never more than its receive maximum, which is 20 \
         for a Mosquitto. A link with a delay of 600 ms each way carries 16 messages a second with 20, and \
         the log says so once a connection.",
        set!(max_inflight_messages, v => Some(v.number(0..=u16::MAX)?)),
    ),
    implemented(
        S,
        "max_keepalive",
        "SECONDS",
        Is("0"),
        "The longest keep-alive; 0 is no limit.",
        "A client that asks for a longer one, or for none, is told this one in MQTT 5 and refused \
         before (return code 2).",
        set!(max_keepalive, v => v.number(0..=u16::MAX)?),
    ),
    implemented(
        S,
        "max_packet_size",
        "BYTES",
        Means("the protocol's limit, 256 MB"),
        "The largest packet a client may send, at least 20 bytes.",
        "A client that sends a larger one is disconnected; MQTT 5 clients are told. Of the upstream \
         of a bridge a larger message, or one larger than a quarter of memory_limit, is acknowledged, dropped \
         and counted, unless bridge_max_packet_size says otherwise. Mosquitto 2.1's default is 2000000.",
        set!(max_packet_size, v => Some(packet_size(v)?)),
    ),
    implemented(
        S,
        "max_queued_bytes",
        "BYTES",
        Is("256M"),
        "How many bytes of messages wait for one client; 0 is no limit.",
        "Unlike Mosquitto's default of no limit. Counted is all that the client is owed and has not \
         acknowledged, with 64 bytes for each message's entry in the queue, whether it lies on disk (a client with a session) or in memory (a connected one \
         without). A reader that keeps up is sent what fits its window (max_inflight_messages) whatever \
         the bound. In memory a queue stays small while three quarters of memory_limit are taken.",
        |draft, v| {
            draft.general.max_queued_bytes = v.size(u64::MAX)?;
            if (1..=ENTRY).contains(&draft.general.max_queued_bytes) {
                draft.note(
                    "max_queued_bytes",
                    "no message fits, whose entry alone takes 64 bytes",
                );
            }
            Ok(())
        },
    ),
    implemented(
        S,
        "max_queued_messages",
        "COUNT",
        Is("0"),
        "How many messages wait for one client; 0 is no limit.",
        "Unlike Mosquitto's default of 1000: here the bound in bytes rules. Counted as for \
         max_queued_bytes.",
        set!(max_queued_messages, v => v.number(0..=u64::MAX)?),
    ),
    implemented(
        S,
        "max_retained_bytes",
        "BYTES",
        Means("a quarter of memory_limit"),
        "How much memory the retained messages of one client may take; 0 is no limit.",
        "Counted are those that it was the last to set, each with its topic and about 200 bytes for what \
         keeps it, whether it is connected or not, and over restarts. At the bound a message on a topic \
         that retains nothing yet, or less, is delivered and not retained, which at QoS 1 and 2 MQTT 5 \
         publishers are told by 0x97, while older ones are acknowledged; the log names the client, and \
         $SYS/broker/retained messages/refused counts. What replaces a value that is no smaller, or has up \
         to 128 bytes, is retained always, so no value gets stale. What the upstream of a bridge retains \
         here is the bridge's. All clients together may take half of memory_limit. footbridge's own.",
        set!(max_retained_bytes, v => Some(v.size(u64::MAX)?)),
    ),
    implemented(
        S,
        "max_retained_messages",
        "COUNT",
        Is("0"),
        "How many retained messages one client may have; 0 is no limit.",
        "See max_retained_bytes, which counts what each takes beside its payload, too. footbridge's own.",
        set!(max_retained_messages, v => v.number(0..=u64::MAX)?),
    ),
    implemented(
        S,
        "max_subscription_levels",
        "COUNT",
        Is("50000"),
        "How many levels all topic filters of a client may have together; 0 is no limit.",
        "Each level takes up to about 100 bytes. A filter that would bring more is refused: MQTT 5 clients \
         are told 0x97, quota exceeded, older ones 0x80. The filters of all clients together may take \
         half of memory_limit.",
        set!(max_subscription_levels, v => v.number(0..=u32::MAX)?),
    ),
    implemented(
        S,
        "max_subscriptions",
        "COUNT",
        Is("10000"),
        "How many topic filters a client may be subscribed to; 0 is no limit.",
        "One more is refused, and so is what stands behind as many in one SUBSCRIBE: MQTT 5 clients are \
         told 0x97, quota exceeded, older ones 0x80. Of shared \
         subscriptions a client may have fewer: 1000.",
        set!(max_subscriptions, v => v.number(0..=u32::MAX)?),
    ),
    implemented(
        S,
        "max_topic_levels",
        "COUNT",
        Is("32"),
        "How many levels a topic filter may have, 1 to 201.",
        "A deeper one is refused: MQTT 5 clients are told 0x8F, topic filter invalid, older ones 0x80. \
         Mosquitto takes up to 201 levels, and so does footbridge in the topics of messages; who sends \
         a topic or a filter with more is disconnected.",
        set!(max_topic_levels, v => v.number(1..=201u8)?),
    ),
    implemented(
        S,
        "memory_limit",
        "BYTES",
        Means(
            "a quarter of the machine's memory, or of what a control group that it runs in may take",
        ),
        "How much memory all that peers can make grow may take, at least 64K; 0 is no limit.",
        "Counted are messages in memory, once however many wait for them (retained values, wills, what \
         waits for a commit or for a client that is connected), with what keeps them; entries of queues; \
         connections, their output, half packets and topic aliases; sessions and their subscriptions; and \
         without persistence the store. Not counted is the program itself. $SYS/broker/memory and \
         footbridge status tell it by part. Retained values may take half of it, half packets a quarter (so \
         no packet is larger), a queue in memory a quarter, the subscriptions of a client an eighth. At \
         three quarters a client that comes back still gets in, with the first 4 KB of filters (a filter \
         of three levels takes about half a KB); but new sessions with long names or a will above 1 KB \
         get reason 0x88 (return code 3), except from the box itself; more subscriptions 0x97 (0x80 \
         before MQTT 5); a message on a topic that retains nothing yet, or less, is delivered and not \
         retained, which at QoS 1 and 2 MQTT 5 publishers are told by 0x97, while older ones are \
         acknowledged (the log tells once an hour, $SYS/broker/memory/refused counts); queues in memory (those of connected clients without a \
         session, and without persistence all) stay small, and queue_overflow says what goes. At nine \
         tenths no new session or subscription comes in, and those who hold most are disconnected, one \
         after the other, by name in the log; if it is the session of a client that holds most (its \
         subscriptions, its will), that ends too, be the client connected or not. Deletes and \
         acknowledgements always go, and what a session that stays is owed on disk stays.",
        set!(memory_limit, v => Some(memory(v)?)),
    ),
    implemented(
        S,
        "message_size_limit",
        "BYTES",
        Means("the protocol's limit"),
        "The largest payload; larger messages are not passed on.",
        "MQTT 5 publishers are told (QoS 1 and 2, reason 0x83); older ones get the acknowledgement \
         all the same. 0 is the protocol's limit.",
        set!(message_size_limit, v => bound(v.size(MAX_PAYLOAD)?)),
    ),
    implemented(
        S,
        "queue_overflow",
        "refuse|oldest|newest|latest-per-topic",
        Is("oldest"),
        "What happens to a message that meets a full queue.",
        "oldest: the oldest messages are dropped. newest: the new one is dropped. \
         latest-per-topic: of each topic only the newest message stays; where that is not \
         enough, the oldest go. What was sent and is not acknowledged is never dropped, and \
         every drop is counted in $SYS and told in the log. refuse: the publisher is not acknowledged: \
         MQTT 5 publishers get reason 0x97; for older ones the acknowledgement waits until there is \
         room, while those of other messages go on. Receivers that have room get the message at once \
         all the same, so they get it once more each time its publisher sends it again, at QoS 2 \
         too. It is told in \
         the log, at once and at intervals. Queues of clean sessions take latest-per-topic for \
         oldest, and refuse for newest. What has expired is dropped before a message is refused or \
         another one dropped.",
        set!(queue_overflow, v => topic::overflow(v)?),
    ),
    implemented(
        S,
        "queue_qos0_messages",
        "true|false",
        Is("false"),
        "Whether QoS 0 messages too wait for absent clients with a session.",
        "",
        set!(queue_qos0_messages, v => v.flag()?),
    ),
    implemented(
        S,
        "set_tcp_nodelay",
        "true|false",
        Is("true"),
        "Whether small packets leave at once (TCP_NODELAY).",
        "Unlike Mosquitto's default of false: packets are gathered before they are written.",
        set!(set_tcp_nodelay, v => v.flag()?),
    ),
    accepted(
        S,
        "packet_buffer_size",
        "BYTES",
        "all connections are read through one buffer",
    ),
];

/// A number of clients; a number below 1 is no limit, as in Mosquitto.
pub(super) fn count(value: Value<'_>) -> Result<Option<u32>, Kind> {
    let count = value.number(-1..=i64::from(u32::MAX))?;
    Ok(u32::try_from(count).ok().filter(|&count| count > 0))
}

/// `memory_limit`.
fn memory(value: Value<'_>) -> Result<u64, Kind> {
    match value.size(u64::MAX)? {
        0 => Ok(0),
        size if size >= MIN_MEMORY => Ok(size),
        _ => Err(Kind::bad(value.0, "at least 64K, or 0 for no limit")),
    }
}

/// `max_packet_size`.
fn packet_size(value: Value<'_>) -> Result<u32, Kind> {
    let size = value.size(u64::from(u32::MAX))?;
    match u32::try_from(size) {
        Ok(bytes) if size >= MIN_PACKET => Ok(bytes),
        _ => Err(Kind::bad(value.0, "at least 20 bytes")),
    }
}

/// `bridge_max_packet_size`.
pub(super) fn packet_bound(value: Value<'_>) -> Result<Option<u32>, Kind> {
    match value.size(u64::from(u32::MAX))? {
        0 => Ok(None),
        _ => packet_size(value).map(Some),
    }
}

/// A size that fits in 32 bits, where 0 is no limit.
fn bound(size: u64) -> Option<u32> {
    u32::try_from(size).ok().filter(|&size| size > 0)
}
