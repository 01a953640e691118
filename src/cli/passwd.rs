//! `footbridge passwd`: makes and changes password files, with the options of mosquitto_passwd(1).

mod ask;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use crate::auth::passwd::{ARGON2, Hash, ITERATIONS, MAX_ITERATIONS, SALT_BYTES, Scheme, Skipped};
use crate::auth::{self, without_bom};
use crate::config::printable::printable;
use crate::files;
use crate::mqtt::check_string;
use ask::ask;

/// The longest user name and password that MQTT can carry, bytes (5.0 §1.5.4).
const MAX_FIELD: usize = 65_535;

/// Make or change a password file.
#[derive(FromArgs, Debug, Default)]
#[argh(subcommand, name = "passwd")]
pub struct Passwd {
    /// make a new file, in place of an existing one
    #[argh(switch, short = 'c')]
    pub create: bool,
    /// take the password from the command line, where other users of the machine may see it
    #[argh(switch, short = 'b')]
    pub batch: bool,
    /// remove the user
    #[argh(switch, short = 'D')]
    pub delete: bool,
    /// hash the plain-text passwords of a file
    #[argh(switch, short = 'U')]
    pub upgrade: bool,
    /// sha512-pbkdf2 (the default), sha512, or argon2id, which most builds of Mosquitto can't read
    #[argh(option, short = 'H', default = "String::from(PBKDF2)")]
    pub hash: String,
    /// iterations of sha512-pbkdf2 (default 101)
    #[argh(option, short = 'I', default = "ITERATIONS")]
    pub iterations: u32,
    /// the password file
    #[argh(positional)]
    pub file: PathBuf,
    /// the user, not with -U, and with -b the password
    #[argh(positional, arg_name = "user")]
    pub words: Vec<String>,
}

const PBKDF2: &str = "sha512-pbkdf2";

/// Why nothing was changed.
#[derive(Debug)]
pub enum Error {
    /// The options don't go together.
    Usage(&'static str),
    /// The user name is none that a line of the file, and a packet, can hold.
    Name(String),
    /// The user has no line in the file.
    NoUser(String),
    /// The password is empty, too long or not text.
    Password,
    /// The two passwords differ.
    Mismatch,
    /// With -U: a line without a `:`.
    NoColon(usize),
    /// With -U: a line whose name can't be one.
    BadName(usize),
    /// With -U: a line with a hash that is damaged, or of another kind.
    Hash(usize, Skipped),
    /// There is no such file, and no -c.
    Missing(PathBuf),
    /// A file can't be read or written.
    File(PathBuf, io::Error),
    /// The terminal can't be used.
    Terminal(io::Error),
    /// The system has no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(what) => f.write_str(what),
            Error::Name(name) => write!(
                f,
                "`{}` cannot be a user name in this file; use 1 to {MAX_FIELD} bytes without `:` and \
                 control characters, without # in front and without blanks around it",
                printable(name)
            ),
            Error::NoUser(name) => write!(f, "there is no user `{name}` in the file"),
            Error::Password => write!(f, "the password must have 1 to {MAX_FIELD} bytes"),
            Error::Mismatch => f.write_str("the passwords differ; nothing was changed"),
            Error::NoColon(line) => write!(f, "line {line} has no `:`; nothing was changed"),
            Error::BadName(line) => write!(f, "line {line} has no user name; nothing was changed"),
            Error::Hash(line, why) => write!(f, "line {line}: {why}; nothing was changed"),
            Error::Missing(path) => {
                write!(f, "{} does not exist; make it with -c", path.display())
            }
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Terminal(error) => write!(f, "cannot ask for the password: {error}"),
            Error::Random(error) => write!(f, "no random numbers for the salt: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Does what the arguments say.
///
/// # Errors
/// Why it did not; then the file is as it was.
pub fn run(args: Passwd) -> Result<(), Error> {
    let scheme = args.scheme()?;
    let (user, password) = args.check()?;
    let path = args.file.as_path();
    if args.upgrade {
        return replace(path, &upgrade(&read(path)?, scheme)?);
    }
    let user = user.ok_or(Error::Usage("a user name is missing"))?;
    if !is_name(user) {
        return Err(Error::Name(user.to_owned()));
    }
    if args.delete {
        return replace(path, &without(&read(path)?, user)?);
    }
    let text = if args.create {
        String::new()
    } else {
        read(path)?
    };
    let password = match password {
        Some(password) => password.to_owned(),
        None => ask().map_err(Error::Terminal)?.ok_or(Error::Mismatch)?,
    };
    if password.is_empty() || password.len() > MAX_FIELD {
        return Err(Error::Password);
    }
    replace(path, &with(&text, user, &salted(scheme, &password)?))
}

impl Passwd {
    fn scheme(&self) -> Result<Scheme, Error> {
        match self.hash.as_str() {
            "sha512" => Ok(Scheme::Sha512),
            "argon2id" => Ok(Scheme::Argon2(ARGON2)),
            PBKDF2 if (1..=MAX_ITERATIONS).contains(&self.iterations) => {
                Ok(Scheme::Pbkdf2(self.iterations))
            }
            PBKDF2 => Err(Error::Usage("-I takes a number from 1 to 1000000")),
            _ => Err(Error::Usage("-H takes sha512-pbkdf2, sha512 or argon2id")),
        }
    }

    /// The user and the password, if the options go together.
    fn check(&self) -> Result<(Option<&str>, Option<&str>), Error> {
        let modes = [self.create, self.delete, self.upgrade];
        if modes.iter().filter(|&&mode| mode).count() > 1 {
            return Err(Error::Usage("-c, -D and -U exclude each other"));
        }
        if self.batch && (self.delete || self.upgrade) {
            return Err(Error::Usage("-b goes with setting a password only"));
        }
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match *words {
            [] => Ok((None, None)),
            _ if self.upgrade => Err(Error::Usage("-U takes a file only")),
            [_] if self.batch => Err(Error::Usage("-b needs the password behind the user name")),
            [user] => Ok((Some(user), None)),
            [user, password] if self.batch => Ok((Some(user), Some(password))),
            [_, _] => Err(Error::Usage("a password on the command line needs -b")),
            _ => Err(Error::Usage("one user and one password at a time")),
        }
    }
}

/// Whether `user` is what is read back from its line, and what a CONNECT can say.
fn is_name(user: &str) -> bool {
    let line = format!("{user}:");
    !user.is_empty() && owner(without_bom(&line)) == Some(user) && check_string(user).is_ok()
}

fn salted(scheme: Scheme, password: &str) -> Result<Hash, Error> {
    let mut salt = [0; SALT_BYTES];
    getrandom::getrandom(&mut salt).map_err(Error::Random)?;
    Ok(Hash::new(scheme, password.as_bytes(), &salt))
}

/// The user that a line of a password file is for.
fn owner(line: &str) -> Option<&str> {
    match line.split_once(':') {
        Some((name, _)) if !line.starts_with('#') => Some(name.trim()),
        _ => None,
    }
}

/// `text` with the line of `user` replaced, or added at the end.
fn with(text: &str, user: &str, hash: &Hash) -> String {
    let mut out = String::with_capacity(text.len() + 128);
    let mut line_of_user = Some(format!("{user}:{hash}\n"));
    for line in text.lines() {
        if owner(line) == Some(user) {
            out.push_str(&line_of_user.take().unwrap_or_default());
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.push_str(&line_of_user.unwrap_or_default());
    out
}

/// `text` without the lines of `user`.
fn without(text: &str, user: &str) -> Result<String, Error> {
    if !text.lines().any(|line| owner(line) == Some(user)) {
        return Err(Error::NoUser(user.to_owned()));
    }
    let others = text.lines().filter(|line| owner(line) != Some(user));
    Ok(others.flat_map(|line| [line, "\n"]).collect())
}

/// `text` with every plain-text password hashed; lines with a hash, comments and empty lines stay.
fn upgrade(text: &str, scheme: Scheme) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    for (n, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            out.push_str(line);
        } else {
            let (user, password) = line.split_once(':').ok_or(Error::NoColon(n + 1))?;
            if !is_name(user.trim()) {
                return Err(Error::BadName(n + 1));
            }
            out.push_str(user);
            out.push(':');
            match Hash::parse(password.trim()) {
                Ok(_) => out.push_str(password),
                // It is no password that somebody has, and what it stands for would be lost.
                Err(why) if why != Skipped::Scheme => return Err(Error::Hash(n + 1, why)),
                Err(_) => out.push_str(&salted(scheme, password.trim_end())?.to_string()),
            }
        }
        out.push('\n');
    }
    Ok(out)
}

/// The text of a password file.
fn read(path: &Path) -> Result<String, Error> {
    let read = files::read(path, auth::MAX_BYTES);
    match read.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)) {
        Ok(text) => Ok(without_bom(&text).to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::Missing(path.to_owned()))
        }
        Err(error) => Err(Error::File(path.to_owned(), error)),
    }
}

/// Puts `text` in place of the file in one step: a reader sees the old file or the new one, also
/// after a power cut. Owner and mode stay; a new file is for its owner only.
fn replace(path: &Path, text: &str) -> Result<(), Error> {
    // Behind a symbolic link, the file it points to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        // Such as /dev/null, which root would replace for all programs.
        let other = io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
        return Err(Error::File(path, other));
    }
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let result = write_beside(&path, &temporary, text);
    if result.is_err() {
        // Nothing more to do if that fails too: the error that matters is the first.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(|error| Error::File(path, error))
}

fn write_beside(path: &Path, temporary: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    if let Ok(old) = fs::metadata(path) {
        if (old.uid(), old.gid()) != (file.metadata()?.uid(), file.metadata()?.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::passwd::Users;

    fn args(line: &[&str], file: &Path) -> Passwd {
        let file = file.to_str().unwrap();
        let line: Vec<&str> = line
            .iter()
            .map(|&a| if a == "FILE" { file } else { a })
            .collect();
        Passwd::from_args(&["passwd"], &line).unwrap()
    }

    fn verify(file: &Path, user: &str, password: &str) -> bool {
        let (users, skipped) = Users::parse(&fs::read_to_string(file).unwrap());
        assert_eq!(skipped, []);
        users.verify(user, password.as_bytes())
    }

    #[test]
    fn users_are_added_changed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        let set = |line: &[&str]| run(args(line, &file));
        assert!(matches!(
            set(&["-b", "FILE", "a", "1"]),
            Err(Error::Missing(_))
        ));
        set(&["-c", "-b", "FILE", "a", "1"]).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        set(&["-b", "-H", "sha512", "FILE", "b", "2"]).unwrap();
        set(&["-b", "-I", "7", "FILE", "a", "3"]).unwrap();
        assert!(verify(&file, "a", "3") && verify(&file, "b", "2"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("a:$7$7$") && text.contains("\nb:$6$"),
            "{text}"
        );
        assert!(matches!(set(&["-D", "FILE", "c"]), Err(Error::NoUser(_))));
        set(&["-D", "FILE", "a"]).unwrap();
        assert!(!verify(&file, "a", "3") && verify(&file, "b", "2"));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn mode_and_other_lines_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "# ours: keep\n\nx:$6$old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        run(args(&["-b", "FILE", "y", "1"], &file)).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("# ours: keep\n\nx:$6$old\ny:$7$101$"),
            "{text}"
        );
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn plain_passwords_are_hashed_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "# list\na:one\nb:with:colon\r\n").unwrap();
        run(args(&["-U", "FILE"], &file)).unwrap();
        assert!(verify(&file, "a", "one") && verify(&file, "b", "with:colon"));
        let once = fs::read_to_string(&file).unwrap();
        run(args(&["-U", "FILE"], &file)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), once);
        fs::write(&file, "a:one\nbroken\n").unwrap();
        assert!(matches!(
            run(args(&["-U", "FILE"], &file)),
            Err(Error::NoColon(2))
        ));
        assert_eq!(fs::read_to_string(&file).unwrap(), "a:one\nbroken\n");
    }

    /// A hash that is hashed once more is a password that nobody knows.
    #[test]
    fn what_is_no_plain_password_is_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        for (n, line) in [
            "b:$argon2id$v=19$m=47104,t=1,p=1$c2FsdA$aGFzaA",
            "b:$7$2000000$c2FsdA==$aGFzaA==",
            "b:$6$c2FsdA==",
            ":pw",
            "  :pw",
        ]
        .iter()
        .enumerate()
        {
            let text = format!("a:one\n{line}\n");
            fs::write(&file, &text).unwrap();
            let error = run(args(&["-U", "FILE"], &file)).unwrap_err();
            let is_named = match n {
                0..3 => matches!(error, Error::Hash(2, _)),
                _ => matches!(error, Error::BadName(2)),
            };
            assert!(is_named, "{line}: {error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    /// It is not taken for a part of the first name.
    #[test]
    fn a_byte_order_mark_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "\u{feff}a:one\n").unwrap();
        run(args(&["-U", "FILE"], &file)).unwrap();
        run(args(&["-b", "FILE", "a", "2"], &file)).unwrap();
        assert!(verify(&file, "a", "2"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("a:$7$") && text.lines().count() == 1);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        for options in [
            &["-b", "FILE", "a", "1"][..],
            &["-c", "-b", "FILE", "a", "1"],
        ] {
            let wrong = run(args(options, &fifo)).unwrap_err().to_string();
            assert!(wrong.contains("no file"), "{wrong}");
        }
        assert!(!fs::metadata(&fifo).unwrap().is_file());
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        run(args(&["-b", "FILE", "a", "1"], &link)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(verify(&file, "a", "1"));
    }

    #[test]
    fn arguments_that_make_no_sense() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        for line in [
            &["FILE", "a", "password"][..],
            &["-b", "FILE", "a"],
            &["-c", "-D", "FILE", "a"],
            &["-U", "FILE", "a"],
            &["-b", "-D", "FILE", "a", "1"],
            &["-H", "md5", "-c", "-b", "FILE", "a", "1"],
            &["-I", "0", "-c", "-b", "FILE", "a", "1"],
            &["-c", "FILE"],
        ] {
            assert!(
                matches!(run(args(line, &file)), Err(Error::Usage(_))),
                "{line:?}"
            );
        }
        let long = "x".repeat(MAX_FIELD + 1);
        for name in [
            "a:b",
            "",
            "a\nb",
            "a\r",
            "#a",
            " a",
            "a ",
            "a\t",
            "\u{a0}a",
            "\u{feff}a",
            "a\u{7}b",
            "a\0",
            &long,
        ] {
            let result = run(args(&["-c", "-b", "FILE", name, "1"], &file));
            assert!(matches!(result, Err(Error::Name(_))), "{name}");
        }
        for name in ["a b", "a#", "ä/b", "$a", "\u{1f600}"] {
            let new = dir.path().join("names");
            run(args(&["-c", "-b", "FILE", name, "1"], &new)).unwrap();
            assert!(verify(&new, name, "1"), "{name}");
        }
        let empty = run(args(&["-c", "-b", "FILE", "a", ""], &file));
        assert!(matches!(empty, Err(Error::Password)));
        assert!(!file.exists());
    }
}
