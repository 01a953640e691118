//! Sizes and spans for people.

/// A size for people, in powers of 1,024.
pub(super) fn bytes(n: u64) -> String {
    let (mut size, mut unit) = (n as f64, "bytes");
    for larger in ["KB", "MB", "GB", "TB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    match unit {
        "bytes" => format!("{n} {unit}"),
        _ => format!("{size:.1} {unit}"),
    }
}

/// A span for people, in the largest unit of which there are two.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        s @ ..120 => format!("{s} s"),
        s @ ..7_200 => format!("{} min", s / 60),
        s @ ..172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (n, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1536, "1.5 KB"),
            (5 << 30, "5.0 GB"),
        ] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn spans_have_one_unit() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (3_600, "60 min"),
            (86_400, "24 h"),
            (864_000, "10 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
