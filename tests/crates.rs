//! The crates that go into the binary: their licences, one version of each, and where they come from.
//! `deny.toml` says what is allowed; cargo-deny checks the same, and advisories, where it is installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The licences that `deny.toml` allows.
fn allowed() -> Vec<String> {
    let text = read("deny.toml");
    let (_, list) = text.split_once("\nallow = [").expect("a list");
    let (list, _) = list.split_once(']').expect("its end");
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names.map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with the licences of `allowed`. `/` is OR, as old crates have
/// it; `WITH` adds an exception, which nobody need take up.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace(['(', ')'], "");
    expression.split(" AND ").all(|part| {
        let mut choices = part.split(" OR ").flat_map(|part| part.split('/'));
        choices.any(|name| allowed.iter().any(|a| a == name.trim()))
    })
}

/// Name, version and licence of each crate that is shipped or builds what is.
fn crates() -> Vec<(String, String, String)> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .expect("cargo tree runs");
    let complaint = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "cargo tree: {complaint}");
    let text = String::from_utf8_lossy(&tree.stdout);
    let mut crates: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let (name, version) = package.split_once(' ')?;
            let version = version.split(' ').next()?;
            Some((name.to_owned(), version.to_owned(), licence.to_owned()))
        })
        .collect();
    crates.sort();
    crates.dedup();
    assert!(crates.iter().any(|(name, ..)| name == "redb"), "{text}");
    crates
}

#[test]
fn licences_are_allowed() {
    let allowed = allowed();
    assert!(allowed.iter().any(|name| name == "MIT"), "{allowed:?}");
    let wrong: Vec<_> = crates()
        .into_iter()
        .filter(|(_, _, licence)| !is_met(licence, &allowed))
        .collect();
    assert!(wrong.is_empty(), "not allowed by deny.toml: {wrong:?}");
}

/// Two are twice the flash.
#[test]
fn each_crate_has_one_version() {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, version, _) in crates() {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "{versions:?}");
}

#[test]
fn all_come_from_the_one_registry() {
    let lock = read("Cargo.lock");
    let sources: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "))
        .collect();
    assert!(sources.len() > 20, "{sources:?}");
    let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    let others: Vec<_> = sources.iter().filter(|s| **s != registry).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn expressions_are_read() {
    let allowed = ["MIT", "Zlib"].map(str::to_owned);
    for (expression, met) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("(MIT OR Apache-2.0) AND Zlib", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("GPL-3.0", false),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
