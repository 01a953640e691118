//! TCP to the broker.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Error;
use crate::net::addresses_of;

/// How long the addresses of one family wait for those of the other (RFC 8305 §3).
const SECOND_FAMILY: Duration = Duration::from_millis(50);

/// Where a broker is and how to get there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The local name or address to connect from.
    pub bind: Option<String>,
    /// For each address of the host, and for the CONNACK.
    pub timeout: Duration,
    /// Packets are printed to standard output, as mosquitto_pub -d has it.
    pub trace: bool,
}

/// A connection to the first address that answers.
pub(super) fn dial(target: &Target) -> Result<TcpStream, Error> {
    let local = match &target.bind {
        Some(name) => resolve(name, 0)?,
        None => Vec::new(),
    };
    let mut error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolve(&target.host, target.port)? {
        let from = local.iter().find(|l| l.is_ipv4() == address.is_ipv4());
        if from.is_none() && !local.is_empty() {
            continue;
        }
        match connect(&address, from, target.timeout) {
            Ok(stream) => return Ok(stream),
            Err(e) => error = e,
        }
    }
    Err(Error::Connect(error))
}

fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let found = addresses_of(name, port, SECOND_FAMILY);
    found.map_err(|_| Error::Resolve(name.to_owned()))
}

fn connect(
    address: &SocketAddr,
    from: Option<&SocketAddr>,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(*address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let Some(from) = from {
        socket.bind(&(*from).into())?;
    }
    socket.connect_timeout(&(*address).into(), timeout)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
