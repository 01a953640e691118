//! What was promised and what came: the reference that the simulation holds the broker to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::client::Client;
use crate::mqtt::{QoS, Version, filter_matches};

/// A message of the simulation, by its number; the payload is the number.
#[derive(Debug)]
struct Sent {
    topic: String,
    qos: QoS,
    /// How often the broker had been killed.
    crashes: u32,
    /// Published at QoS 2 by a client that remembers: must not come twice.
    once: bool,
    /// The clients whose subscription was confirmed before it was published, with their session.
    wanted: BTreeMap<usize, u32>,
    /// Those of them to whom it must come.
    owed: BTreeSet<usize>,
    acknowledged: bool,
}

/// All messages and deliveries.
#[derive(Debug)]
pub struct Ledger {
    sent: Vec<Sent>,
    /// How often each client got each message.
    counts: Vec<BTreeMap<usize, u32>>,
    /// The newest message each client got first, by topic.
    newest: HashMap<(usize, String), usize>,
    /// Who is owed what is published: filter and QoS of confirmed subscriptions.
    confirmed: Vec<Option<(String, QoS)>>,
    /// The filter each client has ever asked for.
    asked: Vec<Option<String>>,
    /// Which session each client is in.
    sessions: Vec<u32>,
    crashes: u32,
}

impl Ledger {
    pub fn new(clients: usize) -> Ledger {
        Ledger {
            sent: Vec::new(),
            counts: vec![BTreeMap::new(); clients],
            newest: HashMap::new(),
            confirmed: vec![None; clients],
            asked: vec![None; clients],
            sessions: vec![0; clients],
            crashes: 0,
        }
    }

    pub fn asked(&mut self, client: usize, filter: &str) {
        self.asked[client] = Some(filter.to_owned());
    }

    pub fn confirmed(&mut self, client: usize, filter: String, granted: QoS) {
        self.confirmed[client] = Some((filter, granted));
    }

    pub fn crashed(&mut self) {
        self.crashes += 1;
    }

    /// The client has a new session: what its last one got or was owed no longer counts.
    pub fn new_session(&mut self, client: usize) {
        self.confirmed[client] = None;
        self.sessions[client] += 1;
        self.counts[client].clear();
        self.newest.retain(|(n, _), _| *n != client);
    }

    pub fn is_confirmed(&self, client: usize) -> bool {
        self.confirmed[client].is_some()
    }

    /// A client publishes a new message; answers its number.
    pub fn publish(&mut self, topic: &str, qos: QoS, durable: bool) -> usize {
        let (mut wanted, mut owed) = (BTreeMap::new(), BTreeSet::new());
        for (client, confirmed) in self.confirmed.iter().enumerate() {
            let Some((filter, granted)) = confirmed else {
                continue;
            };
            if filter_matches(filter, topic) {
                wanted.insert(client, self.sessions[client]);
                if *granted.min(&qos) > QoS::AtMostOnce {
                    owed.insert(client);
                }
            }
        }
        self.sent.push(Sent {
            topic: topic.to_owned(),
            qos,
            crashes: self.crashes,
            once: durable && qos == QoS::ExactlyOnce,
            wanted,
            owed,
            acknowledged: false,
        });
        self.sent.len() - 1
    }

    pub fn acknowledged(&mut self, message: usize) {
        self.sent[message].acknowledged = true;
    }

    /// The message went to `client`, which had not seen its packet id.
    pub fn arrived(&mut self, client: &Client, topic: &str, message: usize, qos: QoS) {
        let n = client.number;
        let sent = &self.sent[message];
        assert_eq!(sent.topic, topic, "message {message} changed its topic");
        let asked = self.asked[n].as_deref();
        let wanted = asked.is_some_and(|filter| filter_matches(filter, topic));
        assert!(wanted, "{client:?} never asked for {topic}");
        let count = self.counts[n].entry(message).or_default();
        *count += 1;
        if *count > 1 {
            let once = sent.once && qos == QoS::ExactlyOnce;
            assert!(!once, "{client:?} got message {message} of QoS 2 twice");
            return;
        }
        // A publisher that had no answer sends again, maybe to a later subscriber, or to one
        // that has lost it at QoS 0. A queued QoS 0 message may come again after a crash.
        let again =
            qos == QoS::AtMostOnce && (sent.qos > QoS::AtMostOnce || sent.crashes != self.crashes);
        if again || sent.wanted.get(&n) != Some(&self.sessions[n]) {
            return;
        }
        let newest = self.newest.entry((n, topic.to_owned())).or_default();
        assert!(
            *newest <= message,
            "{client:?} got message {message} of {topic} after {newest}"
        );
        *newest = message;
    }

    /// Everything acknowledged and owed to `client` has come.
    pub fn check_owed(&self, client: &Client) {
        if !client.is_durable() {
            return;
        }
        for (message, sent) in self.sent.iter().enumerate() {
            let due = sent.acknowledged && sent.owed.contains(&client.number);
            let came = self.counts[client.number].contains_key(&message);
            assert!(!due || came, "{client:?} never got {message}: {sent:?}");
        }
    }

    pub fn delivered(&self) -> u64 {
        self.counts.iter().map(|counts| counts.len() as u64).sum()
    }
}

/// The version of a client with an even or an odd number.
pub fn version(n: usize) -> Version {
    match n % 2 {
        0 => Version::V311,
        _ => Version::V5,
    }
}
