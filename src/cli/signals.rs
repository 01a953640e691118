//! SIGINT and SIGTERM as something to wait for.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use signal_hook::consts::signal::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// A socket that becomes readable when the process is asked to end, and not before.
///
/// # Errors
/// The system's.
pub(super) fn socket() -> io::Result<UnixStream> {
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
