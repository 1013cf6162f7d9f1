//! Which of the known names a misspelt one was meant to be.

/// More letters wrong than this, and it is another word.
const FARTHEST: usize = 3;

/// No known name is nearly so long, in bytes.
const LONGEST: usize = 256;

/// The known name that is fewest edits away: a letter more, less, other, or two swapped. None if all are far.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if name.len() > LONGEST {
        return None;
    }
    let folded = fold(name);
    let farthest = FARTHEST.min(folded.len() / 2);
    let by_distance = known.into_iter().filter_map(|k| {
        let other = fold(k);
        // Much longer or shorter names need not be looked at; nor does anybody's novel.
        (other.len().abs_diff(folded.len()) <= farthest).then(|| (distance(&folded, &other), k))
    });
    by_distance.filter(|(d, _)| *d <= farthest).min_by_key(|(d, _)| *d).map(|(_, k)| k)
}

/// `; did you mean x?`, or nothing.
pub(super) fn hint<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// A name as far as it is shown in a message.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

/// A name as it is compared: in small letters, with one kind of hyphen.
pub(super) fn fold(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Edits between two words (Damerau and Levenshtein's, in its simple form).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let count = |a: &str, b: &str| distance(&fold(a), &fold(b));
        assert_eq!(
            [count("chunk-size", "chunk_size"), count("timeuot", "timeout"), count("kitten", "sitting")],
            [0, 1, 3]
        );
        assert_eq!(count("", "abc"), 3);
    }

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let known = ["maxmemory", "maxmemory-policy", "timeout", "databases"];
        assert_eq!(nearest("max_memory", known), Some("maxmemory"));
        assert_eq!(nearest("MaxMemoryPolicy", known), Some("maxmemory-policy"));
        assert_eq!(nearest("tiemout", known), Some("timeout"));
        assert_eq!(nearest("volume", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
