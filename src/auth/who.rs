//! Whom access rules are about.

/// A client, as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// The user name.
    pub username: Option<&'a str>,
    /// The listener it is or was connected to; counts only where listeners have
    /// rules of their own.
    pub listener: Option<&'a str>,
    /// It has a connection.
    pub is_connected: bool,
}
