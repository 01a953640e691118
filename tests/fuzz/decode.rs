//! The codec: whatever decodes must encode, and decode again to the same packet, whole and cut
//! short.

use footbridge::mqtt::{Packet, Props, Version, decode, encode};

const MAX_PACKET: usize = 1 << 20;

/// Decodes `input` as each version has it.
pub fn run(input: &[u8]) {
    for version in [Version::V31, Version::V311, Version::V5] {
        let Ok(Some((packet, size))) = decode(input, version, MAX_PACKET) else {
            continue;
        };
        assert!(size <= input.len());
        let mut bytes = Vec::new();
        encode(&packet, version, &mut bytes).expect("a decoded packet encodes");
        let again = decode(&bytes, version, MAX_PACKET).expect("an encoded packet decodes");
        assert_eq!(again, Some((packet.clone(), bytes.len())));
        let cut = decode(&bytes[..bytes.len() - 1], version, MAX_PACKET);
        assert_eq!(cut, Ok(None));
        read_properties(&packet);
    }
}

/// What is made of the properties of a message must not depend on where they came from.
fn read_properties(packet: &Packet<'_>) {
    let Packet::Publish(publish) = packet else {
        return;
    };
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    publish.props.read_publish(&mut once);
    Props::from_checked(&once).read_publish(&mut twice);
    assert_eq!(once, twice);
    assert!(once.len() <= publish.props.as_bytes().len());
}
