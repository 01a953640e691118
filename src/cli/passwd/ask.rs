//! Asking for a password.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Asks twice on a terminal, without echo; else takes one line of standard input.
///
/// `None`: the two differ.
///
/// # Errors
/// As reading and writing a terminal.
pub(super) fn ask() -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return read_line().map(Some);
    }
    let _silence = Silence::begin()?;
    let password = prompt("Password: ")?;
    let again = prompt("Reenter password: ")?;
    Ok((again == password).then_some(password))
}

fn prompt(text: &str) -> io::Result<String> {
    let mut out = io::stderr();
    write!(out, "{text}").and_then(|()| out.flush())?;
    let line = read_line()?;
    writeln!(out)?;
    Ok(line)
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// The terminal without echo, until dropped. Keys don't send signals either, so that none can end
/// the process before the echo is back.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Silence> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        termios::tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Silence(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
