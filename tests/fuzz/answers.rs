//! Lines of the program behind `auth_socket`: refused with a reason, or an answer or a revocation that
//! can be used.

use footbridge::auth::{Reply, Said};
use footbridge::json::Value;

/// What is sent is lines.
pub fn run(input: &[u8]) {
    for line in input.split(|byte| *byte == b'\n') {
        match Reply::parse(line) {
            Ok(Reply::Answer(
                _,
                Ok(Said::Allow {
                    username, cache, ..
                }),
            )) => {
                assert!(username.is_none_or(|name| !name.contains('\0')));
                assert!(cache.is_none_or(|cache| cache.as_secs() <= 86_400));
            }
            Ok(Reply::Answer(_, Err(error))) | Err(error) => {
                assert!(!error.to_string().is_empty());
            }
            Ok(Reply::Answer(_, Ok(Said::Deny | Said::Ignore { .. }))) => {}
            Ok(Reply::Revoke(revocation)) => {
                let names = (revocation.client_id.clone(), revocation.username.clone());
                assert!(names.0.is_some() || names.1.is_some());
                let client_id = names.0.as_deref().unwrap_or("c");
                assert!(revocation.is_about(client_id, names.1.as_deref()));
            }
        }
        if let Ok(text) = std::str::from_utf8(line)
            && let Err(error) = Value::parse(text)
        {
            assert!(error.at <= text.len(), "{error}");
        }
    }
}
