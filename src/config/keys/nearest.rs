//! Which known word was meant by one that is not known.

/// The nearest to `word` of the `known`, if one is near enough to be meant.
pub(in crate::config) fn nearest_of(
    word: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    // Longer than a directive by more than a slip of the pen: comparing would only take time.
    const MAX_LEN: usize = 64;
    if word.len() > MAX_LEN {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (distance(&word, name), name))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, _)| distance <= (word.len() / 3).clamp(1, 4))
        .map(|(_, name)| name)
}

/// How many letters to insert, remove, change or swap with their neighbour to make `b` of `a`
/// (the optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    // The rows of the table for the letters of `a` before: entry j is the distance to the first j
    // letters of `b`.
    let mut second_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_x = None;
    for (i, &x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut row = vec![left];
        let mut previous_y = None;
        // For entry j it is entry j - 1 of the second last row that a swap adds to.
        let mut swapped = None;
        let mut to_swap = second_last.iter();
        for (&y, above) in b.iter().zip(last.windows(2)) {
            let &[diagonal, above] = above else { continue };
            let change = diagonal + usize::from(x != y);
            let mut best = change.min(above + 1).min(left + 1);
            if let Some(swapped) =
                swapped.filter(|_| previous_x == Some(y) && previous_y == Some(x))
            {
                best = best.min(swapped + 1);
            }
            row.push(best);
            (left, previous_y) = (best, Some(y));
            swapped = to_swap.next().copied();
        }
        second_last = std::mem::replace(&mut last, row);
        previous_x = Some(x);
    }
    last.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("tpoic", "topic"), 1);
    }
}
