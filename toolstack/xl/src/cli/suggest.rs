//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of some words, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = word.chars().count().div_ceil(3).min(3);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&row, j) + usize::from(x != y)).min(at(&row, j + 1) + 1);
            best = best.min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word() {
        let known = ["list", "create", "destroy", "vcpu-list"];
        for (typed, meant) in [("lsit", "list"), ("craete", "create"), ("destory", "destroy")] {
            assert_eq!(nearest(typed, known.into_iter()), Some(meant));
        }
    }

    #[test]
    fn a_word_that_is_far_from_all_finds_none() {
        assert_eq!(nearest("frobnicate", ["list", "create"].into_iter()), None);
        assert_eq!(nearest("", ["list"].into_iter()), None);
    }

    #[test]
    fn distance_counts_changes_either_way() {
        for (a, b, expected) in
            [("ab", "ba", 1), ("abc", "abc", 0), ("abc", "axcd", 2), ("", "abc", 3)]
        {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }
}
