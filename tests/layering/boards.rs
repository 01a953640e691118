//! What builds, or seems to work, on a developer's machine and not on a small board: names that the source
//! must not have, and features of dependencies.

use std::path::Path;

/// Names that are refused, in tests too, since those run on the boards as well.
struct Refused {
    names: &'static [&'static str],
    /// The file that may name them after all.
    except: Option<&'static str>,
    why: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        names: &["AtomicU64", "AtomicI64"],
        except: None,
        why: "MIPS of 32 bits has no atomics of 64: take AtomicUsize, AtomicU32 or a Mutex",
    },
    Refused {
        names: &[
            "async_io",
            "smol::Timer",
            "smol::Async",
            "smol::block_on",
            "smol::net",
            "smol::process",
        ],
        except: None,
        why: "its timers are those of timerfd, which is given a timespec that musl on big-endian boards \
              reads otherwise, so they never come: take net::Reactor and its Timer",
    },
    Refused {
        names: &[
            "Timespec",
            "Itimerspec",
            "PollFd",
            "rustix::time",
            "nanosleep",
            "timerfd_create",
        ],
        except: Some("src/net/reactor/wait.rs"),
        why: "rustix's timespec is not that of musl on 32-bit boards: take net::Waiter, which counts in \
              milliseconds",
    },
];

/// With these features of rustix, `epoll_wait` becomes `epoll_pwait2`, which is given a timespec.
const FEATURES: [&str; 2] = ["linux_5_11", "linux_latest"];

/// What the file at `path` must not name.
pub(crate) fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split("//").next().unwrap_or_default();
        for refused in REFUSED {
            if refused.except.is_some_and(|file| path == Path::new(file)) {
                continue;
            }
            let named = refused
                .names
                .iter()
                .filter(|name| super::mentions(code, name));
            found.extend(named.map(|name| {
                let path = path.display();
                format!("{path}:{number}: {name}: {}", refused.why)
            }));
        }
    }
    found
}

/// Which lines of the tree of crates and features must not be there.
pub(crate) fn features(tree: &str) -> Vec<String> {
    let refused = |line: &&str| {
        let of_rustix = line.strip_prefix("rustix feature \"");
        let name = of_rustix.and_then(|rest| rest.split('"').next());
        name.is_some_and(|name| FEATURES.contains(&name))
    };
    let lines = tree.lines().filter(refused);
    lines
        .map(|line| {
            format!("{line}: a wait would be given a timespec, see src/net/reactor/wait.rs")
        })
        .collect()
}

#[test]
fn what_is_put_back_is_found() {
    for line in [
        "use std::sync::atomic::{AtomicBool, AtomicU64};",
        "static COUNT: AtomicI64 = AtomicI64::new(0);",
        "    async_io::Timer::after(soon).await;",
        "smol::block_on(task)",
        "let limit = Timespec::try_from(timeout);",
        "let mut fds = [PollFd::new(&socket, PollFlags::IN)];",
    ] {
        for file in ["src/net/turn.rs", "src/net/turn/tests.rs"] {
            let found = complaints(Path::new(file), &format!("// A comment.\n{line}\n"));
            assert!(!found.is_empty(), "{line}");
            assert!(
                found
                    .iter()
                    .all(|one| one.starts_with(&format!("{file}:2: ")))
            );
        }
    }
    let own = Path::new("src/net/reactor/wait.rs");
    assert!(complaints(own, "use rustix::event::Timespec;").is_empty());
    assert_eq!(
        complaints(own, "use std::sync::atomic::AtomicU64;").len(),
        1
    );
    for harmless in [
        "// Not AtomicU64.",
        "smol::channel::bounded(1)",
        "MyTimespecs",
    ] {
        assert!(complaints(own, harmless).is_empty(), "{harmless}");
    }
    let tree = "rustix v1.1.6\nrustix feature \"event\"\nrustix feature \"linux_5_11\" (*)\n";
    assert_eq!(features(tree).len(), 1);
}
