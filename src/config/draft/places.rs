//! Where each directive was read, for what is said about a configuration as a whole.

use super::position::Position;

/// The lines of a configuration that were understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    lines: Vec<PlacedLine>,
    /// The first listener is the default listener: its lines stand above any `listener`.
    has_default: bool,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct PlacedLine {
    directive: Box<str>,
    owner: Owner,
    position: Position,
}

/// The section that a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The broker, or what stands above any `listener`.
    Broker,
    /// A `listener`, in the order of the files.
    Listener(usize),
    /// A `connection`, in the order of the files.
    Bridge(usize),
}

impl Places {
    pub(super) fn add(&mut self, directive: &str, owner: Owner, position: Position) {
        self.lines.push(PlacedLine {
            directive: directive.into(),
            owner,
            position,
        });
    }

    pub(super) fn begin_with_default(&mut self) {
        self.has_default = true;
    }

    /// The last line of `directive`, in whatever section.
    pub fn any(&self, directive: &str) -> Option<&Position> {
        let mut lines = self.lines.iter().rev();
        lines
            .find(|line| *line.directive == *directive)
            .map(|line| &line.position)
    }

    /// What `directive` says for the listener at this place of [`super::super::Config::listeners`]: its own
    /// line, or one for all; else where the listener begins.
    pub fn listener(&self, index: usize, directive: &str) -> Option<&Position> {
        let owner = match (self.has_default, index) {
            (false, index) => Owner::Listener(index),
            (true, 0) => Owner::Broker,
            (true, index) => Owner::Listener(index - 1),
        };
        self.last(owner, directive)
            .or_else(|| self.last(Owner::Broker, directive))
            .or_else(|| match owner {
                Owner::Broker => ["port", "bind_address", "certfile"]
                    .iter()
                    .find_map(|directive| self.last(owner, directive)),
                _ => self.first(owner),
            })
    }

    /// The last line of `directive` in the bridge at this place of [`super::super::Config::bridges`]; else
    /// where the bridge begins.
    pub fn bridge(&self, index: usize, directive: &str) -> Option<&Position> {
        let owner = Owner::Bridge(index);
        self.last(owner, directive).or_else(|| self.first(owner))
    }

    /// The `topic` line at this place of the bridge's.
    pub fn topic(&self, bridge: usize, index: usize) -> Option<&Position> {
        let lines = self.lines.iter();
        let mut topics =
            lines.filter(|line| line.owner == Owner::Bridge(bridge) && &*line.directive == "topic");
        topics.nth(index).map(|line| &line.position)
    }

    /// Where `text` says that it is about, in front of itself, and the rest of it.
    pub fn split<'t>(&self, text: &'t str) -> (Option<Position>, &'t str) {
        let mut files: Vec<&str> = self.lines.iter().map(|l| &*l.position.file).collect();
        files.dedup();
        let found = files.into_iter().find_map(|file| {
            let rest = text.strip_prefix(file)?.strip_prefix(':')?;
            let (line, rest) = rest.split_once(": ")?;
            let position = Position {
                file: file.to_owned(),
                line: line.parse().ok()?,
            };
            Some((Some(position), rest))
        });
        found.unwrap_or((None, text))
    }

    fn first(&self, owner: Owner) -> Option<&Position> {
        let mut lines = self.lines.iter();
        lines
            .find(|line| line.owner == owner)
            .map(|line| &line.position)
    }

    fn last(&self, owner: Owner, directive: &str) -> Option<&Position> {
        let mut lines = self.lines.iter().rev();
        lines
            .find(|line| line.owner == owner && *line.directive == *directive)
            .map(|line| &line.position)
    }
}
