//! MQTT 5 properties of symbolic packets: `{receive_maximum=1 user=key:value}`.

use super::notation::{number, text};
use super::pattern::{Pattern, varint};

/// How a value is encoded (5.0 table 2-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Byte,
    Two,
    Four,
    Variable,
    String,
    Pair,
}

/// Identifier, form and name of each property.
pub(crate) const PROPERTIES: &[(u8, Form, &str)] = &[
    (0x01, Form::Byte, "payload_format"),
    (0x02, Form::Four, "message_expiry"),
    (0x03, Form::String, "content_type"),
    (0x08, Form::String, "response_topic"),
    (0x09, Form::String, "correlation_data"),
    (0x0b, Form::Variable, "subscription_id"),
    (0x11, Form::Four, "session_expiry"),
    (0x12, Form::String, "assigned_client_id"),
    (0x13, Form::Two, "server_keep_alive"),
    (0x15, Form::String, "auth_method"),
    (0x16, Form::String, "auth_data"),
    (0x17, Form::Byte, "request_problem_info"),
    (0x18, Form::Four, "will_delay"),
    (0x19, Form::Byte, "request_response_info"),
    (0x1a, Form::String, "response_info"),
    (0x1c, Form::String, "server_reference"),
    (0x1f, Form::String, "reason_string"),
    (0x21, Form::Two, "receive_maximum"),
    (0x22, Form::Two, "topic_alias_maximum"),
    (0x23, Form::Two, "topic_alias"),
    (0x24, Form::Byte, "maximum_qos"),
    (0x25, Form::Byte, "retain_available"),
    (0x26, Form::Pair, "user"),
    (0x27, Form::Four, "maximum_packet_size"),
    (0x28, Form::Byte, "wildcard_available"),
    (0x29, Form::Byte, "subscription_ids_available"),
    (0x2a, Form::Byte, "shared_available"),
];

/// A property section with its length: each of `props` is `name=value`, in order; `?` is any
/// value, `8..9` one of these where four bytes hold it.
pub(crate) fn section(props: &[String], out: &mut Pattern) -> Result<(), String> {
    let mut inner = Pattern::default();
    for prop in props {
        let (name, value) = prop.split_once('=').ok_or(format!("{prop}: no value"))?;
        let known = PROPERTIES.iter().find(|(_, _, known)| *known == name);
        let (id, form, _) = known.ok_or(format!("no property {name}"))?;
        inner.bytes(&[*id]);
        put(*form, value, &mut inner).map_err(|e| format!("{name}: {e}"))?;
    }
    out.sized(inner);
    Ok(())
}

fn put(form: Form, value: &str, out: &mut Pattern) -> Result<(), String> {
    if value == "?" {
        match form {
            Form::Byte => out.any(1),
            Form::Two => out.any(2),
            Form::Four => out.any(4),
            Form::String => out.any_string(),
            Form::Variable | Form::Pair => return Err("needs a value".to_owned()),
        }
        return Ok(());
    }
    if let (Form::Four, Some((least, most))) = (form, value.split_once("..")) {
        out.between(number(least)?, number(most)?);
        return Ok(());
    }
    let too_large = |_| format!("{value} is too large");
    match form {
        Form::Byte => out.bytes(&[u8::try_from(number(value)?).map_err(too_large)?]),
        Form::Two => out.bytes(
            &u16::try_from(number(value)?)
                .map_err(too_large)?
                .to_be_bytes(),
        ),
        Form::Four => out.bytes(&number(value)?.to_be_bytes()),
        Form::Variable => out.bytes(&varint(number(value)? as usize)),
        Form::String => out.string(&text(value))?,
        Form::Pair => {
            let (key, value) = value.split_once(':').ok_or("user=KEY:VALUE")?;
            out.string(&text(key))?;
            out.string(&text(value))?;
        }
    }
    Ok(())
}
