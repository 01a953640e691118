use proptest::prelude::*;

use super::*;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[test]
fn values_are_read() {
    let read = Value::parse(
        " {\"a\":[1,-0.5e+3,\"x\\u00e9\\ud83d\\ude00\\/\\n\"],\"b\" : {} ,\"c\":null,\"d\":true,\
         \"e\":[ ],\"f\":false}\r\n",
    );
    let number = |digits: &str| Value::Number(digits.to_owned());
    let list = vec![number("1"), number("-0.5e+3"), text("xé😀/\n")];
    let wanted = [
        ("a", Value::List(list)),
        ("b", Value::Object(Vec::new())),
        ("c", Value::Null),
        ("d", Value::Bool(true)),
        ("e", Value::List(Vec::new())),
        ("f", Value::Bool(false)),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value));
    assert!(read == Ok(Value::Object(wanted.to_vec())));
    assert_eq!(number("18446744073709551615").as_u64(), Some(u64::MAX));
    for other in ["18446744073709551616", "-1", "1.0", "1e3"] {
        assert_eq!(Value::parse(other).unwrap().as_u64(), None, "{other}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for (wrong, at, what) in [
        ("", 0, "it ends too soon"),
        ("[1,", 3, "it ends too soon"),
        ("{\"a\":1} x", 8, "something stands behind the end"),
        ("{\"a\":1,\"a\":2}", 10, "a member is named twice"),
        ("{a:1}", 1, "a string is missing"),
        ("{\"a\" 1}", 5, "a colon is missing"),
        ("[1 2]", 3, "a comma or ] is missing"),
        ("{\"a\":1;", 6, "a comma or } is missing"),
        ("01", 1, "a number begins with 0"),
        ("-", 1, "a digit is missing"),
        ("1.e", 2, "a digit is missing"),
        ("nul", 0, "no value begins so"),
        ("'a'", 0, "no value begins so"),
        ("\"a", 2, "a string has no end"),
        ("\"a\\", 3, "a string has no end"),
        ("\"a\tb\"", 2, "a control character stands in a string"),
        ("\"\\x\"", 2, "an escape is not known"),
        ("\"\\u12", 3, "four digits are missing"),
        ("\"\\u+123\"", 3, "four digits are missing"),
        ("\"\\ud800\"", 3, "an escape names no character"),
        ("\"\\ud800\\u0041\"", 3, "an escape names no character"),
        ("\"\\udc00\"", 3, "an escape names no character"),
    ] {
        assert_eq!(Value::parse(wrong), Err(Error { at, what }), "{wrong}");
    }
}

#[test]
fn depth_has_a_bound() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::parse(&nested(MAX_DEPTH + 1)).is_ok());
    let error = Value::parse(&nested(MAX_DEPTH + 2)).unwrap_err();
    assert_eq!(error.what, "it is nested too deep");
    assert!(Value::parse(&"[".repeat(1_000_000)).is_err());
    assert!(Value::parse(&"{\"a\":".repeat(100_000)).is_err());
}

#[test]
fn what_it_says_is_not_printed() {
    assert_eq!(format!("{:?}", text("secret")), "a string");
}

fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        Just("-0.5e+3".to_owned()),
        any::<u64>().prop_map(|n| n.to_string())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        any::<String>().prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let members = prop::collection::btree_map(any::<String>(), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::List),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[test]
fn members_are_found_by_name() {
    let object = Value::object([("a", 1.into()), ("b", None::<u64>.into())]);
    assert_eq!(object.get("a").and_then(Value::as_u64), Some(1));
    assert!(object.get("b") == Some(&Value::Null));
    assert!(object.get("c").is_none() && Value::Null.get("a").is_none());
}

proptest! {
    #[test]
    fn values_that_are_written_are_read(value in any_value()) {
        let mut out = String::new();
        value.write(&mut out);
        prop_assert!(!out.bytes().any(|byte| byte < b' '));
        prop_assert!(Value::parse(&out) == Ok(value));
    }

    #[test]
    fn what_is_written_is_read(original in any::<String>()) {
        let mut out = String::new();
        write_string(&original, &mut out);
        prop_assert_eq!(out.len(), written_len(&original));
        prop_assert!(!out.bytes().any(|byte| byte < b' '));
        prop_assert!(Value::parse(&out) == Ok(text(&original)));
    }

    #[test]
    fn nothing_panics(noise in "[\\[\\]{}\",:0-9a-z\\\\ué -]{0,40}") {
        drop(Value::parse(&noise));
    }
}
