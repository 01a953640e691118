//! Unix sockets: the file that a listener makes and takes away again.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::error::Failure;

/// The file of a bound Unix socket; dropping it removes the file.
#[derive(Debug)]
pub(in crate::net) struct Place {
    path: PathBuf,
    /// Device and inode: another broker may have put its own there since.
    file: Option<(u64, u64)>,
}

impl Place {
    /// Binds a socket to `path`. A socket that nobody listens on any more, as a crash leaves it,
    /// makes way.
    ///
    /// # Errors
    /// When the path is taken, too long, or can't be written, with what to do.
    pub(in crate::net) fn bind(path: &Path) -> Result<(Socket, Place), Failure> {
        let address =
            SockAddr::unix(path).map_err(|e| Failure::wrong(e, "a path has at most 107 bytes"))?;
        clear(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(denied)?;
        socket.bind(&address).map_err(denied)?;
        let place = Place {
            path: path.to_owned(),
            file: identity(path),
        };
        Ok((socket, place))
    }

    /// What would keep a socket from being bound to `path`, whoever listens there now.
    ///
    /// # Errors
    /// As [`Place::bind`].
    pub(in crate::net) fn check(path: &Path) -> Result<(), Failure> {
        address(path)?;
        let folder = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        match fs::metadata(folder.unwrap_or(Path::new("."))) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(denied(e)),
            _ => {}
        }
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => Err(no_socket()),
            _ => Ok(()),
        }
    }

    /// The file.
    pub(in crate::net) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.file.is_some() && identity(&self.path) == self.file {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn address(path: &Path) -> Result<SockAddr, Failure> {
    SockAddr::unix(path).map_err(|e| Failure::wrong(e, "a path has at most 107 bytes"))
}

fn denied(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::absent(error, "the folder must exist"),
        _ => Failure::wrong(error, "the folder must be writable"),
    }
}

fn no_socket() -> Failure {
    let cure = "this is no socket: remove it or choose another path";
    Failure::wrong(ErrorKind::AlreadyExists.into(), cure)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Makes sure that there is nothing at `path`.
fn clear(path: &Path, address: &SockAddr) -> Result<(), Failure> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(no_socket());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|probe| probe.set_nonblocking(true).map(|()| probe))
        .map_err(|e| Failure::wrong(e, "it could not be tried whether somebody listens there"))?;
    match probe.connect(address) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            let cure = "nobody listens on this old socket: remove it";
            fs::remove_file(path).map_err(|e| Failure::wrong(e, cure))
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let cure = "a socket of another user is there: choose another path";
            Err(Failure::wrong(e, cure))
        }
        // Connected, or its backlog is full.
        _ => Err(Failure::taken(
            "another program listens there (a second broker?): stop it or choose another path",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::net::listen::error::Kind;

    #[test]
    fn the_file_comes_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let (socket, place) = Place::bind(&path).unwrap();
        socket.listen(1).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop((socket, place));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_a_crash_left_makes_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let (socket, _place) = Place::bind(&path).unwrap();
        socket.listen(1).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn what_is_in_use_or_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let held = UnixListener::bind(&path).unwrap();
        let failure = Place::bind(&path).unwrap_err();
        assert_eq!(failure.kind, Kind::Taken);
        assert!(failure.cure.contains("another program"));
        assert!(UnixStream::connect(&path).is_ok());
        drop(held);
        let file = folder.path().join("notes.txt");
        fs::write(&file, "mine").unwrap();
        let failure = Place::bind(&file).unwrap_err();
        assert_eq!(failure.cause.kind(), ErrorKind::AlreadyExists);
        assert!(failure.kind == Kind::Wrong && failure.cure.contains("no socket"));
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn a_file_that_is_anothers_by_now_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mqtt.sock");
        let (_socket, place) = Place::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(place);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_is_too_long_is_told() {
        let failure = Place::bind(Path::new(&"x".repeat(200))).unwrap_err();
        assert!(failure.kind == Kind::Wrong && failure.cure.contains("107"));
    }

    #[test]
    fn a_folder_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/mqtt.sock");
        assert_eq!(Place::bind(&path).unwrap_err().kind, Kind::Absent);
        fs::create_dir(folder.path().join("run")).unwrap();
        assert!(Place::bind(&path).is_ok());
    }
}
