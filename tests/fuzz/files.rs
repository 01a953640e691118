//! Configuration, password and ACL files: refused with a place, or read; and what is read can be
//! asked. Mosquitto's persistence file: refused, or brought into a store that can be read.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use footbridge::auth::passwd::{Hash, Users};
use footbridge::auth::{Auth, Who};
use footbridge::config::{Config, Env};
use footbridge::import::{Import, Moment};
use footbridge::store::{Db, Location};
use footbridge::time::Time;

use super::input::Input;

/// Reads `input` as the kind of file that its first byte says.
pub fn run(input: &[u8]) {
    let mut input = Input(input);
    let kind = input.byte();
    if kind % 4 == 3 {
        return persistence(input.0);
    }
    let text = String::from_utf8_lossy(input.0);
    match kind % 4 {
        0 => config(&text),
        1 => passwords(&text),
        _ => rules(&text),
    }
}

/// A persistence file of Mosquitto's: what is told before is what is brought.
fn persistence(bytes: &[u8]) {
    let moment = Moment {
        now: Time::from_secs(1_764_000_000),
        wall: 1_764_000_000,
    };
    let text = "connection cloud\naddress u\nremote_clientid gw\ntopic a/# out 1";
    let config = Config::parse(text, "x.conf", &Env::default()).expect("a configuration");
    let open = || Import::open(Cursor::new(bytes));
    let Ok(told) = open().and_then(|import| import.into_report(&config.config, moment)) else {
        return;
    };
    let (mut db, empty) = Db::open(Location::Memory).expect("a store");
    let first = (empty.next_message, empty.next_session);
    let import = open().expect("as before");
    let brought = import.into_store(&mut db, (&config.config, moment), first);
    assert_eq!(brought.expect("as before"), told);
    assert!(db.live_bytes() > 0 || told.sessions + told.bridges + told.retained == 0);
}

fn config(text: &str) {
    // Other files are not for this: what they hold is not in the input.
    if text.contains("include_dir") {
        return;
    }
    match Config::parse(text, "x.conf", &Env::default()) {
        Ok(loaded) => {
            // The same again says the same.
            let again = Config::parse(text, "x.conf", &Env::default()).expect("as before");
            assert_eq!(again.config, loaded.config);
            assert_eq!(again.notes, loaded.notes);
        }
        Err(errors) => {
            for error in &errors.0 {
                assert!(error.to_string().starts_with("x.conf"), "{error}");
            }
        }
    }
}

/// A password file: what is a line of it is known by its name, and reads again as it prints.
fn passwords(text: &str) {
    let (users, skipped) = Users::parse(text);
    for (number, line) in text.lines().enumerate() {
        let told = skipped.iter().any(|(at, _)| *at == number + 1);
        let ignored = line.trim().is_empty() || line.starts_with('#');
        let Some((name, hash)) = line.split_once(':').filter(|_| !told && !ignored) else {
            assert!(told || ignored, "line {} passes in silence", number + 1);
            continue;
        };
        assert!(users.has_same(&users, name.trim()));
        let hash = Hash::parse(hash.trim())
            .expect("it was read before")
            .to_string();
        assert_eq!(
            Hash::parse(&hash).expect("it was printed").to_string(),
            hash
        );
    }
}

/// An ACL file, as the configuration names it: refused with a line, or rules that answer.
fn rules(text: &str) {
    let file = TextFile::new(text);
    let text = format!("listener 1883\nacl_file {}\n", file.0.display());
    let config = Config::parse(&text, "x.conf", &Env::default())
        .expect("valid")
        .config;
    match Auth::for_config(&config) {
        Ok((auth, _)) => {
            for username in [None, Some("u"), Some("")] {
                for topic in ["", "a", "a/b", "$SYS/a", "u/c", "c", "/"] {
                    let who = Who {
                        client_id: "c",
                        username,
                        listener: None,
                        is_connected: true,
                    };
                    let answers = (auth.may_publish(&who, topic), auth.may_read(&who, topic));
                    assert_eq!(
                        answers,
                        (auth.may_publish(&who, topic), auth.may_read(&who, topic))
                    );
                }
            }
        }
        Err(error) => assert!(error.to_string().starts_with(&file.0.display().to_string())),
    }
}

/// A file that is there as long as this is.
struct TextFile(PathBuf);

impl TextFile {
    fn new(text: &str) -> TextFile {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("footbridge-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a file in the folder for temporary ones");
        TextFile(path)
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        // What is left behind is only untidy.
        let _ = fs::remove_file(&self.0);
    }
}
