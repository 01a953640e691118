//! Which protocol version to speak upstream, and whether with the bridge bit.

use crate::config;
use crate::mqtt::Version;

/// What a CONNECT says about the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dialect {
    pub version: Version,
    /// Bit 0x80 of the protocol level: "I am a bridge" (`try_private`).
    pub bridge: bool,
}

/// The dialects to try, best first.
///
/// An upstream that does not know one either refuses it or just closes; then the next is tried
/// at once. The one that led to a CONNACK is remembered and comes first from then on. Should it
/// fail later, the attempt after that starts from the best again: the upstream may have been
/// replaced, or a proxy may have closed the connection for a reason of its own.
#[derive(Debug)]
pub(super) struct Ladder {
    rungs: Vec<Dialect>,
    at: usize,
    proven: Option<usize>,
}

impl Ladder {
    pub(super) fn new(spec: &config::Bridge) -> Ladder {
        let versions = match spec.version {
            None => vec![Version::V5, Version::V311],
            Some(version) => vec![version],
        };
        let mut rungs = Vec::new();
        for version in versions {
            if version < Version::V5 && spec.try_private {
                rungs.push(Dialect {
                    version,
                    bridge: true,
                });
            }
            rungs.push(Dialect {
                version,
                bridge: false,
            });
        }
        Ladder {
            rungs,
            at: 0,
            proven: None,
        }
    }

    /// The dialect to speak now.
    pub(super) fn current(&self) -> Dialect {
        let plain = Dialect {
            version: Version::V311,
            bridge: false,
        };
        self.rungs.get(self.at).copied().unwrap_or(plain)
    }

    /// A CONNACK accepted the current dialect.
    pub(super) fn accepted(&mut self) {
        self.proven = Some(self.at);
    }

    /// The current dialect was refused. True if there is another to try at once; otherwise the
    /// next attempt starts over.
    pub(super) fn refused(&mut self) -> bool {
        if self.proven.take().is_none() && self.at + 1 < self.rungs.len() {
            self.at += 1;
            return true;
        }
        self.at = 0;
        false
    }

    /// A fresh attempt: back to the dialect that is known to work, or else to the best.
    pub(super) fn restart(&mut self) {
        self.at = self.proven.unwrap_or(0);
    }
}
