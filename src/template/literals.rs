//! Texts that GitLab pasted into a value before anybody saw it, and that are no templates.
//!
//! While templates run, a mark stands in place of each: no character of it is ever read as a template. Marks are of
//! Unicode's private use, which no keyboard writes.

/// Around the number of a literal, where it stood.
const OPEN: char = '\u{f0000}';
const CLOSE: char = '\u{f0001}';

/// The literals that a value may hold.
#[derive(Debug, Clone, Default)]
pub struct Literals(Vec<String>);

impl Literals {
    /// Those of `texts` that could be taken for templates in the value `text`. One without a letter or a digit, such as
    /// `{{`, is only one where it is the whole of it: elsewhere it is the author's own.
    pub fn in_text(text: &str, texts: &[&str]) -> Self {
        let is_somebodys = |literal: &&&str| **literal == text || literal.contains(char::is_alphanumeric);
        Self::new(texts.iter().filter(is_somebodys).map(|&literal| literal.to_owned()))
    }

    /// The same in JSON, where a text may also have been read as JSON reads it, or been cut at its quotes.
    pub fn in_json(texts: &[&str]) -> Self {
        let read = |text: &str| serde_json::from_str::<String>(&format!("\"{text}\"")).ok();
        let pieces = texts
            .iter()
            .flat_map(|text| text.split('"'))
            .map(|piece| piece.trim_end_matches('\\'));
        let all = texts.iter().copied().chain(pieces);
        let forms = all.flat_map(|text| [Some(text.to_owned()), read(text)]).flatten();
        Self::new(forms.filter(|literal| literal.contains(char::is_alphanumeric)))
    }

    fn new(texts: impl Iterator<Item = String>) -> Self {
        // Braces could open a template, and quotes could end a text inside one.
        let mut literals: Vec<String> = texts
            .filter(|text| text.contains(['{', '}', '"', '\'', '\\']))
            .collect();
        // The longest first: a commit's message holds its title.
        literals.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        literals.dedup();
        Self(literals)
    }

    /// `text` with a mark in place of each literal.
    pub fn hide(&self, text: &str) -> String {
        let hide = |text: String, (number, literal): (usize, &String)| {
            text.replace(literal.as_str(), &format!("{OPEN}{number}{CLOSE}"))
        };
        self.0.iter().enumerate().fold(text.to_owned(), hide)
    }

    /// `text` with each literal back in its place.
    pub fn restore(&self, text: &str) -> String {
        let mut pieces = text.split(OPEN);
        let mut restored = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let literal = piece.split_once(CLOSE).and_then(|(number, rest)| {
                let literal = self.0.get(number.parse::<usize>().ok()?)?;
                Some((literal, rest))
            });
            if let Some((literal, rest)) = literal {
                restored.push_str(literal);
                restored.push_str(rest);
            } else {
                restored.push(OPEN);
                restored.push_str(piece);
            }
        }
        restored
    }
}
