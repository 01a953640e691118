//! The first that an upstream sends: the CONNACK, or what shows that it speaks something else.

use super::Link;
use crate::bridge::Error;
use crate::bridge::error::Foreign;
use crate::bridge::error::foreign::{Sniffed, sniff};
use crate::mqtt::{self, ConnAck, Packet, PacketType, Props, Reason, Version};
use crate::time::Time;

impl Link {
    /// The packet at the front of `bytes`, all that the upstream has sent so far, and the bytes it
    /// takes; `None` while there is too little of it. No packet has more than `max_packet` bytes.
    ///
    /// # Errors
    /// The link is lost: close the connection. [`Error::NotMqtt`] where another protocol answers.
    pub fn read_answer<'a>(
        &mut self,
        bytes: &'a [u8],
        max_packet: usize,
        now: Time,
    ) -> Result<Option<(Packet<'a>, usize)>, Error> {
        let answer = read(bytes, self.version(), max_packet);
        if let Err(error) = &answer {
            self.lost(error, now);
        }
        answer
    }
}

pub(super) fn read(
    bytes: &[u8],
    version: Version,
    max_packet: usize,
) -> Result<Option<(Packet<'_>, usize)>, Error> {
    match sniff(bytes) {
        Sniffed::Foreign(foreign) => return Err(Error::NotMqtt(foreign)),
        Sniffed::Partial => return Ok(None),
        Sniffed::Other => {}
    }
    let is_connack = bytes.first().map(|first| first >> 4) == Some(PacketType::ConnAck as u8);
    match mqtt::decode(bytes, version, max_packet) {
        Ok(answer) => Ok(answer),
        Err(_) if version == Version::V5 && is_old_connack(bytes) => {
            let refusal = ConnAck {
                session_present: false,
                reason: Reason::UNSUPPORTED_PROTOCOL_VERSION,
                props: Props::EMPTY,
            };
            Ok(Some((Packet::ConnAck(refusal), OLD_CONNACK)))
        }
        Err(error) if is_connack => Err(Error::Malformed(error.to_string())),
        Err(_) => Err(Error::NotMqtt(Foreign::Unknown)),
    }
}

/// The bytes of a CONNACK before MQTT 5.
const OLD_CONNACK: usize = 4;

/// True if a CONNECT of MQTT 5 is answered with a CONNACK of an earlier version, which lacks the
/// length of the properties. It speaks no MQTT 5, whatever the return code: most say 1, for that,
/// but one that takes the CONNECT for its own version may say anything.
fn is_old_connack(bytes: &[u8]) -> bool {
    matches!(bytes, [0x20, 2, 0 | 1, 0..=5, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn reason(bytes: &[u8], version: Version) -> Result<(Reason, usize), String> {
        match read(bytes, version, MAX) {
            Ok(Some((Packet::ConnAck(ack), used))) => Ok((ack.reason, used)),
            other => Err(format!("{other:?}")),
        }
    }

    /// NATS, RabbitMQ, aedes and others answer a CONNECT of MQTT 5 by the book of 3.1.1, and an
    /// upstream that takes level 5 for its own version may even accept it.
    #[test]
    fn an_old_connack_says_that_there_is_no_mqtt_5() {
        let no = Reason::UNSUPPORTED_PROTOCOL_VERSION;
        for code in 0..=5 {
            for present in [0, 1] {
                let bytes = [0x20, 2, present, code];
                assert_eq!(reason(&bytes, Version::V5), Ok((no, 4)), "{bytes:?}");
            }
        }
        assert_eq!(reason(&[0x20, 3, 0, 0x84, 0], Version::V5), Ok((no, 5)));
        assert_eq!(reason(&[0x20, 2, 0, 1], Version::V311), Ok((no, 4)));
        let taken = Ok((Reason::SUCCESS, 4));
        assert_eq!(reason(&[0x20, 2, 0, 0], Version::V311), taken);
    }

    #[test]
    fn half_a_connack_waits_for_the_rest() {
        for bytes in [&b""[..], b"\x20", b"\x20\x02", b"\x20\x02\x00"] {
            for version in [Version::V5, Version::V311] {
                assert_eq!(read(bytes, version, MAX), Ok(None));
            }
        }
    }

    #[test]
    fn what_is_no_mqtt_is_said() {
        let not = |foreign| Err(Error::NotMqtt(foreign));
        for version in [Version::V5, Version::V311] {
            let read = |bytes| read(bytes, version, MAX);
            assert_eq!(read(b"HTTP/1.1 400 Bad"), not(Foreign::Http));
            assert_eq!(read(b"HT"), Ok(None));
            // As PUBLISH it would wait for 50 bytes.
            assert_eq!(read(b"220 mail ESMTP\r\n"), not(Foreign::Mail));
            assert_eq!(read(b"\x00\x01hello"), not(Foreign::Unknown));
            assert_eq!(read(b"hello\r\n"), not(Foreign::Unknown));
        }
        // A CONNACK that is not whole or not right is MQTT all the same.
        let broken = read(b"\x20\x03\x02\x00\x00", Version::V5, MAX);
        assert!(matches!(broken, Err(Error::Malformed(_))), "{broken:?}");
    }
}
