//! DER, as far as certificates are read here (X.690).

/// Tags of X.690 that certificates have.
pub(super) mod tag {
    pub(in crate::tls) const BOOLEAN: u8 = 0x01;
    pub(in crate::tls) const INTEGER: u8 = 0x02;
    pub(in crate::tls) const BIT_STRING: u8 = 0x03;
    pub(in crate::tls) const OCTET_STRING: u8 = 0x04;
    pub(in crate::tls) const OID: u8 = 0x06;
    pub(in crate::tls) const UTF8_STRING: u8 = 0x0c;
    pub(in crate::tls) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(in crate::tls) const BMP_STRING: u8 = 0x1e;
    pub(in crate::tls) const UTC_TIME: u8 = 0x17;
    pub(in crate::tls) const GENERALIZED_TIME: u8 = 0x18;
    pub(in crate::tls) const SEQUENCE: u8 = 0x30;
    pub(in crate::tls) const SET: u8 = 0x31;
}

/// The elements of a constructed value, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Elements<'a> {
        Elements(bytes)
    }

    /// What is inside the next element, if it has this tag. Else it stays the next.
    pub(super) fn inside(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = *self;
        match self.next() {
            Some((found, inside)) if found == tag => Some(inside),
            _ => {
                *self = before;
                None
            }
        }
    }

    /// The next element with its tag and length, if it has this tag.
    pub(super) fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.inside(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The elements inside the next element, if it has this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Elements<'a>> {
        self.inside(tag).map(Elements::new)
    }
}

impl<'a> Iterator for Elements<'a> {
    /// The tag, and what is inside.
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // Lengths of lengths up to four bytes: no certificate has 4 GB.
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let len = digits.iter().fold(0, |n, b| n << 8 | usize::from(*b));
                (len, rest)
            }
            _ => return None,
        };
        let (inside, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_and_nothing_beyond_the_end() {
        let mut elements = Elements::new(&[tag::INTEGER, 1, 5, tag::SEQUENCE, 0x81, 2, 6, 0]);
        assert_eq!(elements.inside(tag::SEQUENCE), None);
        assert_eq!(elements.inside(tag::INTEGER), Some(&[5][..]));
        let mut inside = elements.enter(tag::SEQUENCE).unwrap();
        assert_eq!(inside.next(), Some((tag::OID, &[][..])));
        assert_eq!((inside.next(), elements.next()), (None, None));
        for cut in [
            &[2][..],
            &[2, 3, 1],
            &[2, 0x80],
            &[2, 0x82, 1],
            &[2, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Elements::new(cut).next(), None, "{cut:?}");
        }
    }
}
