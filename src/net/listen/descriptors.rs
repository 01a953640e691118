//! Descriptors that accepted connections never take: a bridge that connects anew, name resolution, the
//! store and the log need some whatever clients do.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

/// What the broker itself may need at a time, at most.
const OWN: u64 = 16;
/// What a bridge may need: a socket, and those of name resolution.
const OF_A_BRIDGE: u64 = 4;

/// How many descriptors are kept back for the broker and so many bridges, of `limit` in all: at most a
/// quarter.
fn kept_back(limit: u64, bridges: usize) -> u64 {
    let wanted = OWN + OF_A_BRIDGE * bridges as u64;
    wanted.min(limit / 4)
}

/// How many connections of clients there can be at most, by the hard limit of descriptors.
pub fn most_connections(bridges: usize) -> u32 {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    // What listeners, the store and the log hold anyway is about as much as is kept back.
    let room = hard - 2 * kept_back(hard, bridges);
    u32::try_from(room).unwrap_or(u32::MAX)
}

/// Which descriptors connections may have at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    below: u64,
}

impl Allowed {
    /// What the limit of the process allows, which may change while it runs.
    pub(super) fn now(bridges: usize) -> Allowed {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Allowed {
            below: limit - kept_back(limit, bridges),
        }
    }

    /// Whether a connection may have this descriptor. A new one has the lowest number that is free: one
    /// of the last means that all others are taken.
    pub(super) fn may_have(self, socket: &impl AsFd) -> bool {
        let number = socket.as_fd().as_raw_fd();
        u64::try_from(number).is_ok_and(|number| number < self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_back() {
        assert_eq!(kept_back(1024, 0), 16);
        assert_eq!(kept_back(1024, 3), 28);
        assert_eq!(kept_back(64, 9), 16, "most are for connections");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = u64::try_from(socket.as_raw_fd()).unwrap();
        let allowed = |below| Allowed { below }.may_have(&socket);
        assert!(allowed(number + 1) && !allowed(number));
        assert!(most_connections(0) > 0);
    }
}
