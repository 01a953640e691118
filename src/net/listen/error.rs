//! Why a listener can't listen.

use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// Why a listener can't listen. Prints as one line: cause, then cure.
#[derive(Debug)]
pub struct Error {
    /// Host or address and port, or the path, as the configuration says them.
    at: String,
    failure: Failure,
}

/// What failed, what to do, and whether it may pass by itself.
#[derive(Debug)]
pub(in crate::net) struct Failure {
    pub(super) cause: io::Error,
    pub(super) cure: &'static str,
    pub(super) kind: Kind,
}

/// Whether the reason may pass by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::net) enum Kind {
    /// What it listens at is not there (yet): address, interface, folder, name.
    Absent,
    /// Another program has it (still).
    Taken,
    /// A mistake, or a right that is missing.
    Wrong,
}

impl Error {
    pub(in crate::net) fn new(at: impl Into<String>, failure: Failure) -> Error {
        let at = at.into();
        Error { at, failure }
    }

    pub(super) fn kind(&self) -> Kind {
        self.failure.kind
    }

    /// What the system said.
    pub(super) fn cause(&self) -> &io::Error {
        &self.failure.cause
    }

    /// The same, where a listener of this configuration is what is in the way.
    pub(super) fn of_our_own(mut self) -> Error {
        self.failure.kind = Kind::Wrong;
        self.failure.cure = "another `listener` of this configuration has it: remove one of them";
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { at, failure } = self;
        let Failure { cause, cure, .. } = failure;
        write!(f, "cannot listen on {at}: {cause}; {cure}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure.cause)
    }
}

impl Failure {
    pub(in crate::net) fn wrong(cause: io::Error, cure: &'static str) -> Failure {
        let kind = Kind::Wrong;
        Failure { cause, cure, kind }
    }

    pub(super) fn absent(cause: io::Error, cure: &'static str) -> Failure {
        let kind = Kind::Absent;
        Failure { cause, cure, kind }
    }

    pub(super) fn taken(cure: &'static str) -> Failure {
        let (cause, kind) = (ErrorKind::AddrInUse.into(), Kind::Taken);
        Failure { cause, cure, kind }
    }
}

/// What the system says about a port.
impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Failure {
        let (kind, cure) = match cause.kind() {
            ErrorKind::AddrInUse => (
                Kind::Taken,
                "another program has this port (a second broker? `ss -ltnp` names it): stop it or \
                 choose another port",
            ),
            ErrorKind::PermissionDenied => (
                Kind::Wrong,
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose one above",
            ),
            ErrorKind::AddrNotAvailable => (
                Kind::Absent,
                "no interface has this address (yet): check `listener` or leave it out",
            ),
            ErrorKind::NetworkDown | ErrorKind::NetworkUnreachable => {
                (Kind::Absent, "the network is not up (yet)")
            }
            _ => (Kind::Wrong, "check `listener`"),
        };
        Failure { cause, cure, kind }
    }
}

/// What the system says about `bind_interface`.
pub(super) fn of_interface(interface: &str, cause: &io::Error) -> Failure {
    let (kind, cure) = match Errno::from_io_error(cause) {
        Some(Errno::NODEV) => (Kind::Absent, "no such interface (yet), see `ip link`"),
        Some(Errno::PERM) => (
            Kind::Wrong,
            "needs Linux 5.7 or CAP_NET_RAW: name its address instead",
        ),
        _ => (Kind::Wrong, "not possible here"),
    };
    let cause = io::Error::other(format!("bind_interface {interface}: {cause}"));
    Failure { cause, cure, kind }
}

/// True where the kernel, not the port, is why an address can't be bound.
pub(super) fn is_family_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT)
}
