//! How much memory the machine has: what `memory_limit` is by default.

use std::fs;
use std::path::Path;

/// `memory_limit` is this part of the memory.
const PART: u64 = 4;

/// The default of `memory_limit`, in bytes: a quarter of what the machine has, or of what a control
/// group that the process is in may take. `None` if neither is known.
pub(super) fn default_limit() -> Option<u64> {
    Some(available()? / PART)
}

/// What the machine has, in bytes, or what a control group that the process is in may take; `None` if
/// neither is known.
pub(super) fn available() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    // "max" where there is none.
    let limits = limits(&groups).filter_map(|path| read(&path)?.trim().parse().ok());
    machine.into_iter().chain(limits).min()
}

/// The memory in bytes, from what `/proc/meminfo` says.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The files that tell how much the control groups of the process may take, its own and those around
/// it, from what `/proc/self/cgroup` says: version 2, and the memory controller of version 1.
fn limits(groups: &str) -> impl Iterator<Item = String> {
    groups
        .lines()
        .filter_map(group)
        .flat_map(|(root, file, path)| {
            let groups = Path::new(path).ancestors();
            groups.map(move |group| format!("{}/{file}", root.join(group).display()))
        })
}

/// Where the limits of a line's group are: the root, the file's name, the path of the group.
fn group(line: &str) -> Option<(&Path, &str, &str)> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let path = path.strip_prefix('/')?;
    if controllers.is_empty() {
        Some((Path::new("/sys/fs/cgroup"), "memory.max", path))
    } else {
        let root = Path::new("/sys/fs/cgroup/memory");
        let mut controllers = controllers.split(',');
        let file = "memory.limit_in_bytes";
        controllers
            .any(|name| name == "memory")
            .then_some((root, file, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_there_is() {
        let meminfo = "MemTotal:          59520 kB\nMemFree:           11 kB\n";
        assert_eq!(total(meminfo), Some(59_520 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        let limit = default_limit().unwrap();
        assert!(limit > 1 << 20, "{limit}");
    }

    #[test]
    fn all_groups_around_the_process_count() {
        let files: Vec<String> = limits("1:cpu:/a\n0::/a.slice/b\n").collect();
        let folders = ["a.slice/b/", "a.slice/", "/"];
        assert_eq!(
            files,
            folders.map(|f| format!("/sys/fs/cgroup/{f}memory.max"))
        );
        let files: Vec<String> = limits("9:cpu:/x\n4:hugetlb,memory:/docker\n").collect();
        let folders = ["docker/", "/"];
        let expected = folders.map(|f| format!("/sys/fs/cgroup/memory/{f}memory.limit_in_bytes"));
        assert_eq!(files, expected);
        assert_eq!(limits("0::/\n").count(), 1);
        assert_eq!(limits("nonsense\n").count(), 0);
    }
}
