//! What the commands about retained messages have to say in common.

use crate::mqtt::TopicFilter;
use crate::run::control::protocol::{Refusal, Request};

/// Which topics a request is about.
pub(super) fn filter(request: &Request) -> Result<&str, Refusal> {
    let filter = request.text("filter")?;
    TopicFilter::new(filter).map_err(|e| Refusal::new(format!("{filter}: {e}")))?;
    Ok(filter)
}
