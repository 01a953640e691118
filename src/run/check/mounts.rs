//! Whether a folder lies in RAM: on OpenWrt /var does, and what is stored there is gone with the
//! power.

use std::path::{Path, PathBuf};

use super::folders::folder_of;

/// The file system that holds the folder of `file`, if it is one that loses everything with the power.
pub(in crate::run) fn folder_in_ram(file: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let folder = folder_of(file).canonicalize().ok()?;
    find(&mounts, &folder, 0)
}

/// Looks `folder` up in a list of mounts as fstab(5) has it.
fn find(mounts: &str, folder: &Path, depth: u8) -> Option<String> {
    // Of mounts at one point the last is on top.
    let (point, kind, options) = mounts
        .lines()
        .filter_map(parse)
        .filter(|(point, ..)| folder.starts_with(point))
        .max_by_key(|(point, ..)| point.as_os_str().len())?;
    match kind {
        "tmpfs" | "ramfs" => Some(format!("{kind} at {}", point.display())),
        "overlay" if depth < 4 => {
            let mut options = options.split(',');
            let upper = options.find_map(|option| option.strip_prefix("upperdir="))?;
            find(mounts, &unescape(upper), depth + 1)
        }
        _ => None,
    }
}

fn parse(line: &str) -> Option<(PathBuf, &str, &str)> {
    let mut fields = line.split(' ').skip(1);
    let point = unescape(fields.next()?);
    Some((point, fields.next()?, fields.next()?))
}

/// Blanks and backslashes stand there in octal.
fn unescape(field: &str) -> PathBuf {
    let named = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let plain = named.iter().fold(field.to_owned(), |field, (code, plain)| {
        field.replace(code, plain)
    });
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENWRT: &str = "\
/dev/root /rom squashfs ro,relatime 0 0
proc /proc proc rw 0 0
tmpfs /tmp tmpfs rw,nosuid,nodev 0 0
/dev/mtdblock6 /overlay jffs2 rw,noatime 0 0
overlayfs:/overlay / overlay rw,noatime,lowerdir=/,upperdir=/overlay/upper,workdir=/overlay/work 0 0
/dev/sda1 /mnt/usb\\040stick ext4 rw 0 0
";

    fn at(mounts: &str, folder: &str) -> Option<String> {
        find(mounts, Path::new(folder), 0)
    }

    #[test]
    fn what_lies_in_ram_is_found() {
        assert_eq!(at(OPENWRT, "/tmp/lib"), Some("tmpfs at /tmp".to_owned()));
        assert_eq!(at(OPENWRT, "/etc/footbridge"), None);
        assert_eq!(at(OPENWRT, "/tmpfolder"), None);
        assert_eq!(at(OPENWRT, "/mnt/usb stick/store"), None);
    }

    #[test]
    fn an_overlay_is_where_its_upper_folder_is() {
        let young = OPENWRT.replace("/overlay/upper", "/tmp/root/upper");
        assert_eq!(at(&young, "/etc"), Some("tmpfs at /tmp".to_owned()));
    }

    #[test]
    fn the_last_mount_at_a_point_counts() {
        let mounts = "a /srv tmpfs rw 0 0\nb /srv ext4 rw 0 0\n";
        assert_eq!(at(mounts, "/srv/x"), None);
    }

    #[test]
    fn nonsense_is_no_ram() {
        assert_eq!(at("", "/"), None);
        assert_eq!(at("x\ny / \n", "/"), None);
        let circle = "o / overlay upperdir=/u 0 0\n";
        assert_eq!(at(circle, "/"), None);
    }
}
