//! Header fields.

use httparse::Header;

/// The header fields of a request or an answer.
pub(in crate::net::web) struct Fields<'a>(pub(crate) &'a [Header<'a>]);

impl<'a> Fields<'a> {
    /// The values of a field, each time it was given; what is not UTF-8 counts as empty.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |f| f.name.eq_ignore_ascii_case(name));
        named.map(|field| std::str::from_utf8(field.value).unwrap_or_default().trim())
    }

    /// The value of a field that was given once.
    pub(in crate::net::web) fn only(&self, name: &str) -> Option<&'a str> {
        let mut all = self.all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// The members of a field that is a list (RFC 9110 §5.6.1).
    pub(in crate::net::web) fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let members = self.all(name).flat_map(|value| value.split(','));
        members.map(str::trim).filter(|member| !member.is_empty())
    }
}
