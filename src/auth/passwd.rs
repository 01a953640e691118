//! Password files: the lines that `footbridge passwd` and mosquitto_passwd(1) write.
//!
//! `USER:$7$ITERATIONS$SALT$HASH` is PBKDF2 with HMAC-SHA-512, `USER:$6$SALT$HASH` one SHA-512
//! over password and salt; salt and hash in base64. `USER:$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH`
//! is Argon2id (RFC 9106), in base64 without padding. A plain-text password is not accepted.

use std::collections::HashMap;
use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha512};

/// The iterations of a new `$7$` hash, as in mosquitto_passwd(1).
pub const ITERATIONS: u32 = 101;

/// The most iterations that a line may ask for, which takes on the order of a second on a PC, and ten
/// on a small router. Anyone who connects can ask for a hash, and who logs in waits for it. A line with
/// more is skipped, like a malformed one.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The most memory that an Argon2 hash may take, in KiB, whatever there is.
pub const MAX_MEMORY: u32 = 128 * 1024;

/// Memory times passes of an Argon2 hash, at most, in KiB: seconds on a PC.
const MAX_FILLED: u32 = 1024 * 1024;

/// A new Argon2 hash takes 7 MB, so that it can be checked on a small box.
pub const ARGON2: Cost = Cost {
    kib: 7 * 1024,
    passes: 5,
    lanes: 1,
};

/// Bytes of salt in a new line.
pub const SALT_BYTES: usize = 12;

const HASH_BYTES: usize = 64;

/// The users of a password file.
#[derive(Clone, Debug)]
pub struct Users {
    users: HashMap<String, Hash>,
    /// How the slowest user's is hashed. Every check takes as long, so that its time doesn't tell which
    /// names exist.
    slowest: Scheme,
}

/// What an Argon2 hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    kib: u32,
    /// How often it is filled.
    passes: u32,
    lanes: u32,
}

/// How a password is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `$6$`.
    Sha512,
    /// `$7$`, with its iterations.
    Pbkdf2(u32),
    /// `$argon2id$`.
    Argon2(Cost),
}

/// A hash with what it takes to make it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    scheme: Scheme,
    salt: Vec<u8>,
    hash: Box<[u8]>,
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
    /// Neither `$6$` nor `$7$` nor `$argon2id$`.
    Scheme,
    /// An Argon2 hash of a kind or at a cost that can't be checked: the user would be locked out.
    Argon2,
    /// An Argon2 hash that takes more memory, in KiB, than it may: the first more than the second.
    Memory(u32, u32),
    /// The iterations are not a number from 1 to [`MAX_ITERATIONS`].
    Iterations,
    /// Salt or hash is not base64 of the right length.
    Encoding,
}

impl Skipped {
    /// True if the line is sound, and means something that would not be done without it.
    pub fn is_fatal(self) -> bool {
        matches!(self, Skipped::Argon2 | Skipped::Memory(..))
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skipped::NoColon => f.write_str("no `:` between user name and password hash"),
            Skipped::NoName => f.write_str("no user name"),
            Skipped::Duplicate => f.write_str("the user has a line already"),
            Skipped::Scheme => f.write_str(
                "none of the password hashes $6$, $7$ and $argon2id$; `footbridge passwd` writes one, and with \
                 -U hashes plain passwords",
            ),
            Skipped::Argon2 => write!(
                f,
                "a password hash by Argon2 that can't be checked: only $argon2id$v=19$ is, with at most \
                 {MAX_FILLED} for m times t and 16 for p; set the password again with `footbridge passwd`"
            ),
            Skipped::Memory(kib, most) => write!(
                f,
                "to check this password takes {kib} KB of memory, and it may take {most} (memory_limit, \
                 or {MAX_MEMORY} at most); raise memory_limit, or set the password again with \
                 `footbridge passwd`"
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
        Users::parse_within(text, MAX_MEMORY)
    }

    /// As [`Users::parse`], where a check may take so much memory, in KiB.
    pub fn parse_within(text: &str, most: u32) -> (Users, Vec<(usize, Skipped)>) {
        let mut users: HashMap<String, Hash> = HashMap::new();
        let mut skipped = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            match entry(line).and_then(|(name, hash)| Ok((name, hash.within(most)?))) {
                Ok((name, _)) if users.contains_key(name) => {
                    skipped.push((n + 1, Skipped::Duplicate));
                }
                Ok((name, hash)) => {
                    users.insert(name.to_owned(), hash);
                }
                Err(why) => skipped.push((n + 1, why)),
            }
        }
        let schemes = users.values().map(|hash| hash.scheme);
        let slowest = schemes.max_by_key(|scheme| scheme.cost());
        let slowest = slowest.unwrap_or(Scheme::Pbkdf2(ITERATIONS));
        (Users { users, slowest }, skipped)
    }

    /// Whether `name` is a user.
    pub fn has(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// Whether `name` is a user of both files, with the same hash.
    pub fn has_same(&self, other: &Users, name: &str) -> bool {
        let hash = self.users.get(name);
        hash.is_some_and(|hash| other.users.get(name) == Some(hash))
    }

    /// Whether `name` is a user with this password. Takes as long for a name that isn't. An empty
    /// password is nobody's, whatever the hash says, as in Mosquitto.
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        if password.is_empty() {
            return false;
        }
        let known = self.users.get(name);
        let done = known.map_or(0, |hash| hash.scheme.cost());
        let missing = self.slowest.cost().saturating_sub(done);
        if missing > 0 {
            let missing = match self.slowest {
                Scheme::Pbkdf2(_) => Scheme::Pbkdf2(missing),
                scheme => scheme,
            };
            std::hint::black_box(missing.hash(password, &[0; SALT_BYTES], HASH_BYTES));
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
    /// In iterations of PBKDF2, about; 0 for `$6$`: next to nothing.
    fn cost(self) -> u32 {
        match self {
            Scheme::Sha512 => 0,
            Scheme::Pbkdf2(iterations) => iterations,
            Scheme::Argon2(cost) => cost.kib.saturating_mul(cost.passes),
        }
    }

    /// The hash, of `len` bytes, which only Argon2 has a choice of. Empty where there is no memory for it.
    fn hash(self, password: &[u8], salt: &[u8], len: usize) -> Box<[u8]> {
        match self {
            Scheme::Sha512 => {
                let hash = Sha512::new().chain_update(password).chain_update(salt);
                hash.finalize().as_slice().into()
            }
            Scheme::Pbkdf2(iterations) => {
                let hash =
                    pbkdf2::pbkdf2_hmac_array::<Sha512, HASH_BYTES>(password, salt, iterations);
                hash.as_slice().into()
            }
            Scheme::Argon2(cost) => cost.hash(password, salt, len).unwrap_or_default(),
        }
    }
}

impl Cost {
    /// Reads `m=KIB,t=PASSES,p=LANES`.
    fn parse(text: &str) -> Option<Cost> {
        let mut fields = text.split(',');
        let mut number = |name: &str| {
            let value = fields.next()?.strip_prefix(name)?;
            value.parse().ok()
        };
        let cost = Cost {
            kib: number("m=")?,
            passes: number("t=")?,
            lanes: number("p=")?,
        };
        let is_bounded = (1..=16).contains(&cost.lanes)
            && cost
                .kib
                .checked_mul(cost.passes)
                .is_some_and(|kib| kib <= MAX_FILLED);
        (fields.next().is_none() && is_bounded && cost.params(HASH_BYTES).is_some()).then_some(cost)
    }

    fn params(self, len: usize) -> Option<Params> {
        Params::new(self.kib, self.passes, self.lanes, Some(len)).ok()
    }

    fn hash(self, password: &[u8], salt: &[u8], len: usize) -> Option<Box<[u8]>> {
        let params = self.params(len)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(params.block_count()).ok()?;
        memory.resize(params.block_count(), argon2::Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hash = vec![0; len];
        let done = argon2.hash_password_into_with_memory(password, salt, &mut hash, &mut memory);
        done.ok().map(|()| hash.into_boxed_slice())
    }
}

impl Hash {
    /// The hash of `password` with `salt`, which has 8 bytes at least.
    pub fn new(scheme: Scheme, password: &[u8], salt: &[u8]) -> Hash {
        Hash {
            scheme,
            salt: salt.to_owned(),
            hash: scheme.hash(password, salt, HASH_BYTES),
        }
    }

    /// Reads `$6$SALT$HASH`, `$7$ITERATIONS$SALT$HASH` or `$argon2id$v=19$COST$SALT$HASH`.
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
            ["", "argon2id", "v=19", cost, salt, hash] => {
                let cost = Cost::parse(cost).ok_or(Skipped::Argon2)?;
                (Scheme::Argon2(cost), salt, hash)
            }
            ["", name, ..] if name.starts_with("argon2") => return Err(Skipped::Argon2),
            _ => return Err(Skipped::Scheme),
        };
        let is_argon2 = matches!(scheme, Scheme::Argon2(_));
        let engine = if is_argon2 { STANDARD_NO_PAD } else { STANDARD };
        let bytes = |field| engine.decode(field).map_err(|_| Skipped::Encoding);
        let (salt, hash) = (bytes(salt)?, bytes(hash)?);
        let is_right = if is_argon2 {
            (8..=64).contains(&salt.len()) && (16..=64).contains(&hash.len())
        } else {
            !salt.is_empty() && hash.len() == HASH_BYTES
        };
        let hash = hash.into_boxed_slice();
        is_right
            .then_some(Hash { scheme, salt, hash })
            .ok_or(Skipped::Encoding)
    }

    /// Itself, if to check it takes no more than so much memory, in KiB.
    fn within(self, most: u32) -> Result<Hash, Skipped> {
        match self.scheme {
            Scheme::Argon2(cost) if cost.kib > most => Err(Skipped::Memory(cost.kib, most)),
            _ => Ok(self),
        }
    }

    /// Whether `password` has this hash, without telling by time how much of it fits.
    pub fn verify(&self, password: &[u8]) -> bool {
        let hash = self.scheme.hash(password, &self.salt, self.hash.len());
        let differ = self.hash.iter().zip(&hash);
        let differ = differ.fold(0, |differ, (a, b)| differ | (a ^ b));
        std::hint::black_box(differ) == 0 && hash.len() == self.hash.len()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Sha512 => f.write_str("$6$")?,
            Scheme::Pbkdf2(iterations) => write!(f, "$7${iterations}$")?,
            Scheme::Argon2(Cost { kib, passes, lanes }) => {
                write!(f, "$argon2id$v=19$m={kib},t={passes},p={lanes}$")?;
            }
        }
        let engine = match self.scheme {
            Scheme::Argon2(_) => STANDARD_NO_PAD,
            _ => STANDARD,
        };
        let (salt, hash) = (engine.encode(&self.salt), engine.encode(&self.hash));
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
             b:$7$0$eQ==${hash}\nc:$7$1000001$eQ==${hash}\nd:$6$***${hash}\ne:$6$eQ==$eQ==\n\
             f:$6$${hash}\ng:$7$101$eQ==\nh:$argon2i$v=19$m=47104,t=1,p=1$eQ$eQ"
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
        let argon2 = Scheme::Argon2(ARGON2);
        for scheme in [
            Scheme::Sha512,
            Scheme::Pbkdf2(101),
            Scheme::Pbkdf2(1),
            argon2,
        ] {
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
        assert_eq!(users.slowest, Scheme::Pbkdf2(500));
        assert!(users.verify("fast", b"x") && users.verify("slow", b"x"));
        let none = Users::parse("").0.slowest;
        assert_eq!(none, Scheme::Pbkdf2(ITERATIONS));
        let argon2 = Hash::new(Scheme::Argon2(SMALL), b"x", b"saltsalt");
        let (users, _) = Users::parse(&format!("slow:{slow}\nslower:{argon2}\n"));
        assert_eq!(users.slowest, Scheme::Argon2(SMALL));
        assert!(users.verify("slow", b"x") && users.verify("slower", b"x"));
        assert!(!users.verify("nobody", b"x"));
    }

    const SMALL: Cost = Cost {
        kib: 1024,
        passes: 2,
        lanes: 1,
    };

    /// Written by the reference implementation, libargon2; the first at what Mosquitto 2.1 asks for.
    const ARGON2_LINES: &str = "\
$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$15J6hNarmhNT+KF29IaNXX+AYc+1gxcvRc/Ymd+G5XkXpT4o/6gwAYGs0nLrtZUqfN3s0XMDjnEMMTd+RS387Q
$argon2id$v=19$m=65536,t=3,p=4$AAECAwQFBgcICQoLDA0ODw$OZJSBPXc4gK32j6H6d9te2Jw/1XT/AGdY8fth8we4S4
$argon2id$v=19$m=1024,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$MlNYrL8/YRx6ZMlnVVmHwe1Sexb0uY0xWeoA85yuBVg";

    #[test]
    fn argon2_hashes_of_the_reference_verify() {
        for line in ARGON2_LINES.lines() {
            let hash = Hash::parse(line).unwrap();
            assert!(hash.verify(b"sekrit") && !hash.verify(b"sekriT"), "{line}");
            assert_eq!(hash.to_string(), line);
        }
    }

    /// A file can't ask for the memory of the box, nor for minutes.
    #[test]
    fn what_argon2_costs_is_bounded() {
        let line = |cost: &str| {
            let hash = Hash::new(Scheme::Argon2(SMALL), b"x", b"saltsalt").to_string();
            format!("u:{}\n", hash.replace("m=1024,t=2,p=1", cost))
        };
        let skipped = |cost: &str, most| Users::parse_within(&line(cost), most).1;
        assert_eq!(skipped("m=47104,t=1,p=1", MAX_MEMORY), []);
        let large = Skipped::Memory(47_104, 16_384);
        assert_eq!(skipped("m=47104,t=1,p=1", 16_384), [(1, large)]);
        assert!(large.is_fatal() && large.to_string().contains("47104 KB"));
        for cost in [
            "m=4294967295,t=1,p=1",
            "m=1024,t=1025,p=1",
            "m=1024,t=4294967295,p=1",
            "m=1024,t=2,p=17",
            "m=1024,t=2,p=0",
            "m=7,t=2,p=1",
            "m=1024,t=0,p=1",
            "m=1024,t=2",
            "m=1024,t=2,p=1,data=x",
            "t=2,m=1024,p=1",
        ] {
            assert_eq!(skipped(cost, MAX_MEMORY), [(1, Skipped::Argon2)], "{cost}");
        }
    }
}
