//! The value of `restart_timeout`.

use std::time::Duration;

use crate::config::value::Value;
use crate::config::{Kind, Restart};

/// `restart_timeout`.
pub(super) fn restart(value: Value<'_>) -> Result<Restart, Kind> {
    let wants = "BASE [CAP [STABLE]] in seconds, each at least 1 and CAP not below BASE";
    let times: Vec<Duration> = value
        .words()
        .map(|word| Value(word).duration())
        .collect::<Result<_, _>>()?;
    let restart = match *times {
        [] => return Err(Kind::NoValue(wants.to_owned())),
        [wait] => Restart::Constant(wait),
        [base, cap] => Restart::Jitter {
            base,
            cap,
            stable: cap,
        },
        [base, cap, stable] => Restart::Jitter { base, cap, stable },
        _ => return Err(Kind::bad(value.0, wants)),
    };
    let short = times.iter().any(|time| time.as_secs() == 0);
    let crossed = matches!(restart, Restart::Jitter { base, cap, .. } if cap < base);
    if short || crossed {
        return Err(Kind::bad(value.0, wants));
    }
    Ok(restart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_takes_one_two_or_three_numbers() {
        let s = Duration::from_secs;
        assert_eq!(restart(Value("20")), Ok(Restart::Constant(s(20))));
        let jitter = |base, cap, stable| Restart::Jitter {
            base: s(base),
            cap: s(cap),
            stable: s(stable),
        };
        assert_eq!(restart(Value("10 60")), Ok(jitter(10, 60, 60)));
        assert_eq!(restart(Value("5 2m 10m")), Ok(jitter(5, 120, 600)));
        for bad in ["", "0", "30 5", "1 2 3 4", "x"] {
            assert!(restart(Value(bad)).is_err(), "{bad}");
        }
    }
}
