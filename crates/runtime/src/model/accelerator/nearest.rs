//! Which of the words that are allowed is closest to one that is not.

/// Up to three of `allowed` that are close enough to `given` to be what was meant, the closest first.
/// Case, blanks and punctuation do not count.
///
/// ```
/// use skyward_runtime::model::accelerator::nearest;
/// assert_eq!(nearest("Hoper", ["Ampere", "Hopper"]), ["Hopper"]);
/// ```
pub fn nearest<'a>(given: &str, allowed: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let given = squash(given);
    let limit = (given.chars().count() / 3).clamp(1, 4);
    let mut found: Vec<_> = allowed
        .into_iter()
        .map(|it| (squash(it), it))
        // Each letter more or less is a slip; the rest need not be compared, however long it is.
        .filter(|(word, _)| word.len().abs_diff(given.len()) <= limit)
        .map(|(word, it)| (distance(&given, &word), it))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, it)| it).collect()
}

/// Lower case, letters and digits alone.
pub(super) fn squash(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

/// How many letters must be put in, left out, exchanged or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in one.chars().enumerate() {
        let mut next = vec![row + 1];
        for (column, there) in other.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&next, column) + 1)
                .min(at(&last, column + 1) + 1)
                .min(at(&last, column) + usize::from(letter != *there));
            let swapped = column > 0 && previous == Some(*there) && other.get(column - 1) == Some(&letter);
            if swapped && row > 0 {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            next.push(best);
        }
        before_last = std::mem::replace(&mut last, next);
        previous = Some(letter);
    }
    last.last().copied().unwrap_or_default()
}

#[test]
fn the_distance_counts_each_slip_of_the_fingers_once() {
    for (one, other, expected) in
        [("h100", "h100", 0), ("", "h100", 4), ("h10", "h100", 1), ("h001", "h010", 1), ("a100", "h100", 1)]
    {
        assert_eq!(distance(one, other), expected, "{one} {other}");
        assert_eq!(distance(other, one), expected, "{other} {one}");
    }
}
