//! What is read of packets that do not decode.

use super::*;

const V5: Version = Version::V5;
const V311: Version = Version::V311;

/// A whole frame around `body`.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    wire::put_variable(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// What is read of a whole frame that does not decode.
fn faulty(bytes: &[u8], version: Version) -> Faulty<'_> {
    assert!(decode(bytes, version, MAX_PACKET).is_err(), "{bytes:02x?}");
    let faulty = read_faulty(bytes, version).unwrap().unwrap();
    assert_eq!(faulty.size, bytes.len());
    faulty
}

#[test]
fn a_publish_is_acknowledged_by_its_qos_and_id() {
    for (first, body, topic, delivery) in [
        (
            0x30,
            &b"\0\x01+x"[..],
            Some(&b"+"[..]),
            Some(Delivery::AtMostOnce),
        ),
        (0x38, b"\0\x01ax", Some(b"a"), Some(Delivery::AtMostOnce)),
        (
            0x32,
            b"\0\x02a\0\x01\x02x",
            Some(b"a\0"),
            Some(Delivery::AtLeastOnce(id(258), false)),
        ),
        (
            0x3a,
            b"\0\x01\xff\0\x07",
            Some(b"\xff"),
            Some(Delivery::AtLeastOnce(id(7), true)),
        ),
        (
            0x3d,
            b"\0\x00\0\x07",
            Some(b""),
            Some(Delivery::ExactlyOnce(id(7), true)),
        ),
        // Nothing to acknowledge.
        (0x32, b"\0\x01a\0\0x", Some(b"a"), None),
        (0x34, b"\0\x01a\x01", Some(b"a"), None),
        (0x36, b"\0\x01a\0\x07x", Some(b"a"), None),
        (0x32, b"\0\x09a\0\x07x", None, None),
        (0x32, b"\0", None, None),
        (0x32, b"", None, None),
    ] {
        let bytes = frame(first, body);
        let faulty = faulty(&bytes, V311);
        assert_eq!(faulty.kind, Some(PacketType::Publish));
        assert_eq!(
            (faulty.topic, faulty.delivery),
            (topic, delivery),
            "{bytes:02x?}"
        );
        assert_eq!(faulty.alias, FaultyAlias::None);
    }
}

#[test]
fn the_alias_is_found_whatever_stands_beside_it() {
    for (props, alias) in [
        (&b"\0"[..], FaultyAlias::None),
        (b"\x03\x23\0\x05", FaultyAlias::Of(5)),
        (b"\x03\x23\0\0", FaultyAlias::Of(0)),
        // Out of range, out of place, twice, not UTF-8.
        (b"\x05\x01\x07\x23\0\x05", FaultyAlias::Of(5)),
        (b"\x08\x11\0\0\0\0\x23\0\x05", FaultyAlias::Of(5)),
        (
            b"\x0d\x02\0\0\0\0\x02\0\0\0\0\x23\0\x05",
            FaultyAlias::Of(5),
        ),
        (b"\x0a\x26\0\x01\xff\0\x01\0\x23\0\x05", FaultyAlias::Of(5)),
        (b"\x05\x0b\x01\x23\0\x05", FaultyAlias::Of(5)),
        (b"\x06\x23\0\x05\x23\0\x06", FaultyAlias::Unknown),
        (b"\x05\x7f\x01\x23\0\x05", FaultyAlias::Unknown),
        (b"\x02\x23\0", FaultyAlias::Unknown),
        (b"\x7f\x23\0\x05", FaultyAlias::Unknown),
        (b"\xff\xff\xff\xff\x01", FaultyAlias::Unknown),
        (b"", FaultyAlias::Unknown),
    ] {
        let bytes = frame(0x32, &[&b"\0\x01+\0\x07"[..], props].concat());
        let faulty = faulty(&bytes, V5);
        assert_eq!(faulty.delivery, Some(Delivery::AtLeastOnce(id(7), false)));
        assert_eq!(faulty.alias, alias, "{props:02x?}");
    }
    let without_topic = frame(0x30, b"\0\x09a");
    assert_eq!(faulty(&without_topic, V5).alias, FaultyAlias::Unknown);
}

#[test]
fn an_answer_has_its_id_and_its_reason() {
    use PacketType::*;
    for (version, first, body, kind, packet_id, reason) in [
        (V311, 0x41, &b"\0\x07"[..], PubAck, Some(7), None),
        (V311, 0x40, b"\0\x07\x87", PubAck, Some(7), None),
        (V311, 0x40, b"\0", PubAck, None, None),
        (V311, 0x50, b"\0\0", PubRec, None, None),
        (
            V5,
            0x40,
            b"\0\x07\x87\x02\x11\0",
            PubAck,
            Some(7),
            Some(0x87),
        ),
        (V5, 0x40, b"\0\x07\x55", PubAck, Some(7), Some(0x55)),
        (V5, 0x60, b"\0\x07", PubRel, Some(7), None),
        (V5, 0x70, b"\0\x07\x80", PubComp, Some(7), Some(0x80)),
        (V311, 0x90, b"\0\x07\x82", SubAck, Some(7), Some(0x82)),
        (V311, 0x90, b"\0\x07", SubAck, Some(7), None),
        (V5, 0x90, b"\0\x07\x02\x7f\0\x01", SubAck, Some(7), Some(1)),
        (V5, 0x90, b"\0\x07\x01", SubAck, Some(7), None),
        (V5, 0xb0, b"\0\x07\0", UnsubAck, Some(7), None),
        (V311, 0xb0, b"\0\x07\0", UnsubAck, Some(7), Some(0)),
        (V311, 0xe0, b"\x8b", Disconnect, None, Some(0x8b)),
        (V311, 0xd0, b"x", PingResp, None, None),
        (V311, 0xf0, b"", Auth, None, None),
    ] {
        let bytes = frame(first, body);
        let faulty = faulty(&bytes, version);
        assert_eq!(faulty.kind, Some(kind), "{bytes:02x?}");
        assert_eq!(faulty.id, packet_id.map(id), "{bytes:02x?}");
        assert_eq!(faulty.reason, reason.map(Reason), "{bytes:02x?}");
    }
    assert_eq!(faulty(&[0, 0], V5).kind, None);
}

/// A packet without end is no reason to hold much of it.
#[test]
fn of_a_large_packet_the_head_is_enough() {
    let size = MAX_REMAINING_LENGTH + 5;
    let mut bytes = vec![0x32, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't', 0, 7];
    let too_large = Error::PacketTooLarge {
        size,
        max: MAX_PACKET,
    };
    assert_eq!(decode(&bytes, V311, MAX_PACKET), Err(too_large));
    for len in [0, 1, 4, 5, 10, FAULTY_HEAD - 1] {
        bytes.resize(len.max(10), 0);
        assert_eq!(read_faulty(&bytes[..len], V311), Ok(None), "{len} bytes");
    }
    bytes.resize(FAULTY_HEAD, 0);
    let faulty = read_faulty(&bytes, V311).unwrap().unwrap();
    assert_eq!(faulty.size, size);
    assert_eq!(faulty.delivery, Some(Delivery::AtLeastOnce(id(7), false)));
}

#[test]
fn without_an_end_there_is_no_next_packet() {
    for (version, bytes) in [
        (V311, &b"\x30\xff\xff\xff\xff"[..]),
        (V5, b"\x30\xff\xff\xff\xff"),
        (V5, b"\x30\x80\0"),
    ] {
        assert_eq!(read_faulty(bytes, version), Err(Error::RemainingLength));
    }
    // 3.1.1 does not ask for the shortest form.
    let faulty = read_faulty(b"\x31\x83\0\0\x01+", V311).unwrap().unwrap();
    assert_eq!((faulty.size, faulty.topic), (6, Some(&b"+"[..])));
}
