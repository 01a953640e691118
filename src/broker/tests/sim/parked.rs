//! Messages that have no room in some queue: their publishers are not told anything yet.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::client::Client;
use super::model::{Publication, Unplaced};
use super::{Env, facts};
use crate::broker::tests::world::Peer;
use crate::mqtt::QoS;

/// A message that was published and waits in the broker for room.
#[derive(Debug)]
pub struct Parked {
    publication: Rc<Publication>,
    pub id: u16,
    /// The queues that have no room for it.
    unplaced: Vec<Unplaced>,
}

/// The messages of a connection that wait in the broker, the oldest first: topic, payload, and the
/// clients in whose queues they have no room.
fn parked(env: &Env, peer: Peer) -> Vec<(String, Vec<u8>, BTreeSet<usize>)> {
    let core = &env.world.broker.core;
    let conn = core.connections.get(env.world.conn(peer));
    let parked = conn.into_iter().flat_map(|conn| conn.parked());
    parked
        .map(|parked| {
            let receivers = parked.remaining.receivers.iter();
            let sessions = receivers.filter_map(|r| core.sessions.get(r.session));
            let clients = sessions.map(|session| facts::number(session.client_id()));
            let message = &parked.message;
            (
                message.topic().to_owned(),
                message.payload().to_vec(),
                clients.collect(),
            )
        })
        .collect()
}

/// A message of `client` was not taken: it is refused, or waits for room.
pub fn not_taken(client: &mut Client, publication: &Rc<Publication>, id: u16, env: &mut Env) {
    let is_told = client.version == crate::mqtt::Version::V5;
    let waiting = client.link.as_ref().map(|link| parked(env, link.peer));
    let last = waiting.and_then(|mut waiting| waiting.pop());
    let without_room = last.map(|(.., clients)| clients).unwrap_or_default();
    let all = is_told;
    let (routed, unplaced) = env
        .model
        .offer(publication, |client| all || without_room.contains(&client));
    if is_told {
        return;
    }
    if let Some(unacked) = client.unacked.iter_mut().find(|u| u.id == id) {
        unacked.routed = Some(routed);
    }
    if let Some(link) = &mut client.link {
        link.parked.push_back(Parked {
            publication: Rc::clone(publication),
            id,
            unplaced,
        });
    }
}

/// Looks which messages that waited have found room, in some of the queues or in all.
pub fn find_placed(client: &mut Client, env: &mut Env) {
    let Some(link) = client.link.as_mut().filter(|l| !l.parked.is_empty()) else {
        return;
    };
    let mut theirs = parked(env, link.peer).into_iter().peekable();
    let ours = std::mem::take(&mut link.parked);
    for mut one in ours {
        let publication = Rc::clone(&one.publication);
        let waits = theirs.next_if(|(topic, payload, _)| {
            *topic == *publication.topic && *payload == publication.payload
        });
        let (is_taken, full) = match waits {
            Some((.., full)) => (false, full),
            None => (true, BTreeSet::new()),
        };
        let (left, placed) = std::mem::take(&mut one.unplaced)
            .into_iter()
            .partition(|unplaced| full.contains(&unplaced.client));
        one.unplaced = left;
        let orders: Vec<u64> = { placed }
            .iter()
            .filter_map(|unplaced: &Unplaced| env.model.place(unplaced))
            .collect();
        if let Some(unacked) = client.unacked.iter_mut().find(|u| u.id == one.id) {
            unacked.placed.extend(orders);
            if let Some(routed) = unacked.routed.filter(|_| is_taken) {
                let twice = (publication.qos == QoS::ExactlyOnce).then_some(one.id);
                env.model.know(&publication, twice, routed.order);
            }
        }
        if let Some(link) = client.link.as_mut().filter(|_| !is_taken) {
            link.parked.push_back(one);
        }
    }
}
