//! `-D COMMAND NAME VALUE`: MQTT 5.0 properties on the command line.

use super::Error;
use super::words::Words;
use crate::mqtt::{Property, PropsBuf};

/// The properties for each packet that a client sends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Properties {
    /// For the CONNECT.
    pub connect: PropsBuf,
    /// For the will in the CONNECT.
    pub will: PropsBuf,
    /// For each PUBLISH.
    pub publish: PropsBuf,
    /// For the SUBSCRIBE.
    pub subscribe: PropsBuf,
    /// For the UNSUBSCRIBE.
    pub unsubscribe: PropsBuf,
    /// For the DISCONNECT.
    pub disconnect: PropsBuf,
}

/// The properties that each command may have, besides user-property.
const PLACES: [(&str, &[&str]); 6] = [
    (
        "connect",
        &[
            "authentication-data",
            "authentication-method",
            "maximum-packet-size",
            "receive-maximum",
            "request-problem-information",
            "request-response-information",
            "session-expiry-interval",
        ],
    ),
    (
        "will",
        &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "will-delay-interval",
        ],
    ),
    (
        "publish",
        &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "topic-alias",
        ],
    ),
    ("subscribe", &["subscription-identifier"]),
    ("unsubscribe", &[]),
    ("disconnect", &["session-expiry-interval"]),
];

impl Properties {
    /// Takes the words behind `-D`.
    pub(super) fn take(&mut self, words: &mut Words<'_>) -> Result<(), Error> {
        let command = words.value("-D")?.to_ascii_lowercase();
        let name = words.value("-D")?;
        let Some((_, names)) = PLACES.iter().find(|(place, _)| *place == command) else {
            return Err(usage(format!("Invalid command given in -D: {command}")));
        };
        let property = if name == "user-property" {
            Property::User(words.value("-D")?, words.value("-D")?)
        } else if names.contains(&name) {
            property(name, words.value("-D")?)?
        } else {
            return Err(usage(format!(
                "Invalid property name given in -D {command}: {name}"
            )));
        };
        let props = match command.as_str() {
            "connect" => &mut self.connect,
            "will" => &mut self.will,
            "publish" => &mut self.publish,
            "subscribe" => &mut self.subscribe,
            "unsubscribe" => &mut self.unsubscribe,
            _ => &mut self.disconnect,
        };
        if name != "user-property" && has(props, property) {
            return Err(usage(format!("Property given twice: {name}")));
        }
        if props.push(property) {
            Ok(())
        } else {
            Err(usage(format!("Value too long for {name}")))
        }
    }
}

/// True if a property of that kind is there already; a user property alone may repeat.
fn has(props: &PropsBuf, property: Property<'_>) -> bool {
    let kind = std::mem::discriminant(&property);
    let mut there = props.as_props().iter();
    there.any(|p| std::mem::discriminant(&p) == kind)
}

fn property<'a>(name: &str, value: &'a str) -> Result<Property<'a>, Error> {
    Ok(match name {
        "authentication-data" => Property::AuthData(value.as_bytes()),
        "authentication-method" => Property::AuthMethod(value),
        "content-type" => Property::ContentType(value),
        "correlation-data" => Property::CorrelationData(value.as_bytes()),
        "maximum-packet-size" => Property::MaximumPacketSize(number(name, value, 1, u32::MAX)?),
        "message-expiry-interval" => Property::MessageExpiry(number(name, value, 0, u32::MAX)?),
        "payload-format-indicator" => Property::PayloadFormat(number(name, value, 0, 1)?),
        "receive-maximum" => Property::ReceiveMaximum(number(name, value, 1, 65_535)?),
        "request-problem-information" => Property::RequestProblemInfo(number(name, value, 0, 1)?),
        "request-response-information" => Property::RequestResponseInfo(number(name, value, 0, 1)?),
        "response-topic" => Property::ResponseTopic(value),
        "session-expiry-interval" => Property::SessionExpiry(number(name, value, 0, u32::MAX)?),
        "subscription-identifier" => Property::SubscriptionId(number(name, value, 1, 268_435_455)?),
        "topic-alias" => Property::TopicAlias(number(name, value, 1, 65_535)?),
        _ => Property::WillDelay(number(name, value, 0, u32::MAX)?),
    })
}

fn number<T: TryFrom<u32>>(name: &str, value: &str, min: u32, max: u32) -> Result<T, Error> {
    let number = value.parse().ok().filter(|n| (min..=max).contains(n));
    number
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| usage(format!("{name} takes a number from {min} to {max}")))
}

fn usage(what: String) -> Error {
    Error::Usage(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(words: &[&str]) -> Result<Properties, String> {
        let mut properties = Properties::default();
        let mut words = Words::new(words);
        while words.next().is_some() {
            properties.take(&mut words).map_err(|e| e.to_string())?;
        }
        Ok(properties)
    }

    #[test]
    fn each_command_has_its_own() {
        let line = "-D PUBLISH content-type text/plain -D publish user-property a b \
                    -D will will-delay-interval 7 -D publish user-property a c";
        let properties = take(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let publish: Vec<_> = properties.publish.as_props().iter().collect();
        let expected = [
            Property::ContentType("text/plain"),
            Property::User("a", "b"),
            Property::User("a", "c"),
        ];
        assert_eq!(publish, expected);
        assert_eq!(properties.will.as_props().will_delay(), Some(7));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, has) in [
            ("-D puback user-property a b", "Invalid command"),
            ("-D publish nonsense x", "Invalid property name"),
            ("-D connect content-type x", "Invalid property name"),
            ("-D publish topic-alias 0", "1 to 65535"),
            ("-D publish content-type", "no value"),
            (
                "-D publish content-type a -D publish content-type b",
                "twice",
            ),
        ] {
            let error = take(&line.split_whitespace().collect::<Vec<_>>()).unwrap_err();
            assert!(error.contains(has), "{line}: {error}");
        }
    }
}
