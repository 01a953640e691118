//! `footbridge import-mosquitto`: what Mosquitto keeps in its file comes into the store that the
//! configuration names, before the broker is started with it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::options::{self, Options};
use super::user::{self, User};
use crate::config::Reading;
use crate::import::{self, Import, Moment, Report};
use crate::net::{Clock, Seen};
use crate::store::{self, Db, Loaded, Location};
use crate::time::Time;

/// Why nothing was brought over.
#[derive(Debug)]
pub enum Error {
    /// The configuration is wrong, or the rights of a user can't be taken.
    Run(super::Error),
    /// The configuration keeps nothing on disk.
    NotPersistent,
    /// The file can't be brought over.
    Import(PathBuf, import::Error),
    /// The store of the configuration is the file itself.
    Same(PathBuf),
    /// There is something in the store already: so many sessions, retained and queued messages.
    NotEmpty(PathBuf, [u64; 3]),
    /// The store can't be opened.
    Store(store::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Run(e) => e.fmt(f),
            Error::NotPersistent => f.write_str(
                "the configuration keeps nothing on disk; add `persistence true`, and name it with -c",
            ),
            Error::Import(path, e) => write!(f, "{}: {e}", path.display()),
            Error::Same(path) => write!(
                f,
                "{}: the configuration has its own store under this name; give another persistence_file",
                path.display()
            ),
            Error::NotEmpty(path, [sessions, retained, queued]) => write!(
                f,
                "{0}: there is something in this store already: {sessions} sessions, {retained} retained \
                 and {queued} queued messages. Nothing was changed. To begin anew, move {0} away",
                path.display()
            ),
            Error::Store(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Run(e) => Some(e),
            Error::Import(_, e) => Some(e),
            Error::Store(e) => Some(e),
            Error::NotPersistent | Error::Same(_) | Error::NotEmpty(..) => None,
        }
    }
}

/// What was brought over, and into which store.
#[derive(Debug)]
pub struct Imported {
    /// What was brought and left.
    pub report: Report,
    /// The file of the store.
    pub store: PathBuf,
}

/// Brings the file of Mosquitto's at `path` over into the store that the configuration names; with `dry`
/// only tells what that would be. No thread may have been started yet.
///
/// # Errors
/// Whatever keeps it from that; the store is then as it was.
pub fn import(config: &Path, path: &Path, dry: bool) -> Result<Imported, Error> {
    let options = Options {
        config: Some(config.into()),
        ..Options::default()
    };
    let (config, _) = options::load(&options, Reading::Once).map_err(Error::Run)?;
    let of_file = |e| Error::Import(path.into(), e);
    // Before rights are given up: what Mosquitto keeps is for it and root alone.
    let file = File::open(path).map_err(|e| of_file(e.into()))?;
    let general = &config.general;
    if !general.persistence {
        return Err(Error::NotPersistent);
    }
    let store = general.store.clone();
    if is_same(path, &store) {
        return Err(Error::Same(store));
    }
    let written = file.metadata().and_then(|meta| meta.modified());
    let written = written
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let written = written.unwrap_or_default();
    let source = Import::open(file).map_err(of_file)?;
    if dry {
        let moment = moment(Seen::default(), written);
        let report = source.into_report(&config, moment).map_err(of_file)?;
        return Ok(Imported { report, store });
    }
    become_broker(general.user.as_deref(), &store)
        .map_err(|e| Error::Run(super::Error::User(e)))?;
    let (mut db, loaded) = Db::open(Location::File(store.clone())).map_err(Error::Store)?;
    if let Some(error) = not_empty(&store, &loaded) {
        return Err(error);
    }
    let moment = moment(seen(&loaded), written);
    let first = (loaded.next_message, loaded.next_session);
    let report = source
        .into_store(&mut db, (&config, moment), first)
        .map_err(|e| match e {
            import::Error::Store(e) => Error::Store(e),
            e => of_file(e),
        })?;
    Ok(Imported { report, store })
}

/// Whether both names lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Becomes who runs the broker, as root would make files that only root may write: the `user` of the
/// configuration, or else who owns the store, or its folder while there is none.
fn become_broker(name: Option<&str>, store: &Path) -> io::Result<()> {
    let user = user::wanted(name)?.or_else(|| User::owner_of(store));
    user.map_or(Ok(()), |user| user.become_it())
}

fn seen(loaded: &Loaded) -> Seen {
    Seen {
        time: loaded.floor,
        wall: (loaded.wall > 0).then(|| Time::from_millis(loaded.wall)),
    }
}

/// Now. Where the wall clock stands before the time at which Mosquitto wrote its file, it is not set yet.
fn moment(seen: Seen, written: Duration) -> Moment {
    let (now, wall) = (
        Clock::start(seen).now(),
        Clock::start(Seen::default()).now(),
    );
    let behind = (Time::ZERO + written).since(wall);
    Moment {
        now: now + behind,
        wall: (wall + behind).as_secs(),
    }
}

fn not_empty(store: &Path, loaded: &Loaded) -> Option<Error> {
    let found = [
        loaded.sessions.len() as u64,
        loaded.retained.len() as u64,
        loaded.refs.len(),
    ];
    let is_empty = found == [0; 3];
    (!is_empty).then(|| Error::NotEmpty(store.into(), found))
}
