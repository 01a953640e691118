//! Files and folders that the configuration names, and whether the broker could write there.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::findings::Findings;
use crate::config::{Config, General};
use crate::run::user::{self, User};
use crate::store;

/// The file in which Mosquitto keeps what it owes, unless `persistence_file` says otherwise.
const MOSQUITTOS: &str = "mosquitto.db";

/// Who will write.
enum Writer {
    /// Root, who may all.
    Root,
    /// Whom root becomes.
    Other(User),
    /// Whoever starts the broker, who may be another than who runs the check.
    Unknown,
}

/// Checks that the folders of all files are there, and that they can be written to.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    let general = &config.general;
    let writer = match user::wanted(general.user.as_deref()) {
        Ok(Some(user)) => Writer::Other(user),
        _ if geteuid().is_root() => Writer::Root,
        _ => Writer::Unknown,
    };
    // Root opens the log and writes its number before it becomes somebody else.
    let early = match writer {
        Writer::Other(_) => &Writer::Root,
        _ => &writer,
    };
    for (directive, file) in [
        ("log_dest", &general.log.file),
        ("pid_file", &general.pid_file),
    ] {
        if let Some(file) = file {
            check_file(directive, file, early, findings);
        }
    }
    if general.persistence {
        check_file("persistence_location", &general.store, &writer, findings);
        let refused = store::check(&general.store).err();
        findings.errors.extend(refused.map(|e| e.to_string()));
        // What is in a store that is there only a start finds out.
        if !general.store.exists() {
            findings.warnings.extend(left_by_mosquitto(general));
        }
    }
    check_passwords(config, &writer, findings);
    check_sockets(config, &writer, findings);
    if let Writer::Other(user) = &writer {
        check_rereading(config, user, findings);
    }
}

/// A line about a store of Mosquitto's that lies beside ours, as long as there is nothing in that.
pub(in crate::run) fn left_by_mosquitto(general: &General) -> Option<String> {
    let file = folder_of(&general.store).join(MOSQUITTOS);
    let is_other = file != general.store && file.exists();
    is_other.then(|| {
        format!(
            "{0} is not read: the sessions and messages that Mosquitto keeps there are taken over by \
             `footbridge import-mosquitto {0}`, before footbridge is started",
            file.display()
        )
    })
}

pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn check_file(directive: &str, file: &Path, writer: &Writer, findings: &mut Findings) {
    let folder = folder_of(file);
    let wrong = match (fs::metadata(folder), fs::metadata(file)) {
        (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Some((
            folder,
            "the folder does not exist; create it or name another",
        )),
        // One that this user may not look into.
        (Err(_), _) => return,
        (Ok(found), _) if !found.is_dir() => Some((folder, "is no folder; name one")),
        (_, Ok(found)) if found.is_dir() => Some((file, "is a folder; name a file")),
        _ => None,
    };
    if let Some((path, what)) = wrong {
        let error = format!("{directive}: {}: {what}", path.display());
        return findings.errors.push(error);
    }
    let is_there = file.exists();
    // Beside the store more files are made.
    if !is_there || directive == "persistence_location" {
        check_rights(directive, folder, writer, findings);
    }
    if is_there {
        check_rights(directive, file, writer, findings);
    }
}

/// Checks that `path` can be written to.
fn check_rights(directive: &str, path: &Path, writer: &Writer, findings: &mut Findings) {
    let said = |what: &str| format!("{directive}: {}: {what}", path.display());
    match writer {
        Writer::Root => {}
        Writer::Other(user) if user.may_write(path) => {}
        Writer::Other(user) => {
            let name = user.name();
            let what = format!("`user {name}` may not write there; give it the right to");
            findings.errors.push(said(&what));
        }
        Writer::Unknown if access(path, Access::WRITE_OK).is_ok() => {}
        Writer::Unknown => {
            let what = "whoever runs this check may not write there; who runs the broker must";
            findings.warnings.push(said(what));
        }
    }
}

/// The passwords of bridges that are read when those connect: they may be put there later.
fn check_passwords(config: &Config, writer: &Writer, findings: &mut Findings) {
    for bridge in &config.bridges {
        let Some(file) = &bridge.remote_password_file else {
            continue;
        };
        let wrong = match (fs::metadata(file), writer) {
            (Err(e), _) => e.to_string(),
            (Ok(found), _) if found.is_dir() => "it is a folder".to_owned(),
            (Ok(_), Writer::Other(user)) if !user.may_read(file) => {
                format!("`user {}` may not read it", user.name())
            }
            _ => continue,
        };
        findings.warnings.push(format!(
            "connection {}: remote_password_file {}: {wrong}. The bridge tries it again and again",
            bridge.name,
            file.display()
        ));
    }
}

/// The programs behind `auth_socket`, which may be started later.
fn check_sockets(config: &Config, writer: &Writer, findings: &mut Findings) {
    let general = std::iter::once(&config.general.security);
    let rules = general.chain(config.listeners.iter().map(|listener| &listener.security));
    let mut paths: Vec<&PathBuf> = rules.filter_map(|r| r.auth_socket.as_ref()).collect();
    paths.dedup();
    for path in paths {
        let (name, found) = (path.display(), fs::metadata(path));
        match found {
            Ok(found) if found.file_type().is_socket() => {
                check_rights("auth_socket", path, writer, findings);
            }
            Ok(_) => findings.errors.push(format!(
                "auth_socket: {name}: is no Unix socket; name the one that the program listens on"
            )),
            Err(e) => findings.warnings.push(format!(
                "auth_socket: {name}: {e}. Logins that need its answer are refused until a program \
                 listens there"
            )),
        }
    }
}

/// What SIGHUP reads again takes the rights of `user`.
fn check_rereading(config: &Config, user: &User, findings: &mut Findings) {
    let general = std::iter::once(&config.general.security);
    let rules = general.chain(config.listeners.iter().map(|listener| &listener.security));
    let mut files: Vec<(&str, &PathBuf)> = Vec::new();
    for rules in rules {
        files.extend(
            rules
                .password_file
                .iter()
                .map(|file| ("password_file", file)),
        );
        files.extend(rules.acl_file.iter().map(|file| ("acl_file", file)));
    }
    files.dedup();
    for (directive, file) in files {
        if file.exists() && !user.may_read(file) {
            findings.warnings.push(format!(
                "{directive}: {}: `user {}` may not read it, so SIGHUP can't read it again",
                file.display(),
                user.name()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn found(text: &str) -> Findings {
        let config = Config::parse(text, "x", &Env::default()).unwrap().config;
        let mut findings = Findings::default();
        check(&config, &mut findings);
        findings
    }

    #[test]
    fn folders_that_are_not_there_are_all_told() {
        let there = tempfile::tempdir().unwrap();
        let path = there.path().display();
        let good = format!(
            "persistence true\npersistence_location {path}\npid_file {path}/pid\n\
             log_dest file {path}/log"
        );
        let findings = found(&good);
        assert_eq!((findings.errors.len(), findings.warnings.len()), (0, 0));
        fs::write(there.path().join("file"), "").unwrap();
        fs::create_dir(there.path().join("log")).unwrap();
        let findings = found(&format!(
            "persistence true\npersistence_location /nonexistent/a\npid_file {path}/file/pid\n\
             log_dest file {path}/log\nuser root"
        ));
        for (line, says) in findings.errors.iter().zip([
            "log_dest: ",
            "pid_file: ",
            "persistence_location: /nonexistent/a: the folder does not exist",
        ]) {
            assert!(line.starts_with(says), "{line}");
        }
        assert_eq!(findings.errors.len(), 3, "{findings:?}");
    }

    #[test]
    fn a_password_of_a_bridge_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        let text = format!(
            "connection b\naddress u\ntopic # out 1\nremote_username u\nremote_password_file {}",
            token.display()
        );
        let warnings = found(&text).warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("remote_password_file"), "{warnings:?}");
        fs::write(&token, "x").unwrap();
        assert_eq!(found(&text).warnings, [""; 0]);
    }

    #[test]
    fn an_auth_socket_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.sock");
        let text = format!("auth_socket {}", path.display());
        let findings = found(&text);
        assert_eq!((findings.errors.len(), findings.warnings.len()), (0, 1));
        assert!(
            findings.warnings[0].contains("No such file"),
            "{findings:?}"
        );
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let findings = found(&text);
        assert_eq!((findings.errors.len(), findings.warnings.len()), (0, 0));
        drop(socket);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let errors = found(&text).errors;
        assert!(errors[0].contains("is no Unix socket"), "{errors:?}");
    }

    #[test]
    fn nothing_is_stored_without_persistence() {
        let findings = found("persistence_location /nonexistent");
        assert_eq!(findings.errors, [""; 0]);
    }

    #[test]
    fn what_mosquitto_left_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join(MOSQUITTOS);
        let path = folder.path().display();
        let text = format!("persistence true\npersistence_location {path}");
        assert_eq!(found(&text).warnings, [""; 0]);
        fs::write(&theirs, b"\0\xb5\0mosquitto db\0\0\0\0\0\0\0\x06").unwrap();
        let line = &found(&text).warnings[0];
        assert!(
            line.starts_with(&format!("{} is not read", theirs.display())),
            "{line}"
        );
        // In the place of our own it stops the start.
        let findings = found(&format!("{text}\npersistence_file {MOSQUITTOS}"));
        assert_eq!(findings.warnings, [""; 0]);
        assert!(findings.errors[0].contains("a store of Mosquitto's"));
        // A store of our own may have taken it over.
        fs::write(folder.path().join("footbridge.db"), "").unwrap();
        assert_eq!(found(&text).warnings, [""; 0]);
    }
}
