//! The files below `http_dir`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::body::Body;
use super::http::Refusal;

const NOT_FOUND: Refusal = Refusal::new("404 Not Found", "no such file");
const FORBIDDEN: Refusal = Refusal::new("403 Forbidden", "not to be read");

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// A file, and its content type.
    File(Body, &'static str),
    /// A folder, asked for without the `/` at its end, that has a page.
    Folder,
}

/// Opens the file that the path of a request means, below `root`, which is canonical: no `..`, no
/// link that leads out. A path that ends in `/` means the index.html there.
pub(super) fn open(root: &Path, path: &str) -> Result<Found, Refusal> {
    let mut below = relative(path).ok_or(NOT_FOUND)?;
    if path.ends_with('/') {
        below.push("index.html");
    }
    let full = fs::canonicalize(root.join(below)).map_err(refusal)?;
    if !full.starts_with(root) {
        return Err(FORBIDDEN);
    }
    // Not to wait for the other end of a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&full, flags, Mode::empty()).map_err(|e| refusal(e.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(refusal)?;
    if metadata.is_dir() {
        return Ok(Found::Folder);
    }
    if !metadata.is_file() {
        return Err(FORBIDDEN);
    }
    let body = Body::of_file(file, metadata.len());
    Ok(Found::File(body, content_type(&full)))
}

/// The path of a request as one below the root; `None` where it is none.
fn relative(path: &str) -> Option<PathBuf> {
    let path = decode(path.strip_prefix('/')?)?;
    let mut below = PathBuf::new();
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let is_end = names.peek().is_none();
        match name {
            "" if is_end => {}
            "" | "." | ".." => return None,
            name => below.push(name),
        }
    }
    Some(below)
}

/// Takes percent encoding off (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out)
        .ok()
        .filter(|text| !text.contains('\0'))
}

fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::PermissionDenied => FORBIDDEN,
        _ => NOT_FOUND,
    }
}

/// The content type that the name's ending stands for.
fn content_type(path: &Path) -> &'static str {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap().join("www");
        fs::create_dir_all(root.join("sub dir")).unwrap();
        fs::write(root.join("index.html"), "home").unwrap();
        fs::write(root.join("sub dir/app.JS"), "code").unwrap();
        fs::write(root.parent().unwrap().join("secret"), "s").unwrap();
        fs::write(root.parent().unwrap().join("www.txt"), "s").unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("../www.txt", root.join("beside")).unwrap();
        symlink("index.html", root.join("home")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        (folder, root)
    }

    fn content(root: &Path, path: &str) -> Result<(String, &'static str), &'static str> {
        match open(root, path) {
            Ok(Found::File(body, kind)) => {
                let mut buf = [0; 64];
                let n = body.read(&mut buf).unwrap();
                assert_eq!(n as u64, body.left());
                Ok((String::from_utf8_lossy(&buf[..n]).into(), kind))
            }
            Ok(Found::Folder) => Err("folder"),
            Err(refusal) => Err(&refusal.status[..3]),
        }
    }

    #[test]
    fn files_below_the_root_are_found() {
        let (_folder, root) = folder();
        let html = "text/html; charset=utf-8";
        assert_eq!(content(&root, "/"), Ok(("home".into(), html)));
        assert_eq!(content(&root, "/index.html"), Ok(("home".into(), html)));
        assert_eq!(content(&root, "/home"), Ok(("home".into(), html)));
        let code = Ok(("code".into(), "text/javascript; charset=utf-8"));
        assert_eq!(content(&root, "/sub%20dir/app%2EJS"), code);
        assert_eq!(content(&root, "/sub%20dir"), Err("folder"));
    }

    #[test]
    fn nothing_else_is() {
        let (_folder, root) = folder();
        for path in [
            "/../secret",
            "/%2e%2e/secret",
            "/sub%20dir/../index.html",
            "/./index.html",
            "//index.html",
            "/sub%20dir/",
            "/index.html/",
            "/none",
            "/%",
            "/%zz",
            "/index.html%00.png",
            "/%ff",
            "index.html",
            "",
        ] {
            assert_eq!(content(&root, path), Err("404"), "{path}");
        }
        for path in ["/out", "/beside", "/pipe"] {
            assert_eq!(content(&root, path), Err("403"), "{path}");
        }
    }

    #[test]
    fn a_body_goes_out_in_pieces_up_to_the_length_that_was_promised() {
        let (_folder, root) = folder();
        let Ok(Found::File(mut body, _)) = open(&root, "/index.html") else {
            panic!("no file");
        };
        fs::write(root.join("index.html"), "home, longer now").unwrap();
        let (mut buf, mut all) = ([0; 3], Vec::new());
        while body.left() > 0 {
            let n = body.read(&mut buf).unwrap();
            all.extend_from_slice(&buf[..n]);
            body.advance(n);
        }
        assert_eq!(all, b"home");
        assert_eq!(body.read(&mut buf).unwrap(), 0);
    }
}
