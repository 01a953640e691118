//! What the process takes of the machine's memory.

/// Bytes of the heap and the stacks that are in RAM (RssAnon of proc(5)); `None` where the system
/// does not tell. The counter of an allocator would cost something at each allocation, and says
/// nothing about what the allocator itself keeps.
pub(super) fn heap() -> Option<u64> {
    read("RssAnon:")
}

/// Bytes of the process that are in RAM, its program included (VmRSS).
pub(super) fn resident() -> Option<u64> {
    read("VmRSS:")
}

fn read(name: &str) -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?, name)
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found() {
        let status = "VmRSS:\t    5000 kB\nRssAnon:\t     832 kB\nRssFile:\t    4168 kB\n";
        assert_eq!(parse(status, "RssAnon:"), Some(832 * 1024));
        assert_eq!(parse(status, "VmRSS:"), Some(5000 * 1024));
        assert_eq!(parse("VmRSS:\t 5000 kB\n", "RssAnon:"), None);
        assert_eq!(parse("RssAnon:\n", "RssAnon:"), None);
    }
}
