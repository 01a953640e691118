//! The look-up of a name itself, which blocks: one family of addresses at a time.
//!
//! musl fails the whole look-up of both families after 5 s where a name server answers SERVFAIL or nothing
//! for one of them, as forwarders of routers do for AAAA; glibc holds the one back until the other is there.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use dns_lookup::{AddrFamily, AddrInfoHints, LookupError, LookupErrorKind, SockType};
use socket2::{Domain, Socket, Type};

/// glibc: there are addresses, none of this family.
const EAI_ADDRFAMILY: i32 = -9;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Family {
    V6,
    V4,
}

impl Family {
    /// In the order in which they are wanted.
    pub(in crate::net) const ALL: [Family; 2] = [Family::V6, Family::V4];
}

/// How sure it is that there are no addresses; the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net) enum Doubt {
    /// Somebody knows that there is no such name.
    None,
    /// There are none of this family; musl says so of an answer it cannot read, too.
    Some,
    /// Nobody knows.
    Full,
}

/// Why there are no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Failure {
    pub(in crate::net) why: String,
    pub(in crate::net) doubt: Doubt,
}

impl Failure {
    /// One that may pass.
    pub(in crate::net) fn passing(why: impl Into<String>) -> Failure {
        Failure {
            why: why.into(),
            doubt: Doubt::Full,
        }
    }
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Failure {
        let doubt = match error.kind() {
            LookupErrorKind::NoName => Doubt::None,
            LookupErrorKind::NoData | LookupErrorKind::Family => Doubt::Some,
            _ if error.error_num() == EAI_ADDRFAMILY => Doubt::Some,
            _ => Doubt::Full,
        };
        Failure {
            why: error.to_string(),
            doubt,
        }
    }
}

/// What came of a look-up.
pub(in crate::net) type Found = Result<Vec<SocketAddr>, Failure>;

/// A look-up of one family.
pub(super) type Lookup = fn(&str, Family) -> Found;

/// The addresses of one family that the system knows for `host`. It may block for as long as the
/// time-outs of resolv.conf(5) say.
///
/// # Errors
/// There are none, or none that could be an upstream's.
pub(in crate::net) fn system(host: &str, family: Family) -> Found {
    let hints = AddrInfoHints {
        address: match family {
            Family::V4 => AddrFamily::Inet.into(),
            Family::V6 => AddrFamily::Inet6.into(),
        },
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints))?;
    usable(found.flatten().map(|info| info.sockaddr).collect())
}

/// Without addresses that are nobody's: those that block a name say 0.0.0.0, and a connection to that would
/// come to this machine.
fn usable(found: Vec<SocketAddr>) -> Found {
    let is_somebodys = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(is_somebodys);
    match (good.is_empty(), bad.first()) {
        (true, Some(bad)) => {
            let why = "which is nobody's address: is the name blocked there?";
            let why = format!("the name server says {}, {why}", bad.ip());
            Err(Failure::passing(why))
        }
        (true, None) => Err(Failure {
            why: "the name has no address".to_owned(),
            doubt: Doubt::Some,
        }),
        (false, _) => Ok(good),
    }
}

/// `host` as an IP address, with or without the brackets of a URL; that of a link with its interface, as in
/// `fe80::1%eth0`.
///
/// # Errors
/// There is no such interface.
pub(in crate::net) fn literal(host: &str, port: u16) -> Result<Option<SocketAddr>, Failure> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Some(SocketAddr::new(ip, port)));
    }
    let zoned = bare.split_once('%');
    let Some((ip, zone)) = zoned.and_then(|(ip, zone)| Some((ip.parse::<Ipv6Addr>().ok()?, zone)))
    else {
        return Ok(None);
    };
    let scope = match zone.parse() {
        Ok(number) => number,
        Err(_) => index_of(zone)
            .ok_or_else(|| Failure::passing(format!("there is no interface {zone}")))?,
    };
    Ok(Some(SocketAddrV6::new(ip, port, 0, scope).into()))
}

/// The number of an interface.
fn index_of(name: &str) -> Option<u32> {
    let any = Socket::new(Domain::IPV6, Type::DGRAM, None).ok()?;
    rustix::net::netdevice::name_to_index(&any, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_system_knows_localhost_by_family() {
        let found = system("localhost", Family::V4).unwrap();
        assert!(found.iter().all(|a| a.is_ipv4() && a.ip().is_loopback()));
        assert!(!found.is_empty());
        for family in Family::ALL {
            let failure = system("nobody.invalid", family).unwrap_err();
            assert!(failure.why.contains("lookup"), "{}", failure.why);
        }
    }

    #[test]
    fn addresses_of_nobody_are_left_out() {
        let good = address("192.0.2.1:0");
        let bad = [
            "0.0.0.0:0",
            "[::]:0",
            "224.0.0.1:0",
            "255.255.255.255:0",
            "[ff02::1]:0",
        ];
        for bad in bad.map(address) {
            assert_eq!(usable(vec![bad, good]), Ok(vec![good]));
            let failure = usable(vec![bad]).unwrap_err();
            assert!(failure.why.contains(&bad.ip().to_string()) && failure.doubt == Doubt::Full);
        }
        assert_eq!(usable(Vec::new()).unwrap_err().doubt, Doubt::Some);
    }

    #[test]
    fn literals_with_and_without_interface() {
        for host in ["127.0.0.1", "::1", "[::1]"] {
            assert_eq!(literal(host, 7).unwrap().unwrap().port(), 7);
        }
        let lo = literal("[fe80::1%lo]", 7).unwrap().unwrap();
        assert_eq!(Ok(Some(lo)), literal("fe80::1%1", 7));
        assert_eq!(
            lo,
            SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 1).into()
        );
        assert_eq!(literal("broker.example", 7), Ok(None));
        let failure = literal("fe80::1%nope0", 7).unwrap_err();
        assert_eq!(failure.why, "there is no interface nope0");
    }
}
