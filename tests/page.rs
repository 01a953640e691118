//! The status page within the program is what its sources make.

use std::fs;
use std::path::Path;
use std::process::Command;

fn unpacked(file: &Path) -> String {
    let done = Command::new("gzip")
        .arg("-dc")
        .arg(file)
        .output()
        .expect("gzip");
    assert!(done.status.success(), "{}", file.display());
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// Not byte by byte: another gzip may compress in another way.
#[test]
fn it_is_made_of_its_sources() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/web/page");
    let made = tempfile::tempdir().expect("a folder");
    let status = Command::new("sh")
        .arg(sources.join("make"))
        .arg(made.path())
        .status();
    assert!(status.expect("sh").success());
    let again = "run src/net/web/page/make";
    let [old, new] = [&sources, made.path()].map(|folder| {
        let hashes = fs::read_to_string(folder.join("hashes")).expect("hashes");
        (unpacked(&folder.join("page.html.gz")), hashes)
    });
    assert!(old == new, "{again}");
    assert!(old.0.contains("<h1>footbridge</h1>"));
}

/// It works without the internet, and what a topic or payload says is never markup.
#[test]
fn it_needs_nothing_from_elsewhere_and_makes_no_markup_of_text() {
    let page =
        unpacked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/net/web/page/page.html.gz"));
    for forbidden in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "new Function",
        "localStorage",
        "document.cookie",
        "https://",
        "@import",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let addresses = page.matches("http://").count();
    let namespaces = page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(addresses, namespaces, "addresses elsewhere");
}
