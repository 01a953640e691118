//! Taking in the connections that a listener has.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::future;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::Socket;

use super::descriptors::Allowed;
use super::section::Listener;
use crate::net::hub::{Hub, Shared, let_others_go_first, sleep};

/// Connections accepted before others get their turn.
const BURST: usize = 64;

/// How long to leave the backlog alone when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A connection, and where it comes from if it comes by the network.
type Accepted = (Socket, Option<SocketAddr>);

/// Accepts connections for ever.
pub async fn serve(listener: Listener, hub: Shared) {
    let mut resting = false;
    // One that has taken a descriptor that is kept back; the rest wait in the kernel meanwhile.
    let mut held = None;
    loop {
        if held.is_none() {
            poll_fn(|cx| listener.source.poll_readable(cx)).await;
        }
        // Connections that have ended make room for new ones first.
        future::yield_now().await;
        // Lets go of the hub before it waits.
        let accepted = accept_burst(&listener, &mut hub.borrow_mut(), &mut held);
        match accepted {
            Ok(()) => {
                if mem::take(&mut resting) {
                    hub.borrow_mut().health.resting -= 1;
                }
                let_others_go_first(&hub).await;
            }
            Err(e) => {
                if !mem::replace(&mut resting, true) {
                    log::warn!("No more connections can be accepted on {listener} for now: {e}.");
                    hub.borrow_mut().health.resting += 1;
                }
                sleep(&hub, ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts what waits, up to a bound, the one that is `held` first. An error means that the process
/// is out of something.
fn accept_burst(listener: &Listener, hub: &mut Hub, held: &mut Option<Accepted>) -> io::Result<()> {
    let allowed = Allowed::now(hub.uplinks.len());
    for _ in 0..BURST {
        let next = match held.take() {
            // A copy has the lowest number that is free by now.
            Some((socket, peer)) => Ok(Some((socket.try_clone().unwrap_or(socket), peer))),
            None => accept(listener),
        };
        match next {
            Ok(Some((socket, peer))) => {
                if !allowed.may_have(&socket) {
                    *held = Some((socket, peer));
                    hub.make_room();
                    return Err(io::Error::other(
                        "the last descriptors are kept back for bridges, the store and the log; \
                         a higher limit of open files (ulimit -n) allows more",
                    ));
                }
                let section = &listener.section;
                hub.admit(socket, section.index, section.site.as_ref(), peer)?;
            }
            Ok(None) => {
                listener.source.read_dry();
                return Ok(());
            }
            Err(e) if of_the_peer(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The next connection, non-blocking already, and where it comes from, if it comes by the
/// network; `None`: none waits.
fn accept(listener: &Listener) -> io::Result<Option<Accepted>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = match rustix::net::acceptfrom_with(&listener.socket, flags) {
        Ok(accepted) => accepted,
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok(Some((socket.into(), peer)))
}

/// True for errors of the one connection that was to be accepted, which accept(2) says to pass
/// over; false where accepting itself is in trouble.
fn of_the_peer(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::CONNABORTED
                | Errno::INTR
                | Errno::PERM
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTUNREACH
        )
    )
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use smol::LocalExecutor;

    use super::*;
    use crate::config;
    use crate::net::half::tests::hub;
    use crate::net::listen::{Start, bind};

    /// Whoever connects without end doesn't keep the kernel from being asked what others have sent.
    #[test]
    fn the_kernel_is_asked_between_two_bursts() {
        let (reactor, hub) = hub();
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let section = config::Listener {
            bind: Some("127.0.0.1".to_owned()),
            ..config::Listener::on(port)
        };
        let bound = bind(&reactor, &[section], &[], Start::Plain).unwrap();
        let count = 5 * BURST;
        let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _peers: Vec<_> = (0..count).map(|_| connect()).collect();
        let executor = LocalExecutor::new();
        for listener in bound.listeners {
            executor.spawn(serve(listener, hub.clone())).detach();
        }
        let life = executor.spawn(async move {
            let mut before = 0;
            while before < count {
                let_others_go_first(&hub).await;
                let open = hub.borrow().conns.iter().flatten().count();
                assert!(open <= before + BURST, "{before}, then {open}");
                before = open;
            }
        });
        reactor.block_on(executor.run(life));
    }
}
