//! footbridge: a small MQTT broker for routers and little Linux boards, with a durable bridge to
//! an upstream broker.
//!
//! # What wins when promises conflict
//! 1. **The site works.** Local delivery never waits for what is away, full, slow or broken: not for
//!    the uplink, an absent session, DNS or a disk. One slow thing never stops another.
//! 2. **An acknowledgement is a promise.** Once a PUBACK, PUBREC or PUBCOMP has left, the message
//!    survives kill -9 and a power cut, for every receiver that is owed it, until it is delivered or
//!    until a bound that the operator can see is reached. What a bound drops goes by a stated policy
//!    (`queue_overflow`: the oldest, unless said otherwise), is counted and told at once; nothing is
//!    dropped in silence. Where nothing can be stored (disk full) footbridge refuses new promises and
//!    keeps the old; who is connected gets the message all the same.
//! 3. **It stays small**: bounded RAM whatever the backlog, few flash writes.
//! 4. **The operator can see and explain everything.**
//! 5. **No state it can't leave by itself.**
//!
//! # One thread of logic
//! All state lives on one thread, in plain structs without locks. Beside it stand the storage
//! thread, which owns the database; one that checks passwords, one for each `auth_socket` and one that
//! shakes hands for TLS, as that takes long (`net::logins`, `net::channel`); a helper a bridge for name
//! resolution, which blocks; and the log writer. The broker itself is sans-io: packets, store events and
//! the time come in as arguments, so hours of outages run in a test in milliseconds.
//!
//! Work goes in turns: every connection that is ready reads once and hands its packets to the
//! broker, as far as its share and that of the turn go; then the storage thread gets its batch and every
//! connection with output one write. Between two turns the kernel is asked what has happened. What a
//! few bytes of a peer can make large goes on over many turns (`broker::pieces`).
//!
//! # The map
//! A module uses those above it, never those below or beside it; `tests/layering.rs` reads the
//! source and fails where an arrow points the wrong way, or where the files of a room use each other
//! in a circle.
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 1 | [`keys`], [`held`], [`json`], `files` | keys of connections, sessions and groups, which go stale with what they name; how many bytes are held of what peers can make grow; JSON of one line; reading a file |
//! | 2 | [`mqtt`], [`time`] | the codec; a moment as a plain number, the calendar |
//! | 3 | [`message`], [`lane`], [`owed`] | an application message, shared by its receivers; the lane of a queue; how a message is owed to a session |
//! | 4 | [`config`], [`store`], [`route`] | mosquitto.conf; what must survive; who gets what |
//! | 5 | [`auth`], [`session`], [`bridge`], [`tls`] | passwords and ACLs; QoS 1 and 2, both halves; a bridge: its link, map, limits, echo, queue and status; certificates, and a TLS connection without its socket |
//! | 6 | [`broker`], [`import`] | sessions, routing and acknowledgements put together; what Mosquitto keeps, brought into a store |
//! | 7 | [`status`] | `$SYS`, and the same for Prometheus and watchdogs |
//! | 8 | [`net`] | sockets, WebSocket and pages, the clock, the turn |
//! | 9 | [`run`], [`cli`] | the daemon, its log and its reload; pub, sub, passwd, demo |
//!
//! Only `net`, `run` and `cli` name sockets or clocks; only `store` names redb. What cannot be is
//! reported by one macro, `impossible!`: logged once a place, and a panic in debug builds. The rooms of
//! the broker, which have an order of their own, are listed in `src/broker/mod.rs`.
//!
//! # One PUBLISH
//! What happens between a decoded PUBLISH and the bytes in the outbox of a receiver, by function:
//!
//! 1. `Broker::packet` hands the packet to `packets::publish::on_publish`, which reads its properties
//!    once (`Props::read_publish`).
//! 2. `publisher` looks the connection up: `check_limits` holds the packet to what the peer was told,
//!    `name_topic` finds its topic by name, alias and mount point. A QoS 2 message that was routed
//!    before is only acknowledged again (`is_known`).
//! 3. `make_message` applies the map of a bridge and the access rules, and makes the one shared
//!    [`message::Message`] (`Message::new`), which the queues of all receivers share.
//! 4. `take` says whose acknowledgement may have to wait and calls `delivering::spread::route`. What goes to
//!    more than five hundred takes the steps from 6 on in pieces (`packets::publish::pieces`).
//! 5. `Router::find_receivers` asks the tree (`Tree::matches`, which remembers where the topics of late were
//!    found) and lists each receiver once
//!    (`Receiver::new`), with its lane: for a bridge, the line of its map that decides. `add_members`
//!    adds a member of each group of shared subscriptions that is met.
//! 6. `plan_all` asks once for each receiver that the message must be stored for whether its queue
//!    takes it now (`plan_stored`, `queues::bounds::admission`). If not, the others get it all the
//!    same, and the publisher is refused or waits (`packets::parked`).
//! 7. `deliver` does that. What need not be stored goes at once to a receiver that waits for nothing
//!    else (`send_now`, `Outbound::is_free`), or is queued in RAM (`queue_in_ram`). What must be
//!    stored is owed through the ledger (`Store::put_each`), where it lies in RAM with the batch that
//!    gathers (`owe`), and then queued (`queue_stored`); the acknowledgement has its place among the
//!    publisher's replies from then on (`Connections::reserve`).
//! 8. `pump` sends what is queued as far as the receiver's window and outbox take it
//!    (`Outbound::next`), unless it is too old or forbidden by now (`transmit_queued`). Behind a
//!    message that waits already there is nothing to do before the receiver answers
//!    (`Outbound::push`).
//! 9. `transmit` names the topic as the receiver knows it, and `Writer::publish` encodes the packet
//!    into the outbox (`mqtt::encode_head`, then the payload).
//! 10. `accept` acknowledges the message: at once if nobody is owed it; else in the place that was
//!     reserved, when the message is on disk, or when all who are owed it have taken it
//!     (`Broker::settle`).
//!
//! A message is written only once it has waited a whole `commit_interval`: with a quick uplink the
//! flash stays untouched. QoS 2 to a durable receiver leaves only after the commit that holds it, and
//! PUBREL after the one that holds the release: once all that is under way to an upstream waits for
//! that, it comes at once (`packets::acks`), one for each window. A payload goes to the journal from
//! where the batch put it.
//!
//! # Where this differs from the first design, and why
//! - An outbound QoS 2 message is kept **until PUBCOMP**, not PUBREC: an upstream that
//!   loses its session in between has lost the message. Then it is sent again; twice is better
//!   than never.
//! - The reactor is an own edge-triggered epoll ([`net::Reactor`]) instead of `async-io`'s, which
//!   hands every wait to a second thread and re-arms it with a system call. Timers are its own as well, and
//!   every wait counts in milliseconds: a `timespec` of rustix is not that of musl on 32-bit boards, where
//!   waits with it end at once or never (`net::reactor::wait`).
//! - Messages that wait for a commit are served to connected receivers **from RAM**; only older
//!   ones are read back.
//! - A payload below 16 KB is copied into the outbox of each receiver, when it is sent: for the
//!   small ones of telemetry that is cheaper than a reference and a write of its own. Larger ones
//!   are shared, as is whatever is queued.
//! - **A journal stands in front of redb** (`store::files::journal`): measured, a commit of one message
//!   writes 4.3 KB instead of 33 KB. From 80 messages a commit on, redb alone writes as little, so
//!   larger commits go past it.
//! - A file is compacted by copying what is live to a new one, not by redb's own compaction: the
//!   same code brings back a file that was deleted under the broker, and it costs what is live.
//! - A damaged file is not only set aside: its rows are read without redb, and saved by their
//!   checksums. Damage found while running starts the broker over within the process.
//! - The broker's clock counts the time that the box was off only as far as that can be: not a
//!   jump by years ([`net::Clock`]).
//! - A commit that only deletes and cursors asked for leaves out messages that have not waited for
//!   their receivers yet: with a healthy uplink one hiccup would else start a chain of writes.
//! - On a full disk the space for deletes comes from a ballast file, as designed; messages that
//!   would have to be stored are refused until the ballast lies there again.
//! - **A message that one queue refuses reaches the others at once**, and a 3.1.1 publisher gets the
//!   acknowledgement of a later message that all have room for before that of the one that waits:
//!   [MQTT-4.6.0-2] asks for the order, but then one absent session would stop the site. While a
//!   publisher's messages wait for room it is still read, up to a bound: the acknowledgements that
//!   make room may be its own.
//! - **Queues in RAM have the bounds of those on disk** (`max_queued_bytes`, `max_queued_messages`),
//!   and stay small once three quarters of `memory_limit` are taken. That counts all that peers can make
//!   grow ([`held`]); at nine tenths who holds most is closed.
//! - A message that comes by a **shared subscription** has a row of its own, for one receiver. When
//!   a member goes, its queue stays where it is, and a message changes hands only when a connected
//!   member could be sent it: a backlog is not written anew for each that comes and goes. A session
//!   that ends before that is done stays without a name. After UNSUBSCRIBE a member keeps what it was
//!   sent; the rest is for the others.
//! - **Which `topic` line a message goes up by is decided once**, when it is routed, and stays with
//!   it: it is counted, bounded and sent by that line, at the QoS that the line has when it is sent
//!   (`LocalEnd::waiting_qos`). Lines have numbers that the store keeps (`bridge::Numbering`): at their
//!   places others may stand the next time. `Map` and `Wire` are therefore below
//!   the broker, and the trait that stood between them is gone.
//! - **A session upstream is asked to last a week**, also with an explicit `mqttv50`, where Mosquitto asks
//!   for none: commands that come while the link is down would be lost, and to say the version is not
//!   to want that. `bridge_session_expiry_interval 0` wants it.
//! - **UNSUBSCRIBE goes only to what the session upstream is known to have**: the filters that were
//!   acknowledged to us are kept with the bridge's session on disk, and those that the configuration
//!   has no more are unsubscribed while the upstream still has the session. Mosquitto unsubscribes
//!   all that goes out; at ejabberd that takes it from every other client.
//! - **QoS 0 with `qos0=keep`** is owed like any other message from routing on (`Receiver::new`), at the
//!   QoS of its line. Nobody waits for it to be stored, so a full queue or disk drops it and refuses
//!   nothing.
//! - **An upstream may refuse a message** (`bridge::refusal`): it goes back to its place, and its lane is
//!   paused. Such a lane has a cursor of its own in the store until it has caught up: the common one
//!   goes on with the others, and to list all that it has passed would be written again and again.
//!   What can never be taken changes its lane: dead letters have rows like any other message.
//! - **What an upstream can't do is found out, and kept** (`bridge::upstream`): a ladder of what a CONNECT
//!   offers, and *careful* connections, one thing at a time, to find what the upstream closes on. Blame
//!   takes two ends with that alone on its way, and others that pass between: an upstream that
//!   closes on everything must not turn a queue into dead letters. Mosquitto tries the same again for
//!   ever. Will and notification are given up together: a "1" that no will takes back would lie.
//! - **Subscriptions go first, the notification after their SUBACKs**; Mosquitto sends it first. What
//!   closes on the notification has delivered the commands by then.
//! - **What goes round over several brokers is marked, once something does** (`bridge::LoopGuard`), by a hash of
//!   topic and payload under a key of this start: nobody else can make the mark, and the broker need
//!   remember nothing. To remember payloads instead would eat what devices repeat; to mark always would cost
//!   metered links. Before MQTT 5 it is found out by a trial (`bridge::LoopGuard`): what goes round comes only
//!   when it was sent on.
//! - **Session numbers of 64 bits**: those beyond 2^32 have a table of their own in the store, made
//!   with the first of them, so that older stores open and nothing is migrated.
//! - **A session has parts**: where it has many subscriptions or open packet ids of QoS 2, each
//!   subscription and each page of ids has a row of its own, in a table made with the first of them, so
//!   that a commit writes in proportion to what came. Few of them stay in the rows of the session,
//!   and the store's format with them.
//! - **An upstream is not cut off for what it sends** (`bridge::Faults`), although [MQTT-4.13.1-1] asks
//!   for it: a session that lasts would deliver the same message on the next connection, for ever.
//!   Of a packet that does not decode is read what its acknowledgement needs (`mqtt::read_faulty`);
//!   what is too large is thrown away as it comes. Only a frame without an end ends the connection.
//!   Before CONNACK nothing is delivered, and everything else ends the attempt.
//! - **Retained messages go up beside a bridge's queue**, when it is empty: a pass over what is
//!   retained sends what the upstream is not known to have. In the queue they would need room and
//!   writes, and an older value could come after a newer one that was sent at QoS 0.
//! - **A new subscriber pulls what is retained** (`routing::Walks`), where Mosquitto queues all of it with
//!   the SUBACK: a walk through the topics goes on in pieces as the subscriber takes what comes. What is
//!   published meanwhile comes behind what its topic retained. A durable session that is away
//!   finds the walk where it was; after a kill -9 it begins anew, for the row of the subscription says that
//!   it was not over: rather twice than never. A filter
//!   that stands in one SUBSCRIBE twice has one walk, though [MQTT-3.8.4-5] would give it two.
//!   Only a walk that waits for its reader is noted there: one that is over in a moment, as that of a
//!   client that subscribes anew at each connect, is not worth two writes.
//! - **A filter that no other parts from is one node** of the tree (`route::trie`), whatever its depth, and
//!   what is found by a name or an edge lies in tables of numbers (`keys::Numbers`): an idle connection with
//!   a subscription takes a third less.
//! - **`persistence false` is a file of pages in memory** (`store::files::memory`), not redb's own, which
//!   keeps the most it ever had. A rewrite there is redb's compaction in place: there may be no room for a copy.
//! - **A retained value of up to 512 bytes is packed** in one allocation (`route::kept`), in short sorted
//!   lists: a site has a hundred thousand of them, and sends each rarely. It is made anew for each
//!   subscriber that asks for it.
//! - **Buffers of outboxes are kept while a burst needs them**, and given back a second later: to grow
//!   fifty of them anew in each turn cost a quarter of a fan-out. With glibc freed memory is then given
//!   back to the system by one of the three unsafe calls of the product (`net::turn::heap`).
//! - **An upstream of which many answers are awaited is read once half of them have come**
//!   (`net::turn::gather`), or a millisecond later: Mosquitto writes each PUBACK by itself, and to be woken,
//!   read and write for each is most of what a message costs over a bridge. The system wakes us once so many
//!   bytes are there (`SO_RCVLOWAT`, by another unsafe call: `net::channel::low_water`).
//! - **Who publishes most is counted all the time** (`broker::talkers`): nobody asks before there is trouble. Of
//!   a flood one message of sixteen or so is counted, by chance.
//! - **Topic aliases** are the connection's business, both ways, not `session`'s, for they end with
//!   it: a record in a queue never knows of them. Those that are set for a peer go to topics that
//!   come again, and for a client to the first topics at once, as in Mosquitto.
//! - **WebSocket without tungstenite**: it gathers each frame in a buffer a connection. Here frames
//!   are taken off in place as they arrive (`net::web`), and httparse reads the head before them.
//!   The files of `http_dir` are read on the one thread, a piece a turn: on a disk that hangs, they
//!   hang everything. They are meant for a page of the router's own flash.
//! - **A handshake of TLS goes to a thread** part by part, and the session with it (`net::channel`): one
//!   signature takes longer on a router than a turn may. What comes after it is decrypted in the turn.
//!   A bridge shakes hands on the thread of logic, for it does so rarely.
//! - **Certificates of version 1 are judged here** (`tls::version1`), for webpki takes none and the manual of
//!   Mosquitto tells to make them: one counts where a trusted CA has signed it itself. webpki verifies the
//!   signatures.
//! - **ALPN never refuses a client** (`tls::server`): rustls would, where none of the protocols that it
//!   names is ours; Mosquitto looks at none.
//! - **A link is late only once its upstream has taken the question** (`bridge::link::state::output`): what the
//!   kernel still holds (`SIOCOUTQ`) can't be answered, and on a slow line that is minutes. A message counts
//!   from when the upstream's TCP has all that was said by then; before that the link is dead only if
//!   nothing at all is taken for a keep-alive. To ask the kernel is the third unsafe call
//!   (`net::channel::untaken`).
//! - **env_logger filters and formats, but does not decide alone** (`run::logger`): Mosquitto's types
//!   are no levels, each is switched by itself, and SIGHUP changes them and the destinations.
//! - With `user`, root binds the listeners and opens the log **before any thread is started**, gives
//!   its rights up, and only then opens the store: in Linux each thread has rights of its own, and
//!   to change those of all takes unsafe code.

// `forbid` could not be lifted for `net::turn::heap::glibc`, `net::channel::untaken` and `low_water` beside
// it; tests/layering.rs lets no other file do it.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        unreachable_pub,
        reason = "the numbers of tests are known to fit, and their items go nowhere"
    )
)]

pub mod auth;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod config;
mod files;
pub mod held;
pub mod import;
mod impossible;
pub mod json;
pub mod keys;
pub mod lane;
pub mod message;
pub mod mqtt;
pub mod net;
pub mod owed;
pub mod route;
pub mod run;
pub mod session;
#[cfg(test)]
mod slow_tests;
pub mod status;
pub mod store;
pub mod time;
pub mod tls;

pub(crate) use impossible::impossible;
