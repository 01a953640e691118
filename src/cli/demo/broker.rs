//! The broker processes of the demo: this very program, with a configuration file each.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::DemoError;

/// The word that makes this program a broker of the demo; a configuration file follows.
pub const BROKER: &str = "demo-broker";

/// A broker that takes longer to listen is taken for broken.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Each QoS 2 message takes several commits on its way, one after another: the more of them are in
/// flight at once, the sooner a backlog is gone.
const INFLIGHT: u32 = 100;

/// A folder of this run alone, in the system's place for temporary files.
pub(super) fn make_folder() -> io::Result<PathBuf> {
    let name = format!("footbridge-demo-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// A port of loopback that was free a moment ago.
pub(super) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// A broker process. Dropping it kills the process; should this process be killed, the kernel
/// does so.
#[derive(Debug)]
pub(super) struct BrokerProcess {
    name: &'static str,
    port: u16,
    config: PathBuf,
    store: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl BrokerProcess {
    /// Writes the configuration and starts the broker; `extra` are further lines.
    pub(super) fn start(
        folder: &Path,
        name: &'static str,
        extra: &str,
    ) -> Result<BrokerProcess, DemoError> {
        let port = free_port().map_err(DemoError::system("no free port"))?;
        let mut broker = BrokerProcess {
            name,
            port,
            config: folder.join(format!("{name}.conf")),
            store: folder.join(name),
            log: folder.join(format!("{name}.log")),
            child: None,
        };
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nmax_inflight_messages {INFLIGHT}\n{extra}",
            broker.store.display()
        );
        fs::create_dir(&broker.store)
            .and_then(|()| fs::write(&broker.config, config))
            .map_err(DemoError::system("cannot write the configuration"))?;
        broker.spawn()?;
        Ok(broker)
    }

    /// Starts the process, and waits until it listens. To be called from the main thread: the
    /// kernel ends the process with the thread that started it.
    pub(super) fn spawn(&mut self) -> Result<(), DemoError> {
        let program = std::env::current_exe().map_err(DemoError::system("no path to myself"))?;
        let log = File::options().create(true).append(true).open(&self.log);
        let child = log.and_then(|log| {
            Command::new(program)
                .arg(BROKER)
                .arg(&self.config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
        });
        let child = child.map_err(DemoError::system("cannot start a broker"))?;
        let child = self.child.insert(child);
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                return Err(DemoError::BrokerProcess(self.name, self.log.clone()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then what follows notices.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The port of loopback it listens on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of its store on disk.
    pub(super) fn store_bytes(&self) -> u64 {
        let files = fs::read_dir(&self.store).into_iter().flatten().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum()
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
