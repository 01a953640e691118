//! The files of a configuration.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// A file beyond this is no configuration, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Whether the main file may be a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// It may be whatever has an end, such as /dev/stdin.
    Once,
    /// It has to be a file, as a pipe has nothing left.
    Again,
}

impl Reading {
    pub(super) fn bytes(self, path: &Path) -> io::Result<Vec<u8>> {
        match self {
            Reading::Once => files::read_stream(path, MAX_BYTES),
            Reading::Again => files::read(path, MAX_BYTES),
        }
    }
}

/// The text of one file, read again; empty where it is none.
pub(crate) fn text(path: &Path) -> String {
    let bytes = Reading::Again.bytes(path).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// The `*.conf` files of `dir`: by letter, and of one letter upper case first (mosquitto.conf(5)).
pub(super) fn config_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "conf") {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| {
        let name = path.as_os_str().as_encoded_bytes();
        (name.to_ascii_lowercase(), name.to_vec())
    });
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env, Kind};
    use rustix::fs::{CWD, Mode, mkfifoat};

    /// Nobody ever writes to these: whoever waits for that waits for ever.
    #[test]
    fn a_fifo_is_waited_for_only_as_the_main_file_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let (main, conf_d) = (folder.path().join("m.conf"), folder.path().join("d"));
        std::fs::create_dir(&conf_d).unwrap();
        mkfifoat(CWD, conf_d.join("1.conf"), Mode::RUSR | Mode::WUSR).unwrap();
        std::fs::write(&main, format!("include_dir {}", conf_d.display())).unwrap();
        let examine = |path: &Path, reading| Config::examine(path, &Env::default(), reading).errors;
        for reading in [Reading::Once, Reading::Again] {
            let errors = examine(&main, reading);
            assert!(
                matches!(&errors[..], [error] if error.file.ends_with("1.conf")
                    && matches!(&error.kind, Kind::Unreadable(why) if why.contains("FIFO"))),
                "{errors:?}"
            );
        }
        let errors = examine(&conf_d.join("1.conf"), Reading::Again);
        assert!(
            matches!(&errors[..], [error] if error.kind == Kind::ReadOnce),
            "{errors:?}"
        );
        let null = examine(Path::new("/dev/null"), Reading::Again);
        assert_eq!(null, [], "which many name for no configuration");
        let endless = examine(Path::new("/dev/zero"), Reading::Once);
        assert!(endless[0].to_string().contains("more than"), "{endless:?}");
    }
}
