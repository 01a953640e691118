//! Tests of the codec at the level of bytes.

mod faulty;
mod fields;
mod limits;
mod properties;
mod round_trip;
mod topics;
mod vectors;

use super::*;

/// As in `tests/vectors/malformed.hex`.
const MAX_PACKET: usize = 1 << 20;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, version, &mut out).expect("the packet encodes");
    out
}

/// The packet that `bytes` are, all of them.
fn decoded(bytes: &[u8], version: Version) -> Packet<'_> {
    match decode(bytes, version, MAX_PACKET) {
        Ok(Some((packet, size))) if size == bytes.len() => packet,
        other => panic!("{bytes:02x?} decoded as {other:?}"),
    }
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).expect("not zero")
}
