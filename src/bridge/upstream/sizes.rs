//! Whether it is their size that an upstream closes on messages for.

/// That many messages, each on a topic of its own, are proof.
const TOPICS: usize = 3;
/// No upstream is known to bound messages to less than that, in bytes; what it closes on below has
/// another reason.
const PLAUSIBLE: usize = 4096;

/// The messages that one upstream closes on, by their size: topic upstream and payload, in bytes.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Topic and size of each, one a topic: all are larger than what it takes.
    closed_on: Vec<(Box<str>, usize)>,
    /// The largest that it has taken.
    taken: usize,
}

impl Sizes {
    /// The upstream has taken a message of this size.
    pub(super) fn taken(&mut self, size: usize) {
        self.taken = self.taken.max(size);
        let taken = self.taken;
        self.closed_on.retain(|(_, size)| *size > taken);
    }

    /// The upstream closes on a message to `topic` of this size. The largest that may be sent, once
    /// that is what all such messages have in common, and no other has.
    pub(super) fn closed_on(&mut self, topic: Option<&str>, size: usize) -> Option<usize> {
        if size <= self.taken || size < PLAUSIBLE {
            return None;
        }
        let topic = topic.unwrap_or_default();
        let mut list = self.closed_on.iter_mut();
        match list.find(|(known, _)| **known == *topic) {
            Some((_, known)) => *known = size.min(*known),
            None => self.closed_on.push((topic.into(), size)),
        }
        if self.closed_on.len() > TOPICS {
            self.closed_on.remove(0);
        }
        let smallest = self.closed_on.iter().map(|(_, size)| *size).min();
        smallest
            .filter(|_| self.closed_on.len() >= TOPICS)
            .map(|size| size - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_topics_are_proof_if_nothing_as_large_is_taken() {
        let mut sizes = Sizes::default();
        sizes.taken(5000);
        assert_eq!(sizes.closed_on(Some("a"), 9000), None);
        assert_eq!(sizes.closed_on(Some("b"), 7000), None);
        assert_eq!(sizes.closed_on(Some("b"), 8000), None, "the same topic");
        assert_eq!(sizes.closed_on(Some("c"), 5000), None, "others pass");
        assert_eq!(sizes.closed_on(Some("c"), 6000), Some(5999));
        // One that is taken is proof of the contrary.
        sizes.taken(8500);
        assert_eq!(sizes.closed_on(Some("d"), 9100), None);
        assert_eq!(sizes.closed_on(Some("e"), 9200), Some(8999));
    }

    #[test]
    fn small_messages_have_another_reason() {
        let mut sizes = Sizes::default();
        for topic in ["a b", "c d", "e f", "g h"] {
            assert_eq!(sizes.closed_on(Some(topic), PLAUSIBLE - 1), None);
        }
    }
}
