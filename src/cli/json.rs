//! JSON for `sub -F %j`, as mosquitto_sub writes it.

use std::fmt::Write as _;

use super::client::Message;
pub(super) use crate::json::write_string as string;
use crate::mqtt::Property;
use crate::time::calendar::DateTime;

/// A message as a JSON object.
pub(super) fn message(message: &Message, clock: &DateTime) -> String {
    let mut out = format!("{{\"tst\":\"{}\",\"topic\":", clock.microseconds());
    string(&message.topic, &mut out);
    // Writing to a string does not fail, here and below.
    let _ = write!(
        out,
        ",\"qos\":{},\"retain\":{},\"payloadlen\":{}",
        message.delivery.qos() as u8,
        u8::from(message.retain),
        message.payload.len()
    );
    if let Some(id) = message.delivery.id() {
        let _ = write!(out, ",\"mid\":{}", id.get());
    }
    if !message.props.as_props().is_empty() {
        out.push_str(",\"properties\":{");
        properties(message, &mut out);
        out.push('}');
    }
    out.push_str(",\"payload\":");
    if message.payload.is_empty() {
        out.push_str("null");
    } else {
        string(&String::from_utf8_lossy(&message.payload), &mut out);
    }
    out.push('}');
    out
}

fn properties(message: &Message, out: &mut String) {
    let mut users = Vec::new();
    let start = out.len();
    for property in message.props.as_props().iter() {
        let (name, value) = match property {
            Property::PayloadFormat(n) => ("payload-format-indicator", Value::Number(n.into())),
            Property::MessageExpiry(n) => ("message-expiry-interval", Value::Number(n)),
            Property::ContentType(text) => ("content-type", Value::Text(text.into())),
            Property::ResponseTopic(text) => ("response-topic", Value::Text(text.into())),
            Property::CorrelationData(data) => (
                "correlation-data",
                Value::Text(String::from_utf8_lossy(data)),
            ),
            Property::SubscriptionId(n) => ("subscription-identifier", Value::Number(n)),
            Property::TopicAlias(n) => ("topic-alias", Value::Number(n.into())),
            Property::User(name, value) => {
                users.push((name, value));
                continue;
            }
            _ => continue,
        };
        key(name, start, out);
        match value {
            Value::Number(n) => drop(write!(out, "{n}")),
            Value::Text(text) => string(&text, out),
        }
    }
    if !users.is_empty() {
        key("user-properties", start, out);
        out.push('{');
        let start = out.len();
        for (name, value) in users {
            key(name, start, out);
            string(value, out);
        }
        out.push('}');
    }
}

enum Value<'a> {
    Number(u32),
    Text(std::borrow::Cow<'a, str>),
}

/// Appends a key, behind a comma if something stands before it since `start`.
fn key(name: &str, start: usize, out: &mut String) {
    if out.len() > start {
        out.push(',');
    }
    string(name, out);
    out.push(':');
}
