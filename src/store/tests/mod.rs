//! Tests of the store as a whole: what a crash, a failing disk and bit rot leave.

mod clock;
mod crash;
mod damage;
pub(super) mod disk;
mod faults;
mod files;
mod fill;
mod journal;
mod ledger;
mod lost;
mod mix;
mod model;
mod newer;
mod parts;
mod rescue;
mod rows;
mod wide;

use std::ops::Range;
use std::rc::Rc;
use std::slice;

use crate::lane::Lane;
use crate::message::{Message, MessageId, Origin, Parts, SessionId};
use crate::mqtt::{QoS, RetainHandling, Version};
use crate::owed::Owed;
use crate::store::{Batch, Db, Rows, SessionRecord, SubscriptionRecord};
use crate::time::Time;

/// A QoS 1 message on `topic`.
pub(super) fn message(topic: &str, payload: &[u8]) -> Message {
    let parts = Parts {
        topic,
        props: &[],
        payload,
    };
    let mut message =
        Message::new(parts, Time::from_secs(1_000), Rc::new(Origin::default())).unwrap();
    message.qos = QoS::AtLeastOnce;
    message
}

/// `session` is owed a message, as the `seq`th of its sequence.
fn target(session: u64, seq: u64) -> Owed {
    Owed {
        session: SessionId(session),
        seq,
        qos: QoS::AtLeastOnce,
        retain: false,
        lane: Lane::Client,
        sub_ids: Box::default(),
    }
}

/// A session that never expires.
pub(super) fn session(client_id: &str) -> SessionRecord {
    SessionRecord {
        client_id: client_id.into(),
        username: None,
        listener: None,
        version: Version::V5,
        expiry: u32::MAX,
        disconnected_at: None,
        subscriptions: Vec::new(),
        will: None,
        bridge: false,
        subscribed_upstream: Vec::new(),
        given_up: (0, Vec::new()),
        lines: Vec::new(),
        ended: false,
    }
}

/// A subscription.
pub(super) fn subscription(filter: &str, qos: QoS) -> SubscriptionRecord {
    SubscriptionRecord {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
        sub_id: None,
        lane: Lane::Client,
        awaits_retained: false,
    }
}

/// A batch with messages `ids`, each owed to session 1.
fn messages(seq: u64, ids: Range<u64>) -> Batch {
    let mut batch = Batch::new(seq);
    for id in ids {
        let message = message("a/b", format!("payload {id}").as_bytes());
        batch.put_message(MessageId(id), &message, &[target(1, id)]);
    }
    batch
}

/// All stored messages.
fn rows(db: &mut Db) -> Rows {
    db.read(slice::from_ref(&(0..u64::MAX)), usize::MAX)
        .unwrap()
}

/// The ids of all stored messages.
fn stored(db: &mut Db) -> Vec<u64> {
    rows(db).iter().map(|(id, _)| id.0).collect()
}
