//! `bridge remove`: a bridge goes, wherever it comes from.

use super::saved;
use super::words::refused;
use crate::json::Value;
use crate::run::bridges::Source;
use crate::run::control::commands::command::{Command, Outcome};
use crate::run::control::protocol::{Refusal, Request};
use crate::run::reload::Reloadable;

pub(super) const COMMAND: Command = Command {
    name: "bridge remove",
    members: &["name", "save"],
    help: "Removes a bridge; with `save` also the file that `bridge add` has saved, or it comes back with \
           the next reload or start.",
    changes: true,
    run: remove,
};

fn remove(running: &mut Reloadable, request: &Request) -> Result<Outcome, Refusal> {
    let name = request.text("name")?;
    // To find out what would be removed, before anything is.
    let source = running.bridges.source(name).map_err(|e| refused(&e))?;
    let place = saved::found(&running.config.general.control, name);
    let is_from_file = source == Source::File;
    let save = request.flag("save")?;
    if save && place.is_none() && is_from_file {
        return Err(Refusal::new(format!(
            "connection {name} stands in a file that `bridge add --save` has not written: remove it there \
             and send SIGHUP, or leave --save out to be without it until the next reload or start"
        )));
    }
    let removed = running.bridges.remove(name).map_err(|e| refused(&e))?;
    let comes_back = !save && (is_from_file || place.is_some());
    let mut told = vec![
        ("messages".to_owned(), Value::from(removed.messages)),
        ("comes_back".to_owned(), Value::from(comes_back)),
    ];
    let Some(place) = place.filter(|_| save) else {
        return Ok(Outcome::Said(told));
    };
    saved::in_background(move || {
        saved::remove(&place).map_err(|e| {
            Refusal::new(format!(
                "the bridge is gone until the broker reads its configuration again, but its file can't be \
                 removed: {}: {e}",
                place.display()
            ))
        })?;
        told.push(("file".to_owned(), place.display().to_string().into()));
        Ok(told)
    })
}
