//! `user`: root gives its rights up once it has bound and opened what needs them.
//!
//! Threads have rights of their own in Linux, and hand them on to those they start. Changing those
//! of all threads at once takes signals and unsafe code (libc's setuid); here there is only one
//! yet.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use rustix::{fs::Gid, fs::Uid};

/// Whom to become.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct User {
    name: String,
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
    match name.filter(|name| *name != "root" && geteuid().is_root()) {
        Some(name) => look_up(name).map(Some),
        None => Ok(None),
    }
}

/// Whether root could become who `user NAME` asks for; also if somebody else asks.
///
/// # Errors
/// As [`wanted`].
pub(super) fn check(name: Option<&str>) -> io::Result<()> {
    match name.filter(|name| *name != "root") {
        Some(name) => look_up(name).map(drop),
        None => Ok(()),
    }
}

/// The number of a group, by its name in group(5).
///
/// # Errors
/// When there is no such group, or /etc/group can't be read.
pub(super) fn group(name: &str) -> io::Result<u32> {
    let groups = fs::read_to_string("/etc/group")?;
    let missing = || {
        io::Error::other(format!(
            "there is no group `{name}`; make one, or name another"
        ))
    };
    find_group(name, &groups).ok_or_else(missing)
}

/// Looks a group up in the text of group(5).
fn find_group(name: &str, groups: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    let mut fields = lines.find_map(|mut line| (line.next() == Some(name)).then_some(line))?;
    fields.nth(1)?.parse().ok()
}

fn look_up(name: &str) -> io::Result<User> {
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
    found.ok_or_else(missing)
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
    Some(User {
        name: name.to_owned(),
        uid,
        gid,
        groups,
    })
}

impl User {
    /// Whom root has to become so that files beside `path` belong to who they are for: the owner of `path`,
    /// or of its folder where there is no such file. `None` if that is root, if neither can be looked at, or
    /// where nobody else can be become.
    pub(super) fn owner_of(path: &Path) -> Option<User> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let found = fs::metadata(path).or_else(|_| fs::metadata(folder)).ok()?;
        let (uid, gid) = (found.uid(), found.gid());
        let user = User {
            name: uid.to_string(),
            uid,
            gid,
            groups: vec![gid],
        };
        (uid != 0 && geteuid().is_root()).then_some(user)
    }

    /// As /etc/passwd has it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number.
    pub(super) fn id(&self) -> u32 {
        self.uid
    }

    /// Whether the user could write to a file, or make one in a folder.
    pub(super) fn may_write(&self, path: &Path) -> bool {
        self.may(path, 0o2)
    }

    /// Whether the user could read a file.
    pub(super) fn may_read(&self, path: &Path) -> bool {
        self.may(path, 0o4)
    }

    /// Whether the user has these rights (as `rwx` in octal) to `path`, by the modes of it and of
    /// the folders that lead there. What can't be found out is taken to be allowed.
    fn may(&self, path: &Path, rights: u32) -> bool {
        let Ok(path) = path.canonicalize() else {
            return true;
        };
        path.ancestors().enumerate().all(|(up, path)| {
            let Ok(found) = fs::metadata(path) else {
                return true;
            };
            let wanted = match (up, found.is_dir()) {
                (0, true) => rights | 0o1,
                (0, false) => rights,
                _ => 0o1,
            };
            let shift = if found.uid() == self.uid {
                6
            } else if self.groups.contains(&found.gid()) {
                3
            } else {
                0
            };
            self.uid == 0 || found.mode() >> shift & wanted == wanted
        })
    }

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
    fn rights_go_by_owner_group_and_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = fs::metadata(&file).unwrap();
        let user = |uid, gid| User {
            name: "u".to_owned(),
            uid,
            gid,
            groups: vec![gid],
        };
        let (owner, member) = (
            user(found.uid() + 1, found.gid() + 1),
            user(54_321, found.gid()),
        );
        let stranger = user(54_321, 54_321);
        for (mode, dir, of_group, of_others) in [
            (0o644, 0o755, false, false),
            (0o664, 0o755, true, false),
            (0o666, 0o755, true, true),
            (0o666, 0o750, true, false),
            (0o666, 0o700, false, false),
            (0o606, 0o755, false, true),
        ] {
            set(&file, mode);
            set(folder.path(), dir);
            assert_eq!(member.may_write(&file), of_group, "{mode:o} {dir:o}");
            assert_eq!(stranger.may_write(&file), of_others, "{mode:o} {dir:o}");
        }
        set(folder.path(), 0o755);
        assert!(!owner.may_write(folder.path()) && owner.may_read(&file));
        set(folder.path(), 0o777);
        assert!(owner.may_write(folder.path()));
        assert!(user(0, 0).may_write(&file));
    }

    #[test]
    fn groups_are_found_by_name() {
        assert_eq!(find_group("ssl-cert", GROUP), Some(110));
        for name in ["ssl", "", "mosquitto-2"] {
            assert_eq!(find_group(name, GROUP), None, "{name}");
        }
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for name in ["nobody", "", "mosq", "broken"] {
            assert_eq!(find(name, PASSWD, GROUP), None, "{name}");
        }
    }
}
