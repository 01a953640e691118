//! The names that come most often, among any number of names: the Space-Saving algorithm of Metwally, Agrawal
//! and El Abbadi (2005). A name that makes more than a sixty-fourth of all is always among them.

/// So many names are kept.
const NAMES: usize = 64;
/// Of a longer name only the beginning is kept, in bytes.
const LONGEST: usize = 256;

/// Who published, or on which topic, and at least how much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Talker {
    /// The client id or the topic, or its first 256 bytes.
    pub name: Box<str>,
    /// How many messages.
    pub messages: u64,
    /// The bytes of their topics and payloads.
    pub bytes: u64,
}

#[derive(Debug)]
struct Entry {
    talker: Talker,
    /// What may have been of names that had the place before: it decides who goes next.
    inherited: u64,
}

impl Entry {
    fn rank(&self) -> u64 {
        self.talker.messages + self.inherited
    }
}

#[derive(Debug, Default)]
pub(super) struct Sketch(Vec<Entry>);

impl Sketch {
    /// So many messages more of `name`.
    pub(super) fn add(&mut self, name: &str, messages: u64, bytes: u64) {
        let name = beginning(name);
        let known = self.0.iter_mut().find(|entry| *entry.talker.name == *name);
        if let Some(Entry { talker, .. }) = known {
            talker.messages += messages;
            talker.bytes += bytes;
            return;
        }
        let mut entry = Entry {
            talker: Talker {
                name: name.into(),
                messages,
                bytes,
            },
            inherited: 0,
        };
        if self.0.len() < NAMES {
            self.0.push(entry);
        } else if let Some(least) = self.0.iter_mut().min_by_key(|entry| entry.rank()) {
            entry.inherited = least.rank();
            *least = entry;
        }
    }
}

/// The name, or as much of it as is kept.
fn beginning(name: &str) -> &str {
    let lengths = (0..=LONGEST).rev();
    let cut = || lengths.clone().find_map(|len| name.get(..len));
    if name.len() > LONGEST {
        cut().unwrap_or_default()
    } else {
        name
    }
}

/// What several have of each name, those with the most messages first.
pub(super) fn sum<'a>(sketches: impl Iterator<Item = &'a Sketch>) -> Vec<Talker> {
    let mut all: Vec<Talker> = Vec::new();
    for Entry { talker, .. } in sketches.flat_map(|sketch| &sketch.0) {
        match all.iter_mut().find(|known| known.name == talker.name) {
            Some(known) => {
                known.messages += talker.messages;
                known.bytes += talker.bytes;
            }
            None => all.push(talker.clone()),
        }
    }
    all.sort_by(|a, b| {
        b.messages
            .cmp(&a.messages)
            .then_with(|| a.name.cmp(&b.name))
    });
    all.truncate(NAMES);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_most_is_found_among_thousands() {
        let mut sketch = Sketch::default();
        for n in 0..10_000 {
            sketch.add(&format!("rare{n}"), 1, 1);
            if n % 20 == 0 {
                sketch.add("frequent", 2, 20);
            }
        }
        assert_eq!(sketch.0.len(), NAMES);
        let most = sum([&sketch].into_iter());
        let first = most.first().unwrap();
        assert_eq!(&*first.name, "frequent");
        assert!((900..=1000).contains(&first.messages), "{first:?}");
        assert!(
            most.iter().all(|talker| talker.messages <= 1000),
            "never too much"
        );
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut sketch = Sketch::default();
        sketch.add(&"ü".repeat(200), 1, 1);
        sketch.add(&"ü".repeat(300), 1, 1);
        let most = sum([&sketch].into_iter());
        assert_eq!(most.len(), 1);
        assert_eq!(most.first().unwrap().name.len(), LONGEST);
    }
}
