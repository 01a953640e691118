//! The password of a bridge that is read, or made by a program, at each connect.
//!
//! Both may block, so a helper thread does it, one a bridge: where it hangs, no other is started.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_lite::future;
use rustix::process::{Pid, Signal, kill_process_group};
use smol::channel::{self, Receiver};

use crate::config::Bridge;
use crate::net::reactor::Reactor;

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(10);

/// The longest password that MQTT can carry, in bytes (5.0 §1.5.6).
const MOST: u64 = 65_535;

const STACK: usize = 128 * 1024;

/// How often to look whether a program that has closed its output is over.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why there is no password. Never says what was read.
#[derive(Debug)]
pub(super) enum Error {
    /// The system's answer.
    System(io::Error),
    /// The program has failed.
    Status(ExitStatus),
    /// Nothing but a newline came.
    Empty,
    /// It is longer than a password can be.
    Long,
    /// It takes too long.
    Late,
    /// An earlier attempt still hangs.
    Busy,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::System(e) => e.fmt(f),
            Error::Status(status) => write!(f, "ended with {status}"),
            Error::Empty => f.write_str("there is no password in it"),
            Error::Long => write!(f, "the password is longer than {MOST} bytes"),
            Error::Late => write!(f, "nothing within {} seconds", WITHIN.as_secs()),
            Error::Busy => f.write_str("an earlier attempt still hangs"),
        }
    }
}

impl std::error::Error for Error {}

type Answer = Result<Vec<u8>, Error>;

/// Gets the passwords of one bridge.
#[derive(Debug)]
pub(super) struct Secrets {
    within: Duration,
    /// The attempt before, until its thread is known to have ended.
    running: Option<Receiver<Answer>>,
}

impl Default for Secrets {
    fn default() -> Secrets {
        Secrets {
            within: WITHIN,
            running: None,
        }
    }
}

/// A program of an attempt.
#[derive(Debug, Default)]
struct Run {
    /// It runs, or has ended. It is waited for only while this is locked, so that its number is its own.
    child: Option<Child>,
    /// Nobody waits for its answer any more.
    is_unwanted: bool,
}

type Program = Arc<Mutex<Run>>;

/// Ends the program of an attempt with it, however that ends: the bridge may be stopped meanwhile.
struct Attempt<'a>(&'a Program);

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        lock(self.0).is_unwanted = true;
        kill(self.0);
    }
}

impl Secrets {
    /// The password that `bridge` is to connect with now; `None` if it names no file and no program.
    ///
    /// # Errors
    /// Why there is none, in a sentence for the log.
    pub(super) async fn get(
        &mut self,
        reactor: &Reactor,
        bridge: &Bridge,
    ) -> Result<Option<Vec<u8>>, String> {
        if let Some(path) = &bridge.remote_password_file {
            let file = path.clone();
            let program = Program::default();
            let answer = self.run(reactor, &program, move || read(&file)).await;
            let named = |e| format!("remote_password_file {}: {e}", path.display());
            return answer.map(Some).map_err(named);
        }
        if let Some(words) = &bridge.remote_password_command {
            let (command, program) = (words.clone(), Program::default());
            let own = Arc::clone(&program);
            let answer = self
                .run(reactor, &program, move || ask(&command, &own))
                .await;
            let name = words.first().map_or("", String::as_str);
            return answer
                .map(Some)
                .map_err(|e| format!("remote_password_command {name}: {e}"));
        }
        Ok(None)
    }

    /// Waits for `work`, which is done by a thread. The program ends if it takes too long, or nobody waits
    /// any more.
    async fn run(
        &mut self,
        reactor: &Reactor,
        program: &Program,
        work: impl FnOnce() -> Answer + Send + 'static,
    ) -> Answer {
        let _attempt = Attempt(program);
        let mut late = reactor.timer_after(self.within);
        if let Some(before) = &self.running {
            let is_over = async {
                while before.recv().await.is_ok() {}
                true
            };
            let hangs = async {
                (&mut late).await;
                false
            };
            if !future::or(is_over, hangs).await {
                return Err(Error::Busy);
            }
        }
        let (sender, answer) = channel::bounded(1);
        let thread = thread::Builder::new().name("secret".into());
        let work = move || {
            // Fails when nobody waits any more.
            let _ = sender.try_send(work());
        };
        let started = thread.stack_size(STACK).spawn(work);
        started.map_err(Error::System)?;
        let answer = self.running.insert(answer);
        late.set_after(self.within);
        let wait = async { answer.recv().await.ok() };
        let late = async {
            late.await;
            None
        };
        future::or(wait, late).await.unwrap_or(Err(Error::Late))
    }
}

fn read(path: &Path) -> Answer {
    let file = File::open(path).map_err(Error::System)?;
    password(file)
}

/// Runs a program and takes what it writes.
fn ask(words: &[String], program: &Program) -> Answer {
    let (name, arguments) = words.split_first().ok_or(Error::Empty)?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    // In a group of its own, which goes as a whole.
    command.stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(Error::System)?;
    let output = child.stdout.take();
    let is_unwanted = {
        let mut run = lock(program);
        run.child = Some(child);
        run.is_unwanted
    };
    if is_unwanted {
        kill(program);
    }
    let answer = output.map_or(Err(Error::Empty), password);
    if matches!(answer, Err(Error::Long)) {
        kill(program);
    }
    loop {
        let ended = match lock(program).child.as_mut() {
            Some(child) => child.try_wait().map_err(Error::System)?,
            None => return Err(Error::Late),
        };
        match ended {
            Some(status) if status.success() => return answer,
            Some(_) if matches!(answer, Err(Error::Long)) => return answer,
            Some(status) => return Err(Error::Status(status)),
            None => thread::sleep(LOOK_AGAIN),
        }
    }
}

/// Ends the program and what it has started, if it runs.
fn kill(program: &Program) {
    let mut run = lock(program);
    let Some(child) = run.child.as_mut() else {
        return;
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Ok(None), Some(pid)) = (child.try_wait(), pid) {
        // One that has just ended needs none.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn lock(program: &Program) -> std::sync::MutexGuard<'_, Run> {
    program.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A password, without the newline at its end.
fn password(from: impl Read) -> Answer {
    let mut bytes = Vec::new();
    // A newline is two bytes at most.
    let read = from.take(MOST + 3).read_to_end(&mut bytes);
    read.map_err(Error::System)?;
    for end in [b"\n", b"\r"] {
        if bytes.ends_with(end) {
            bytes.pop();
        }
    }
    match bytes.len() as u64 {
        0 => Err(Error::Empty),
        1..=MOST => Ok(bytes),
        _ => Err(Error::Long),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn bridge() -> Bridge {
        Bridge::named("b", &Env::default())
    }

    fn get(secrets: &mut Secrets, bridge: &Bridge) -> Result<Option<Vec<u8>>, String> {
        let reactor = Reactor::new().unwrap();
        reactor.block_on(secrets.get(&reactor, bridge))
    }

    fn command(line: &str) -> Bridge {
        let words = line.split('|').map(str::to_owned).collect();
        Bridge {
            remote_password_command: Some(words),
            ..bridge()
        }
    }

    #[test]
    fn a_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let bridge = Bridge {
            remote_password_file: Some(path.clone()),
            ..bridge()
        };
        let mut secrets = Secrets::default();
        let missing = get(&mut secrets, &bridge).unwrap_err();
        assert!(missing.starts_with(&format!("remote_password_file {}: ", path.display())));
        for (text, wanted) in [
            ("one\n", Some("one")),
            ("two\r\n", Some("two")),
            ("three", Some("three")),
            (" four \n\n", Some(" four \n")),
            ("\n", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            let found = get(&mut secrets, &bridge).ok().flatten();
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{text:?}");
        }
        for (len, fits) in [(65_535, true), (65_536, false), (100_000, false)] {
            std::fs::write(&path, "x".repeat(len) + "\n").unwrap();
            assert_eq!(get(&mut secrets, &bridge).is_ok(), fits, "{len}");
        }
        let without = Bridge {
            remote_password_file: None,
            ..bridge
        };
        assert_eq!(get(&mut secrets, &without), Ok(None));
    }

    #[test]
    fn a_program_is_run_without_a_shell_and_its_failure_is_named() {
        let mut secrets = Secrets::default();
        let found = get(&mut secrets, &command("printf|%s|$HOME 'a'"));
        assert_eq!(found, Ok(Some(b"$HOME 'a'".to_vec())));
        let failed = get(&mut secrets, &command("sh|-c|echo sekrit; exit 3")).unwrap_err();
        assert_eq!(
            failed,
            "remote_password_command sh: ended with exit status: 3"
        );
        let none = get(&mut secrets, &command("/nonexistent/token")).unwrap_err();
        assert!(none.starts_with("remote_password_command /nonexistent/token: "));
        let long = get(&mut secrets, &command("cat|/dev/zero")).unwrap_err();
        assert!(long.contains("longer than 65535 bytes"), "{long}");
    }

    /// With what it has started, and whether it has closed its output or not.
    #[test]
    fn a_program_that_hangs_is_killed() {
        for line in ["sleep 1000 & sleep 1000", "exec >&-; sleep 1000"] {
            let mut secrets = Secrets {
                within: Duration::from_millis(300),
                running: None,
            };
            let late = get(&mut secrets, &command(&format!("sh|-c|{line}"))).unwrap_err();
            assert!(late.contains("nothing within"), "{late}");
            // The thread ends soon, and the next attempt has one of its own.
            let running = secrets.running.clone().unwrap();
            future::block_on(async { while running.recv().await.is_ok() {} });
            let next = get(&mut secrets, &command("echo|x"));
            assert_eq!(next, Ok(Some(b"x".to_vec())));
        }
    }

    /// The bridge is stopped, or its connection ends while a probe waits for the password.
    #[test]
    fn a_program_that_nobody_waits_for_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        let line = format!("echo x > {}; sleep 1000 & sleep 1000", started.display());
        let bridge = command(&format!("sh|-c|{line}"));
        let (mut secrets, reactor) = (Secrets::default(), Reactor::new().unwrap());
        let runs = async {
            while !started.exists() {
                reactor.timer_after(LOOK_AGAIN).await;
            }
            None
        };
        let given_up = async { Some(secrets.get(&reactor, &bridge).await) };
        assert_eq!(reactor.block_on(future::or(given_up, runs)), None);
        // The next attempt waits until that one is over.
        let next = get(&mut secrets, &command("echo|x"));
        assert_eq!(next, Ok(Some(b"x".to_vec())));
        // It may also be given up before the program has begun.
        let at_once = async { Some(secrets.get(&reactor, &bridge).await) };
        let not_at_all = future::or(at_once, future::ready(None));
        assert_eq!(reactor.block_on(not_at_all), None);
        let next = get(&mut secrets, &command("echo|x"));
        assert_eq!(next, Ok(Some(b"x".to_vec())));
    }

    #[test]
    fn where_a_file_hangs_no_second_thread_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let bridge = Bridge {
            remote_password_file: Some(path.clone()),
            ..bridge()
        };
        let mut secrets = Secrets {
            within: Duration::from_millis(200),
            running: None,
        };
        assert!(
            get(&mut secrets, &bridge)
                .unwrap_err()
                .contains("nothing within")
        );
        assert!(
            get(&mut secrets, &bridge)
                .unwrap_err()
                .contains("still hangs")
        );
        std::fs::write(&path, "late").unwrap();
        let running = secrets.running.clone().unwrap();
        future::block_on(async { while running.recv().await.is_ok() {} });
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "new").unwrap();
        assert_eq!(get(&mut secrets, &bridge), Ok(Some(b"new".to_vec())));
    }
}
