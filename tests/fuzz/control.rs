//! Lines of the control socket, of both sides, and the section that is to be added: refused with a
//! reason, or the same when it is written and read again.

use footbridge::config::{Bridge, Env};
use footbridge::run::control::protocol::{Reply, Request};

/// What is sent is lines.
pub fn run(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        match Request::parse(line) {
            Ok(request) => {
                let again = Request::parse(request.to_line().trim_end().as_bytes());
                assert_eq!(again.as_ref(), Ok(&request));
                if let Ok(section) = request.text("section") {
                    add(section);
                }
            }
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
        match Reply::parse(line) {
            Ok(reply) => {
                let again = Reply::parse(reply.to_line().trim_end().as_bytes());
                assert_eq!(again, Ok(reply));
            }
            Err(refusal) => assert!(!refusal.to_string().is_empty()),
        }
    }
}

fn add(section: &str) {
    match Bridge::parse(section, "x", &Env::default()) {
        Ok((bridge, _)) => assert!(!bridge.addresses.is_empty() && !bridge.topics.is_empty()),
        Err(errors) => assert!(errors.0.iter().all(|e| e.to_string().starts_with('x'))),
    }
}
