//! Texts for people and for addresses: plain, shortened, on one line.

use serde_json::Value;

/// A value as text: strings as they are, nothing for null, JSON for the rest.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first `length` characters; where something is cut the last of them is `…`.
pub fn truncate(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(length.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Lower case, with each run of anything but `a-z` and `0-9` as one dash, and none at the ends.
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// Foreign text may hold line breaks, colours or GitLab's section marks: what is reported stays one line, and plain.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// What a value looks like, without the value.
pub fn shape(value: &str) -> String {
    let count = value.chars().count();
    let lines = value.lines().count();
    let unit = if count == 1 { "character" } else { "characters" };
    if lines > 1 {
        format!("{count} {unit} in {lines} lines")
    } else {
        format!("{count} {unit}")
    }
}

/// The word most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    words
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether `name` fits `pattern`, in which `*` stands for any text.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|index| name.is_char_boundary(index) && matches(rest, &name[index..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_says_so() {
        assert_eq!(truncate("Größe", 5), "Größe");
        assert_eq!(truncate("Größe", 3), "Gr…");
        assert_eq!(truncate("Größe", 0), "…");
    }

    #[test]
    fn slugs_have_single_dashes_and_none_at_the_ends() {
        assert_eq!(slug("Größe 5/XL "), "gr-e-5-xl");
        assert_eq!(slug("--"), "");
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(one_line("a\r\n\u{1b}[31mred"), "a   [31mred");
    }

    #[test]
    fn patterns() {
        assert!(matches("A_*", "A_B") && matches("*_B", "A_B") && matches("*", "") && matches("A*C*E", "ABCDE"));
        assert!(!matches("A_*", "B_A_") && !matches("A", "AB") && !matches("A*C", "AB"));
    }
}
