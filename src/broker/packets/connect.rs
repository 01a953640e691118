//! CONNECT: which session a client gets, and the CONNACK it is told so with.

use std::rc::Rc;
use std::time::Duration;

use super::admit::{
    Admitted, Checked, Granted, Known, Login, NotAdmitted, admit, attempt, wait_for_login,
};
use crate::bridge::LinkKind;
use crate::broker::connections::{Address, Agreed, Reply, encoded};
use crate::broker::core::Core;
use crate::broker::ending::close::{close, finish};
use crate::broker::ending::expire::silence;
use crate::broker::ending::session::end_session;
use crate::broker::ending::will::publish_will;
use crate::broker::queues::bounds::note_policy;
use crate::broker::sending::pump::pump;
use crate::broker::sending::replies::reply_once;
use crate::broker::sessions::who;
use crate::broker::shares::membership::come_online;
use crate::config::log_type::NOTICE;
use crate::impossible;
use crate::keys::{ConnId, SessionKey};
use crate::message::Origin;
use crate::mqtt::{
    self, ConnAck, Connect, Packet, Property, Props, PropsBuf, QoS, Reason, Version,
};
use crate::time::Time;

/// A session with so long to go does not end by a row that is a little too old.
const FAR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Handles a CONNECT whose will has its whole topic.
pub(crate) fn on_connect(core: &mut Core, c: ConnId, connect: &Connect<'_>, now: Time) {
    let Some(conn) = core.connections.get_mut(c) else {
        return;
    };
    conn.introduce(connect.version, connect.props.maximum_packet_size());
    go_on(core, c, connect, Known::Nothing, now);
}

/// The login of a CONNECT that waited was looked at.
pub(super) fn on_login(
    core: &mut Core,
    c: ConnId,
    connect: &Connect<'_>,
    answer: Result<Granted, NotAdmitted>,
    now: Time,
) {
    go_on(core, c, connect, Known::Answer(answer), now);
    core.connections.resume(c);
}

/// Goes on with a CONNECT, as far as its login is known.
fn go_on(core: &mut Core, c: ConnId, connect: &Connect<'_>, known: Known, now: Time) {
    let listener = core.connections.get(c).and_then(|conn| conn.listener());
    let max_qos = listener.map_or(QoS::ExactlyOnce, |at| core.settings.max_qos(at));
    let checked = match connect.will {
        Some(will) if will.qos > max_qos => Err(NotAdmitted::new(
            Reason::QOS_NOT_SUPPORTED,
            "the QoS of its will is above max_qos",
        )),
        _ => admit(core, c, connect, known, now),
    };
    let refused = match checked {
        Ok(Checked::Admitted(admitted)) => {
            note_login(core, c, connect, None, now);
            return enter(core, c, connect, &admitted, now);
        }
        Ok(Checked::Asks(kind)) => match wait_for_login(core, c, (connect, kind), now) {
            Ok(gives_way) => return give_way(core, gives_way, now),
            Err(refused) => refused,
        },
        Err(refused) => refused,
    };
    note_login(core, c, connect, Some(&refused), now);
    log_refusal(core, c, connect, &refused, now);
    core.counters.refused += 1;
    refuse(core, c, refused.reason, now);
}

/// A client that waited for its login does no more: one of an address that is known needs the place.
fn give_way(core: &mut Core, gives_way: Option<ConnId>, now: Time) {
    let Some((c, conn)) = gives_way.and_then(|c| Some((c, core.connections.get(c)?))) else {
        return;
    };
    let line = format_args!(
        "Client ({}) refused: {}: max_waiting_logins is reached",
        conn.address(),
        Reason::SERVER_BUSY
    );
    core.refusals
        .log(("waiting logins", conn.address().ip()), line, now);
    core.counters.refused += 1;
    refuse(core, c, Reason::SERVER_BUSY, now);
}

/// Counts logins, for `login_failures`.
fn note_login(
    core: &mut Core,
    c: ConnId,
    connect: &Connect<'_>,
    refused: Option<&NotAdmitted>,
    now: Time,
) {
    let rule = core.settings.general.doors.login_failures;
    let Some(attempt) = attempt(core, c, connect) else {
        return;
    };
    match refused.map(|refused| refused.login) {
        None => core.logins.succeed(attempt, now),
        Some(Login::Failed) => {
            let Some(rule) = rule else { return };
            let refused = core.logins.fail(attempt, rule, now);
            let ip = core.connections.get(c).and_then(|conn| conn.address().ip());
            if let (Some(refused), Some(ip)) = (refused, ip) {
                let line = format_args!(
                    "Too many logins from {ip} have failed: for {} seconds more are refused, of user {} \
                     or of all who have not logged in from there (login_failures).",
                    refused.as_secs(),
                    attempt.name
                );
                core.refusals
                    .log(("locked out", attempt.name, ip), line, now);
            }
        }
        Some(Login::LockedOut) => core.counters.locked_out += 1,
        Some(Login::Other) => {}
    }
}

/// Says who was refused and why, and what to look at.
fn log_refusal(
    core: &mut Core,
    c: ConnId,
    connect: &Connect<'_>,
    refused: &NotAdmitted,
    now: Time,
) {
    let Some(conn) = core.connections.get(c) else {
        return;
    };
    let user = match connect.username {
        Some(name) => format!(", user {name}"),
        None => String::new(),
    };
    let NotAdmitted { reason, why, .. } = refused;
    let dash = if why.is_empty() { "" } else { ": " };
    let (id, address) = (connect.client_id, conn.address());
    core.refusals.log(
        (id, connect.username, why, reason.0),
        format_args!("Client {id} ({address}{user}) refused: {reason}{dash}{why}"),
        now,
    );
}

/// Answers a CONNECT with a failure and closes. Before 5.0 a failure without a return code has no
/// answer (3.1.1 [MQTT-3.2.2-6]).
fn refuse(core: &mut Core, c: ConnId, reason: Reason, now: Time) {
    let refusal = ConnAck {
        session_present: false,
        reason,
        props: Props::EMPTY,
    };
    let version = core.connections.get(c).map(|conn| conn.version());
    if version == Some(Version::V5) || refusal.return_code().is_some() {
        core.connections.send(c, &Packet::ConnAck(refusal));
    }
    finish(core, c, now);
}

/// Answers a CONNECT that could not be decoded. As in Mosquitto, only a version that is not known
/// gets a CONNACK [MQTT-3.1.2-2]; another protocol [MQTT-3.1.2-1] and garbage get none
/// [MQTT-3.1.4-1].
pub(crate) fn refuse_unreadable(core: &mut Core, c: ConnId, error: &mqtt::Error, now: Time) {
    core.counters.refused += 1;
    if matches!(error, mqtt::Error::UnsupportedVersion(_)) {
        refuse(core, c, Reason::UNSUPPORTED_PROTOCOL_VERSION, now);
    } else {
        finish(core, c, now);
    }
}

/// Gives an admitted client its session and answers.
fn enter(core: &mut Core, c: ConnId, connect: &Connect<'_>, admitted: &Admitted, now: Time) {
    take_over(core, &admitted.origin, connect.clean_start, now);
    let known = core.sessions.find(admitted.origin.client_id());
    // A CONNACK promises a session, or that an old one is gone.
    let mut discarded = false;
    if let Some(key) = known.filter(|_| connect.clean_start) {
        discarded = core.sessions.get(key).is_some_and(|s| s.is_durable());
        end_session(core, key, now);
    }
    let client_id = admitted.origin.client_id();
    core.settings.auth.enter(client_id, admitted.grant.clone());
    let resumed = known.filter(|_| !connect.clean_start);
    let key = resumed.unwrap_or_else(|| open_session(core, connect, admitted));
    let must_save = bind(core, (c, key), connect, admitted, now);
    let who = who(&admitted.origin);
    if core.settings.auth.is_to_be_told(&who) {
        log::warn!(
            "Client {}: with /, + or # in its client id or user name, lines of acl_file with %c or \
             %u give it nothing{}.",
            core.name_of(c),
            who.username
                .map_or(String::new(), |u| format!(" (user {u})"))
        );
    }
    let connack = connack(core, c, connect, admitted, resumed.is_some());
    reply_once(
        core,
        c,
        Reply::Barrier(connack),
        !(must_save || discarded),
        now,
    );
    let peer_window = connect.props.receive_maximum().unwrap_or(u16::MAX);
    let window = core.settings.window().min(peer_window);
    resume(core, (c, key), window, now);
    pump(core, key, now);
}

/// Ends the connection that has the client id now [MQTT-3.1.4-3]. Its will is published unless the
/// session goes on and the will was to be delayed.
fn take_over(core: &mut Core, origin: &Origin, clean_start: bool, now: Time) {
    let Some(key) = core.sessions.find(origin.client_id()) else {
        return;
    };
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    let is_delayed = session.will.as_ref().is_some_and(|will| will.delay > 0);
    if is_delayed && !clean_start && session.expiry > 0 {
        session.will = None;
    }
    if let Some(old) = session.conn {
        log::info!(
            target: NOTICE,
            "Client {} already connected, closing old connection.",
            origin.client_id()
        );
        core.counters.takeovers += 1;
        close(core, old, Reason::SESSION_TAKEN_OVER, now);
    }
    let Some(session) = core.sessions.get_mut(key) else {
        return; // It ended with its connection.
    };
    if session.will_due().is_some() {
        // A delayed will of the connection before: the client is back in time [MQTT-3.1.3-9], or
        // its session ends here.
        let will = session.will.take();
        if let Some(will) = will.filter(|_| clean_start) {
            publish_will(core, *will, key, now);
        }
    }
}

fn open_session(core: &mut Core, connect: &Connect<'_>, admitted: &Admitted) -> SessionKey {
    let origin = Rc::clone(&admitted.origin);
    let key = core.sessions.open(origin, admitted.expiry, connect.version);
    note_policy(core, key);
    if admitted.expiry > 0 {
        core.sessions.unsave_identity(key);
    }
    key
}

/// Ties a connection to its session. True if the CONNACK promises something that is not on disk yet.
fn bind(
    core: &mut Core,
    (c, key): (ConnId, SessionKey),
    connect: &Connect<'_>,
    admitted: &Admitted,
    now: Time,
) -> bool {
    let agreed = agree(core, (c, key), connect, admitted);
    core.sessions.set_origin(key, &admitted.origin);
    core.connections.agree(c, &agreed);
    core.loops
        .add_link(agreed.link, admitted.origin.client_id());
    let (Some(conn), Some(session)) = (core.connections.get(c), core.sessions.get_mut(key)) else {
        return false;
    };
    let has_changed = session.expiry != admitted.expiry;
    let has_will = session.will.is_some() || admitted.will.is_some();
    session.conn = Some(c);
    session.version = connect.version;
    session.expiry = admitted.expiry;
    session.will = admitted.will.clone();
    let is_durable = session.is_durable();
    if core.settings.general.connection_messages {
        log_connect(connect, &admitted.origin, agreed.keep_alive, conn.address());
    }
    if is_durable || has_will {
        // That it is connected, and its will, may reach the disk late.
        core.sessions.unsave_identity(key);
        core.ledger.lazy(now);
    }
    core.timers.set_session(key, None);
    let is_timed = agreed.keep_alive > 0;
    let at = is_timed.then(|| now + silence(agreed.keep_alive));
    core.timers.set_connection(c, at);
    core.counters.connects += 1;
    let done = core.ledger.store().done();
    // A row that says since when it is absent lets a session that can expire end after a crash; but
    // not soon where it has long to go, and what is lazy is written by then.
    let is_new = |saved_in| saved_in > done;
    core.sessions.get_mut(key).is_some_and(|s| {
        let is_unsaved = !s.is_on_disk() || is_new(s.saved_in());
        let is_to_be_saved = is_durable && (has_changed || !s.lasts(FAR, now) || is_unsaved);
        s.since = now;
        is_to_be_saved
    })
}

/// What client and broker have agreed on. As in Mosquitto, a client gets messages at the QoS that it
/// may publish with.
fn agree(
    core: &Core,
    (c, session): (ConnId, SessionKey),
    connect: &Connect<'_>,
    admitted: &Admitted,
) -> Agreed {
    let settings = &core.settings;
    let listener = core.connections.get(c).and_then(|conn| conn.listener());
    let aliases = listener.map_or(0, |at| settings.max_topic_alias_broker(at));
    Agreed {
        session,
        is_bridge: connect.bridge,
        link: link_kind(connect),
        keep_alive: admitted.keep_alive,
        max_packet: settings.max_packet(),
        receive_maximum: settings.window(),
        aliases: aliases.min(connect.props.topic_alias_maximum().unwrap_or(0)),
        max_qos: listener.map_or(QoS::ExactlyOnce, |at| settings.max_qos(at)),
    }
}

/// Whether a client is a bridge of another broker. Those tell their state by a will, whatever the version.
fn link_kind(connect: &Connect<'_>) -> LinkKind {
    let will = connect.will.as_ref();
    let tells_state = |topic: &str| topic.starts_with("$SYS/broker/connection/");
    if connect.bridge || will.is_some_and(|will| tells_state(will.topic)) {
        LinkKind::Sure
    } else {
        LinkKind::None
    }
}

/// The CONNACK of an admitted client, encoded. Property order as Mosquitto's.
fn connack(
    core: &Core,
    c: ConnId,
    connect: &Connect<'_>,
    admitted: &Admitted,
    session_present: bool,
) -> Box<[u8]> {
    let settings = &core.settings;
    let listener = core.connections.get(c).and_then(|conn| conn.listener());
    let aliases = listener.map_or(0, |at| settings.max_topic_alias(at));
    let max_qos = listener.map_or(QoS::ExactlyOnce, |at| settings.max_qos(at));
    let asked = connect.props.session_expiry();
    let window = settings.inflight_messages();
    let wanted = [
        (admitted.keep_alive != connect.keep_alive)
            .then_some(Property::ServerKeepAlive(admitted.keep_alive)),
        (aliases > 0).then_some(Property::TopicAliasMaximum(aliases)),
        asked
            .filter(|asked| *asked != admitted.expiry)
            .map(|_| Property::SessionExpiry(admitted.expiry)),
        admitted
            .assigned
            .then_some(Property::AssignedClientId(admitted.origin.client_id())),
        (!settings.general.retain_available).then_some(Property::RetainAvailable(0)),
        settings
            .general
            .max_packet_size
            .map(Property::MaximumPacketSize),
        (window > 0).then_some(Property::ReceiveMaximum(window)),
        (max_qos < QoS::ExactlyOnce).then_some(Property::MaximumQoS(max_qos as u8)),
    ];
    let mut props = PropsBuf::new();
    for property in wanted.into_iter().flatten() {
        if !props.push(property) {
            impossible!("CONNACK cannot hold {property:?}");
        }
    }
    let connack = ConnAck {
        session_present,
        reason: Reason::SUCCESS,
        props: props.as_props(),
    };
    encoded(&Packet::ConnAck(connack), connect.version)
}

/// Opens the outbound half and sends again the PUBRELs that an earlier connection left unanswered
/// [MQTT-4.4.0-1]. One whose release is not on disk yet waits for that.
pub(crate) fn resume(core: &mut Core, (c, key): (ConnId, SessionKey), window: u16, now: Time) {
    come_online(core, key);
    let bytes = core.settings.general.max_inflight_bytes;
    let Some(session) = core.sessions.known_mut(key) else {
        return;
    };
    session.outbound.limit_bytes(bytes);
    let releases = session.outbound.connect(window, now);
    let is_saved = core.is_saved(key);
    for id in releases {
        reply_once(core, c, Reply::PubRel(id), is_saved, now);
    }
}

/// The line that Mosquitto logs, too; log watchers look for it.
fn log_connect(connect: &Connect<'_>, origin: &Origin, keep_alive: u16, address: &Address) {
    let version = match connect.version {
        Version::V5 => 5,
        version => version as u8 - 2,
    };
    let client_id = origin.client_id();
    let username = origin.username().map(|u| format!(", u'{u}'"));
    log::info!(
        target: NOTICE,
        "New client connected from {address} as {client_id} (p{version}, c{}, k{keep_alive}{}).",
        u8::from(connect.clean_start),
        username.unwrap_or_default(),
    );
}
