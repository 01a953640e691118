//! `user`: root gives its rights up once it has bound and opened what needs them.
//!
//! Threads have rights of their own in Linux, and hand them on to those they start. Changing those
//! of all threads at once takes signals and unsafe code (libc's setuid); here there is only one
//! yet.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use rustix::{fs::Gid, fs::Uid};

/// Whom to become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct User {
    uid: u32,
    gid: u32,
    /// All groups, the first among them.
    groups: Vec<u32>,
}

/// Whom `user NAME` asks to become: nobody else unless started as root, or for `user root`. As in
/// Mosquitto, `mosquitto` stands for `nobody` where there is no such user.
///
/// # Errors
/// When there is no such user, or /etc/passwd can't be read.
pub(super) fn wanted(name: Option<&str>) -> io::Result<Option<User>> {
    let Some(name) = name.filter(|name| *name != "root" && geteuid().is_root()) else {
        return Ok(None);
    };
    let passwd = fs::read_to_string("/etc/passwd")?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let found = find(name, &passwd, &groups);
    let found = match name {
        "mosquitto" => found.or_else(|| find("nobody", &passwd, &groups)),
        _ => found,
    };
    let missing = || {
        io::Error::other(format!(
            "there is no user `{name}`; make one, or name another"
        ))
    };
    found.ok_or_else(missing).map(Some)
}

/// Looks a user up in the texts of passwd(5) and group(5).
fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let fields = |line: &'_ str, number: usize| -> Option<String> {
        line.split(':').nth(number).map(str::to_owned)
    };
    let named = |line: &&str| line.split(':').next() == Some(name);
    let line = passwd.lines().find(named)?;
    let uid = fields(line, 2)?.parse().ok()?;
    let gid = fields(line, 3)?.parse().ok()?;
    let member = |line: &&str| {
        let members = fields(line, 3).unwrap_or_default();
        members.split(',').any(|member| member == name)
    };
    let others = group.lines().filter(member);
    let others = others.filter_map(|line| fields(line, 2)?.parse().ok());
    let mut groups: Vec<u32> = std::iter::once(gid).chain(others).collect();
    groups.dedup();
    Some(User { uid, gid, groups })
}

impl User {
    /// Hands `file` over, so that it can be opened again after the change. A device, such as
    /// /dev/null, stays the system's.
    ///
    /// # Errors
    /// As stat(2) and chown(2).
    pub(super) fn own(&self, file: &Path) -> io::Result<()> {
        if fs::metadata(file)?.is_file() {
            std::os::unix::fs::chown(file, Some(self.uid), Some(self.gid))
        } else {
            Ok(())
        }
    }

    /// Becomes this user, for good. Only before any thread was started.
    ///
    /// # Errors
    /// When the system refuses; what was given up by then is gone.
    pub(super) fn become_it(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&groups)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          mosquitto-2:x:101:101::/:/bin/false\n\
                          mosquitto:x:100:105:,,,:/var/lib/mosquitto:/usr/sbin/nologin\n\
                          broken:x:one:2\n";
    const GROUP: &str = "root:x:0:\nmosquitto:x:105:\nssl-cert:x:110:www-data,mosquitto\n\
                         other:x:111:mosquitto-2\n";

    #[test]
    fn a_user_has_a_group_and_more() {
        let user = find("mosquitto", PASSWD, GROUP).unwrap();
        assert_eq!(
            (user.uid, user.gid, &user.groups[..]),
            (100, 105, &[105, 110][..])
        );
        let user = find("root", PASSWD, "").unwrap();
        assert_eq!((user.uid, user.gid, &user.groups[..]), (0, 0, &[0][..]));
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for name in ["nobody", "", "mosq", "broken"] {
            assert_eq!(find(name, PASSWD, GROUP), None, "{name}");
        }
    }
}
