//! The answer of a broker to `status`.

use crate::json::Value;

/// What the broker says of itself and of its bridges.
pub(super) struct Overview {
    pub(super) broker: Value,
    pub(super) bridges: Vec<Value>,
}

impl Overview {
    /// The items of an answer to `status`.
    pub(super) fn of(items: Vec<Value>) -> Overview {
        let broker = items.iter().find_map(|item| item.get("broker")).cloned();
        let bridges = items.iter().filter_map(|item| item.get("bridge")).cloned();
        Overview {
            broker: broker.unwrap_or(Value::Null),
            bridges: bridges.collect(),
        }
    }

    /// One object: that of the broker, and in it the bridges.
    pub(super) fn json(self) -> String {
        let mut members = match self.broker {
            Value::Object(members) => members,
            _ => Vec::new(),
        };
        members.push(("bridges".to_owned(), Value::List(self.bridges)));
        let mut out = String::new();
        Value::Object(members).write(&mut out);
        out.push('\n');
        out
    }
}

/// A number of an object within `value`; 0 where it is not there.
pub(super) fn number(value: &Value, path: [&str; 2]) -> u64 {
    optional(value, path).unwrap_or(0)
}

/// A number of an object within `value`, if it is one.
pub(super) fn optional(value: &Value, [object, member]: [&str; 2]) -> Option<u64> {
    value.get(object)?.get(member)?.as_u64()
}

/// A text of an object within `value`; empty where it is not there. It is not fit for a terminal yet.
pub(super) fn text<'a>(value: &'a Value, [object, member]: [&str; 2]) -> &'a str {
    let found = value.get(object).and_then(|object| object.get(member));
    found.and_then(Value::as_text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_one_object() {
        let items = [
            "{\"broker\":{\"version\":\"1\"}}",
            "{\"bridge\":{\"name\":\"b\"}}",
        ];
        let items = items.map(|item| Value::parse(item).unwrap());
        assert_eq!(
            Overview::of(items.into()).json(),
            "{\"version\":\"1\",\"bridges\":[{\"name\":\"b\"}]}\n"
        );
    }
}
