//! The broker under test: the real binary with a configuration of its own.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// On so many ports a start is tried.
const TRIES: u32 = 5;

/// A running broker.
pub(crate) struct Broker {
    child: Child,
    folder: TempDir,
    program: PathBuf,
    pub(crate) addr: SocketAddr,
}

impl Broker {
    /// Starts `program` with the lines of `config`.
    pub(crate) fn start(program: &str, config: &[String]) -> Result<Broker, String> {
        for _ in 0..TRIES {
            match Broker::try_start(program, config) {
                // Another test's connection has the port meanwhile.
                Err(why) if why.contains("Address already in use") => {}
                started => return started,
            }
        }
        Err(format!("no port is free, {TRIES} times"))
    }

    fn try_start(program: &str, config: &[String]) -> Result<Broker, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let addr = free_addr()?;
        let file = folder.path().join("flow.conf");
        let port = addr.port();
        let mut text = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
        if !config.iter().any(|line| line.starts_with("sys_interval")) {
            text += "sys_interval 0\n";
        }
        if !program.ends_with("footbridge") {
            text += "user root\n";
        }
        for line in config {
            if let Some(entry) = line.strip_prefix("file ") {
                append(&folder, entry)?;
                continue;
            }
            text += &line.replace("<folder>", &folder.path().to_string_lossy());
            text.push('\n');
            if line == "persistence true" {
                text += &format!("persistence_location {}/\n", folder.path().display());
            }
        }
        fs::write(&file, text).map_err(|e| e.to_string())?;
        let program = PathBuf::from(program);
        let child = spawn(&program, &folder)?;
        let mut broker = Broker {
            child,
            folder,
            program,
            addr,
        };
        broker.wait_until_up()?;
        Ok(broker)
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                return Err(format!("the broker does not start:\n{}", self.log()));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it with SIGKILL and starts it again.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|e| e.to_string())?;
        self.child.wait().map_err(|e| e.to_string())?;
        self.start_again()
    }

    /// Ends it with SIGTERM and starts it again.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        self.stop()?;
        self.start_again()
    }

    fn start_again(&mut self) -> Result<(), String> {
        self.child = spawn(&self.program, &self.folder)?;
        self.wait_until_up()
    }

    /// Ends it with SIGTERM; an error if it panicked or does not exit with 0.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|e| e.to_string())?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                return Err("the broker does not stop".to_owned());
            }
            thread::sleep(Duration::from_millis(5));
        };
        let log = self.log();
        if status.success() && !log.contains("panicked") {
            Ok(())
        } else {
            Err(format!("the broker ended with {status}:\n{log}"))
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends a line to a file of the broker: `NAME LINE`.
fn append(folder: &TempDir, entry: &str) -> Result<(), String> {
    let (name, line) = entry.split_once(' ').unwrap_or((entry, ""));
    let mut options = File::options();
    let file = options
        .create(true)
        .append(true)
        .open(folder.path().join(name));
    file.and_then(|mut file| writeln!(file, "{line}"))
        .map_err(|e| e.to_string())
}

fn spawn(program: &PathBuf, folder: &TempDir) -> Result<Child, String> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .map_err(|e| e.to_string())?;
    Command::new(program)
        .arg("-c")
        .arg(folder.path().join("flow.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))
}

/// A loopback address that is free now.
fn free_addr() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map_err(|e| e.to_string())
}
