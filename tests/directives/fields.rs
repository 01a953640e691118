//! No field of the configuration is filled in and then forgotten.

use std::fs;
use std::path::Path;

use super::{read, root, says};

/// What a file says goes somewhere: each field of the configuration is read outside of it.
#[test]
fn every_field_of_the_configuration_is_read() {
    let text = read(&root("src/config/mod.rs"));
    let fields = text
        .lines()
        .filter_map(|line| line.strip_prefix("    pub "));
    let fields: Vec<&str> = fields
        .filter_map(|field| field.split_once(':'))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' '))
        .collect();
    assert!(fields.len() > 90, "{}", fields.len());
    let mut product = String::new();
    for folder in ["auth", "bridge", "broker", "net", "run", "status", "time"] {
        sources(&root("src").join(folder), &mut product);
    }
    product += &read(&root("src/run.rs"));
    let unread = |name: &&str| !says(&product, name);
    let unread: Vec<_> = fields.into_iter().filter(unread).collect();
    assert!(unread.is_empty(), "nobody reads {unread:?}");
}

/// Adds the code below `folder`, tests and comments left out.
fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|name| name.to_str());
        if stem.is_some_and(|stem| stem.ends_with("tests")) {
            continue;
        }
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = read(&path);
            let code = text.split("#[cfg(test)]\nmod tests {").next();
            for line in code.unwrap_or_default().lines() {
                *out += line.split("//").next().unwrap_or_default();
                *out += "\n";
            }
        }
    }
}
