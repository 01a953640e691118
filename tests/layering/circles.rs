//! Which files of a room use which, read from their `use` lines and paths, and the circles in that.
//!
//! A file uses another when it imports something from it, or names a path that leads there. What a
//! file re-exports counts for those who use it, not for the file: a `mod.rs` may declare and
//! re-export its children, who use what it defines. An item is looked for where it is defined,
//! through re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module: where it stands in the tree of the crate, such as `["broker", "connect"]`.
type Module = Vec<String>;

/// What the code of a file says about others.
#[derive(Debug, Default)]
struct Code {
    imports: Vec<Import>,
    /// The code without imports.
    rest: String,
}

/// One name of a `use` statement.
#[derive(Debug)]
struct Import {
    path: Vec<String>,
    /// What the name is here; `*` for all names.
    name: String,
    public: bool,
}

/// The circles among the files of a room, each in one line; files come with their code, without
/// comments and tests.
pub(crate) fn find(files: impl Iterator<Item = (PathBuf, String)>) -> Vec<String> {
    let files: BTreeMap<Module, (PathBuf, Code)> = files
        .map(|(path, code)| (module(&path), (path, parse(&without_borders(&code)))))
        .collect();
    let names: Vec<&Module> = files.keys().collect();
    let arrows: Vec<BTreeSet<usize>> = names
        .iter()
        .map(|module| {
            let used = used(module, &files);
            names
                .iter()
                .enumerate()
                .filter(|(_, n)| used.contains(**n))
                .map(|(at, _)| at)
                .collect()
        })
        .collect();
    let label = |at: &usize| files[names[*at]].0.display().to_string();
    circles(&arrows)
        .iter()
        .map(|circle| {
            let arrow = |from: &usize| {
                let to = arrows[*from]
                    .iter()
                    .filter(|to| circle.contains(to))
                    .map(label);
                format!("{} -> {}", label(from), to.collect::<Vec<_>>().join(", "))
            };
            let lines: Vec<String> = circle.iter().map(arrow).collect();
            format!("a circle:\n    {}", lines.join("\n    "))
        })
        .collect()
}

/// The module of a file, by its path below `src`.
fn module(path: &Path) -> Module {
    let mut parts: Module = path
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The code without what uses nothing: the names of modules that it declares, and the paths of
/// `pub(in …)`.
fn without_borders(code: &str) -> String {
    let lines = code.lines().map(|line| {
        let line = match line.split_once("pub(in ") {
            Some((before, after)) => {
                let after = after.split_once(')').map_or("", |(_, after)| after);
                format!("{before}pub(super){after}")
            }
            None => line.to_owned(),
        };
        let item = line.trim_start_matches("pub ").trim_start();
        let declares = item.starts_with("mod ") && item.ends_with(';');
        if declares { String::new() } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Takes the `use` statements out of the code of a file.
fn parse(code: &str) -> Code {
    let mut found = Code::default();
    let mut rest = code;
    while let Some((at, len, public)) = next_use(rest) {
        found.rest += &rest[..at];
        let statement = &rest[at + len..];
        let (tree, after) = statement.split_once(';').unwrap_or((statement, ""));
        expand(&[], tree, public, &mut found.imports);
        rest = after;
    }
    found.rest += rest;
    found
}

/// Where the next `use` statement begins, how long it is up to its tree, and whether it passes its
/// names on.
fn next_use(code: &str) -> Option<(usize, usize, bool)> {
    code.match_indices("use ").find_map(|(at, word)| {
        let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = code[line..at].trim();
        let public = before.starts_with("pub");
        let is_statement = before.is_empty() || (public && !before.contains(char::is_whitespace));
        is_statement.then_some((at, word.len(), public))
    })
}

/// Adds every name of the tree of a `use` statement below `base`.
fn expand(base: &[String], tree: &str, public: bool, out: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let group = group.trim_end().strip_suffix('}').expect("a closed group");
        let mut path = base.to_vec();
        path.extend(
            head.split("::")
                .map(|s| s.trim().to_owned())
                .filter(|s| !s.is_empty()),
        );
        for part in split(group) {
            expand(&path, part, public, out);
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (tree, alias) = match tree.split_once(" as ") {
        Some((tree, alias)) => (tree, Some(alias.trim())),
        None => (tree, None),
    };
    let mut path = base.to_vec();
    path.extend(tree.split("::").map(|segment| segment.trim().to_owned()));
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    let name = alias.map_or(last, str::to_owned);
    out.push(Import { path, name, public });
}

/// The parts of a group, at its own commas.
fn split(group: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

type Files = BTreeMap<Module, (PathBuf, Code)>;

/// The modules that `module` uses, itself left out.
fn used(module: &Module, files: &Files) -> BTreeSet<Module> {
    let code = &files[module].1;
    let mut found = BTreeSet::new();
    for import in &code.imports {
        // A private import is used, or the compiler complains.
        let counts = !import.public || words(&code.rest).any(|word| word == import.name);
        if counts {
            found.extend(resolve(module, &import.path, files, 0));
        }
    }
    for path in paths(&code.rest) {
        let starts = ["crate", "super", "self"].contains(&&*path[0]);
        // An imported module was counted with its import.
        let imported = code.imports.iter().any(|import| import.name == path[0]);
        if starts || !imported {
            found.extend(resolve(module, &path, files, 0));
        }
    }
    found.remove(module);
    found
}

/// Where the path that `from` writes leads, if it is one of the files.
fn resolve(from: &Module, path: &[String], files: &Files, depth: usize) -> Option<Module> {
    let mut at = from.clone();
    let mut segments = path.iter();
    let first = segments.next()?;
    match &**first {
        "crate" => at.clear(),
        "self" => {}
        "super" => {
            at.pop();
        }
        // Another crate, or a name of this module.
        name => at = child(&at, name, files)?,
    }
    for segment in segments {
        if segment == "super" {
            at.pop();
        } else if let Some(below) = child(&at, segment, files) {
            at = below;
        } else {
            let imports = files.get(&at).map(|(_, code)| &code.imports);
            let passed_on = imports
                .into_iter()
                .flatten()
                .find(|import| import.name == *segment);
            return match passed_on {
                // Not one of the files: something of another room.
                Some(import) if depth < 8 => resolve(&at, &import.path, files, depth + 1),
                _ => files.contains_key(&at).then_some(at),
            };
        }
    }
    files.contains_key(&at).then_some(at)
}

/// The module `name` below `at`. A folder may be there without a file of its own.
fn child(at: &Module, name: &str, files: &Files) -> Option<Module> {
    let mut below = at.clone();
    below.push(name.to_owned());
    files
        .keys()
        .any(|module| module.starts_with(&below))
        .then_some(below)
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// The paths in code: names with `::` between them.
fn paths(code: &str) -> Vec<Vec<String>> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.split(|c| !is_path(c))
        .filter(|word| word.contains("::"))
        .map(|word| {
            let segments = word.split(':').filter(|segment| !segment.is_empty());
            segments.map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|path| !path.is_empty())
        .collect()
}

/// The sets of more than one node that can all be reached from each other.
fn circles(arrows: &[BTreeSet<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..arrows.len())
        .map(|start| {
            let mut seen = BTreeSet::new();
            let mut left: Vec<usize> = arrows[start].iter().copied().collect();
            while let Some(node) = left.pop() {
                if seen.insert(node) {
                    left.extend(&arrows[node]);
                }
            }
            seen
        })
        .collect();
    let mut found: Vec<BTreeSet<usize>> = Vec::new();
    for (node, to) in reached.iter().enumerate() {
        let mutual = to
            .iter()
            .copied()
            .filter(|other| reached[*other].contains(&node));
        let circle: BTreeSet<usize> = mutual.collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        find(
            files
                .iter()
                .map(|(path, code)| (path.into(), (*code).to_owned())),
        )
    }

    #[test]
    fn a_parent_may_declare_and_pass_on_and_be_used() {
        let files = [
            ("a/mod.rs", "mod b;\npub use b::{B, C};\npub struct A;"),
            ("a/b.rs", "use super::A;\npub struct B(A);\npub struct C;"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
        let calls = "mod b;\npub use b::B;\npub struct A;\nfn f() { b::g() }";
        assert_eq!(circles_of(&[("a/mod.rs", calls), files[1]]).len(), 1);
        let imports = "mod b;\nuse b::B;\npub struct A;\nfn f(b: B) {}";
        assert_eq!(circles_of(&[("a/mod.rs", imports), files[1]]).len(), 1);
        let mentions = "mod b;\npub use b::B;\npub struct A(B);";
        assert_eq!(circles_of(&[("a/mod.rs", mentions), files[1]]).len(), 1);
    }

    #[test]
    fn a_border_is_no_use() {
        let files = [
            (
                "a/mod.rs",
                "mod b;\nmod c;\npub use b::run as c;\nuse b::B;",
            ),
            ("a/b.rs", "pub(in crate::a) struct B;"),
            ("a/c.rs", "use super::X;"),
        ];
        assert_eq!(circles_of(&files), [""; 0]);
    }

    #[test]
    fn siblings_are_found_through_their_parent() {
        let parent = (
            "a.rs",
            "mod b;\nmod c;\npub(crate) use b::{B as Bee, other};\npub use c::C;",
        );
        let c = ("a/c.rs", "use super::{Bee};\nstruct C;");
        assert_eq!(circles_of(&[parent, ("a/b.rs", "struct B;"), c]), [""; 0]);
        let direct = ("a/b.rs", "fn f() { super::c::g() }");
        let found = circles_of(&[parent, direct, c]);
        assert_eq!(
            found,
            ["a circle:\n    a/b.rs -> a/c.rs\n    a/c.rs -> a/b.rs"]
        );
        let whole = ("a/b.rs", "use crate::{x::{Y, Z}, a::{c::{self, C}}};");
        assert_eq!(circles_of(&[parent, whole, c]).len(), 1);
        let elsewhere = ("a/b.rs", "use crate::{x::{Y, Z}, b::c::C, a};");
        assert_eq!(circles_of(&[parent, elsewhere, c]), [""; 0]);
    }

    #[test]
    fn longer_circles_are_found_whole() {
        let files = [
            ("a/mod.rs", "mod b;\nmod c;\nmod d;"),
            ("a/b.rs", "use super::c::C;"),
            ("a/c/mod.rs", "mod e;\nfn f() { e::g() }"),
            ("a/c/e.rs", "use super::super::d;"),
            ("a/d.rs", "use crate::a::b;"),
        ];
        let found = circles_of(&files);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines().count(), 5, "{found:?}");
    }
}
