//! One `connection` section by itself, to be added to those that run.

use crate::config::draft::Draft;
use crate::config::parse::{Depth, read_text};
use crate::config::{Bridge, Env, Errors, Kind};

impl Bridge {
    /// Reads `text`, which is one `connection` section and nothing else; errors name it `file`. Also
    /// gives what the log is to say about it.
    ///
    /// # Errors
    /// Everything wrong with it by itself.
    pub fn parse(text: &str, file: &str, env: &Env) -> Result<(Bridge, Vec<String>), Errors> {
        let mut draft = Draft::new(env);
        read_text(&mut draft, text, file, Depth::Section);
        let mut bridges = draft.finish().bridges;
        let (Some(bridge), true) = (bridges.pop(), bridges.is_empty()) else {
            draft.fail("connection", Kind::OneSection);
            return Err(Errors(draft.errors));
        };
        if draft.errors.is_empty() {
            Ok((bridge, draft.notes))
        } else {
            Err(Errors(draft.errors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bridge, String> {
        let env = Env {
            hostname: "gw".to_owned(),
            ..Env::default()
        };
        let parsed = Bridge::parse(text, "x", &env);
        parsed.map(|(b, _)| b).map_err(|errors| errors.to_string())
    }

    #[test]
    fn one_section_is_a_bridge() {
        let text = "# up\nconnection b\naddress u:1\n\ntopic a out 1\n";
        let bridge = parse(text).unwrap();
        assert_eq!((&*bridge.name, bridge.topics.len()), ("b", 1));
        assert_eq!(bridge.local_clientid, "local.gw.b");
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        let good = "connection b\naddress u\ntopic #\n";
        for (text, says) in [
            ("", "exactly one"),
            (
                &format!("{good}connection c\naddress v\ntopic #"),
                "exactly one",
            ),
            (&format!("{good}persistence true"), "x:4: persistence: "),
            (&format!("{good}listener 1884"), "x:4: listener: "),
            (&format!("include_dir /etc\n{good}"), "x:1: include_dir: "),
            (&format!("{good}plugin x"), "x:4: plugin: "),
            (&format!("{good}topic a out 5"), "x:4: topic: "),
            ("connection b\naddress u", "x:1: connection b: "),
            ("address u", "x:1: address: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
