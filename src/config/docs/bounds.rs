//! What peers can make grow, and what bounds it: the table of the man page.

/// One thing that peers can make grow.
pub(super) struct Bound {
    /// What grows.
    pub what: &'static str,
    /// The directives that bound it, whose defaults hold.
    pub directives: &'static [&'static str],
    /// What happens at the bound.
    pub then: &'static str,
    /// How it is seen, beside the log: topics below `$SYS/broker`.
    pub seen: &'static str,
}

pub(super) const BOUNDS: &[Bound] = &[
    Bound {
        what: "memory, all of it",
        directives: &["memory_limit"],
        then: "A client's filters take an eighth. At three quarters large wills, more than a few new \
               subscriptions of a client and new retained values are refused; at nine tenths all that \
               is new, and whoever holds most is disconnected or its session ended.",
        seen: "memory/counted, memory/refused, memory/closed, memory/part/+",
    },
    Bound {
        what: "connections",
        directives: &[
            "max_connections",
            "global_max_connections",
            "max_connections_per_address",
        ],
        then: "One more is closed as soon as it is accepted. The last descriptors are kept back for \
               bridges, the store and the log.",
        seen: "connections/turned_away",
    },
    Bound {
        what: "connections without a CONNECT",
        directives: &["max_connecting", "max_connecting_per_address"],
        then: "The oldest of the address that has most of them is closed.",
        seen: "connections/turned_away",
    },
    Bound {
        what: "connections whose peer is gone",
        directives: &["max_keepalive", "tcp_keepalive"],
        then: "They are closed.",
        seen: "clients/connected",
    },
    Bound {
        what: "logins that wait for their password to be checked, or for auth_socket",
        directives: &["max_waiting_logins", "max_waiting_logins_per_address"],
        then: "One more is refused: server busy.",
        seen: "connections/logging_in, connections/refused",
    },
    Bound {
        what: "logins that fail",
        directives: &["login_failures"],
        then: "More are refused for a while without a look at the password.",
        seen: "connections/locked_out",
    },
    Bound {
        what: "packets, also in half",
        directives: &["max_packet_size", "message_size_limit", "memory_limit"],
        then: "A larger packet ends its connection; a larger payload is not passed on. Half packets \
               together take a quarter of memory_limit.",
        seen: "memory/part/half_packets",
    },
    Bound {
        what: "client ids",
        directives: &["max_clientid_length"],
        then: "The CONNECT is refused, but not of a client that has a session.",
        seen: "connections/refused",
    },
    Bound {
        what: "sessions, and how long they last",
        directives: &["global_max_clients", "persistent_client_expiration"],
        then: "One more is refused; one that has been left alone so long is forgotten with its queue.",
        seen: "clients/total, clients/expired",
    },
    Bound {
        what: "subscriptions",
        directives: &[
            "max_subscriptions",
            "max_subscription_levels",
            "max_topic_levels",
            "max_filters_per_packet",
            "max_shared_subscriptions",
        ],
        then: "A filter beyond is refused. All filters together take half of memory_limit.",
        seen: "subscriptions/count, memory/part/filters",
    },
    Bound {
        what: "queues",
        directives: &["max_queued_bytes", "max_queued_messages", "queue_overflow"],
        then: "queue_overflow says what is dropped, or that the message is refused. In memory a queue \
               takes a quarter of memory_limit at most.",
        seen: "publish/messages/dropped, and for each client how many, why and since when",
    },
    Bound {
        what: "messages under way to a client",
        directives: &["max_inflight_messages", "max_inflight_bytes"],
        then: "The others wait in the queue.",
        seen: "",
    },
    Bound {
        what: "open packet ids of QoS 2",
        directives: &["max_inflight_messages"],
        then: "MQTT 5 is told the bound, and a client that goes beyond is disconnected. Before MQTT 5 \
               1,000 more may be open; then the oldest is forgotten.",
        seen: "",
    },
    Bound {
        what: "retained messages",
        directives: &[
            "max_retained_bytes",
            "max_retained_messages",
            "memory_limit",
        ],
        then: "At the bound of a client, or at half of memory_limit for all together, a new one is \
               delivered and not retained; MQTT 5 is told (0x97).",
        seen: "retained messages/count, retained messages/refused, memory/part/retained",
    },
    Bound {
        what: "topic aliases",
        directives: &["max_topic_alias"],
        then: "A higher one ends the connection.",
        seen: "",
    },
    Bound {
        what: "dead letters of a bridge",
        directives: &["max_dead_letters", "max_dead_letter_bytes"],
        then: "The oldest are dropped.",
        seen: "publish/messages/dropped",
    },
    Bound {
        what: "what is written to flash",
        directives: &["flash_budget"],
        then: "Commits become rarer, and acknowledgements wait for them.",
        seen: "store/written/today",
    },
    Bound {
        what: "a turn of the one thread",
        directives: &[],
        then: "Each connection has a share of it, and goes on in the next.",
        seen: "turn/1min/longest_us, turn/1min/cause",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::docs;

    /// A directive whose description says that there are so many, or so much, at most, has a line here.
    #[test]
    fn each_directive_is_implemented_and_each_bound_is_here() {
        let listed: Vec<&str> = BOUNDS.iter().flat_map(|b| b.directives).copied().collect();
        for name in &listed {
            assert_eq!(docs::class(name), Some("implemented"), "{name}");
        }
        let bounds = docs::directives().filter(|directive| {
            let name = directive.name;
            directive.class == "implemented"
                && directive.below.is_empty()
                && (name.starts_with("max_") || name.starts_with("global_max_"))
        });
        for directive in bounds {
            assert!(listed.contains(&directive.name), "{}", directive.name);
        }
    }
}
