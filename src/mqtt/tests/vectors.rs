//! The vectors of `tests/vectors`, which also seed the fuzzer.

use super::*;

const VALID: &str = include_str!("../../../tests/vectors/valid.hex");
const MALFORMED: &str = include_str!("../../../tests/vectors/malformed.hex");

struct Vector {
    versions: Vec<Version>,
    bytes: Vec<u8>,
    expected: &'static str,
    name: &'static str,
}

fn vectors(file: &'static str) -> impl Iterator<Item = Vector> {
    file.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let [versions, hex, expected, name] = line
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .try_into()
                .expect("four columns");
            let hex = hex.split_whitespace();
            Vector {
                versions: VERSIONS
                    .into_iter()
                    .filter(|&version| {
                        versions == "*" || versions.contains(&(version as u8).to_string())
                    })
                    .collect(),
                bytes: hex
                    .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
                    .collect(),
                expected,
                name,
            }
        })
}

#[test]
fn valid_vectors_decode_and_encode_to_the_same_or_a_shorter_form() {
    for Vector {
        versions,
        bytes,
        expected,
        name,
    } in vectors(VALID)
    {
        assert!(!versions.is_empty(), "{name}");
        for version in versions {
            let packet = decoded(&bytes, version);
            let again = encoded(&packet, version);
            assert_eq!(decoded(&again, version), packet, "{name}");
            match expected {
                "same" => assert_eq!(again, bytes, "{name} in {version:?}"),
                "other" => assert_ne!(again, bytes, "{name} in {version:?}"),
                other => panic!("{name}: {other}"),
            }
        }
    }
}

#[test]
fn every_prefix_of_a_valid_vector_asks_for_more() {
    for Vector {
        versions,
        bytes,
        name,
        ..
    } in vectors(VALID)
    {
        for version in versions {
            for len in 0..bytes.len() {
                let prefix = &bytes[..len];
                assert_eq!(
                    decode(prefix, version, MAX_PACKET),
                    Ok(None),
                    "{name}, {len} bytes"
                );
            }
        }
    }
}

#[test]
fn what_follows_a_packet_is_left_alone() {
    for Vector {
        versions,
        mut bytes,
        name,
        ..
    } in vectors(VALID)
    {
        let size = bytes.len();
        bytes.extend([0xff; 3]);
        for version in versions {
            let consumed = decode(&bytes, version, MAX_PACKET).map(|p| p.map(|(_, size)| size));
            assert_eq!(consumed, Ok(Some(size)), "{name}");
        }
    }
}

#[test]
fn malformed_vectors_are_refused_for_the_reason_given() {
    for Vector {
        versions,
        bytes,
        expected,
        name,
    } in vectors(MALFORMED)
    {
        assert!(!versions.is_empty(), "{name}");
        for version in versions {
            match decode(&bytes, version, MAX_PACKET) {
                Err(error) => {
                    assert_eq!(format!("{error:?}"), expected, "{name} in {version:?}");
                    assert!(error.reason().is_error());
                    assert!(!error.to_string().is_empty());
                }
                other => panic!("{name} in {version:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_malformed_packet_is_no_error_before_the_byte_that_makes_it_so() {
    for Vector {
        versions,
        bytes,
        name,
        ..
    } in vectors(MALFORMED)
    {
        for version in versions {
            let complaints: Vec<_> = (0..=bytes.len())
                .map(|len| decode(&bytes[..len], version, MAX_PACKET))
                .skip_while(|result| matches!(result, Ok(None)))
                .collect();
            assert!(
                complaints.iter().all(|result| *result == complaints[0]),
                "{name}"
            );
        }
    }
}
