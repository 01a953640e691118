//! `bridge add`: one more bridge, from a `connection` section.

use std::path::PathBuf;

use super::saved;
use super::words::refused;
use crate::config::{Bridge, Config, Env, Reading};
use crate::json::Value;
use crate::run::bridges::control::Error;
use crate::run::control::commands::command::{Command, Outcome};
use crate::run::control::protocol::{Refusal, Request};
use crate::run::reload::Reloadable;
use crate::run::{loops, options};

pub(super) const COMMAND: Command = Command {
    name: "bridge add",
    members: &["section", "file", "save"],
    help: "Adds a bridge, from a `connection` section, which errors call `file`; with `save` also to the \
           first include_dir, for the next start.",
    changes: true,
    run: add,
};

fn add(running: &mut Reloadable, request: &Request) -> Result<Outcome, Refusal> {
    let section = request.text("section")?;
    let file = match request.text("file") {
        Ok(file) => file,
        Err(_) if !request.has("file") => "section",
        Err(refusal) => return Err(refusal),
    };
    let (spec, notes) = Bridge::parse(section, file, &Env::system())
        .map_err(|errors| Refusal::new(errors.to_string()))?;
    let name = spec.name.clone();
    let config = &running.config;
    let alone = Config {
        bridges: vec![spec.clone()],
        ..config.clone()
    };
    let looped = loops::find(&alone, &running.options.ports, &loops::Literally);
    if !looped.is_empty() {
        return Err(Refusal::new(looped.join("\n")));
    }
    let place = if request.flag("save")? {
        Some(place_in_next_start(running, &spec)?)
    } else {
        None
    };
    running.bridges.add(spec).map_err(|e| refused(&e))?;
    for note in &notes {
        log::warn!("{note}");
    }
    let notes = notes.into_iter().map(Value::from).collect();
    let mut told = vec![
        ("name".to_owned(), Value::from(name)),
        ("notes".to_owned(), Value::List(notes)),
    ];
    let Some(place) = place else {
        return Ok(Outcome::Said(told));
    };
    let section = section.to_owned();
    saved::in_background(move || {
        saved::write(&place, &section).map_err(|e| {
            Refusal::new(format!(
                "the bridge runs until the broker stops, but can't be saved: {}: {e}; the broker's user \
                 must have the right to write there",
                place.display()
            ))
        })?;
        told.push(("file".to_owned(), place.display().to_string().into()));
        Ok(told)
    })
}

/// Where `spec` can be saved so that the next start is not in vain: that reads the configuration as it is on
/// disk, which has bridges that were removed, or not loaded yet.
fn place_in_next_start(running: &Reloadable, spec: &Bridge) -> Result<PathBuf, Refusal> {
    let cannot = |why: &dyn std::fmt::Display| {
        Refusal::new(format!(
            "can't be saved: the next start reads the configuration as it is on disk, and {why}"
        ))
    };
    let (on_disk, _) = options::load(&running.options, Reading::Again)
        .map_err(|e| cannot(&format_args!("there is a mistake in it: {e}")))?;
    let place = saved::new_place(&on_disk.general.control, &spec.name)?;
    let clashes = spec.clashes(on_disk.bridges.iter());
    if !clashes.is_empty() {
        let clash = Error::Clashes(spec.name.clone(), clashes);
        return Err(cannot(&format_args!(
            "this one can't be beside those there: {clash}; change it there and send SIGHUP"
        )));
    }
    Ok(place)
}
