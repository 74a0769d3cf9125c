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

/// Foreign text may hold line breaks, colours, or GitLab's section marks , which need a carriage return and an escape:
/// what is reported stays one line, and shows what can't be seen. Line breaks and tabs, which people write, become
/// spaces.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => line.push(' '),
            _ if character.is_control() || is_invisible(character) => line.extend(character.escape_unicode()),
            _ => line.push(character),
        }
    }
    line
}

/// Whether a character has no shape of its own, or changes how others are shown: zero-width, bidirectional, a control
/// character, a line's or a paragraph's end.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// A number with its thousands apart: `10,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
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

/// Whether one is the other with one character missing, added, wrong, or swapped with the next. What is the same is none.
pub fn is_typo(a: &str, b: &str) -> bool {
    strsim::osa_distance(a, b) == 1
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

/// How many values a JSON text holds, by what they cost in memory: each stands behind a brace, a bracket or a comma that
/// is in no string, and an object takes as much as three. A small text can be a large tree.
pub fn count_of_values(json: &str) -> usize {
    let mut count = 0;
    let mut is_string = false;
    let mut is_escaped = false;
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' if !is_string => count += 3,
            b'[' | b',' if !is_string => count += 1,
            _ => {}
        }
    }
    count
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
        assert_eq!(one_line("a\n\tb\r\u{1b}[31mred"), r"a  b\u{d}\u{1b}[31mred");
        assert_eq!(
            one_line("section_start:1:x\r\u{1b}[0K \u{202e}\u{200b}\u{2028}\u{9b}\u{7f}"),
            r"section_start:1:x\u{d}\u{1b}[0K \u{202e}\u{200b}\u{2028}\u{9b}\u{7f}"
        );
        assert_eq!(one_line("Größe 🚀 日本"), "Größe 🚀 日本");
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(count_of_values(r#"{"a, [\"{": [1, "x,y", {}]}"#), 9);
        assert_eq!(count_of_values(&"{\"\":0},".repeat(1000)), 4000);
    }

    #[test]
    fn a_typo_is_one_character_missing_added_wrong_or_swapped() {
        for typo in ["sucess", "succcess", "succesz", "succsess", "uccess", "success."] {
            assert!(is_typo(typo, "success") && is_typo("success", typo), "{typo}");
        }
        for other in ["success", "succeeded", "sucss", "ssuccse", "Success\u{301}", ""] {
            assert!(!is_typo(other, "success"), "{other}");
        }
        assert!(is_typo("größ", "größe"), "characters are counted, not bytes");
    }

    #[test]
    fn thousands_stand_apart() {
        let numbers = [0, 999, 1000, 10_000, 1_234_567];
        assert_eq!(numbers.map(grouped), ["0", "999", "1,000", "10,000", "1,234,567"]);
    }

    #[test]
    fn patterns() {
        assert!(matches("A_*", "A_B") && matches("*_B", "A_B") && matches("*", "") && matches("A*C*E", "ABCDE"));
        assert!(!matches("A_*", "B_A_") && !matches("A", "AB") && !matches("A*C", "AB"));
    }
}
