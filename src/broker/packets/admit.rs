//! Whether a CONNECT may come in, and what it comes to: checked before a session is touched.

mod client_id;

use std::rc::Rc;

use client_id::{IdOf, name_client};

use crate::auth::{self, Allowed, Check, Denied, Grant, Verdict};
use crate::broker::connections::{Attempt, Block, Crowded, Kind, Login as Parked, Room};
use crate::broker::core::Core;
use crate::broker::delivering::checks::is_in_format;
use crate::broker::ending::expire::await_login;
use crate::broker::sessions::{NEVER, PendingWill, Session, who};
use crate::config::{CertificateUsername, LoginFailures};
use crate::impossible;
use crate::keys::ConnId;
use crate::message::{Message, Origin, Parts};
use crate::mqtt::{Connect, Packet, Reason, Version, Will, encode};
use crate::time::Time;
use zeroize::Zeroizing;

/// What a CONNECT comes to, before a session is touched.
pub(crate) struct Admitted {
    pub(crate) origin: Rc<Origin>,
    /// The client id is ours.
    pub(crate) assigned: bool,
    /// Session expiry interval in seconds.
    pub(crate) expiry: u32,
    pub(crate) will: Option<Box<PendingWill>>,
    /// Seconds; 0 is off.
    pub(crate) keep_alive: u16,
    /// What `auth_socket` has granted, if that let it in.
    pub(crate) grant: Option<Grant>,
}

/// Why a CONNECT may not come in.
#[derive(Debug)]
pub(crate) struct NotAdmitted {
    /// What the client is told.
    pub(crate) reason: Reason,
    /// What the log says beside it, with the directive to look at; may be empty.
    pub(crate) why: &'static str,
    /// What it says about a login.
    pub(crate) login: Login,
}

/// What a refusal says about the login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Login {
    /// Nothing: it succeeded, or was not asked for.
    #[default]
    Other,
    /// The user name or the password was wrong.
    Failed,
    /// It was not looked at, after too many that failed.
    LockedOut,
}

impl NotAdmitted {
    pub(super) fn new(reason: Reason, why: &'static str) -> NotAdmitted {
        NotAdmitted {
            reason,
            why,
            login: Login::Other,
        }
    }
}

impl From<Option<Grant>> for Granted {
    fn from(grant: Option<Grant>) -> Granted {
        grant.map_or(Granted::ByFiles, Granted::Before)
    }
}

impl From<Reason> for NotAdmitted {
    fn from(reason: Reason) -> NotAdmitted {
        NotAdmitted::new(reason, "")
    }
}

impl From<(Reason, &'static str)> for NotAdmitted {
    fn from((reason, why): (Reason, &'static str)) -> NotAdmitted {
        NotAdmitted::new(reason, why)
    }
}

impl From<Denied> for NotAdmitted {
    fn from(denied: Denied) -> NotAdmitted {
        let (reason, login) = match denied {
            Denied::Credentials | Denied::BySocket | Denied::TooLong => {
                (Reason::NOT_AUTHORIZED, Login::Failed)
            }
            Denied::Anonymous | Denied::Certificate => (Reason::NOT_AUTHORIZED, Login::Other),
            Denied::Unavailable | Denied::NoAnswer => (Reason::SERVER_UNAVAILABLE, Login::Other),
        };
        NotAdmitted {
            reason,
            why: denied.words(),
            login,
        }
    }
}

/// What is known of a login.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing yet.
    Nothing,
    /// It was looked at.
    Answer(Result<Granted, NotAdmitted>),
}

/// By what a login has succeeded.
#[derive(Debug)]
pub(crate) enum Granted {
    /// The files, or nothing at all.
    ByFiles,
    /// `auth_socket`, lately.
    Before(Grant),
    /// `auth_socket`, which was asked.
    JustNow(Allowed),
}

/// What the checks come to.
pub(crate) enum Checked {
    /// The client may come in.
    Admitted(Admitted),
    /// Its password is to be checked first, or a program asked, which takes a while.
    Asks(Kind),
}

/// Checks everything a CONNECT asks for.
pub(crate) fn admit(
    core: &mut Core,
    c: ConnId,
    connect: &Connect<'_>,
    known: Known,
    now: Time,
) -> Result<Checked, NotAdmitted> {
    let conn = core.connections.get(c);
    let listener = conn.and_then(|conn| core.settings.listener(conn.listener()?));
    let listener = listener.ok_or(Reason::UNSPECIFIED)?;
    if !listener.takes(connect.version) {
        return Err(NotAdmitted::new(
            Reason::UNSUPPORTED_PROTOCOL_VERSION,
            "accept_protocol_versions leaves it out",
        ));
    }
    if connect.props.auth_method().is_some() {
        return Err(Reason::BAD_AUTHENTICATION_METHOD.into());
    }
    let (name, auth) = (Rc::clone(&listener.name), &core.settings.auth);
    let (client_id, id) = name_client(core, c, connect)?;
    let granted = match known {
        Known::Answer(answer) => answer?,
        Known::Nothing => match log_in(core, c, connect, now)? {
            Verdict::Asks(check) => return Ok(Checked::Asks(Kind::of(&check))),
            Verdict::Admitted(grant) => grant.into(),
        },
    };
    check_length(core, &client_id)?;
    admit_session(core, &client_id)?;
    let keep_alive = keep_alive(core, connect)?;
    let listener = auth.per_listener().then_some(&*name);
    let login = (&*client_id, connect.username);
    let grant = match granted {
        Granted::ByFiles => None,
        Granted::Before(grant) => Some(grant),
        Granted::JustNow(mut allowed) => {
            if id == IdOf::Broker {
                // It has another id the next time.
                allowed.do_not_keep();
            }
            Some(core.settings.auth.keep(allowed, login, now))
        }
    };
    let username = grant
        .as_ref()
        .and_then(Grant::username)
        .or(connect.username);
    let origin = Rc::new(Origin::new(&client_id, username, listener));
    let will = match &connect.will {
        Some(will) => {
            let who = (&origin, grant.as_ref());
            Some(admit_will(core, will, connect.version, who, now)?)
        }
        None => None,
    };
    let asks = asks_for_memory(core, &origin, will.as_deref());
    if asks.is_some_and(|is_small| core.is_short_of_memory(c, is_small)) {
        let why = "little memory is left (memory_limit)";
        return Err(NotAdmitted::new(Reason::SERVER_UNAVAILABLE, why));
    }
    Ok(Checked::Admitted(Admitted {
        origin,
        // Not what it asked for: MQTT 5 clients without an id are told [MQTT-3.2.2-16].
        assigned: connect.client_id.is_empty(),
        expiry: expiry(core, connect),
        will,
        keep_alive,
        grant,
    }))
}

/// A CONNECT waits until its login is looked at; nothing more is read of the connection. The one that
/// is to be refused to make room for it, if any.
pub(crate) fn wait_for_login(
    core: &mut Core,
    c: ConnId,
    (connect, kind): (&Connect<'_>, Kind),
    now: Time,
) -> Result<Option<ConnId>, NotAdmitted> {
    const SMALL: usize = 4 * 1024;
    // The password comes last. With so much room from the start nothing is moved once it is there, which
    // would leave a copy of it behind.
    let room = 64 + connect.password.map_or(0, <[u8]>::len);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let packet = Packet::Connect(Box::new(*connect));
    if let Err(error) = encode(&packet, connect.version, &mut bytes) {
        impossible!("cannot encode a CONNECT: {error}");
        return Err(Reason::UNSPECIFIED.into());
    }
    if core.is_short_of_memory(c, bytes.len() <= SMALL) {
        let why = "little memory is left (memory_limit)";
        return Err(NotAdmitted::new(Reason::SERVER_UNAVAILABLE, why));
    }
    let block = core
        .connections
        .get(c)
        .map(|conn| Block::of(conn.address()));
    let block = block.flatten();
    let login = Parked {
        connect: bytes,
        kind,
        is_known: block.is_none_or(|block| core.logins.knows(block, now)),
    };
    let doors = &core.settings.general.doors;
    let room = Room {
        all: doors.max_waiting_logins,
        per_address: doors.max_waiting_logins_per_address,
    };
    let gives_way = core.connections.wait_for_login(c, login, room);
    let gives_way = gives_way.map_err(|crowded| {
        let why = match crowded {
            Crowded::All => "max_waiting_logins is reached",
            Crowded::Address => "max_waiting_logins_per_address is reached",
        };
        NotAdmitted::new(Reason::SERVER_BUSY, why)
    })?;
    await_login(core, c, now);
    Ok(gives_way)
}

/// Who tries to log in, if that is somebody with an address and a user name.
pub(crate) fn attempt<'a>(core: &Core, c: ConnId, connect: &Connect<'a>) -> Option<Attempt<'a>> {
    Some(Attempt {
        block: Block::of(core.connections.get(c)?.address())?,
        name: connect.username?,
    })
}

/// Looks at user name and password, unless too many were wrong: what can be said at once, or the check
/// that is to be made.
pub(crate) fn log_in(
    core: &Core,
    c: ConnId,
    connect: &Connect<'_>,
    now: Time,
) -> Result<Verdict, NotAdmitted> {
    let conn = core.connections.get(c);
    let listener = conn.and_then(|conn| core.settings.listener(conn.listener()?));
    let listener = listener.ok_or(Reason::UNSPECIFIED)?;
    let rule = core.settings.general.doors.login_failures;
    let attempt = attempt(core, c, connect);
    if let (Some(rule), Some(attempt)) = (rule, attempt)
        && is_locked_out(core, attempt, rule, now)
    {
        return Err(NotAdmitted {
            // Who guesses can't tell one from the other.
            reason: Reason::NOT_AUTHORIZED,
            why: "too many logins have failed, see login_failures",
            login: Login::LockedOut,
        });
    }
    let auth = &core.settings.auth;
    let shown = core.connections.shown(c);
    let (client_id, _) = name_client(core, c, connect)?;
    let login = auth::Login {
        client_id: &client_id,
        username: connect.username,
        password: connect.password,
        address: conn.and_then(|conn| conn.address().ip()),
        certificate: shown.map(|shown| &*shown.subject),
        by: shown.map_or(CertificateUsername::None, |shown| shown.by),
    };
    let verdict = auth.login(&listener.name, &login, now)?;
    if let Verdict::Asks(Check::Socket(_)) = &verdict {
        // A program gets no question that takes more than a login may.
        check_length(core, login.client_id)?;
    }
    Ok(verdict)
}

/// Whether too many logins have failed. Who guesses does not lock out those who share the address: a
/// connected client that has logged in from there speaks for it, and for its name.
fn is_locked_out(core: &Core, who: Attempt<'_>, rule: LoginFailures, now: Time) -> bool {
    core.logins.refuses_name(who, rule, now) && !is_there(core, who, |name| name == who.name)
        || core.logins.refuses_address(who, rule, now) && !is_there(core, who, |_| true)
}

/// Whether a client that has logged in from this address, under a name such as this, is connected.
fn is_there(core: &Core, who: Attempt<'_>, is_such: impl Fn(&str) -> bool) -> bool {
    core.connections.iter().any(|(_, conn)| {
        let session = conn.session().and_then(|key| core.sessions.get(key));
        let name = session.and_then(|session| session.origin().username());
        name.is_some_and(&is_such) && Block::of(conn.address()) == Some(who.block)
    })
}

/// `max_clientid_length`. A client that has a session keeps it: its id was taken under another bound.
fn check_length(core: &Core, client_id: &str) -> Result<(), NotAdmitted> {
    let max = core.settings.general.doors.max_clientid_length;
    if client_id.len() > usize::from(max) && core.sessions.find(client_id).is_none() {
        let why = "its client id is above max_clientid_length";
        return Err(NotAdmitted::new(Reason::CLIENT_IDENTIFIER_NOT_VALID, why));
    }
    Ok(())
}

/// Whether `client_id` may have a session, or has one already.
fn admit_session(core: &Core, client_id: &str) -> Result<(), NotAdmitted> {
    let known = core.sessions.find(client_id);
    let session = known.and_then(|key| core.sessions.get(key));
    // That of a bridge, too, which was removed and may come back for what waits.
    if session.is_some_and(Session::is_bridge) {
        return Err(NotAdmitted::new(
            Reason::CLIENT_IDENTIFIER_NOT_VALID,
            "a bridge has this client id: check local_clientid",
        ));
    }
    let clients = core.sessions.len().saturating_sub(core.bridges.len());
    let limit = core.settings.general.global_max_clients;
    if limit.is_some_and(|limit| clients >= limit as usize) && known.is_none() {
        let why = "global_max_clients is reached";
        Err(NotAdmitted::new(Reason::SERVER_BUSY, why))
    } else {
        Ok(())
    }
}

/// Whether a CONNECT asks for a session that there is not, or for more than a small will where there
/// was less; and then, whether that is little.
fn asks_for_memory(core: &Core, origin: &Origin, will: Option<&PendingWill>) -> Option<bool> {
    const SMALL_WILL: u32 = 1024;
    const SMALL_NAMES: usize = 1024;
    let size = |will: &PendingWill| will.message.size();
    let asked = will.map_or(0, size);
    let session = core.sessions.find(origin.client_id());
    let Some(session) = session.and_then(|key| core.sessions.get(key)) else {
        return Some(asked <= SMALL_WILL && origin.held() <= SMALL_NAMES);
    };
    let old = session.will.as_deref().map_or(0, size);
    (asked > old.max(SMALL_WILL)).then_some(false)
}

/// The keep-alive that holds. One that is too long, or none, can only be refused before MQTT 5
/// (return code 2, as Mosquitto).
fn keep_alive(core: &Core, connect: &Connect<'_>) -> Result<u16, NotAdmitted> {
    let (asked, max) = (connect.keep_alive, core.settings.general.max_keepalive);
    match max == 0 || (1..=max).contains(&asked) {
        true => Ok(asked),
        false if connect.version == Version::V5 => Ok(max),
        false => Err(NotAdmitted::new(
            Reason::CLIENT_IDENTIFIER_NOT_VALID,
            "its keep-alive is none, or above max_keepalive",
        )),
    }
}

/// The session expiry interval a CONNECT asks for, in seconds.
fn expiry(core: &Core, connect: &Connect<'_>) -> u32 {
    let asked = match connect.version {
        Version::V5 => connect.props.session_expiry().unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => NEVER,
    };
    core.settings.cap_expiry(asked)
}

fn admit_will(
    core: &Core,
    will: &Will<'_>,
    version: Version,
    (origin, grant): (&Rc<Origin>, Option<&Grant>),
    now: Time,
) -> Result<Box<PendingWill>, NotAdmitted> {
    if will.retain && !core.settings.general.retain_available {
        let why = "its will is retained, and retain_available is false";
        return Err(NotAdmitted::new(Reason::RETAIN_NOT_SUPPORTED, why));
    }
    if core
        .settings
        .general
        .message_size_limit
        .is_some_and(|max| will.payload.len() > max as usize)
    {
        // The return code as Mosquitto's.
        let reason = match version {
            Version::V5 => Reason::PACKET_TOO_LARGE,
            _ => Reason::NOT_AUTHORIZED,
        };
        let why = "its will is above message_size_limit";
        return Err(NotAdmitted::new(reason, why));
    }
    let mut forwarded = Vec::new();
    let props = will.props.read_publish(&mut forwarded);
    if !is_in_format(props.is_text, will.payload) {
        let why = "the payload of its will is no text, as it says";
        return Err(NotAdmitted::new(Reason::PAYLOAD_FORMAT_INVALID, why));
    }
    if !core
        .settings
        .auth
        .may_publish_by(grant, &who(origin), will.topic)
    {
        let why = "the access rules do not allow the topic of its will";
        return Err(NotAdmitted::new(Reason::NOT_AUTHORIZED, why));
    }
    let parts = Parts {
        topic: will.topic,
        props: &forwarded,
        payload: will.payload,
    };
    let mut message =
        Message::new(parts, now, Rc::clone(origin)).map_err(|_| Reason::TOPIC_NAME_INVALID)?;
    message.qos = will.qos;
    message.retain = will.retain;
    Ok(Box::new(PendingWill {
        message: Rc::new(message),
        delay: will.props.will_delay().unwrap_or(0),
        expiry: props.expiry,
    }))
}
