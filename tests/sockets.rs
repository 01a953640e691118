//! The program from outside, over real sockets: what only `net` and `run` can get wrong.

#![allow(
    clippy::cast_possible_truncation,
    reason = "the numbers of tests are known to fit"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(10);
const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";

/// A running broker, killed when dropped.
struct Daemon {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Daemon {
    fn start(more: &str) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = folder.path().join("test.conf");
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n{more}\n");
        std::fs::write(&file, text).unwrap();
        let child = program()
            .args(["-v", "-c"])
            .arg(&file)
            // A pipe that nobody reads.
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Daemon {
            child,
            port,
            _folder: folder,
        }
    }

    /// A connection, once the daemon listens.
    fn dial(&self) -> TcpStream {
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(WAIT)).unwrap();
                    stream.set_write_timeout(Some(WAIT)).unwrap();
                    return stream;
                }
                Err(e) => assert!(begun.elapsed() < WAIT, "{e}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client whose CONNECT was accepted.
    fn client(&self) -> TcpStream {
        let mut stream = self.dial();
        stream.write_all(CONNECT).unwrap();
        expect(&mut stream, CONNACK);
        stream
    }

    /// Sends SIGTERM; returns the exit status, which must come soon.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < WAIT, "does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_footbridge"))
}

fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

#[track_caller]
fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

/// A PUBLISH at QoS 0 to topic `t`.
fn publish(payload: &[u8]) -> Vec<u8> {
    let mut remaining = payload.len() + 3;
    let mut packet = vec![0x30];
    loop {
        let more = if remaining > 127 { 0x80 } else { 0 };
        packet.push((remaining % 128) as u8 | more);
        remaining /= 128;
        if remaining == 0 {
            break;
        }
    }
    packet.extend_from_slice(b"\x00\x01t");
    packet.extend_from_slice(payload);
    packet
}

fn subscribe(stream: &mut TcpStream) {
    stream.write_all(b"\x82\x06\x00\x01\x00\x01t\x00").unwrap();
    expect(stream, b"\x90\x03\x00\x01\x00");
}

#[test]
fn packets_may_come_one_byte_at_a_time() {
    let daemon = Daemon::start("");
    let mut stream = daemon.dial();
    stream.set_nodelay(true).unwrap();
    for byte in CONNECT {
        stream.write_all(&[*byte]).unwrap();
    }
    expect(&mut stream, CONNACK);
    for _ in 0..3 {
        stream.write_all(b"\xc0").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        stream.write_all(b"\x00").unwrap();
        expect(&mut stream, b"\xd0\x00");
    }
}

#[test]
fn packets_larger_than_every_buffer_pass_whole() {
    let daemon = Daemon::start("");
    let mut subscriber = daemon.client();
    subscribe(&mut subscriber);
    let mut publisher = daemon.dial();
    let mut connect = CONNECT.to_vec();
    *connect.last_mut().unwrap() = b'b';
    publisher.write_all(&connect).unwrap();
    expect(&mut publisher, CONNACK);
    for size in [10, 16_000, 65_536, 500_000, 3_000_000] {
        let payload: Vec<u8> = (0..size).map(|i: usize| (i * 7 % 251) as u8).collect();
        let packet = publish(&payload);
        publisher.write_all(&packet).unwrap();
        let mut got = vec![0; packet.len()];
        subscriber.read_exact(&mut got).unwrap();
        assert!(got == packet, "{size} bytes came out different");
    }
}

#[test]
fn a_burst_of_packets_in_one_write_is_answered_in_full() {
    const MANY: usize = 50_000;
    let daemon = Daemon::start("");
    let mut stream = daemon.client();
    let mut reader = stream.try_clone().unwrap();
    let answers = std::thread::spawn(move || {
        let mut got = vec![0; 2 * MANY];
        reader.read_exact(&mut got).unwrap();
        got
    });
    stream.write_all(&b"\xc0\x00".repeat(MANY)).unwrap();
    assert!(answers.join().unwrap() == b"\xd0\x00".repeat(MANY));
}

/// [MQTT-3.1.0-1]: anything but CONNECT first ends the connection, and only that one.
#[test]
fn nonsense_ends_its_own_connection_only() {
    let daemon = Daemon::start("");
    let mut good = daemon.client();
    let mut bad = daemon.dial();
    bad.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    match bad.read_to_end(&mut rest) {
        Ok(_) => assert_eq!(rest, b""),
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
    good.write_all(b"\xc0\x00").unwrap();
    expect(&mut good, b"\xd0\x00");
}

/// Standard error is a pipe of 64 KB that nobody reads; with `-v` each connection logs lines.
#[test]
fn a_log_that_nobody_reads_blocks_nothing_and_the_stop_is_clean() {
    let daemon = Daemon::start("log_type all");
    for _ in 0..1500 {
        let mut client = daemon.client();
        client.write_all(b"\xe0\x00").unwrap();
    }
    let mut last = daemon.client();
    last.write_all(b"\xc0\x00").unwrap();
    expect(&mut last, b"\xd0\x00");
    assert_eq!(daemon.stop(), Some(0));
    let mut rest = Vec::new();
    assert_eq!(
        last.read_to_end(&mut rest).unwrap(),
        0,
        "no end at the stop"
    );
}

#[test]
fn a_port_in_use_is_one_line_and_status_1() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port().to_string();
    let Output { status, stderr, .. } = program().args(["-p", &port]).output().unwrap();
    assert_eq!(status.code(), Some(1));
    let text = String::from_utf8(stderr).unwrap();
    let errors: Vec<&str> = text.lines().filter(|l| l.contains("Error")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    assert!(errors[0].contains(&port), "{text}");
}

/// The upstream closes the MQTT 5 CONNECT, then takes MQTT 3.1.1; the local state topic follows.
#[test]
fn a_bridge_falls_back_and_tells_its_state() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let daemon = Daemon::start(&format!(
        "connection up\naddress {address}\ntopic # out 1\nnotification_topic t\ntry_private false"
    ));
    let (mut first, _) = upstream.accept().unwrap();
    first.set_read_timeout(Some(WAIT)).unwrap();
    let mut head = [0; 9];
    first.read_exact(&mut head).unwrap();
    assert_eq!(head[8], 5, "{head:x?}");
    drop(first);
    let (mut second, _) = upstream.accept().unwrap();
    second.set_read_timeout(Some(WAIT)).unwrap();
    second.read_exact(&mut head).unwrap();
    assert_eq!(head[8], 4, "{head:x?}");
    let mut client = daemon.client();
    client.write_all(b"\x82\x06\x00\x01\x00\x01t\x00").unwrap();
    expect(&mut client, b"\x90\x03\x00\x01\x00");
    expect(&mut client, b"\x31\x04\x00\x01t0");
    second.write_all(CONNACK).unwrap();
    expect(&mut client, b"\x30\x04\x00\x01t1");
    drop(second);
    expect(&mut client, b"\x30\x04\x00\x01t0");
}
