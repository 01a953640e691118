//! Listening sockets.

mod unix;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::hub::{Hub, Shared, sleep};
use super::reactor::{Reactor, Source};
use super::web::Site;
use crate::config::{self, Family};
use unix::Place;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 1024;

/// Connections accepted before others get their turn.
const BURST: usize = 64;

/// How long to leave the backlog alone when descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why a listener can't listen.
#[derive(Debug)]
pub struct Error {
    /// Host or address and port, or the path, as the configuration says them.
    at: String,
    cause: io::Error,
    cure: &'static str,
}

impl Error {
    fn of_port(at: String, cause: io::Error) -> Error {
        let cure = match cause.kind() {
            ErrorKind::AddrInUse => {
                "another program has this port (a second broker? `ss -ltnp` names it): \
                 stop it or choose another port"
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose one above"
            }
            ErrorKind::AddrNotAvailable => {
                "no interface has this address (yet): check `listener` or leave it out"
            }
            _ => "check `listener`",
        };
        Error { at, cause, cure }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { at, cause, cure } = self;
        write!(f, "cannot listen on {at}: {cause}; {cure}")
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
    socket: Socket,
    source: Source,
    at: At,
    site: Option<Rc<Site>>,
}

/// Where a listener listens.
#[derive(Debug)]
enum At {
    Address(SocketAddr),
    Path(Place),
}

/// Address and port, or the path, and what is spoken there if it is not plain MQTT.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Address(address) => address.fmt(f)?,
            At::Path(place) => place.path().display().fmt(f)?,
        }
        match self.site.as_deref() {
            Some(site) => write!(f, " ({site})"),
            None => Ok(()),
        }
    }
}

/// What the sockets of one `listener` section have in common.
struct Section<'a> {
    reactor: &'a Rc<Reactor>,
    index: usize,
    config: &'a config::Listener,
    site: Option<Rc<Site>>,
}

/// Binds every listener; one that names no address gets a socket a family. Without any in
/// `config`, and for each of `ports` (`-p`), it is loopback only, as Mosquitto 2's local-only
/// mode; those count as listener 0.
///
/// # Errors
/// The first address or path that can't be had. A family that the kernel lacks is passed over, as
/// long as the other one works.
pub fn bind(
    reactor: &Rc<Reactor>,
    config: &[config::Listener],
    ports: &[u16],
) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for (index, config) in config.iter().enumerate() {
        let site = Site::of(config).map_err(|(path, cause)| Error {
            at: format!("port {}, http_dir {}", config.port, path.display()),
            cause,
            cure: "give a folder that can be read",
        })?;
        let section = Section {
            reactor,
            index,
            config,
            site,
        };
        listeners.extend(section.listeners()?);
    }
    let local = if config.is_empty() && ports.is_empty() {
        &[1883]
    } else {
        ports
    };
    for &port in local {
        let section = Section {
            reactor,
            index: 0,
            config: &config::Listener::on(port),
            site: None,
        };
        listeners.extend(section.both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)?);
    }
    Ok(listeners)
}

impl Section<'_> {
    fn listeners(&self) -> Result<Vec<Listener>, Error> {
        match (&self.config.net.path, &self.config.bind) {
            (Some(path), _) => Ok(vec![self.unix(path)?]),
            (None, Some(host)) => self.named(host),
            (None, None) => self.both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
        }
    }

    /// True for an address of the families that `socket_domain` asks for.
    fn wants(&self, ip: IpAddr) -> bool {
        match self.config.net.family {
            Some(Family::V4) => ip.is_ipv4(),
            Some(Family::V6) => ip.is_ipv6(),
            None => true,
        }
    }

    /// A listener at each address of `host`.
    fn named(&self, host: &str) -> Result<Vec<Listener>, Error> {
        let port = self.config.port;
        let failed = |cause| Error::of_port(format!("{host} port {port}"), cause);
        let addresses = (host, port).to_socket_addrs().map_err(failed)?;
        let wanted = addresses.filter(|address| self.wants(address.ip()));
        let bound: Vec<Listener> = wanted
            .map(|address| self.listen(address).map_err(failed))
            .collect::<Result<_, _>>()?;
        if bound.is_empty() {
            Err(Error {
                at: format!("{host} port {port}"),
                cause: ErrorKind::AddrNotAvailable.into(),
                cure: "it has no address of the family that socket_domain asks for",
            })
        } else {
            Ok(bound)
        }
    }

    /// A listener a family; one of them may be missing.
    fn both(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Vec<Listener>, Error> {
        let mut bound = Vec::with_capacity(2);
        let mut missing = None;
        let families = [IpAddr::V4(v4), IpAddr::V6(v6)];
        for ip in families.into_iter().filter(|ip| self.wants(*ip)) {
            match self.listen(SocketAddr::new(ip, self.config.port)) {
                Ok(listener) => bound.push(listener),
                Err(cause) => {
                    let is_missing = family_missing(&cause);
                    let failed = Error::of_port(format!("port {}", self.config.port), cause);
                    if !is_missing {
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

    fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the connections of the last run to time out.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(interface) = &self.config.net.interface {
            bind_device(&socket, interface)?;
        }
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        self.start(socket, At::Address(bound))
    }

    /// A listener on the Unix socket `path`, whose rights the umask decides, as in Mosquitto.
    fn unix(&self, path: &Path) -> Result<Listener, Error> {
        let failed = |(cause, cure)| Error {
            at: path.display().to_string(),
            cause,
            cure,
        };
        let (socket, place) = Place::bind(path).map_err(failed)?;
        self.start(socket, At::Path(place))
            .map_err(|cause| failed((cause, "check `listener`")))
    }

    fn start(&self, socket: Socket, at: At) -> io::Result<Listener> {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let source = self.reactor.register(&socket)?;
        Ok(Listener {
            index: self.index,
            socket,
            source,
            at,
            site: self.site.clone(),
        })
    }
}

/// Lets only what comes in by `interface` through.
fn bind_device(socket: &Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes())).map_err(|e| {
        let cure = match Errno::from_io_error(&e) {
            Some(Errno::NODEV) => "no such interface (yet), see `ip link`",
            Some(Errno::PERM) => "needs Linux 5.7 or CAP_NET_RAW: name its address instead",
            _ => "not possible here",
        };
        io::Error::other(format!("bind_interface {interface}: {cure} ({e})"))
    })
}

/// True where the kernel, not the port, is why an address can't be bound.
fn family_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
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
                    log::warn!("No more connections can be accepted on {listener} for now: {e}.");
                }
                resting = true;
                sleep(&hub, ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts what waits, up to a bound. An error means that the process is out of something.
fn accept_burst(listener: &Listener, hub: &mut Hub) -> io::Result<()> {
    for _ in 0..BURST {
        match accept(listener) {
            Ok(Some((socket, peer))) => {
                hub.admit(socket, listener.index, listener.site.as_ref(), peer)?;
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
fn accept(listener: &Listener) -> io::Result<Option<(Socket, Option<SocketAddr>)>> {
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
    use std::net::TcpListener;

    use super::*;

    fn address(listener: &Listener) -> SocketAddr {
        listener.to_string().parse().unwrap()
    }

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
            let address = address(&listener);
            assert!(address.ip().is_loopback());
            assert_eq!(address.port(), free);
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

    #[test]
    fn socket_domain_picks_the_family() {
        for (family, is_v4) in [(Family::V4, true), (Family::V6, false)] {
            let mut any = section(None, free_port());
            any.net.family = Some(family);
            for listener in bind(&reactor(), &[any], &[]).unwrap() {
                assert_eq!(address(&listener).is_ipv4(), is_v4);
            }
        }
        let mut other = section(Some("127.0.0.1"), 0);
        other.net.family = Some(Family::V6);
        let error = bind(&reactor(), &[other], &[]).unwrap_err().to_string();
        assert!(
            error.contains("127.0.0.1 port 0") && error.contains("socket_domain"),
            "{error}"
        );
    }

    #[test]
    fn an_interface_is_bound_or_named() {
        let on = |interface: &str| {
            let mut any = section(None, free_port());
            any.net.interface = Some(interface.to_owned());
            any.net.family = Some(Family::V4);
            bind(&reactor(), &[any], &[])
        };
        let error = on("nonesuch0").unwrap_err().to_string();
        assert!(
            error.contains("bind_interface nonesuch0: no such interface"),
            "{error}"
        );
        let bound = on("lo").unwrap();
        let port = address(&bound[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_folder_of_pages_must_be_there() {
        let mut web = section(Some("127.0.0.1"), 0);
        web.web.protocol = config::Protocol::Http;
        web.web.http_dir = Some("/nonexistent/www".into());
        let error = bind(&reactor(), &[web], &[]).unwrap_err().to_string();
        assert!(error.contains("http_dir /nonexistent/www"), "{error}");
    }
}
