//! What the process of a command has to do with others: SIGINT and SIGTERM as something to wait for,
//! and standard output and standard error, where nobody may read any more. The macros of the standard
//! library panic then.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Writes to standard output, at once. Where nobody reads any more nothing is written, and that is
/// no error: `footbridge status | head -1`.
///
/// # Errors
/// The system's, such as a full disk.
pub fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Writes a line to standard error, if somebody reads it.
pub fn complain(line: &str) {
    // There is nobody else to tell.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// A socket that becomes readable when the process is asked to end, and not before.
///
/// # Errors
/// The system's.
pub(super) fn asked_to_end() -> io::Result<UnixStream> {
    let (here, there) = UnixStream::pair()?;
    pipe::register(SIGINT, there.try_clone()?)?;
    pipe::register(SIGTERM, there)?;
    Ok(here)
}

/// Waits for `wait`, which must not be zero; true as soon as the process is asked to end.
pub(super) fn asked_within(mut socket: &UnixStream, wait: Duration) -> bool {
    // Where the system takes no time-out, waiting would never end.
    socket.set_read_timeout(Some(wait)).is_err() || socket.read(&mut [0]).is_ok()
}
