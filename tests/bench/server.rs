//! A broker under measurement: started on its own core, watched through /proc.

use std::fs;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

/// The core that brokers run on.
const BROKER_CORE: usize = 0;
/// The core of the load generator, and of an upstream broker where a row has one.
const LOAD_CORE: usize = 1;

/// Where a broker's folder keeps what strace saw.
const TRACE: &str = "syncs";

/// Whose broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Footbridge,
    Mosquitto,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Footbridge => "footbridge",
            Kind::Mosquitto => "mosquitto",
        }
    }

    /// The binary: `FOOTBRIDGE_BIN` or `MOSQUITTO_BIN` where set.
    pub(crate) fn binary(self) -> PathBuf {
        let (variable, default) = match self {
            Kind::Footbridge => ("FOOTBRIDGE_BIN", env!("CARGO_BIN_EXE_footbridge")),
            Kind::Mosquitto => ("MOSQUITTO_BIN", "/usr/sbin/mosquitto"),
        };
        std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
    }
}

/// A running broker; dropping it kills it and removes its folder.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// Starts a broker on the brokers' core. Both read the same lines of configuration.
    pub(crate) fn start(kind: Kind, config: &str) -> Result<Self> {
        Server::start_on(BROKER_CORE, kind, config, false)
    }

    /// Starts a broker whose syncs are counted, if strace is there to do it.
    pub(crate) fn start_traced(kind: Kind, config: &str) -> Result<Self> {
        Server::start_on(BROKER_CORE, kind, config, true)
    }

    /// Starts a Mosquitto beside the load generator: the other end of a bridge.
    pub(crate) fn start_upstream() -> Result<Self> {
        Server::start_upstream_with("")
    }

    /// The same with more lines of configuration.
    pub(crate) fn start_upstream_with(lines: &str) -> Result<Self> {
        let config = format!("max_queued_messages 0\n{lines}");
        Server::start_on(LOAD_CORE, Kind::Mosquitto, &config, false)
    }

    fn start_on(core: usize, kind: Kind, config: &str, trace: bool) -> Result<Self> {
        let port = free_port()?;
        let folder = stores().join(format!("bench-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let file = folder.join("broker.conf");
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n\
             log_dest none\npersistence_location {}/\n{config}",
            folder.display()
        );
        if kind == Kind::Mosquitto && rustix::process::geteuid().is_root() {
            // Or it becomes a user who may not write to the folder.
            text = format!("user root\n{text}");
        }
        fs::write(&file, text)?;
        // A child inherits its parent's affinity, and so do all its threads.
        pin(core);
        let mut command = if trace && has_strace() {
            strace(&folder.join(TRACE), kind)
        } else {
            Command::new(kind.binary())
        };
        let child = command
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr"))?)
            .spawn();
        pin(LOAD_CORE);
        let mut server = Server {
            child: child?,
            folder,
            port,
        };
        server.wait_until_it_listens(kind)?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self, kind: Kind) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let stderr = fs::read_to_string(self.folder.join("stderr")).unwrap_or_default();
                let name = kind.name();
                let how = ended.map_or("not listening after 10 s".into(), |s| s.to_string());
                return Err(Error::other(format!("{name}: {how} {}", stderr.trim())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// CPU time of all threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// Resident memory (VmRSS), bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        self.proc_field("status", "VmRSS:").map(|kib| kib * 1024)
    }

    /// Bytes this process caused to be written to storage: pages it made dirty, again after each
    /// sync. What the filesystem writes for itself is not in it.
    pub(crate) fn written(&self) -> Result<u64> {
        self.proc_field("io", "write_bytes:")
    }

    /// Bytes of [`Server::written`] that never got there: their file was cut or removed before.
    pub(crate) fn cancelled(&self) -> Result<u64> {
        self.proc_field("io", "cancelled_write_bytes:")
    }

    /// How often it has synced so far; `None` unless [traced](Server::start_traced).
    pub(crate) fn syncs(&self) -> Option<u64> {
        let trace = fs::read(self.folder.join(TRACE)).ok()?;
        let calls = String::from_utf8_lossy(&trace);
        // A call that another thread's cuts in two has a second line, without a bracket.
        let is_call = |line: &&str| line.contains("sync(") || line.contains("sync_file_range(");
        Some(calls.lines().filter(is_call).count() as u64)
    }

    /// Bytes of the files in `persistence_location`, as long as they are.
    pub(crate) fn store_bytes(&self) -> Result<u64> {
        self.stored(fs::Metadata::len)
    }

    /// The same without what was never written: files may have holes.
    pub(crate) fn store_blocks(&self) -> Result<u64> {
        self.stored(|file| file.blocks() * 512)
    }

    fn stored(&self, size: impl Fn(&fs::Metadata) -> u64) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(".db") {
                bytes += size(&entry.metadata()?);
            }
        }
        Ok(bytes)
    }

    fn proc_field(&self, file: &str, key: &str) -> Result<u64> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path)?;
        text.lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Error::other(format!("no {key} in {path}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where brokers under measurement have their files: `BENCH_FOLDER`, or cargo's folder for that.
pub(crate) fn stores() -> PathBuf {
    std::env::var_os("BENCH_FOLDER")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

/// The type of the filesystem that holds [`stores`].
pub(crate) fn filesystem() -> String {
    let folder = stores();
    let folder = folder.canonicalize().unwrap_or(folder);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        folder
            .starts_with(point)
            .then(|| (point.len(), kind.to_owned()))
    };
    let nearest = mounts.lines().filter_map(mount).max_by_key(|(len, _)| *len);
    nearest.map_or("an unknown filesystem".to_owned(), |(_, kind)| kind)
}

/// A broker below strace, as a child of ours all the same (`-D`). Only the calls that sync stop it
/// (`--seccomp-bpf`), so that the others cost what they always do.
fn strace(trace: &Path, kind: Kind) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none"])
        .args(["-e", "trace=fsync,fdatasync,sync_file_range,msync,syncfs"])
        .arg("-o")
        .arg(trace)
        .arg(kind.binary());
    command
}

fn has_strace() -> bool {
    let mut command = Command::new("strace");
    command.arg("-V").stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// CPU time of all threads of a process (`self`, or a process id).
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let running = text.split_whitespace().next().unwrap_or_default();
        nanoseconds += running.parse::<u64>().map_err(Error::other)?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Pins this thread, where the machine has that core.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
