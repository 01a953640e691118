//! The client id of a CONNECT: its own, or one that it is given.

use std::borrow::Cow;

use crate::broker::core::Core;
use crate::keys::ConnId;
use crate::mqtt::{Connect, Reason, Version};

/// Of whom a client id is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IdOf {
    /// The client.
    Client,
    /// The broker, which has drawn it.
    Broker,
}

/// The client id under which a CONNECT comes in, which is the one that a program is asked about: it is
/// the same before and after.
pub(super) fn name_client<'a>(
    core: &Core,
    c: ConnId,
    connect: &Connect<'a>,
) -> Result<(Cow<'a, str>, IdOf), (Reason, &'static str)> {
    let conn = core.connections.get(c);
    let listener = conn.and_then(|conn| core.settings.listener(conn.listener()?));
    let listener = listener.ok_or((Reason::UNSPECIFIED, ""))?;
    let picked = pick_client_id(core, c, connect, &listener.name)?;
    // As Mosquitto, which does not tell a bad password from a missing right.
    let denied = |why| (Reason::NOT_AUTHORIZED, why);
    if !core.settings.auth.admits_id(&picked.0) {
        return Err(denied("clientid_prefixes leaves out its client id"));
    }
    if !listener.uses_username_as_client_id() {
        return Ok(picked);
    }
    match connect.username.filter(|name| !name.is_empty()) {
        Some(name) => Ok((name.into(), IdOf::Client)),
        None => Err(denied("no user name, and use_username_as_clientid is true")),
    }
}

/// The client id asked for, or one that is assigned.
fn pick_client_id<'a>(
    core: &Core,
    c: ConnId,
    connect: &Connect<'a>,
    listener: &str,
) -> Result<(Cow<'a, str>, IdOf), (Reason, &'static str)> {
    if !connect.client_id.is_empty() {
        return Ok((connect.client_id.into(), IdOf::Client));
    }
    // [MQTT-3.1.3-6], [MQTT-3.1.3-8].
    let stateless = connect.clean_start || connect.version == Version::V5;
    let prefix = core.settings.auth.auto_id_prefix(listener);
    match prefix.filter(|_| stateless && connect.version != Version::V31) {
        Some(prefix) => Ok((free_client_id(core, c, prefix).into(), IdOf::Broker)),
        None => {
            // As Mosquitto.
            let reason = match connect.version {
                Version::V5 => Reason::UNSPECIFIED,
                _ => Reason::CLIENT_IDENTIFIER_NOT_VALID,
            };
            Err((reason, "no client id"))
        }
    }
}

/// A client id that nobody has; for the same connection the same each time.
fn free_client_id(core: &Core, c: ConnId, prefix: &str) -> String {
    let mut attempt = 0;
    loop {
        // In the form of a UUID, as Mosquitto's.
        let n = core.connections.draw(c, attempt);
        attempt += 1;
        let (a, b, c) = (n >> 96, n >> 80 & 0xffff, n >> 64 & 0xffff);
        let (d, e) = (n >> 48 & 0xffff, n & 0xffff_ffff_ffff);
        let id = format!("{prefix}{a:08X}-{b:04X}-{c:04X}-{d:04X}-{e:012X}");
        if core.sessions.find(&id).is_none() {
            return id;
        }
    }
}
