//! Symbolic packets, encoded for a protocol version, without the broker's own codec: a mistake
//! there must not hide.
//!
//! ```text
//! CONNECT ID clean=1 keep=60 user= pass= will=TOPIC payload= wqos= wretain= level= name= flags=
//!         {properties} will{properties}
//! CONNACK present=0 reason=0 {properties}
//! PUBLISH TOPIC PAYLOAD qos=0 id= dup= retain= {properties}
//! PUBACK ID reason=0 {properties}                  also PUBREC, PUBREL, PUBCOMP
//! SUBSCRIBE ID FILTER:QOS[,nl][,rap][,rh1|,rh2]... {properties}
//! SUBACK ID CODE...                                also UNSUBACK
//! UNSUBSCRIBE ID FILTER... {properties}
//! PINGREQ | PINGRESP
//! DISCONNECT reason=0 {properties}                 also AUTH
//! ```
//!
//! Properties and reason codes are left out before MQTT 5, session present before 3.1.1, the id of a
//! PUBLISH at QoS 0. A CONNACK of success for MQTT 5 whose
//! properties are not given has those that the broker always announces.

use super::notation::{Word, number, text, words};
use super::pattern::Pattern;
use super::property::section;

/// A protocol version by its level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub(crate) enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

impl Version {
    pub(crate) const ALL: [Version; 3] = [Version::V31, Version::V311, Version::V5];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|v| v.name() == word)
    }
}

/// What a CONNACK of success announces where a script doesn't say.
const ANNOUNCED: [&str; 2] = ["topic_alias_maximum=10", "receive_maximum=20"];

/// The names, in the order of the packet types.
pub(crate) const NAMES: [&str; 15] = [
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// The words behind the name of a packet.
#[derive(Default)]
struct Fields {
    positional: Vec<String>,
    named: Vec<(String, String)>,
    props: Option<Vec<String>>,
    will_props: Vec<String>,
}

impl Fields {
    fn read(words: &[Word]) -> Result<Fields, String> {
        let mut fields = Fields::default();
        let mut group: Option<Vec<String>> = None;
        for word in words {
            match (word, &mut group) {
                (Word::Open, None) => group = Some(Vec::new()),
                (Word::Close, Some(_)) => {
                    if fields.positional.last().is_some_and(|last| last == "will") {
                        fields.positional.pop();
                        fields.will_props = group.take().unwrap_or_default();
                    } else {
                        fields.props = group.take();
                    }
                }
                (Word::Plain(word), Some(props)) => props.push(word.clone()),
                (Word::Plain(word), None) => match word.split_once('=') {
                    Some((name, value)) => fields.named.push((name.to_owned(), value.to_owned())),
                    None => fields.positional.push(word.clone()),
                },
                _ => return Err("braces don't match".to_owned()),
            }
        }
        match group {
            Some(_) => Err("a { is open".to_owned()),
            None => Ok(fields),
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.remove(at).1)
    }

    fn number(&mut self, name: &str, default: u32) -> Result<u32, String> {
        self.take(name).map_or(Ok(default), |value| number(&value))
    }

    /// The first positional word.
    fn next(&mut self, what: &str) -> Result<String, String> {
        if self.positional.is_empty() {
            Err(format!("no {what}"))
        } else {
            Ok(self.positional.remove(0))
        }
    }

    fn props(&self, version: Version, out: &mut Pattern) -> Result<(), String> {
        match version {
            Version::V5 => section(self.props.as_deref().unwrap_or_default(), out),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<(), String> {
        match (&self.positional[..], &self.named[..]) {
            ([], []) => Ok(()),
            ([word, ..], _) => Err(format!("{word} is one word too many")),
            (_, [(name, _), ..]) => Err(format!("no field {name}")),
        }
    }
}

/// Encodes a symbolic packet for `version`.
pub(crate) fn encode(line: &str, version: Version) -> Result<Pattern, String> {
    let words = words(line)?;
    let Some((Word::Plain(name), rest)) = words.split_first() else {
        return Err("no packet".to_owned());
    };
    let kind = NAMES.iter().position(|known| known == name);
    let kind = kind.ok_or(format!("no packet {name}"))? as u8 + 1;
    let mut fields = Fields::read(rest)?;
    let mut body = Pattern::default();
    let mut flags = 0;
    match name.as_str() {
        "CONNECT" => connect(&mut fields, version, &mut body)?,
        "CONNACK" => connack(&mut fields, version, &mut body)?,
        "PUBLISH" => flags = publish(&mut fields, version, &mut body)?,
        "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => ack(&mut fields, version, &mut body)?,
        "SUBSCRIBE" | "UNSUBSCRIBE" => filters(name, &mut fields, version, &mut body)?,
        "SUBACK" | "UNSUBACK" => reasons(name, &mut fields, version, &mut body)?,
        "DISCONNECT" | "AUTH" => ending(&mut fields, version, &mut body)?,
        _ => {}
    }
    fields.finish()?;
    if ["PUBREL", "SUBSCRIBE", "UNSUBSCRIBE"].contains(&name.as_str()) {
        flags = 2;
    }
    let mut packet = Pattern::default();
    packet.bytes(&[kind << 4 | flags]);
    packet.sized(body);
    Ok(packet)
}

fn connect(fields: &mut Fields, version: Version, out: &mut Pattern) -> Result<(), String> {
    let client_id = fields.next("client id")?;
    let name = fields.take("name").unwrap_or_else(|| {
        let name = if version == Version::V31 {
            "MQIsdp"
        } else {
            "MQTT"
        };
        name.to_owned()
    });
    let level = fields.number("level", version as u32)? as u8;
    let clean = fields.number("clean", 1)? as u8;
    let keep = fields.number("keep", 60)? as u16;
    let (user, pass) = (fields.take("user"), fields.take("pass"));
    let will = fields.take("will");
    let payload = fields.take("payload").unwrap_or_default();
    let wqos = fields.number("wqos", 0)? as u8;
    let wretain = fields.number("wretain", 0)? as u8;
    let mut flags = clean << 1 | wqos << 3 | wretain << 5;
    for (bit, set) in [
        (2, will.is_some()),
        (6, pass.is_some()),
        (7, user.is_some()),
    ] {
        flags |= u8::from(set) << bit;
    }
    let flags = fields.number("flags", flags.into())? as u8;
    out.string(name.as_bytes())?;
    out.bytes(&[level, flags]);
    out.bytes(&keep.to_be_bytes());
    fields.props(version, out)?;
    out.string(&text(&client_id))?;
    if let Some(will) = will {
        if version == Version::V5 {
            section(&fields.will_props, out)?;
        }
        out.string(&text(&will))?;
        out.string(&text(&payload))?;
    }
    for value in [user, pass].into_iter().flatten() {
        out.string(&text(&value))?;
    }
    Ok(())
}

fn connack(fields: &mut Fields, version: Version, out: &mut Pattern) -> Result<(), String> {
    let mut present = fields.number("present", 0)? as u8;
    if version == Version::V31 {
        present = 0;
    }
    let reason = fields.number("reason", 0)? as u8;
    out.bytes(&[present, reason]);
    if reason == 0 && fields.props.is_none() {
        fields.props = Some(ANNOUNCED.map(str::to_owned).to_vec());
    }
    fields.props(version, out)
}

/// Answers the lower four bits of the first byte.
fn publish(fields: &mut Fields, version: Version, out: &mut Pattern) -> Result<u8, String> {
    let topic = fields.next("topic")?;
    let payload = fields.next("payload").unwrap_or_default();
    let qos = fields.number("qos", 0)? as u8;
    let dup = fields.number("dup", 0)? as u8;
    let retain = fields.number("retain", 0)? as u8;
    out.string(&text(&topic))?;
    match (qos, fields.take("id")) {
        (0, _) => {}
        (_, Some(id)) => packet_id(&id, out)?,
        (_, None) => return Err("no id".to_owned()),
    }
    fields.props(version, out)?;
    out.bytes(&text(&payload));
    Ok(dup << 3 | qos << 1 | retain)
}

fn packet_id(word: &str, out: &mut Pattern) -> Result<(), String> {
    if word == "?" {
        out.any(2);
        return Ok(());
    }
    let id = u16::try_from(number(word)?).map_err(|_| format!("{word} is no packet id"))?;
    out.bytes(&id.to_be_bytes());
    Ok(())
}

fn ack(fields: &mut Fields, version: Version, out: &mut Pattern) -> Result<(), String> {
    packet_id(&fields.next("id")?, out)?;
    ending(fields, version, out)
}

/// A reason code and properties, each left out if nothing follows and it is zero or empty.
fn ending(fields: &mut Fields, version: Version, out: &mut Pattern) -> Result<(), String> {
    let reason = fields.take("reason").unwrap_or("0".to_owned());
    if version < Version::V5 || (reason == "0" && fields.props.is_none()) {
        return Ok(());
    }
    match reason.as_str() {
        "?" => out.any(1),
        reason => out.bytes(&[number(reason)? as u8]),
    }
    match fields.props {
        Some(_) => fields.props(version, out),
        None => Ok(()),
    }
}

fn filters(
    name: &str,
    fields: &mut Fields,
    version: Version,
    out: &mut Pattern,
) -> Result<(), String> {
    packet_id(&fields.next("id")?, out)?;
    fields.props(version, out)?;
    for word in fields.positional.drain(..) {
        if name == "UNSUBSCRIBE" {
            out.string(&text(&word))?;
            continue;
        }
        let (filter, options) = word.rsplit_once(':').ok_or(format!("{word}: no QoS"))?;
        out.string(&text(filter))?;
        out.bytes(&[subscription_options(options)?]);
    }
    Ok(())
}

fn subscription_options(words: &str) -> Result<u8, String> {
    words.split(',').try_fold(0, |options, word| {
        Ok(options
            | match word {
                "nl" => 0x04,
                "rap" => 0x08,
                "rh1" => 0x10,
                "rh2" => 0x20,
                qos => number(qos)? as u8,
            })
    })
}

fn reasons(
    name: &str,
    fields: &mut Fields,
    version: Version,
    out: &mut Pattern,
) -> Result<(), String> {
    packet_id(&fields.next("id")?, out)?;
    fields.props(version, out)?;
    for word in fields.positional.drain(..) {
        if name == "SUBACK" || version == Version::V5 {
            out.bytes(&[number(&word)? as u8]);
        }
    }
    Ok(())
}

#[test]
fn packets_have_the_bytes_of_their_version() {
    let bytes = |line, v| encode(line, v).unwrap().concrete().unwrap();
    let [v31, v311, v5] = Version::ALL;
    assert_eq!(
        bytes("CONNECT c", v31),
        b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01c"
    );
    assert_eq!(
        bytes("CONNECT c clean=0 will=w payload=p wqos=1 {receive_maximum=2} will{will_delay=1}", v5),
        b"\x10\x1d\x00\x04MQTT\x05\x0c\x00\x3c\x03\x21\x00\x02\x00\x01c\x05\x18\x00\x00\x00\x01\x00\x01w\x00\x01p"
    );
    assert_eq!(
        bytes("PUBLISH a b qos=1 id=7", v311),
        b"\x32\x06\x00\x01a\x00\x07b"
    );
    assert_eq!(
        bytes("PUBLISH a b qos=1 id=7", v5),
        b"\x32\x07\x00\x01a\x00\x07\x00b"
    );
    assert_eq!(bytes("PUBACK 1 reason=0x10", v5), b"\x40\x03\x00\x01\x10");
    assert_eq!(bytes("PUBACK 1 reason=0x10", v311), b"\x40\x02\x00\x01");
    assert_eq!(
        bytes("SUBSCRIBE 1 a:1,nl,rh2", v5),
        b"\x82\x07\x00\x01\x00\x00\x01a\x25"
    );
    assert_eq!(bytes("UNSUBACK 1 0", v311), b"\xb0\x02\x00\x01");
    assert_eq!(bytes("DISCONNECT", v5), b"\xe0\x00");
    assert_eq!(
        bytes("CONNACK", v5),
        b"\x20\x09\x00\x00\x06\x22\x00\x0a\x21\x00\x14"
    );
    for wrong in [
        "CONNECT",
        "FOO",
        "PUBLISH a b c",
        "PUBACK",
        "SUBSCRIBE 1 a",
        "PINGREQ {x=1",
        "PUBACK 1 foo=2",
    ] {
        assert!(encode(wrong, v5).is_err(), "{wrong}");
    }
}
