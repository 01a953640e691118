//! One `listener` section, and the sockets it gets.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::error::{Error, Failure, Kind, is_family_missing, of_interface};
use super::names::{self, Found};
use super::unix::Place;
use crate::config::{self, Family};
use crate::net::reactor::{Reactor, Source};
use crate::net::web::Site;

/// Connections that the kernel completes ahead of us.
const BACKLOG: i32 = 1024;

/// A bound socket, and the section it belongs to.
#[derive(Debug)]
pub struct Listener {
    pub(super) section: Section,
    pub(super) socket: Socket,
    pub(super) source: Source,
    pub(super) at: At,
}

/// Where a listener listens.
#[derive(Debug)]
pub(super) enum At {
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
        match self.section.site.as_deref() {
            Some(site) => write!(f, " ({site})"),
            None => Ok(()),
        }
    }
}

impl Listener {
    /// Whether this is why nothing else can listen at `spot`, of a section that takes what comes in
    /// by `interface`.
    pub(super) fn is_at(&self, spot: &Spot, port: u16, interface: Option<&str>) -> bool {
        let address = match (&self.at, spot) {
            (At::Path(place), Spot::Path(path)) => return place.path() == path,
            (At::Address(address), _) => *address,
            (At::Path(_), _) => return false,
        };
        let own = self.section.config.net.interface.as_deref();
        let apart = own.is_some() && interface.is_some() && own != interface;
        let ip = address.ip();
        let overlaps = match spot {
            Spot::Path(_) => false,
            Spot::Address(other) => {
                let other = other.ip();
                let is_any = ip.is_unspecified() || other.is_unspecified();
                ip == other || is_any && ip.is_ipv4() == other.is_ipv4()
            }
            Spot::Loopback => ip.is_loopback() || ip.is_unspecified(),
            // All addresses, or some that were looked up.
            Spot::Any | Spot::Name(_) => true,
        };
        address.port() == port && !apart && overlaps
    }
}

/// What the sockets of one `listener` section have in common.
#[derive(Clone, Debug)]
pub(super) struct Section {
    reactor: Rc<Reactor>,
    /// Of the section in the configuration.
    pub(super) index: usize,
    pub(super) config: Rc<config::Listener>,
    pub(super) site: Option<Rc<Site>>,
}

/// Where a section listens, or a part of that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Spot {
    /// `listener 0 PATH`.
    Path(PathBuf),
    /// A host name, which may have several addresses.
    Name(String),
    /// One address.
    Address(SocketAddr),
    /// Every address of both families.
    Any,
    /// Loopback of both families.
    Loopback,
}

/// What is bound, and what is not.
type Outcome = (Vec<Listener>, Vec<(Spot, Error)>);

impl Section {
    pub(super) fn new(
        reactor: &Rc<Reactor>,
        index: usize,
        config: &config::Listener,
    ) -> Result<Section, Error> {
        let site = Site::of(config).map_err(|(path, cause)| {
            let at = format!("port {}, http_dir {}", config.port, path.display());
            Error::new(at, Failure::wrong(cause, "give a folder that can be read"))
        })?;
        Ok(Section {
            reactor: Rc::clone(reactor),
            index,
            config: Rc::new(config.clone()),
            site,
        })
    }

    /// On loopback, without a section in the configuration.
    pub(super) fn local(reactor: &Rc<Reactor>, port: u16) -> Section {
        Section {
            reactor: Rc::clone(reactor),
            index: 0,
            config: Rc::new(config::Listener::on(port)),
            site: None,
        }
    }

    /// All of where the section listens.
    pub(super) fn spot(&self) -> Spot {
        match (&self.config.net.path, &self.config.bind) {
            (Some(path), _) => Spot::Path(path.clone()),
            (None, Some(host)) => match host.parse() {
                Ok(ip) if self.wants(ip) => Spot::Address(SocketAddr::new(ip, self.config.port)),
                _ => Spot::Name(host.clone()),
            },
            (None, None) => Spot::Any,
        }
    }

    /// Tries to listen at `spot`. A host name is looked up, which blocks, unless that has been done
    /// and `found` is the answer.
    pub(super) fn bind(&self, spot: Spot, found: Option<Found>) -> Outcome {
        let bound = match &spot {
            Spot::Path(path) => self.unix(path).map(|listener| vec![listener]),
            Spot::Address(address) => self.listen(*address, false).map(|listener| vec![listener]),
            Spot::Any => self.both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            Spot::Loopback => self.both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST),
            Spot::Name(host) => {
                let port = self.config.port;
                let look_up = || names::addresses_of(host, port, Duration::MAX);
                return self.named(spot.clone(), found.unwrap_or_else(look_up));
            }
        };
        match bound {
            Ok(listeners) => (listeners, Vec::new()),
            Err(failure) => (Vec::new(), vec![self.failed(spot, failure)]),
        }
    }

    /// A listener at each address that was found for a host name. If another program has one of
    /// them, none is bound.
    fn named(&self, name: Spot, found: Found) -> Outcome {
        let addresses = match self.wanted(found) {
            Ok(addresses) => addresses,
            Err(failure) => return (Vec::new(), vec![self.failed(name, failure)]),
        };
        let (mut bound, mut failed) = (Vec::new(), Vec::new());
        for address in addresses {
            match self.listen(address, false) {
                Ok(listener) => bound.push(listener),
                Err(failure) if failure.kind == Kind::Taken => {
                    return (Vec::new(), vec![self.failed(name, failure)]);
                }
                Err(failure) => failed.push(self.failed(Spot::Address(address), failure)),
            }
        }
        (bound, failed)
    }

    /// The addresses of what was found that the section takes, each once.
    fn wanted(&self, found: Found) -> Result<Vec<SocketAddr>, Failure> {
        let cure = "the name does not resolve (yet)";
        let mut addresses = found.map_err(|cause| Failure::absent(cause, cure))?;
        addresses.retain(|address| self.wants(address.ip()));
        addresses.dedup();
        if addresses.is_empty() {
            return Err(Failure::wrong(
                ErrorKind::AddrNotAvailable.into(),
                "it has no address of the family that socket_domain asks for",
            ));
        }
        Ok(addresses)
    }

    /// What is wrong or missing where the section listens, without listening: each port is taken to
    /// be free and allowed. `found` is the answer to the look-up of its host name, if it has one.
    pub(super) fn try_out(&self, found: Option<Found>) -> Vec<Error> {
        let spot = self.spot();
        let tried = match &spot {
            Spot::Path(path) => vec![Place::check(path)],
            Spot::Address(address) => vec![self.try_address(*address)],
            Spot::Name(_) => match found.map(|found| self.wanted(found)) {
                Some(Ok(addresses)) => {
                    let addresses = addresses.into_iter();
                    addresses.map(|address| self.try_address(address)).collect()
                }
                Some(Err(failure)) => vec![Err(failure)],
                None => Vec::new(),
            },
            Spot::Any | Spot::Loopback => vec![self.try_any()],
        };
        let failures = tried.into_iter().filter_map(Result::err);
        failures
            .map(|failure| self.failed(spot.clone(), failure).1)
            .collect()
    }

    fn try_address(&self, address: SocketAddr) -> Result<(), Failure> {
        self.bound(SocketAddr::new(address.ip(), 0), false)
            .map(drop)
    }

    /// One family is enough.
    fn try_any(&self) -> Result<(), Failure> {
        let families = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let wanted = families.into_iter().filter(|ip| self.wants(*ip));
        let tried = wanted.map(|ip| self.try_address(SocketAddr::new(ip, 0)));
        tried.reduce(Result::or).unwrap_or(Ok(()))
    }

    /// `failure`, with where it was.
    fn failed(&self, spot: Spot, failure: Failure) -> (Spot, Error) {
        let Self { config, .. } = self;
        let at = match (&spot, &config.bind) {
            (Spot::Path(path), _) => path.display().to_string(),
            (Spot::Name(host), _) => format!("{host} port {}", config.port),
            (Spot::Address(address), Some(host)) if address.ip().to_string() != *host => {
                format!("{} ({host}) port {}", address.ip(), config.port)
            }
            (Spot::Address(address), _) => format!("{} port {}", address.ip(), config.port),
            (Spot::Any | Spot::Loopback, _) => format!("port {}", config.port),
        };
        (spot, Error::new(at, failure))
    }

    /// True for an address of the families that `socket_domain` asks for.
    fn wants(&self, ip: IpAddr) -> bool {
        match self.config.net.family {
            Some(Family::V4) => ip.is_ipv4(),
            Some(Family::V6) => ip.is_ipv6(),
            None => true,
        }
    }

    /// A listener a family; one of them may be missing.
    fn both(&self, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<Vec<Listener>, Failure> {
        let mut bound = Vec::with_capacity(2);
        let mut missing = None;
        let families = [IpAddr::V4(v4), IpAddr::V6(v6)];
        for ip in families.into_iter().filter(|ip| self.wants(*ip)) {
            match self.listen(SocketAddr::new(ip, self.config.port), false) {
                Ok(listener) => bound.push(listener),
                Err(failure) if is_family_missing(&failure.cause) => missing = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        match missing {
            Some(failed) if bound.is_empty() => Err(failed),
            _ => Ok(bound),
        }
    }

    /// A listener at `address`; with `early` also where no interface has it yet (`IP_FREEBIND`).
    pub(super) fn listen(&self, address: SocketAddr, early: bool) -> Result<Listener, Failure> {
        let socket = self.bound(address, early)?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(self.start(socket, At::Address(bound))?)
    }

    fn bound(&self, address: SocketAddr, early: bool) -> Result<Socket, Failure> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for the connections of the last run to time out.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if early && address.is_ipv4() {
            socket.set_freebind_v4(true)?;
        } else if early {
            socket.set_freebind_v6(true)?;
        }
        if let Some(interface) = &self.config.net.interface {
            socket
                .bind_device(Some(interface.as_bytes()))
                .map_err(|e| of_interface(interface, &e))?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    }

    /// A listener on the Unix socket `path`, whose rights the umask decides, as in Mosquitto.
    fn unix(&self, path: &Path) -> Result<Listener, Failure> {
        let (socket, place) = Place::bind(path)?;
        Ok(self.start(socket, At::Path(place))?)
    }

    fn start(&self, socket: Socket, at: At) -> io::Result<Listener> {
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let source = self.reactor.register(&socket)?;
        Ok(Listener {
            section: self.clone(),
            socket,
            source,
            at,
        })
    }
}
