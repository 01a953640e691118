//! Directives of bridges that this version does not implement.

use super::key::Key;
use super::key::Section::Bridge as S;
use super::key::{accepted, later};

/// What a bridge of this version doesn't do.
pub(super) const NOT_IMPLEMENTED: &[Key] = &[
    later(
        S,
        "bridge_bind_address",
        "ADDRESS",
        &[],
        "The local address to connect from.",
        "remove it: the routing table chooses",
    ),
    later(
        S,
        "bridge_tcp_keepalive",
        "IDLE INTERVAL COUNTER",
        &[],
        "TCP's own keep-alive.",
        "remove it, and shorten keepalive_interval",
    ),
    later(
        S,
        "bridge_tcp_user_timeout",
        "MILLISECONDS",
        &[],
        "How long TCP waits for an acknowledgement.",
        "remove it, and shorten keepalive_interval",
    ),
    later(
        S,
        "idle_timeout",
        "SECONDS",
        &["60"],
        "When a lazy bridge disconnects.",
        "remove it: the bridge stays connected",
    ),
    accepted(
        S,
        "local_password",
        "TEXT",
        "the bridge is part of the broker and needs no password here",
    ),
    later(
        S,
        "start_type",
        "automatic|lazy|once|manual",
        &["automatic"],
        "When the bridge connects.",
        "remove it: the bridge is always connected",
    ),
    later(
        S,
        "threshold",
        "COUNT",
        &["10"],
        "How many messages make a lazy bridge connect.",
        "remove it: the bridge is always connected",
    ),
];
