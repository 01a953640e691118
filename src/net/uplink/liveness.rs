//! How the system finds out that an upstream is gone: the options of a bridge's socket.

use std::time::Duration;

use crate::config;
use crate::net::stream::Liveness;

/// Questions in the second half of the keep-alive.
const PROBES: u32 = 3;
/// The last of them is so much of the keep-alive before its end, or a second. A PINGREQ that is on its way
/// would stop them, and begin the time of TCP_USER_TIMEOUT anew.
const MARGIN: u32 = 8;

/// What `spec` says, or else what notices within its keep-alive that the upstream is gone, or that a
/// router between has forgotten the connection, with nothing on its way. With something on its way that is
/// the link's business: TCP_USER_TIMEOUT would also end a connection whose upstream takes all the time, but
/// never has room for a whole segment.
pub(super) fn of(spec: &config::Bridge) -> Liveness {
    let unacked = spec.tcp.user_timeout;
    Liveness {
        asked: spec.tcp.keepalive.unwrap_or(Some(by(spec.keepalive))),
        unacked: unacked.filter(|unacked| !unacked.is_zero()),
    }
}

/// The questions of a keep-alive: the last of them is a little before its end. Linux counts in whole seconds.
fn by(keepalive: Duration) -> config::TcpKeepalive {
    let second = Duration::from_secs(1);
    let end = keepalive.saturating_sub((keepalive / MARGIN).max(second));
    let interval = (end.as_secs() / 2 / u64::from(PROBES)).max(1);
    let interval = Duration::from_secs(interval);
    let longest = Duration::from_secs(config::TcpKeepalive::LONGEST.into());
    let idle = end.saturating_sub(interval * PROBES);
    config::TcpKeepalive {
        idle: Duration::from_secs(idle.as_secs()).clamp(second, longest),
        interval,
        probes: PROBES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn said(idle: u64, interval: u64, probes: u32) -> config::TcpKeepalive {
        config::TcpKeepalive {
            idle: secs(idle),
            interval: secs(interval),
            probes,
        }
    }

    fn bridge(keepalive: u64) -> config::Bridge {
        config::Bridge {
            keepalive: secs(keepalive),
            ..config::Bridge::named("b", &config::Env::default())
        }
    }

    #[test]
    fn all_is_noticed_within_the_keep_alive() {
        for keepalive in [5, 7, 60, 65_535] {
            let Liveness { asked, unacked } = of(&bridge(keepalive));
            let asked = asked.unwrap();
            let last = asked.idle + asked.interval * asked.probes;
            assert_eq!(unacked, None);
            let (least, most) = (secs(keepalive / 5 * 4), secs(keepalive - 1));
            assert!((least..=most).contains(&last), "{keepalive}: {last:?}");
            assert!(asked.idle <= secs(32_767) && asked.interval >= secs(1));
        }
    }

    #[test]
    fn directives_come_first() {
        let mut spec = bridge(3600);
        spec.tcp.keepalive = Some(Some(said(60, 10, 3)));
        let (asked, unacked) = (Some(said(60, 10, 3)), None);
        assert_eq!(of(&spec), Liveness { asked, unacked });
        spec.tcp.user_timeout = Some(secs(7));
        assert_eq!(of(&spec).unacked, Some(secs(7)));
        spec.tcp.keepalive = Some(None);
        spec.tcp.user_timeout = Some(Duration::ZERO);
        let (asked, unacked) = (None, None);
        assert_eq!(of(&spec), Liveness { asked, unacked });
    }
}
