//! Password files: the lines that `footbridge passwd` and mosquitto_passwd(1) write.
//!
//! `USER:$7$ITERATIONS$SALT$HASH` is PBKDF2 with HMAC-SHA-512, `USER:$6$SALT$HASH` one SHA-512
//! over password and salt; salt and hash in base64. A plain-text password is not accepted.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

/// The iterations of a new `$7$` hash, as in mosquitto_passwd(1).
pub const ITERATIONS: u32 = 101;

/// The most iterations that a line may ask for. Hashing runs on the broker's one thread, and
/// anyone who connects can ask for one, so this bounds what one stranger can make all clients
/// wait: on the order of 10 ms on a PC, ten times that on a small router. A line with more is
/// skipped, like a malformed one.
pub const MAX_ITERATIONS: u32 = 10_000;

/// Bytes of salt in a new line.
pub const SALT_BYTES: usize = 12;

const HASH_BYTES: usize = 64;

/// The users of a password file.
#[derive(Clone, Debug)]
pub struct Users {
    users: HashMap<String, Hash>,
    /// The iterations of the slowest user, which every check takes, so that its time doesn't tell
    /// which names exist.
    slowest: u32,
}

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `$6$`.
    Sha512,
    /// `$7$`, with its iterations.
    Pbkdf2(u32),
}

/// A hash with what it takes to make it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    scheme: Scheme,
    salt: Vec<u8>,
    hash: [u8; HASH_BYTES],
}

/// Why a line of a password file was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// No `:`.
    NoColon,
    /// Nothing before the `:`.
    NoName,
    /// A second line for a name; the first counts.
    Duplicate,
    /// Neither `$6$` nor `$7$`.
    Scheme,
    /// A hash that this version can't check: the user would be locked out.
    Argon2,
    /// The iterations are not a number from 1 to [`MAX_ITERATIONS`].
    Iterations,
    /// Salt or hash is not base64 of the right length.
    Encoding,
}

impl Skipped {
    /// True if the line is sound, and means something that would not be done without it.
    pub fn is_fatal(self) -> bool {
        self == Skipped::Argon2
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skipped::NoColon => f.write_str("no `:` between user name and password hash"),
            Skipped::NoName => f.write_str("no user name"),
            Skipped::Duplicate => f.write_str("the user has a line already"),
            Skipped::Scheme => f.write_str(
                "neither a $6$ nor a $7$ password hash; `footbridge passwd` writes one, and with \
                 -U hashes plain passwords",
            ),
            Skipped::Argon2 => f.write_str(
                "a password hash by Argon2, which this version can't check; set the password \
                 again with `footbridge passwd`",
            ),
            Skipped::Iterations => {
                write!(
                    f,
                    "the iterations are not a number from 1 to {MAX_ITERATIONS}"
                )
            }
            Skipped::Encoding => f.write_str("salt or hash is damaged; set the password again"),
        }
    }
}

impl Users {
    /// Reads the text of a password file. Malformed lines are left out and returned with their
    /// number; for some of them the file is not to be used ([`Skipped::is_fatal`]).
    pub fn parse(text: &str) -> (Users, Vec<(usize, Skipped)>) {
        let mut users: HashMap<String, Hash> = HashMap::new();
        let mut skipped = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match entry(line) {
                Ok((name, _)) if users.contains_key(name) => {
                    skipped.push((n + 1, Skipped::Duplicate));
                }
                Ok((name, hash)) => {
                    users.insert(name.to_owned(), hash);
                }
                Err(why) => skipped.push((n + 1, why)),
            }
        }
        let iterations = users.values().map(|hash| hash.scheme.iterations());
        let slowest = iterations.max().unwrap_or(ITERATIONS);
        (Users { users, slowest }, skipped)
    }

    /// Whether `name` is a user.
    pub fn has(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// Whether `name` is a user with this password. Takes as long for a name that isn't. An empty
    /// password is nobody's, whatever the hash says, as in Mosquitto.
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        if password.is_empty() {
            return false;
        }
        let known = self.users.get(name);
        let done = known.map_or(0, |hash| hash.scheme.iterations());
        if done < self.slowest {
            let missing = Scheme::Pbkdf2(self.slowest - done);
            std::hint::black_box(missing.hash(password, &[0; SALT_BYTES]));
        }
        known.is_some_and(|hash| hash.verify(password))
    }
}

/// The name and the hash of one line.
fn entry(line: &str) -> Result<(&str, Hash), Skipped> {
    let (name, hash) = line.split_once(':').ok_or(Skipped::NoColon)?;
    match name.trim() {
        "" => Err(Skipped::NoName),
        name => Ok((name, Hash::parse(hash.trim())?)),
    }
}

impl Scheme {
    /// 0 for `$6$`: next to nothing.
    fn iterations(self) -> u32 {
        match self {
            Scheme::Sha512 => 0,
            Scheme::Pbkdf2(iterations) => iterations,
        }
    }

    fn hash(self, password: &[u8], salt: &[u8]) -> [u8; HASH_BYTES] {
        match self {
            Scheme::Sha512 => Sha512::new()
                .chain_update(password)
                .chain_update(salt)
                .finalize()
                .into(),
            Scheme::Pbkdf2(iterations) => {
                pbkdf2::pbkdf2_hmac_array::<Sha512, HASH_BYTES>(password, salt, iterations)
            }
        }
    }
}

impl Hash {
    /// The hash of `password` with `salt`.
    pub fn new(scheme: Scheme, password: &[u8], salt: &[u8]) -> Hash {
        Hash {
            scheme,
            salt: salt.to_owned(),
            hash: scheme.hash(password, salt),
        }
    }

    /// Reads `$6$SALT$HASH` or `$7$ITERATIONS$SALT$HASH`.
    ///
    /// # Errors
    /// What is malformed.
    pub fn parse(text: &str) -> Result<Hash, Skipped> {
        let fields: Vec<&str> = text.split('$').collect();
        let (scheme, salt, hash) = match *fields {
            ["", "6", salt, hash] => (Scheme::Sha512, salt, hash),
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().ok();
                let iterations = iterations.filter(|n| (1..=MAX_ITERATIONS).contains(n));
                let iterations = iterations.ok_or(Skipped::Iterations)?;
                (Scheme::Pbkdf2(iterations), salt, hash)
            }
            ["", "6" | "7", ..] => return Err(Skipped::Encoding),
            ["", name, ..] if name.starts_with("argon2") => return Err(Skipped::Argon2),
            _ => return Err(Skipped::Scheme),
        };
        let bytes = |field| STANDARD.decode(field).map_err(|_| Skipped::Encoding);
        let salt = bytes(salt)?;
        let hash = bytes(hash)?.try_into().map_err(|_| Skipped::Encoding)?;
        if salt.is_empty() {
            Err(Skipped::Encoding)
        } else {
            Ok(Hash { scheme, salt, hash })
        }
    }

    /// Whether `password` has this hash, without telling by time how much of it fits.
    pub fn verify(&self, password: &[u8]) -> bool {
        let hash = self.scheme.hash(password, &self.salt);
        let differ = self.hash.iter().zip(hash);
        std::hint::black_box(differ.fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sha512 => f.write_str("$6$")?,
            Scheme::Pbkdf2(iterations) => write!(f, "$7${iterations}$")?,
        }
        let (salt, hash) = (STANDARD.encode(&self.salt), STANDARD.encode(self.hash));
        write!(f, "{salt}${hash}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written by mosquitto_passwd 2.0.11 (`old` with -H sha512).
    const FILE: &str = "\
# users
roger:$7$101$yi/UEwlQEE0YIyfg$oEUW942RGwBb0BLmyIWz2wkC1oE8+itOj32W6S1xBQwRnugnhtkdmJcqABUjQqof3feFSVIc5WUpL0LT4QgMWA==
ünï code:$7$101$Kdzg5OI3FzjSRa4F$RiEQePYEuoxj4CG3xZ8SBchEdC7U8drFoPYeTZa79OYFhl+on3ofzZUeOF0fRC97nRs1KxMR7J0VU/AjbEEGzA==\r
old:$6$sMTNXLnwA0BTGSj4$Pp6L4fiG+TY0vdwmLw7KbgjWRQ0EC26N3MAaCd+Zaj9wIWTw0ndV+rdKCS6LGwycpmEzlo0hb0HvGiOVJRnBeg==
empty:$7$101$2coRLe0qwwEBClKv$urSYAuDeFovpcMHjSvei5ZQpn8yrB67HshNOJjCeYZkDhlcXJtU3zTDwWzkHfIyxaU1SOhBvrmSUIjdGnuQekg==";

    #[test]
    fn hashes_of_mosquitto_passwd_verify() {
        let (users, skipped) = Users::parse(FILE);
        assert_eq!(skipped, []);
        for (name, password) in [
            ("roger", "sekrit"),
            ("ünï code", "pass wörd"),
            ("old", "sekrit"),
        ] {
            assert!(users.verify(name, password.as_bytes()), "{name}");
            assert!(!users.verify(name, b"other"), "{name}");
        }
        assert!(!users.verify("nobody", b"sekrit"));
        assert!(users.users["empty"].verify(b""), "the hash is of nothing");
        assert!(!users.verify("empty", b""));
        assert!(!users.verify("nobody", b""));
    }

    #[test]
    fn malformed_lines_are_skipped_and_named() {
        let good = FILE.lines().nth(1).unwrap();
        let hash = good.split('$').nth(4).unwrap();
        let text = format!(
            "nocolon\n:$7$x\nplain:secret\nnone:\n{good}\n{good}\na:$7$x$eQ==${hash}\n\
             b:$7$0$eQ==${hash}\nc:$7$99999$eQ==${hash}\nd:$6$***${hash}\ne:$6$eQ==$eQ==\n\
             f:$6$${hash}\ng:$7$101$eQ==\nh:$argon2id$v=19$m=47104,t=1,p=1$eQ$eQ"
        );
        let (users, skipped) = Users::parse(&text);
        assert_eq!(
            skipped,
            [
                (1, Skipped::NoColon),
                (2, Skipped::NoName),
                (3, Skipped::Scheme),
                (4, Skipped::Scheme),
                (6, Skipped::Duplicate),
                (7, Skipped::Iterations),
                (8, Skipped::Iterations),
                (9, Skipped::Iterations),
                (10, Skipped::Encoding),
                (11, Skipped::Encoding),
                (12, Skipped::Encoding),
                (13, Skipped::Encoding),
                (14, Skipped::Argon2),
            ]
        );
        assert!(skipped.iter().filter(|(_, why)| why.is_fatal()).count() == 1);
        assert!(users.verify("roger", b"sekrit"));
    }

    #[test]
    fn what_is_written_reads_back() {
        for scheme in [Scheme::Sha512, Scheme::Pbkdf2(101), Scheme::Pbkdf2(1)] {
            let hash = Hash::new(scheme, b"pw", b"saltsaltsalt");
            assert_eq!(Hash::parse(&hash.to_string()), Ok(hash.clone()));
            assert!(hash.verify(b"pw") && !hash.verify(b"pW"));
        }
    }

    #[test]
    fn every_check_costs_as_much_as_the_slowest_user() {
        let slow = Hash::new(Scheme::Pbkdf2(500), b"x", b"salt");
        let fast = Hash::new(Scheme::Sha512, b"x", b"salt");
        let (users, _) = Users::parse(&format!("fast:{fast}\nslow:{slow}\n"));
        assert_eq!(users.slowest, 500);
        assert!(users.verify("fast", b"x") && users.verify("slow", b"x"));
        assert_eq!(Users::parse("").0.slowest, ITERATIONS);
    }
}
