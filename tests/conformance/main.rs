//! The normative statements of both specifications and the tests that show them: that none is
//! missing from the tables beside this file, and that every test they name exists.

use std::fs;
use std::path::{Path, PathBuf};

/// A specification.
struct Standard {
    /// Its table.
    file: &'static str,
    /// How many statements its appendix B lists, by chapter: a table that has lost some is not
    /// a shorter standard.
    chapters: &'static [(u32, usize)],
    /// Numbers that it leaves out.
    gaps: &'static [Id],
}

/// `[MQTT-3.1.2-10]` as [3, 1, 2, 10].
type Id = [u32; 4];

const STANDARDS: [Standard; 2] = [
    Standard {
        file: "mqtt-3.1.1.txt",
        chapters: &[(1, 3), (2, 9), (3, 95), (4, 26), (6, 4), (7, 4)],
        gaps: &[],
    },
    Standard {
        file: "mqtt-5.0.txt",
        chapters: &[(1, 5), (2, 7), (3, 175), (4, 60), (6, 4)],
        gaps: &[[2, 2, 1, 1]],
    },
];

/// A line of a table.
#[derive(Clone)]
struct Row<'a> {
    id: Id,
    /// The tests, or why there are none.
    proof: &'a str,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}

/// The rows of a table; lines that are none are complained of.
fn rows<'a>(table: &'a str, complaints: &mut Vec<String>) -> Vec<Row<'a>> {
    let lines = table
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut rows = Vec::new();
    for line in lines {
        match row(line) {
            Some(row) => rows.push(row),
            None => complaints.push(format!("not a row: {line}")),
        }
    }
    rows
}

fn row(line: &str) -> Option<Row<'_>> {
    let (id, rest) = line.strip_prefix("[MQTT-")?.split_once("] ")?;
    let numbers = id.split(['.', '-']).map(str::parse);
    let id: Vec<u32> = numbers.collect::<Result<_, _>>().ok()?;
    let [who, words, proof] = rest.split(" | ").collect::<Vec<_>>().try_into().ok()?;
    let known = ["server", "client", "both"].contains(&who);
    (known && !words.is_empty()).then_some(Row {
        id: id.try_into().ok()?,
        proof,
    })
}

/// Complains of statements that are missing, listed twice or out of order.
fn check_ids(rows: &[Row<'_>], standard: &Standard, complaints: &mut Vec<String>) {
    for pair in rows.windows(2) {
        let (before, id) = (pair[0].id, pair[1].id);
        if id <= before {
            complaints.push(format!("{id:?} after {before:?}"));
        }
    }
    for Row { id, .. } in rows {
        let [.., number] = *id;
        for missing in (1..number).map(|n| [id[0], id[1], id[2], n]) {
            let listed = rows.iter().any(|row| row.id == missing);
            if !listed && !standard.gaps.contains(&missing) {
                complaints.push(format!("{missing:?} is missing"));
            }
        }
    }
    for (chapter, statements) in standard.chapters {
        let listed = rows.iter().filter(|row| row.id[0] == *chapter).count();
        if listed != *statements {
            complaints.push(format!("chapter {chapter}: {listed} of {statements}"));
        }
    }
    let total: usize = standard.chapters.iter().map(|(_, n)| n).sum();
    if rows.len() != total {
        complaints.push(format!("{} statements, not {total}", rows.len()));
    }
}

/// Complains of a row that has neither a reason nor tests that exist.
fn check_proof(row: &Row<'_>, complaints: &mut Vec<String>) {
    let id = row.id;
    if let Some(reason) = row.proof.strip_prefix("none: ") {
        if reason.is_empty() {
            complaints.push(format!("{id:?} has no reason"));
        }
        return;
    }
    if row.proof.starts_with("todo") {
        return complaints.push(format!("{id:?} is {}", row.proof));
    }
    for test in row.proof.split("; ").filter(|test| !exists(test)) {
        complaints.push(format!("{id:?}: there is no test {test:?}"));
    }
}

/// Whether there is a test of this name.
fn exists(test: &str) -> bool {
    if let Some((file, vector)) = test.split_once(": ") {
        let lines = read(Path::new("tests/vectors").join(file));
        return lines.is_some_and(|lines| lines.lines().any(|line| is_vector(line, vector)));
    }
    if test.ends_with(".flow") {
        return root().join("tests/flows").join(test).is_file();
    }
    let Some((path, name)) = test.rsplit_once("::") else {
        return false;
    };
    if path.ends_with(".py") {
        let text = read(Path::new("tests/outside").join(path));
        return text.is_some_and(|text| text.contains(&format!("def {name}(")));
    }
    let files = files_of(path).into_iter().filter_map(read);
    files.into_iter().any(|text| has_test(&text, name))
}

/// Whether a line of `tests/vectors` has these bytes, or a name that begins so.
fn is_vector(line: &str, vector: &str) -> bool {
    let mut columns = line.split('|').map(str::trim);
    let (bytes, name) = (columns.nth(1), columns.next_back());
    bytes == Some(vector) || name.is_some_and(|name| name.starts_with(vector))
}

/// Where the source of a module may be; `tests` may stand at the end of its parent's.
fn files_of(module: &str) -> Vec<PathBuf> {
    let path = module.replace("::", "/");
    let parent = path.strip_suffix("/tests").unwrap_or(&path);
    ["src", "tests"]
        .iter()
        .flat_map(|folder| {
            [
                format!("{folder}/{path}.rs"),
                format!("{folder}/{path}/mod.rs"),
                format!("{folder}/{path}/main.rs"),
                format!("{folder}/{parent}.rs"),
            ]
        })
        .map(PathBuf::from)
        .collect()
}

/// Whether the source has a function of this name with `#[test]` before it.
fn has_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let at = source
        .lines()
        .position(|line| line.trim_start().starts_with(&function));
    at.is_some_and(|at| {
        let above: Vec<&str> = source.lines().take(at).collect();
        let attributes = above.iter().rev().map(|line| line.trim());
        attributes
            .take_while(|line| line.starts_with('#'))
            .any(|line| line == "#[test]")
    })
}

fn complaints(table: &str, standard: &Standard) -> Vec<String> {
    let mut complaints = Vec::new();
    let rows = rows(table, &mut complaints);
    check_ids(&rows, standard, &mut complaints);
    for row in &rows {
        check_proof(row, &mut complaints);
    }
    complaints
}

#[test]
fn every_statement_has_a_test_or_a_reason() {
    let mut all = Vec::new();
    for standard in STANDARDS {
        let table = read(Path::new("tests/conformance").join(standard.file)).expect("the table");
        let complaints = complaints(&table, &standard);
        all.extend(
            complaints
                .into_iter()
                .map(|c| format!("{}: {c}", standard.file)),
        );
    }
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

/// The judge sees what is wrong, and only that.
#[test]
fn the_check_complains() {
    let standard = Standard {
        file: "",
        chapters: &[(1, 2)],
        gaps: &[[1, 0, 0, 1]],
    };
    let table = |second: &str| {
        let first = "# one\n\n[MQTT-1.0.0-2] server | words | none: for a reason\n";
        complaints(&format!("{first}{second}"), &standard)
    };
    let own = "conformance::the_check_complains; malformed.hex: e1; valid.hex: U+FEFF is kept";
    assert_eq!(
        table(&format!("[MQTT-1.0.0-3] both | words | {own}")),
        [""; 0]
    );
    for (wrong, complaint) in [
        (
            "[MQTT-1.0.0-2] server | words | none: x",
            "[1, 0, 0, 2] after",
        ),
        (
            "[MQTT-1.0.0-4] server | words | none: x",
            "[1, 0, 0, 3] is missing",
        ),
        ("[MQTT-1.0.1-1] server | words | todo: x", "todo: x"),
        ("[MQTT-1.0.1-1] server | words | ", "no test \"\""),
        (
            "[MQTT-1.0.1-1] server | words | conformance::exists",
            "no test",
        ),
        ("[MQTT-1.0.1-1] server | words | nowhere.flow", "no test"),
        (
            "[MQTT-1.0.1-1] server | words | test_paho.py::test_nothing",
            "no test",
        ),
        (
            "[MQTT-1.0.1-1] server | words | malformed.hex: no such line",
            "no test",
        ),
        ("[MQTT-1.0.1-1] broker | words | none: x", "not a row"),
        ("[MQTT-1.0-1] server | words | none: x", "not a row"),
        ("", "chapter 1: 1 of 2"),
    ] {
        let said = table(wrong).join("\n");
        assert!(said.contains(complaint), "{wrong}: {said}");
    }
}
