//! A question before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::cli::Error;

/// Asks whether that is to be done.
///
/// # Errors
/// It is not, or there is nobody to ask.
pub(in crate::cli) fn confirmed(what: &str) -> Result<(), Error> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::Usage(format!(
            "{what} Nobody can be asked here: --yes does it."
        )));
    }
    let unread = |e| Error::Read("the answer".to_owned(), e);
    let mut answer = String::new();
    let mut out = io::stderr();
    write!(out, "{what} Go on? [y/N] ").map_err(Error::Write)?;
    out.flush().map_err(Error::Write)?;
    stdin.lock().read_line(&mut answer).map_err(unread)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Usage("Nothing was done.".to_owned())),
    }
}
