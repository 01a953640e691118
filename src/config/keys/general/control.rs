//! `control_socket`: the operator steers a running broker.

use super::auth_socket::socket;
use crate::config::ControlSocket;
use crate::config::keys::key::Section::General as S;
use crate::config::keys::key::Unset::Means;
use crate::config::keys::key::{Key, implemented};

pub(in crate::config::keys) const KEYS: &[Key] = &[
    implemented(
        S,
        "control_socket",
        "PATH|none",
        Means("footbridge.sock beside the store with persistence true, else none"),
        "The Unix socket by which the running broker is steered: `footbridge bridge` is its client.",
        "Only root and the user that the broker runs as may use it, and control_socket_group. It speaks \
         a line of JSON a request: see footbridge-control(5). The command finds the socket in the same \
         configuration. Without this directive it has the name of the store's file, with .sock in place of \
         .db. A socket that a crash left makes way; one that another broker listens on stays, and this one \
         then runs without, as it does where the socket can't be made: the log says so. Made before root \
         becomes another user. A path has at most 107 bytes. Takes effect at the start only.",
        |draft, v| {
            draft.general.control.socket = match v.text()? {
                "none" => ControlSocket::None,
                _ => ControlSocket::At(socket(v)?),
            };
            Ok(())
        },
    ),
    implemented(
        S,
        "control_socket_group",
        "GROUP",
        Means("nobody else may use it"),
        "The group whose members may use control_socket, too.",
        "Whoever may use it can do what the broker's user can: a bridge that is added may run programs \
         (remote_password_command). A broker that is not started as root must be a member of the group. \
         Takes effect at the start only.",
        |draft, v| {
            draft.general.control.group = Some(v.text()?.to_owned());
            Ok(())
        },
    ),
];
