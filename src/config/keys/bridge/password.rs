//! Passwords of bridges that are not, or need not be, in the configuration.

use super::super::key::Section::Bridge as S;
use super::super::key::Unset::Means;
use super::super::key::{Key, accepted, implemented};
use crate::config::Kind;

pub(in crate::config::keys) const KEYS: &[Key] = &[
    accepted(
        S,
        "local_password",
        "TEXT",
        "the bridge is part of the broker and needs no password here; Mosquitto checks none either",
    ),
    implemented(
        S,
        "remote_password_file",
        "FILE",
        Means("none"),
        "The file that holds the password towards the upstream; needs remote_username.",
        "It is read at each connect, so that a token (SAS, JWT) may be put there by cron: write a new file \
         and rename it. A newline at the end does not belong to the password; 65535 bytes at most. With \
         `user` it must be readable for that user. A connection that is up goes on with the \
         password that it was made with. Not beside remote_password or remote_password_command. footbridge's own.",
        |draft, v| {
            draft.bridge()?.bridge.remote_password_file = Some(v.path()?);
            Ok(())
        },
    ),
    implemented(
        S,
        "remote_password_command",
        "PROGRAM [ARGUMENT...]",
        Means("none"),
        "The program that writes the password towards the upstream; needs remote_username.",
        "It is run at each connect, and what it writes to its standard output is the password, but for a \
         newline at the end; 65535 bytes at most. It is run without a shell: words end at blanks, and \
         quotes, variables and pipes mean nothing; for more, name a script. It runs as who the broker \
         is, with no input, can't gain rights (sudo), and what it writes to standard error goes nowhere. After \
         10 seconds it is killed. If it fails, or ends with another status than 0, the log and the status \
         say so, never what it wrote, and the bridge tries again later. Not beside remote_password or \
         remote_password_file. footbridge's own.",
        |draft, v| {
            let words: Vec<String> = v
                .text()?
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect();
            if words.is_empty() {
                return Err(Kind::NoValue("a program".to_owned()));
            }
            draft.bridge()?.bridge.remote_password_command = Some(words);
            Ok(())
        },
    ),
];
