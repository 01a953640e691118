//! A value of which a crash may bring back an earlier state.

/// A value, and those before it that may still be the ones on disk.
#[derive(Clone, Debug)]
pub struct Unsure<T> {
    now: T,
    version: u32,
    past: Vec<(u32, T)>,
}

impl<T: PartialEq> Unsure<T> {
    /// A value that was never another.
    pub fn new(now: T) -> Unsure<T> {
        Unsure {
            now,
            version: 0,
            past: Vec::new(),
        }
    }

    pub fn get(&self) -> &T {
        &self.now
    }

    /// Changes the value; answers the version to name to [`Unsure::settle`].
    pub fn set(&mut self, now: T) -> u32 {
        let past = std::mem::replace(&mut self.now, now);
        self.past.push((self.version, past));
        self.version += 1;
        self.version
    }

    /// Of the values up to now one like this came last. False if there was none.
    pub fn prefer(&mut self, like: impl Fn(&T) -> bool) -> bool {
        if like(&self.now) {
            return true;
        }
        let found = self.past.iter_mut().find(|(_, value)| like(value));
        found
            .map(|(_, value)| std::mem::swap(value, &mut self.now))
            .is_some()
    }

    /// Nothing older than `version` comes back any more.
    pub fn settle(&mut self, version: u32) {
        self.past.retain(|(v, _)| *v >= version);
    }

    /// Nothing but the value comes back any more.
    pub fn settle_all(&mut self) {
        self.past.clear();
    }

    /// What a crash may bring back.
    pub fn possible(&self) -> impl Iterator<Item = &T> {
        let past = self.past.iter().map(|(_, value)| value);
        std::iter::once(&self.now).chain(past)
    }

    /// A crash has brought back `value`; false if it must not.
    #[must_use]
    pub fn restore(&mut self, value: T) -> bool {
        let allowed = self.possible().any(|possible| *possible == value);
        self.set(value);
        self.settle_all();
        allowed
    }
}
