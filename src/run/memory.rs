//! How much memory the machine has: what `memory_limit` is by default.

use std::fs;

/// `memory_limit` is this part of the memory.
const PART: u64 = 4;

/// The default of `memory_limit`, in bytes: a quarter of what the machine has, or of what the
/// control group of the process may take. `None` if neither is known.
pub(super) fn default_limit() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let limited = read("/proc/self/cgroup").and_then(|groups| {
        let limit = format!("/sys/fs/cgroup{}/memory.max", group(&groups)?);
        // "max" where there is none.
        read(&limit)?.trim().parse().ok()
    });
    let least = machine.into_iter().chain(limited).min()?;
    Some(least / PART)
}

/// The memory in bytes, from what `/proc/meminfo` says.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The path of the control group, from what `/proc/self/cgroup` says (version 2).
fn group(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_there_is() {
        let meminfo = "MemTotal:          59520 kB\nMemFree:           11 kB\n";
        assert_eq!(total(meminfo), Some(59_520 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(
            group("1:cpu:/\n0::/system.slice/x\n"),
            Some("/system.slice/x")
        );
        assert_eq!(group("0::/\n"), Some(""));
        assert_eq!(group("1:memory:/\n"), None);
        let limit = default_limit().unwrap();
        assert!(limit > 1 << 20, "{limit}");
    }
}
