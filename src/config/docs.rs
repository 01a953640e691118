//! Texts that come from the table of directives: `--help config`, the man page, the sample.

mod bounds;

use std::fmt::Write;

use bounds::{BOUNDS, Bound};

use super::keys::{self, Class, Key, Section, Unset};
use super::topic::OPTIONS;

/// Columns of `--help config`.
const WIDTH: usize = 80;

const SECTIONS: [(Section, &str, &str); 3] = [
    (
        Section::General,
        "GENERAL",
        "These are for the whole broker.",
    ),
    (
        Section::Listener,
        "LISTENERS",
        "These are for the `listener` above them.",
    ),
    (
        Section::Bridge,
        "BRIDGES",
        "These are for the `connection` above them.",
    ),
];

const SAMPLE_HEAD: &str = "\
# footbridge's configuration: the dialect of mosquitto.conf(5).
#
# Every directive that this version implements, with what holds when it is left
# out. A # at the beginning of a line makes it a comment. See footbridge.conf(5)
# for more, and check a changed file with
#     footbridge -c FILE --test-config
";

const MAN_HEAD: &str = r#".\" Written by `FOOTBRIDGE_BLESS=1 cargo test --test config`; edit src/config/keys instead.
.TH FOOTBRIDGE.CONF 5 "" footbridge "File formats"
.SH NAME
footbridge.conf \- the configuration file of footbridge
.SH DESCRIPTION
.B footbridge
reads the dialect of mosquitto.conf(5): an existing mosquitto.conf works, or the broker says which line it does not honour, and why.
It needs no file: without one it listens on the loopback addresses, port 1883.
.PP
A line is a directive, a blank and its value, up to the end of the line.
A line that begins with # is a comment; so is what follows a # behind a flag or a number.
.B listener
and
.B connection
start a section.
Of a directive that is given twice the last counts, except for those that may be given more than once.
.PP
A flag is true or false, also yes or no, on or off, 1 or 0.
A size is a number of bytes, with K, M or G behind it for powers of 1024.
A duration is a number of seconds, or a number with ms, s, m, h, d or w behind it.
.PP
In values,
.B ${hostname}
is the host name,
.B ${mac}
the hardware address of the first network interface that is up, and
.BI ${env: NAME }
an environment variable;
.B $${
is a plain ${.
.PP
.B footbridge \-c
.I FILE
.B \-\-test\-config
checks a file and reports everything wrong with it.
"#;

const MAN_TAIL: &str = r#".SH SEE ALSO
.BR footbridge (1),
.BR footbridge\-auth\-socket (5),
.BR footbridge\-control (5),
.BR mosquitto.conf (5)
"#;

/// A directive, as the table has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Directive {
    /// Its name; a `*` at the end stands for anything.
    pub name: &'static str,
    /// Its value, as a man page writes it.
    pub syntax: &'static str,
    /// What [`class`] says of it.
    pub class: &'static str,
    /// Lines that it may stand below.
    pub below: &'static str,
}

/// Every directive.
pub fn directives() -> impl Iterator<Item = Directive> {
    keys::all().map(|key| Directive {
        name: key.name,
        syntax: key.syntax,
        class: class_of(key),
        below: match key.section {
            Section::General => "",
            Section::Listener => "listener 1883\n",
            Section::Bridge => "connection b\naddress u\ntopic #\n",
        },
    })
}

/// The options of a `topic` line, as `NAME` of `NAME=VALUE`.
pub fn topic_options() -> &'static [&'static str] {
    &OPTIONS
}

/// What this version makes of `directive`: `implemented`, `accepted`, `refused` or `later`; `None`
/// for one that is not known.
pub fn class(directive: &str) -> Option<&'static str> {
    keys::find(directive).map(class_of)
}

fn class_of(key: &Key) -> &'static str {
    match key.class {
        Class::Implemented(_) => "implemented",
        Class::Accepted => "accepted",
        Class::Refused(_) => "refused",
        Class::Later(_) => "later",
    }
}

/// The text of `footbridge --help config`.
pub fn help_text() -> String {
    let mut out = String::from("Directives of the configuration file, one a line.\n");
    for (section, title, about) in SECTIONS {
        let _ = writeln!(out, "\n{title}. {about}");
        for key in implemented(section) {
            let _ = writeln!(out, "  {} {}", key.name, key.syntax);
            let text = format!("{} Default: {}.", key.help, unset(key));
            wrap(&mut out, "      ", &text);
        }
        for (title, names) in others(section) {
            wrap(&mut out, "  ", &format!("{title}: {}.", names.join(", ")));
        }
    }
    out
}

/// The man page footbridge.conf(5), in roff.
pub fn man_page() -> String {
    let mut out = String::from(MAN_HEAD);
    for (section, title, about) in SECTIONS {
        let _ = writeln!(out, ".SH {title}\n{}", roff(about));
        for key in implemented(section) {
            man_entry(&mut out, key, &format!("{} {}", key.help, key.more));
            let _ = writeln!(out, "Default: {}.", roff(unset(key)));
        }
    }
    out.push_str(
        ".SH BOUNDS\nWhat peers can make grow, what happens at the bound, and where it is seen below \
         $SYS/broker.\nThe log tells of each as well.\n",
    );
    for bound in BOUNDS {
        bound_entry(&mut out, bound);
    }
    out.push_str(".SH ACCEPTED\nThese load, and the log says what happens instead.\n");
    for key in keys::all().filter(|key| matches!(key.class, Class::Accepted)) {
        man_entry(&mut out, key, &sentence(key.help));
    }
    out.push_str(".SH NOT SUPPORTED YET\nThese are errors in this version.\n");
    for key in keys::all() {
        if let Class::Later(cure) = key.class {
            let text = format!("{} {}{}", key.help, sentence(cure), accepted_values(key));
            man_entry(&mut out, key, &text);
        }
    }
    out.push_str(".SH NOT SUPPORTED\nThese are errors.\n");
    for key in keys::all() {
        if let Class::Refused(cure) = key.class {
            let text = format!(
                "{} {}{}",
                sentence(key.help),
                sentence(cure),
                accepted_values(key)
            );
            man_entry(&mut out, key, &text);
        }
    }
    out.push_str(MAN_TAIL);
    out
}

/// The sample configuration: every implemented directive, commented out, with its default.
pub fn sample() -> String {
    let mut out = String::from(SAMPLE_HEAD);
    for (section, title, about) in SECTIONS {
        let _ = writeln!(out, "\n# {title}. {about}");
        for key in implemented(section) {
            out.push('\n');
            match key.unset {
                Unset::Is(value) => {
                    wrap(&mut out, "# ", key.help);
                    let _ = writeln!(out, "#{} {value}", key.name);
                }
                Unset::Means(words) => {
                    wrap(&mut out, "# ", &format!("{} Default: {words}.", key.help));
                    let _ = writeln!(out, "#{} {}", key.name, key.syntax);
                }
            }
        }
    }
    out
}

fn implemented(section: Section) -> impl Iterator<Item = &'static Key> {
    keys::all()
        .filter(move |key| key.section == section && matches!(key.class, Class::Implemented(_)))
}

/// The directives of `section` that do not do what they say, by what happens with them.
fn others(section: Section) -> Vec<(&'static str, Vec<&'static str>)> {
    let names = |belongs: fn(&Class) -> bool| -> Vec<&'static str> {
        keys::all()
            .filter(|key| key.section == section && belongs(&key.class))
            .map(|key| key.name)
            .collect()
    };
    let mut lists = vec![
        (
            "Accepted, without effect",
            names(|c| matches!(c, Class::Accepted)),
        ),
        ("Not supported yet", names(|c| matches!(c, Class::Later(_)))),
        ("Not supported", names(|c| matches!(c, Class::Refused(_)))),
    ];
    lists.retain(|(_, names)| !names.is_empty());
    lists
}

fn unset(key: &Key) -> &'static str {
    match key.unset {
        Unset::Is(value) => value,
        Unset::Means(words) => words,
    }
}

fn accepted_values(key: &Key) -> String {
    match key.accepted_values {
        [] => String::new(),
        values => format!(" The value {} is accepted.", values.join(" or ")),
    }
}

/// `text` with a capital in front and a full stop behind.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn bound_entry(out: &mut String, bound: &Bound) {
    let defaults = bound.directives.iter().filter_map(|name| keys::find(name));
    let defaults: Vec<String> = defaults
        .map(|key| format!("{} ({})", key.name, unset(key)))
        .collect();
    let mut text = String::new();
    if !defaults.is_empty() {
        let _ = write!(text, "{}. ", defaults.join("; "));
    }
    text.push_str(bound.then);
    if !bound.seen.is_empty() {
        let _ = write!(text, " Seen: {}.", bound.seen);
    }
    let _ = writeln!(out, ".TP\n.B {}\n{}", roff(bound.what), roff(&text));
}

fn man_entry(out: &mut String, key: &Key, text: &str) {
    let _ = writeln!(
        out,
        ".TP\n.B {}\n{}",
        roff(&format!("{} {}", key.name, key.syntax)),
        roff(text.trim())
    );
}

/// `text` with what roff would take for its own escaped.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.as_bytes().first() {
        Some(b'.' | b'\'') => format!("\\&{text}"),
        _ => text,
    }
}

/// `text` in lines of at most [`WIDTH`] columns, each behind `indent`.
fn wrap(out: &mut String, indent: &str, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() <= WIDTH {
            out.push(' ');
            column += 1;
        } else {
            if column > 0 {
                out.push('\n');
            }
            out.push_str(indent);
            column = indent.len();
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}
