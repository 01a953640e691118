//! What is odd about what listeners speak and serve.

use crate::config::{Listener, Protocol};

/// What serves nothing, and what nothing serves.
pub(super) fn odd(listener: &Listener) -> impl Iterator<Item = &'static str> {
    let web = &listener.web;
    let unserved = match (web.protocol, &web.http_dir) {
        (Protocol::Http, None) if !web.status_page() => {
            Some("protocol http with neither status page nor http_dir serves nothing")
        }
        (Protocol::Mqtt, Some(_)) => Some("http_dir needs `protocol websockets` or `http`"),
        (Protocol::Mqtt, None) if web.status_page_said == Some(true) => {
            Some("status_page needs `protocol websockets` or `http`")
        }
        _ => None,
    };
    let blind = (web.status_page() && !listener.mount_point.is_empty())
        .then_some("the status page shows nothing: behind a mount_point nobody sees $SYS");
    unserved.into_iter().chain(blind)
}
