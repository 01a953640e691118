//! Where the control socket is.

use std::path::{Path, PathBuf};

use crate::config::{Config, ControlSocket};

impl Config {
    /// Where the control socket is, if there is to be one. Without a directive it gives way to a
    /// `listener` of the same path.
    pub fn control_path(&self) -> Option<PathBuf> {
        let general = &self.general;
        match &general.control.socket {
            ControlSocket::None => None,
            ControlSocket::At(path) => Some(path.clone()),
            ControlSocket::BesideStore => {
                let beside = general.store.with_extension("sock");
                let is_wanted = general.persistence && !self.listens_at(&beside);
                is_wanted.then_some(beside)
            }
        }
    }

    /// True if a `listener` is the Unix socket `path`.
    pub fn listens_at(&self, path: &Path) -> bool {
        let mut listeners = self.listeners.iter();
        listeners.any(|listener| listener.net.path.as_deref() == Some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    /// Two brokers have a store each, and so a socket each; one in a script that needs no store has none.
    #[test]
    fn it_lies_beside_the_store_unless_it_is_named() {
        let path = |text: &str| {
            let parsed = Config::parse(text, "x", &Env::default());
            let path = parsed.unwrap().config.control_path()?;
            path.to_str().map(str::to_owned)
        };
        let stored = "persistence true\npersistence_location /s\n";
        for (text, wanted) in [
            ("", None),
            ("persistence true", Some("footbridge.sock")),
            (stored, Some("/s/footbridge.sock")),
            (&format!("{stored}persistence_file a.db"), Some("/s/a.sock")),
            (&format!("{stored}control_socket none"), None),
            (&format!("{stored}control_socket /run/c"), Some("/run/c")),
            ("control_socket /run/c", Some("/run/c")),
            (&format!("{stored}listener 0 /s/footbridge.sock"), None),
            (
                &format!("{stored}listener 0 /s/other"),
                Some("/s/footbridge.sock"),
            ),
        ] {
            assert_eq!(path(text).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn the_first_include_dir_is_where_bridges_are_saved() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let dir = |name: &str| format!("include_dir {}\n", folder.path().join(name).display());
        let saved_in = |text: &str| {
            let parsed = Config::parse(text, "x", &Env::default()).unwrap();
            parsed.config.general.control.save_in
        };
        assert_eq!(saved_in(""), None);
        assert_eq!(
            saved_in(&(dir("b") + &dir("a"))),
            Some(folder.path().join("b"))
        );
    }
}
