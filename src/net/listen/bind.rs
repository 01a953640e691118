//! Binding the sockets that the configuration asks for: those that can be had, and no others.

use std::rc::Rc;

use super::error::{Error, Kind, is_family_missing};
use super::section::{Listener, Section, Spot};
use crate::config;
use crate::net::reactor::Reactor;

/// Ports below this are root's, unless net.ipv4.ip_unprivileged_port_start says otherwise.
const ROOTS_PORTS: u16 = 1024;

/// What the process may do from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// The same as before.
    Plain,
    /// Not bind the ports of root any more: it is to become another user.
    AsRoot,
    /// It starts over, and may have become another user. Nothing is an error then: whatever can't
    /// be had is waited for.
    Again,
}

/// The sockets of a configuration.
#[derive(Debug, Default)]
pub struct Bound {
    /// Those that are bound.
    pub listeners: Vec<Listener>,
    /// Those that can't be had yet.
    pub waiting: Vec<Waiting>,
    /// What the log must say about them.
    pub notes: Vec<String>,
}

/// Where it can't be listened yet.
#[derive(Debug)]
pub struct Waiting {
    pub(super) section: Section,
    pub(super) spot: Spot,
    pub(super) error: Error,
    /// It will take rights that the process is about to give up.
    pub(super) lacks_rights: bool,
}

/// Binds every listener; one that names no address gets a socket a family. Without any in
/// `config`, and for each of `ports` (`-p`), it is loopback only, as Mosquitto 2's local-only
/// mode; those count as listener 0. A family that the kernel lacks is passed over, as long as the
/// other one works.
///
/// An address, an interface or a folder that is not there may be there soon: at boot the bridges of
/// a router come up after its services. What another program has may be free soon. Both are waited
/// for.
///
/// # Errors
/// All mistakes; and what another program has, where that is all there is.
pub fn bind(
    reactor: &Rc<Reactor>,
    config: &[config::Listener],
    ports: &[u16],
    start: Start,
) -> Result<Bound, Vec<Error>> {
    let mut binder = Binder {
        start,
        bound: Bound::default(),
        errors: Vec::new(),
    };
    for (index, config) in config.iter().enumerate() {
        match Section::new(reactor, index, config) {
            Ok(section) => binder.add(&section, section.spot()),
            Err(error) => binder.errors.push(error),
        }
    }
    let local = if config.is_empty() && ports.is_empty() {
        &[1883]
    } else {
        ports
    };
    for &port in local {
        binder.add(&Section::local(reactor, port), Spot::Loopback);
    }
    binder.finish()
}

/// Gathers what is bound and what is not.
struct Binder {
    start: Start,
    bound: Bound,
    errors: Vec<Error>,
}

impl Binder {
    fn add(&mut self, section: &Section, spot: Spot) {
        let (listeners, failed) = section.bind(spot, None);
        for (spot, error) in failed {
            let error = self.explain(section, &spot, error);
            if self.start != Start::Again && error.kind() == Kind::Wrong {
                self.errors.push(error);
            } else if let Some(early) = self.early(section, &spot, &error) {
                let note = format!("{error}. Once one has it, clients can connect there.");
                self.bound.notes.push(note);
                self.bound.listeners.push(early);
            } else {
                let is_roots = (1..ROOTS_PORTS).contains(&section.config.port);
                self.bound.waiting.push(Waiting {
                    section: section.clone(),
                    spot,
                    error,
                    lacks_rights: self.start == Start::AsRoot && is_roots,
                });
            }
        }
        self.bound.listeners.extend(listeners);
    }

    /// Tells whether what is in the way is one of the listeners that are bound.
    fn explain(&self, section: &Section, spot: &Spot, error: Error) -> Error {
        let config = &section.config;
        let interface = config.net.interface.as_deref();
        let is_at = |listener: &Listener| listener.is_at(spot, config.port, interface);
        if error.kind() == Kind::Taken && self.bound.listeners.iter().any(is_at) {
            error.of_our_own()
        } else {
            error
        }
    }

    /// A socket at an address that is not there yet, where there will be no right to bind it when
    /// it comes.
    fn early(&self, section: &Section, spot: &Spot, error: &Error) -> Option<Listener> {
        let needed = self.start == Start::AsRoot && section.config.port < ROOTS_PORTS;
        match spot {
            Spot::Address(address) if needed && is_family_missing(error.cause()) => {
                section.listen(*address, true).ok()
            }
            _ => None,
        }
    }

    fn finish(self) -> Result<Bound, Vec<Error>> {
        let Binder {
            start,
            mut bound,
            mut errors,
        } = self;
        let mut waiting = bound.waiting.iter();
        let all_taken = bound.listeners.is_empty()
            && waiting.len() > 0
            && waiting.all(|waiting| waiting.error.kind() == Kind::Taken);
        match (start, all_taken) {
            (Start::Again, _) => {
                bound.notes.extend(errors.iter().map(Error::to_string));
                Ok(bound)
            }
            (_, false) if errors.is_empty() => Ok(bound),
            (_, false) => Err(errors),
            (_, true) => {
                errors.extend(bound.waiting.into_iter().map(|waiting| waiting.error));
                Err(errors)
            }
        }
    }
}
