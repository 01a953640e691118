//! The socket: a file that only those can open who may steer the broker.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use socket2::Socket;

use crate::net::listen::{Error, Failure, Place};

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 16;

/// Who may use the socket, beside root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Whose it is; `None`: of who makes it.
    pub owner: Option<u32>,
    /// A group whose members may use it, too.
    pub group: Option<u32>,
}

/// A control socket that is listened on. Its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) socket: Socket,
    place: Place,
}

impl ControlSocket {
    /// Makes the socket. One that nobody listens on makes way.
    ///
    /// # Errors
    /// When the path is taken, too long or can't be written, or its owner and group can't be set,
    /// with what to do.
    pub fn bind(path: &Path, access: Access) -> Result<ControlSocket, Error> {
        ControlSocket::make(path, access)
            .map_err(|failure| Error::new(path.display().to_string(), failure))
    }

    fn make(path: &Path, access: Access) -> Result<ControlSocket, Failure> {
        let (socket, place) = Place::bind(path)?;
        // Nobody can connect before it is listened on, whatever the umask.
        let of = |cure| move |e| Failure::wrong(e, cure);
        let mode = if access.group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(of(
            "its rights can't be set: choose a path on another file system",
        ))?;
        if access != Access::default() {
            chown(path, access.owner, access.group).map_err(of(
                "it can't be given to control_socket_group: start as root, or name a group that the \
                 broker's user is a member of",
            ))?;
        }
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(ControlSocket { socket, place })
    }

    /// What would keep the socket from being made, whoever listens there now.
    ///
    /// # Errors
    /// As [`ControlSocket::bind`].
    pub fn check(path: &Path) -> Result<(), Error> {
        Place::check(path).map_err(|failure| Error::new(path.display().to_string(), failure))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::process::{getegid, geteuid};

    use super::*;

    #[test]
    fn only_its_owner_and_the_group_may_open_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let (owner, group) = (geteuid().as_raw(), getegid().as_raw());
        for (access, mode) in [
            (Access::default(), 0o600),
            (
                Access {
                    owner: Some(owner),
                    group: Some(group),
                },
                0o660,
            ),
        ] {
            let socket = ControlSocket::bind(&path, access).unwrap();
            let found = fs::metadata(socket.path()).unwrap();
            assert_eq!(found.mode() & 0o777, mode);
            assert_eq!((found.uid(), found.gid()), (owner, group));
            let error = ControlSocket::bind(&path, access).unwrap_err();
            assert!(error.to_string().contains("another program"), "{error}");
            drop(socket);
            assert!(!path.exists());
        }
    }
}
