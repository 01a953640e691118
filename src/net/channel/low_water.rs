//! At how many bytes the system tells that something can be read: no safe interface has the option.
#![allow(unsafe_code, reason = "neither socket2 nor rustix has SO_RCVLOWAT")]

use std::ffi::c_int;
use std::io;
use std::mem::size_of_val;
use std::os::fd::AsRawFd as _;

use socket2::Socket;

/// Sets `SO_RCVLOWAT`. What is there already, and the end, are told as ever.
///
/// # Errors
/// What the system says.
pub(super) fn set(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    let length = libc::socklen_t::try_from(size_of_val(&bytes)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket`, and the kernel reads `length` bytes, which are
    // the C int's.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    match status {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use super::*;
    use crate::net::reactor::{Waiter, Wanted};

    fn tells(socket: &Socket, patience: Duration) -> bool {
        let mut wanted = [Wanted::readable(socket.as_fd())];
        let waiter = Waiter::new().unwrap();
        waiter.wait(&mut wanted, Some(patience)).unwrap();
        let [socket] = wanted;
        socket.is_ready
    }

    #[test]
    fn the_system_tells_at_the_mark_and_at_the_end() {
        const SHORT: Duration = Duration::from_millis(50);
        const LONG: Duration = Duration::from_secs(30);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let mut ours = Socket::from(ours);
        set(&ours, 40).unwrap();
        theirs.write_all(&[7; 39]).unwrap();
        assert!(!tells(&ours, SHORT));
        theirs.write_all(&[7]).unwrap();
        assert!(tells(&ours, LONG));
        assert_eq!(ours.read(&mut [0; 100]).unwrap(), 40);
        // Below the mark; then there is none, or it is over.
        theirs.write_all(&[7]).unwrap();
        assert!(!tells(&ours, SHORT));
        set(&ours, 1).unwrap();
        assert!(tells(&ours, LONG));
        set(&ours, 40).unwrap();
        drop(theirs);
        assert!(tells(&ours, LONG));
    }
}
