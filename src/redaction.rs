//! The one filter that keeps credentials out of everything the program prints or writes: it remembers every form of
//! each, so that no text carries one.

use std::{cell::RefCell, rc::Rc};

use base64::{Engine as _, engine::general_purpose};
use serde_json::Value;

/// What stands in place of a secret wherever text leaves the program.
pub const HIDDEN: &str = "[hidden]";

/// Shorter secrets than this are not searched for: hiding each `a` of a report would hide the report.
const SHORTEST: usize = 3;

/// What stands where a text was cut, see [`text::truncate`](crate::text::truncate).
const CUT: &str = "…";

/// No way to write a character is longer than this, in characters (`\\ud83d\\ude80`).
const LONGEST_WAY: usize = 12;

/// What people are shown is shorter than this, in bytes; only there a cut can have left a secret's beginning.
const LONGEST_SHOWN: usize = 64 * 1024;

/// Shorter secrets than this are searched for as they are, but not in base64: three letters of a base64 text say
/// nothing, and would match by chance.
const SHORTEST_ENCODED: usize = 6;

/// Replaces every known form of every known secret.
///
/// Cloning is cheap and shares the list: a token that is learned while the program runs is hidden everywhere from then
/// on. That is the one thing that flows backwards here, hence the one cell.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Rc<RefCell<Vec<Known>>>,
}

/// What is searched for to hide one secret, or one line of it.
struct Known {
    secret: String,
    /// Texts that are the secret: itself, in hexadecimal, in base64.
    whole: Vec<String>,
    /// For each of its characters every way to write it; a text may mix them as it likes.
    characters: Vec<Vec<String>>,
    /// Which bytes such a text can begin with.
    starts: [bool; 256],
}

impl Redactor {
    /// Hides `secret` from now on, in each form in which it could come back: as it is, URL-encoded, JSON- or
    /// HTML-escaped (wholly, or some of its characters), in hexadecimal, and in base64 (on its own or inside a longer
    /// encoded text).
    pub fn hide(&self, secret: &str) {
        // A secret of several lines (a key, a file) is also looked for line by line: servers echo one line of it.
        for part in std::iter::once(secret).chain(secret.lines()) {
            let part = part.trim();
            if part.len() >= SHORTEST && !self.known.borrow().iter().any(|known| known.secret == part) {
                self.known.borrow_mut().push(Known::new(part));
            }
        }
        // Longest first, so that a secret which contains another one is not left with its ends showing.
        self.known
            .borrow_mut()
            .sort_by_key(|known| std::cmp::Reverse(known.secret.len()));
    }

    /// `text` with every form of every secret replaced.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for known in self.known.borrow().iter() {
            for form in &known.whole {
                if clean.contains(form.as_str()) {
                    clean = clean.replace(form.as_str(), HIDDEN);
                }
            }
            clean = known.without_mixtures(clean);
            if clean.len() <= LONGEST_SHOWN && clean.contains(CUT) {
                for form in &known.whole {
                    clean = hide_beginnings(&clean, form);
                }
            }
        }
        clean
    }

    /// `value` with every string, key and number cleaned, so that what is printed stays JSON.
    pub fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, member)| (self.text(key), self.json(member)))
                .collect(),
            Value::Number(number) => {
                let text = number.to_string();
                let clean = self.text(&text);
                if clean == text {
                    value.clone()
                } else {
                    Value::String(clean)
                }
            }
            Value::Null | Value::Bool(_) => value.clone(),
        }
    }
}

/// `text` without the beginnings of `form` that a cut has left of it: texts are shortened before they get here.
fn hide_beginnings(text: &str, form: &str) -> String {
    let mut pieces: Vec<String> = text.split(CUT).map(str::to_owned).collect();
    let last = pieces.len() - 1;
    for piece in &mut pieces[..last] {
        let beginning = form
            .char_indices()
            .map(|(index, _)| &form[..index])
            .rfind(|beginning| beginning.len() >= SHORTEST && piece.ends_with(beginning));
        if let Some(beginning) = beginning {
            piece.truncate(piece.len() - beginning.len());
            piece.push_str(HIDDEN);
        }
    }
    pieces.join(CUT)
}

impl Known {
    fn new(secret: &str) -> Self {
        let bytes = secret.as_bytes();
        let mut whole = vec![secret.to_owned()];
        if secret.len() >= SHORTEST_ENCODED {
            let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            whole.push(hexadecimal.to_uppercase());
            whole.push(hexadecimal);
            whole.extend(base64_inside(bytes));
        }
        whole.retain(|form| form.len() >= SHORTEST);
        let mut was_space = false;
        let characters: Vec<Vec<String>> = secret
            .chars()
            .map(|character| {
                let mut ways = ways_to_write(character);
                // A text is shown with its white space as single spaces.
                if character.is_whitespace() && was_space {
                    ways.push(String::new());
                }
                was_space = character.is_whitespace();
                ways
            })
            .collect();
        let mut starts = [false; 256];
        for way in &characters[0] {
            starts[usize::from(way.as_bytes()[0])] = true;
        }
        Self {
            secret: secret.to_owned(),
            whole,
            characters,
            starts,
        }
    }

    /// `text` with everything hidden that writes the secret character by character, each in any way; and the beginning
    /// of such a text where a cut has left no more.
    fn without_mixtures(&self, text: String) -> String {
        let mut clean = String::new();
        let mut copied = 0;
        let mut at = 0;
        while at < text.len() {
            let is_start = self.starts[usize::from(text.as_bytes()[at])] && text.is_char_boundary(at);
            match self.end_of_mixture(&text, at).filter(|_| is_start) {
                Some(end) => {
                    clean.push_str(&text[copied..at]);
                    clean.push_str(HIDDEN);
                    (copied, at) = (end, end);
                }
                None => at += 1,
            }
        }
        if copied == 0 {
            return text;
        }
        clean.push_str(&text[copied..]);
        clean
    }

    fn end_of_mixture(&self, text: &str, start: usize) -> Option<usize> {
        if !self.starts[usize::from(text.as_bytes()[start])] {
            return None;
        }
        let mut at = start;
        for (count, ways) in self.characters.iter().enumerate() {
            let rest = text.get(at..)?;
            let is_here = |way: &&String| {
                let way = way.as_bytes();
                // The digits of an escape may be of either case, even side by side.
                rest.as_bytes()
                    .get(..way.len())
                    .is_some_and(|start| start == way || (way.len() > 1 && start.eq_ignore_ascii_case(way)))
            };
            if let Some(way) = ways.iter().find(is_here) {
                at += way.len();
            } else {
                // What a cut left of one way to write a character is short: no need to look further.
                let cut = rest
                    .char_indices()
                    .take(LONGEST_WAY)
                    .find(|(_, next)| CUT.starts_with(*next))?
                    .0;
                let is_cut_here = ways.iter().any(|way| way.starts_with(&rest[..cut]));
                return (count >= SHORTEST && is_cut_here).then_some(at + cut);
            }
        }
        Some(at)
    }
}

/// Every way in which a character is written: percent-encoded (also as `+` for a space), escaped in JSON, HTML or a
/// shell, and as it is. The longer ways come first, since some begin with others. Letters and digits are left alone
/// everywhere.
fn ways_to_write(character: char) -> Vec<String> {
    let itself = character.to_string();
    if character.is_ascii_alphanumeric() {
        return vec![itself];
    }
    let mut bytes = [0; 4];
    let utf8 = character.encode_utf8(&mut bytes).as_bytes();
    let mut units = [0; 2];
    let units = character.encode_utf16(&mut units);
    let number = u32::from(character);
    let mut ways = vec![
        utf8.iter().map(|byte| format!("%{byte:02x}")).collect(),
        units.iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        format!("\\u{{{number:x}}}"),
        format!("&#{number};"),
        format!("&#0{number};"),
        format!("&#x{number:x};"),
    ];
    let names: &[&str] = match character {
        '"' => &["&quot;", "\\\""],
        '\'' => &["&apos;", "'\\''", "\\'"],
        '&' => &["&amp;"],
        '<' => &["&lt;"],
        '>' => &["&gt;"],
        '\\' => &["\\\\"],
        '/' => &["\\/"],
        '\n' => &["\\n", " "],
        '\r' => &["\\r", " "],
        '\t' => &["\\t", " "],
        ' ' => &["+"],
        _ => &[],
    };
    ways.extend(names.iter().map(|&name| name.to_owned()));
    ways.push(itself);
    ways
}

/// The characters that every base64 text has in common which encodes these bytes, wherever they stand in it: the
/// first and last characters depend on the neighbours, the ones between do not. Both alphabets.
fn base64_inside(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3_usize {
        let mut padded = vec![0; offset];
        padded.extend_from_slice(bytes);
        // The characters whose six bits lie wholly within the secret's bytes.
        let first = (offset * 8).div_ceil(6);
        let last = padded.len() * 8 / 6;
        let standard = general_purpose::STANDARD_NO_PAD.encode(&padded);
        let url_safe = general_purpose::URL_SAFE_NO_PAD.encode(&padded);
        forms.push(standard[first..last].to_owned());
        forms.push(url_safe[first..last].to_owned());
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const UGLY: &str = "s3cr\"t/\\ +ü&pass";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.hide(UGLY);
        redactor
    }

    #[test]
    fn every_form_is_hidden() {
        let redactor = redactor();
        let mut forms = vec![
            UGLY.to_owned(),
            "s3cr%22t%2F%5C%20%2B%C3%BC%26pass".to_owned(),
            "s3cr%22t%2f%5c%20%2b%c3%bc%26pass".to_owned(),
            "s3cr%22t%2F%5C+%2B%C3%BC%26pass".to_owned(),
            serde_json::to_string(UGLY).unwrap(),
            r#"s3cr\"t\/\\ +ü&pass"#.to_owned(),
            r#"s3cr\"t/\\ +\u00fc&pass"#.to_owned(),
            "s3cr&quot;t/\\ +ü&amp;pass".to_owned(),
            "s3cr&#34;t/%5C%20+%C3%bc\\u0026pass".to_owned(),
            "7333637222742f5c202bc3bc2670617373".to_owned(),
        ];
        for prefix in ["", "u", "us", "user:"] {
            for suffix in ["", "x", "xy"] {
                let text = format!("{prefix}{UGLY}{suffix}");
                forms.push(general_purpose::STANDARD.encode(&text));
                forms.push(general_purpose::URL_SAFE_NO_PAD.encode(&text));
            }
        }
        for form in forms {
            let clean = redactor.text(&format!("before {form} after"));
            assert!(clean.contains(HIDDEN), "{form} came through");
            assert!(
                clean.starts_with("before ") && clean.ends_with(" after"),
                "too much hidden in {clean}"
            );
            assert!(!clean.contains("pass"), "a rest of {form} came through: {clean}");
        }
    }

    #[test]
    fn a_line_of_a_secret_of_several_lines_is_hidden() {
        let redactor = Redactor::default();
        redactor.hide("-----BEGIN\nabcdefgh\n");
        assert_eq!(redactor.text("got abcdefgh"), "got [hidden]");
    }

    #[test]
    fn a_secret_inside_another_leaves_no_rest() {
        let redactor = Redactor::default();
        redactor.hide("inner1");
        redactor.hide("outer-inner1-outer");
        assert_eq!(redactor.text("outer-inner1-outer inner1"), "[hidden] [hidden]");
    }

    #[test]
    fn what_a_cut_left_of_a_secret_is_hidden() {
        let redactor = redactor();
        for cut in ["s3cr…", "s3cr\"t/\\ +ü&pas…", "s3cr%22t%2F%5C%2…"] {
            let clean = redactor.text(&format!("before {cut} after"));
            assert_eq!(clean, format!("before {HIDDEN}… after"));
        }
        assert_eq!(redactor.text("as… is"), "as… is");
    }

    #[test]
    fn json_stays_json() {
        let redactor = Redactor::default();
        redactor.hide("12345678");
        let clean = redactor.json(&json!({"n": 12_345_678, "12345678": ["x12345678", 1, null, true]}));
        assert_eq!(
            clean,
            json!({"n": HIDDEN, HIDDEN: [format!("x{HIDDEN}"), 1, null, true]})
        );
    }

    #[test]
    fn long_texts_are_searched_once_and_not_anew_for_each_beginning() {
        let redactor = redactor();
        // Each `s` is where the secret could begin; the search must not run to the end of the text from each.
        let text = "s… s3 ".repeat(1_000_000) + UGLY;
        let begun = std::time::Instant::now();
        assert!(redactor.text(&text).ends_with(HIDDEN));
        assert!(begun.elapsed().as_secs() < 60, "it took {:?}", begun.elapsed());
    }

    #[test]
    fn one_letter_is_no_secret_worth_hiding() {
        let redactor = Redactor::default();
        redactor.hide("a");
        assert_eq!(redactor.text("a banana"), "a banana");
    }
}
