//! A bridge whose client id is another than at the last start, though its section has the same name: the
//! default has the name of the host in it, which may change, and the operator may say one instead.

use std::rc::Rc;

use crate::bridge::is_default_client_id;
use crate::broker::core::Core;
use crate::broker::queues::report::messages;
use crate::broker::sessions::Session;
use crate::keys::SessionKey;
use crate::message::Origin;

/// The session that the bridge `name` had under the default of its client id, if no bridge has that any
/// more: it is that of `origin` from now on, with its queue.
pub(crate) fn take_former(core: &mut Core, name: &str, origin: &Rc<Origin>) -> Option<SessionKey> {
    let is_former = |(key, session): &(SessionKey, &Session)| {
        let is_free = session.is_bridge() && session.is_durable() && !core.bridges.has(*key);
        is_free && is_default_client_id(name, session.client_id())
    };
    let (key, session) = core.sessions.iter().find(is_former)?;
    log::warn!(
        "Bridge {name}: its client id is another than before, {} instead of {}. What waits goes up by it, \
         {}; what the upstream keeps for the old one does not come.",
        origin.client_id(),
        session.client_id(),
        messages(session.outbound.len())
    );
    core.sessions.rename(key, origin);
    Some(key)
}

/// Whether a message of `origin` is one that the bridge of this session has brought from its upstream: under
/// its client id, or under the default of that for any name of the host, for what is retained keeps the
/// client id that it came by.
pub(crate) fn is_own(session: &Session, origin: &Origin) -> bool {
    let id = origin.client_id();
    id == session.client_id()
        || session
            .bridge()
            .is_some_and(|end| is_default_client_id(&end.name, id))
}
