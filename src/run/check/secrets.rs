//! Files that hold secrets and that everybody on the machine can read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::folders::folder_of;
use crate::config::{self, Config, General};

/// The directives whose values are passwords.
const PASSWORDS: [&str; 2] = ["remote_password", "password"];

/// A file with secrets that others can read.
#[derive(Debug)]
pub(in crate::run) struct OpenFile {
    /// What it holds, and the cure.
    pub(in crate::run) line: String,
    /// The directive that names the file, or is the secret in it.
    pub(in crate::run) directive: &'static str,
}

/// The files with secrets that others can read: what was read as the configuration, password files, those
/// of bridges, private keys, the store.
pub(in crate::run) fn readable_by_all(main: Option<&Path>, config: &Config) -> Vec<OpenFile> {
    let mut open = Vec::new();
    for file in main.map(configuration_files).unwrap_or_default() {
        if is_open(&file) && names_password(&file) {
            let what = "passwords of bridges, and everybody can read it";
            open.push(open_file("remote_password", &file, what));
        }
    }
    let general = std::iter::once(&config.general.security);
    let rules = general.chain(config.listeners.iter().map(|listener| &listener.security));
    let mut files: Vec<&PathBuf> = rules.filter_map(|r| r.password_file.as_ref()).collect();
    files.sort_unstable();
    files.dedup();
    for file in files.into_iter().filter(|file| is_open(file)) {
        let what = "hashes of passwords (password_file), and everybody can read it";
        open.push(open_file("password_file", file, what));
    }
    let tokens = config.bridges.iter();
    for file in tokens.filter_map(|bridge| bridge.remote_password_file.as_ref()) {
        if is_open(file) {
            let what = "the password of a bridge (remote_password_file), and everybody can read it";
            open.push(open_file("remote_password_file", file, what));
        }
    }
    for (directive, file) in private_keys(config) {
        if is_open(file) {
            let what = format!("a private key ({directive}), and everybody can read it");
            open.push(open_file(directive, file, &what));
        }
    }
    open.extend(open_store(&config.general));
    open
}

/// The files of the private keys of TLS, each once, with the directive that names it.
fn private_keys(config: &Config) -> BTreeSet<(&'static str, &PathBuf)> {
    let listeners = config.listeners.iter();
    let listeners = listeners.filter_map(|listener| listener.tls.keyfile.as_ref());
    let bridges = config.bridges.iter();
    let bridges = bridges.filter_map(|bridge| bridge.tls.keyfile.as_ref());
    let bridges = bridges.map(|file| ("bridge_keyfile", file));
    listeners
        .map(|file| ("keyfile", file))
        .chain(bridges)
        .collect()
}

fn open_file(directive: &'static str, file: &Path, what: &str) -> OpenFile {
    let name = file.display();
    OpenFile {
        line: format!("{name} has {what}: `chmod o-rwx {name}` keeps others out"),
        directive,
    }
}

/// The store, in a file that everybody can read as an earlier version made it.
fn open_store(general: &General) -> Option<OpenFile> {
    let is_open = general.persistence && is_open(&general.store);
    is_open.then(|| {
        let what = "every message that is kept, and everybody can read it";
        open_file("persistence_location", &general.store, what)
    })
}

/// The main file and those that its `include_dir` reads.
fn configuration_files(main: &Path) -> Vec<PathBuf> {
    let mut files = vec![main.to_owned()];
    let text = config::text(main);
    for folder in values(&text, "include_dir") {
        let folder = folder_of(main).join(folder);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|ext| ext == "conf")));
    }
    files
}

fn names_password(file: &Path) -> bool {
    let text = config::text(file);
    let mut names = PASSWORDS.iter();
    let has_login = values(&text, "bridge_proxy").any(|url| url.contains('@'));
    has_login || names.any(|name| values(&text, name).next().is_some())
}

/// What stands behind `directive`, each time that it does.
fn values<'t>(text: &'t str, directive: &str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| {
        let rest = line.trim_start().strip_prefix(directive)?;
        let value = rest.strip_prefix([' ', '\t'])?.trim();
        (!value.is_empty()).then_some(value)
    })
}

/// Whether everybody can read `file`: it and all folders that lead there let them.
fn is_open(file: &Path) -> bool {
    let Ok(path) = file.canonicalize() else {
        return false;
    };
    path.ancestors().enumerate().all(|(up, path)| {
        let wanted = if up == 0 { 0o4 } else { 0o1 };
        fs::metadata(path).is_ok_and(|found| found.mode() & wanted != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Env;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn each_secret_that_others_can_read_has_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let text = format!(
            "include_dir {0}\npassword_file {0}/users\npersistence true\npersistence_location {0}\n",
            folder.path().display()
        );
        fs::write(at("main"), &text).unwrap();
        fs::write(
            at("bridge.conf"),
            "connection b\naddress u\ntopic #\nremote_username u\nremote_password p\n",
        )
        .unwrap();
        let token = at("token");
        let bridge = format!(
            "connection t\naddress u\ntopic #\nremote_username u\nremote_password_file {}\n",
            token.display()
        );
        fs::write(&token, "x").unwrap();
        fs::write(at("users"), "").unwrap();
        fs::write(at("footbridge.db"), "").unwrap();
        let keys = format!(
            "bridge_certfile {0}/own.pem\nbridge_keyfile {0}/own.key\n\
             bridge_proxy http://p:1\nlistener 1\ncertfile {0}/s.pem\nkeyfile {0}/s.key\n\
             listener 2\ncertfile {0}/s.pem\nkeyfile {0}/s.key\n",
            folder.path().display()
        );
        for name in ["own.key", "own.pem", "s.key", "s.pem"] {
            fs::write(at(name), "").unwrap();
        }
        fs::write(
            at("proxy.conf"),
            "connection p\naddress u\ntopic #\nbridge_proxy http://u:p@h:1\n",
        )
        .unwrap();
        let text = text + &bridge + &keys;
        let config = Config::parse(&text, "x", &Env::default()).unwrap().config;
        let lines = || -> Vec<String> {
            let open = readable_by_all(Some(&at("main")), &config);
            open.into_iter().map(|open| open.line).collect()
        };
        let secrets = [
            "bridge.conf",
            "proxy.conf",
            "users",
            "token",
            "own.key",
            "s.key",
            "footbridge.db",
        ];
        for name in secrets.into_iter().chain(["main", "own.pem", "s.pem"]) {
            set(&at(name), 0o644);
        }
        set(folder.path(), 0o755);
        let told = lines();
        assert_eq!(told.len(), secrets.len(), "{told:?}");
        for name in secrets {
            let cure = format!("`chmod o-rwx {}`", at(name).display());
            assert!(told.iter().any(|line| line.contains(&cure)), "{told:?}");
        }
        set(folder.path(), 0o750);
        assert_eq!(lines(), [""; 0], "nobody comes as far");
        set(folder.path(), 0o755);
        for name in secrets {
            set(&at(name), 0o640);
        }
        assert_eq!(lines(), [""; 0]);
    }

    #[test]
    fn the_values_of_a_directive() {
        let text = "# password x\n password  a b \npassword\npasswords c\n\tpassword\td\n";
        assert_eq!(
            values(text, "password").collect::<Vec<_>>(),
            ["a b", "d"],
            "comments and other directives are none"
        );
    }
}
