//! One side of a `topic` line with captures: how its topics are read, and made.

use crate::config::captures::{capture, filter_of};

/// The topics of one side.
#[derive(Debug)]
pub(super) struct Template {
    text: Box<str>,
    levels: Box<[Level]>,
}

#[derive(Debug)]
enum Level {
    Text(Box<str>),
    Capture(u8),
    /// `#`: all levels from there on, if there are any.
    Rest,
}

/// Where the captures of a topic lie in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Captured {
    /// By number: begin and end, in bytes.
    levels: [(usize, usize); 10],
    /// Where the levels begin that `#` stands for.
    rest: Option<usize>,
}

impl Template {
    /// `topics` is without `$share/GROUP/`.
    pub(super) fn new(topics: &str) -> Template {
        let level = |level: &str| match capture(level) {
            Some(number) => Level::Capture(number),
            None if level == "#" => Level::Rest,
            None => Level::Text(level.into()),
        };
        Template {
            text: topics.into(),
            levels: topics.split('/').map(level).collect(),
        }
    }

    /// What it was made of.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The filter that its topics match.
    pub(super) fn filter(&self) -> String {
        filter_of(&self.text)
    }

    /// The captures of a topic that matches the filter.
    pub(super) fn captured(&self, topic: &[u8]) -> Captured {
        let mut captured = Captured::default();
        let mut begin = 0;
        for level in &self.levels {
            let Some(left) = topic.get(begin..) else {
                break;
            };
            let len = left.iter().position(|byte| *byte == b'/');
            let end = begin + len.unwrap_or(left.len());
            match level {
                Level::Text(_) => {}
                Level::Rest => captured.rest = Some(begin),
                Level::Capture(number) => {
                    if let Some(place) = captured.levels.get_mut(usize::from(*number)) {
                        *place = (begin, end);
                    }
                }
            }
            begin = end + 1;
        }
        captured
    }

    /// The parts of the topic that has these captures of `topic`.
    pub(super) fn parts<'a>(
        &'a self,
        topic: &'a [u8],
        captured: &'a Captured,
    ) -> impl Iterator<Item = &'a [u8]> {
        let of = |(begin, end)| topic.get(begin..end).unwrap_or_default();
        let part = move |level: &'a Level| match level {
            Level::Text(text) => Some(text.as_bytes()),
            Level::Capture(number) => captured.levels.get(usize::from(*number)).copied().map(of),
            Level::Rest => captured.rest.map(|begin| of((begin, topic.len()))),
        };
        let parts = self.levels.iter().filter_map(part).enumerate();
        parts.flat_map(|(n, part)| {
            let between: &[u8] = if n > 0 { b"/" } else { b"" };
            [between, part]
        })
    }
}
