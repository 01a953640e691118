//! The broker: sessions, routing, acknowledgements. Sans-io: packets, store events and the time
//! come in as arguments; bytes to write lie in outboxes, rows to write in batches.
//!
//! [`Broker`] takes events, hands each to the room that it concerns, and settles what has come true;
//! [`end_turn`] is how what it has to say leaves it.
//! What it holds is owned by parts with fields of their own:
//!
//! | part | what |
//! |---|---|
//! | `connections` | limits, replies in their order, outboxes; who is to be flushed or read again |
//! | `sessions` | by key and by client id; their rows, wills and accounts of drops |
//! | `routing` | subscriptions, retained messages and walks through them, groups, what members have left to others |
//! | `ledger` | what is owed on disk, commits, tickets that wait for them, reads |
//! | `talkers` | who publishes most |
//! | `bridges`, `settings`, `timers`, `memory`, `counters`, `work`, `round` | what their names say |
//!
//! What concerns several parts is a function over all of them (`core`) in a room of its own. A room
//! uses those above it in this list, never those below:
//!
//! | room | what |
//! |---|---|
//! | `queues` | whether a message fits a queue, what is dropped, set aside, grows too old |
//! | `sending` | from a queue to the outbox; what an upstream refuses; replies that wait for the store |
//! | `delivering` | from one message to the queues of its receivers; dead letters that are sent again |
//! | `shares` | groups of shared subscriptions, and what a member that goes leaves to others |
//! | `ending` | the end of connections and sessions, wills |
//! | `packets` | what each packet of a peer does |
//! | `bridges::attach`, `reload`, `restore`, `storage` | bridges, SIGHUP, the start, the disk |
//! | `operator` | what the operator asks and has done while the broker runs |
//! | `pieces` | work of all of them that goes on in pieces at the end of a turn, a step of each kind in turn |

mod bridges;
mod connections;
mod core;
mod counters;
mod delivering;
mod ending;
mod ledger;
mod memory;
mod operator;
mod packets;
mod pieces;
mod plan;
mod queues;
mod reload;
mod restore;
mod routing;
mod sending;
mod sessions;
mod settings;
mod shares;
mod storage;
mod talkers;
#[cfg(test)]
mod tests;
mod timers;
mod turn;
mod view;
mod work;

use std::rc::Rc;
use std::time::Duration;

pub use bridges::BridgeId;
pub use bridges::attach::BridgeSession;
use bridges::attach::finish_bridges;
pub use connections::{Address, Outbox};
use connections::{Block, Connection, Stage, kept_of};
use core::Core;
pub use counters::{Counters, Gauges};
use delivering::spread::route_unanswered;
use delivering::walk;
use ending::close::{break_off, close, close_unanswerable, detach};
use ending::relief::relieve;
use ending::session::end_spent;
pub use ledger::Disk;
use memory::Tightness;
pub use operator::{ClientView, RetainedView, Steered, TopicRights, Unsteered};
use packets::accept::{accept, make_room};
use packets::connect::refuse_unreadable;
pub use packets::login::{Answer, Question};
use packets::publish::on_publish;
use packets::{acks, disconnect, mount, publish};
pub use queues::report::{BridgeQueue, ClientDrops, LineQueue, UplinkActivity, UplinkWindow};
use sending::pump::{look_at_emptied, look_at_loops, pump};
use sending::put_back::look_at_refusals;
use sending::replies::send_opened;
pub use sessions::DropReason;
use shares::hand_out::hand_out_due;
use shares::leave::give_what_is_left;
pub use talkers::{Talk, Talker};
use timers::rounded_up;
pub use turn::{Driver, end_turn, feed_store};

use crate::auth::Auth;
use crate::config::log_type::NOTICE;
use crate::config::{CertificateUsername, Config, General};
use crate::impossible;
pub use crate::keys::ConnId;
use crate::message::{Message, Parts};
use crate::mqtt::{self, Packet, QoS, Reason, Version};
use crate::store::{Batch, Event, Loaded, ReadRequest};
use crate::time::Time;

/// The broker.
pub struct Broker {
    core: Core,
}

/// Events of connections.
impl Broker {
    /// A broker that goes on where the store stopped.
    pub fn new(config: &Config, auth: Auth, loaded: Loaded, now: Time) -> Broker {
        let core = restore::restore(config, auth, loaded, now);
        let mut broker = Broker { core };
        broker.settle(now);
        broker
    }

    /// A network connection was accepted on `listener` (its index). `None` where a bound on
    /// connections is reached: close it at once.
    pub fn accept(&mut self, listener: usize, address: Address, now: Time) -> Option<ConnId> {
        accept(&mut self.core, listener, address, now)
    }

    /// There is no descriptor for one more connection: the one that has waited longest without a
    /// CONNECT is closed for it.
    pub fn make_room(&mut self, now: Time) {
        make_room(&mut self.core, now);
    }

    /// How to decode what a connection sends: its protocol version, and the largest packet accepted,
    /// in bytes. `None` while it must not be read: the store is behind, or a queue is full.
    /// [`Broker::take_resumed`] tells when to ask again.
    pub fn reading(&self, c: ConnId) -> Option<(Version, usize)> {
        let conn = self.core.connections.get(c).filter(|c| c.may_be_read())?;
        Some((conn.version(), self.max_packet_of(conn) as usize))
    }

    /// The largest packet accepted from a connection, in bytes.
    fn max_packet_of(&self, conn: &Connection) -> u32 {
        // Before CONNECT nobody needs room for more than a will and some properties.
        const BEFORE_CONNECT: u32 = 256 * 1024;
        if conn.stage() == Stage::New {
            self.core.settings.max_packet().min(BEFORE_CONNECT)
        } else {
            conn.max_received()
        }
    }

    /// The protocol version of a connection, for decoding.
    pub fn version(&self, c: ConnId) -> Version {
        let conn = self.core.connections.get(c);
        conn.map_or(Version::V311, Connection::version)
    }

    /// The largest packet accepted from a connection, in bytes.
    pub fn max_packet(&self, c: ConnId) -> usize {
        let conn = self.core.connections.get(c);
        conn.map_or(0, |conn| self.max_packet_of(conn) as usize)
    }

    /// Handles one packet.
    pub fn packet(&mut self, c: ConnId, packet: Packet<'_>, now: Time) {
        let core = &mut self.core;
        let Some(conn) = core.connections.get_mut(c) else {
            return;
        };
        conn.seen(now);
        core.work.add(1);
        match (conn.stage(), packet) {
            (Stage::Closing, _) => return,
            (Stage::LoggingIn, packet) => {
                impossible!("{} was read while the login is under way", packet.name());
            }
            (Stage::New, Packet::Connect(connect)) => mount::connect(core, c, *connect, now),
            (Stage::New, packet) => {
                let what = format!("{} before CONNECT", packet.name());
                break_off(core, c, &what, now);
            }
            (Stage::Connected, packet) => match packet {
                Packet::Publish(publish) => on_publish(core, c, &publish, now),
                Packet::PubAck(ack) => acks::on_puback(core, c, &ack, now),
                Packet::PubRec(ack) => acks::on_pubrec(core, c, &ack, now),
                Packet::PubRel(ack) => acks::on_pubrel(core, c, &ack, now),
                Packet::PubComp(ack) => acks::on_pubcomp(core, c, &ack, now),
                Packet::Subscribe(packet) => mount::subscribe(core, c, &packet, now),
                Packet::Unsubscribe(packet) => mount::unsubscribe(core, c, &packet, now),
                Packet::PingReq => core.connections.answer_ping(c),
                Packet::Disconnect(packet) => disconnect::on_disconnect(core, c, &packet, now),
                // [MQTT-3.1.0-2].
                Packet::Connect(connect) => {
                    let what = format!("a second CONNECT, as {}", connect.client_id);
                    break_off(core, c, &what, now);
                }
                // The server's own packets, and AUTH without a method [MQTT-4.12.0-6].
                other => break_off(core, c, &format!("{} from a client", other.name()), now),
            },
        }
        self.settle(now);
    }

    /// A connection sent `bytes`, which are no MQTT packet.
    pub fn malformed(&mut self, c: ConnId, bytes: &[u8], error: mqtt::Error, now: Time) {
        let core = &mut self.core;
        let Some(conn) = core.connections.get(c) else {
            return;
        };
        let is_new = conn.stage() == Stage::New;
        let name = core.name_of(c);
        let foreign = mqtt::foreign(bytes).filter(|_| is_new);
        let listener = conn.listener().and_then(|at| core.settings.listener(at));
        let listener = listener.map_or("", |listener| &*listener.name);
        let line = match foreign {
            Some(what) => {
                format!("Closing {name}: {what}, where MQTT is spoken (listener {listener}).")
            }
            None => format!("Closing {name}: {error}"),
        };
        if is_new {
            let what = foreign.map_or_else(|| error.to_string(), |what| what.to_string());
            let key = (conn.address().ip(), what);
            core.refusals.log(key, format_args!("{line}"), now);
            refuse_unreadable(core, c, &error, now);
        } else {
            log::log!(target: NOTICE, conn.level(), "{line}");
            let reason = match error {
                // A second CONNECT [MQTT-3.1.0-2]; only CONNACK may say that it is of a version
                // that is not spoken.
                mqtt::Error::UnsupportedVersion(_) | mqtt::Error::ProtocolName => {
                    Reason::PROTOCOL_ERROR
                }
                _ => error.reason(),
            };
            close(core, c, reason, now);
        }
        self.settle(now);
    }

    /// There is no memory for what this connection sends.
    pub fn no_memory(&mut self, c: ConnId, now: Time) {
        log::warn!(
            "Closing {}: too many large packets at once; max_packet_size sets a lower limit.",
            self.core.name_of(c)
        );
        close(&mut self.core, c, Reason::SERVER_BUSY, now);
        self.settle(now);
    }

    /// The client has shown a certificate with this subject; `by` says what of it is the user name of the
    /// CONNECT that comes next.
    pub fn show_certificate(&mut self, c: ConnId, by: CertificateUsername, subject: &str) {
        self.core.connections.show(c, by, subject);
    }

    /// Nothing comes of the connection, for the reason `why`: its handshake has failed, or its request was
    /// refused. To be told before [`Broker::closed`].
    pub fn not_let_in(&mut self, c: ConnId, why: &str, now: Time) {
        let core = &mut self.core;
        if let Some(conn) = core.connections.get(c) {
            let address = conn.address();
            let line = format_args!("Closing {address}: {why}");
            core.refusals.log((Block::of(address), why), line, now);
        }
    }

    /// The network connection is gone, for the reason `why`.
    pub fn closed(&mut self, c: ConnId, why: &str, now: Time) {
        let core = &mut self.core;
        let Some(conn) = core.connections.get(c) else {
            return;
        };
        if conn.session().is_some() {
            if core.settings.general.connection_messages {
                let (name, level) = (core.name_of(c), conn.level());
                log::log!(target: NOTICE, level, "Client {name} closed its connection: {why}");
            }
            detach(core, c, true, now);
        }
        core.connections.remove(c);
        core.timers.set_connection(c, None);
        self.settle(now);
    }

    /// What was done since the start, in units: a message costs about one for each receiver. The
    /// difference over a packet is what the packet has cost.
    pub fn work(&self) -> u64 {
        self.core.work.done()
    }

    /// A connection is of use before its CONNECT: it is being sent a file. Its time starts anew.
    pub fn touch(&mut self, c: ConnId, now: Time) {
        if let Some(conn) = self.core.connections.get_mut(c) {
            conn.seen(now);
        }
    }

    /// False while a connection must not be read: the store is behind, or a queue is full.
    /// [`Broker::take_resumed`] tells when to ask again.
    pub fn may_read(&self, c: ConnId) -> bool {
        let conn = self.core.connections.get(c);
        conn.is_some_and(Connection::may_be_read)
    }

    /// The connections that may be read again.
    pub fn take_resumed(&mut self) -> Vec<ConnId> {
        self.core.connections.take_resumed()
    }

    /// What waits to be written to a connection.
    pub fn outbox(&mut self, c: ConnId) -> Option<&mut Outbox> {
        self.core.connections.outbox(c)
    }

    /// Some of a connection's outbox was written: there may be room for more.
    pub fn flushed(&mut self, c: ConnId, now: Time) {
        let core = &mut self.core;
        let has_memory = core.memory.state() == Tightness::None;
        let kept = kept_of(core.settings.memory_limit(), has_memory);
        if core.connections.flushed(c, kept, now)
            && let Some(key) = core.session_of(c)
        {
            pump(core, key, now);
            hand_out_due(core, now);
        }
    }

    /// Lets everything that has come true happen.
    fn settle(&mut self, now: Time) {
        let core = &mut self.core;
        loop {
            send_opened(core, now);
            hand_out_due(core, now);
            let ended = end_spent(core, now);
            if !close_unanswerable(core, now) && !ended {
                return;
            }
        }
    }
}

/// The end of a turn, the storage thread, time.
impl Broker {
    /// The batch to commit now, if one is due and none is under way.
    pub fn take_batch(&mut self, now: Time) -> Option<Batch> {
        relieve(&mut self.core, now);
        let batch = storage::take_batch(&mut self.core, now);
        self.settle(now);
        batch
    }

    /// What is to be read from the store; the answers come back as events.
    pub fn take_reads(&mut self) -> std::vec::Drain<'_, ReadRequest> {
        self.core.ledger.take_reads()
    }

    /// The storage thread reports.
    pub fn store_event(&mut self, event: Event, now: Time) {
        storage::on_event(&mut self.core, event, now);
        self.settle(now);
    }

    /// Everything gathered is to be written with the next turn (SIGUSR1).
    pub fn commit_now(&mut self, now: Time) {
        self.core.ledger.commit_now(now);
    }

    /// When [`Broker::tick`] or [`Broker::take_batch`] has something to do next.
    pub fn next_timeout(&self) -> Option<Time> {
        let due = [
            pieces::next(&self.core),
            self.core.ledger.store().next_timeout(),
            self.core.watches.sync_due,
            self.core.loops.due(),
            self.core.watches.look_due().map(rounded_up),
            self.core.connections.look_at().map(rounded_up),
        ];
        due.into_iter().flatten().min()
    }

    /// Does what is due at `now`, where all that peers have sent until then was taken in.
    pub fn tick(&mut self, now: Time) {
        self.tick_unless(now, &|_| false);
    }

    /// As [`Broker::tick`], but of a connection that `has_input` there is more to take in: it is not
    /// taken for silent.
    pub fn tick_unless(&mut self, now: Time, has_input: &dyn Fn(ConnId) -> bool) {
        let core = &mut self.core;
        pieces::go_on(core, has_input, now);
        look_at_emptied(core, now);
        look_at_loops(core, now);
        core.connections.give_back(now);
        look_at_refusals(core, now);
        if core.watches.sync_due.take_if(|due| *due <= now).is_some() {
            for key in core.bridges.keys().collect::<Vec<_>>() {
                pump(core, key, now);
            }
        }
        self.settle(now);
    }

    /// The broker stops: wills are published, MQTT 5 clients told [MQTT-3.14], and everything is
    /// put in the next batch.
    pub fn shutdown(&mut self, now: Time) {
        publish::pieces::go_on_to_the_end(&mut self.core, now);
        self.core.is_shutting_down = true;
        walk::finish(&mut self.core, now);
        for c in self.core.connections.keys() {
            close(&mut self.core, c, Reason::SERVER_SHUTTING_DOWN, now);
        }
        // What would be lost with the memory.
        give_what_is_left(&mut self.core, usize::MAX, now);
        finish_bridges(&mut self.core);
        // Rows of what was dropped would be owed again after the start.
        while self.core.ledger.disown_one(now) {}
        self.commit_now(now);
        self.settle(now);
    }
}

/// SIGHUP, and what the broker itself has to say.
impl Broker {
    /// Other settings from now on. What was agreed on with a client when it connected stays until it
    /// connects again; bounds of queues hold at once. What concerns the store does not change.
    pub fn set_general(&mut self, general: &General, now: Time) {
        reload::set_general(&mut self.core, general);
        self.settle(now);
    }

    /// Puts other rules in force. Clients whose user is gone or has another password, and anonymous
    /// ones that are no longer let in, are disconnected; what the others may publish and read changes at once.
    pub fn set_auth(&mut self, auth: Auth, now: Time) {
        reload::set_auth(&mut self.core, auth, now);
        self.settle(now);
    }

    /// Publishes a message of the broker's own: `$SYS` figures and the state of bridges.
    pub fn publish_own(&mut self, topic: &str, payload: &[u8], retain: bool, now: Time) {
        if let Some(mut message) = self.own_message(topic, payload, now) {
            message.retain = retain;
            route_unanswered(&mut self.core, message, None, now);
            self.settle(now);
        }
    }

    /// Publishes a line of the log, which soon is of no use.
    pub fn publish_log(&mut self, topic: &str, line: &str, now: Time) {
        // As Mosquitto's.
        const EXPIRY: Duration = Duration::from_secs(20);
        if let Some(mut message) = self.own_message(topic, line.as_bytes(), now) {
            message.expiry = Some(now + EXPIRY);
            route_unanswered(&mut self.core, message, None, now);
            self.settle(now);
        }
    }

    fn own_message(&self, topic: &str, payload: &[u8], now: Time) -> Option<Message> {
        let parts = Parts {
            topic,
            props: &[],
            payload,
        };
        let message = Message::new(parts, now, Rc::clone(&self.core.own));
        let mut message = match message {
            Ok(message) => message,
            Err(error) => {
                impossible!("the broker's own message on {topic:.40}: {error}");
                return None;
            }
        };
        // What the broker has to say about a full disk must not wait for it.
        message.qos = if self.core.ledger.is_closed() {
            QoS::AtMostOnce
        } else {
            QoS::ExactlyOnce
        };
        Some(message)
    }
}
