//! The architecture, checked from the source: which layer may use which, who may name sockets,
//! clocks and redb, what 32-bit boards don't have, that the files of a room use each other in no circle,
//! how many stand side by side and how long each may be.
//!
//! A room is a folder of `src` with what belongs to it: `src/broker`, or `src/run.rs` and `src/run`.

#[path = "layering/boards.rs"]
mod boards;
#[path = "layering/circles.rs"]
mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The layers from the bottom up. A module uses only modules of lower layers, never a neighbour
/// on its own layer, unless [`NEIGHBOURS`] says so.
const LAYERS: &[&[&str]] = &[
    &["impossible", "keys", "held", "json", "files"],
    &["mqtt", "time"],
    &["message", "lane"],
    &["owed"],
    &["config", "store", "route"],
    &["auth", "session", "bridge", "tls"],
    &["broker", "import"],
    &["status"],
    &["net"],
    &["run", "cli"],
    &["main", "lib"],
];

/// Uses between neighbours that the design wants: (from, to).
const NEIGHBOURS: &[(&str, &str)] = &[("cli", "run")];

/// Who may name what; everyone else may not.
const RESERVED: &[(&[&str], &[&str])] = &[
    (
        &[
            "std::net",
            "socket2",
            "Instant::now",
            "SystemTime",
            "UnixStream",
            "UnixListener",
            "UnixDatagram",
        ],
        &["net", "run", "cli"],
    ),
    (&["redb"], &["store"]),
    // They panic where nobody reads: cli::put and cli::complain don't.
    (&["print!", "println!", "eprint!", "eprintln!"], &[]),
];

/// The most lines a file may have.
const MAX_LINES: usize = 500;

/// The most files side by side in one folder of `src`, tests left out.
const MAX_FILES: usize = 13;

/// A source file below a folder, with what matters of its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The layer's module: `broker` for src/broker/connect.rs, `run` for src/run.rs.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix(root().join("src")).expect("in src");
        let first = below.iter().next().and_then(|p| p.to_str()).expect("utf-8");
        first.trim_end_matches(".rs")
    }

    /// Whether this is a test module in a file of its own.
    fn is_test(&self) -> bool {
        let mut names = self.path.iter().filter_map(|part| part.to_str());
        names.any(|name| name.trim_end_matches(".rs").ends_with("tests"))
    }

    /// Line numbers and code without comments, up to the test module that ends the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests {");
        self.text[..end.unwrap_or(self.text.len())]
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
            .filter(|(_, line)| !line.trim().is_empty())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The product's own source.
fn product() -> impl Iterator<Item = Source> {
    files("src", &[".rs"])
        .into_iter()
        .filter(|source| !source.is_test())
}

/// All files below a folder whose name ends in one of `ends`.
fn files(folder: &str, ends: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).expect("utf-8");
            if path.is_dir() {
                if ![
                    ".venv",
                    "target",
                    "corpus",
                    "artifacts",
                    "__pycache__",
                    "node_modules",
                ]
                .contains(&name)
                {
                    folders.push(path);
                }
            } else if ends.iter().any(|end| name.ends_with(end)) {
                let text = fs::read_to_string(&path).expect("a text file");
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a line of code names after `crate::`, also in `use crate::{a, b::c}`.
fn uses(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            for part in group.split_inclusive([',', '{', '}']) {
                let name = part.trim().split(|c| !is_name(c)).next().unwrap_or("");
                if depth == 0 && !name.is_empty() {
                    found.push(name);
                }
                depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            }
        } else {
            found.push(rest.split(|c| !is_name(c)).next().unwrap_or(""));
        }
    }
    found.retain(|name| layer(name).is_some());
    found
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn arrows_point_down() {
    let mut complaints = Vec::new();
    for source in product() {
        let from = source.module();
        let Some(height) = layer(from) else {
            complaints.push(format!("{}: no layer for {from}", source.path.display()));
            continue;
        };
        for (number, line) in source.code() {
            for to in uses(line) {
                let allowed = to == from
                    || layer(to).is_some_and(|below| below < height)
                    || NEIGHBOURS.contains(&(from, to));
                if !allowed {
                    let path = source.path.display();
                    complaints.push(format!("{path}:{number}: {from} uses {to}"));
                }
            }
        }
    }
    report(&complaints);
}

#[test]
fn sockets_clocks_and_redb_stay_where_they_belong() {
    let mut complaints = Vec::new();
    for source in product() {
        for (number, line) in source.code() {
            for (names, modules) in RESERVED {
                for name in names.iter().filter(|name| mentions(line, name)) {
                    if !modules.contains(&source.module()) {
                        let path = source.path.display();
                        complaints.push(format!("{path}:{number}: {name} outside {modules:?}"));
                    }
                }
            }
        }
    }
    report(&complaints);
}

/// The files with unsafe code.
const UNSAFE: [&str; 3] = [
    "src/net/channel/low_water.rs",
    "src/net/channel/untaken.rs",
    "src/net/turn/heap/glibc.rs",
];

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let known = UNSAFE.map(|file| root().join(file));
    let mut complaints = Vec::new();
    for source in product() {
        for (number, line) in source.code() {
            let is_lint =
                ["#![deny(unsafe_code)]", "#![forbid(unsafe_code)]"].contains(&line.trim());
            let found = mentions(line, "unsafe") || mentions(line, "unsafe_code");
            if found && !is_lint && !known.contains(&source.path) {
                complaints.push(format!("{}:{number}: unsafe code", source.path.display()));
            }
        }
    }
    report(&complaints);
}

/// Whether a line has the name as a word of its own.
fn mentions(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        !line[..at].ends_with(is_word) && !line[at + name.len()..].starts_with(is_word)
    })
}

#[test]
fn files_stay_short() {
    let sources = ["src", "tests"].map(|folder| files(folder, &[".rs", ".py"]));
    let complaints: Vec<String> = sources
        .iter()
        .flatten()
        .map(|source| (source.path.display(), source.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines, at most {MAX_LINES}"))
        .collect();
    report(&complaints);
}

#[test]
fn files_of_a_room_use_each_other_in_no_circle() {
    let mut rooms: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for source in product() {
        rooms
            .entry(source.module().to_owned())
            .or_default()
            .push(source);
    }
    let mut complaints = Vec::new();
    for sources in rooms.into_values() {
        let files = sources.iter().map(|source| {
            let path = source.path.strip_prefix(root().join("src"));
            let code: Vec<&str> = source.code().map(|(_, line)| line).collect();
            (path.expect("in src").to_owned(), code.join("\n"))
        });
        complaints.extend(circles::find(files));
    }
    report(&complaints);
}

#[test]
fn folders_are_not_crowded() {
    let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for source in product() {
        let folder = source.path.parent().expect("a folder");
        let folder = folder.strip_prefix(root().join("src")).expect("in src");
        *counts.entry(folder.to_owned()).or_default() += 1;
    }
    let mut complaints = Vec::new();
    for (folder, count) in counts {
        if count > MAX_FILES {
            let path = folder.display();
            complaints.push(format!("src/{path}: {count} files, at most {MAX_FILES}"));
        }
    }
    report(&complaints);
}

/// What `cargo tree` says of the crates that we ship, one a line.
fn crates(arguments: &[&str]) -> String {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none"])
        .args(arguments)
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .expect("cargo tree runs");
    let crates = String::from_utf8_lossy(&tree.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "cargo tree: {complaint}");
    assert!(crates.contains("redb"), "not the tree of footbridge");
    crates
}

/// footbridge is small and single-threaded; a dependency that brings tokio would end both.
#[test]
fn no_tokio_in_what_we_ship() {
    let crates = crates(&["--edges", "normal,build"]);
    assert!(
        !crates.lines().any(|line| line.starts_with("tokio ")),
        "{crates}"
    );
}

#[test]
fn nothing_needs_what_small_boards_do_not_have() {
    let mut complaints = Vec::new();
    for source in files("src", &[".rs"]) {
        let path = source.path.strip_prefix(root()).expect("in the folder");
        complaints.extend(boards::complaints(path, &source.text));
    }
    let crates = crates(&["--edges", "normal,features"]);
    assert!(crates.contains("rustix feature"), "no features: {crates}");
    complaints.extend(boards::features(&crates));
    report(&complaints);
}

#[test]
fn the_reader_of_use_lines_sees_all_forms() {
    assert_eq!(uses("use crate::mqtt::{Packet, store};"), ["mqtt"]);
    assert_eq!(
        uses("use crate::{mqtt::{Packet, time}, store, Nothing};"),
        ["mqtt", "store"]
    );
    assert_eq!(
        uses("let t = crate::time::Time(crate::net::now());"),
        ["time", "net"]
    );
    assert!(mentions("use redb::Database;", "redb"));
    assert!(!mentions("credbury", "redb"));
}
