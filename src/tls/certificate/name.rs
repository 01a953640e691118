//! Names in certificates (RFC 5280, section 4.1.2.4), as OpenSSL prints them with XN_FLAG_RFC2253, byte by
//! byte: that is what Mosquitto has as the user name with `use_subject_as_username`, and what its ACLs say.

use std::fmt::Write;

use crate::tls::der::{Elements, tag};

/// The short names that OpenSSL 3 has for types of attributes, by the bytes of their object identifiers,
/// as far as they have a place in subjects.
const TYPES: [(&[u8], &str); 33] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 13], "description"),
    (&[0x55, 4, 15], "businessCategory"),
    (&[0x55, 4, 16], "postalAddress"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 18], "postOfficeBox"),
    (&[0x55, 4, 19], "physicalDeliveryOfficeName"),
    (&[0x55, 4, 20], "telephoneNumber"),
    (&[0x55, 4, 41], "name"),
    (&[0x55, 4, 42], "GN"),
    (&[0x55, 4, 43], "initials"),
    (&[0x55, 4, 44], "generationQualifier"),
    (&[0x55, 4, 45], "x500UniqueIdentifier"),
    (&[0x55, 4, 46], "dnQualifier"),
    (&[0x55, 4, 51], "houseIdentifier"),
    (&[0x55, 4, 65], "pseudonym"),
    (&[0x55, 4, 72], "role"),
    (&[0x55, 4, 97], "organizationIdentifier"),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        "emailAddress",
    ),
    (
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2],
        "unstructuredName",
    ),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 3], "mail"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 9], "host"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// One attribute of a name.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// The bytes of its object identifier.
    pub(super) kind: &'a [u8],
    pub(super) tag: u8,
    pub(super) value: &'a [u8],
    /// The value with tag and length.
    whole: &'a [u8],
}

/// The attributes of a name, one list for each RelativeDistinguishedName.
pub(super) fn attributes(name: &[u8]) -> impl DoubleEndedIterator<Item = Vec<Attribute<'_>>> {
    let sets = Elements::new(name).filter(|(tag, _)| *tag == tag::SET);
    let sets: Vec<_> = sets.collect();
    sets.into_iter().map(|(_, set)| {
        let pairs = Elements::new(set).filter_map(|(_, pair)| {
            let mut pair = Elements::new(pair);
            let kind = pair.inside(tag::OID)?;
            let mut value = pair;
            let (tag, value) = value.next()?;
            let whole = pair.whole(tag)?;
            Some(Attribute {
                kind,
                tag,
                value,
                whole,
            })
        });
        pairs.collect()
    })
}

/// A name in text: the last part first, of those with several attributes the last of these first.
pub(in crate::tls) fn name(name: &[u8]) -> Option<String> {
    let mut out = String::new();
    for part in attributes(name).rev() {
        if !out.is_empty() {
            out.push(',');
        }
        for (n, attribute) in part.into_iter().rev().enumerate() {
            if n > 0 {
                out.push('+');
            }
            write_attribute(attribute, &mut out).ok()?;
        }
    }
    Some(out)
}

fn write_attribute(attribute: Attribute<'_>, out: &mut String) -> std::fmt::Result {
    let known = TYPES.iter().find(|(oid, _)| *oid == attribute.kind);
    match known {
        Some((_, short)) => out.push_str(short),
        None => write_dotted(attribute.kind, out)?,
    }
    out.push('=');
    let characters = characters(attribute.tag, attribute.value);
    match characters.filter(|_| known.is_some()) {
        Some(characters) => write_escaped(&characters, out),
        None => {
            out.push('#');
            let mut bytes = attribute.whole.iter();
            bytes.try_for_each(|byte| write!(out, "{byte:02X}"))
        }
    }
}

/// An object identifier in digits.
fn write_dotted(oid: &[u8], out: &mut String) -> std::fmt::Result {
    let mut number = 0_u64;
    let mut is_first = true;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let top = (number / 40).min(2);
            write!(out, "{top}.{}", number - top * 40)?;
        } else {
            write!(out, ".{number}")?;
        }
        (number, is_first) = (0, false);
    }
    Ok(())
}

/// What RFC 2253 (section 2.4) escapes, controls, and what is beyond ASCII, of which each byte of UTF-8 is
/// two digits.
fn write_escaped(characters: &[char], out: &mut String) -> std::fmt::Result {
    let last = characters.len().saturating_sub(1);
    for (n, c) in characters.iter().enumerate() {
        if !c.is_ascii() || c.is_ascii_control() {
            let mut buffer = [0; 4];
            let mut bytes = c.encode_utf8(&mut buffer).bytes();
            bytes.try_for_each(|byte| write!(out, "\\{byte:02X}"))?;
            continue;
        }
        // A # that is all there is counts as the last character only.
        let at_end = n == last && *c == ' ' || n == 0 && (*c == ' ' || *c == '#' && n != last);
        if at_end || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(*c);
    }
    Ok(())
}

/// The characters of a value; `None`: it is no text.
fn characters(tag: u8, value: &[u8]) -> Option<Vec<char>> {
    match tag {
        tag::UTF8_STRING | tag::BMP_STRING => Some(text(tag, value).chars().collect()),
        tag::UNIVERSAL_STRING => {
            let units = value.chunks_exact(4);
            let units = units.filter_map(|four| Some(u32::from_be_bytes(four.try_into().ok()?)));
            let c = |unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
            Some(units.map(c).collect())
        }
        // NumericString, PrintableString, TeletexString, IA5String, times, VisibleString: a byte each.
        18..=20 | 22..=24 | 26 => Some(value.iter().copied().map(char::from).collect()),
        _ => None,
    }
}

/// The text of an attribute.
pub(super) fn text(tag: u8, value: &[u8]) -> String {
    if tag == tag::BMP_STRING {
        let units = value.chunks_exact(2);
        let units = units.filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
        return char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
    }
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // What is no UTF-8 is a TeletexString, whose bytes are Latin-1 in practice.
        Err(_) => value.iter().copied().map(char::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A DER value in hexadecimal digits, whose outer SEQUENCE is a Name.
    fn shown(hex: &str) -> String {
        let bytes = hex.as_bytes().chunks(2).map(|pair| {
            let digits = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(digits, 16).unwrap()
        });
        let der: Vec<u8> = bytes.collect();
        name(Elements::new(&der).inside(tag::SEQUENCE).unwrap()).unwrap()
    }

    /// What `openssl x509 -subject -nameopt RFC2253` (3.0) prints of subjects that `openssl req` has made.
    #[test]
    fn names_are_those_that_openssl_prints() {
        for (hex, printed) in [
            (
                "30533110300e060355040a0c074dc3bc6c6c657231153013060a0992268993f22c6401010c056465762d37310c300a060355042a0c03416e6e310a3008060355042e130171310e300c06035504030c054ac3b67267",
                r##"CN=J\C3\B6rg,dnQualifier=q,GN=Ann,UID=dev-7,O=M\C3\BCller"##,
            ),
            (
                "302d311e300806035504030c01613008060355040b0c01623008060355040a0c0163310b3009060355040613024445",
                r##"C=DE,O=c+OU=b+CN=a"##,
            ),
            (
                "301b3119301706035504030c1020232c2b225c3c3e3b3d200920787f20",
                r##"CN=\ #\,\+\"\\\<\>\;= \09 x\7F\ "##,
            ),
            (
                "3031310a300806035504030c0123310c300a06035504030c03236123310a300806035504030c01203109300706035504030c00",
                r##"CN=,CN=\ ,CN=\#a#,CN=#"##,
            ),
            (
                "3029310d300b06042a0304050c036f6464310b3009060388370113020102310b3009060355042d03020005",
                r##"x500UniqueIdentifier=#03020005,2.999.1=#13020102,1.2.3.4.5=#0C036F6464"##,
            ),
            (
                "303f310d300b060355040a1e04004a00f63111300f060355040a1c08000020ac0001f600310d300b060355040a14044af67267310c300a060355040a14034ac3b6",
                r##"O=J\C3\83\C2\B6,O=J\C3\B6rg,O=\E2\82\AC\F0\9F\98\80,O=J\C3\B6"##,
            ),
            (
                "3081ad310a300806035504040c0131310a300806035504050c0132310a300806035504070c0133310a300806035504080c0134310a300806035504090c0135310a3008060355040c0c0136310a3008060355040d0c0137310a3008060355040f0c0138310a300806035504100c0139310b300906035504110c023130310b300906035504120c023131310b300906035504130c023132310b300906035504140c023133310b300906035504290c023134",
                r##"name=14,telephoneNumber=13,physicalDeliveryOfficeName=12,postOfficeBox=11,postalCode=10,postalAddress=9,businessCategory=8,description=7,title=6,street=5,ST=4,L=3,serialNumber=2,SN=1"##,
            ),
            (
                "3081a8310a3008060355042b0c0131310a3008060355042c0c0132310a300806035504330c0133310a300806035504410c0134310a300806035504480c0135310a300806035504610c01363112301006092a864886f70d01090116036140623110300e06092a864886f70d0109020c01383111300f060a0992268993f22c6401030c013931123010060a0992268993f22c6401090c0231303111300f060a0992268993f22c640119160178",
                r##"DC=x,host=10,mail=9,unstructuredName=8,emailAddress=a@b,organizationIdentifier=6,role=5,pseudonym=4,houseIdentifier=3,generationQualifier=2,initials=1"##,
            ),
        ] {
            assert_eq!(shown(hex), printed);
        }
    }
}
