//! Making the control socket that the configuration asks for.

use std::rc::Rc;

use crate::config::{Config, ControlSocket};
use crate::net::{self, Access};
use crate::run::user;

/// Makes the control socket, for the user `owner` where that is another than who makes it. The broker
/// runs without, where it can't be made: why, in a line for the log.
pub(in crate::run) fn bind(
    config: &Config,
    owner: Option<u32>,
) -> (Option<Rc<net::ControlSocket>>, Option<String>) {
    let Some(path) = config.control_path() else {
        return (None, None);
    };
    let group = config.general.control.group.as_deref();
    let bound = if config.listens_at(&path) {
        Err(of_a_listener())
    } else {
        let group = group.map(user::group).transpose();
        group.map_err(|e| e.to_string()).and_then(|group| {
            let bound = net::ControlSocket::bind(&path, Access { owner, group });
            bound.map_err(|e| e.to_string())
        })
    };
    match bound {
        Ok(socket) => (Some(Rc::new(socket)), None),
        Err(why) => {
            let what = match config.general.control.socket {
                ControlSocket::At(_) => format!("control_socket {}", path.display()),
                _ => "control_socket, which is beside the store unless it is set".to_owned(),
            };
            let note = format!(
                "{what}: {why}. The broker runs without it, and `footbridge bridge` can't steer it; \
                 `control_socket none` is without a word"
            );
            (None, Some(note))
        }
    }
}

/// What would keep the socket that a directive names from being made; where that names none, it is not
/// missed.
pub(in crate::run) fn check(config: &Config) -> Result<(), String> {
    let control = &config.general.control;
    if let Some(group) = &control.group {
        user::group(group).map_err(|e| format!("control_socket_group: {e}"))?;
    }
    let ControlSocket::At(path) = &control.socket else {
        return Ok(());
    };
    if config.listens_at(path) {
        return Err(format!(
            "control_socket {}: {}",
            path.display(),
            of_a_listener()
        ));
    }
    net::ControlSocket::check(path).map_err(|e| format!("control_socket: {e}"))
}

fn of_a_listener() -> String {
    "a `listener` has this path; name another".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    fn config(text: &str) -> Config {
        Config::parse(text, "x", &Env::default()).unwrap().config
    }

    /// Nothing about it stops the start.
    #[test]
    fn what_is_in_the_way_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let text = format!("control_socket {}", path.display());
        let socket = bind(&config(&text), None);
        assert!(socket.0.is_some() && socket.1.is_none());
        let (none, note) = bind(&config(&text), None);
        let note = note.unwrap();
        assert!(
            none.is_none() && note.contains("another program listens"),
            "{note}"
        );
        drop(socket);
        for (more, says) in [
            ("control_socket_group nonesuch-group", "no group"),
            (
                &format!("listener 0 {}", path.display()),
                "a `listener` has this path",
            ),
            (
                "control_socket /nonexistent/c.sock",
                "the folder must exist",
            ),
        ] {
            let config = config(&format!("{text}\n{more}"));
            let (none, note) = bind(&config, None);
            let note = note.unwrap();
            assert!(none.is_none() && note.contains(says), "{note}");
            let error = check(&config).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(check(&config(&text)), Ok(()));
        assert!(bind(&config(""), None).0.is_none());
    }
}
