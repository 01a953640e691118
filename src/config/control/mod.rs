//! `control_socket`, and where what is added by it is kept.

mod place;
mod section;

use std::path::PathBuf;

/// How a running broker is steered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// `control_socket`.
    pub socket: ControlSocket,
    /// `control_socket_group`: who may use it beside its owner.
    pub group: Option<String>,
    /// The first `include_dir`: bridges that are added are saved there.
    pub save_in: Option<PathBuf>,
}

/// `control_socket`: where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ControlSocket {
    /// Beside the store, where there is one.
    #[default]
    BesideStore,
    /// Nowhere.
    None,
    /// Here.
    At(PathBuf),
}
