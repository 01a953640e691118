//! The client of the control socket, which the commands that steer a running broker share.

mod confirmed;

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::words::Words;
use crate::config::{Config, Env, Reading};
use crate::json::Value;
use crate::run::control::protocol::{Refusal, Reply, Request};
pub(super) use confirmed::confirmed;

/// Where packages put the configuration.
pub(super) const PACKAGED: &str = "/etc/footbridge/footbridge.conf";

/// How long the broker may take for each line.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which broker: `-c` or `--socket`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Which {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

/// What the broker has answered.
#[derive(Debug)]
pub(super) struct Answered {
    /// The things of a list.
    pub(super) items: Vec<Value>,
    /// What else it says.
    pub(super) said: Value,
}

impl Which {
    /// Takes `option` and its value; false if it is none of these.
    ///
    /// # Errors
    /// It has no value.
    pub(super) fn take(&mut self, option: &str, words: &mut Words<'_>) -> Result<bool, Error> {
        match option {
            "-c" | "--config-file" => self.config = Some(words.value(option)?.into()),
            "--socket" => self.socket = Some(words.value(option)?.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether it is known which broker: it was said, or a package has put its configuration here.
    pub(super) fn is_known(&self) -> bool {
        self.config.is_some() || self.socket.is_some() || Path::new(PACKAGED).exists()
    }

    /// Has the broker do something.
    ///
    /// # Errors
    /// It is not there, or refuses.
    pub(super) fn ask(&self, request: &Request) -> Result<Answered, Error> {
        let path = self.path()?;
        let stream = UnixStream::connect(&path).map_err(|e| unreachable_at(&path, &e))?;
        let lost = |e: io::Error| Error::Unsteered(format!("{}: {e}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).map_err(lost)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(lost)?;
        (&stream)
            .write_all(request.to_line().as_bytes())
            .map_err(lost)?;
        let mut items = Vec::new();
        for line in BufReader::new(stream).split(b'\n') {
            match Reply::parse(&line.map_err(lost)?).map_err(Error::Refused)? {
                Reply::Item(item) => items.push(item),
                Reply::Done(said) => {
                    let said = Value::Object(said);
                    return Ok(Answered { items, said });
                }
                Reply::Refused(refusal) => return Err(Error::Refused(refusal)),
            }
        }
        let over = "the broker has closed the connection; see its log".to_owned();
        Err(Error::Unsteered(over))
    }

    /// Where the control socket is.
    fn path(&self) -> Result<PathBuf, Error> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        let packaged = Path::new(PACKAGED);
        let file = match &self.config {
            Some(file) => file,
            None if packaged.exists() => packaged,
            None => {
                return Err(Error::Usage(format!(
                    "Which broker? Give its configuration with -c FILE, or its control socket with \
                     --socket PATH; {PACKAGED} is not there."
                )));
            }
        };
        // What is wrong with it elsewhere, such as a variable that only the broker has, doesn't matter.
        let examined = Config::examine(file, &Env::system(), Reading::Once);
        examined.config.control_path().ok_or_else(|| {
            let mut errors = examined.errors.iter().map(ToString::to_string);
            Error::Unsteered(errors.next().unwrap_or_else(|| {
                format!(
                    "{}: that broker has no control socket: set `control_socket PATH`, or `persistence \
                     true` and persistence_location, and start it again",
                    file.display()
                )
            }))
        })
    }
}

/// Nobody can be asked at `path`.
fn unreachable_at(path: &Path, error: &io::Error) -> Error {
    let cure = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "no broker listens there: is it running, with this configuration?"
        }
        io::ErrorKind::PermissionDenied => {
            "only root, the broker's user and control_socket_group may use it"
        }
        _ => "see the broker's log",
    };
    Error::Unsteered(format!("{}: {error}; {cure}", path.display()))
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}
