//! What the kernel still holds of what was written to a socket: no safe interface has the call.
#![allow(unsafe_code, reason = "rustix has ioctl as an unsafe call only")]

use std::ffi::c_int;

use rustix::ioctl::{Getter, Opcode, ioctl};
use socket2::Socket;

/// `SIOCOUTQ`, which Linux calls `TIOCOUTQ` as well.
const SIOCOUTQ: Opcode = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    0x7472
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    0x4004_7473
} else {
    0x5411
};

/// How many bytes the kernel holds that the peer's TCP has not acknowledged; `None` where it does not say.
pub(super) fn untaken(socket: &Socket) -> Option<u64> {
    // SAFETY: for this operation the kernel writes one C int and reads nothing; a socket that does not
    // know it answers with an error, and nothing is written.
    let held = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    u64::try_from(held.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    fn until(what: impl Fn() -> bool) -> bool {
        (0..1000).any(|_| {
            sleep(Duration::from_millis(10));
            what()
        })
    }

    /// What the peer's side has no room for stays with us, until it reads.
    #[test]
    fn what_the_peer_has_not_taken_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(n) = ours.write(&[7; 65_536]) {
            written += n;
        }
        let ours = Socket::from(ours);
        let held = untaken(&ours).unwrap();
        assert!(held > 0 && held <= written as u64, "{held} of {written}");
        let mut read = vec![0; written];
        theirs.read_exact(&mut read).unwrap();
        assert!(until(|| untaken(&ours) == Some(0)));
    }
}
