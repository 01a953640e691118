//! Who may do what, and the process.

pub(super) mod auth_socket;
pub(super) mod control;
pub(super) mod plugins;

use super::key::Section::General as S;
use super::key::Unset::{Is, Means};
use super::key::{Key, accepted, implemented, later, refused, set, set_security};
use crate::config::Kind;
use crate::config::draft::Draft;
use crate::config::value::Value;

const NO_PSK: &str = "footbridge has no pre-shared-key TLS";
const USE_CERTIFICATES: &str = "use certificates";

pub(super) const KEYS: &[Key] = &[
    implemented(
        S,
        "acl_file",
        "FILE",
        Means("every client may use every topic"),
        "The file that says who may publish to and read which topics.",
        "Lines are `topic [read|write|readwrite|deny] TOPIC`, which above the first `user NAME` \
         is for clients without a user name and below it for that user, and \
         `pattern [read|write|readwrite|deny] TOPIC`, which is for everyone, with %u for the user \
         name and %c for the client id. A name with /, + or # in it gets nothing by such a line, as it \
         would reach the topics of others, and the log says so. A deny beats the other lines of its \
         list. Topics that begin with $ need a line that begins with $. Subscribing is always allowed: reading is \
         checked when a message is queued and when it is sent, by the rules of that moment. With a mount_point, the topics are \
         those that begin with it. With per_listener_settings the file is for the listener above \
         it, and an absent client has the rules of the listener it used last. Read again on SIGHUP.",
        set_security!(acl_file, v => Some(v.path()?)),
    ),
    implemented(
        S,
        "allow_anonymous",
        "true|false",
        Means("true without a listener, else false"),
        "Whether clients without a user name may connect.",
        "If true and there is no password_file, any user name may connect too. With \
         per_listener_settings it belongs to the listener above it. Read again on SIGHUP.",
        set_security!(allow_anonymous, v => Some(v.flag()?)),
    ),
    implemented(
        S,
        "allow_zero_length_clientid",
        "true|false",
        Is("true"),
        "Whether a client may leave its client id to the broker.",
        "With per_listener_settings it belongs to the listener above it. Read again on SIGHUP.",
        set_security!(allow_zero_length_clientid, v => v.flag()?),
    ),
    implemented(
        S,
        "auto_id_prefix",
        "TEXT",
        Is("auto-"),
        "What the client ids that the broker hands out begin with.",
        "At most 50 bytes. With per_listener_settings it belongs to the listener above it. Read \
         again on SIGHUP.",
        set_security!(auto_id_prefix, v => id_prefix(v)?),
    ),
    implemented(
        S,
        "check_retain_source",
        "true|false",
        Is("true"),
        "Whether the publisher of a retained message must still be allowed to write its topic.",
        "It is asked each time the message would be sent to a new subscription.",
        set!(check_retain_source, v => v.flag()?),
    ),
    implemented(
        S,
        "clientid_prefixes",
        "PREFIX",
        Means("any client id"),
        "What client ids must begin with.",
        "A client with another id is refused as not authorized. It holds for the ids that the \
         broker hands out, too: see auto_id_prefix. Read again on SIGHUP; who is connected stays.",
        set!(clientid_prefixes, v => v.string()?),
    ),
    implemented(
        S,
        "include_dir",
        "DIRECTORY",
        Means("none"),
        "Reads every *.conf file of a directory at this point.",
        "By letter, and of one letter upper case first. Only in the main file. A section that an \
         included file opens ends with that file. `footbridge bridge add --save` writes to the first of \
         these directories.",
        |draft, v| {
            let dir = v.path()?;
            let first = &mut draft.general.control.save_in;
            first.get_or_insert_with(|| dir.clone());
            draft.include = Some(dir);
            Ok(())
        },
    ),
    implemented(
        S,
        "password_file",
        "FILE",
        Means("user names are not checked"),
        "The file of user names and password hashes.",
        "Lines are `USER:HASH` with the $6$, $7$ and $argon2id$ hashes that `footbridge passwd` and \
         mosquitto_passwd(1) write, with salts of any length. A malformed line is reported and skipped; \
         one with a hash by Argon2 that can't be checked is an error, also if that would take more \
         memory than memory_limit, or 128 MB. With an empty password nobody logs in. Read again on SIGHUP: who \
         is connected under a user name whose line is gone or has changed is disconnected.",
        set_security!(password_file, v => Some(v.path()?)),
    ),
    implemented(
        S,
        "per_listener_settings",
        "true|false",
        Is("false"),
        "Whether each listener has passwords and access rules of its own.",
        "These directives then belong to the listener above them: acl_file, allow_anonymous, \
         allow_zero_length_clientid, auth_socket, auth_socket_cache, auth_socket_timeout, auto_id_prefix \
         and password_file; above the first `listener`, to the default listener. It must stand above all of them. An absent client \
         with a session has the rules of the listener it used last; if that listener is gone \
         and others have an acl_file, nothing is delivered to it until it connects again.",
        per_listener,
    ),
    implemented(
        S,
        "persistent_client_expiration",
        "DURATION|never",
        Is("8w"),
        "How long the session of an absent client is kept.",
        "It shortens what a client of MQTT 5 asks for, too, which is told so, and holds for the \
         sessions found at the start; the log says then which is the first to go. One that was to be \
         kept for longer before, as by an earlier version, has a week from the start, or half of this if \
         that is less; the log says how many. What waits in a session that goes is counted and told. Sessions of bridges stay. A number with a letter \
         right behind it: s, h (hours), d, w, m (months of 30 days) or y. Unlike Mosquitto, where \
         they are kept for ever without it, as here with never.",
        |draft, v| {
            let is_never = v.words().eq(["never"]);
            let span = (!is_never).then(|| v.expiration()).transpose()?;
            draft.general.persistent_client_expiration = span;
            Ok(())
        },
    ),
    implemented(
        S,
        "pid_file",
        "FILE",
        Means("none"),
        "Where to write the process id.",
        "",
        set!(pid_file, v => Some(v.path()?)),
    ),
    implemented(
        S,
        "retain_available",
        "true|false",
        Is("true"),
        "Whether retained messages are supported.",
        "If false, a client that publishes one, or has a will that is one, is disconnected.",
        set!(retain_available, v => v.flag()?),
    ),
    implemented(
        S,
        "sys_interval",
        "SECONDS",
        Is("10"),
        "How often the $SYS topics are published; 0 turns them off.",
        "",
        |draft, v| {
            let interval = v.duration()?;
            if interval.subsec_millis() != 0 {
                return Err(Kind::bad(v.0, "whole seconds"));
            }
            let seconds = u32::try_from(interval.as_secs());
            draft.general.sys_interval = seconds.map_err(|_| Kind::bad(v.0, "fewer seconds"))?;
            Ok(())
        },
    ),
    implemented(
        S,
        "upgrade_outgoing_qos",
        "true|false",
        Is("false"),
        "Whether messages are delivered at the QoS of the subscription even if published lower.",
        "No MQTT version allows that.",
        set!(upgrade_outgoing_qos, v => v.flag()?),
    ),
    implemented(
        S,
        "user",
        "NAME",
        Means("footbridge stays who it was started as"),
        "Whom to become when started as root.",
        "After the listeners are bound, pid_file is written, and certificates, password_file, \
         acl_file and the log are opened; the store is opened after it, so persistence_location \
         must be that user's. What SIGHUP reads again must be readable for that user. Where there \
         is no user mosquitto, `user mosquitto` means nobody. A port below 1024 can't be bound any \
         more afterwards, so one whose interface comes later takes a restart; an address that comes \
         later is bound in advance. Not read again on SIGHUP.",
        set!(user, v => Some(v.text()?.to_owned())),
    ),
    accepted(
        S,
        "allow_duplicate_messages",
        "true|false",
        "a client with overlapping subscriptions gets a message once, or once for each \
         subscription identifier in MQTT 5",
    ),
    accepted(
        S,
        "retry_interval",
        "SECONDS",
        "messages are sent again when a client reconnects, as MQTT 3.1.1 and 5.0 have it",
    ),
    accepted(
        S,
        "retain_expiry_interval",
        "MINUTES",
        "retained messages are removed as soon as their message expiry has passed",
    ),
    later(
        S,
        "enable_control_api",
        "true|false",
        &["false"],
        "The $CONTROL topics.",
        "remove it",
    ),
    refused(S, "psk_file", "FILE", &[], NO_PSK, USE_CERTIFICATES),
];

/// What the client ids that the broker hands out begin with; as long as in Mosquitto.
pub(super) fn id_prefix(value: Value<'_>) -> Result<String, Kind> {
    const MAX_LEN: usize = 50;
    match value.string()? {
        prefix if prefix.len() <= MAX_LEN => Ok(prefix),
        prefix => Err(Kind::bad(&prefix, "at most 50 bytes")),
    }
}

/// `per_listener_settings`: the lines above it would be taken for other than they were meant.
fn per_listener(draft: &mut Draft<'_>, value: Value<'_>) -> Result<(), Kind> {
    let on = value.flag()?;
    if draft.security_given && on != draft.general.per_listener_settings {
        return Err(Kind::TooLate);
    }
    draft.general.per_listener_settings = on;
    Ok(())
}
