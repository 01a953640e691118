//! Listening sockets.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::hub::{Hub, Shared};
use super::reactor::{Reactor, Source};
use crate::config;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 1024;

/// Connections accepted before others get their turn.
const BURST: usize = 64;

/// How long to leave the backlog alone when descriptors or memory have run out.
const REST: Duration = Duration::from_millis(200);

/// Why a listener can't listen.
#[derive(Debug)]
pub struct Error {
    /// Host or address and port, as the configuration says them.
    at: String,
    cause: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.at, self.cause)?;
        match self.cause.kind() {
            ErrorKind::AddrInUse => f.write_str(
                "; another program has this port (a second broker? `ss -ltnp` names it): \
                 stop it or choose another port",
            ),
            ErrorKind::PermissionDenied => {
                f.write_str("; ports below 1024 need CAP_NET_BIND_SERVICE: choose one above")
            }
            ErrorKind::AddrNotAvailable => f.write_str(
                "; no interface has this address (yet): check `listener` or leave it out",
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

/// A bound socket and the index of its `listener` section.
#[derive(Debug)]
pub struct Listener {
    index: usize,
    socket: TcpListener,
    source: Source,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds every listener; one that names no address gets a socket a family. Without any in
/// `config`, and for each of `ports` (`-p`), it is loopback only, as Mosquitto 2's local-only
/// mode; those count as listener 0.
///
/// # Errors
/// The first address that can't be had. A family that the kernel lacks is passed over, as long as
/// the other one works.
pub fn bind(
    reactor: &Rc<Reactor>,
    config: &[config::Listener],
    ports: &[u16],
) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for (index, section) in config.iter().enumerate() {
        match &section.bind {
            Some(host) => listeners.extend(named(reactor, index, host, section.port)?),
            None => listeners.extend(both(
                reactor,
                index,
                section.port,
                Ipv4Addr::UNSPECIFIED,
                Ipv6Addr::UNSPECIFIED,
            )?),
        }
    }
    let default = [1883];
    let local = if config.is_empty() && ports.is_empty() {
        &default
    } else {
        ports
    };
    for &port in local {
        listeners.extend(both(
            reactor,
            0,
            port,
            Ipv4Addr::LOCALHOST,
            Ipv6Addr::LOCALHOST,
        )?);
    }
    Ok(listeners)
}

/// A listener at each address of `host`.
fn named(
    reactor: &Rc<Reactor>,
    index: usize,
    host: &str,
    port: u16,
) -> Result<Vec<Listener>, Error> {
    let failed = |cause| Error {
        at: format!("{host} port {port}"),
        cause,
    };
    let addresses = (host, port).to_socket_addrs().map_err(failed)?;
    addresses
        .map(|address| listen(reactor, index, address).map_err(failed))
        .collect()
}

/// A listener a family; one of them may be missing.
fn both(
    reactor: &Rc<Reactor>,
    index: usize,
    port: u16,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
) -> Result<Vec<Listener>, Error> {
    let mut bound = Vec::with_capacity(2);
    let mut missing = None;
    for ip in [IpAddr::V4(v4), IpAddr::V6(v6)] {
        match listen(reactor, index, SocketAddr::new(ip, port)) {
            Ok(listener) => bound.push(listener),
            Err(cause) => {
                let failed = Error {
                    at: format!("port {port}"),
                    cause,
                };
                if !family_missing(&failed.cause) {
                    return Err(failed);
                }
                missing = Some(failed);
            }
        }
    }
    match missing {
        Some(failed) if bound.is_empty() => Err(failed),
        _ => Ok(bound),
    }
}

/// True where the kernel, not the port, is why an address can't be bound.
fn family_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}

fn listen(reactor: &Rc<Reactor>, index: usize, address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from(socket);
    let source = reactor.register(&socket)?;
    let address = socket.local_addr()?;
    Ok(Listener {
        index,
        socket,
        source,
        address,
    })
}

/// Accepts connections for ever.
pub async fn serve(listener: Listener, hub: Shared) {
    let mut resting = false;
    loop {
        poll_fn(|cx| listener.source.poll_readable(cx)).await;
        // Connections that have ended make room for new ones first.
        future::yield_now().await;
        // Lets go of the hub before it waits.
        let accepted = accept_burst(&listener, &mut hub.borrow_mut());
        match accepted {
            Ok(()) => {
                resting = false;
                future::yield_now().await;
            }
            Err(e) => {
                if !resting {
                    log::warn!(
                        "No more connections can be accepted on port {} for now: {e}.",
                        listener.address.port()
                    );
                }
                resting = true;
                Timer::after(REST).await;
            }
        }
    }
}

/// Accepts what waits, up to a bound. An error means that the process is out of something.
fn accept_burst(listener: &Listener, hub: &mut Hub) -> io::Result<()> {
    for _ in 0..BURST {
        match accept(listener) {
            Ok(Some((socket, peer))) => hub.admit(socket, listener.index, peer)?,
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

/// The next connection, non-blocking already; `None`: none waits.
fn accept(listener: &Listener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = match rustix::net::acceptfrom_with(&listener.socket, flags) {
        Ok(accepted) => accepted,
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let peer = peer
        .and_then(|peer| SocketAddr::try_from(peer).ok())
        .unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
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
    use super::*;

    fn reactor() -> Rc<Reactor> {
        Reactor::new().unwrap()
    }

    fn section(bind: Option<&str>, port: u16) -> config::Listener {
        config::Listener {
            bind: bind.map(str::to_owned),
            ..config::Listener::on(port)
        }
    }

    #[test]
    fn no_listener_means_loopback_of_both_families() {
        let free = free_port();
        let bound = bind(&reactor(), &[], &[free]).unwrap();
        assert!(!bound.is_empty());
        for listener in bound {
            assert!(listener.address().ip().is_loopback());
            assert_eq!(listener.address().port(), free);
            assert_eq!(listener.index, 0);
        }
    }

    #[test]
    fn a_listener_keeps_the_index_of_its_section() {
        let sections = [section(Some("127.0.0.1"), 0), section(Some("localhost"), 0)];
        let bound = bind(&reactor(), &sections, &[]).unwrap();
        assert_eq!(bound[0].index, 0);
        assert_eq!(bound[1].index, 1);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_cure() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = held.local_addr().unwrap().port();
        let error = bind(&reactor(), &[section(Some("127.0.0.1"), port)], &[]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("127.0.0.1 port {port}")), "{text}");
        assert!(text.contains("another program has this port"), "{text}");
        assert!(!text.contains('\n'));
    }

    #[test]
    fn an_address_of_nobody_is_an_error() {
        // TEST-NET-1 (RFC 5737) is on no interface.
        let error = bind(&reactor(), &[section(Some("192.0.2.1"), 0)], &[]).unwrap_err();
        assert!(error.to_string().contains("no interface"), "{error}");
    }

    fn free_port() -> u16 {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap().port()
    }
}
