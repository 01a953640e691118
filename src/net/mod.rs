//! Sockets, the clock of the process, and the loop that drives the broker.
//!
//! One thread runs everything as tasks of one [`smol::LocalExecutor`]. What the tasks share is the
//! [`Hub`]. Work goes in turns: each ready connection reads once and hands its packets to the
//! broker (`drive`), as far as its share of the turn goes (`turn::ready`); then the end of the turn gives the
//! store its batch and writes each connection's output once (`turn`). `web` puts WebSocket, the status page and files between socket and packets;
//! `logins` checks passwords and asks at `auth_socket`, which takes long, on threads of its own;
//! `control` serves the control socket;
//! `uplink` drives the client side of bridges, and keeps name lookups, which block, off this thread.

mod channel;
mod clock;
mod conn;
mod control;
mod drive;
mod half;
mod hub;
mod listen;
mod logins;
mod progress;
mod reactor;
mod signals;
mod stream;
mod turn;
mod uplink;
mod web;

pub use channel::{Handshakes, Stepped};
pub use clock::{Clock, Seen};
pub use control::{Access, Answer, Asked, ControlSocket, control};
pub use hub::{Hub, Shared, let_others_go_first, sleep};
pub use listen::{
    Bound, Error as ListenError, Found, Listener, Start, Trial, Waiting, addresses_of, bind,
    is_here, listen_late, look_up, most_connections, serve, try_out,
};
pub use logins::{LoginEvent, Logins};
pub use reactor::{Reactor, Waiter, Wanted};
pub use signals::Signals;
pub use turn::Turn;
pub use uplink::run as uplink;
#[cfg(fuzzing)]
pub use web::fuzz::run as fuzz_web;
