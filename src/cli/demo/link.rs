//! The uplink of the demo: a TCP relay on loopback that can be cut and mended.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A relay to one address.
#[derive(Debug)]
pub(super) struct CuttableLink {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    up: bool,
    /// Both ends of each connection since the link was last mended.
    streams: Vec<TcpStream>,
}

impl CuttableLink {
    /// A link that is up. Its thread ends with the process.
    pub(super) fn to(host: String, port: u16) -> io::Result<CuttableLink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let link = CuttableLink {
            port: listener.local_addr()?.port(),
            state: Arc::new(Mutex::new(State {
                up: true,
                streams: Vec::new(),
            })),
        };
        let state = Arc::clone(&link.state);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A connection that can't be carried on is closed, as by a router without uplink.
                let _ = carry(near, &host, port, &state);
            }
        });
        Ok(link)
    }

    /// The port of loopback that leads upstream.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Cuts all connections; new ones are closed at once.
    pub(super) fn cut(&self) {
        let mut state = lock(&self.state);
        state.up = false;
        for stream in state.streams.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets new connections through again.
    pub(super) fn mend(&self) {
        lock(&self.state).up = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(near: TcpStream, host: &str, port: u16, state: &Mutex<State>) -> io::Result<()> {
    if !lock(state).up {
        return Ok(());
    }
    let far = TcpStream::connect((host, port))?;
    let mut state = lock(state);
    if !state.up {
        return Ok(());
    }
    for (from, to) in [(&near, &far), (&far, &near)] {
        from.set_nodelay(true)?;
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        state.streams.push(from.try_clone()?);
        std::thread::spawn(move || {
            // Ends with either side; then the other has to end too.
            let _ = io::copy(&mut from, &mut to);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_cut_link_carries_nothing_until_mended() {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = upstream.local_addr().unwrap().port();
        let link = CuttableLink::to("127.0.0.1".to_owned(), port).unwrap();
        let dial = || TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).unwrap();
        let mut byte = [0];

        let mut near = dial();
        let (mut far, _) = upstream.accept().unwrap();
        near.write_all(b"x").unwrap();
        far.read_exact(&mut byte).unwrap();
        link.cut();
        assert_eq!(near.read(&mut byte).unwrap_or(0), 0, "cut");
        assert_eq!(dial().read(&mut byte).unwrap_or(0), 0, "still cut");

        link.mend();
        let mut near = dial();
        let (mut far, _) = upstream.accept().unwrap();
        far.write_all(b"y").unwrap();
        near.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"y");
    }
}
