//! Bridges whose upstream is this broker itself: each message that goes up would come back, and go
//! up again.

pub(super) mod rings;

use std::net::IpAddr;

use crate::config::{Config, Family, Listener, UpstreamAddress};

/// What is known about hosts and addresses.
pub(super) trait Known {
    /// The addresses of `host`, as far as they are known.
    fn addresses(&self, host: &str) -> Vec<IpAddr>;

    /// Whether it is one of this machine's.
    fn is_here(&self, ip: IpAddr) -> bool;
}

/// What is known without asking anybody.
pub(super) struct Literally;

impl Known for Literally {
    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        if host.eq_ignore_ascii_case("localhost") {
            return vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from(V6_LOOPBACK)];
        }
        host.parse().into_iter().collect()
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip.is_unspecified()
    }
}

const V6_LOOPBACK: [u16; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

/// A line for each address of a bridge that is a listener of this broker, which without any in the
/// configuration listens on loopback, on `ports` (`-p`).
pub(super) fn find(config: &Config, ports: &[u16], known: &impl Known) -> Vec<String> {
    let mut lines = Vec::new();
    // What a proxy takes an address for is not known here.
    for bridge in config
        .bridges
        .iter()
        .filter(|bridge| bridge.proxy.is_none())
    {
        for UpstreamAddress { host, port, .. } in &bridge.addresses {
            let addresses = known.addresses(host);
            let is_own = |ip: &IpAddr| takes(config, ports, (*ip, *port), known);
            if addresses.iter().any(is_own) {
                lines.push(format!(
                    "connection {}: address {host} port {port} is a listener of this broker: what \
                     goes up would come back and go up again; give the address of the upstream",
                    bridge.name
                ));
            }
        }
    }
    lines
}

/// Whether what connects to this address and port from here comes to this broker.
fn takes(config: &Config, ports: &[u16], (ip, port): (IpAddr, u16), known: &impl Known) -> bool {
    if config.listeners.is_empty() {
        let ports = if ports.is_empty() { &[1883] } else { ports };
        return ports.contains(&port) && (ip.is_loopback() || ip.is_unspecified());
    }
    let mut listeners = config.listeners.iter();
    listeners.any(|listener| listener.port == port && takes_at(listener, ip, known))
}

fn takes_at(listener: &Listener, ip: IpAddr, known: &impl Known) -> bool {
    let net = &listener.net;
    // What comes from here comes in by lo.
    let by_lo = net.interface.as_deref().is_none_or(|name| name == "lo");
    let in_family = match net.family {
        Some(Family::V4) => ip.is_ipv4(),
        Some(Family::V6) => ip.is_ipv6(),
        None => true,
    };
    let at_address = match &listener.bind {
        None => known.is_here(ip),
        Some(host) => known.addresses(host).into_iter().any(|bound| {
            let is_any = bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4();
            let is_loopback = ip.is_unspecified() && bound.is_loopback();
            bound == ip || is_any && known.is_here(ip) || is_loopback
        }),
    };
    net.path.is_none() && by_lo && in_family && at_address
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn found(listeners: &str, address: &str, ports: &[u16]) -> bool {
        let text = format!("{listeners}\nconnection b\naddress {address}\ntopic # both 1");
        let config = Config::parse(&text, "x", &Env::default()).unwrap().config;
        let lines = find(&config, ports, &Literally);
        assert!(lines.iter().all(|line| line.starts_with("connection b: ")));
        !lines.is_empty()
    }

    #[test]
    fn a_bridge_to_itself_is_found() {
        for (listeners, address) in [
            ("listener 1883", "127.0.0.1"),
            ("listener 1883", "localhost"),
            ("listener 1883", "[::1]:1883"),
            ("listener 1883", "0.0.0.0"),
            ("listener 1883", "up.example 127.0.0.2:1883"),
            ("listener 1883 127.0.0.1", "localhost:1883"),
            ("listener 1883 127.0.0.1", "0.0.0.0:1883"),
            ("listener 1883 localhost", "127.0.0.1"),
            ("listener 1883 192.168.1.1", "192.168.1.1"),
            ("listener 1883 0.0.0.0", "127.0.0.1"),
            ("port 1884", "127.0.0.1:1884"),
            ("listener 1\nlistener 1883\nbind_interface lo", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("listener 1883\nprotocol websockets", "ws://127.0.0.1:1883/"),
        ] {
            assert!(found(listeners, address, &[]), "{listeners} {address}");
        }
        assert!(found("", "localhost:7", &[6, 7]));
    }

    #[test]
    fn others_are_not() {
        for (listeners, address) in [
            ("listener 1883", "127.0.0.1:1884"),
            ("listener 1883", "192.168.1.1"),
            ("listener 1883 192.168.1.1", "127.0.0.1"),
            ("listener 1883 192.168.1.1", "192.168.1.2"),
            ("listener 1883 127.0.0.1", "[::1]:1883"),
            ("listener 1883\nbind_interface br-lan", "127.0.0.1"),
            ("listener 1883\nsocket_domain ipv6", "127.0.0.1"),
            ("listener 0 /run/x", "127.0.0.1:1883"),
            ("listener 1884", "127.0.0.1"),
            ("", "192.168.1.1"),
            ("listener 1883", "127.0.0.1:1883\nbridge_proxy http://p:1"),
        ] {
            assert!(!found(listeners, address, &[]), "{listeners} {address}");
        }
        assert!(
            !found("", "127.0.0.1", &[6]),
            "-p is where it listens instead"
        );
    }
}
