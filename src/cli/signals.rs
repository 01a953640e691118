//! SIGINT and SIGTERM as something to wait for.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;

/// A socket that becomes readable when the process is asked to end, and not before.
///
/// # Errors
/// The system's.
pub(super) fn socket() -> io::Result<UnixStream> {
    let (here, mut there) = UnixStream::pair()?;
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    std::thread::spawn(move || {
        async_io::block_on(async {
            while signals.next().await.is_some() {
                // The reader is in this process, and gone only if the process is about to go.
                let _ = there.write_all(b"!");
            }
        });
    });
    Ok(here)
}

/// Waits for `wait`, which must not be zero; true as soon as the process is asked to end.
pub(super) fn asked_within(mut socket: &UnixStream, wait: Duration) -> bool {
    // Where the system takes no time-out, waiting would never end.
    socket.set_read_timeout(Some(wait)).is_err() || socket.read(&mut [0]).is_ok()
}
