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
    /// Those of `texts` that could be taken for templates.
    pub fn new(texts: &[&str]) -> Self {
        let has_signs = |text: &&&str| {
            ["{{", "}}", "{%", "%}", "{#", "#}"]
                .iter()
                .any(|sign| text.contains(sign))
        };
        let mut literals: Vec<String> = texts.iter().filter(has_signs).map(|&text| text.to_owned()).collect();
        // The longest first: a commit's message holds its title.
        literals.sort_by_key(|text| std::cmp::Reverse(text.len()));
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
