//! What the sockets count.

/// What only the sockets know, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Connections that were accepted.
    pub sockets: u64,
    /// Bytes read.
    pub bytes_received: u64,
    /// Bytes written.
    pub bytes_sent: u64,
    /// MQTT packets read.
    pub packets_received: u64,
    /// MQTT packets that the links of bridges wrote themselves; the broker counts the others.
    pub packets_sent: u64,
}
