//! footbridge: a small MQTT broker for routers and little Linux boards, with a durable bridge to
//! an upstream broker.
//!
//! # What wins when promises conflict
//! 1. **An acknowledgement is a promise.** Once a PUBACK, PUBREC or PUBCOMP has left, the message
//!    survives kill -9 and a power cut, for every receiver that is owed it. Where that can't be
//!    kept (disk full, queue full) footbridge refuses or stops reading.
//! 2. **Devices never wait for the uplink, DNS or a disk.**
//! 3. **It stays small**: bounded RAM whatever the backlog, few flash writes.
//! 4. **The operator can see and explain everything.**
//!
//! # One thread of logic
//! All state lives on one thread, in plain structs without locks. Beside it stand the storage
//! thread, which owns the database; a helper a bridge for name resolution, which blocks; the log
//! writer; and a thread that `async-io` starts for timers on rare paths. The broker itself is
//! sans-io: packets, store events and the time come in as arguments, so hours of outages run in a
//! test in milliseconds.
//!
//! Work goes in turns: every connection that is ready reads once and hands its packets to the
//! broker; then the storage thread gets its batch and every connection with output one write.
//!
//! # The map
//! A module uses those above it, never those below or beside it; `tests/layering.rs` reads the
//! source and fails where an arrow points the wrong way.
//!
//! | layer | modules | what |
//! |---|---|---|
//! | 1 | [`mqtt`], [`time`] | the codec; a moment as a plain number, the calendar |
//! | 2 | [`message`] | an application message, shared by its receivers |
//! | 3 | [`config`], [`store`], [`route`] | mosquitto.conf; what must survive; who gets what |
//! | 4 | [`auth`], [`session`] | passwords and ACLs; QoS 1 and 2, both halves |
//! | 5 | [`broker`] | sessions, routing and acknowledgements put together |
//! | 6 | [`bridge`], [`status`] | the client side of an uplink; `$SYS` |
//! | 7 | [`net`] | sockets, WebSocket and pages, the clock, the turn |
//! | 8 | [`run`], [`cli`] | the daemon, its log and its reload; pub, sub, passwd, demo |
//!
//! Only `net`, `run` and `cli` name sockets or clocks; only `store` names redb.
//!
//! # One PUBLISH
//! 1. `net` reads and decodes; the message becomes one shared allocation.
//! 2. The broker asks the ACL, takes or recognises a QoS 2 id, and finds the receivers.
//! 3. A durable receiver is owed the message through the ledger ([`store::Store`]): it lies in
//!    RAM with the batch that gathers. One that is connected gets it at once if its window is
//!    open, except that QoS 2 leaves only after the commit that holds it.
//! 4. The publisher's acknowledgement leaves when the message is on disk, or when all who are
//!    owed it have taken it. A message is written only once it has waited a whole
//!    `commit_interval`: with a quick uplink the flash stays untouched.
//! 5. With nobody to owe it to and nothing retained, the acknowledgement leaves with the turn.
//!
//! # Where this differs from the first design, and why
//! - An outbound QoS 2 message is kept **until PUBCOMP**, not PUBREC: an upstream that
//!   loses its session in between has lost the message. Then it is sent again; twice is better
//!   than never.
//! - The reactor is an own edge-triggered epoll ([`net::Reactor`]) instead of `async-io`'s, which
//!   hands every wait to a second thread and re-arms it with a system call.
//! - Messages that wait for a commit are served to connected receivers **from RAM**; only older
//!   ones are read back.
//! - A payload below 16 KB is copied into the outbox of each receiver, when it is sent: for the
//!   small ones of telemetry that is cheaper than a reference and a write of its own. Larger ones
//!   are shared, as is whatever is queued.
//! - **A journal stands in front of redb** (`store::journal`): measured, a commit of one message
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
//! - While a publisher's messages wait for room in a full queue it is still read, up to a bound:
//!   the acknowledgements that make room may be its own.
//! - A message that comes by a **shared subscription** has a row of its own, for one receiver. When
//!   a member goes, its queue stays where it is as an estate, and a message changes hands only when
//!   a connected member could be sent it: a backlog is not written anew for each that comes and
//!   goes. A session that ends before its estate is spent lives on without a name. After
//!   UNSUBSCRIBE a member keeps what it was sent; the rest is for the others.
//! - **Topic aliases** are the connection's business, both ways, not `session`'s, for they end with
//!   it: a record in a queue never knows of them. Those that are set for a peer go to topics that
//!   come again, and for a client to the first topics at once, as in Mosquitto.
//! - **WebSocket without tungstenite**: it gathers each frame in a buffer a connection. Here frames
//!   are taken off in place as they arrive (`net::web`), and httparse reads the head before them.
//!   The files of `http_dir` are read on the one thread, a piece a turn: on a disk that hangs, they
//!   hang everything. They are meant for a page of the router's own flash.
//! - **env_logger filters and formats, but does not decide alone** (`run::logger`): Mosquitto's types
//!   are no levels, each is switched by itself, and SIGHUP changes them and the destinations.
//! - With `user`, root binds the listeners and opens the log **before any thread is started**, gives
//!   its rights up, and only then opens the store: in Linux each thread has rights of its own, and
//!   to change those of all takes unsafe code.

#![forbid(unsafe_code)]

pub mod auth;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod config;
mod impossible;
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

pub(crate) use impossible::impossible;
