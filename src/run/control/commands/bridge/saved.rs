//! Bridges that are kept for the next start: each in a file of its own in the first `include_dir`.
//!
//! Only what was written here is ever removed here.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use smol::channel;

use crate::config::Control;
use crate::files;
use crate::run::control::commands::command::{Members, Outcome};
use crate::run::control::protocol::Refusal;

/// The first line of each file.
const MARK: &str = "# Written by `footbridge bridge add --save`; `footbridge bridge remove --save` removes this file.";

/// The longest name of a bridge that makes the name of a file, in bytes, when written so.
const LONGEST: usize = 200;

/// What was written here has fewer bytes: a request has 64 KB at most.
const MOST: u64 = 128 * 1024;

/// Where a new bridge is to be kept.
pub(super) fn new_place(control: &Control, name: &str) -> Result<PathBuf, Refusal> {
    let none = "can't be saved: the configuration has no include_dir; add the section to the file by hand, \
                or `include_dir DIRECTORY`";
    let folder = control.save_in.as_ref().ok_or_else(|| Refusal::new(none))?;
    let file =
        file_name(name).ok_or_else(|| Refusal::new("can't be saved: the name is too long"))?;
    let place = folder.join(file);
    match fs::symlink_metadata(&place) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(place),
        Err(e) => Err(Refusal::new(format!(
            "can't be saved: {}: {e}",
            place.display()
        ))),
        Ok(_) => Err(Refusal::new(format!(
            "can't be saved: {} is there already; remove it, or take another name",
            place.display()
        ))),
    }
}

/// Where a bridge is kept, if it is.
pub(super) fn found(control: &Control, name: &str) -> Option<PathBuf> {
    let place = control.save_in.as_ref()?.join(file_name(name)?);
    let text = files::read(&place, MOST).ok()?;
    let first = text.split(|byte| *byte == b'\n').next();
    (first == Some(MARK.as_bytes())).then_some(place)
}

/// A name that no bridge but this one has, for the parser to find.
fn file_name(name: &str) -> Option<String> {
    let mut file = String::from("bridge-");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            file.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(file, "%{byte:02X}");
        }
    }
    file.push_str(".conf");
    (file.len() <= LONGEST).then_some(file)
}

/// Writes a section to `place`, where nothing is: whole, or not at all.
pub(super) fn write(place: &Path, section: &str) -> io::Result<()> {
    // The parser passes over it.
    let new = place.with_extension("conf.new");
    let _ = fs::remove_file(&new);
    // It may have a password in it.
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let written = write!(file, "{MARK}\n{}\n", section.trim_end())
        .and_then(|()| file.sync_all())
        // A file that has come there meanwhile stays.
        .and_then(|()| fs::hard_link(&new, place).or_else(|e| rename_new(&new, place, e)));
    let _ = fs::remove_file(&new);
    written.and_then(|()| sync_folder(place))
}

/// For file systems without hard links.
fn rename_new(new: &Path, place: &Path, error: io::Error) -> io::Result<()> {
    if place.exists() {
        return Err(error);
    }
    fs::rename(new, place)
}

/// Removes what [`write()`] has written.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    fs::remove_file(place)?;
    sync_folder(place)
}

fn sync_folder(place: &Path) -> io::Result<()> {
    match place.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Does `work`, which waits for a disk, on a thread of its own. It goes on if nobody waits for its end.
pub(super) fn in_background(
    work: impl FnOnce() -> Result<Members, Refusal> + Send + 'static,
) -> Result<Outcome, Refusal> {
    const STACK: usize = 128 * 1024;
    let lost = || Refusal::new("saving has ended in the middle; see the log");
    let (tell, told) = channel::bounded(1);
    let work = move || {
        // Whoever asked may be gone.
        let _ = tell.try_send(work());
    };
    let thread = thread::Builder::new().name("control".into());
    let spawned = thread.stack_size(STACK).spawn(work);
    spawned.map_err(|e| Refusal::new(format!("can't be saved: {e}")))?;
    Ok(Outcome::Awaited(Box::pin(async move {
        told.recv().await.unwrap_or_else(|_| Err(lost()))
    })))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    const SECTION: &str = "connection a/b ü\naddress u\ntopic #\nremote_password x\n\n";

    #[test]
    fn what_is_written_is_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control {
            save_in: Some(folder.path().to_owned()),
            ..Control::default()
        };
        let name = "a/b ü";
        assert_eq!(found(&control, name), None);
        let place = new_place(&control, name).unwrap();
        assert_eq!(place, folder.path().join("bridge-a%2Fb%20%C3%BC.conf"));
        write(&place, SECTION).unwrap();
        let text = fs::read_to_string(&place).unwrap();
        assert_eq!(text, format!("{MARK}\n{}\n", SECTION.trim_end()));
        let mode = fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "it has a password");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let Refusal(why) = new_place(&control, name).unwrap_err();
        assert!(why.contains("is there already"), "{why}");
        assert_eq!(found(&control, name), Some(place.clone()));
        remove(&place).unwrap();
        assert_eq!(found(&control, name), None);
        assert!(!place.exists());
    }

    #[test]
    fn what_somebody_else_has_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control {
            save_in: Some(folder.path().to_owned()),
            ..Control::default()
        };
        let place = folder.path().join("bridge-b.conf");
        fs::write(&place, SECTION).unwrap();
        assert_eq!(found(&control, "b"), None);
        assert!(new_place(&control, "b").is_err());
        assert!(write(&place, "other").is_err());
        assert_eq!(fs::read_to_string(&place).unwrap(), SECTION);
    }

    /// A FIFO to which nobody writes would hold the broker up.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control {
            save_in: Some(folder.path().to_owned()),
            ..Control::default()
        };
        let place = folder.path().join("bridge-b.conf");
        let mode = Mode::RUSR | Mode::WUSR;
        mkfifoat(CWD, &place, mode).unwrap();
        assert_eq!(found(&control, "b"), None);
        assert!(new_place(&control, "b").is_err());
    }

    #[test]
    fn there_may_be_no_place() {
        let Refusal(why) = new_place(&Control::default(), "b").unwrap_err();
        assert!(why.contains("include_dir"), "{why}");
        let control = Control {
            save_in: Some("/".into()),
            ..Control::default()
        };
        assert!(new_place(&control, &"x".repeat(300)).is_err());
    }
}
