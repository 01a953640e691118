//! Reading a file into a [`Config`].

use std::path::{Path, PathBuf};

use super::draft::{Draft, Open, Place};
use super::keys::{self, Class, Section};
use super::value::Value;
use super::{Config, Env, Errors, Kind};

/// A configuration and what the log must say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// One line for each directive that is accepted without doing what it does elsewhere: what
    /// happens instead.
    pub notes: Vec<String>,
}

impl Config {
    /// Reads the file at `path` and what its `include_dir` lines name.
    ///
    /// # Errors
    /// Everything wrong in all the files, not only the first thing.
    pub fn load(path: &Path, env: &Env) -> Result<Loaded, Errors> {
        let mut draft = Draft::new(env);
        read_file(&mut draft, path, Depth::Main);
        finish(draft)
    }

    /// Reads `text`; errors name it `file`.
    ///
    /// # Errors
    /// Everything wrong, not only the first thing.
    pub fn parse(text: &str, file: &str, env: &Env) -> Result<Loaded, Errors> {
        let mut draft = Draft::new(env);
        read_text(&mut draft, text, file, Depth::Main);
        finish(draft)
    }
}

/// Only the main file may include.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Main,
    Included,
}

fn finish(mut draft: Draft<'_>) -> Result<Loaded, Errors> {
    let config = draft.finish();
    if draft.errors.is_empty() {
        let notes = draft.notes;
        Ok(Loaded { config, notes })
    } else {
        Err(Errors(draft.errors))
    }
}

fn read_file(draft: &mut Draft<'_>, path: &Path, depth: Depth) {
    let file = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            draft.place = Place { file, line: 0 };
            return draft.fail("", Kind::Unreadable(error.to_string()));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => read_text(draft, text, &file, depth),
        Err(error) => {
            let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
            draft.place = Place { file, line };
            draft.fail("", Kind::NotUtf8);
        }
    }
}

/// Reads the lines of one file. As in Mosquitto, sections end with their file.
fn read_text(draft: &mut Draft<'_>, text: &str, file: &str, depth: Depth) {
    draft.open = Open::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        draft.place = Place {
            file: file.to_owned(),
            line: n + 1,
        };
        let (directive, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let result = read_line(draft, directive, value.trim());
        if let Err(kind) = result {
            draft.fail(directive, kind);
        }
        if let Some(dir) = draft.include.take() {
            include(draft, &dir, depth);
        }
    }
}

fn read_line(draft: &mut Draft<'_>, directive: &str, value: &str) -> Result<(), Kind> {
    let Some(key) = keys::find(directive) else {
        return Err(Kind::Unknown(keys::nearest(directive)));
    };
    if key.section == Section::Bridge && key.name != "connection" {
        draft.bridge()?;
    }
    if key.harmless.iter().any(|h| h.eq_ignore_ascii_case(value)) {
        return Ok(());
    }
    match key.class {
        Class::Implemented(parse) => {
            let value = draft.env.expand(value)?;
            parse(draft, Value(&value))
        }
        Class::Accepted => {
            draft.note(directive, key.help);
            Ok(())
        }
        Class::Refused(cure) => Err(Kind::Refused(key.help, cure)),
        Class::Later(cure) => Err(Kind::Later(cure)),
    }
}

/// Reads every `*.conf` of `dir`, then goes on where the including file was.
fn include(draft: &mut Draft<'_>, dir: &Path, depth: Depth) {
    if depth == Depth::Included {
        return draft.fail("include_dir", Kind::NestedInclude);
    }
    let files = match config_files(dir) {
        Ok(files) => files,
        Err(error) => {
            let why = format!("{}: {error}", dir.display());
            return draft.fail("include_dir", Kind::Unreadable(why));
        }
    };
    let place = draft.place.clone();
    let open = draft.open;
    for file in files {
        read_file(draft, &file, Depth::Included);
    }
    draft.place = place;
    draft.open = open;
}

/// The `*.conf` files of `dir`: by letter, and of one letter upper case first (mosquitto.conf(5)).
fn config_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "conf") {
            files.push(path);
        }
    }
    files.sort_by_cached_key(|path| {
        let name = path.as_os_str().as_encoded_bytes();
        (name.to_ascii_lowercase(), name.to_vec())
    });
    Ok(files)
}
